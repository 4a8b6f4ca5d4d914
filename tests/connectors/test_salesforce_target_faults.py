"""The Salesforce target when answers come spoiled, late or not at all: nothing lost, nothing doubled."""

import csv
import io
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from connectors.clients.salesforce_carrier import BULK_ABOVE
from connectors.context import LOOPBACK, Context, Network, Transport
from connectors.errors import ContractChanged, RateLimited, Unavailable
from connectors.targets.salesforce import SalesforceTarget
from connectors.testing import VirtualClock
from connectors.transport import Request, open_transport
from connectors.types import WriteResult
from sandbox.salesforce.running import Running
from tests.connectors.payroll_org import KEY, RULE, context_of, emptied, payroll_org, records_of
from tests.connectors.tampering import Tampering, asked

FEW, MANY = 40, BULK_ABOVE + 40
SIZES = pytest.mark.parametrize("size", [FEW, MANY], ids=["few", "many"])


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with payroll_org(tmp_path_factory.mktemp("payroll")) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(org: Running) -> None:
    emptied(org)


@pytest.fixture
def inner() -> Iterator[Transport]:
    transport = open_transport(Network(allowed_networks=LOOPBACK))
    yield transport
    transport.close()


@pytest.fixture
def context(org: Running) -> Context:
    return context_of(org)


def through(context: Context, transport: Tampering) -> Context:
    return replace(context, network=replace(context.network, transport=transport))


def rules(size: int, **columns: object) -> pl.DataFrame:
    """Rules that the org takes; ``columns`` are expressions or constants."""
    frame = pl.DataFrame({KEY: [f"rule-{number}" for number in range(size)]})
    return frame.with_columns(pl.concat_str(pl.lit("Name of "), KEY).alias("Name")).with_columns(**columns)


def some_refused(size: int) -> pl.DataFrame:
    """Rules of which every fourth has a status the org does not know, each another one."""
    odd = pl.int_range(pl.len()) % 4 == 0
    status = pl.when(odd).then(pl.concat_str(pl.lit("Nope "), KEY)).otherwise(pl.lit("Live"))
    return rules(size, Status__c=status)


def outcomes(result: WriteResult) -> dict[str, int]:
    return dict(result.frame["outcome"].value_counts().iter_rows())


def by_key(result: WriteResult, column: str) -> dict[str, Any]:
    return dict(result.frame.select("key", column).iter_rows())


def slept(context: Context) -> list[float]:
    assert isinstance(context.clock, VirtualClock)
    return context.clock.slept


def check_some_refused(org: Running, result: WriteResult, frame: pl.DataFrame) -> None:
    """Every fourth rule refused in its own words, all others there once, each under its own id."""
    expected = {key: "rejected" if number % 4 == 0 else "created" for number, key in enumerate(frame[KEY])}
    assert by_key(result, "outcome") == expected
    held = records_of(org, RULE, "Id", KEY, "Name")
    assert {row[KEY]: row["Id"] for row in held} == {
        key: target for key, target in by_key(result, "target_id").items() if target
    }
    assert all(row["Name"] == f"Name of {row[KEY]}" for row in held)
    for key, message, code in (
        result.frame.filter(pl.col("outcome") == "rejected").select("key", "message", "code").rows()
    ):
        assert code == "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
        assert f"Nope {key}”" in message, "a refusal tells its own record's reason, not a neighbour's"


# --- answers are matched by key -------------------------------------------------------------------------------


def reversed_list(body: bytes) -> bytes:
    return json.dumps(json.loads(body)[::-1]).encode()


def shuffled_list(body: bytes) -> bytes:
    items = json.loads(body)
    random.Random(7).shuffle(items)
    return json.dumps(items).encode()


def short_list(body: bytes) -> bytes:
    return json.dumps(json.loads(body)[10:]).encode()


def empty_list(body: bytes) -> bytes:
    return b"[]"


def doubled_list(body: bytes) -> bytes:
    return json.dumps(json.loads(body) * 2).encode()


def overlong_list(body: bytes) -> bytes:
    items = json.loads(body)
    return json.dumps(
        [*items, {"success": False, "errors": [{"statusCode": "X", "message": "y", "fields": []}]}]
    ).encode()


@pytest.mark.parametrize("spoiled", [reversed_list, shuffled_list, short_list, empty_list, doubled_list, overlong_list])
def test_a_collections_answers_are_never_taken_by_place(
    org: Running, context: Context, inner: Transport, spoiled: Callable[[bytes], bytes]
) -> None:
    frame = some_refused(FEW)
    tampering = Tampering(inner, asked("PATCH", "composite/sobjects"), spoiled)
    with SalesforceTarget(through(context, tampering)) as target:
        check_some_refused(org, target.write(RULE, frame, key=KEY), frame)


