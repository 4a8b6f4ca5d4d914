"""The Salesforce source held to the contract, over a real connection to the simulator."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from connectors.clients.salesforce_query import SalesforceQuery
from connectors.clients.salesforce_session import SalesforceSession
from connectors.context import LOOPBACK, Context, MemoryTokens, Network, Secret, Transport
from connectors.errors import ContractChanged, RateLimited, SettingsInvalid, Unavailable
from connectors.sources.salesforce import SalesforceSource
from connectors.testing import HttpContract, SourceContract, VirtualClock
from connectors.transport import MockTransport, Request, Response
from connectors.types import Cursor
from sandbox.salesforce.running import Running, running_simulator

OLD, NEW = "2026-01-01T00:00:00.000Z", "2026-06-01T00:00:00.000Z"
MANY = 4_100  # records: above the Bulk threshold, three pages
FEW = 30


@pytest.fixture(scope="module")
def simulator() -> Iterator[Running]:
    with running_simulator() as running:
        running.control.upsert("Account", [_account(number) for number in range(MANY)])
        running.control.upsert("Contact", [{"LastName": f"Contact {number}"} for number in range(FEW)])
        gone = running.control.upsert("Account", [{"Name": f"Gone {number}"} for number in range(3)])
        running.control.delete("Account", gone)
        yield running


@pytest.fixture(autouse=True)
def no_faults(simulator: Running) -> Iterator[None]:
    yield
    simulator.control.clear_faults()


@pytest.fixture
def context(simulator: Running) -> Context:
    return context_of(simulator)


def context_of(simulator: Running) -> Context:
    ready = simulator.ready
    return Context(
        settings={"login_url": ready.url, "client_id": ready.client_id},
        secrets={"client_secret": Secret(ready.client_secret), "refresh_token": Secret(ready.app_refresh_token)},
        clock=VirtualClock(datetime.now(UTC)),
        network=Network(allowed_networks=LOOPBACK),
    )


def _account(number: int) -> dict[str, object]:
    return {
        "Name": f"Account {number} “O'Neil” \\ 北京",
        "BillingStreet": f'{number} Quay\nFloor 2, "rear"',
        "NumberOfEmployees": number,
        "AnnualRevenue": number * 1000.5,
        "SystemModstamp": NEW if number % 10 == 0 else OLD,
    }


class TestSalesforceContract(HttpContract, SourceContract):
    connector = SalesforceSource
    entity = "Account"
    empty_entity = "Lead"
    unauthorized = (401, b'[{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}]')

    @pytest.fixture
    def context(self, simulator: Running) -> Context:
        context = context_of(simulator)
        self.since = datetime(2026, 3, 1, tzinfo=UTC)
        self.deleted_since = datetime.now(UTC) - timedelta(hours=1)
        with SalesforceSource(context) as source:
            fields = ["Id", "SystemModstamp"]
            frame = pl.concat(page.frame for page in source.read("Account", fields))
            self.since_ids = frozenset(frame.filter(pl.col("SystemModstamp") > "2026-03")["Id"])
        session = SalesforceSession(context)
        answer = session.query("SELECT Id FROM Account WHERE IsDeleted = true", resource="queryAll")
        self.deleted_ids = frozenset(str(record["Id"]) for record in answer.object()["records"])
        session.close()
        return context

    @pytest.fixture
    def empty_middle_page(self, context: Context, inner: Transport) -> Context:
        """A bulk result whose first part is empty, with a locator of the part that is not."""

        def answer(request: Request) -> Response:
            if not _is_result(request) or "locator" in request.url.params:
                return _passed(inner, request)
            headers = {"Sforce-Locator": "more", "Sforce-NumberOfRecords": "0"}
            return Response(200, content=b'"Id"\n', headers=headers)

        return replace(context, network=replace(context.network, transport=MockTransport(answer)))

    @pytest.fixture
    def repeated_token(self, context: Context, inner: Transport) -> Context:
        """A bulk result that names the same part as the next one for ever."""

        def answer(request: Request) -> Response:
            found = _passed(inner, request)
            if _is_result(request):
                found.headers["Sforce-Locator"] = "again"
            return found

        return replace(context, network=replace(context.network, transport=MockTransport(answer)))


def _is_result(request: Request) -> bool:
    return request.url.path.endswith("/results")


def _passed(inner: Transport, request: Request) -> Response:
    """The simulator's answer; our made-up locators mean its first part."""
    if _is_result(request):
        url = request.url.copy_remove_param("locator")
        request = Request(request.method, url, headers=request.headers, extensions=request.extensions)
    response: Response = inner.handle_request(request)
    response.read()
    return Response(response.status_code, content=response.content, headers=_plain(response))


def _plain(response: Response) -> dict[str, str]:
    """The headers of a body that has been decoded."""
    coded = {"content-encoding", "content-length", "transfer-encoding"}
    return {name: value for name, value in response.headers.items() if name not in coded}


# --- the same records by both ways -----------------------------------------------------------------------------


def read(source: SalesforceSource, entity: str, fields: tuple[str, ...], cursor: Cursor | None = None) -> pl.DataFrame:
    return pl.concat(page.frame for page in source.read(entity, fields, cursor=cursor)).sort("Id")


