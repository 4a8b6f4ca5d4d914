"""The ways records take to Salesforce: which interface carries them, and what happens where one cannot."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import polars as pl
import pytest

from connectors.clients import salesforce_ingest, salesforce_lookup
from connectors.clients.salesforce_carrier import BULK_ABOVE, SINGLY
from connectors.context import LOOPBACK, Context, Network
from connectors.errors import ContractChanged
from connectors.targets.salesforce import SalesforceTarget
from connectors.transport import MockTransport, Request, Response, open_transport
from connectors.types import WriteResult
from sandbox.salesforce.running import Running
from tests.connectors.payroll_org import KEY, QUIET, RULE, context_of, emptied, payroll_org

MANY = BULK_ABOVE + 40
ROOT = "/services/data/v66.0"


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with payroll_org(tmp_path_factory.mktemp("payroll")) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(org: Running) -> None:
    emptied(org)


@pytest.fixture
def context(org: Running) -> Context:
    return context_of(org)


Answering = Callable[[Request], Response | None]


@pytest.fixture
def answered(context: Context) -> Iterator[Callable[[Answering], SalesforceTarget]]:
    """A target whose requests a function may answer instead of the org (None: the org does)."""
    inner = open_transport(Network(allowed_networks=LOOPBACK))

    def make(answer: Answering) -> SalesforceTarget:
        def handle(request: Request) -> Response:
            request.read()
            return answer(request) or inner.handle_request(request)

        network = replace(context.network, transport=MockTransport(handle))
        return SalesforceTarget(replace(context, network=network))

    yield make
    inner.close()


def things(size: int) -> pl.DataFrame:
    return pl.DataFrame({KEY: [f"thing-{number}" for number in range(size)]}).with_columns(Name=pl.lit("x"))


def outcomes(result: WriteResult) -> dict[str, int]:
    return dict(result.frame["outcome"].value_counts().iter_rows())


def test_few_go_by_collections_and_many_by_one_job(org: Running, context: Context) -> None:
    with SalesforceTarget(context) as target:
        target.describe(RULE)
        org.control.reset_calls()
        target.write(RULE, things(BULK_ABOVE), key=KEY)
        few = org.control.calls()
        emptied(org)
        org.control.reset_calls()
        target.write(RULE, things(BULK_ABOVE + 1), key=KEY)
        many = org.control.calls()
    assert few[f"PATCH {ROOT}/composite/sobjects/{RULE}/{KEY}"] == 1
    assert not any("jobs" in call for call in few)
    assert many[f"POST {ROOT}/jobs/ingest"] == 1
    assert not any("composite/sobjects" in call for call in many)


def test_an_object_the_bulk_api_does_not_serve_goes_by_collections(org: Running, context: Context) -> None:
    size = 2_050
    org.control.reset_calls()
    with SalesforceTarget(context) as target:
        result = target.write(QUIET, things(size), key=KEY)
        assert outcomes(result) == {"created": size}
        assert outcomes(target.write(QUIET, things(size), key=KEY)) == {"unchanged": size}
        assert outcomes(target.delete(QUIET, result.frame["target_id"].to_list())) == {"deleted": size}
    assert not any("batches" in call for call in org.control.calls())


def test_many_refusals_among_few_records_get_their_reasons_from_a_job(org: Running, context: Context) -> None:
    size = 2 * SINGLY + 20
    odd = pl.int_range(pl.len()) % 2 == 0
    status = pl.when(odd).then(pl.concat_str(pl.lit("Nope "), KEY)).otherwise(pl.lit("Live"))
    with SalesforceTarget(context) as target:
        target.describe(RULE)
        org.control.reset_calls()
        result = target.write(RULE, things(size).with_columns(Status__c=status), key=KEY)
    assert outcomes(result) == {"created": size // 2, "rejected": size // 2}
    refused = result.frame.filter(pl.col("outcome") == "rejected")
    assert all(f"Nope {key}”" in message for key, message in refused.select("key", "message").rows())
    assert org.control.calls()[f"POST {ROOT}/jobs/ingest"] == 1


def test_refusals_that_are_all_alike_cost_no_further_call(org: Running, context: Context) -> None:
    with SalesforceTarget(context) as target:
        target.describe(RULE)
        org.control.reset_calls()
        frame = things(30).with_columns(Status__c=pl.when(pl.col(KEY) > "thing-2").then(pl.lit("Nope")))
        assert outcomes(target.write(RULE, frame, key=KEY))["rejected"] == 17
    calls = org.control.calls()
    assert calls[f"PATCH {ROOT}/composite/sobjects/{RULE}/{KEY}"] == 1


def test_a_body_spoiled_by_one_record_takes_no_other_with_it(
    org: Running, answered: Callable[[Answering], SalesforceTarget]
) -> None:
    def refuse(request: Request) -> Response | None:
        if request.method == "PATCH" and b'thing-7"' in request.content:
            error = [{"errorCode": "JSON_PARSER_ERROR", "message": "Cannot deserialize instance of date"}]
            return Response(400, content=json.dumps(error).encode())
        return None

    with answered(refuse) as target:
        result = target.write(RULE, things(20), key=KEY)
    assert outcomes(result) == {"created": 19, "rejected": 1}
    assert result.frame.filter(pl.col("outcome") == "rejected")["code"].to_list() == ["JSON_PARSER_ERROR"]


def test_a_file_that_is_too_large_goes_in_several_jobs(
    org: Running, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(salesforce_ingest, "LARGEST_FILE", 2_000)
    org.control.change_settings(upload_bytes=2_000)
    try:
        with SalesforceTarget(context) as target:
            assert outcomes(target.write(RULE, things(MANY), key=KEY)) == {"created": MANY}
    finally:
        org.control.change_settings(upload_bytes=100_000_000)


@pytest.mark.parametrize("kind", ["drop_after", "server_error", "expire_token"])
def test_a_fault_amid_a_look_up_of_many_keys_loses_nothing(org: Running, context: Context, kind: str) -> None:
    with SalesforceTarget(context) as target:
        target.write(RULE, things(MANY), key=KEY)
        org.control.fault(kind, path="/composite$|/composite[?]", times=1)
        found = target.fetch(RULE, key=KEY, keys=[f"thing-{number}" for number in range(2_500)], fields=["Name"])
    assert sorted(found["key"]) == sorted(f"thing-{number}" for number in range(MANY))
    assert [rule["struck"] for rule in org.control.faults()] == [1]
    org.control.clear_faults()


def test_a_query_refused_amid_others_says_why(org: Running, answered: Callable[[Answering], SalesforceTarget]) -> None:
    def stale(request: Request) -> Response | None:
        if not request.url.path.endswith("/composite"):
            return None
        names = [each["referenceId"] for each in json.loads(request.content)["compositeRequest"]]
        said = [{"errorCode": "INVALID_FIELD", "message": "No such column 'Name'"}]
        entries = [{"referenceId": name, "httpStatusCode": 400, "body": said} for name in names]
        return Response(200, content=json.dumps({"compositeResponse": entries}).encode())

    with answered(stale) as target, pytest.raises(ContractChanged, match="No such column"):
        target.fetch(RULE, key=KEY, keys=[f"thing-{number}" for number in range(2_500)], fields=["Name"])


@pytest.mark.parametrize("dropped", [0, 1])
def test_pages_behind_the_first_are_followed_and_asked_anew_where_their_place_is_gone(
    org: Running, answered: Callable[[Answering], SalesforceTarget], dropped: int
) -> None:
    """A look-up by a field that many records share brings more of them than a page holds."""
    links: list[str] = []

    def forgetful(request: Request) -> Response | None:
        if "/query/" not in request.url.path:
            return None
        links.append(request.url.path)
        said = [{"errorCode": "INVALID_QUERY_LOCATOR", "message": "invalid query locator"}]
        return Response(400, content=json.dumps(said).encode()) if len(links) <= dropped else None

    org.control.upsert(RULE, [{"Name": "same", KEY: f"more-{number}"} for number in range(2_100)])
    with answered(forgetful) as target:
        keys = ["same", *(f"x{number}" for number in range(2_000))]
        assert target.fetch(RULE, key="Name", keys=keys, fields=[KEY])[KEY].n_unique() == 2_100
    assert len(links) > dropped


def test_a_wide_object_is_looked_up_by_the_body_of_a_request(
    org: Running, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(salesforce_lookup, "LONGEST_ADDRESS", 100)
    with SalesforceTarget(context) as target:
        target.write(RULE, things(3), key=KEY)
        org.control.reset_calls()
        found = target.fetch(RULE, key=KEY, keys=["thing-1", "thing-9"], fields=["Name"])
    assert found["key"].to_list() == ["thing-1"]
    assert org.control.calls()[f"POST {ROOT}/composite"] == 1


@pytest.mark.parametrize(
    ("line", "code", "fields", "said"),
    [
        ("INVALID_CROSS_REFERENCE_KEY:no such id:--", "INVALID_CROSS_REFERENCE_KEY", "", "no such id"),
        ("STRING_TOO_LONG:Name: long: x (max=80):Name --", "STRING_TOO_LONG", "Name", "Name: long: x (max=80)"),
        ("FLOW_EXCEPTION:Two\nlines:A__c,B__c --", "FLOW_EXCEPTION", "A__c,B__c", "Two lines"),
        ("something else altogether", "UNKNOWN_EXCEPTION", "", "something else altogether"),
    ],
)
def test_a_bulk_rows_error_is_taken_apart(
    answered: Callable[[Answering], SalesforceTarget], line: str, code: str, fields: str, said: str
) -> None:
    def failed(request: Request) -> Response | None:
        if request.url.path.endswith("successfulResults"):
            return Response(200, content=b'"sf__Id","sf__Created","Ext__c"\n')
        if request.url.path.endswith("failedResults"):
            rows = "".join(f'"","{line}","thing-{number}"\n' for number in range(MANY))
            return Response(200, content=f'"sf__Id","sf__Error","Ext__c"\n{rows}'.encode())
        if "jobs/ingest/" in request.url.path and request.method == "GET":
            return Response(200, content=b'{"state": "JobComplete"}')
        if "jobs/ingest" in request.url.path or "composite" in request.url.path:
            error = {"success": False, "errors": [{"statusCode": code, "message": said, "fields": fields.split(",")}]}
            return Response(200, content=json.dumps({"id": "750A"} if "jobs" in request.url.path else [error]).encode())
        return None

    with answered(failed) as target:
        result = target.write(RULE, things(MANY), key=KEY)
    assert set(result.frame["code"]) == {code}
    assert set(result.frame["fields"]) == {fields}
    assert said in str(result.frame["message"][0])


def test_a_job_whose_header_was_refused_is_told(answered: Callable[[Answering], SalesforceTarget]) -> None:
    def complete(request: Request) -> Response | None:
        if request.method == "GET" and request.url.path.endswith("Results"):
            return Response(200, content=b'"sf__Id","sf__Error","Ext__c"\n')
        if request.method == "GET" and "jobs/ingest/" in request.url.path:
            state = {"state": "JobComplete", "numberRecordsProcessed": 0, "errorMessage": "Header is not valid"}
            return Response(200, content=json.dumps(state).encode())
        return None

    with answered(complete) as target, pytest.raises(ContractChanged, match="Header is not valid"):
        target.write(RULE, things(MANY), key=KEY)


def test_a_result_file_without_the_key_is_told(answered: Callable[[Answering], SalesforceTarget]) -> None:
    def without_key(request: Request) -> Response | None:
        if request.url.path.endswith("successfulResults"):
            return Response(200, content=b'"sf__Id","sf__Created"\n"a01000000000001AAA","true"\n')
        return None

    with answered(without_key) as target, pytest.raises(ContractChanged, match=f"lacks the column {KEY}"):
        target.write(RULE, things(MANY), key=KEY)


@pytest.mark.parametrize("body", [b'{"success": true}', b'["yes"]', b'[{"success": true}]'])
def test_a_collections_answer_in_another_shape_is_told(
    answered: Callable[[Answering], SalesforceTarget], body: bytes
) -> None:
    def other(request: Request) -> Response | None:
        return Response(200, content=body) if "composite" in request.url.path else None

    with answered(other) as target, pytest.raises(ContractChanged):
        target.write(RULE, things(3), key=KEY)
