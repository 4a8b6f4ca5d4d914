"""One budget for all workers of an org: what they take, tell each other and give back through its row."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from connectors.errors import BudgetUsedUp, SettingsInvalid
from connectors.testing import VirtualClock
from orgs import budget_store, services
from orgs.allowance import Terms
from orgs.budget import LONGEST_SLEEP, SharedBudget
from orgs.models import BudgetPlace, Org, OrgBudget
from tests.orgs.fakes import FakeSource, make_org

pytestmark = pytest.mark.django_db(transaction=True)


class DatabaseTime(VirtualClock):
    """Sleeping moves the org's budget into the past, for its times are the database's own."""

    def __init__(self, org: Org) -> None:
        super().__init__()
        self._org = org
        self.steady = 0.0

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.pass_by(seconds)

    def pass_by(self, seconds: float) -> None:
        self.steady += seconds
        back = timedelta(seconds=seconds)
        row = OrgBudget.objects.get(pk=self._org.pk)
        for name in ("level_at", "quota_until", "paused_until", "crowded_until"):
            moment = getattr(row, name)
            setattr(row, name, moment and moment - back)
        row.version += 1
        row.save()
        for place in BudgetPlace.objects.filter(org=self._org):
            place.expires_at -= back
            place.save()

    def elapsed(self) -> float:
        return self.steady


@pytest.fixture
def org() -> Org:
    return make_org("Acme production")


@pytest.fixture
def clock(org: Org) -> DatabaseTime:
    return DatabaseTime(org)


def worker(org: Org, clock: DatabaseTime, **terms: Any) -> SharedBudget:
    return SharedBudget(org, Terms(**terms), clock=clock, elapsed=clock.elapsed)


def sent(queries: CaptureQueriesContext) -> int:
    """Statements that went to the server; Django notes BEGIN and COMMIT although nothing is sent between them."""
    return sum(each["sql"] not in ("BEGIN", "COMMIT") for each in queries.captured_queries)


def row(org: Org) -> OrgBudget:
    return OrgBudget.objects.get(pk=org.pk)


def used(org: Org) -> int:
    return sum(row(org).used.values())


# --- Permits ----------------------------------------------------------------------------------------------------
def test_an_org_without_limits_has_no_row_and_looks_once_a_second_whether_it_got_one(
    org: Org, clock: DatabaseTime
) -> None:
    budget = worker(org, clock)
    with CaptureQueriesContext(connection) as queries:
        for _ in range(1_000):
            with budget.request() as keep_alive:
                keep_alive()
        budget.close()
    assert sent(queries) == 1
    assert not OrgBudget.objects.exists()
    assert clock.slept == []


def test_a_platform_that_sends_no_requests_costs_nothing(org: Org) -> None:
    with CaptureQueriesContext(connection) as queries, services.open_source(org):
        pass
    assert sent(queries) == 0


def test_workers_share_one_bucket_and_wait_for_it_by_the_clock(org: Org, clock: DatabaseTime) -> None:
    one, other = worker(org, clock, requests=20, window=10), worker(org, clock, requests=20, window=10)
    for budget in (one, other):
        budget.acquire()
    assert clock.slept == []
    one.acquire()
    assert sum(clock.slept) == pytest.approx(11 / 19, rel=0.1)  # (window + hold) / (requests + 1 - burst)


def test_batches_grow_while_they_are_used_up_and_go_back_when_the_connector_is_left(
    org: Org, clock: DatabaseTime
) -> None:
    budget = worker(org, clock, per_day=100_000)
    with CaptureQueriesContext(connection) as queries:
        for _ in range(1_000):
            budget.acquire()
    assert sent(queries) < 60
    assert used(org) > 1_000
    budget.close()
    assert used(org) == 1_000


def test_permits_that_grew_old_are_given_back_and_taken_anew(org: Org, clock: DatabaseTime) -> None:
    budget = worker(org, clock, per_day=100_000)
    for _ in range(20):
        budget.acquire()
    clock.pass_by(2)
    budget.acquire()
    budget.close()
    assert used(org) == 21


def test_a_long_wait_is_told_with_the_orgs_name_and_its_end_instead_of_slept(org: Org, clock: DatabaseTime) -> None:
    budget = worker(org, clock, per_day=1)
    budget.acquire()
    with pytest.raises(
        BudgetUsedUp, match=r"^Acme production: 1 of 1 requests in 24 hours are used; .* UTC\.$"
    ) as told:
        worker(org, clock, per_day=1).acquire()
    assert 86_000 < told.value.retry_after < 87_100
    assert clock.slept == []


def test_many_short_waits_add_up_to_a_long_one(org: Org, clock: DatabaseTime) -> None:
    holder, other = worker(org, clock, concurrency=1), worker(org, clock, concurrency=1)
    with holder.request(), pytest.raises(BudgetUsedUp, match="answering 1 requests at once"), other.request():
        pytest.fail("there was no place")
    assert LONGEST_SLEEP - 1 < sum(clock.slept) <= LONGEST_SLEEP


def test_a_call_that_can_never_be_afforded_needs_a_person(org: Org, clock: DatabaseTime) -> None:
    with pytest.raises(SettingsInvalid, match="costs 6 requests, but its budget lets only 5 go at once"):
        worker(org, clock, requests=50).acquire(6)
    worker(org, clock, requests=50).acquire(5)


def test_a_transaction_is_refused_before_anything_is_written(org: Org, clock: DatabaseTime) -> None:
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        worker(org, clock, per_day=5).acquire()
    assert not OrgBudget.objects.exists()


def test_a_database_too_slow_for_the_hold_is_told(org: Org, clock: DatabaseTime) -> None:
    times = iter(range(10_000))
    budget = SharedBudget(org, Terms(per_day=10_000), clock=clock, elapsed=lambda: float(next(times)))
    with pytest.raises(BudgetUsedUp, match="database answers too slowly"):
        budget.acquire()


# --- What vendors say -------------------------------------------------------------------------------------------
def test_one_workers_429_stops_the_others_within_their_hold_and_short_ones_are_slept(
    org: Org, clock: DatabaseTime
) -> None:
    one, other = worker(org, clock), worker(org, clock)
    other.acquire()
    one.observe(remaining=None, limit=None, retry_after=8.0)
    clock.pass_by(1.0)
    other.acquire()
    assert sum(clock.slept) == pytest.approx(7, abs=0.2)
    one.observe(remaining=None, limit=None, retry_after=3_600.0)
    clock.pass_by(1.1)  # after a sleep of any length 1.0 more may, as a float, be less than a second
    with pytest.raises(BudgetUsedUp, match=r"^Acme production asked us to slow down: all workers wait until"):
        other.acquire()


def test_the_rest_of_the_vendors_day_is_kept_for_the_customers_own_users(org: Org, clock: DatabaseTime) -> None:
    one, other = worker(org, clock), worker(org, clock)
    one.acquire()
    one.observe(remaining=3_002, limit=15_000, retry_after=None, daily=True)
    other.acquire()
    other.acquire()
    with pytest.raises(
        BudgetUsedUp,
        match=r"^Acme production: 12,000 of 15,000 requests of today are used; "
        r"the rest is kept for the customer's own users until .*\d\d:\d\d UTC\.$",
    ) as told:
        other.acquire()
    assert 3_500 < told.value.retry_after <= 3_600


def test_after_the_wait_one_worker_looks_and_the_others_go_on_with_what_it_found(org: Org, clock: DatabaseTime) -> None:
    one, other = worker(org, clock), worker(org, clock)
    one.acquire()
    one.observe(remaining=3_000, limit=15_000, retry_after=None, daily=True)
    clock.pass_by(3_601)
    one.acquire()
    with pytest.raises(BudgetUsedUp, match="is being asked what is left of today's requests"):
        other.acquire()
    assert max(clock.slept) <= 0.5
    one.observe(remaining=8_000, limit=15_000, retry_after=None, daily=True)
    other.acquire()
    assert row(org).quota_left == 8_000


def test_what_is_left_is_told_at_once_when_it_is_new_and_otherwise_with_the_next_batch(
    org: Org, clock: DatabaseTime
) -> None:
    budget = worker(org, clock)
    budget.acquire()
    budget.observe(remaining=9_000, limit=15_000, retry_after=None, daily=True)
    assert row(org).quota_left == 9_000
    with CaptureQueriesContext(connection) as queries:
        for left in range(8_999, 8_900, -1):
            budget.observe(remaining=left, limit=15_000, retry_after=None, daily=True)
    assert sent(queries) == 0
    budget.close()
    assert row(org).quota_left == 8_901


# --- Places -----------------------------------------------------------------------------------------------------
def test_places_are_held_while_a_request_lasts_and_no_longer(org: Org, clock: DatabaseTime) -> None:
    budget = worker(org, clock, concurrency=1)
    with budget.request():
        assert BudgetPlace.objects.count() == 1
    assert BudgetPlace.objects.count() == 0
    with pytest.raises(ZeroDivisionError), budget.request():
        raise ZeroDivisionError
    assert BudgetPlace.objects.count() == 0


def test_a_place_is_kept_for_the_next_request_while_many_are_free_and_given_back_at_the_end(
    org: Org, clock: DatabaseTime
) -> None:
    budget = worker(org, clock, concurrency=4)
    with CaptureQueriesContext(connection) as queries:
        for _ in range(100):
            with budget.request():
                pass
    assert sent(queries) <= 8
    assert BudgetPlace.objects.count() == 1
    budget.close()
    assert BudgetPlace.objects.count() == 0


def test_a_request_within_a_request_takes_a_place_of_its_own(org: Org, clock: DatabaseTime) -> None:
    budget = worker(org, clock, concurrency=4)
    with budget.request(), budget.request():
        assert BudgetPlace.objects.count() == 2
    budget.close()
    assert BudgetPlace.objects.count() == 0


def test_who_found_no_place_makes_the_others_give_theirs_back_between_requests(org: Org, clock: DatabaseTime) -> None:
    keeping = worker(org, clock, concurrency=2)
    with keeping.request():
        pass
    late = [worker(org, clock, concurrency=2) for _ in range(2)]
    with late[0].request(), pytest.raises(BudgetUsedUp), late[1].request():
        pytest.fail("there was no place")
    clock.pass_by(2)
    with keeping.request():
        pass
    assert BudgetPlace.objects.count() == 0


def test_a_place_ends_when_its_holder_froze_and_lives_on_with_a_long_answer(org: Org, clock: DatabaseTime) -> None:
    frozen, busy = worker(org, clock, concurrency=2), worker(org, clock, concurrency=2)
    with frozen.request(), busy.request() as keep_alive:
        for _ in range(4):
            clock.pass_by(80)
            keep_alive()
        with worker(org, clock, concurrency=2).request():
            assert BudgetPlace.objects.count() == 2  # the expired one was cleared away
        places = budget_store.read(org.pk, Terms()).places
    assert places == 1


def test_the_place_of_a_worker_that_died_is_free_at_once(org: Org, clock: DatabaseTime) -> None:
    budget_store.create(org.pk)
    with psycopg.connect(**connection.get_connection_params() | {"autocommit": True}) as worker_to_die:
        worker_to_die.execute(
            """INSERT INTO orgs_budgetplace (org_id, backend, taken_at, expires_at)
               VALUES (%s, pg_backend_pid(), clock_timestamp(), clock_timestamp() + interval '300 s')""",
            [org.pk],
        )
        assert budget_store.free_dead_places(org.pk) == 0
    clock.pass_by(0)
    with worker(org, clock, concurrency=1).request():
        pass
    assert sum(clock.slept) < 2


def test_a_database_that_is_gone_does_not_hide_how_the_request_ended(
    org: Org, clock: DatabaseTime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(place_id: int) -> None:
        raise OperationalError("the connection is closed")

    monkeypatch.setattr(budget_store, "release_place", gone)
    budget = worker(org, clock, concurrency=4, per_day=10)
    with pytest.raises(ZeroDivisionError), budget.request():
        raise ZeroDivisionError
    budget.close()
    assert "was not given back" in caplog.text


# --- Agreeing on terms ------------------------------------------------------------------------------------------
def test_terms_are_the_platforms_until_a_person_agrees_on_others(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = replace(FakeSource.capabilities, requests_per_second=7, concurrency=3)
    monkeypatch.setattr(FakeSource, "capabilities", declared)
    assert services.budget_of(org).terms == Terms(requests=7, concurrency=3)
    services.save_budget(org, {"requests": 100, "window_seconds": 10, "concurrency": 0, "reserve_percent": 50})
    assert services.budget_of(org).terms == Terms(requests=100, window=10, reserve=0.5)
    services.save_budget(org, {"requests": None})
    assert services.budget_of(org).terms == Terms(requests=7, reserve=0.5)


def test_agreeing_anew_keeps_what_was_used_and_holds_from_the_next_batch_on(org: Org, clock: DatabaseTime) -> None:
    budget = worker(org, clock, per_day=100)
    budget.acquire()
    services.save_budget(org, {"requests_per_day": 1})
    with pytest.raises(BudgetUsedUp):
        budget.acquire()
    assert used(org) == 1


@pytest.fixture(autouse=True)
def nothing_is_left(org: Org) -> Iterator[None]:
    """No test leaves a transaction open, for a budget must not hold a lock between two calls."""
    yield
    assert not connection.in_atomic_block


def test_a_context_for_another_thread_pays_into_the_same_budget(org: Org) -> None:
    """With a database connection of its own, which is closed behind it."""
    services.save_budget(org, {"requests_per_day": 1_000, "concurrency": 2})
    context = services.context_of(org)
    backends: list[int] = []

    def other() -> None:
        with context.for_thread() as apart, apart.budget.request():
            assert apart.budget is not context.budget
            assert apart.settings == context.settings
            backends.extend(BudgetPlace.objects.filter(org=org).values_list("backend", flat=True))
        assert connection.connection is None

    with context.budget.request():
        thread = ThreadPoolExecutor(1)
        thread.submit(other).result()
        assert len(set(backends)) == 2
        thread.shutdown()
    context.budget.close()
    assert not BudgetPlace.objects.filter(org=org).exists()
    assert sum(services.budget_of(org).state.used.values()) == 2
