"""What a Salesforce org tells of itself (record types, changes, counts, automation), and filtered reading."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from connectors.base import Connector
from connectors.clients import salesforce_inventory
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_selection import DEEPEST, compiled
from connectors.errors import SettingsInvalid
from connectors.sources.salesforce import SalesforceSource
from connectors.targets.salesforce import SalesforceTarget
from connectors.types import (
    Automation,
    AutomationKind,
    Condition,
    EntityInfo,
    EntitySchema,
    FieldInfo,
    FieldType,
    Operator,
)
from sandbox.salesforce import payroll
from sandbox.salesforce.payroll import NEGATIVE_LOADING, RECORD_TYPES, Configuration, Names, Size
from sandbox.salesforce.running import Running, running_simulator
from tests.connectors.payroll_org import context_of

N = Names()
SIZE = Size(pay_codes=40, leave_rules=5, minimums=9, rules=10, breakpoints=80)


@pytest.fixture(scope="module")
def org() -> Iterator[tuple[Running, Configuration]]:
    with running_simulator() as running:
        payroll.install(running, N)
        made = payroll.fill(running, N, SIZE)
        yield running, made


@pytest.fixture
def source(org: tuple[Running, Configuration]) -> Iterator[SalesforceSource]:
    with SalesforceSource(context_of(org[0])) as opened:
        yield opened


@pytest.fixture
def target(org: tuple[Running, Configuration]) -> Iterator[SalesforceTarget]:
    with SalesforceTarget(context_of(org[0])) as opened:
        yield opened


def both(source: SalesforceSource, target: SalesforceTarget) -> tuple[Connector, Connector]:
    return source, target


def read(source: SalesforceSource, entity: str, *conditions: Condition) -> set[str]:
    source.narrow(entity, conditions)
    found = {key for page in source.read(entity, ["Id"]) for key in page.frame["Id"].to_list()}
    assert source.count(entity) == len(found)
    return found


def test_record_types_are_told_by_name_without_the_master(source: SalesforceSource, target: SalesforceTarget) -> None:
    for connector in both(source, target):
        assert tuple(kind.name for kind in connector.describe(N.rule).record_types) == RECORD_TYPES
        assert connector.describe(N.pay_code).record_types == ()


def test_an_object_is_sent_again_only_when_it_changed(
    org: tuple[Running, Configuration], source: SalesforceSource, target: SalesforceTarget
) -> None:
    for connector in both(source, target):
        schema, stamp = connector.describe_if_changed(N.rule, "")
        assert schema == connector.describe(N.rule)
        assert connector.describe_if_changed(N.rule, stamp) == (None, stamp)
    assert source.describe_if_changed(N.rule, "Thu, 01 Jan 2015 00:00:00 GMT")[0] is not None


def test_counts_name_empty_objects_too(source: SalesforceSource) -> None:
    counts = source.inventory([N.pay_code, "Lead"]).records
    assert counts == {N.pay_code: 40, "Lead": 0}


def test_automation_is_listed_by_kind(org: tuple[Running, Configuration], source: SalesforceSource) -> None:
    control = org[0].control
    where = {"Name": "x"}
    control.add_rule(N.rule, name="Named", where=where, message="Give it a name.")
    control.add_rule(N.rule, name="Guard", where=where, code="CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY")
    control.add_rule("Account", name="Nightly", where=where, code="CANNOT_EXECUTE_FLOW_TRIGGER", active=False)
    control.add_rule("Account", name="Twice", where=where, code="DUPLICATES_DETECTED", message="Accounts")
    found = source.inventory([])
    control.remove_rules(N.rule)
    control.remove_rules("Account")
    assert found.unread == ()
    assert set(found.automations) == {
        Automation(AutomationKind.VALIDATION_RULE, N.rule, "Named", active=True, detail="Give it a name."),
        Automation(AutomationKind.VALIDATION_RULE, N.loading, "Not_Negative", active=True, detail=NEGATIVE_LOADING),
        Automation(AutomationKind.TRIGGER, N.rule, "Guard", active=True),
        Automation(AutomationKind.FLOW, "Account", "Nightly", active=False, detail="Nightly"),
        Automation(AutomationKind.DUPLICATE_RULE, "Account", "Twice", active=True, detail="Accounts"),
    }


def test_automation_that_may_not_be_seen_is_said_and_the_rest_is_read(
    target: SalesforceTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An org whose Tooling API hides an object answers as if there were none."""
    first, *others = salesforce_inventory._QUESTIONS
    hidden = replace(first, soql="SELECT ValidationName FROM HiddenRule")
    monkeypatch.setattr(salesforce_inventory, "_QUESTIONS", (hidden, *others))
    found = target.inventory([N.leave_rule])
    assert found.records == {N.leave_rule: 5}
    (said,) = found.unread
    assert said.startswith("The validation rules could not be read: Salesforce knows no such object")
    assert said.endswith("They need “View Setup and Configuration”.")


