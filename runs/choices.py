"""The states of runs, chunks and records, and which may follow which."""

from collections.abc import Mapping

from django.db import models


class RunKind(models.TextChoices):
    LOAD = "load", "Load"
    DELTA = "delta", "Delta"
    RETRY = "retry", "Retry"
    ROLLBACK = "rollback", "Rollback"
    DRY_RUN = "dry_run", "Dry run"


class RunState(models.TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    PAUSING = "pausing", "Pausing"
    PAUSED = "paused", "Paused"
    CANCELLING = "cancelling", "Cancelling"
    CANCELLED = "cancelled", "Cancelled"
    COMPLETED = "completed", "Completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors", "Completed with record errors"
    FAILED = "failed", "Failed"
    CRASHED = "crashed", "Crashed"


ACTIVE = frozenset({RunState.QUEUED, RunState.RUNNING, RunState.PAUSING, RunState.CANCELLING})
"""Workers have something to do for these."""
OPEN = ACTIVE | {RunState.PAUSED}
"""Only one run of a project may be open: two would write the same records."""
RESUMABLE = frozenset({RunState.PAUSED, RunState.FAILED, RunState.CRASHED})
TERMINAL = frozenset(RunState) - OPEN

TRANSITIONS: Mapping[RunState, frozenset[RunState]] = {
    RunState.RUNNING: frozenset({RunState.QUEUED}),
    RunState.PAUSING: frozenset({RunState.QUEUED, RunState.RUNNING}),
    RunState.PAUSED: frozenset({RunState.PAUSING}),
    RunState.CANCELLING: OPEN - {RunState.CANCELLING},
    RunState.CANCELLED: frozenset({RunState.CANCELLING}),
    RunState.QUEUED: RESUMABLE,
    RunState.COMPLETED: frozenset({RunState.RUNNING}),
    RunState.COMPLETED_WITH_ERRORS: frozenset({RunState.RUNNING}),
    RunState.FAILED: ACTIVE,
    RunState.CRASHED: ACTIVE,
}
"""New state → the states it may follow."""


class ChunkState(models.TextChoices):
    STAGED = "staged", "Staged"
    LOADING = "loading", "Loading"
    LOADED = "loaded", "Loaded"
    VERIFIED = "verified", "Verified"
    FAILED = "failed", "Failed"


class RecordState(models.TextChoices):
    """Pending has no row: a record is pending while the chunk that carries it is staged or loading."""

    LOADED = "loaded", "Loaded"
    UNCHANGED = "unchanged", "Unchanged"
    DEFERRED = "deferred", "Deferred"
    REJECTED = "rejected", "Rejected"
    SKIPPED = "skipped", "Skipped"
    CONFLICT = "conflict", "Conflict"
    ROLLED_BACK = "rolled_back", "Rolled back"
    WAIVED = "waived", "Waived"
    GONE = "gone", "Gone from the source"
    DELETED = "deleted", "Deleted with the source"


DUE = (RecordState.REJECTED, RecordState.DEFERRED)
"""Records in these states still have to get to the target."""
OUTCOMES = ("created", "updated", "unchanged", "deferred", "rejected", "skipped", "conflicts")
"""What may become of a record that is loaded; a chunk counts each."""
UNDOINGS = ("deleted", "created", "updated", "unchanged", "deferred", "rejected", "skipped", "conflicts")
"""What may become of a record that is rolled back; ``updated`` then means restored, ``created`` created again."""
UNDOABLE = (RunKind.LOAD, RunKind.DELTA, RunKind.RETRY)
"""Runs that wrote what a rollback can take back."""


def outcomes_of(kind: str) -> tuple[str, ...]:
    """What may become of a record in a run of that kind."""
    if kind == RunKind.DELTA:
        return (*OUTCOMES, "deleted")
    return UNDOINGS if kind == RunKind.ROLLBACK else OUTCOMES


class StepTask(models.TextChoices):
    BRING = "bring", "Bring records"
    DELETE = "delete", "Follow deletions"


class ConflictState(models.TextChoices):
    """Open waits for a person; decided waits for the next run; applied stands in the target."""

    OPEN = "open", "Open"
    DECIDED = "decided", "Decided"
    APPLIED = "applied", "Applied"


class EventLevel(models.TextChoices):
    INFO = "info", "Info"
    WAIT = "wait", "Waiting"
    WARNING = "warning", "Warning"
    ERROR = "error", "Error"
