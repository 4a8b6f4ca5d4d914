"""Files in the simulator: bodies in parts and as base64, versions, links that exist once, what queryAll shows."""

import base64
from collections.abc import Iterator

import pytest

from connectors.base import Source
from connectors.clients import salesforce_file_pages
from connectors.errors import ContractChanged
from connectors.sources.salesforce import SalesforceSource
from sandbox.salesforce.running import Running, running_simulator
from tests.connectors.file_org import DATA, body_of, client_of, document_of, link, rows, upload
from tests.connectors.payroll_org import context_of

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def org() -> Iterator[Running]:
    with running_simulator() as running:
        yield running


def test_a_version_makes_its_document_and_a_second_one_joins_it(org: Running) -> None:
    first = upload(org, b"\r\n--x\x00\xff", Title="A", PathOnClient="a.bin")
    document = document_of(org, first)
    body = {"Title": "A", "PathOnClient": "a.bin", "ContentDocumentId": document,
            "VersionData": base64.b64encode(b"two").decode()}  # fmt: skip
    with client_of(org) as client:
        second = client.post(f"{DATA}/sobjects/ContentVersion", json=body).json()["id"]
    assert (body_of(org, first), body_of(org, second)) == (b"\r\n--x\x00\xff", b"two")
    text = f"SELECT VersionNumber, IsLatest, ContentSize FROM ContentVersion WHERE ContentDocumentId = '{document}'"
    assert sorted((row["VersionNumber"], row["IsLatest"], row["ContentSize"]) for row in rows(org, text)) == [
        ("1", False, 7),
        ("2", True, 3),
    ]


def test_a_link_is_there_once_and_is_asked_for_by_its_ends(org: Running) -> None:
    [account] = org.control.upsert("Account", [{"Name": "Linked"}])
    document = document_of(org, upload(org, b"1", Title="L", PathOnClient="l.txt"))
    link(org, document, account)
    with client_of(org) as client:
        again = client.post(
            f"{DATA}/sobjects/ContentDocumentLink", json={"ContentDocumentId": document, "LinkedEntityId": account}
        )
        whole = client.get(f"{DATA}/query", params={"q": "SELECT Id FROM ContentDocumentLink"})
    assert (again.status_code, again.json()[0]["errorCode"]) == (400, "DUPLICATE_VALUE")
    assert whole.json()[0]["message"].count("ContentDocumentLink requires a filter") == 1


def test_archived_activities_are_read_though_a_query_hides_them(org: Running) -> None:
    org.control.upsert("Task", [{"Subject": "Old", "IsArchived": True}, {"Subject": "New"}])
    assert [row["Subject"] for row in rows(org, "SELECT Subject FROM Task")] == ["New"]
    with SalesforceSource(context_of(org)) as source:
        frames = [page.frame for page in source.read("Task", ["Id", "Subject", "IsArchived"])]
    assert sorted(frames[0]["Subject"]) == ["New", "Old"]


def read(source: Source, entity: str, fields: list[str]) -> list[list[dict[str, str]]]:
    """The pages, each read by a connector that knows only the cursor of the one before."""
    pages, cursor = [], None
    while True:
        page = next(iter(source.read(entity, fields, cursor=cursor)))
        pages.append(page.frame.to_dicts())
        cursor = page.cursor
        if cursor is None:
            return pages


def test_versions_of_a_document_are_on_one_page_and_in_order(org: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salesforce_file_pages, "VERSIONS_OF_A_PAGE", 3)
    monkeypatch.setattr(salesforce_file_pages, "DOCUMENTS_OF_A_PAGE", 2)
    for title, versions in (("P", 2), ("Q", 11), ("R", 1)):
        document = document_of(org, upload(org, b"1", Title=title, PathOnClient="p.txt"))
        for number in range(2, versions + 1):
            upload(org, b"x" * number, Title=title, PathOnClient="p.txt", ContentDocumentId=document)
    names = ["Id", "Title", "ContentDocumentId", "VersionNumber", "VersionData"]
    with SalesforceSource(context_of(org)) as source:
        pages = read(source, "ContentVersion", names)
        links = [row for page in read(source, "ContentDocumentLink", ["Id", "LinkedEntityType"]) for row in page]
    every = [row for page in pages for row in page]
    assert sorted(row["Id"] for row in every) == sorted(row["Id"] for row in rows(org, "SELECT Id FROM ContentVersion"))
    for page in pages:
        others = [row["ContentDocumentId"] for other in pages if other is not page for row in other]
        assert not {row["ContentDocumentId"] for row in page} & set(others)
    assert [row["VersionNumber"] for row in every if row["Title"] == "Q"] == [str(number) for number in range(1, 12)]
    assert {row["LinkedEntityType"] for row in links} == {"Account", "User"}
    assert len({row["Id"] for row in links}) == len(links)


def test_a_place_that_is_none_is_not_asked(org: Running) -> None:
    with SalesforceSource(context_of(org)) as source, pytest.raises(ContractChanged, match="no place where"):
        source.content("../limits", None)  # type: ignore[arg-type]  # nothing is written