def test_rest_and_bulk_give_equal_frames(context: Context) -> None:
    session = SalesforceSession(context)
    with SalesforceSource(context) as source:
        schema = source.describe("Account")
        bulk = read(source, "Account", schema.names)
    rest = pl.concat(page.frame for page in SalesforceQuery(session, schema, schema.names).rest_pages(None)).sort("Id")
    session.close()
    assert bulk.height == MANY
    assert bulk.equals(rest)
    first = bulk.row(by_predicate=pl.col("NumberOfEmployees") == "2", named=True)
    assert first["Name"] == "Account 2 “O'Neil” \\ 北京"
    assert first["BillingStreet"] == '2 Quay\nFloor 2, "rear"'
    assert first["SystemModstamp"] == "2026-01-01T00:00:00Z"


def test_few_records_come_by_rest_in_one_call_each(context: Context, simulator: Running) -> None:
    with SalesforceSource(context) as source:
        schema = source.describe("Contact")
        simulator.control.reset_calls()
        assert read(source, "Contact", schema.names).height == FEW
    assert not any("jobs" in call for call in simulator.control.calls())


def test_calls_are_counted(context: Context, simulator: Running) -> None:
    simulator.control.reset_calls()
    with SalesforceSource(context) as source:
        source.check()
        source.describe("Contact")
        counted = simulator.control.calls()
        assert source.calls == sum(number for call, number in counted.items() if "oauth2" not in call)


def test_a_job_that_is_gone_is_read_anew(context: Context) -> None:
    started = "2026-11-01T00:00:00+00:00"
    lost: Cursor = {"job": "750000000000000AAA", "version": "66.0", "started": started, "locator": "", "skip": 0}
    with SalesforceSource(context) as source:
        assert read(source, "Account", ("Id",), cursor=lost).height == MANY


def test_a_job_that_failed_meanwhile_is_read_anew(context: Context, simulator: Running) -> None:
    with SalesforceSource(context) as source:
        first = next(iter(source.read("Account", ("Id",))))
        assert first.cursor is not None
        simulator.control.fail_job(str(first.cursor["job"]), "InternalServerError")
        assert read(source, "Account", ("Id",), cursor=first.cursor).height == MANY


def test_a_job_that_fails_while_we_wait_is_told(context: Context, simulator: Running) -> None:
    with SalesforceSource(context) as source:
        pages = source.read("Account", ("Id",))
        first = next(pages)
        assert first.cursor is not None
        simulator.control.fail_job(str(first.cursor["job"]), "Something in the org")
        with pytest.raises(ContractChanged, match="Something in the org"):
            next(pages)


# --- faults of the platform and of the network between ------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "unavailable", "method": "GET", "times": 2},
        {"kind": "server_error", "method": "GET", "times": 2},
        {"kind": "rate_limited", "times": 2, "retry_after": 3},
        {"kind": "drop_before", "method": "GET", "times": 1},
        {"kind": "drop_after", "method": "GET", "times": 1},
        {"kind": "cut", "path": "results", "times": 1},
        {"kind": "expire_token", "path": "results", "times": 1},
        {"kind": "expire_token", "path": "query", "times": 1},
        {"kind": "drop_after", "path": "jobs/query", "method": "POST", "times": 1},
        {"kind": "unavailable", "path": "results", "times": 1, "body": "html"},
    ],
    ids=str,
)
def test_passing_faults_lose_and_double_nothing(context: Context, simulator: Running, fault: dict[str, object]) -> None:
    with SalesforceSource(context) as source:
        source.check()
        simulator.control.fault(**fault)  # type: ignore[arg-type]  # a table of keyword arguments
        frame = read(source, "Account", ("Id", "Name"))
    assert (frame.height, frame["Id"].n_unique()) == (MANY, MANY)


def test_a_used_up_day_is_told_and_not_waited_for(context: Context, simulator: Running) -> None:
    simulator.control.fault("api_limit", path="query")
    with SalesforceSource(context) as source, pytest.raises(RateLimited, match="no API requests left") as caught:
        list(source.read("Account", ("Id",)))
    assert caught.value.retry_after == 3600
    clock = context.clock
    assert isinstance(clock, VirtualClock)
    assert clock.slept == []


def test_a_truncated_result_is_never_taken_for_whole(context: Context, simulator: Running) -> None:
    simulator.control.fault("truncated", path="results")
    with SalesforceSource(context) as source, pytest.raises((ContractChanged, Unavailable)):
        list(source.read("Account", ("Id",)))


def test_the_certificate_of_a_private_authority_is_accepted_where_configured() -> None:
    with running_simulator(tls=True) as running:
        context = context_of(running)
        trusted = Network(allowed_networks=LOOPBACK, ca_file=running.ready.ca_file)
        with SalesforceSource(replace(context, network=trusted)) as source:
            assert source.check().facts["API version"] == "66.0"
        sfdx = {"sfdx_auth_url": Secret(running.ready.sfdx_auth_url)}
        with SalesforceSource(replace(context, network=trusted, secrets=sfdx, tokens=MemoryTokens())) as source:
            assert source.check().account
        untrusting = SalesforceSource(replace(context, tokens=MemoryTokens()))
        with untrusting, pytest.raises(SettingsInvalid, match="certificate"):
            untrusting.check()