def lines_changed(change: Callable[[list[dict[str, str]]], Sequence[dict[str, str]]]) -> Callable[[bytes], bytes]:
    def changed(body: bytes) -> bytes:
        reader = csv.DictReader(io.StringIO(body.decode()))
        text = io.StringIO()
        writer = csv.DictWriter(text, reader.fieldnames or [], quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writeheader()
        writer.writerows(change(list(reader)))
        return text.getvalue().encode()

    return changed


@pytest.mark.parametrize("file", ["successfulResults", "failedResults"])
@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[::-1],
        lambda rows: random.Random(7).sample(rows, len(rows)),
        lambda rows: rows[10:],
        lambda _: [],
        lambda rows: rows * 2,
    ],
    ids=["reversed", "shuffled", "short", "empty", "doubled"],
)
def test_a_bulk_jobs_results_are_never_taken_by_place(
    org: Running, context: Context, inner: Transport, file: str, change: Callable[..., Sequence[dict[str, str]]]
) -> None:
    frame = some_refused(MANY)
    tampering = Tampering(inner, asked("GET", file), lines_changed(change))
    with SalesforceTarget(through(context, tampering)) as target:
        check_some_refused(org, target.write(RULE, frame, key=KEY), frame)


def test_a_record_told_of_in_two_ways_is_looked_up(org: Running, context: Context, inner: Transport) -> None:
    def confirmed(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return [*rows, {**rows[0], KEY: "rule-0", "sf__Id": "a00000000000000AAA"}]

    frame = some_refused(MANY)
    tampering = Tampering(inner, asked("GET", "successfulResults"), lines_changed(confirmed))
    with SalesforceTarget(through(context, tampering)) as target:
        check_some_refused(org, target.write(RULE, frame, key=KEY), frame)


def test_a_confirmed_stranger_stops_the_run(context: Context, inner: Transport) -> None:
    def with_stranger(body: bytes) -> bytes:
        return json.dumps([*json.loads(body), {"id": "a00000000000000AAA", "success": True, "errors": []}]).encode()

    tampering = Tampering(inner, asked("PATCH", "composite/sobjects"), with_stranger)
    with SalesforceTarget(through(context, tampering)) as target, pytest.raises(ContractChanged, match="a0000000"):
        target.write(RULE, rules(FEW), key=KEY)


def test_bulk_results_of_other_records_stop_the_run(context: Context, inner: Transport) -> None:
    def with_stranger(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return [*rows, {**rows[0], KEY: "somebody else's"}]

    tampering = Tampering(inner, asked("GET", "successfulResults"), lines_changed(with_stranger))
    with SalesforceTarget(through(context, tampering)) as target, pytest.raises(ContractChanged, match="somebody"):
        target.write(RULE, rules(MANY), key=KEY)


def test_silence_to_the_end_is_told_and_the_next_try_finds_what_was_written(
    org: Running, context: Context, inner: Transport
) -> None:
    nothing = lines_changed(lambda _: [])
    tampering = Tampering(inner, asked("GET", "Results"), nothing, times=1_000)
    refused = some_refused(4 * 30)
    frame = pl.concat(
        [refused, rules(MANY, Status__c=pl.lit("Live")).filter(~pl.col(KEY).is_in(refused[KEY].implode()))]
    )
    with SalesforceTarget(through(context, tampering)) as target, pytest.raises(Unavailable, match="nothing about 30"):
        target.write(RULE, frame, key=KEY)
    with SalesforceTarget(context) as target:
        assert outcomes(target.write(RULE, frame, key=KEY)) == {"unchanged": MANY - 30, "rejected": 30}
    assert len(records_of(org, RULE, "Id")) == MANY - 30


# --- faults between us and the platform -----------------------------------------------------------------------

PLACES = [
    (FEW, "PATCH", "composite/sobjects"),
    (MANY, "POST", "jobs/ingest"),
    (MANY, "PUT", "batches"),
    (MANY, "PATCH", "jobs/ingest"),
    (MANY, "GET", "jobs/ingest/[^/]*$"),
    (MANY, "GET", "successfulResults"),
    (MANY, "GET", "failedResults"),
]


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "unavailable", "server_error", "expire_token", "cut"])
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_passing_fault_loses_and_doubles_nothing(
    org: Running, context: Context, kind: str, place: tuple[int, str, str]
) -> None:
    size, method, path = place
    # Refusals are asked for only where the job counted some.
    refused = some_refused(4 * 30).filter(pl.col("Status__c") != "Live").head(30 if path == "failedResults" else 0)
    frame = pl.concat(
        [refused, rules(size, Status__c=pl.lit("Live")).filter(~pl.col(KEY).is_in(refused[KEY].implode()))]
    )
    size -= refused.height
    bad = {"rejected": refused.height} if refused.height else {}
    with SalesforceTarget(context) as target:
        target.describe(RULE)
        org.control.fault(kind, method=method, path=path, times=1)
        result = target.write(RULE, frame, key=KEY)
        assert outcomes(result) == {"created": size, **bad}
        assert outcomes(target.write(RULE, frame, key=KEY)) == {"unchanged": size, **bad}
    assert [rule["struck"] for rule in org.control.faults()] == [1]
    held = records_of(org, RULE, "Id", KEY)
    made = {key: target_id for key, target_id in by_key(result, "target_id").items() if target_id}
    assert {str(row[KEY]): row["Id"] for row in held} == made
    assert len(held) == size


