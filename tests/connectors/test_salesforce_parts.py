"""Parts of a bulk result read several at once: whole, once, resumable, and left for the old way where they must be."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from connectors.clients import salesforce_parts, salesforce_query
from connectors.context import LOOPBACK, Context, Network, Secret, Transport
from connectors.errors import RateLimited
from connectors.sources.salesforce import SalesforceSource
from connectors.testing import VirtualClock
from connectors.transport import MockTransport, Request, Response, open_transport
from connectors.types import Cursor
from sandbox.salesforce.running import Running, running_simulator
from tests.connectors.scripted import CountingBudget

MANY, PART = 3_300, 300  # records; eleven parts, so that there are three lists of them


@pytest.fixture(scope="module")
def simulator() -> Iterator[Running]:
    with running_simulator() as running:
        running.control.upsert("Account", [{"Name": f'Account "{number}"\nof many'} for number in range(MANY)])
        running.control.change_settings(bulk_page=PART)
        yield running


@pytest.fixture(autouse=True)
def small(simulator: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Results of more than a thousand are worth a list, and pages are smaller than parts."""
    monkeypatch.setattr(salesforce_parts, "LISTED_ABOVE", 1_000)
    monkeypatch.setattr(salesforce_query, "PAGE_SIZE", 110)
    monkeypatch.setattr(salesforce_query, "VALUES", 1)
    simulator.control.reset_calls()
    yield
    simulator.control.clear_faults()


@pytest.fixture
def context(simulator: Running) -> Context:
    ready = simulator.ready
    return Context(
        settings={"login_url": ready.url, "client_id": ready.client_id},
        secrets={"client_secret": Secret(ready.client_secret), "refresh_token": Secret(ready.app_refresh_token)},
        clock=VirtualClock(datetime.now(UTC)),
        network=Network(allowed_networks=LOOPBACK),
    )


def everything(simulator: Running) -> list[str]:
    return sorted(row["Id"] for row in simulator.control.dump("Account"))


def read(context: Context, cursor: Cursor | None = None) -> list[str]:
    with SalesforceSource(context) as source:
        return [one for page in source.read("Account", ["Id", "Name"], cursor=cursor) for one in page.frame["Id"]]


def calls_of(simulator: Running, resource: str) -> int:
    return sum(number for call, number in simulator.control.calls().items() if call.endswith(resource))


def test_a_result_is_read_whole_each_part_once(context: Context, simulator: Running) -> None:
    found = read(context)
    assert sorted(found) == sorted(set(found)) == everything(simulator)
    assert calls_of(simulator, "/resultPages") == 3
    assert calls_of(simulator, "/results") == MANY // PART


def test_the_records_come_in_the_order_of_the_result(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    several = read(context)
    monkeypatch.setattr(salesforce_parts, "LISTED_SINCE", 999)
    assert several == read(context)


def test_reading_goes_on_behind_every_page_in_another_process(context: Context, simulator: Running) -> None:
    with SalesforceSource(context) as source:
        pages = list(source.read("Account", ["Id", "Name"]))
    given = [page.frame["Id"].to_list() for page in pages]
    assert max(map(len, given)) == 110
    for number, page in enumerate(pages[:-1]):
        if number % 4 == 0:
            rest = [one for each in given[number + 1 :] for one in each]
            assert read(context, page.cursor) == rest


def test_who_leaves_in_the_middle_reads_on_where_it_was(context: Context, simulator: Running) -> None:
    found: list[str] = []
    cursor: Cursor | None = None
    for _ in range(100):
        with SalesforceSource(context) as source:
            for number, page in enumerate(source.read("Account", ["Id", "Name"], cursor=cursor)):
                found += page.frame["Id"].to_list()
                cursor = page.cursor
                if number == 4:
                    break
        if cursor is None:
            break
    assert sorted(found) == everything(simulator)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "unavailable", "path": "results", "times": 3},
        {"kind": "cut", "path": "results", "times": 3},
        {"kind": "drop_after", "path": "result", "method": "GET", "times": 4},
        {"kind": "expire_token", "path": "results", "times": 1},
        {"kind": "rate_limited", "path": "results", "times": 2, "retry_after": 3},
    ],
    ids=str,
)
def test_passing_faults_lose_and_double_nothing(context: Context, simulator: Running, fault: dict[str, object]) -> None:
    simulator.control.fault(**fault)  # type: ignore[arg-type]  # a table of keyword arguments
    assert sorted(read(context)) == everything(simulator)


