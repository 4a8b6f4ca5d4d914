"""How the customer's wishes about duplicate alerts and assignment rules reach an org, whichever way records go."""

from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import pytest

from connectors.clients.salesforce_carrier import BULK_ABOVE
from connectors.context import Context
from connectors.errors import SettingsInvalid
from connectors.targets.salesforce import SalesforceTarget
from connectors.types import Outcome
from sandbox.salesforce.running import Running
from tests.connectors.payroll_org import KEY, RULE, context_of, emptied, payroll_org, records_of

FEW, MANY = 3, BULK_ABOVE + 5
SIZES = pytest.mark.parametrize("size", [FEW, MANY], ids=["few", "many"])
CASE_KEY, CASE_RULE, QUEUE_RULE = "Ext__c", "01Q000000000001AAA", "case_assignment_rule"
CASE = {
    "fullName": "Case",
    "fields": [
        {"fullName": CASE_KEY, "label": "Ext", "type": "Text", "length": 40, "externalId": True, "unique": True}
    ],
}


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with payroll_org(tmp_path_factory.mktemp("options")) as running:
        running.control.define(CASE)
        yield running


@pytest.fixture(autouse=True)
def clean(org: Running) -> Iterator[None]:
    yield
    emptied(org)
    org.control.remove_rules(RULE)
    org.control.set_assignment("Case", None)
    org.control.delete("Case", [str(row["Id"]) for row in records_of(org, "Case", "Id")])


def wishing(org: Running, **settings: str) -> Context:
    plain = context_of(org)
    return replace(plain, settings={**plain.settings, **settings})


def rules(size: int, *, twins: int) -> pl.DataFrame:
    names = ["Twin" if number < twins else f"Rule {number}" for number in range(size)]
    return pl.DataFrame({KEY: [f"rule-{number}" for number in range(size)], "Name": names})


def alerting(org: Running, *, alert: bool) -> None:
    where = {"Name": "Twin"}
    org.control.add_rule(RULE, name="Twice", where=where, code="DUPLICATES_DETECTED", message="Twins?", alert=alert)


@SIZES
def test_records_that_alert_are_refused_unless_the_customer_wants_them_saved(org: Running, size: int) -> None:
    alerting(org, alert=True)
    with SalesforceTarget(wishing(org)) as target:
        refused = target.write(RULE, rules(size, twins=2), key=KEY).frame
    assert refused.filter(outcome=Outcome.REJECTED)["code"].to_list() == ["DUPLICATES_DETECTED"] * 2
    assert "save despite alerts" in refused.filter(outcome=Outcome.REJECTED)["message"][0]
    with SalesforceTarget(wishing(org, save_despite_duplicate_alerts="true")) as target:
        saved = target.write(RULE, rules(size, twins=2), key=KEY).frame
    assert saved.filter(outcome=Outcome.CREATED)["key"].sort().to_list() == ["rule-0", "rule-1"]
    assert len(records_of(org, RULE, "Id")) == size


@SIZES
def test_a_rule_that_blocks_is_not_overridden(org: Running, size: int) -> None:
    alerting(org, alert=False)
    with SalesforceTarget(wishing(org, save_despite_duplicate_alerts="true")) as target:
        told = target.write(RULE, rules(size, twins=2), key=KEY).frame
    assert told.filter(outcome=Outcome.REJECTED)["code"].to_list() == ["DUPLICATES_DETECTED"] * 2
    assert told.filter(outcome=Outcome.CREATED).height == size - 2


def test_a_rehearsal_overrides_alerts_as_the_load_will(org: Running) -> None:
    alerting(org, alert=True)
    with SalesforceTarget(wishing(org, save_despite_duplicate_alerts="true")) as target:
        assert set(target.rehearse(RULE, rules(FEW, twins=2), key=KEY).frame["outcome"]) == {Outcome.CREATED}
    with SalesforceTarget(wishing(org)) as target:
        assert target.rehearse(RULE, rules(FEW, twins=2), key=KEY).frame.filter(outcome=Outcome.REJECTED).height == 2


def owners(org: Running) -> set[object]:
    return {row["OwnerId"] for row in records_of(org, "Case", "OwnerId")}


def cases(size: int, **values: str) -> pl.DataFrame:
    frame = pl.DataFrame({CASE_KEY: [f"case-{number}" for number in range(size)]})
    return frame.with_columns(pl.lit("Subject").alias("Subject")).with_columns(
        **{k: pl.lit(v) for k, v in values.items()}
    )


@SIZES
def test_assignment_rules_run_only_where_asked_and_only_on_new_records(org: Running, size: int) -> None:
    [queue] = org.control.upsert("Group", [{"Name": "Queue", "DeveloperName": f"Queue_{size}", "Type": "Queue"}])
    org.control.upsert("QueueSobject", [{"QueueId": queue, "SobjectType": "Case"}])
    org.control.set_assignment("Case", {"id": CASE_RULE, "owner": queue})
    with SalesforceTarget(wishing(org)) as target:
        target.write("Case", cases(size), key=CASE_KEY)
        mine = owners(org)
        assert queue not in mine
    with SalesforceTarget(wishing(org, **{QUEUE_RULE: CASE_RULE})) as target:
        target.write("Case", cases(size, Subject="Other"), key=CASE_KEY)  # known ones keep their owners
        assert owners(org) == mine
        target.write("Case", cases(2 * size), key=CASE_KEY)
    found = [row["OwnerId"] for row in records_of(org, "Case", "OwnerId")]
    assert (len(found), found.count(queue)) == (2 * size, size)


