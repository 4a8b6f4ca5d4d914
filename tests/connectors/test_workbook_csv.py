"""CSV and TSV as a source: encodings, delimiters, quoting, resuming, and files that are wrong."""

import contextlib
import csv
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.clients.workbook import delimited, encoding, tables
from connectors.clients.workbook.encoding import ENCODINGS
from connectors.context import Context
from connectors.errors import InputInvalid, SettingsInvalid
from connectors.files import FolderFiles
from connectors.sources.workbook import WorkbookSource
from connectors.types import FieldType, Page


def source(folder: Path, **chosen: str) -> WorkbookSource:
    return WorkbookSource(Context(settings=chosen, files=FolderFiles(folder)))


def given_file(folder: Path, content: str | bytes, name: str = "people.csv") -> WorkbookSource:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return source(folder)


def rows(reader: WorkbookSource, entity: str = "people") -> list[tuple[str | None, ...]]:
    names = reader.describe(entity).names
    return pl.concat(page.frame for page in reader.read(entity, names)).rows()


def refusal(reader: WorkbookSource, entity: str = "people") -> str:
    """The sentence with which the files are refused, checked or read."""
    with pytest.raises(InputInvalid) as caught:
        reader.check() and rows(reader, entity)
    assert entity in str(caught.value)
    assert str(caught.value).endswith((".", ")."))
    return str(caught.value)


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_delimiters_are_found(tmp_path: Path, mark: str) -> None:
    text = f"id{mark}name{mark}note\n1{mark}Ann{mark}x, y; z\n".replace("x, y; z", '"x, y; z"')
    assert rows(given_file(tmp_path, text)) == [("1", "Ann", "x, y; z")]


def test_the_delimiter_is_the_one_all_records_agree_on(tmp_path: Path) -> None:
    assert rows(given_file(tmp_path, "id;name, first\n1;Ann\n2;Bob\n")) == [("1", "Ann"), ("2", "Bob")]


def test_excel_delimiter_hint_is_obeyed(tmp_path: Path) -> None:
    assert rows(given_file(tmp_path, "sep=;\r\nid;name\r\n1;Ann\r\n")) == [("1", "Ann")]


def test_one_column_may_hold_every_delimiter(tmp_path: Path) -> None:
    assert rows(given_file(tmp_path, 'name\nSmith, John; a\tb|c\n"x"\n')) == [("1", "Smith, John; a\tb|c"), ("2", "x")]


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1"])
def test_encodings_are_found(tmp_path: Path, codec: str) -> None:
    content = "id,name\r\n1,Zoë Müller\r\n2,Café “x”\r\n" if "-1" not in codec[-2:] else "id,name\r\n1,Zoë Müller\r\n"
    text = content.replace("“x”", "x") if codec == "latin-1" else content
    found = rows(given_file(tmp_path, text.encode(codec)))
    assert found[0] == ("1", "Zoë Müller")
    assert len(found) == text.count("\n") - 1


def test_one_accent_after_many_plain_records_decides_the_encoding(tmp_path: Path) -> None:
    text = "id,name\n" + "".join(f"{number},plain name\n" for number in range(100_000)) + "x,Zoë\n"
    assert rows(given_file(tmp_path, text.encode("cp1252")))[-1] == ("x", "Zoë")


def test_bytes_windows_leaves_undefined_mean_iso_8859_1(tmp_path: Path) -> None:
    assert rows(given_file(tmp_path, b"id,name\n1,a\x81\xe9\n")) == [("1", "a\x81é")]


def test_a_chosen_encoding_wins(tmp_path: Path) -> None:
    given_file(tmp_path, "id,name\n1,Łódź\n".encode("cp1250"))
    assert rows(source(tmp_path, encoding="cp1250")) == [("1", "Łódź")]


@pytest.mark.parametrize(("codec", "sentence"), [("utf-8", "UTF-8 text, but damaged"), ("utf-16-le", "is not UTF-16")])
def test_a_chosen_encoding_that_does_not_fit_is_refused(tmp_path: Path, codec: str, sentence: str) -> None:
    given_file(tmp_path, "id,name\n1,Zoës\n".encode("cp1252"))
    with pytest.raises(InputInvalid, match=rf"people\.csv.*{sentence}"):
        source(tmp_path, encoding=codec).check()


