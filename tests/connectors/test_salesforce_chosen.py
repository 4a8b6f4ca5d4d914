"""Records chosen by parents of several objects, and files chosen by the records they lie at."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from connectors.clients import salesforce_chosen
from connectors.errors import SettingsInvalid
from connectors.sources.salesforce import SalesforceSource
from connectors.types import Condition, Cursor, Operator
from sandbox.salesforce.running import Running, running_simulator
from tests.connectors.file_org import document_of, link, upload
from tests.connectors.test_salesforce_contract import context_of

EARLY = Condition("Industry", Operator.EQUALS, ("Retail",))


@pytest.fixture(scope="module")
def org() -> Iterator[Running]:
    with running_simulator() as running:
        shop, mill = running.control.upsert(
            "Account", [{"Name": "Shop", "Industry": "Retail"}, {"Name": "Mill", "Industry": "Mining"}]
        )
        [deal] = running.control.upsert("Opportunity", [{"Name": "Retail", "StageName": "New", "AccountId": mill}])
        running.control.upsert(
            "Task",
            [
                {"Subject": "at the shop", "WhatId": shop},
                {"Subject": "at the mill", "WhatId": mill},
                {"Subject": "at the deal", "WhatId": deal},
                {"Subject": "at nothing"},
            ],
        )
        yield running


@pytest.fixture
def source(org: Running) -> Iterator[SalesforceSource]:
    with SalesforceSource(context_of(org)) as opened:
        yield opened


def subjects(source: SalesforceSource, *conditions: Condition) -> set[str]:
    source.narrow("Task", conditions)
    found = {one for page in source.read("Task", ["Id", "Subject"]) for one in page.frame["Subject"]}
    assert source.count("Task") == len(found)
    return found


# --- children through references that lead to several objects ---------------------------------------------------


def test_children_of_parents_that_a_filter_finds(source: SalesforceSource) -> None:
    assert subjects(source, Condition("WhatId.Industry", Operator.EQUALS, ("Retail",), ("Account",))) == {"at the shop"}
    both = (
        Condition("WhatId.Industry", Operator.FILLED, (), ("Account",)),
        Condition("WhatId.Name", Operator.BEGINS, ("Mi",), ("Account",)),
    )
    assert subjects(source, *both) == {"at the mill"}
    through = Condition("WhatId.AccountId.Name", Operator.EQUALS, ("Mill",), ("Opportunity", "Account"))
    assert subjects(source, through) == {"at the deal"}


def test_children_of_parents_chosen_one_by_one(source: SalesforceSource, org: Running) -> None:
    ids = {row["Name"]: str(row["Id"]) for row in org.control.dump("Account")}
    chosen = Condition("WhatId.Id", Operator.AMONG, (ids["Mill"],), ("Account",))
    assert subjects(source, chosen) == {"at the mill"}


def test_children_of_all_parents_of_one_object(source: SalesforceSource) -> None:
    assert subjects(source, Condition("WhatId", Operator.FILLED, (), ("Account",))) == {"at the shop", "at the mill"}
    assert subjects(source, Condition("WhatId", Operator.FILLED, (), ("Opportunity",))) == {"at the deal"}


@pytest.mark.parametrize(
    ("entity", "conditions", "said"),
    [
        ("Task", [Condition("WhatId.Name", Operator.FILLED)], "does not lead to parents of one object"),
        ("Task", [Condition("WhatId.Name", Operator.FILLED, (), ("Lead",))], "never leads to Lead"),
        ("Attachment", [Condition("ParentId.Subject", Operator.FILLED, (), ("Task",))], "Choose the Task records one"),
        ("Contact", [Condition("AccountId.Name", Operator.FILLED, (), ("Lead",))], "never leads to Lead"),
        (
            "Task",
            [
                Condition("WhatId.Name", Operator.FILLED, (), ("Account",)),
                Condition("WhatId.Name", Operator.FILLED, (), ("Opportunity",)),
                Condition("WhoId.Email", Operator.FILLED, (), ("Contact",)),
            ],
            "through 3 references",
        ),
    ],
)
def test_what_the_platform_cannot_ask_is_told(
    source: SalesforceSource, entity: str, conditions: Sequence[Condition], said: str
) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        source.narrow(entity, conditions)


# --- files of chosen records --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(org: Running) -> Running:
    """A plan at shop and mill, a picture at the mill, a file at a task of the shop, one at nobody; attachments."""
    ids = {row["Name"]: str(row["Id"]) for row in org.control.dump("Account")}
    tasks = {row["Subject"]: str(row["Id"]) for row in org.control.dump("Task")}
    plan = upload(org, b"one", Title="Plan", PathOnClient="p", FirstPublishLocationId=ids["Shop"])
    upload(org, b"two", Title="Plan", PathOnClient="p", ContentDocumentId=document_of(org, plan))
    link(org, document_of(org, plan), ids["Mill"])
    upload(org, b"x", Title="Picture", PathOnClient="p", FirstPublishLocationId=ids["Mill"])
    upload(org, b"y", Title="Minutes", PathOnClient="p", FirstPublishLocationId=tasks["at the shop"])
    upload(org, b"z", Title="Nobody's", PathOnClient="p")
    for name in ("Shop", "Mill"):
        upload(org, name.encode(), into="Attachment", Name=name, ParentId=ids[name])
    return org


def titles(source: SalesforceSource, since: datetime | None = None) -> list[str]:
    fields = ["Id", "Title", "VersionNumber"]
    pages = list(source.read("ContentVersion", fields, since=since))
    assert pages[-1].cursor is None
    return sorted(f"{row[1]} {row[2]}" for page in pages for row in page.frame.rows())


def names(source: SalesforceSource, since: datetime | None = None) -> list[str]:
    pages = list(source.read("Attachment", ["Id", "Name", "Body"], since=since))
    assert pages[-1].cursor is None
    return sorted(name for page in pages for name in page.frame["Name"])


def links(source: SalesforceSource) -> int:
    fields = ["Id", "ContentDocumentId", "LinkedEntityId", "LinkedEntityType"]
    return sum(page.frame.height for page in source.read("ContentDocumentLink", fields))


def test_files_at_chosen_records_come_once_with_all_versions(source: SalesforceSource, files: Running) -> None:
    source.narrow_files({"Account": [EARLY]})
    assert (titles(source), names(source), links(source)) == (["Plan 1", "Plan 2"], ["Shop"], 1)
    source.narrow_files({"Account": [], "Contact": [EARLY_CONTACT]})
    assert titles(source) == ["Picture 1", "Plan 1", "Plan 2"]
    assert (names(source), links(source)) == (["Mill", "Shop"], 3)
    assert sum(page.frame.height for page in source.read("ContentDocument", ["Id", "Title"])) == 2


EARLY_CONTACT = Condition("LastName", Operator.EQUALS, ("Nobody",))


def test_files_at_records_of_an_object_that_no_inner_query_asks(
    source: SalesforceSource, files: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks are chosen through their accounts, which needs a query inside a query: their ids are asked for instead."""
    monkeypatch.setattr(salesforce_chosen, "IDS_OF_A_QUERY", 1)
    source.narrow_files({"Task": [Condition("WhatId.Industry", Operator.FILLED, (), ("Account",))]})
    assert titles(source) == ["Minutes 1"]


