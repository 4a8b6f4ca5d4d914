"""What people and schedules may do to runs; each is one transaction.

Nothing is sent to a worker here: a run has places for workers, and worker hosts fill empty places.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Count, F, Min, Q, QuerySet, Sum
from django.utils import timezone

from connectors.registry import target_class
from connectors.types import Asking
from projects.models import Project
from runs import events, ledger, transitions
from runs.choices import ACTIVE, DUE, OPEN, UNDOABLE, EventLevel, RecordState, RunKind, RunState, StepTask
from runs.engine.work import try_begun_now
from runs.ledger import Scope
from runs.models import Chunk, Driver, Insertion, Run, Step, TrackedRecord
from runs.partitions import PartitionBusy


class RunRefused(Exception):
    """What was asked cannot be done now; the message is a sentence for staff."""


@transaction.atomic
def start_run(project: Project, *, user: User | None = None, drivers: int | None = None) -> Run:
    """Queue a load of the project. Raises RunRefused where a run is open.

    ``drivers`` is how many places for workers the run has, by itself as many as ``places`` says.
    """
    return _queue(project, user, drivers, kind=RunKind.LOAD)


def _queue(project: Project, user: User | None, drivers: int | None, **given: Any) -> Run:
    consent = consent_needed(project)
    try:
        with transaction.atomic():
            run = Run.objects.create(project=project, started_by=user, **given)
    except IntegrityError as error:
        open_run = Run.objects.filter(project=project, finished_at=None).first()
        raise RunRefused(
            f"{open_run or 'Another run'} of {project} is not finished; wait for it, resume it or cancel it first."
        ) from error
    Driver.objects.bulk_create(Driver(run=run, slot=slot) for slot in range(drivers or places(project)))
    if consent:
        events.tell(run.pk, consent, level=EventLevel.WARNING)
    return run


def places(project: Project) -> int:
    """How many workers may be at one run: as many as may write to the target side by side.

    Worker hosts fill places as far as they have hands free, and hosts that join later fill what is left.
    """
    return target_class(project.target.platform).capabilities.writers


def cannot_be_asked(project: Project) -> bool:
    """Whether the project's target cannot tell what became of records whose answer was lost."""
    return target_class(project.target.platform).capabilities.asked_by is Asking.NONE


def consent_needed(project: Project) -> str:
    """The consent under which a run starts, for its log; blank where none is needed. Raises RunRefused without it."""
    if not cannot_be_asked(project):
        return ""
    if project.unasked_at is None:
        raise RunRefused(
            f"{project.target} cannot be asked what became of records whose answer was lost, so that some might be "
            "written twice; somebody has to consent to that on the project's page first."
        )
    given = project.unasked_at.strftime("%-d %B %Y, %H:%M UTC")
    return (
        f"{project.target} cannot be asked what became of records whose answer was lost; {project.unasked_by} "
        f"consented to that on {given}."
    )


def consent_to_unasked(project: Project, user: User) -> None:
    """Record that this person takes it that a lost answer may write records of the project twice."""
    project.unasked_by, project.unasked_at = user, timezone.now()
    project.save(update_fields=["unasked_by", "unasked_at"])


def withdraw_consent(project: Project) -> None:
    """Let no further run start without a new consent; one under way goes on."""
    project.unasked_by = project.unasked_at = None
    project.save(update_fields=["unasked_by", "unasked_at"])


@transaction.atomic
def start_delta(project: Project, *, user: User | None = None, drivers: int | None = None) -> Run:
    """Queue bringing what changed in the source since it was read last. Raises RunRefused where a run is open.

    Where a platform cannot be asked for changes everything is read, and the hash finds them. What is still due
    from before is tried again from its staged source records, decided conflicts among it, and what was rolled
    back is read again.
    """
    return _queue(project, user, drivers, kind=RunKind.DELTA)