def test_a_file_replaced_by_one_of_the_same_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PAGE_RECORDS", 1)
    first = next(iter(given_file(tmp_path, b"id,name\n1,a\n2,b\n").read("people", ["id"])))
    replaced = given_file(tmp_path, b"id,name\n1,\xff\n2,b\n")
    with pytest.raises(InputInvalid, match="is not UTF-8 text"):
        list(replaced.read("people", ["id"], cursor=first.cursor))


def test_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="ebcdic"):
        source(tmp_path, encoding="ebcdic").check()


def test_quotes_newlines_and_crlf(tmp_path: Path) -> None:
    text = 'id,name,note\r\n1,"a ""b""","line\r\nbreak"\r\n2,"","x,y"\r\n'
    assert rows(given_file(tmp_path, text)) == [("1", 'a "b"', "line\r\nbreak"), ("2", None, "x,y")]


def test_blank_lines_and_rows_without_values_are_no_records(tmp_path: Path) -> None:
    reader = given_file(tmp_path, "\n\nid,name\n\n1,Ann\n,\n\n2,Bob\n\n,\n")
    assert rows(reader) == [("1", "Ann"), ("2", "Bob")]
    assert reader.count("people") == 2


def test_quotation_marks_inside_plain_cells_are_text(tmp_path: Path) -> None:
    assert rows(given_file(tmp_path, 'id,name\n1,5" pipe\n2,3" hose\n')) == [("1", '5" pipe'), ("2", '3" hose')]


def test_formulas_stay_the_text_they_are(tmp_path: Path) -> None:
    hostile = ["=cmd|' /C calc'!A0", "+1", "@SUM(1)", "-2+3", "\t=1"]
    text = "id,name\n" + "".join(f'{number},"{cell}"\n' for number, cell in enumerate(hostile))
    assert [row[1] for row in rows(given_file(tmp_path, text))] == hostile


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        (["plain", "=cmd|' /C calc'!A0"], "would take for formulas, the first in record 2"),
        (["x", "y", "-2+cmd|' /C calc'!A0", "@SUM(1)"], "would take for formulas, the first in record 3"),
        (["1", "2.50", "n/a", "4"], "mixes numbers with other text, first in record 3"),
        (["2024-01-02", "2024-01-03", "soon"], "mixes dates with other text, first in record 3"),
        (["1"] * 300 + ["unknown"], "mixes whole numbers with other text, first in record 301"),
        (["+49 30 123", "@handle", "-", "- a dash"], ""),
        (["10115", "01067", "80331"], ""),
        (["one", "two", "3"], ""),
        (["1", "2.5", ""], ""),
    ],
)
def test_odd_values_are_told_by_their_place_and_not_repeated(tmp_path: Path, cells: list[str], sentence: str) -> None:
    text = "id,odd\n" + "".join(f'r{number},"{cell}"\n' for number, cell in enumerate(cells))
    note = given_file(tmp_path, text).describe("people").field("odd").note
    assert (sentence in note) if sentence else not note
    assert not any(cell in note for cell in cells if len(cell) > 4)


def test_header_only_is_one_empty_page(tmp_path: Path) -> None:
    reader = given_file(tmp_path, "id,name")
    assert [(page.frame.shape, page.cursor) for page in reader.read("people", ["name", "id"])] == [((0, 2), None)]
    assert reader.count("people") == 0


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"\n\r\n  \n", "is empty"),
        (b"id,name,id\n1,a,2\n", "columns 1 and 3 are both named “id”"),
        (b"id, ,name\n1,a,2\n", "column 2 has no name"),
        (b"id,name\n1,a\n2,b,c\n", "line 3: the row has 3 cells, more than the 2 columns"),
        (b'id,name\n1,"a\nb"\n\n2\n', "line 5: the row has 1 cells, fewer than the 2 columns"),
        (b"id,name\n1,a\n2", "line 3: the row has 1 cells, fewer"),
        (b'id,name\n1,a\n2,"never closed\n3,c\n', "record of line 3: a quotation mark is opened and not closed"),
        (b'id,name\n1,"a"b\n', "line 2: the quotation marks are not right"),
        (b'"id"x,name\n1,a\n', "the header cannot be read"),
        (b"id,name\n1,a\0b\n", "NUL character before byte 13"),
        (b"id,name\r1,a\r", "old Macintosh"),
        ("id,name\n1,Zoë\n2,M".encode() + b"\xfcller\n", "UTF-8 text, but damaged at byte 19"),
        (b"\xef\xbb\xbfid,name\n1,M\xfcller\n", "UTF-8 text, but damaged at byte 15"),
        ("id,name\n1,a\n".encode("utf-16") + b"\0", "is not UTF-16"),
        (b"PK\x03\x04rest", "is no CSV file, but an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest", "old Excel workbook, or one protected by a password"),
        (b"%PDF-1.7", "but a PDF"),
        (b"\x1f\x8b\x08rest", "but a gzip archive"),
        (b" <!DOCTYPE html><table>", "a web page or XML"),
        (b'{"records": []}', "but JSON"),
        (",".join(f"c{number}" for number in range(1_601)).encode(), "has 1,601 columns; at most 1,600"),
    ],
)
def test_wrong_files_are_refused_in_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    import re

    assert re.search(sentence, refusal(given_file(tmp_path, content)))


