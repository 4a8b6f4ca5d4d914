"""Moves a run forward, one claimed piece at a time, and decides what an error means for it.

Any number of workers may call ``advance`` for the same run at once; leases keep them apart. This is the
only place that catches everything: an error nobody foresaw ends the run as crashed, with a number that
leads from the run's page to the log.
"""

import logging
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from django.db import InterfaceError, OperationalError, transaction
from psycopg import InterfaceError as DriverInterfaceError
from psycopg import OperationalError as DriverOperationalError
from psycopg.errors import IdleInTransactionSessionTimeout, TransactionTimeout

from connectors.errors import FatalError, RateLimited, RetryableError
from orgs.sealing import SealBroken
from projects.mapping.problems import MappingInvalid
from projects.ordering import OrderImpossible
from runs import bypass, events, leases, transitions
from runs.choices import EventLevel, RunKind, RunState
from runs.crash_points import CrashPoint, reached
from runs.engine import changes, dry_run, forecast, halving, retry, rollback
from runs.engine.extract import extract
from runs.engine.finish import finish
from runs.engine.load import load
from runs.engine.plan import NothingToDo, plan
from runs.engine.reconcile import reconcile
from runs.engine.relink import relink
from runs.engine.session import Session
from runs.engine.work import Task, Work, begun, held, next_work
from runs.leases import Lease, LeaseLost
from runs.models import ContentsDropped, Run

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 8
"""Claims of one piece without a result, after which a person must look."""
LOOKED_AT = 2
"""From which claim of a chunk on it is asked whether its holders died."""
LONGEST_BACKOFF = 300.0
"""Seconds."""
EXTRACT_PAGES = 20
"""Pages a worker reads before it looks whether something waits to be loaded."""
WRITES = frozenset({Task.LOAD, Task.RELINK})
"""Before these the target's automation is asked to stand aside, in a dry run too: it must meet what the load meets."""

DATABASE_GONE = (
    OperationalError, InterfaceError, DriverOperationalError, DriverInterfaceError,
    IdleInTransactionSessionTimeout, TransactionTimeout,
)  # fmt: skip
"""The last two end the connection of a worker that stood still, and belong to another family by their code alone."""
EXPECTED = (FatalError, SealBroken, ContentsDropped, MappingInvalid, OrderImpossible, NothingToDo)


class Progress(StrEnum):
    BUSY = "busy"
    """The time is up and there is more to do."""
    IDLE = "idle"
    """Nothing is free now: others are at it, or it waits for a time to come."""
    STOPPED = "stopped"
    """The run is not for workers any more."""


def advance(run_id: int, *, stop: Callable[[], bool], place: Lease | None = None) -> Progress:
    """Work on the run until ``stop`` says so or nothing is left to claim; ``place`` is kept meanwhile.

    Raises only where our own database is out of reach; leases then expire and others go on.
    """
    with dry_run.session_of(run_id, place) as session:
        while settle(run_id):
            work = next_work(run_id)
            if work is None:
                return Progress.IDLE
            _perform(session, work, stop)
            if stop():
                return Progress.BUSY
    bypass.after(run_id)
    return Progress.STOPPED


def settle(run_id: int) -> bool:
    """Do what people asked for (start, pause, cancel); true where there is work for the run, if only what was begun
    before it was cancelled."""
    state = Run.objects.values_list("state", flat=True).get(pk=run_id)
    if state == RunState.QUEUED:
        return transitions.move(run_id, RunState.RUNNING, reason="Started.") or settle(run_id)
    if state == RunState.PAUSING and not held(run_id):
        transitions.move(run_id, RunState.PAUSED, reason="Paused; everything done so far is kept.")
    if state == RunState.CANCELLING and not held(run_id):
        return _cancelled_or_begun(run_id)
    return state == RunState.RUNNING


def _cancelled_or_begun(run_id: int) -> bool:
    """True where a worker that died, or a target that did not answer, left something begun that can be tried now."""
    left = begun(run_id)
    if left.free:
        return True
    reason, level = "Cancelled; what was loaded stays in the target.", EventLevel.INFO
    if left.records:
        level = EventLevel.WARNING
        reason = (
            f"{reason} What became of up to {left.records:,} records that may have been sent is not known, since the "
            "target did not answer. A rollback does not find these; the next load asks the target about each."
        )
    transitions.move(run_id, RunState.CANCELLED, reason=reason, level=level)
    return False