@transaction.atomic
def start_retry(
    project: Project, scope: Scope | None = None, *, user: User | None = None, drivers: int | None = None
) -> Run:
    """Queue another try of what was rejected or waits, from the staged data and with the mapping as it is now.

    Records that are in the target are not sent again. Those that were taken back are tried only where the scope's
    ``states`` say so, and are then read from the source. Raises RunRefused where nothing is due or a run is open.
    """
    scope = scope or Scope()
    if RecordState.ROLLED_BACK in scope.states:
        scope = replace(scope, reread=True)
    due = in_scope(project, scope).filter(state__in=set(scope.states or DUE) & {*DUE, RecordState.ROLLED_BACK})
    if not due.exists():
        raise RunRefused(
            "Nothing of that choice was taken back."
            if RecordState.ROLLED_BACK in scope.states
            else "Nothing is due: no record of that choice was rejected or waits for a parent."
        )
    return _queue(project, user, drivers, kind=RunKind.RETRY, scope=asdict(scope))


def start_chosen(project: Project, scope: Scope, *, user: User | None = None, drivers: int | None = None) -> Run:
    """Queue a retry of a choice that the caller knows to be due. Raises RunRefused where a run is open."""
    return _queue(project, user, drivers, kind=RunKind.RETRY, scope=asdict(scope))


@transaction.atomic
def start_rollback(
    undone: Run, scope: Scope | None = None, *, user: User | None = None, drivers: int | None = None
) -> Run:
    """Queue taking back what a run wrote, or the part of it in ``scope``. Raises RunRefused where a run is open or
    there is nothing to take back."""
    scope = scope or Scope()
    # Retention drops what a rollback needs, under the same lock.
    Project.objects.select_for_update(no_key=True).get(pk=undone.project_id)
    check_undoable(undone)
    return _queue(undone.project, user, drivers, kind=RunKind.ROLLBACK, undoes=undone, scope=asdict(scope))


@transaction.atomic
def start_rollback_of(project: Project, scope: Scope, *, user: User | None = None, drivers: int | None = None) -> Run:
    """Queue taking back all that any run wrote of an object or of chosen records. Raises RunRefused as above, and
    where the scope chooses nothing: a whole project is taken back run by run.

    Such records stay out: no delta brings them again, even where they change in the source. A load does, and a retry
    of records that were taken back."""
    check_withdrawable(project, scope)
    return _queue(project, user, drivers, kind=RunKind.ROLLBACK, scope=asdict(scope))


def check_undoable(undone: Run) -> None:
    """Raises RunRefused where the run is open, is a rollback itself, or left nothing that could be taken back."""
    if undone.kind not in UNDOABLE:
        raise RunRefused(f"{undone} is a rollback itself; start a load to bring its records again.")
    if undone.state in OPEN:
        raise RunRefused(f"{undone} is not finished; cancel it or let it end before rolling it back.")
    written = Chunk.objects.filter(run=undone, intended_at__isnull=False)
    if not written.exists():
        raise RunRefused(f"{undone} wrote nothing, so that there is nothing to take back.")
    if written.filter(month=None).exists():
        raise RunRefused(
            f"{undone} cannot be rolled back any more: what the target held before it was kept until the project's "
            "retention time had passed."
        )


def undoable_until(undone: Run) -> datetime | None:
    """When what the target held before the run may be deleted; None where it is kept for ever."""
    days = undone.project.retention_days
    return undone.finished_at + timedelta(days=days) if days and undone.finished_at else None


def check_withdrawable(project: Project, scope: Scope) -> None:
    """Raises RunRefused where nothing is chosen, or nothing of the choice stands in the target by our doing."""
    if not (scope.objects or scope.source_ids):
        raise RunRefused("Choose an object or records to take back; a whole project is taken back run by run.")
    if not in_scope(project, scope).exclude(target_id=None).exists():
        raise RunRefused("Nothing of that choice is in the target by our doing.")


def in_scope(project: Project, scope: Scope) -> QuerySet[TrackedRecord]:
    """The tracked records of the project that the scope chooses."""
    chosen: QuerySet[TrackedRecord] = TrackedRecord.objects.filter(project=project)
    narrowed = {
        "object_id__in": scope.objects,
        "code__in": scope.codes,
        "source_id__in": scope.source_ids,
        "state__in": scope.states,
    }
    return chosen.filter(**{name: values for name, values in narrowed.items() if values})


def unknown_ids(project: Project, objects: Sequence[int], source_ids: Sequence[str]) -> list[str]:
    """Those of the ids that no tracked record of the project, or of these objects of it, has."""
    if not source_ids:
        return []
    tracked = in_scope(project, Scope(objects=tuple(objects), source_ids=tuple(source_ids)))
    known = set(tracked.values_list("source_id", flat=True))
    return [each for each in source_ids if each not in known]