def test_a_record_that_never_ends_is_refused_quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 1_000)
    monkeypatch.setattr(delimited, "MAX_RECORD_BYTES", 1_048_576)
    lines = "".join(f"{number},plain\n" for number in range(200_000))
    began = time.monotonic()
    assert "record of line 2: a quotation mark is opened" in refusal(given_file(tmp_path, 'id,name\n0,"open\n' + lines))
    assert "within 1 MiB" in refusal(given_file(tmp_path, 'id,name\n0,"open\n' + lines))
    assert time.monotonic() - began < 5


def test_an_endless_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 1_000)
    monkeypatch.setattr(delimited, "MAX_RECORD_BYTES", 1_048_576)
    assert "one line is longer than 1 MiB" in refusal(given_file(tmp_path, b"id,name\n1," + b"x" * 3_000_000))


def test_long_cells_within_the_limit_are_read(tmp_path: Path) -> None:
    long = "x" * 3_000_000
    assert rows(given_file(tmp_path, f'id,name\n1,"{long}"\n2,b\n')) == [("1", long), ("2", "b")]


def test_the_id_column_is_found_by_name(tmp_path: Path) -> None:
    for header, expected in (
        ("Name,ID", "ID"),
        ("External_Id,name", "External_Id"),
        ("id,external_id", "id"),
        ("Id,ID", "_row"),
        ("name,city", "_row"),
    ):
        reader = given_file(tmp_path, f"{header}\na,b\n")
        assert reader.describe("people").entity.id_field == expected, header
        assert [info.id_field for info in reader.entities()] == [expected]


def test_the_id_column_can_be_chosen(tmp_path: Path) -> None:
    given_file(tmp_path, "id,code\n1,a\n")
    given_file(tmp_path, "id,name\n1,a\n", "cities.csv")
    found = {info.name: info.id_field for info in source(tmp_path, id_column="code").entities()}
    assert found == {"people": "code", "cities": "id"}


def test_a_chosen_id_column_no_file_has_is_refused(tmp_path: Path) -> None:
    given_file(tmp_path, "id,code\n1,a\n")
    with pytest.raises(SettingsInvalid, match="No file has the id column “number”"):
        source(tmp_path, id_column="number").check()


def test_a_record_without_its_id_is_refused(tmp_path: Path) -> None:
    assert "record 2: the id column “id” is empty" in refusal(given_file(tmp_path, "id,name\n1,a\n,b\n"))


def test_rows_are_numbered_where_there_is_no_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PAGE_RECORDS", 2)
    reader = given_file(tmp_path, "name\na\nb\nc\nd\ne\n")
    pages = list(reader.read("people", ["_row", "name"]))
    assert [page.frame["_row"].to_list() for page in pages] == [["1", "2"], ["3", "4"], ["5"]]
    rest = source(tmp_path).read("people", ["_row"], cursor=pages[0].cursor)
    assert [page.frame["_row"].to_list() for page in rest] == [["3", "4"], ["5"]]


def test_types_are_advised_by_all_values(tmp_path: Path) -> None:
    reader = given_file(
        tmp_path,
        "id,whole,money,flag,day,moment,clock,zip,phone,upper,slash,mixed,none,feb\n"
        "a1,1,1.50,true,2024-01-31,2024-01-31T10:00:00Z,10:00:00,01234,+1,TRUE,01/02/2024,1,,2024-02-28\n"
        "a2,-20,3,false,2023-12-01,2024-01-31T10:00:00.000+02:00,23:59:59,5,2,FALSE,02/02/2024,x,,2024-02-30\n",
    )
    found = {info.name: info.type for info in reader.describe("people").fields}
    assert found == {
        "id": FieldType.TEXT,
        "whole": FieldType.INTEGER,
        "money": FieldType.DECIMAL,
        "flag": FieldType.BOOLEAN,
        "day": FieldType.DATE,
        "moment": FieldType.DATETIME,
        "clock": FieldType.TIME,
        **dict.fromkeys(("zip", "phone", "upper", "slash", "mixed", "none", "feb"), FieldType.TEXT),
    }


