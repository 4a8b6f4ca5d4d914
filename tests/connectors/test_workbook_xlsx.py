"""Excel workbooks as a source: cells as text, sheets as entities, and workbooks that are wrong or hostile."""

import io
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st

from connectors.clients.workbook import tables, xlsx
from connectors.clients.workbook.limits import MAX_ARCHIVE_RATIO
from connectors.clients.workbook.xlsx_child import as_text
from connectors.context import Context
from connectors.errors import InputInvalid
from connectors.files import FolderFiles
from connectors.sources.workbook import WorkbookSource
from connectors.types import FieldType

Rows = Sequence[Any]
FORMATS = {datetime: "yyyy-mm-dd hh:mm:ss", date: "yyyy-mm-dd", clock: "hh:mm:ss", timedelta: "[h]:mm:ss"}


def workbook(sheets: Mapping[str, Rows]) -> bytes:
    """A workbook of these sheets; a cell that is a tuple is a formula and its cached value."""
    out = io.BytesIO()
    with xlsxwriter.Workbook(out) as book:
        formats = {kind: book.add_format({"num_format": text}) for kind, text in FORMATS.items()}
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for row, cells in enumerate(rows):
                for column, cell in enumerate(cells):
                    if isinstance(cell, tuple):
                        sheet.write_formula(row, column, cell[0], None, cell[1])
                    elif isinstance(cell, str):
                        sheet.write_string(row, column, cell)
                    elif type(cell) in formats:
                        sheet.write_datetime(row, column, cell, formats[type(cell)])
                    else:
                        sheet.write(row, column, cell)
    return out.getvalue()


def source(folder: Path) -> WorkbookSource:
    return WorkbookSource(Context(files=FolderFiles(folder)))


def given_workbook(folder: Path, content: bytes | Mapping[str, Rows], name: str = "book.xlsx") -> WorkbookSource:
    (folder / name).write_bytes(content if isinstance(content, bytes) else workbook(content))
    return source(folder)


def frame(reader: WorkbookSource, entity: str) -> pl.DataFrame:
    return pl.concat(page.frame for page in reader.read(entity, reader.describe(entity).names))


def refusal(reader: WorkbookSource) -> str:
    began = time.monotonic()
    with pytest.raises(InputInvalid) as caught:
        reader.check()
    assert time.monotonic() - began < 5
    assert str(caught.value).startswith("book.xls")
    assert str(caught.value).endswith((".", ")."))
    return str(caught.value)


