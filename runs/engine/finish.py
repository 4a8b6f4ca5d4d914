"""Finish: look for records nobody tracks, and say in one sentence how the run ended."""

from django.db import transaction
from django.db.models import Sum

from runs import leases, ledger, transitions
from runs.choices import ChunkState, EventLevel, RecordState, RunKind, RunState, StepTask
from runs.crash_points import CrashPoint, reached
from runs.engine.reconcile import Extras, extras
from runs.engine.session import Session
from runs.engine.waiting import bring_waiting
from runs.evidence.summary import prove_step
from runs.leases import Lease
from runs.models import Chunk, Run, Step, TrackedRecord


def finish(session: Session, lease: Lease) -> None:
    """End the run as completed, completed with record errors, or failed; go on with it where records that waited
    can be completed now. Raises connector errors and LeaseLost."""
    if bring_waiting(session, lease):
        return
    steps = list(session.run.steps.all())
    undoing = session.run.kind == RunKind.ROLLBACK
    found = {
        step.pk: Extras(None) if undoing or step.task == StepTask.DELETE else extras(session, step) for step in steps
    }
    reached(CrashPoint.FINISH_COUNTED)
    with transaction.atomic():
        leases.settle(lease, "reason = reason", [])
        reached(CrashPoint.FINISH_IN_TRANSACTION)
        ledger.give_up_waiting(session.run.pk)
        for step in steps:
            step.extra = found[step.pk].count
        Step.objects.bulk_update(steps, ["extra"])
        for step in steps:
            prove_step(step, found[step.pk].keys)
        verdict = _undone if undoing else _loaded
        state, reason, level = verdict(session.run.pk, sum(extra.count or 0 for extra in found.values()))
        transitions.move(session.run.pk, state, reason=reason, level=level)
    reached(CrashPoint.FINISHED)


Verdict = tuple[RunState, str, EventLevel]


def _loaded(run_id: int, extras: int) -> Verdict:
    total = _totals(run_id)
    if total["failed"]:
        return _set_aside(total["failed"])
    troubles = [
        f"{total['rejected']:,} rejected" if total["rejected"] else "",
        f"{total['deferred']:,} waiting for a parent" if total["deferred"] else "",
        f"{total['conflicts']:,} in conflict" if total["conflicts"] else "",
        f"{total['wrong']:,} differences found on reading back" if total["wrong"] else "",
        f"{extras:,} records in the target that nobody tracks" if extras else "",
    ]
    named = ", ".join(trouble for trouble in troubles if trouble)
    if named:
        return RunState.COMPLETED_WITH_ERRORS, f"{total['records']:,} records done; {named}.", EventLevel.WARNING
    if total["deleted"]:
        done = f"All {total['records']:,} records are done; {total['deleted']:,} deleted."
    else:
        done = f"All {total['records']:,} records are in the target and read back equal."
    return RunState.COMPLETED, done, EventLevel.INFO


def _undone(run_id: int, _extras: int) -> Verdict:
    total = _totals(run_id)
    if total["failed"]:
        return _set_aside(total["failed"])
    done = f"{total['deleted']:,} records deleted and {total['updated']:,} restored"
    troubles = [
        _spared(run_id, total["conflicts"]),
        f"{total['skipped']:,} deleted by somebody else meanwhile" if total["skipped"] else "",
        f"{total['rejected'] + total['deferred']:,} refused" if total["rejected"] + total["deferred"] else "",
        f"{total['wrong']:,} not as they were on reading back" if total["wrong"] else "",
    ]
    named = ", ".join(trouble for trouble in troubles if trouble)
    if named:
        return RunState.COMPLETED_WITH_ERRORS, f"{done}; {named}.", EventLevel.WARNING
    return RunState.COMPLETED, f"{done}, and proven by reading back.", EventLevel.INFO


def _spared(run_id: int, conflicts: int) -> str:
    """What was left alone: because of a change since, or because the target refused."""
    if not conflicts:
        return ""
    project_id = Run.objects.values_list("project_id", flat=True).get(pk=run_id)
    mine = TrackedRecord.objects.filter(project=project_id, run=run_id, state=RecordState.CONFLICT)
    changed = mine.filter(code__in=("edited", "recreated", "written_later")).count()
    parts = (
        f"{changed:,} left alone because they were changed since" if changed else "",
        f"{conflicts - changed:,} left alone because they could not be taken back" if conflicts > changed else "",
    )
    return ", ".join(part for part in parts if part)


def _totals(run_id: int) -> dict[str, int]:
    chunks = Chunk.objects.filter(run_id=run_id)
    names = ("records", "rejected", "deferred", "updated", "skipped", "deleted", "conflicts", "missing", "mismatches")
    total = chunks.aggregate(**{f"{name}_sum": Sum(name, default=0) for name in names})
    found = {name: int(total[f"{name}_sum"]) for name in names}
    failed = chunks.filter(state=ChunkState.FAILED).aggregate(records=Sum("records", default=0))["records"]
    return {**found, "wrong": found["missing"] + found["mismatches"], "failed": failed}


def _set_aside(records: int) -> Verdict:
    reason = f"{records:,} records could not be done although every one was tried; see the events, then resume."
    return RunState.FAILED, reason, EventLevel.ERROR