def test_advice_looks_beyond_the_first_records_and_never_changes_a_value(tmp_path: Path) -> None:
    text = "id,number\n" + "".join(f"{number},{number}\n" for number in range(20_000)) + "20000,n/a\n"
    reader = given_file(tmp_path, text)
    assert reader.describe("people").field("number").type is FieldType.TEXT
    assert rows(reader)[-1] == ("20000", "n/a")


def test_advice_from_the_start_of_a_large_file_still_leaves_later_values_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 100)
    monkeypatch.setattr(tables, "INFERENCE_BYTES", 200)
    text = "id,number\n" + "".join(f"{number},{number}\n" for number in range(1_000)) + "x,n/a\n"
    reader = given_file(tmp_path, text)
    assert reader.describe("people").field("number").type is FieldType.INTEGER
    assert rows(reader)[-1] == ("x", "n/a")


def test_same_stems_get_their_full_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("a/x.csv", "b/x.tsv", "y.csv"):
        given_file(tmp_path, "id,n\n1,2\n", name)
    assert [info.name for info in source(tmp_path).entities()] == ["a/x.csv", "b/x.tsv", "y"]


def test_nothing_to_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("hello")
    with pytest.raises(InputInvalid, match="no file with records"):
        source(tmp_path).check()


def test_check_lists_what_it_found(tmp_path: Path) -> None:
    given_file(tmp_path, "id,name\n1,a\n")
    (tmp_path / "notes.md").write_text("hello")
    (tmp_path / ".hidden.csv").write_text("broken")
    identity = source(tmp_path).check()
    assert identity.account == "2 files, 1 entities"
    assert identity.facts["entities"] == "people"
    assert identity.facts["files without records"] == "notes.md"


def test_a_file_that_changed_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PAGE_RECORDS", 1)
    first = next(iter(given_file(tmp_path, "id,name\n1,a\n2,b\n").read("people", ["id"])))
    changed = given_file(tmp_path, "id,name\n1,a\n2,b\n3,c\n")
    with pytest.raises(InputInvalid, match=r"has changed since reading began \(16 bytes then, 20 now\)"):
        list(changed.read("people", ["id"], cursor=first.cursor))


def test_deltas_are_refused(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    reader = given_file(tmp_path, "id\n1\n")
    with pytest.raises(SettingsInvalid, match="do not tell when a record changed"):
        list(reader.read("people", ["id"], since=datetime(2026, 1, 1, tzinfo=UTC)))


def test_resuming_does_not_look_at_the_whole_file_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PAGE_RECORDS", 10)
    reader = given_file(tmp_path, "id\n" + "".join(f"{number}\n" for number in range(100)))
    cursor = list(reader.read("people", ["id"]))[4].cursor
    monkeypatch.setattr(delimited, "detect", None)
    rest = source(tmp_path).read("people", ["id"], cursor=cursor)
    assert next(iter(rest)).frame["id"].to_list() == [str(number) for number in range(50, 60)]


# Without U+0080 to U+00BF: the Windows bytes of “Â©” are also the UTF-8 of “©”, and no reader can tell.
latin = st.characters(max_codepoint=0x7E, categories=["L", "N", "P", "S", "Z"]) | st.characters(
    min_codepoint=0xC0, max_codepoint=0xFF
)
cells = st.text(latin, max_size=6) | st.sampled_from(
    ['"', '""', ",", ";", "\n", "\r\n", "a,b", '"x"', "=1+1", " ", "é"]
)


@st.composite
def written_tables(draw: st.DrawFn) -> tuple[list[list[str]], bytes]:
    """Rows of cells, and a file that holds them in some encoding, delimiter and quoting."""
    width = draw(st.integers(1, 4))
    body = draw(st.lists(st.lists(cells, min_size=width, max_size=width), max_size=12))
    out = io.StringIO(newline="")
    writer = csv.writer(
        out,
        delimiter=draw(st.sampled_from([",", ";", "\t", "|"])),
        quoting=draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])),
        lineterminator=draw(st.sampled_from(["\n", "\r\n"])),
    )
    writer.writerows([[f"c{place}" for place in range(width)], *body])
    codec = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    return body, out.getvalue().encode(codec)