def test_a_rule_is_named_by_its_id(org: Running) -> None:
    with pytest.raises(SettingsInvalid, match="begins with 01Q"):
        SalesforceTarget(wishing(org, lead_assignment_rule="Standard"))


CREATED = "2019-05-06T07:08:09.000Z"


@pytest.fixture
def auditing(org: Running) -> Iterator[Running]:
    org.control.change_settings(audit_fields=1)
    yield org
    org.control.change_settings(audit_fields=0)


def writable(target: SalesforceTarget) -> set[str]:
    return {field.name for field in target.describe(RULE).fields if field.writable}


def test_audit_fields_are_offered_only_where_the_user_may_and_the_customer_wants(
    org: Running, auditing: Running
) -> None:
    with SalesforceTarget(wishing(org)) as target:
        assert writable(target).isdisjoint({"CreatedDate", "CreatedById", "LastModifiedDate"})
    with SalesforceTarget(wishing(org, keep_creation="true")) as target:
        assert writable(target) >= {"CreatedDate", "CreatedById"}
        assert writable(target).isdisjoint({"LastModifiedDate", "LastModifiedById"})
        auditing.control.change_settings(audit_fields=0)
        assert writable(target).isdisjoint({"CreatedDate", "CreatedById"})


def test_what_changed_last_is_offered_only_with_the_creation(org: Running, auditing: Running) -> None:
    del auditing
    changed = {"LastModifiedDate", "LastModifiedById"}
    with SalesforceTarget(wishing(org, keep_modification="true")) as target:
        assert writable(target).isdisjoint(changed)
    with SalesforceTarget(wishing(org, keep_creation="true", keep_modification="true")) as target:
        assert writable(target) >= changed
        fields = {field.name: field for field in target.describe(RULE).fields}
    assert {name for name, field in fields.items() if field.overwritten} == changed


def test_the_last_change_comes_along_until_the_record_is_changed_again(org: Running, auditing: Running) -> None:
    later = "2020-01-02T03:04:05.000Z"
    with SalesforceTarget(wishing(auditing, keep_creation="true", keep_modification="true")) as target:
        frame = dated(FEW).with_columns(pl.lit(later).str.to_datetime(time_zone="UTC").alias("LastModifiedDate"))
        assert set(target.write(RULE, frame, key=KEY).frame["outcome"]) == {Outcome.CREATED}
        dates = {str(row["LastModifiedDate"])[:19] for row in records_of(org, RULE, "LastModifiedDate")}
        assert dates == {later[:19]}
        assert set(target.write(RULE, frame, key=KEY).frame["outcome"]) == {Outcome.UNCHANGED}
        renamed = frame.with_columns(pl.lit("New").alias("Name"))
        assert set(target.write(RULE, renamed, key=KEY).frame["outcome"]) == {Outcome.UPDATED}
        assert set(target.write(RULE, renamed, key=KEY).frame["outcome"]) == {Outcome.UNCHANGED}
    found = records_of(org, RULE, "CreatedDate", "LastModifiedDate")
    assert {str(row["CreatedDate"])[:19] for row in found} == {CREATED[:19]}
    assert later[:19] not in {str(row["LastModifiedDate"])[:19] for row in found}


def dated(size: int, **values: str) -> pl.DataFrame:
    frame = rules(size, twins=0).with_columns(pl.lit(CREATED).str.to_datetime(time_zone="UTC").alias("CreatedDate"))
    return frame.with_columns(**{name: pl.lit(value) for name, value in values.items()})


@SIZES
def test_records_are_inserted_with_their_date_of_creation(org: Running, auditing: Running, size: int) -> None:
    with SalesforceTarget(wishing(auditing, keep_creation="true")) as target:
        first = target.write(RULE, dated(size), key=KEY).frame
        assert set(first["outcome"]) == {Outcome.CREATED}
        assert set(target.write(RULE, dated(size), key=KEY).frame["outcome"]) == {Outcome.UNCHANGED}
        assert set(target.write(RULE, dated(size, Name="New"), key=KEY).frame["outcome"]) == {Outcome.UPDATED}
    found = records_of(org, RULE, "Name", "CreatedDate")
    assert {(row["Name"], str(row["CreatedDate"])[:19]) for row in found} == {("New", CREATED[:19])}
    assert len(found) == size


def test_an_insert_whose_answer_was_lost_is_found_and_not_doubled(org: Running, auditing: Running) -> None:
    org.control.fault("drop_after", method="POST", path="/composite/sobjects", times=1)
    with SalesforceTarget(wishing(auditing, keep_creation="true")) as target:
        assert set(target.write(RULE, dated(FEW), key=KEY).frame["outcome"]) == {Outcome.CREATED}
    assert len(records_of(org, RULE, "Id")) == FEW
    assert [rule["struck"] for rule in org.control.faults()] == [1]


def test_records_are_not_inserted_by_a_key_that_may_come_twice(auditing: Running) -> None:
    frame = dated(FEW).rename({KEY: "Plain__c"})
    with (
        SalesforceTarget(wishing(auditing, keep_creation="true")) as target,
        pytest.raises(SettingsInvalid, match="not unique"),
    ):
        target.write(RULE, frame, key="Plain__c")
