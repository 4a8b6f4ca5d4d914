"""Leases: one holder at a time, by the database's clock, and no write without the fence."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import override_settings

from runs import leases
from runs.leases import CHUNK, RUN, STEP, Lease, LeaseLost
from runs.models import Chunk, Run, Step
from tests import factories
from tests.fakes import World

pytestmark = pytest.mark.django_db

FREE = "lease_until IS NULL OR lease_until < clock_timestamp()"


@pytest.fixture
def chunk(world: World) -> Chunk:
    project = factories.project()
    step = factories.step(factories.run(project), factories.project_object(project, "Account"))
    return factories.chunk(step, [{"Id": "A1", "Name": "x"}])


def claim(table: str = CHUNK) -> Lease | None:
    return leases.claim(table, f"SELECT id FROM {table} WHERE {FREE} ORDER BY id FOR UPDATE SKIP LOCKED", [])


def held(chunk: Chunk) -> Lease:
    found = claim()
    assert found is not None
    assert found.id == chunk.pk
    return found


def expire(chunk: Chunk) -> None:
    Chunk.objects.filter(pk=chunk.pk).update(lease_until="2000-01-01T00:00Z")


def seconds_left(chunk: Chunk) -> float:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM lease_until - clock_timestamp()) FROM runs_chunk WHERE id = %s", [chunk.pk]
        )
        return float(cursor.fetchone()[0])


WRITES: dict[str, Callable[[Lease], None]] = {
    "renew": leases.renew,
    "release": leases.release,
    "settle": lambda lease: leases.settle(lease, "state = 'loaded', created = %s", [1]),
    "write": lambda lease: leases.write(lease, "idempotency_key = %s", ["x"]),
}


def test_a_claim_is_exclusive_until_it_ends(chunk: Chunk) -> None:
    first = held(chunk)
    assert claim() is None
    expire(chunk)
    second = held(chunk)
    assert (second.fence, second.attempts) == (first.fence + 1, first.attempts + 1)


@pytest.mark.parametrize(("table", "model"), [(CHUNK, Chunk), (STEP, Step), (RUN, Run)])
def test_every_kind_of_work_is_claimed_alike(chunk: Chunk, table: str, model: type[Chunk | Step | Run]) -> None:
    lease = claim(table)
    assert lease is not None
    row = model._default_manager.get(pk=lease.id)
    assert (row.fence, row.attempts, row.owner) == (lease.fence, 1, leases.owner())


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_no_write_of_a_fenced_worker_changes_anything(chunk: Chunk, write: Callable[[Lease], None]) -> None:
    late = held(chunk)
    expire(chunk)
    held(chunk)
    before = Chunk.objects.defer(None).values().get(pk=chunk.pk)
    with pytest.raises(LeaseLost):
        write(late)
    assert Chunk.objects.defer(None).values().get(pk=chunk.pk) == before


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_no_write_follows_giving_back(chunk: Chunk, write: Callable[[Lease], None]) -> None:
    lease = held(chunk)
    leases.release(lease)
    with pytest.raises(LeaseLost):
        write(lease)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_no_write_to_what_was_deleted(chunk: Chunk, write: Callable[[Lease], None]) -> None:
    lease = held(chunk)
    Chunk.objects.all().delete()
    with pytest.raises(LeaseLost):
        write(lease)


def test_an_expired_lease_nobody_took_still_holds(chunk: Chunk) -> None:
    """A worker that was slow, but alone, need not do its work again."""
    lease = held(chunk)
    expire(chunk)
    leases.renew(lease)
    assert claim() is None


def test_renewing_and_writing_hold_for_another_lease_time(chunk: Chunk) -> None:
    lease = held(chunk)
    with override_settings(MF_LEASE_SECONDS=1_000.0):
        leases.renew(lease)
        assert seconds_left(chunk) == pytest.approx(1_000, abs=30)
        expire(chunk)
        leases.write(lease, "idempotency_key = %s", ["x"])
        assert seconds_left(chunk) == pytest.approx(1_000, abs=30)


def test_what_is_given_back_waits_for_its_time(chunk: Chunk) -> None:
    leases.release(held(chunk), wait_seconds=600)
    available = leases.claim(
        CHUNK, f"SELECT id FROM {CHUNK} WHERE available_at <= clock_timestamp() FOR UPDATE SKIP LOCKED", []
    )
    assert available is None
    assert Chunk.objects.get(pk=chunk.pk).owner == ""


def test_attempts_count_claims_without_a_result(chunk: Chunk) -> None:
    for expected in (1, 2, 3):
        lease = held(chunk)
        assert lease.attempts == expected
        expire(chunk)
    lease = held(chunk)
    leases.write(lease, "idempotency_key = %s", ["x"])
    leases.release(lease)
    assert held(chunk).attempts == 1


def test_a_claim_that_shall_not_weigh_is_taken_off_the_count(chunk: Chunk) -> None:
    lease = held(chunk)
    leases.release(lease, attempts=lease.attempts - 1)
    assert held(chunk).attempts == 1


def test_settling_ends_the_lease(chunk: Chunk) -> None:
    leases.settle(held(chunk), "state = %s, created = %s", ["loaded", 1])
    row = Chunk.objects.get(pk=chunk.pk)
    assert (row.state, row.created, row.lease_until, row.owner, row.attempts) == ("loaded", 1, None, "", 0)
