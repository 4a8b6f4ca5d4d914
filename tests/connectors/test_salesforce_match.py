"""Records of an org looked up by several fields, and taken over: compared as Salesforce does, locked ones again."""

from collections.abc import Iterator, Sequence
from datetime import date

import polars as pl
import pytest

from connectors.context import Context
from connectors.errors import SettingsInvalid
from connectors.targets.salesforce import SalesforceTarget
from sandbox.salesforce.running import Running
from tests.connectors.payroll_org import BREAKPOINT, KEY, RULE, context_of, emptied, payroll_org, records_of


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with payroll_org(tmp_path_factory.mktemp("payroll")) as running:
        yield running


@pytest.fixture
def context(org: Running) -> Context:
    emptied(org)
    return context_of(org)


@pytest.fixture
def target(context: Context) -> Iterator[SalesforceTarget]:
    with SalesforceTarget(context) as opened:
        yield opened


def rules(target: SalesforceTarget, **columns: Sequence[object]) -> list[str]:
    """The ids of rules with these columns; they are called rule-0, rule-1 …"""
    frame = pl.DataFrame(columns)
    keys = [f"rule-{number}" for number in range(frame.height)]
    found = target.write(RULE, frame.with_columns(pl.Series(KEY, keys)), key=KEY).frame
    return [dict(found.select("key", "target_id").iter_rows())[key] for key in keys]


def hits(target: SalesforceTarget, **columns: Sequence[object]) -> list[tuple[object, ...]]:
    return target.find(RULE, pl.DataFrame(columns), key=KEY).sort("target_id").rows()


def test_capitals_count_where_the_field_says_so(target: SalesforceTarget) -> None:
    [one] = rules(target, Name=["Overtime"], Exact__c=["a"])
    assert hits(target, Name=["OVERTIME"]) == [("OVERTIME", one, "rule-0")]
    assert hits(target, Exact__c=["A"]) == []
    described = {info.name: info.ignores_case for info in target.describe(RULE).fields}
    assert (described["Name"], described["Exact__c"]) == (True, False)


def test_all_fields_must_agree_and_every_hit_is_told(target: SalesforceTarget) -> None:
    days = [date(2026, 1, 1), date(2026, 1, 1), date(2026, 1, 2)]
    ids = rules(target, Name=["O'Neil", "o'neil", "O'Neil"], From__c=days)
    found = hits(target, Name=["O'NEIL"], From__c=[date(2026, 1, 1)])
    assert sorted(found) == sorted(("O'NEIL", date(2026, 1, 1), one, f"rule-{n}") for n, one in enumerate(ids[:2]))


def test_a_child_is_found_through_its_parent(target: SalesforceTarget) -> None:
    parents = rules(target, Name=["A", "B"])
    points = pl.DataFrame({KEY: ["p0", "p1"], RULE: parents, "Threshold__c": [1, 1]})
    target.write(BREAKPOINT, points, key=KEY)
    found = target.find(BREAKPOINT, points.select(RULE, "Threshold__c").tail(1), key=KEY)
    assert found["key"].to_list() == ["p1"]


def test_a_field_that_may_not_stand_in_a_condition_is_refused(target: SalesforceTarget) -> None:
    with pytest.raises(SettingsInvalid, match="cannot be looked up by From__c"):
        hits(target, From__c=[date(2026, 1, 1)])


def test_a_locked_record_is_taken_over_when_the_lock_has_gone(org: Running, target: SalesforceTarget) -> None:
    [one] = rules(target, Name=["x"])
    ours, nobody = pl.DataFrame({"target_id": [one], "key": ["new"]}), pl.DataFrame({"target_id": [one]})
    target.adopt(RULE, nobody.with_columns(key=pl.lit(None, pl.String)), key=KEY)
    org.control.lock([one], refusals=1)
    assert target.adopt(RULE, ours, key=KEY).frame["outcome"].to_list() == ["updated"]
    assert records_of(org, RULE, KEY)[0][KEY] == "new"


def test_a_key_that_another_record_has_is_refused(target: SalesforceTarget) -> None:
    ids = rules(target, Name=["x", "y"])
    target.adopt(RULE, pl.DataFrame({"target_id": ids[:1]}).with_columns(key=pl.lit(None, pl.String)), key=KEY)
    ours = pl.DataFrame({"target_id": [*ids[:1], "a00000000000000AAA"], "key": ["rule-1", "z"]})
    result = target.adopt(RULE, ours, key=KEY).frame.sort("key")
    codes = dict(result.select("key", "code").iter_rows())
    assert codes == {ids[0]: "DUPLICATE_VALUE", "a00000000000000AAA": "not_adopted"}
