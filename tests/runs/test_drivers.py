"""Places at runs: who is called to them, who takes them, for how long, and who shares with whom."""

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from django.db import connection, transaction
from django.test import override_settings
from django_q.models import OrmQ
from django_q.signals import post_spawn

from projects.models import Project
from runs import drivers, services
from runs.choices import RunState
from runs.engine import coordinator
from runs.engine.coordinator import Progress
from runs.models import Driver, Run
from tests import factories
from tests.fakes import FakeTarget, World, schema

pytestmark = pytest.mark.django_db


class Hands:
    """A clock whose hands move only when somebody waits, or when a test moves them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def steady(self) -> float:
        return self.seconds


@pytest.fixture(autouse=True)
def here() -> Iterator[None]:
    with override_settings(WORKER_HOST="here", MF_TIME_BOX_SECONDS=20, MF_LEASE_SECONDS=60.0):
        yield


@pytest.fixture
def clock() -> Hands:
    return Hands()


def advancing(monkeypatch: pytest.MonkeyPatch, answer: Callable[[int, Callable[[], bool]], Progress]) -> None:
    monkeypatch.setattr(coordinator, "advance", lambda run_id, *, stop, **_: answer(run_id, stop))


def called() -> list[int]:
    """The places on all queues, in the order of their calls."""
    return [row.task["args"][0] for row in OrmQ.objects.order_by("id")]


def busy_run(places: int = 2) -> Run:
    run = services.start_run(factories.project(), drivers=places)
    Run.objects.filter(pk=run.pk).update(state=RunState.RUNNING)
    return run


def take(driver: Driver) -> None:
    """As if a worker of the host that was called sat there now."""
    Driver.objects.filter(pk=driver.pk).update(lease_until="2100-01-01T00:00Z", called_at=None)


def place(run: Run, slot: int = 0) -> Driver:
    return Driver.objects.get(run=run, slot=slot)


def test_a_started_run_has_empty_places_and_calls_nobody(world: World) -> None:
    run = services.start_run(factories.project(), drivers=3)
    assert [(d.slot, d.owner, d.lease_until) for d in run.drivers.order_by("slot")] == [
        (0, "", None), (1, "", None), (2, "", None)
    ]  # fmt: skip
    assert not OrmQ.objects.exists()


def test_a_run_has_as_many_places_as_workers_may_write_to_its_target(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeTarget, "capabilities", replace(FakeTarget.capabilities, writers=5))
    assert services.start_run(factories.project()).drivers.count() == 5
    assert services.start_run(factories.project(), drivers=1).drivers.count() == 1


def test_a_host_calls_as_many_workers_as_it_has_hands(world: World) -> None:
    busy_run(places=3)
    assert drivers.fill_places("here", hands=2) == 2
    assert drivers.fill_places("here", hands=2) == 0  # they are on their way
    assert len(called()) == 2


def test_no_more_are_called_however_the_database_goes_about_it(world: World) -> None:
    """A table with other statistics gets another plan; this one joins row by row."""
    busy_run(places=5)
    with connection.cursor() as cursor:
        cursor.execute(
            "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_hashagg = off"
        )
        cursor.execute("SET LOCAL enable_sort = off; SET LOCAL enable_material = off")
    assert drivers.fill_places("here", hands=2) == 2


def test_two_hosts_share_the_places(world: World) -> None:
    run = busy_run(places=4)
    made = [drivers.fill_places(host, hands=2) for host in ("here", "there", "elsewhere")]
    assert made == [2, 2, 0]
    assert Counter(run.drivers.values_list("owner", flat=True)) == {"here": 2, "there": 2}


def test_every_run_gets_a_worker_before_any_gets_a_second(world: World) -> None:
    first, second = busy_run(), busy_run()
    drivers.fill_places("here", hands=2)
    assert set(called()) == {place(first).pk, place(second).pk}


def test_a_hand_that_is_at_work_is_not_called(world: World) -> None:
    run = busy_run()
    drivers.fill_places("here", hands=1)
    take(place(run))
    assert drivers.fill_places("here", hands=1) == 0


def test_a_call_nobody_answered_is_repeated_by_whoever_is_free(world: World) -> None:
    run = busy_run(places=1)
    drivers.fill_places("here", hands=2)
    assert drivers.fill_places("there", hands=2) == 0
    run.drivers.update(called_at="2000-01-01T00:00Z")
    assert drivers.fill_places("there", hands=2) == 1
    assert place(run).owner == "there"


def test_a_place_whose_worker_died_is_called_to_when_its_lease_ends(world: World) -> None:
    run = busy_run(places=1)
    drivers.fill_places("here", hands=1)
    take(place(run))
    assert drivers.fill_places("there", hands=1) == 0
    run.drivers.update(lease_until="2000-01-01T00:00Z")
    assert drivers.fill_places("there", hands=1) == 1


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED])
def test_runs_that_need_no_worker_get_none(world: World, state: RunState) -> None:
    run = busy_run()
    Run.objects.filter(pk=run.pk).update(state=state)
    assert drivers.fill_places("here", hands=2) == 0


def test_a_pause_takes_effect_without_a_worker(world: World) -> None:
    run = busy_run()
    services.pause_run(run)
    assert drivers.fill_places("here", hands=2) == 0
    assert Run.objects.get(pk=run.pk).state == RunState.PAUSED


def test_a_driver_works_until_its_time_is_up_and_calls_the_next(
    world: World, clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = busy_run(places=1)
    drivers.fill_places("here", hands=1)

    def work(_: int, stop: Callable[[], bool]) -> Progress:
        while not stop():
            clock.sleep(3)
        return Progress.BUSY

    advancing(monkeypatch, work)
    drivers.drive(place(run).pk, clock=clock, steady=clock.steady)
    assert clock.seconds == 21  # the piece in hand is finished
    assert called() == [place(run).pk] * 2
    assert place(run).lease_until is None


def test_a_driver_that_finds_nothing_free_waits_a_little_and_goes(
    world: World, clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = busy_run(places=1)
    drivers.fill_places("here", hands=1)
    advancing(monkeypatch, lambda *_: Progress.IDLE)
    drivers.drive(place(run).pk, clock=clock, steady=clock.steady)
    assert clock.seconds == pytest.approx(drivers.IDLE_SECONDS, abs=0.3)
    assert len(called()) == 1
    assert drivers.fill_places("here", hands=1) == 0  # not before a while


def test_a_long_run_does_not_keep_all_hands(world: World, clock: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    """One hand and three runs: each gets its turn, in turns."""
    runs = [busy_run(places=2) for _ in range(3)]
    advancing(monkeypatch, lambda *_: Progress.BUSY)
    drivers.fill_places("here", hands=1)
    turns = []
    for _ in range(6):
        driver_id = called()[-1]
        turns.append(Driver.objects.get(pk=driver_id).run_id)
        drivers.drive(driver_id, clock=clock, steady=clock.steady)
    assert turns == [run.pk for run in runs] * 2


def test_a_call_delivered_twice_finds_the_place_taken(
    world: World, clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = busy_run(places=1)
    drivers.fill_places("here", hands=1)
    worked = []

    def work(run_id: int, _: Callable[[], bool]) -> Progress:
        worked.append(run_id)
        drivers.drive(place(run).pk, clock=clock, steady=clock.steady)  # the second delivery
        return Progress.STOPPED

    advancing(monkeypatch, work)
    drivers.drive(place(run).pk, clock=clock, steady=clock.steady)
    assert worked == [run.pk]


def test_a_late_call_to_a_place_of_another_host_is_ignored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = busy_run(places=1)
    drivers.fill_places("there", hands=1)
    advancing(monkeypatch, lambda *_: pytest.fail("nobody was called to work here"))
    drivers.drive(place(run).pk)
    assert place(run).owner == "there"


def test_a_driver_whose_place_was_given_away_stops_and_calls_nobody(
    world: World, clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = busy_run(places=1)
    drivers.fill_places("here", hands=1)

    def work(_: int, stop: Callable[[], bool]) -> Progress:
        clock.sleep(2)
        assert not stop()
        drivers.dismiss("here")
        clock.sleep(2)
        assert stop()
        return Progress.BUSY

    advancing(monkeypatch, work)
    drivers.drive(place(run).pk, clock=clock, steady=clock.steady)
    assert len(called()) == 1
    assert (place(run).owner, place(run).lease_until) == ("", None)


def test_a_driver_renews_its_place_while_it_works(world: World, clock: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    run = busy_run(places=1)
    drivers.fill_places("here", hands=1)

    def work(_: int, stop: Callable[[], bool]) -> Progress:
        Driver.objects.update(lease_until="2000-01-01T00:00Z")
        clock.sleep(2)
        assert not stop()
        assert Driver.objects.filter(run=run, lease_until__gt="2001-01-01T00:00Z").exists()
        return Progress.STOPPED

    advancing(monkeypatch, work)
    drivers.drive(place(run).pk, clock=clock, steady=clock.steady)
    assert len(called()) == 1  # a run that is over needs no successor


def test_calls_roll_back_with_the_transaction_that_made_them(world: World) -> None:
    run = busy_run(places=1)
    with transaction.atomic():
        drivers.fill_places("here", hands=1)
        transaction.set_rollback(True)
    assert called() == []
    assert place(run).called_at is None


def test_driving_here_waits_until_the_run_is_over(world: World, clock: Hands, project: Project) -> None:
    world.add(schema("Account", "Name"), {"Id": "A1", "Name": "x"})
    factories.project_object(project, "Account")
    run = services.start_run(project)
    drivers.drive_here(run.pk, clock=clock)
    assert Run.objects.get(pk=run.pk).state == RunState.COMPLETED


def test_a_hand_that_left_its_place_is_free_for_the_next_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = busy_run(places=1)
    drivers.fill_places("here", hands=1)
    advancing(monkeypatch, lambda *_: Progress.STOPPED)
    drivers.drive(place(first).pk)
    Run.objects.filter(pk=first.pk).update(state=RunState.COMPLETED)
    second = busy_run(places=1)
    assert drivers.fill_places("here", hands=1) == 1
    assert place(second).owner == "here"


def test_a_new_worker_keeps_what_it_has_loaded_out_of_the_collectors_way() -> None:
    gc.unfreeze()
    post_spawn.send(sender="django_q", proc_name="a worker")
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    assert frozen > 10_000