def _perform(session: Session, work: Work, stop: Callable[[], bool]) -> None:
    try:
        if _may_kill(work) and halving.halved(session, work.lease):
            return
        if work.lease.attempts > MAX_ATTEMPTS:
            _give_up(session, work)
        else:
            with session.heartbeat.holding(work.lease):
                _do(session, work, stop)
    except LeaseLost:
        logger.info("lease lost: %s %s", work.task, work.lease)
    except RetryableError as error:
        _wait(session.run.pk, work, error)
    except DATABASE_GONE:
        raise
    except EXPECTED as error:
        _end(session.run.pk, work, RunState.FAILED, str(error))
    except Exception:
        number = uuid.uuid4().hex[:8]
        logger.exception("incident %s in run %s (%s)", number, session.run.pk, work.task)
        _end(
            session.run.pk,
            work,
            RunState.CRASHED,
            f"An error in our own code stopped the run while it was to {work.task}; "
            f"incident {number} in the log tells more.",
        )


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What each task means for one kind of run."""

    plan: Callable[[Session, Lease], None]
    extract: Callable[..., bool]
    """True where all was staged, which ends the lease."""
    load: Callable[[Session, Lease], None]
    relink: Callable[[Session, Lease], None]
    reconcile: Callable[[Session, Lease], None]
    finish: Callable[[Session, Lease], None] = finish


PIPELINES = {
    RunKind.LOAD: Pipeline(forecast.plan, extract, load, relink, reconcile, forecast.finish),
    RunKind.DELTA: Pipeline(plan, changes.gather, changes.load, changes.relink, changes.reconcile),
    RunKind.RETRY: Pipeline(plan, retry.gather, load, relink, reconcile),
    RunKind.DRY_RUN: Pipeline(
        dry_run.plan, dry_run.extract, dry_run.load, dry_run.relink, dry_run.reconcile, dry_run.finish
    ),
    RunKind.ROLLBACK: Pipeline(rollback.plan, rollback.gather, rollback.undo, rollback.undo_again, rollback.prove),
}


def _do(session: Session, work: Work, stop: Callable[[], bool]) -> None:
    pipeline = PIPELINES[RunKind(session.run.kind)]
    reached(CrashPoint.CLAIMED)
    if work.task in WRITES:
        bypass.hold(session.run, lambda: session.target, clock=session.clock)
    match work.task:
        case Task.PLAN:
            pipeline.plan(session, work.lease)
        case Task.EXTRACT:
            _extract(pipeline, session, work, stop)
        case Task.LOAD:
            pipeline.load(session, work.lease)
        case Task.RELINK:
            pipeline.relink(session, work.lease)
        case Task.RECONCILE:
            pipeline.reconcile(session, work.lease)
        case Task.FINISH:
            pipeline.finish(session, work.lease)


def _extract(pipeline: Pipeline, session: Session, work: Work, stop: Callable[[], bool]) -> None:
    pages = 0

    def enough() -> bool:
        nonlocal pages
        pages += 1
        return pages >= EXTRACT_PAGES or stop() or not settle(session.run.pk)

    if not pipeline.extract(session, work.lease, stop=enough):
        leases.release(work.lease, attempts=0)


def _wait(run_id: int, work: Work, error: RetryableError) -> None:
    """Put the piece back until the platform may answer; the wait shows on the run's page."""
    if isinstance(error, RateLimited):
        seconds, attempts = error.retry_after, work.lease.attempts - 1
    else:
        backoff = min(LONGEST_BACKOFF, 2.0**work.lease.attempts)
        seconds, attempts = backoff * random.uniform(0.5, 1.0), work.lease.attempts  # noqa: S311 - jitter
    try:
        with transaction.atomic():
            leases.release(work.lease, wait_seconds=seconds, attempts=attempts)
            events.tell_wait(run_id, str(error), seconds=seconds)
    except LeaseLost:
        logger.info("lease lost while waiting: %s", work.lease)


def _may_kill(work: Work) -> bool:
    """Whether it is worth a look who has held this piece before."""
    return work.task is Task.LOAD and work.lease.attempts >= LOOKED_AT


def _give_up(session: Session, work: Work) -> None:
    """A piece that no worker ever finished: a chunk is set aside, anything else stops the run."""
    run_id, said = session.run.pk, f"To {work.task} was tried {MAX_ATTEMPTS} times without a result"
    if work.task is Task.LOAD:
        what = halving.blamed(session, work.lease) or f"chunk {work.lease.id}"
        with transaction.atomic():
            leases.settle(work.lease, "state = 'failed'", [])
            events.tell(run_id, f"{said}; {what} is set aside.", level=EventLevel.ERROR)
        return
    _end(run_id, work, RunState.FAILED, f"{said}; see the waits above for the causes, then resume the run.")


def _end(run_id: int, work: Work, state: RunState, reason: str) -> None:
    """Stop the run, unless another has the piece by now: what went wrong here need not go wrong there."""
    try:
        with transaction.atomic():
            leases.release(work.lease, attempts=0)
            transitions.move(run_id, state, reason=reason, level=EventLevel.ERROR)
    except LeaseLost:
        logger.info("lease lost while ending: %s", work.lease)
