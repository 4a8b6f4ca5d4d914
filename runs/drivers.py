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
from django.db.models import F
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now
from django_q.tasks import async_task

from connectors.context import Clock, SystemClock
from runs import leases
from runs.choices import ACTIVE, RunState
from runs.crash_points import CrashPoint, reached
from runs.engine import coordinator
from runs.engine.coordinator import Progress
from runs.leases import Lease
from runs.models import Driver, Run

IDLE_SECONDS = 2.0
"""How long a driver waits for work to become free before it leaves its place."""
IDLE_POLL_SECONDS = 0.2
CALL_AGAIN_SECONDS = 10
"""A call nobody answered for so long is repeated; a place left for lack of work is called again then, too."""
LOOK_SECONDS = 1.0
"""How often, at most, a driver asks whether its place is still its own; it also renews the place then."""


def drive(driver_id: int, *, clock: Clock | None = None, steady: Callable[[], float] = time.monotonic) -> None:
    """Take the place and work for one time box; the successor is called in the transaction that leaves it.

    Returns at once where the place is taken or this host is not called to it any more. Raises only where our
    own database is out of reach. ``steady`` counts seconds and never jumps, unlike a clock.
    """
    clock = clock or SystemClock()
    place = _take(driver_id)
    if place is None:
        return
    reached(CrashPoint.PLACE_TAKEN)
    run_id, fence = place
    at = Lease(leases.DRIVER, driver_id, fence, attempts=0)
    progress = _work(run_id, _time_box(driver_id, fence, steady), clock, at)
    with transaction.atomic():
        if _leave(driver_id, fence, more=progress is Progress.BUSY) and progress is Progress.BUSY:
            reached(CrashPoint.LEAVING)
            _call_best(settings.WORKER_HOST, 1)
    reached(CrashPoint.LEFT)


def drive_here(run_id: int, *, clock: Clock | None = None) -> None:
    """Drive the run in this process until it needs no worker any more, waits included."""
    clock = clock or SystemClock()
    while coordinator.advance(run_id, stop=lambda: False) is not Progress.STOPPED:
        clock.sleep(IDLE_POLL_SECONDS)


def fill_places(host: str, *, hands: int) -> int:
    """Call this host's workers to empty places, at most as many as it has hands free; returns the calls made."""
    for run_id in Run.objects.filter(state__in=(RunState.PAUSING, RunState.CANCELLING)).values_list("pk", flat=True):
        coordinator.settle(run_id)
    with transaction.atomic():
        return _call_best(host, hands - _hands_taken(host))


def dismiss(host: str) -> None:
    """Take this host off all its places, to be called to again at once, there or elsewhere.

    A worker of it that is still at one finishes the piece it holds and goes; a call still on its way finds
    that the place is not this host's any more.
    """
    Driver.objects.filter(owner=host).update(owner="", called_at=None, lease_until=None, fence=F("fence") + 1)


def _hands_taken(host: str) -> int:
    """Workers of this host that hold a place, or were called to one and should be there any moment."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(*) FROM runs_driver WHERE owner = %s
                  AND (lease_until > clock_timestamp() OR called_at > clock_timestamp() - make_interval(secs => %s))""",
            [host, CALL_AGAIN_SECONDS],
        )
        return int(cursor.fetchone()[0])


def _call_best(host: str, hands: int) -> int:
    """Call workers of this host to so many empty places, in the caller's transaction; returns the calls made.

    Every run gets its first worker before any gets its second, and whoever waited longest comes first: a
    long run never keeps all hands to itself.
    """
    # An array, not IN: joined row by row the query would be asked again for each, and skip what it has taken.
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE runs_driver SET called_at = clock_timestamp(), owner = %(host)s
                WHERE id = ANY(ARRAY(
                  SELECT d.id FROM runs_driver d JOIN runs_run r ON r.id = d.run_id
                   WHERE r.state = ANY(%(active)s) AND NOT coalesce(d.lease_until > clock_timestamp(), false)
                     AND NOT coalesce(d.called_at > clock_timestamp() - make_interval(secs => %(again)s), false)
                   ORDER BY d.slot, d.called_at NULLS FIRST, d.id FOR UPDATE OF d SKIP LOCKED
                   LIMIT %(hands)s))
               RETURNING id""",
            {"host": host, "hands": max(0, hands), "active": list(ACTIVE), "again": CALL_AGAIN_SECONDS},
        )
        empty = [driver_id for (driver_id,) in cursor.fetchall()]
    for driver_id in empty:
        _call(driver_id, host)
    return len(empty)


def _call(driver_id: int, host: str) -> None:
    """Put the place on the host's queue; rolls back with the caller's transaction.

    ``ack_failure`` is fixed by whoever enqueues: without it a task that fails is delivered for ever.
    """
    async_task("runs.tasks.drive", driver_id, q_options={"cluster": host, "ack_failure": True, "save": False})


def _work(run_id: int, stop: Callable[[], bool], clock: Clock, place: Lease) -> Progress:
    idle = 0.0
    while True:
        progress = coordinator.advance(run_id, stop=stop, place=place)
        if progress is not Progress.IDLE or idle >= IDLE_SECONDS:
            return progress
        if stop():
            return Progress.BUSY
        clock.sleep(IDLE_POLL_SECONDS)
        idle += IDLE_POLL_SECONDS


def _take(driver_id: int) -> tuple[int, int] | None:
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE runs_driver SET fence = fence + 1, called_at = NULL,
                      lease_until = clock_timestamp() + make_interval(secs => %s)
                WHERE id = %s AND owner = %s AND (lease_until IS NULL OR lease_until < clock_timestamp())
               RETURNING run_id, fence""",
            [settings.MF_LEASE_SECONDS, driver_id, settings.WORKER_HOST],
        )
        row = cursor.fetchone()
    return (row[0], row[1]) if row else None


def _time_box(driver_id: int, fence: int, steady: Callable[[], float]) -> Callable[[], bool]:
    """True once the box is used up or the place was given to somebody else; renews the place meanwhile."""
    ends = steady() + settings.MF_TIME_BOX_SECONDS
    look_every = min(LOOK_SECONDS, settings.MF_LEASE_SECONDS / 3)
    look_at = steady() + look_every

    def stop() -> bool:
        nonlocal look_at
        now = steady()
        if now >= ends:
            return True
        if now < look_at:
            return False
        look_at = now + look_every
        return Driver.objects.filter(pk=driver_id, fence=fence).update(lease_until=_in(settings.MF_LEASE_SECONDS)) != 1

    return stop


def _leave(driver_id: int, fence: int, *, more: bool) -> bool:
    """False where the place is not ours any more. A place with ``more`` to do may be called to again at once,
    behind those that have waited longer. Nobody's it is in any case, so that the hand counts as free."""
    left = {"lease_until": None, "owner": "", "called_at": _in(-CALL_AGAIN_SECONDS) if more else _in(0)}
    return Driver.objects.filter(pk=driver_id, fence=fence).update(**left) == 1


def _in(seconds: float) -> CombinedExpression:
    return Now() + timedelta(seconds=seconds)