def changed(content: bytes, change: Callable[[str, bytes], bytes], **added: bytes) -> bytes:
    """The workbook with every part passed through ``change``."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
        for name, part in added.items():
            new.writestr(name, part)
    return out.getvalue()


SIMPLE: Mapping[str, Rows] = {"People": [["id", "name"], [1, "Ann"], [2, "Bob"]]}


def test_every_sheet_is_an_entity(tmp_path: Path) -> None:
    reader = given_workbook(tmp_path, {**SIMPLE, "Empty": [], "Cities": [["name"], ["Köln"]], "Bare": [["id"]]})
    assert [(info.name, info.id_field) for info in reader.entities()] == [
        ("Bare", "id"),
        ("Cities", "_row"),
        ("People", "id"),
    ]
    assert frame(reader, "People").rows() == [("1", "Ann"), ("2", "Bob")]
    assert frame(reader, "Bare").rows() == []
    assert {name: reader.count(name) for name in ("People", "Cities", "Bare")} == {"People": 2, "Cities": 1, "Bare": 0}


def test_cells_come_in_the_notation_of_source_frames(tmp_path: Path) -> None:
    cells: dict[str, tuple[Any, str | None]] = {
        "whole": (1, "1"),
        "large": (123456789012345, "123456789012345"),
        "third": (1 / 3, "0.333333333333333"),
        "sum": (0.1 + 0.2, "0.3"),
        "tiny": (1.5e-7, "0.00000015"),
        "huge": (1e21, "1000000000000000000000"),
        "minus": (-2.50, "-2.5"),
        "yes": (True, "true"),
        "no": (False, "false"),
        "day": (date(2024, 2, 29), "2024-02-29"),
        "moment": (datetime(2024, 2, 29, 13, 5, 6), "2024-02-29T13:05:06"),  # noqa: DTZ001 - sheets know no zones
        "clock": (clock(13, 5), "13:05:00"),
        "hours": (timedelta(hours=36, seconds=5), "36:00:05"),
        "blank": ("", None),
        "digits": ("007", "007"),
        "formula": (("=1+1", 2), "2"),
        "error": (("=1/0", "#DIV/0!"), "#DIV/0!"),
        "hostile": ("=cmd|' /C calc'!A0", "=cmd|' /C calc'!A0"),
        "plus": ("+1", "+1"),
        "at": ("@SUM(1)", "@SUM(1)"),
        "quoted": ('a "b", c\nd', 'a "b", c\nd'),
    }
    reader = given_workbook(tmp_path, {"S": [list(cells), [cell for cell, _ in cells.values()]]})
    found = frame(reader, "S").drop("_row").to_dicts()[0]
    assert found == {name: text for name, (_, text) in cells.items()}
    types = {info.name: info.type for info in reader.describe("S").fields}
    assert (types["day"], types["moment"], types["whole"]) == (FieldType.DATE, FieldType.DATETIME, FieldType.INTEGER)


def test_a_column_of_dates_and_times_is_all_times(tmp_path: Path) -> None:
    moments = [[date(2024, 1, 2)], [datetime(2024, 1, 2, 3, 4)]]  # noqa: DTZ001 - sheets know no zones
    reader = given_workbook(tmp_path, {"S": [["at"], *moments]})
    assert frame(reader, "S")["at"].to_list() == ["2024-01-02T00:00:00", "2024-01-02T03:04:00"]
    assert reader.describe("S").field("at").type is FieldType.DATETIME


def test_mixed_columns_are_text(tmp_path: Path) -> None:
    reader = given_workbook(tmp_path, {"S": [["mixed"], [1], ["one"], [True], [date(2024, 1, 2)]]})
    assert frame(reader, "S")["mixed"].to_list() == ["1", "one", "true", "2024-01-02"]
    assert reader.describe("S").field("mixed").type is FieldType.TEXT


def test_errors_keep_their_place_however_the_table_lies(tmp_path: Path) -> None:
    error = ("=NA()", "#N/A")
    rows = [[], ["", "", "a", "b"], ["", "", 1, error], [], ["", "", error, 2], ["", "", error, ""]]
    assert frame(given_workbook(tmp_path, {"First": [["x"], [1]], "S": rows}), "S").rows() == [
        ("1", "1", "#N/A"),
        ("2", "#N/A", "2"),
        ("3", "#N/A", None),
    ]


def test_blank_rows_and_unnamed_empty_columns_are_left_out(tmp_path: Path) -> None:
    content = workbook({"S": [["id", "a"], [1, 2], [], [3, 4]]})
    padded = changed(content, lambda _, part: part.replace(b"</row>", b'<c r="D9" t="str"><v></v></c></row>'))
    for each in (content, padded):
        assert frame(given_workbook(tmp_path, each), "S").rows() == [("1", "2"), ("3", "4")]


def test_same_sheet_names_get_the_workbooks_name(tmp_path: Path) -> None:
    given_workbook(tmp_path, SIMPLE, "a.xlsx")
    given_workbook(tmp_path, SIMPLE, "b.xlsx")
    assert [info.name for info in source(tmp_path).entities()] == ["a.xlsx/People", "b.xlsx/People"]


def test_reading_resumes_in_a_new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PAGE_RECORDS", 10)
    reader = given_workbook(tmp_path, {"S": [["id", "name"], *([number, "a\nb"] for number in range(35))]})
    pages = list(reader.read("S", ["id"]))
    assert [page.frame.height for page in pages] == [10, 10, 10, 5]
    rest = list(source(tmp_path).read("S", ["id"], cursor=pages[1].cursor))
    assert [page.frame["id"].to_list() for page in rest] == [page.frame["id"].to_list() for page in pages[2:]]


def test_closing_leaves_nothing_behind_and_may_be_followed_by_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "given").mkdir()
    reader = given_workbook(tmp_path / "given", SIMPLE)
    assert frame(reader, "People").height == 2
    reader.close()
    assert list((tmp_path / "temporary").iterdir()) == []
    assert frame(reader, "People").height == 2
    del reader
    assert list((tmp_path / "temporary").iterdir()) == []


def test_protected_and_old_workbooks_are_told_from_new_ones(tmp_path: Path) -> None:
    sentence = refusal(given_workbook(tmp_path, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)))
    assert "an old Excel workbook, or one protected by a password" in sentence


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("book.xls", "an old Excel workbook"),
        ("book.xlsm", "an Excel workbook with macros"),
        ("book.xlsb", "a binary Excel workbook"),
    ],
)
def test_other_kinds_are_refused_by_name(tmp_path: Path, name: str, sentence: str) -> None:
    assert sentence in refusal(given_workbook(tmp_path, workbook(SIMPLE), name))


def test_macros_are_refused_whatever_the_name(tmp_path: Path) -> None:
    content = changed(workbook(SIMPLE), lambda _, part: part, **{"xl/vbaProject.bin": b"macro"})
    assert "holds macros" in refusal(given_workbook(tmp_path, content))


def test_a_csv_named_xlsx_is_told(tmp_path: Path) -> None:
    assert "is no Excel workbook (.xlsx), but something else" in refusal(given_workbook(tmp_path, b"id,name\n1,a\n"))


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    assert "is empty (0 bytes)" in refusal(given_workbook(tmp_path, b""))


def test_another_zip_named_xlsx_is_told(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        opened.writestr("a.csv", "id\n1\n")
    assert "is a zip archive, but no Excel workbook" in refusal(given_workbook(tmp_path, out.getvalue()))


def test_a_truncated_workbook_is_told(tmp_path: Path) -> None:
    content = workbook(SIMPLE)
    for kept in (0.3, 0.6, 0.95):
        assert "damaged or cut off" in refusal(given_workbook(tmp_path, content[: int(len(content) * kept)]))


def test_a_damaged_part_is_told(tmp_path: Path) -> None:
    content = workbook(SIMPLE)
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        start = opened.getinfo("xl/worksheets/sheet1.xml").header_offset + 80
    broken = content[:start] + bytes(40) + content[start + 40 :]
    assert "damaged or cut off" in refusal(given_workbook(tmp_path, broken))


@pytest.mark.parametrize("part", ["xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/worksheets/sheet1.xml"])
def test_broken_markup_is_told(tmp_path: Path, part: str) -> None:
    content = changed(workbook(SIMPLE), lambda name, old: old[: len(old) // 2] + b"<" if name == part else old)
    assert "no readable Excel workbook" in refusal(given_workbook(tmp_path, content))


def test_a_sheet_declaring_ten_million_rows_is_refused(tmp_path: Path) -> None:
    content = changed(workbook(SIMPLE), lambda _, part: part.replace(b'ref="A1:B3"', b'ref="A1:Q10000000"'))
    assert "10,000,000 rows or more, but Excel itself allows 1,048,576" in refusal(given_workbook(tmp_path, content))


def test_a_sheet_with_too_many_rows_is_refused_whatever_it_declares(tmp_path: Path) -> None:
    many = b"<row/>" * 1_100_000 + b"</sheetData>"
    content = changed(workbook(SIMPLE), lambda _, part: part.replace(b"</sheetData>", many))
    assert "rows or more, but Excel itself allows 1,048,576" in refusal(given_workbook(tmp_path, content))


def test_a_cell_far_away_costs_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dense table up to the last cell of a sheet would need 400 GB."""
    monkeypatch.setattr(xlsx, "XLSX_MEMORY_BYTES", 512 * 1024**2)
    far = b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
    content = changed(workbook(SIMPLE), lambda _, part: part.replace(b"</sheetData>", far))
    assert "needs more than 512 MiB of memory" in refusal(given_workbook(tmp_path, content))


