"""Eight real processes at one budget: no limit is exceeded, and the budget is not left unused either."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, count
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest
from django.db import connections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.context import SystemClock
from connectors.errors import BudgetUsedUp
from orgs import budget_store
from orgs.allowance import Terms
from orgs.budget import SharedBudget
from orgs.models import BudgetPlace, Org, OrgBudget
from tests.orgs.fakes import make_org

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
WORKERS = 8
NUMBERS = count(1)
# Forked, for eight interpreters that import everything anew take a minute on two cores.
FORK = multiprocessing.get_context("fork")


@dataclass
class Told:
    """By the clock all processes of a machine share: when each permit was found good, and from when to when
    each request lasted."""

    used: list[float] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)
    refused: int = 0


def work(org: Org, terms: Terms, seconds: float, start: Barrier, results: Any) -> None:
    """Ask as often as possible, as one worker does."""
    told = Told()
    looked = 0.0

    def elapsed() -> float:
        nonlocal looked
        looked = time.monotonic()
        return looked

    budget = SharedBudget(org, terms, clock=SystemClock(), elapsed=elapsed)
    start.wait()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not told.refused:
        try:
            with budget.request():
                told.used.append(looked)
                began = time.monotonic()
                time.sleep(0.002)
                told.spans.append((began, time.monotonic()))
        except BudgetUsedUp:
            told.refused += 1
    budget.close()
    connections.close_all()
    results.put(told)


def hammer(org: Org, seconds: float, terms: Terms) -> Told:
    """What eight workers told that started together."""
    start, results = FORK.Barrier(WORKERS), FORK.Queue()
    processes = [started(work, org, terms, seconds, start, results) for _ in range(WORKERS)]
    told = [results.get(timeout=60) for _ in processes]
    for each in processes:
        each.join(timeout=60)
    return Told(
        [moment for each in told for moment in each.used],
        [span for each in told for span in each.spans],
        sum(each.refused for each in told),
    )


def started(target: Callable[..., None], *arguments: object) -> BaseProcess:
    """A forked process; it must not inherit an open connection."""
    connections.close_all()
    process = FORK.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def most_in_any(moments: list[float], window: float) -> int:
    ordered, most, start = sorted(moments), 0, 0
    for end, moment in enumerate(ordered):
        while moment - ordered[start] >= window:
            start += 1
        most = max(most, end - start + 1)
    return most


def most_at_once(spans: list[tuple[float, float]]) -> int:
    changes = sorted(chain(((began, 1) for began, _ in spans), ((ended, -1) for _, ended in spans)))
    held = most = 0
    for _, change in changes:
        held += change
        most = max(most, held)
    return most


@pytest.fixture
def org() -> Org:
    return make_org("Acme production")


def test_no_window_of_any_position_sees_more_requests_than_agreed(org: Org) -> None:
    told = hammer(org, 3.0, Terms(requests=40, window=1))
    assert most_in_any(told.used, 1.0) <= 40
    assert len(told.used) > 0.5 * 40 * 3
    assert told.refused == 0


def test_no_more_requests_are_under_way_than_agreed_nor_on_a_day(org: Org) -> None:
    told = hammer(org, 2.0, Terms(concurrency=3, per_day=300))
    assert most_at_once(told.spans) <= 3
    assert 100 < len(told.spans) <= 300
    assert sum(OrgBudget.objects.get().used.values()) == len(told.spans)
    assert BudgetPlace.objects.count() == 0


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    requests=st.sampled_from([0, 25, 60, 150]),
    concurrency=st.integers(0, 5),
    per_day=st.sampled_from([0, 40, 90, 400]),
)
def test_whatever_was_agreed_eight_processes_keep_to_all_of_it(
    transactional_db: None, requests: int, concurrency: int, per_day: int
) -> None:
    org = make_org(f"Acme {next(NUMBERS)}")
    terms = Terms(requests=requests, window=1, concurrency=concurrency, per_day=per_day)
    told = hammer(org, 0.7, terms)
    assert told.used
    assert not requests or most_in_any(told.used, 1.0) <= requests
    assert not concurrency or most_at_once(told.spans) <= concurrency
    assert not per_day or len(told.used) <= per_day


@contextmanager
def doomed_worker(org: Org, terms: Terms) -> Iterator[BaseProcess]:
    """A worker in the middle of its first request."""

    def hold() -> None:
        with SharedBudget(org, terms, clock=SystemClock()).request():
            time.sleep(60)

    process = started(hold)
    try:
        deadline = time.monotonic() + 20
        while not BudgetPlace.objects.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.join()


def test_a_killed_workers_place_goes_to_the_next_without_waiting_for_its_end(org: Org) -> None:
    budget_store.create(org.pk)
    with doomed_worker(org, Terms(concurrency=1)) as worker:
        worker.kill()
    told = hammer(org, 1.5, Terms(concurrency=1))
    assert most_at_once(told.spans) == 1
    assert len(told.spans) > 10
