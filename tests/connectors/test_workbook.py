"""The workbook source against the contract of every source, for each kind of file."""

import io
import json
from pathlib import Path
from typing import ClassVar

import pytest
import xlsxwriter

from connectors.clients.workbook import delimited, tables
from connectors.context import Context
from connectors.files import FolderFiles
from connectors.registry import source_class
from connectors.sources.workbook import WorkbookSource
from connectors.testing import SourceContract

RECORDS = [(f"r{number}", "true", "1.5", "2024-01-31", "2024-01-31T10:00:00Z", "", "007") for number in range(95)]
HEADER = ("id", "flag", "amount", "day", "moment", "blank", "code")


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and blocks so small that little data has many."""
    monkeypatch.setattr(tables, "PAGE_RECORDS", 7)
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 500)


class TestCsv(SourceContract):
    connector: ClassVar[type[WorkbookSource]] = WorkbookSource
    entity = "people"
    empty_entity = "bare"

    @pytest.fixture
    def context(self, tmp_path: Path) -> Context:
        lines = [";".join(cells) + "\r\n" for cells in (HEADER, *RECORDS)]
        (tmp_path / "people.csv").write_bytes("".join(lines).encode("utf-16"))
        (tmp_path / "bare.tsv").write_text("id\tname\n")
        return Context(settings={"id_column": "id"}, files=FolderFiles(tmp_path))


class TestRowNumbers(SourceContract):
    connector: ClassVar[type[WorkbookSource]] = WorkbookSource
    entity = "people"

    @pytest.fixture
    def context(self, tmp_path: Path) -> Context:
        (tmp_path / "people.csv").write_text("name,city\n" + "Ann,Köln\n" * 50, encoding="cp1252")
        return Context(files=FolderFiles(tmp_path))


class TestExcel(SourceContract):
    connector: ClassVar[type[WorkbookSource]] = WorkbookSource
    entity = "People"
    empty_entity = "Bare"

    @pytest.fixture
    def context(self, tmp_path: Path) -> Context:
        with xlsxwriter.Workbook(tmp_path / "book.xlsx") as book:
            people = book.add_worksheet("People")
            people.write_row(0, 0, HEADER)
            for number, (key, _, amount, *texts) in enumerate(RECORDS[:40], start=1):
                people.write_row(number, 0, [key, True, float(amount), *texts])
            book.add_worksheet("Bare").write_row(0, 0, ["id", "name"])
        return Context(files=FolderFiles(tmp_path))


class TestTrees(SourceContract):
    connector: ClassVar[type[WorkbookSource]] = WorkbookSource
    entity = "Contact"

    @pytest.fixture
    def context(self, tmp_path: Path) -> Context:
        contacts = [
            {
                "attributes": {"type": "Contact", "referenceId": f"c{number}"},
                "ReportsToId": f"@c{number // 2}",
                "HasOptedOut": number % 2 == 0,
                "Score": number / 4,
                "Birthdate": "1990-02-28",
                "Title": "",
            }
            for number in range(30)
        ]
        (tmp_path / "Contacts.json").write_text(json.dumps({"records": contacts}))
        return Context(files=FolderFiles(tmp_path))


def test_the_registry_knows_it() -> None:
    assert source_class("workbook") is WorkbookSource


def test_stores_other_than_folders_serve_as_well() -> None:
    class Memory:
        def names(self) -> list[str]:
            return ["a.csv"]

        def open(self, name: str) -> io.BytesIO:
            return io.BytesIO(b"id\n1\n")

        def size(self, name: str) -> int:
            return 5

    (page,) = WorkbookSource(Context(files=Memory())).read("a", ["id"])
    assert page.frame.rows() == [("1",)]