def test_a_lost_closing_is_asked_for_and_not_repeated(org: Running, context: Context) -> None:
    with SalesforceTarget(context) as target:
        org.control.fault("drop_after", method="PATCH", path="jobs/ingest", times=1)
        org.control.reset_calls()
        assert outcomes(target.write(RULE, rules(MANY), key=KEY)) == {"created": MANY}
    calls = org.control.calls()
    assert calls["POST /services/data/v66.0/jobs/ingest"] == 1
    assert calls["PATCH /services/data/v66.0/jobs/ingest/{id}"] == 1


def test_a_lost_upload_is_made_anew_in_another_job(org: Running, context: Context) -> None:
    with SalesforceTarget(context) as target:
        org.control.fault("drop_after", method="PUT", path="batches", times=1)
        org.control.reset_calls()
        assert outcomes(target.write(RULE, rules(MANY), key=KEY)) == {"created": MANY}
    calls = org.control.calls()
    assert calls["POST /services/data/v66.0/jobs/ingest"] == 2
    assert calls["PUT /services/data/v66.0/jobs/ingest/{id}/batches"] == 2
    assert calls["PATCH /services/data/v66.0/jobs/ingest/{id}"] == 2, "one closing, one abortion"


@SIZES
def test_an_outage_is_told_and_going_on_later_finds_what_was_written(org: Running, context: Context, size: int) -> None:
    with SalesforceTarget(context) as target:
        target.describe(RULE)
        org.control.fault("drop_after", method="PATCH" if size == FEW else "PUT", path="sobjects|ingest")
        with pytest.raises(Unavailable):
            target.write(RULE, rules(size), key=KEY)
        org.control.clear_faults()
        result = target.write(RULE, rules(size), key=KEY)
    assert outcomes(result) == ({"unchanged": size} if size == FEW else {"created": size})
    assert len(records_of(org, RULE, "Id")) == size


@SIZES
def test_a_used_up_day_is_told_and_not_waited_for(org: Running, context: Context, size: int) -> None:
    with SalesforceTarget(context) as target:
        target.describe(RULE)
        org.control.fault("api_limit", path="composite|ingest")
        with pytest.raises(RateLimited, match="no API requests left") as caught:
            target.write(RULE, rules(size), key=KEY)
    assert caught.value.retry_after == 3600
    assert slept(context) == []


def test_a_used_up_bulk_allowance_is_told(org: Running, context: Context) -> None:
    org.control.change_settings(bulk_batches=0)
    try:
        with SalesforceTarget(context) as target, pytest.raises(RateLimited, match="ApiBatchItems"):
            target.write(RULE, rules(MANY), key=KEY)
    finally:
        org.control.change_settings(bulk_batches=15_000)


def failing_job(org: Running, message: str) -> Callable[[Request], None]:
    return lambda request: org.control.fail_job(request.url.path.rpartition("/")[2], message)


def is_poll(request: Request) -> bool:
    return request.method == "GET" and "jobs/ingest/" in request.url.path and not request.url.path.endswith("Results")


@pytest.mark.parametrize(
    ("message", "kind"),
    [("InternalServerError : down", Unavailable), ("InvalidBatch : Field name not found : X", ContractChanged)],
)
def test_a_failed_job_is_told_and_going_on_later_finds_what_was_written(
    org: Running, context: Context, inner: Transport, message: str, kind: type[Exception]
) -> None:
    tampering = Tampering(inner, is_poll, before=failing_job(org, message))
    with SalesforceTarget(through(context, tampering)) as target:
        with pytest.raises(kind, match=message.partition(" ")[0]):
            target.write(RULE, rules(MANY), key=KEY)
        result = target.write(RULE, rules(MANY), key=KEY)
    assert set(outcomes(result)) <= {"created", "unchanged"}
    assert len(records_of(org, RULE, "Id")) == MANY


def test_a_job_that_does_not_end_is_aborted_and_told(org: Running, context: Context) -> None:
    org.control.change_settings(bulk_hold=0)
    try:
        with SalesforceTarget(context) as target, pytest.raises(Unavailable, match="aborted"):
            target.write(RULE, rules(MANY), key=KEY)
    finally:
        org.control.change_settings(bulk_hold=-1)
    assert 7_000 < sum(slept(context)) < 7_300
    assert records_of(org, RULE, "Id") == []
