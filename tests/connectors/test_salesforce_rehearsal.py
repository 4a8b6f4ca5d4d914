"""Rehearsals in a Salesforce org: everything really runs, and nothing stays."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from connectors.clients.salesforce_rehearsal import AT_ONCE
from connectors.context import LOOPBACK, Context, Network
from connectors.errors import ContractChanged, FatalError
from connectors.targets.salesforce import SalesforceTarget
from connectors.transport import open_transport
from connectors.types import WriteResult
from sandbox.salesforce.running import Running
from tests.connectors.payroll_org import KEY, RULE, context_of, emptied, payroll_org, records_of
from tests.connectors.tampering import Tampering, asked

SIZE = 2 * AT_ONCE + 5
COMPOSITE = "POST /services/data/v66.0/composite"


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with payroll_org(tmp_path_factory.mktemp("payroll")) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(org: Running) -> Iterator[None]:
    emptied(org)
    yield
    org.control.remove_rules(RULE)


@pytest.fixture
def context(org: Running) -> Context:
    return context_of(org)


@pytest.fixture
def target(context: Context) -> Iterator[SalesforceTarget]:
    with SalesforceTarget(context) as opened:
        yield opened


@pytest.fixture
def tampered(context: Context) -> Iterator[Callable[[Callable[[bytes], bytes]], SalesforceTarget]]:
    """A target whose first composite answer is changed on its way."""
    inner = open_transport(Network(allowed_networks=LOOPBACK))

    def make(changed: Callable[[bytes], bytes]) -> SalesforceTarget:
        tampering = Tampering(inner, asked("POST", "/composite"), changed)
        return SalesforceTarget(replace(context, network=replace(context.network, transport=tampering)))

    yield make
    inner.close()


def rules(size: int, **columns: Any) -> pl.DataFrame:
    frame = pl.DataFrame({KEY: [f"rule-{number:03}" for number in range(size)]})
    return frame.with_columns(pl.concat_str(pl.lit("Name of "), KEY).alias("Name")).with_columns(**columns)


def by_key(result: WriteResult, column: str) -> dict[str, Any]:
    return dict(result.frame.select("key", column).iter_rows())


def refuse(org: Running, *names: str) -> None:
    said = " , ".join(f'Name = "Name of {name}"' for name in names)
    org.control.add_rule(RULE, formula=f"OR({said})", message="Not this one")


def test_the_orgs_rules_run_and_nothing_stays(org: Running, target: SalesforceTarget) -> None:
    bad = ("rule-000", "rule-030", "rule-052")
    refuse(org, *bad)
    before = org.control.status()["records"]
    org.control.reset_calls()
    rehearsed = target.rehearse(RULE, rules(SIZE), key=KEY)
    assert org.control.calls()[COMPOSITE] <= 3 + len(bad)
    assert org.control.status()["records"] == before
    assert records_of(org, RULE, "Id") == []
    refused = rehearsed.frame.filter(pl.col("outcome") == "rejected")
    assert sorted(refused["key"]) == list(bad)
    assert set(refused["code"]) == {"FIELD_CUSTOM_VALIDATION_EXCEPTION"}
    assert all("Not this one" in message for message in refused["message"])
    written = target.write(RULE, rules(SIZE), key=KEY)
    assert by_key(rehearsed, "outcome") == by_key(written, "outcome")


def test_known_records_are_rehearsed_as_updates_and_keep_their_values(org: Running, target: SalesforceTarget) -> None:
    target.write(RULE, rules(6, Notes__c=pl.lit("old")), key=KEY)
    before = records_of(org, RULE, "Id", "Name", "Notes__c", "SystemModstamp")
    refuse(org, "rule-001")
    odd = pl.int_range(pl.len()) % 2 == 1
    changed = rules(8, Notes__c=pl.when(odd).then(pl.lit("new")).otherwise(pl.lit("old")))
    rehearsed = target.rehearse(RULE, changed, key=KEY)
    expected = ["unchanged", "rejected", "unchanged", "updated", "unchanged", "updated", "created", "created"]
    assert by_key(rehearsed, "outcome") == {f"rule-{n:03}": outcome for n, outcome in enumerate(expected)}
    assert records_of(org, RULE, "Id", "Name", "Notes__c", "SystemModstamp") == before


def test_a_text_that_looks_like_a_reference_is_only_a_text(org: Running, target: SalesforceTarget) -> None:
    result = target.rehearse(RULE, rules(2, Notes__c=pl.lit("@{record0.id} and @{nobody}")), key=KEY)
    assert set(by_key(result, "outcome").values()) == {"created"}


def test_no_records_are_no_calls(org: Running, target: SalesforceTarget) -> None:
    target.describe(RULE)
    org.control.reset_calls()
    assert target.rehearse(RULE, rules(0), key=KEY).frame.is_empty()
    assert org.control.calls() == {}


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "unavailable", "expire_token"])
def test_a_passing_fault_changes_nothing(org: Running, target: SalesforceTarget, kind: str) -> None:
    refuse(org, "rule-030")
    target.describe(RULE)
    org.control.fault(kind, method="POST", path="composite", times=1)
    result = target.rehearse(RULE, rules(SIZE), key=KEY)
    assert [key for key, outcome in by_key(result, "outcome").items() if outcome == "rejected"] == ["rule-030"]
    assert records_of(org, RULE, "Id") == []


def test_a_full_org_stops_the_rehearsal(org: Running, target: SalesforceTarget) -> None:
    org.control.add_rule(RULE, formula='Name = "Name of rule-003"', message="full", code="STORAGE_LIMIT_EXCEEDED")
    with pytest.raises(FatalError, match="no storage left"):
        target.rehearse(RULE, rules(6), key=KEY)


def answers_changed(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Callable[[bytes], bytes]:
    def changed(body: bytes) -> bytes:
        return json.dumps({"compositeResponse": change(json.loads(body)["compositeResponse"])}).encode()

    return changed


def test_answers_are_taken_by_reference_and_never_by_place(
    org: Running, tampered: Callable[[Callable[[bytes], bytes]], SalesforceTarget]
) -> None:
    refuse(org, "rule-005")
    shuffled = answers_changed(lambda entries: random.Random(5).sample(entries, len(entries)))
    with tampered(shuffled) as target:
        result = target.rehearse(RULE, rules(AT_ONCE), key=KEY)
    assert [key for key, outcome in by_key(result, "outcome").items() if outcome == "rejected"] == ["rule-005"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda entries: [{**entries[0], "httpStatusCode": 201}, *entries[1:]], "kept what a rehearsal wrote"),
        (lambda entries: entries[1:], "did not answer for all"),
        (lambda entries: entries[:-1], "did not answer for all"),
        (lambda entries: [*entries, {**entries[0], "referenceId": "stranger"}], "did not answer for all"),
        (lambda entries: [{**entry, "body": entries[0]["body"]} for entry in entries], "did not say which"),
    ],
    ids=["kept", "first missing", "last missing", "stranger", "nobody failed"],
)
def test_an_answer_that_leaves_doubt_stops_the_run(
    tampered: Callable[[Callable[[bytes], bytes]], SalesforceTarget],
    change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
    said: str,
) -> None:
    with tampered(answers_changed(change)) as target, pytest.raises(ContractChanged, match=said):
        target.rehearse(RULE, rules(5), key=KEY)
