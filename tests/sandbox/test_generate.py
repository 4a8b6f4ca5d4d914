"""Generated data: the same for the same seed, related as described, and bad exactly where it says."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sandbox.salesforce.app import Simulator
from sandbox.salesforce.bad import LONG_COMPANY, BadRecord, kinds
from sandbox.salesforce.build import Contents, build
from sandbox.salesforce.generate import SHARES, sizes
from sandbox.salesforce.schema import SObject
from sandbox.salesforce.store import Store

OBJECTS = ("User", *SHARES, "Task")


@contextmanager
def org(*, seed: int = 4, bad: int = 0) -> Iterator[Simulator]:
    simulator = build(Contents(records=3_000, seed=seed, bad=bad), hang_up=lambda _: None)
    try:
        yield simulator
    finally:
        simulator.close()


@pytest.fixture(scope="module")
def clean() -> Iterator[Store]:
    with org() as simulator:
        yield simulator.store


def rows(store: Store, name: str, condition: str = '"IsDeleted" = 0') -> list[dict[str, Any]]:
    with store.read() as connection:
        cursor = connection.execute(f'SELECT * FROM "{name}" WHERE {condition} ORDER BY _row')
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


@pytest.mark.parametrize("records", [100, 101, 20_000, 100_000, 1_000_000])
def test_sizes_add_up(records: int) -> None:
    assert sum(sizes(records).values()) == records
    assert min(sizes(records).values()) >= 1


def test_too_few_records_are_refused() -> None:
    with pytest.raises(ValueError, match="starts at 100"):
        sizes(99)


def test_the_org_holds_what_was_asked_for(clean: Store) -> None:
    counts = {name: clean.count(clean.schema.require(name)) for name in OBJECTS}
    assert counts == sizes(3_000)


def test_same_seed_same_data_other_seed_other_data(clean: Store) -> None:
    with org() as same, org(seed=5) as other:
        for name in OBJECTS[1:]:
            assert rows(same.store, name) == rows(clean, name)
            assert rows(other.store, name) != rows(clean, name)


@pytest.mark.parametrize("name", OBJECTS)
def test_every_reference_is_met(clean: Store, name: str) -> None:
    known = {row["Id"] for each in clean.schema for row in rows(clean, each.name)}
    subject = clean.schema.require(name)
    references = [field.name for field in subject.fields if field.type == "reference"]
    for row in rows(clean, name):
        assert {row[field] for field in references if row[field] is not None} <= known


@pytest.mark.parametrize("name", OBJECTS)
def test_values_keep_to_the_fields_they_are_in(clean: Store, name: str) -> None:
    subject = clean.schema.require(name)
    for row in rows(clean, name):
        assert violations(subject, row) == []


def violations(subject: SObject, row: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for field in subject.fields:
        value = row.get(field.name)
        if not field.stored:
            continue
        if value is None:
            found += [f"{field.name} is null"] if not field.nillable else []
        elif isinstance(value, str) and field.length and len(value) > field.length:
            found.append(f"{field.name} is too long")
        elif field.values and field.type == "picklist" and value not in {each.value for each in field.values}:
            found.append(f"{field.name} is {value!r}")
    return found


@pytest.mark.parametrize(("name", "parent"), [("Account", "ParentId"), ("Contact", "ReportsToId")])
def test_trees_are_three_deep_and_have_no_loops(clean: Store, name: str, parent: str) -> None:
    above = {row["Id"]: row[parent] for row in rows(clean, name)}

    def depth(key: str) -> int:
        return 0 if above[key] is None else 1 + depth(above[key])

    assert set(map(depth, above)) == {0, 1, 2, 3}


def test_who_reports_to_whom_stays_in_one_account(clean: Store) -> None:
    contacts = {row["Id"]: row for row in rows(clean, "Contact")}
    pairs = [(row, contacts[row["ReportsToId"]]) for row in contacts.values() if row["ReportsToId"]]
    assert pairs
    assert all(a["AccountId"] == b["AccountId"] for a, b in pairs if a["AccountId"] and b["AccountId"])


def test_the_data_has_the_traps_real_data_has(clean: Store) -> None:
    contacts, tasks = rows(clean, "Contact"), rows(clean, "Task")
    assert any(not row["Name"].isascii() for row in contacts)
    assert any(row["Email"] is None for row in contacts)
    assert any("\n" in (row["MailingStreet"] or "") for row in contacts)
    assert any(len(row["Description"] or "") > 3_000 for row in contacts)
    assert {(row["WhoId"] or "none")[:3] for row in tasks} == {"003", "00Q", "non"}
    assert {(row["WhatId"] or "none")[:3] for row in tasks} == {"001", "006", "non"}
    stamps = [(row["CreatedDate"], row["LastModifiedDate"]) for row in contacts]
    assert all(made <= changed for made, changed in stamps)


def test_bad_records_are_where_the_list_says() -> None:
    with org(bad=44) as simulator:
        listed = simulator.bad
        assert len(listed) == len({bad.id for bad in listed}) == 44
        counts = Counter(bad.kind for bad in listed)
        assert set(counts) == {kind.name for kind in kinds(["x"])}
        assert set(counts.values()) <= {3, 4, 5}  # few products, so other kinds stand in for them
        for bad in listed:
            check_bad(simulator.store, bad)


def check_bad(store: Store, bad: BadRecord) -> None:
    (row,) = rows(store, bad.object, f"\"Id\" = '{bad.id}'")
    assert row[bad.field] == bad.value
    if bad.kind.endswith("_missing"):
        assert not rows(store, {"001": "Account", "003": "Contact"}[str(bad.value)[:3]], f"\"Id\" = '{bad.value}'")
    if bad.kind == "opportunity_account_deleted":
        assert rows(store, "Account", f"\"Id\" = '{bad.value}'")[0]["IsDeleted"] == 1
    for name in OBJECTS:
        subject = store.schema.require(name)
        for field in subject.fields:
            if bad.object in field.reference_to:
                assert rows(store, name, f"\"{field.name}\" = '{bad.id}'") == []


def test_the_rest_of_the_data_is_as_without_bad_ones(clean: Store) -> None:
    with org(bad=22) as simulator:
        spoilt = {bad.id for bad in simulator.bad}
        for name in OBJECTS[1:]:
            with_bad = [row for row in rows(simulator.store, name) if row["Id"] not in spoilt]
            assert with_bad == [row for row in rows(clean, name) if row["Id"] not in spoilt]


def test_more_bad_records_than_room_is_refused() -> None:
    with pytest.raises(ValueError, match="ask for more records"):
        build(Contents(records=100, bad=90), hang_up=lambda _: None)
    assert len(LONG_COMPANY) > 255
