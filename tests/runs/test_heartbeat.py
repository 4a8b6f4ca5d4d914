"""Work that outlasts its lease stays its holder's, unless the holder hangs or lost it: two threads, two connections."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from django.conf import settings
from django.db import connection
from django.test import override_settings

from projects.models import Project
from runs import drivers, leases, services
from runs.choices import RunState
from runs.engine import coordinator, work
from runs.heartbeat import Heartbeat, WaitingClock
from runs.leases import CHUNK, Lease, LeaseLost
from runs.models import Chunk, Driver, Run
from tests import factories
from tests.fakes import World, schema

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]
LEASE_SECONDS = 0.4


@pytest.fixture(autouse=True)
def short_leases() -> Iterator[None]:
    with override_settings(MF_LEASE_SECONDS=LEASE_SECONDS):
        yield


@pytest.fixture
def run(world: World, project: Project) -> Run:
    world.add(schema("Account", "Name"), *({"Id": f"A{n}", "Name": f"N {n}"} for n in range(2)))
    factories.project_object(project, "Account")
    return services.start_run(project)


def eventually(true: Callable[[], bool], within: float = 10.0) -> bool:
    ends = time.monotonic() + within
    while not true():
        if time.monotonic() > ends:
            return False
        time.sleep(0.01)
    return True


def expired_by(moment: datetime | None) -> bool:
    """Whether the database's clock has passed ``moment``."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp() > %s", [moment])
        return bool(cursor.fetchone()[0])


def claimed(run: Run) -> Lease:
    step = factories.step(run, factories.project_object(run.project, "Contact"))
    chunk = factories.chunk(step, [{"Id": "C1", "Name": "x"}])
    found = leases.claim(CHUNK, "SELECT id FROM runs_chunk WHERE id = %s FOR UPDATE", [chunk.pk])
    assert found is not None
    return found


def test_a_bulk_job_slower_than_the_lease_is_waited_for_by_one_worker(world: World, run: Run) -> None:
    idle: list[object] = []

    def slow_job(_entity: str) -> None:
        first = Chunk.objects.get().lease_until
        assert eventually(lambda: expired_by(first))
        idle.append(work.next_work(run.pk))  # what a second worker would be given now

    world.before_write = slow_job
    assert coordinator.advance(run.pk, stop=lambda: False) is coordinator.Progress.STOPPED
    assert idle == [None]
    assert len(world.writes) == 1
    assert Run.objects.get(pk=run.pk).state == RunState.COMPLETED


def test_the_place_at_the_run_is_kept_too(world: World, run: Run) -> None:
    seen: list[bool] = []

    def slow_job(_entity: str) -> None:
        place = Driver.objects.get(run=run, slot=0)
        first = place.lease_until
        assert first is not None
        assert eventually(lambda: expired_by(first))
        seen.append(not expired_by(Driver.objects.get(pk=place.pk).lease_until))

    world.before_write = slow_job
    drivers.fill_places(settings.WORKER_HOST, hands=1)
    drivers.drive(Driver.objects.get(run=run, slot=0).pk)
    assert seen == [True]


def test_a_worker_that_sleeps_learns_that_its_lease_was_lost(run: Run) -> None:
    lease = claimed(run)
    heartbeat = Heartbeat()
    with heartbeat.holding(lease):
        Chunk.objects.filter(pk=lease.id).update(fence=lease.fence + 1)
        with pytest.raises(LeaseLost):
            WaitingClock(heartbeat).sleep(60)
    heartbeat.close()
    assert Chunk.objects.get(pk=lease.id).fence == lease.fence + 1


def test_a_worker_that_hangs_loses_its_work_and_is_ended(run: Run) -> None:
    lease = claimed(run)
    place = Lease(leases.DRIVER, Driver.objects.get(run=run, slot=0).pk, fence=0, attempts=0)
    ended: list[bool] = []
    heartbeat = Heartbeat(place, patience=0.0, end=lambda: ended.append(True))
    with heartbeat.holding(lease):
        until = Chunk.objects.get(pk=lease.id).lease_until
        assert eventually(lambda: expired_by(until) and bool(ended))
        assert Chunk.objects.get(pk=lease.id).lease_until == until
    heartbeat.close()
    assert ended == [True]


def test_whoever_drives_a_run_without_a_place_is_not_ended(run: Run) -> None:
    lease = claimed(run)
    ended: list[bool] = []
    heartbeat = Heartbeat(patience=0.0, end=lambda: ended.append(True))
    with heartbeat.holding(lease):
        until = Chunk.objects.get(pk=lease.id).lease_until
        assert eventually(lambda: expired_by(until))
    heartbeat.close()
    assert ended == []


def test_nothing_is_renewed_once_the_work_is_done(run: Run) -> None:
    lease = claimed(run)
    heartbeat = Heartbeat()
    with heartbeat.holding(lease):
        heartbeat.sign()
    until = Chunk.objects.get(pk=lease.id).lease_until
    assert eventually(lambda: expired_by(until))
    heartbeat.close()
    assert Chunk.objects.get(pk=lease.id).lease_until == until
