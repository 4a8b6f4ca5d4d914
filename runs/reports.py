"""What a run came to, in figures: per object and in all."""

from dataclasses import asdict, dataclass, field
from typing import Any

from django.db.models import Sum

from runs.choices import OUTCOMES
from runs.models import Chunk, Run, Step

COUNTED = (*OUTCOMES, "deleted")
"""What a chunk counts, whatever the kind of its run; a rollback's ``updated`` means restored."""


@dataclass(frozen=True, slots=True)
class ObjectFigures:
    """One object of a run. ``read`` equals the sum of the outcomes once every chunk is loaded."""

    source: str
    target: str
    read: int
    created: int
    updated: int
    unchanged: int
    deferred: int
    rejected: int
    skipped: int
    conflicts: int
    deleted: int = 0

    @property
    def accounted(self) -> bool:
        return self.read == sum(self.outcomes().values())

    def outcomes(self) -> dict[str, int]:
        return {name: int(getattr(self, name)) for name in COUNTED}


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """``extra`` is None where the target cannot count its records."""

    records: int
    fields: int
    missing: int
    extra: int | None
    mismatches: int

    @property
    def clean(self) -> bool:
        return not (self.missing or self.mismatches or self.extra)


@dataclass(frozen=True, slots=True)
class RunFigures:
    """``seconds`` is from start to end by the database's clock."""

    status: str
    reason: str
    objects: tuple[ObjectFigures, ...]
    reconcile: Reconciliation
    api_calls: int
    seconds: float
    totals: dict[str, int] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Everything read is accounted for and the target holds just that."""
        return (
            self.status in {"completed", "completed_with_errors"}
            and all(item.accounted for item in self.objects)
            and self.reconcile.clean
        )

    def as_json(self) -> dict[str, Any]:
        body = asdict(self)
        totals = body.pop("totals")
        per_second = totals["read"] / self.seconds if self.seconds else 0.0
        return {**body, **totals, "records_per_second": round(per_second, 1), "seconds": round(self.seconds, 3)}


def figures(run: Run) -> RunFigures:
    """The run's figures as they stand now; four queries whatever the size."""
    run = Run.objects.get(pk=run.pk)
    steps = list(run.steps.all())
    totals_of = {f"{name}_sum": Sum(name, default=0) for name in COUNTED}
    by_step = Chunk.objects.filter(run=run).values("step").annotate(**totals_of).order_by()
    sums: dict[int, Any] = {row["step"]: row for row in by_step}
    objects = tuple(_object(step, sums.get(step.pk, {})) for step in steps)
    totals = {name: sum(getattr(item, name) for item in objects) for name in ("read", *COUNTED)}
    took = (run.finished_at - run.started_at).total_seconds() if run.finished_at and run.started_at else 0.0
    return RunFigures(run.state, run.reason, objects, _reconciliation(run, steps), run.api_calls, took, totals)


def _object(step: Step, sums: dict[str, Any]) -> ObjectFigures:
    outcomes = {name: sums.get(f"{name}_sum", 0) for name in COUNTED}
    return ObjectFigures(step.mapping["source_entity"], step.mapping["target_entity"], step.read, **outcomes)


def _reconciliation(run: Run, steps: list[Step]) -> Reconciliation:
    total = Chunk.objects.filter(run=run).aggregate(
        records=Sum("verified_records", default=0),
        fields=Sum("verified_fields", default=0),
        missing=Sum("missing", default=0),
        mismatches=Sum("mismatches", default=0),
    )
    extras = {step.mapping["target_entity"]: step.extra for step in steps if step.extra is not None}
    return Reconciliation(**total, extra=sum(extras.values()) if extras else None)
