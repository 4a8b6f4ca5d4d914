"""The payroll configuration of the simulator: what is defined, how it hangs together, and what is planted wrong."""

from collections.abc import Iterator

import pytest

from sandbox.salesforce import payroll
from sandbox.salesforce.payroll import BREAKPOINT_LOOKUPS, Configuration, Names, Size
from sandbox.salesforce.running import Running, running_simulator
from tests.connectors.payroll_org import records_of

NAMES = Names()
SMALL = Size(pay_codes=30, leave_rules=8, rules=10, breakpoints=60, minimums=20, bad=7)


@pytest.fixture(scope="module")
def org() -> Iterator[tuple[Running, Configuration]]:
    with running_simulator() as running:
        payroll.install(running, NAMES)
        yield running, payroll.fill(running, NAMES, SMALL)


def test_the_org_holds_what_was_made(org: tuple[Running, Configuration]) -> None:
    running, made = org
    for name, rows in made.records.items():
        assert {row["Id"] for row in records_of(running, name, "Id")} == {row["Id"] for row in rows}
    assert made.total == 30 + 8 + 6 + 25 + 30 + 20 + 10 + 60
    assert {row["Name"][:3] for row in records_of(running, NAMES.method, "Name")} == {"CM-"}  # type: ignore[index]


def test_breakpoints_refer_to_each_other_three_levels_deep(org: tuple[Running, Configuration]) -> None:
    rows = org[1].records[NAMES.breakpoint]
    above = {row["Id"]: row.get(NAMES.time(BREAKPOINT_LOOKUPS[0])) for row in rows}

    def depth(key: str) -> int:
        parent = above.get(key)
        return depth(parent) + 1 if parent else 0

    assert max(map(depth, above)) == 3


def test_rules_have_three_record_types_and_vary_rules_made_before_them(org: tuple[Running, Configuration]) -> None:
    rows = org[1].records[NAMES.rule]
    assert len({row["RecordTypeId"] for row in rows}) == 3
    varied = [row for row in rows if row[NAMES.time("Interpretation_Rule")]]
    assert varied
    assert all(row[NAMES.time("Interpretation_Rule")] < row["Id"] for row in varied)


def test_bad_records_are_where_the_list_says_and_nothing_refers_to_them(org: tuple[Running, Configuration]) -> None:
    made = org[1]
    assert len(made.bad) == 7
    assert len({each.id for each in made.bad}) == 7
    named = {value for rows in made.records.values() for row in rows for key, value in row.items() if key != "Id"}
    assert not named & {each.id for each in made.bad}
    by_id = {row["Id"]: row for rows in made.records.values() for row in rows}
    assert all(each.field in by_id[each.id] for each in made.bad)


def test_the_same_seed_makes_the_same_configuration(org: tuple[Running, Configuration]) -> None:
    again = payroll.fill(org[0], NAMES, SMALL)
    assert again == org[1]


def test_without_namespaces_the_names_are_plain() -> None:
    plain = payroll.metadata(Names(namespaced=False), external_id=False)
    assert [each["fullName"] for each in plain][-2:] == ["Interpretation_Rule__c", "Interpretation_Breakpoint__c"]
    assert not [field for each in plain for field in each["fields"] if "__" in field["fullName"].removesuffix("__c")]
    assert not [field for each in plain for field in each["fields"] if field.get("externalId")]


def test_more_bad_records_than_there_is_room_for_are_refused(org: tuple[Running, Configuration]) -> None:
    with pytest.raises(ValueError, match="no room for so many"):
        payroll.fill(org[0], NAMES, Size(pay_codes=3, leave_rules=1, rules=1, breakpoints=4, minimums=1, bad=90))