def test_nothing_chosen_is_no_file(source: SalesforceSource, files: Running) -> None:
    source.narrow_files({"Contact": [EARLY_CONTACT]})
    assert (titles(source), names(source), links(source)) == ([], [], 0)


def test_reading_chosen_files_goes_on_behind_every_page(
    source: SalesforceSource, files: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(salesforce_chosen, "DOCUMENTS_OF_A_PAGE", 1)
    source.narrow_files({"Account": [], "Opportunity": []})
    for entity in ("ContentVersion", "Attachment"):
        pages = list(source.read(entity, ["Id"]))
        given = [page.frame["Id"].to_list() for page in pages]
        assert sum(map(len, given)) == {"ContentVersion": 3, "Attachment": 2}[entity]
        for number, page in enumerate(pages[:-1]):
            cursor: Cursor | None = page.cursor
            rest = [one for later in source.read(entity, ["Id"], cursor=cursor) for one in later.frame["Id"]]
            assert rest == [one for each in given[number + 1 :] for one in each]


def test_a_delta_reads_old_files_of_records_that_changed_or_were_linked_anew(
    source: SalesforceSource, files: Running
) -> None:
    """Everything is aged: only what a record's change, a new link or a file's own change brings is read."""
    control = files.control
    old, mark = "2026-01-01T00:00:00.000Z", datetime(2026, 6, 1, tzinfo=UTC)
    for entity in ("Account", "ContentVersion", "ContentDocumentLink", "Attachment", "ContentDocument"):
        control.upsert(entity, [{"Id": row["Id"], "SystemModstamp": old} for row in control.dump(entity)])
    source.narrow_files({"Account": []})
    assert (titles(source, mark), names(source, mark)) == ([], [])
    [shop] = [row["Id"] for row in control.dump("Account") if row["Name"] == "Shop"]
    control.upsert("Account", [{"Id": shop, "Industry": "Retail"}])
    assert (titles(source, mark), names(source, mark)) == (["Plan 1", "Plan 2"], ["Shop"])
    [lonely] = [str(row["Id"]) for row in control.dump("ContentDocument") if row["Title"] == "Nobody's"]
    link(files, lonely, str(shop))
    control.upsert("Account", [{"Id": shop, "SystemModstamp": old}])
    assert titles(source, mark - timedelta(days=1)) == ["Nobody's 1"]
