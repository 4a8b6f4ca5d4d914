"""Zips as a source, and the local folder that files come from: what is read, and what is refused."""

import io
import json
import stat
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from connectors import files
from connectors.clients.workbook import archive, tables
from connectors.context import Context, FileStore
from connectors.errors import InputInvalid, SettingsInvalid
from connectors.files import FolderFiles
from connectors.sources.workbook import WorkbookSource


def packed(members: Mapping[str, bytes | str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return out.getvalue()


def source(store: FileStore) -> WorkbookSource:
    return WorkbookSource(Context(files=store))


def given_zip(folder: Path, content: bytes | Mapping[str, bytes | str]) -> WorkbookSource:
    (folder / "export.zip").write_bytes(content if isinstance(content, bytes) else packed(content))
    return source(FolderFiles(folder))


def frame(reader: WorkbookSource, entity: str) -> pl.DataFrame:
    return pl.concat(page.frame for page in reader.read(entity, reader.describe(entity).names))


def refusal(reader: WorkbookSource) -> str:
    began = time.monotonic()
    with pytest.raises(InputInvalid) as caught:
        reader.check()
    assert time.monotonic() - began < 5
    assert str(caught.value).startswith("export.zip")
    return str(caught.value)


def test_a_zip_is_read_like_a_folder(tmp_path: Path) -> None:
    tree = {"records": [{"attributes": {"type": "A", "referenceId": "r1"}, "Name": "x"}]}
    reader = given_zip(
        tmp_path,
        {
            "people.csv": "id,name\n1,Ann\n",
            "data/plan.json": json.dumps([{"sobject": "A", "files": ["a.json"]}]),
            "data/a.json": json.dumps(tree),
            "data/A.csv": "id\n1\n",
            "objects/A/A.object-meta.xml": '<CustomObject xmlns="http://soap.sforce.com/2006/04/metadata">'
            "<label>Alpha</label></CustomObject>",
            "__MACOSX/._people.csv": b"\0\1",
            ".DS_Store": b"\0",
            "data/~$book.xlsx": b"\0",
        },
    )
    assert [(info.name, info.label) for info in reader.entities()] == [("A", "Alpha"), ("people", "people")]
    assert frame(reader, "people").rows() == [("1", "Ann")]
    assert frame(reader, "A").rows() == [("r1", "x")]
    assert reader.check().facts["files without records"] == "export.zip/data/A.csv"


def test_the_same_file_packed_and_plain_are_two_entities(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("id\n1\n")
    reader = given_zip(tmp_path, {"people.csv": "id\n2\n"})
    assert [info.name for info in reader.entities()] == ["export.zip/people.csv", "people.csv"]


def test_packed_files_resume_by_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PAGE_RECORDS", 3)
    reader = given_zip(tmp_path, {"a.csv": "id\n" + "".join(f"{number}\n" for number in range(10))})
    pages = list(reader.read("a", ["id"]))
    rest = source(FolderFiles(tmp_path)).read("a", ["id"], cursor=pages[1].cursor)
    assert [page.frame["id"].to_list() for page in rest] == [["6", "7", "8"], ["9"]]


def test_a_truncated_zip_is_told(tmp_path: Path) -> None:
    content = packed({"a.csv": "id\n" + "x" * 5_000})
    for kept in (5, len(content) // 2, len(content) - 3):
        assert "damaged or cut off" in refusal(given_zip(tmp_path, content[:kept]))


def test_what_is_no_zip_is_told(tmp_path: Path) -> None:
    assert "is no zip archive, but a PDF" in refusal(given_zip(tmp_path, b"%PDF-1.7"))
    assert "is empty (0 bytes)" in refusal(given_zip(tmp_path, b""))


def test_a_zip_without_files_is_told(tmp_path: Path) -> None:
    assert "is no zip archive, but an empty zip archive" in refusal(given_zip(tmp_path, {}))


def test_damaged_content_is_told(tmp_path: Path) -> None:
    content = packed({"a.csv": "id\n" + "\n".join(map(str, range(5_000)))})
    assert "“a.csv” cannot be unpacked" in refusal(given_zip(tmp_path, content[:500] + bytes(50) + content[550:]))


@pytest.mark.parametrize("name", ["../a.csv", "x/../../a.csv", "/etc/a.csv", "C:/a.csv", "..\\a.csv"])
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    assert "which leads out of it" in refusal(given_zip(tmp_path, {name: "id\n1\n"}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.zip"]


def test_links_are_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        link = zipfile.ZipInfo("a.csv")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, "/etc/passwd")
    assert "which leads out of it" in refusal(given_zip(tmp_path, out.getvalue()))


@pytest.mark.parametrize("name", ["inner.zip", "deep/inner.ZIP", "data.tar", "data.csv.gz"])
def test_archives_in_archives_are_refused(tmp_path: Path, name: str) -> None:
    assert "holds another archive" in refusal(given_zip(tmp_path, {name: packed({"a.csv": "id\n"})}))


def test_an_archive_under_another_name_is_told(tmp_path: Path) -> None:
    assert "a.csv is no CSV file, but" in refusal(given_zip(tmp_path, {"a.csv": packed({"b.csv": "id\n"})}))


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        opened.writestr("a.csv", "id\n1\n")
        with pytest.warns(UserWarning, match="Duplicate name"):
            opened.writestr("a.csv", "id\n2\n")
    assert "“a.csv” twice" in refusal(given_zip(tmp_path, out.getvalue()))


def test_a_protected_zip_is_told(tmp_path: Path) -> None:
    content = bytearray(packed({"a.csv": "id\n1\n"}))
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the list of contents
    assert "protected by a password" in refusal(given_zip(tmp_path, bytes(content)))


def test_an_unknown_packing_is_told(tmp_path: Path) -> None:
    content = bytearray(packed({"a.csv": "id\n1\n"}))
    content[content.index(b"PK\x01\x02") + 10] = 97
    assert "cannot be unpacked" in refusal(given_zip(tmp_path, bytes(content)))


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    assert "times its size" in refusal(given_zip(tmp_path, {"a.csv": b"id\n" + b"0\n" * 20_000_000}))


def test_a_bomb_that_lies_about_its_size_unpacks_no_further(tmp_path: Path) -> None:
    content = bytearray(packed({"a.csv": b"id\n" + b"0\n" * 20_000_000}))
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = (100).to_bytes(4, "little")
    assert "“a.csv” cannot be unpacked" in refusal(given_zip(tmp_path, bytes(content)))


def test_sizes_and_numbers_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = given_zip(tmp_path, {"a.csv": b"id\n" + bytes(3_000_000), "b.csv": b""})
    monkeypatch.setattr(archive, "MAX_ARCHIVE_BYTES", 2_000_000)
    assert "would unpack to 2 MiB; at most 1 MiB" in refusal(reader)
    monkeypatch.setattr(archive, "MAX_ARCHIVE_ENTRIES", 1)
    assert "holds 2 files; at most 1 are read" in refusal(reader)


def test_a_folder_shows_its_files_and_nothing_else(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    folder = tmp_path / "folder"
    for path in (outside, folder / "deep", folder / ".git"):
        path.mkdir(parents=True)
    for name in ("outside/secret.csv", "folder/b.csv", "folder/deep/a.csv", "folder/.hidden", "folder/.git/x.csv"):
        (tmp_path / name).write_text("id\n")
    (folder / "link.csv").symlink_to(outside / "secret.csv")
    (folder / "linked").symlink_to(outside)
    store = FolderFiles(folder)
    assert store.names() == ["b.csv", "deep/a.csv"]
    assert store.size("deep/a.csv") == 3
    with store.open("deep/a.csv") as opened:
        assert opened.read() == b"id\n"
    for name in ("link.csv", "linked/secret.csv", "../outside/secret.csv", "deep/../../outside/secret.csv", ".hidden"):
        with pytest.raises(FileNotFoundError):
            store.open(name)
        with pytest.raises(FileNotFoundError):
            store.size(name)
    for name in ("", "deep", "none.csv", str(outside / "secret.csv"), "..\\outside\\secret.csv"):
        with pytest.raises(FileNotFoundError):
            store.open(name)


def test_a_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="There is no folder"):
        FolderFiles(tmp_path / "none")


def test_a_folder_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 2)
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text("id\n")
    with pytest.raises(InputInvalid, match="holds more than 2 files"):
        FolderFiles(tmp_path).names()