def pause_run(run: Run) -> None:
    """Stop claiming work; what is in hand is finished first. Raises RunRefused."""
    if not transitions.move(run.pk, RunState.PAUSING, reason="A pause was asked for."):
        raise _refused(run, "paused")


@transaction.atomic
def cancel_run(run: Run) -> None:
    """Stop for good after what is in hand, and after one more try of what was sent and not answered. Raises
    RunRefused."""
    if not transitions.move(run.pk, RunState.CANCELLING, reason="Cancellation was asked for."):
        raise _refused(run, "cancelled")
    try_begun_now(run.pk)


@transaction.atomic
def resume_run(run: Run) -> None:
    """Go on where a paused, failed or crashed run stopped; set-aside chunks are tried again. Raises RunRefused."""
    try:
        with transaction.atomic():
            moved = transitions.move(run.pk, RunState.QUEUED, reason="Resumed.")
    except IntegrityError as error:
        raise RunRefused(f"Another run of {run.project} is open; finish or cancel it before resuming {run}.") from error
    if not moved:
        raise _refused(run, "resumed")
    ledger.stage_again(run.pk)
    Step.objects.filter(run=run).update(attempts=0)
    Run.objects.filter(pk=run.pk).update(attempts=0)
    Driver.objects.filter(run=run).update(called_at=None)


@dataclass(frozen=True, slots=True)
class UnansweredJob:
    """A bulk job that was to create records without an external id; whether it did is not known here."""

    job: str
    entity: str
    records: int
    begun_at: datetime


def unanswered_jobs(project: Project) -> list[UnansweredJob]:
    """Those of the project, the oldest first; workers may be about to ask them."""
    rows = Insertion.objects.filter(project=project, target_id=None).values_list("job", "entity")
    found = rows.annotate(records=Count("pk"), since=Min("begun_at")).order_by("since")
    return [UnansweredJob(*row) for row in found]


@transaction.atomic
def forget_job(project: Project, job: str) -> int:
    """Take the job for one that created nothing, as a person has found in the target; how many records it was to
    create. Raises RunRefused where workers may be asking it, or it is not one that waits for an answer."""
    if Run.objects.filter(project=project, state__in=ACTIVE).exists():
        raise RunRefused("A run of this project is under way and asks its jobs itself; wait until it ends.")
    count = ledger.forget_insertion(None, project.pk, job)
    if not count:
        raise RunRefused(f"No job {job} of this project waits for an answer.")
    return count


def stopped_deletions(run: Run) -> QuerySet[Step]:
    """The steps of a run that found more to delete than it may."""
    counted = Step.objects.filter(run=run, task=StepTask.DELETE, extracted_at=None, expected__isnull=False)
    return counted.filter(Q(deletes_allowed=None) | Q(deletes_allowed__lt=F("expected")))


@transaction.atomic
def allow_deletions(run: Run, *, user: User) -> None:
    """Let a run that stopped for its deletions do just so many, once, and resume it. Raises RunRefused."""
    stopped = stopped_deletions(run)
    if run.state != RunState.FAILED or not stopped.update(deletes_allowed=F("expected")):
        raise RunRefused(f"{run} did not stop for its deletions; there is nothing to allow.")
    allowed = Step.objects.filter(run=run).aggregate(number=Sum("deletes_allowed"))["number"]
    events.tell(run.pk, f"{user.username} allowed {allowed:,} deletions.", level=EventLevel.WARNING)
    resume_run(run)


def _refused(run: Run, what: str) -> RunRefused:
    state = Run.objects.get(pk=run.pk).get_state_display().lower()
    return RunRefused(f"{run} is {state} and cannot be {what} now.")


@transaction.atomic
def erase_project(project: Project) -> None:
    """Delete the project with all its runs, payloads and tracked records; the target keeps what was loaded.

    A worker that is at one of its runs finds its lease gone at its next write, and stops. Raises RunRefused where
    somebody reads its records for so long that they cannot be dropped now.
    """
    ledger.delete_chunks(project.pk)
    Run.objects.filter(project=project).delete()
    project_id = project.pk
    project.delete()
    # Last, and rows first as every worker: the drops keep everybody from these tables until the transaction ends.
    try:
        ledger.drop_partition(project_id)
    except PartitionBusy as busy:
        raise RunRefused(str(busy)) from busy
