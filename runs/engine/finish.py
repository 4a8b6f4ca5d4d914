"""Finish: look for records nobody tracks, and say in one sentence how the run ended."""

from django.db import transaction
from django.db.models import Sum

from runs import leases, transitions
from runs.choices import ChunkState, EventLevel, RunState
from runs.engine.reconcile import extra
from runs.engine.session import Session
from runs.leases import Lease
from runs.models import Chunk, Step


def finish(session: Session, lease: Lease) -> None:
    """End the run as completed, completed with record errors, or failed. Raises connector errors and LeaseLost."""
    steps = list(session.run.steps.all())
    found = {step.pk: extra(session, step) for step in steps}
    with transaction.atomic():
        leases.settle(lease, "reason = reason", [])
        for step in steps:
            step.extra = found[step.pk]
        Step.objects.bulk_update(steps, ["extra"])
        state, reason, level = _verdict(session.run.pk, sum(count or 0 for count in found.values()))
        transitions.move(session.run.pk, state, reason=reason, level=level)


def _verdict(run_id: int, extras: int) -> tuple[RunState, str, EventLevel]:
    chunks = Chunk.objects.filter(run_id=run_id)
    failed = chunks.filter(state=ChunkState.FAILED).aggregate(n=Sum("records", default=0))["n"]
    if failed:
        reason = f"{failed:,} records could not be loaded although every one was tried; see the events, then resume."
        return RunState.FAILED, reason, EventLevel.ERROR
    total = chunks.aggregate(
        records=Sum("records", default=0),
        rejected=Sum("rejected", default=0),
        deferred=Sum("deferred", default=0),
        wrong=Sum("missing", default=0) + Sum("mismatches", default=0),
    )
    troubles = [
        f"{total['rejected']:,} rejected" if total["rejected"] else "",
        f"{total['deferred']:,} waiting for a parent" if total["deferred"] else "",
        f"{total['wrong']:,} differences found on reading back" if total["wrong"] else "",
        f"{extras:,} records in the target that nobody tracks" if extras else "",
    ]
    named = ", ".join(trouble for trouble in troubles if trouble)
    if named:
        return RunState.COMPLETED_WITH_ERRORS, f"{total['records']:,} records done; {named}.", EventLevel.WARNING
    return (
        RunState.COMPLETED,
        f"All {total['records']:,} records are in the target and read back equal.",
        EventLevel.INFO,
    )