@given(written_tables(), st.integers(8, 64), st.integers(1, 5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_written_is_read_and_resumed(
    tmp_path: Path, written: tuple[list[list[str]], bytes], block: int, page: int
) -> None:
    body, content = written
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(delimited, "BLOCK_BYTES", block)
        patched.setattr(tables, "PAGE_RECORDS", page)
        reader = given_file(tmp_path, content)
        names = reader.describe("people").names
        pages = list(reader.read("people", names))
        expected = [tuple(cell or None for cell in row) for row in body if any(row)]
        assert _values(pages) == expected
        for position, each in enumerate(pages[:-1], start=1):
            stored = json.loads(json.dumps(each.cursor))
            assert _values(list(source(tmp_path).read("people", names, cursor=stored))) == _values(pages[position:])


def _values(pages: Sequence[Page]) -> list[tuple[str | None, ...]]:
    return [row[1:] for page in pages for row in page.frame.rows()]


def test_blocks_that_look_packed_are_read_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of “x^” open a zlib stream, and Polars would unpack it."""
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 8)
    body = [("x^", "a"), ("x^", "b"), ("x^1", None)]
    assert rows(given_file(tmp_path, "id,n\nx^,a\nx^,b\nx^1,\n")) == body


def test_short_rows_are_not_hidden_by_long_ones(tmp_path: Path) -> None:
    assert "line 2: the row has 1 cells" in refusal(given_file(tmp_path, "id,a,b\n1\n2,x,y,,\n"))
    assert "line 2: the row has 2 cells" in refusal(given_file(tmp_path, 'id,a,b\n1,\n2,"x",y,'))


@pytest.mark.parametrize("cell", ['""a""', '"a"b"c"', '"" ""', '"a" '])
def test_quotation_marks_are_never_dropped(tmp_path: Path, cell: str) -> None:
    assert "line 2: the quotation marks are not right" in refusal(given_file(tmp_path, f"id,a\n1,{cell}\n"))


@pytest.mark.parametrize("line", ['""\n', "\n", 'x,"\n"\n'])
def test_hostile_quoting_is_refused_or_read_quickly(tmp_path: Path, line: str) -> None:
    began = time.monotonic()
    for closing in ("", '"'):
        with contextlib.suppress(InputInvalid):
            given_file(tmp_path, 'id,name\n1,"' + line * 500_000 + closing).check()
            rows(source(tmp_path))
        with contextlib.suppress(InputInvalid):
            given_file(tmp_path, '"' + line * 500_000 + closing).check()
    assert time.monotonic() - began < 10


pieces = st.lists(st.sampled_from(["a", '"', '""', ",", "\n", "\r\n", "\r", " ", "x^"]), max_size=14).map("".join)


@given(pieces, st.integers(1, 3))
@settings(max_examples=500, deadline=None)
def test_a_fast_parse_that_is_believed_equals_the_exact_one(text: str, width: int) -> None:
    written = delimited.Layout(encoding.Encoding("utf-8"), ",", tuple("abc"[:width]), 0, 1)
    with contextlib.suppress(pl.exceptions.PolarsError, InputInvalid):
        exact = delimited._exact(text.encode(), written, "x", 1)
        fast = delimited._fast(text.encode(), text.count('"'), written)
        blank = pl.all_horizontal(pl.all().is_null())
        assert fast is None or fast.filter(~blank).equals(exact.filter(~blank))


@given(st.binary(max_size=300))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused_with_a_sentence(tmp_path: Path, content: bytes) -> None:
    reader = given_file(tmp_path, content)
    with contextlib.suppress(InputInvalid):
        assert reader.check().account
        assert all(any(row) for row in rows(reader))


@pytest.mark.parametrize("codec", [codec for codec, _ in ENCODINGS])
def test_codecs_on_offer_give_back_their_bytes(codec: str) -> None:
    raw = "Zoë 😀".encode(codec) if codec.startswith("utf") else bytes(range(0xC0, 0x100))
    utf8 = encoding.Encoding(codec).to_utf8(raw, final=True, label="x")
    assert encoding.Encoding(codec).raw_length(utf8) == len(raw)
    assert utf8.decode().encode(codec) == raw
