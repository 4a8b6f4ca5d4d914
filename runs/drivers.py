"""Workers' places at a run: who drives it now, and calling somebody where nobody does.

Every worker host has a queue of its own and calls its own workers to empty places, as many as it has
hands free; that is how work spreads over hosts. django-q2 only delivers the call: one that is lost,
delivered twice or given to a worker that is killed changes nothing, since places are leased by the
database's clock and called again. Why: docs/decisions/0004-django-q2-is-a-bell.md.
"""

import time
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now
from django_q.tasks import async_task

from connectors.context import Clock, SystemClock
from runs.choices import ACTIVE, RunState
from runs.engine import coordinator
from runs.engine.coordinator import Progress
from runs.models import Driver, Run

IDLE_SECONDS = 2.0
"""How long a driver waits for work to become free before it leaves its place."""
IDLE_POLL_SECONDS = 0.2
CALL_AGAIN_SECONDS = 10
"""A call nobody answered for so long is repeated; a place left for lack of work is called again then, too."""


def drive(driver_id: int, *, clock: Clock | None = None) -> None:
    """Take the place and work for one time box; the successor is called in the transaction that leaves it.

    Returns at once where the place is taken. Raises only where our own database is out of reach.
    """
    clock = clock or SystemClock()
    place = _take(driver_id)
    if place is None:
        return
    run_id, fence = place
    progress = _work(run_id, _time_box(driver_id, fence), clock)
    with transaction.atomic():
        if _leave(driver_id, fence) and progress is Progress.BUSY:
            _call(driver_id)


def drive_here(run_id: int, *, clock: Clock | None = None) -> None:
    """Drive the run in this process until it needs no worker any more, waits included."""
    clock = clock or SystemClock()
    while coordinator.advance(run_id, stop=lambda: False) is not Progress.STOPPED:
        clock.sleep(IDLE_POLL_SECONDS)


def fill_places(host: str, *, hands: int) -> int:
    """Call this host's workers to empty places, at most as many as it has hands free; returns the calls made."""
    for run_id in Run.objects.filter(state__in=(RunState.PAUSING, RunState.CANCELLING)).values_list("pk", flat=True):
        coordinator.settle(run_id)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """UPDATE runs_driver SET called_at = clock_timestamp(), owner = %(host)s
                WHERE id IN (
                  SELECT d.id FROM runs_driver d JOIN runs_run r ON r.id = d.run_id
                   WHERE r.state = ANY(%(active)s) AND NOT coalesce(d.lease_until > clock_timestamp(), false)
                     AND NOT coalesce(d.called_at > clock_timestamp() - make_interval(secs => %(again)s), false)
                   ORDER BY d.slot, d.called_at NULLS FIRST, d.id FOR UPDATE OF d SKIP LOCKED
                   LIMIT greatest(0, %(hands)s - (
                     SELECT count(*) FROM runs_driver o WHERE o.owner = %(host)s
                        AND (o.lease_until > clock_timestamp()
                             OR o.called_at > clock_timestamp() - make_interval(secs => %(again)s)))))
               RETURNING id""",
            {"host": host, "hands": hands, "active": list(ACTIVE), "again": CALL_AGAIN_SECONDS},
        )
        empty = [driver_id for (driver_id,) in cursor.fetchall()]
        for driver_id in empty:
            _call(driver_id)
    return len(empty)


def forget_calls(host: str) -> None:
    """Free the places of this host, all of whose workers are gone, to be called for again at once."""
    Driver.objects.filter(owner=host).update(called_at=None, lease_until=None)


def _call(driver_id: int) -> None:
    """Put the place on this host's queue; rolls back with the caller's transaction.

    ``ack_failure`` is fixed by whoever enqueues: without it a task that fails is delivered for ever.
    """
    async_task("runs.tasks.drive", driver_id, q_options={"ack_failure": True, "save": False})


def _work(run_id: int, stop: Callable[[], bool], clock: Clock) -> Progress:
    idle = 0.0
    while True:
        progress = coordinator.advance(run_id, stop=stop)
        if progress is not Progress.IDLE or idle >= IDLE_SECONDS:
            return progress
        if stop():
            return Progress.BUSY
        clock.sleep(IDLE_POLL_SECONDS)
        idle += IDLE_POLL_SECONDS


def _take(driver_id: int) -> tuple[int, int] | None:
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE runs_driver SET fence = fence + 1,
                      lease_until = clock_timestamp() + make_interval(secs => %s)
                WHERE id = %s AND (lease_until IS NULL OR lease_until < clock_timestamp())
               RETURNING run_id, fence""",
            [settings.MF_LEASE_SECONDS, driver_id],
        )
        row = cursor.fetchone()
    return (row[0], row[1]) if row else None


def _time_box(driver_id: int, fence: int) -> Callable[[], bool]:
    """True once the box is used up or the place was given to somebody else; renews the place meanwhile."""
    ends = time.monotonic() + settings.MF_TIME_BOX_SECONDS
    renew_at = time.monotonic() + settings.MF_LEASE_SECONDS / 3

    def stop() -> bool:
        nonlocal renew_at
        now = time.monotonic()
        if now >= ends:
            return True
        if now < renew_at:
            return False
        renew_at = now + settings.MF_LEASE_SECONDS / 3
        return Driver.objects.filter(pk=driver_id, fence=fence).update(lease_until=_in(settings.MF_LEASE_SECONDS)) != 1

    return stop


def _leave(driver_id: int, fence: int) -> bool:
    return Driver.objects.filter(pk=driver_id, fence=fence).update(lease_until=None, called_at=_in(0)) == 1


def _in(seconds: float) -> CombinedExpression:
    return Now() + timedelta(seconds=seconds)