def test_a_part_that_is_refused_is_told_in_its_turn(context: Context, simulator: Running) -> None:
    with SalesforceSource(context) as source:
        pages = source.read("Account", ["Id", "Name"])
        found = [next(pages), next(pages)]
        simulator.control.fault("api_limit", path="results")
        with pytest.raises(RateLimited, match="no API requests left"):
            found.extend(pages)
    simulator.control.clear_faults()
    given = [one for page in found for one in page.frame["Id"]]
    assert given + read(context, found[-1].cursor) == read(context)


def test_requests_of_all_threads_are_counted_and_paid_for(context: Context, simulator: Running) -> None:
    budget = CountingBudget()
    with SalesforceSource(replace(context, budget=budget)) as source:
        for _ in source.read("Account", ["Id", "Name"]):
            pass
        counted = {call: number for call, number in simulator.control.calls().items() if "oauth2" not in call}
        assert source.calls == sum(counted.values()) == budget.acquired


@pytest.mark.parametrize("version", ["57.0", "58.0"])
def test_an_older_version_has_no_list(context: Context, simulator: Running, version: str) -> None:
    settings = {**context.settings, "api_version": version}
    assert sorted(read(replace(context, settings=settings))) == everything(simulator)
    assert bool(calls_of(simulator, "/resultPages")) is (version == "58.0")


def test_a_small_result_is_not_worth_a_list(
    context: Context, simulator: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(salesforce_parts, "LISTED_ABOVE", MANY)
    assert sorted(read(context)) == everything(simulator)
    assert (calls_of(simulator, "/resultPages"), calls_of(simulator, "/results")) == (0, 1)


# --- what a platform may say otherwise than documented ---------------------------------------------------------------


def answering(context: Context, inner: Transport, change: Callable[[Request, Response], Response]) -> Context:
    """The simulator, its answers to result requests changed."""

    def answer(request: Request) -> Response:
        response: Response = inner.handle_request(request)
        response.read()
        coded = {"content-encoding", "content-length", "transfer-encoding"}
        headers = {name: value for name, value in response.headers.items() if name not in coded}
        found = Response(response.status_code, content=response.content, headers=headers)
        return change(request, found) if "/jobs/query/" in request.url.path else found

    return replace(context, network=replace(context.network, transport=MockTransport(answer)))


@pytest.fixture
def inner(context: Context) -> Iterator[Transport]:
    transport = open_transport(context.network)
    yield transport
    transport.close()


def test_an_org_that_keeps_no_list_is_read_part_by_part(context: Context, inner: Transport, simulator: Running) -> None:
    def change(request: Request, found: Response) -> Response:
        if not request.url.path.endswith("/resultPages"):
            return found
        return Response(404, content=b'[{"errorCode":"NOT_FOUND","message":"The requested resource does not exist"}]')

    assert sorted(read(answering(context, inner, change))) == everything(simulator)


def test_a_part_that_ends_before_the_list_does_not_end_the_result(
    context: Context, inner: Transport, simulator: Running
) -> None:
    def change(request: Request, found: Response) -> Response:
        if request.url.path.endswith("/results"):
            found.headers["Sforce-Locator"] = "null"
        return found

    assert sorted(read(answering(context, inner, change))) == everything(simulator)


def test_a_result_that_goes_on_otherwise_than_its_list_is_followed(
    context: Context, inner: Transport, simulator: Running
) -> None:
    """The list leaves every second part out; what the parts themselves name as the next one is right."""

    def change(request: Request, found: Response) -> Response:
        if request.url.path.endswith("/resultPages"):
            body = found.json()
            body["resultPages"] = body["resultPages"][::2]
            return Response(200, json=body)
        return found

    assert sorted(read(answering(context, inner, change))) == everything(simulator)