def test_a_workbook_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "XLSX_SECONDS", 0.001)
    assert "could not be read within 0.001 seconds" in refusal(given_workbook(tmp_path, SIMPLE))


def test_a_sheet_that_outgrows_its_limit_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text(Path(xlsx.__file__).with_name("xlsx_child.py").read_text().replace("2 * 1024**3", "100_000"))
    monkeypatch.setattr(xlsx, "_CHILD", child)
    (tmp_path / "given").mkdir()
    rows = [["text"], *(["x" * 30_000] for _ in range(10))]
    assert "holds too much text" in refusal(given_workbook(tmp_path / "given", {"S": rows}))


def test_a_bomb_is_refused_by_what_it_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    padding = b"<!--" + b" " * 20_000_000 + b"-->"
    content = changed(workbook(SIMPLE), lambda _, part: part.replace(b"<sheetData>", padding + b"<sheetData>"))
    assert "times its size" in refusal(given_workbook(tmp_path, content))
    monkeypatch.setattr(xlsx, "MAX_XLSX_UNPACKED_BYTES", 10 * 1024**2)
    assert "would unpack to 19 MiB; at most 10 MiB are read" in refusal(source(tmp_path))
    monkeypatch.setattr(xlsx, "MAX_XLSX_ENTRIES", 3)
    assert "at most 3 are read" in refusal(source(tmp_path))
    monkeypatch.setattr(xlsx, "MAX_XLSX_BYTES", 1_000)
    assert "is larger than" in refusal(source(tmp_path))
    assert MAX_ARCHIVE_RATIO < 1_000, "deflate reaches 1,032 to 1"


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([["id", "id"], [1, 2]], "sheet “S”: the columns 1 and 2 are both named “id”"),
        ([["id", "", "b"], [1, 2, 3]], "sheet “S”: column 2 has no name"),
        ([["id", "a", ""], [1, 2, 3]], "sheet “S”: column 3 has no name"),
    ],
)
def test_headers_must_name_every_column_once(tmp_path: Path, rows: Rows, sentence: str) -> None:
    assert sentence in refusal(given_workbook(tmp_path, {"S": rows}))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_plain_and_within_excels_precision(number: float) -> None:
    text = as_text(number)
    assert set(text) <= set("-0123456789.")
    assert float(text) == pytest.approx(number, rel=1e-14, abs=0)
    if number.is_integer():
        assert int(text) == number