# --- Filters --------------------------------------------------------------------------------------------------
def test_conditions_narrow_what_is_read_and_counted(
    org: tuple[Running, Configuration], source: SalesforceSource
) -> None:
    rows = org[1].records[N.pay_code]
    status, rate = N.payroll("Status"), N.payroll("Rate")
    active = {row["Id"] for row in rows if row[status] == "Active"}
    assert read(source, N.pay_code, Condition(status, Operator.EQUALS, ("Active",))) == active
    assert read(source, N.pay_code, Condition(status, Operator.AMONG, ("Active",))) == active
    assert (
        read(source, N.pay_code, Condition(status, Operator.DIFFERS, ("Active",))) == {r["Id"] for r in rows} - active
    )
    high = {row["Id"] for row in rows if row[rate] > 2}
    both_hold = Condition(status, Operator.EQUALS, ("Active",)), Condition(rate, Operator.GREATER, ("2",))
    assert read(source, N.pay_code, *both_hold) == active & high
    assert read(source, N.pay_code, Condition(rate, Operator.BLANK)) == set()
    assert read(source, N.pay_code, Condition("Name", Operator.BEGINS, ("Pay code 1",))) == {
        row["Id"] for row in rows if row["Name"].startswith("Pay code 1")
    }
    assert read(source, N.pay_code) == {row["Id"] for row in rows}


def test_chosen_records_and_children_of_chosen_parents(
    org: tuple[Running, Configuration], source: SalesforceSource
) -> None:
    rules, points = org[1].records[N.rule], org[1].records[N.breakpoint]
    parent, chosen = N.time("Interpretation_Rule"), {rules[0]["Id"], rules[3]["Id"]}
    assert read(source, N.rule, Condition("Id", Operator.AMONG, tuple(chosen))) == chosen
    children = {row["Id"] for row in points if row[parent] in chosen}
    assert children
    assert read(source, N.breakpoint, Condition(f"{parent}.Id", Operator.AMONG, tuple(chosen))) == children
    kind = Condition(f"{parent}.{N.time('Timesheet_Frequency')}", Operator.EQUALS, ("Weekly",))
    weekly = {row["Id"] for row in rules if row[N.time("Timesheet_Frequency")] == "Weekly"}
    assert read(source, N.breakpoint, kind) == {row["Id"] for row in points if row[parent] in weekly}


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (Condition("Nothing__c", Operator.BLANK), "has no field Nothing__c"),
        (Condition("Id = '' OR Name", Operator.EQUALS, ("x",)), "has no field Id = '' OR Name"),
        (Condition(N.payroll("Rate"), Operator.EQUALS, ("1 OR 1=1",)), "is not a value for tc9_pr__Rate__c"),
        (Condition(N.payroll("Rate"), Operator.EQUALS, ("NaN",)), "is not a value"),
        (Condition(N.payroll("Description"), Operator.EQUALS, ("x",)), "cannot filter by"),
        (Condition("Name", Operator.EQUALS, ()), "needs a value"),
        (Condition("Name", Operator.BLANK, ("x",)), "needs no value"),
        (Condition("Name.Name", Operator.BLANK), "does not lead to parents of one object"),
        (Condition(N.payroll("Status"), Operator.GREATER, ("Active",)), "has no order"),
        (Condition(N.payroll("Rate"), Operator.BEGINS, ("1",)), "is not a text"),
        (Condition(".".join(["OwnerId"] * (DEEPEST + 1) + ["Id"]), Operator.BLANK), "more than 5 parents"),
        (Condition("Id", Operator.AMONG, ("003000000000001AAA",) * 600), "too long for one query"),
    ],
)
def test_what_does_not_fit_the_object_is_refused_before_anything_is_asked(
    source: SalesforceSource, condition: Condition, said: str
) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        source.narrow(N.pay_code, [condition])


def test_a_value_with_quotes_is_only_a_value(source: SalesforceSource) -> None:
    assert read(source, N.pay_code, Condition("Name", Operator.EQUALS, ("' OR Name != '",))) == set()


def test_values_of_several_kinds_are_written_as_their_literals() -> None:
    described = SObject(
        EntitySchema(
            EntityInfo("X__c", "X", "Id"),
            (
                FieldInfo("Days__c", FieldType.MULTIPICKLIST),
                FieldInfo("Live__c", FieldType.BOOLEAN),
                FieldInfo("From__c", FieldType.DATE),
                FieldInfo("At__c", FieldType.DATETIME),
            ),
        ),
        replicateable=True,
        has_recycle_bin=True,
        filterable=frozenset(("Days__c", "Live__c", "From__c", "At__c")),
    )
    conditions = (
        Condition("Days__c", Operator.AMONG, ("Mon", "Tue")),
        Condition("Live__c", Operator.EQUALS, ("TRUE",)),
        Condition("From__c", Operator.LESS, ("2026-01-31",)),
        Condition("At__c", Operator.GREATER_OR_EQUAL, ("2026-01-31T12:00:00",)),
        Condition("At__c", Operator.FILLED),
    )
    assert compiled(described, conditions, lambda _: described) == (
        "Days__c INCLUDES ('Mon','Tue')",
        "Live__c = true",
        "From__c < 2026-01-31",
        "At__c >= 2026-01-31T12:00:00.000Z",
        "At__c != null",
    )
    with pytest.raises(SettingsInvalid, match="is not a value for Live__c, which is a boolean"):
        compiled(described, [Condition("Live__c", Operator.EQUALS, ("maybe",))], lambda _: described)


def test_a_sample_is_small_whatever_the_size_of_the_object(source: SalesforceSource) -> None:
    source.narrow(N.pay_code, [Condition("Name", Operator.FILLED)])
    assert source.sample(N.pay_code, ["Id", "Name"], size=3).shape == (3, 2)
