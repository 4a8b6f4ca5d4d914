"""What a rollback would do, before it is done, and the code by which a person confirms just that."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import cached_property

import polars as pl
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Sum

from projects.models import Project
from runs import payload, services
from runs.choices import UNDOABLE, StepTask
from runs.engine import rollback
from runs.engine.earlier import Earlier, earlier
from runs.engine.session import Bench, Session
from runs.engine.transform import transform
from runs.ledger import Scope
from runs.models import Chunk, ContentsDropped, Run, Step
from runs.services import RunRefused
from runs.traces import Undone

MOST_WALKED = 60
"""Chunks that are opened for the exact figures of a narrow choice; what is beyond counts as “either”."""
SAMPLES = 3
"""Records of each object that a preview shows."""
MOST_SAMPLED = 10
"""Objects of which it shows some."""
MOST_FIELDS = 6


class PreviewStale(RunRefused):
    """What was confirmed is not what would be done now: somebody has to look again."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be taken back: what ``run`` wrote, or without one what any run wrote, as far as in ``scope``."""

    project: Project
    run: Run | None
    scope: Scope

    @property
    def narrow(self) -> bool:
        """Whether it is less than all that a run did to some objects."""
        scope = self.scope
        return self.run is None or bool(scope.source_ids or scope.codes or scope.states)

    def of(self, object_id: int) -> Undone:
        return Undone(self.project.pk, object_id, self.run.pk if self.run else None, self.scope)


@dataclass(frozen=True, slots=True)
class Stake:
    """What is at stake of one object; all are numbers of records.

    ``created`` and ``updated`` are what was done, which would be deleted and restored; of ``waiting`` it shows only
    then which of both: they lack a parent that never came, or are too many to look at one by one. Of all these,
    ``later`` were written again by another run and would be left alone, ``taken`` were taken back already.
    ``retried`` the run had left and a retry brought; they go with it.
    """

    object_id: int
    source: str
    target: str
    created: int
    updated: int
    waiting: int
    later: int
    taken: int
    retried: int = 0


@dataclass(frozen=True)
class Preview:
    """The objects in the order of undoing: what was loaded last goes first."""

    choice: Choice
    stakes: tuple[Stake, ...]

    @property
    def run(self) -> Run | None:
        return self.choice.run

    @cached_property
    def code(self) -> str:
        """Stands for just these figures of the choice as it is."""
        run = (self.run.pk, self.run.state) if self.run else (self.choice.project.pk,)
        shown = repr((run, asdict(self.choice.scope), [astuple(stake) for stake in self.stakes]))
        return hashlib.sha256(shown.encode()).hexdigest()[:12]

    @cached_property
    def created(self) -> int:
        return sum(stake.created for stake in self.stakes)

    @cached_property
    def updated(self) -> int:
        return sum(stake.updated for stake in self.stakes)

    @cached_property
    def waiting(self) -> int:
        return sum(stake.waiting for stake in self.stakes)

    @cached_property
    def later(self) -> int:
        return sum(stake.later for stake in self.stakes)

    @cached_property
    def taken(self) -> int:
        return sum(stake.taken for stake in self.stakes)

    @cached_property
    def retried(self) -> int:
        return sum(stake.retried for stake in self.stakes)


def preview(undone: Run, scope: Scope | None = None) -> Preview:
    """What rolling back the run, or the part of it in ``scope``, would do now. Raises RunRefused where it cannot."""
    run = Run.objects.select_related("project__customer", "project__target", "project__source").get(pk=undone.pk)
    services.check_undoable(run)
    return _preview(Choice(run.project, run, scope or Scope()))


def preview_of(project: Project, scope: Scope) -> Preview:
    """What taking back all that was ever written of the scope would do now. Raises RunRefused."""
    services.check_withdrawable(project, scope)
    return _preview(Choice(project, None, scope))


def _preview(choice: Choice) -> Preview:
    seen = Preview(choice, tuple(_walked(choice) if choice.narrow else _summed(choice)))
    if choice.narrow and not any(stake.created + stake.updated + stake.waiting + stake.later for stake in seen.stakes):
        raise RunRefused("Nothing of that choice is in the target by our doing.")
    return seen


@transaction.atomic
def confirm(
    undone: Run, code: str, scope: Scope | None = None, *, user: User | None = None, drivers: int | None = None
) -> Run:
    """Queue the rollback that was previewed. Raises PreviewStale where the code is of other figures, RunRefused."""
    if preview(undone, scope).code != code:
        raise _stale(str(undone))
    return services.start_rollback(undone, scope, user=user, drivers=drivers)


@transaction.atomic
def confirm_of(
    project: Project, code: str, scope: Scope, *, user: User | None = None, drivers: int | None = None
) -> Run:
    """As ``confirm``, of all that was ever written of the scope."""
    if preview_of(project, scope).code != code:
        raise _stale("these records")
    return services.start_rollback_of(project, scope, user=user, drivers=drivers)


def _stale(what: str) -> PreviewStale:
    return PreviewStale(
        f"What a rollback of {what} would do has changed since it was shown; look at it again before you confirm."
    )


# --- A run, or objects of it: the counts of its chunks -------------------------------------------------------------
def _summed(choice: Choice) -> list[Stake]:
    """The counts of the run's chunks say what it did, the ledger what became of it since."""
    run = choice.run
    if run is None:
        raise ValueError("only a run has chunks to sum up")
    steps = run.steps.filter(task=StepTask.BRING).order_by("-wave", "-position")
    if choice.scope.objects:
        steps = steps.filter(object__in=choice.scope.objects)
    counted = steps.annotate(
        all_created=Sum("chunks__created", default=0),
        all_updated=Sum("chunks__updated", default=0),
        all_deferred=Sum("chunks__deferred", default=0),
    )
    since = _since(run)
    return [
        Stake(
            step.object_id,
            step.mapping["source_entity"],
            step.mapping["target_entity"],
            step.all_created,
            step.all_updated,
            step.all_deferred,
            *since.get(step.object_id, (0, 0, 0)),
        )
        for step in counted
    ]


def _since(undone: Run) -> Mapping[int, tuple[int, int, int]]:
    """Object id → how many of the run's records a later run wrote, were taken back, and were brought by a retry."""
    with connection.cursor() as cursor:
        cursor.execute(
            """WITH mine AS MATERIALIZED (
                   SELECT array_agg(c.id) AS ids FROM runs_chunk c
                    WHERE c.run_id = %(run)s AND c.intended_at IS NOT NULL)
               SELECT r.object_id,
                      count(*) FILTER (WHERE r.state <> 'rolled_back' AND r.target_id IS NOT NULL
                                         AND o.kind IN ('load', 'delta') AND o.id <> %(run)s
                                         AND NOT r.source_id = ANY(c.unsent)),
                      count(*) FILTER (WHERE r.state = 'rolled_back'),
                      count(*) FILTER (WHERE r.state <> 'rolled_back' AND r.target_id IS NOT NULL
                                         AND o.kind = 'retry' AND o.id <> %(run)s)
                 FROM runs_trackedrecord r, mine, runs_chunk c, runs_run o
                WHERE r.project_id = %(project)s AND r.run_id <> %(run)s AND r.chunks && mine.ids
                  AND c.id = r.chunks[cardinality(r.chunks)] AND o.id = c.run_id
                GROUP BY r.object_id""",
            {"project": undone.project_id, "run": undone.pk},
        )
        return {object_id: tuple(counts) for object_id, *counts in cursor.fetchall()}


# --- A narrow choice: record by record -----------------------------------------------------------------------------
def _walked(choice: Choice) -> list[Stake]:
    stakes = []
    walked = 0
    with Session(_some_run(choice).pk) as session:
        for step in _steps(choice):
            created = updated = later = 0
            chunks = rollback.chunks_of(choice.of(step.object_id))
            for chunk_id in chunks[: max(0, MOST_WALKED - walked)]:
                for past, group in _groups(session, choice, step, chunk_id):
                    free = group.filter(~pl.col("later"))
                    later += group.height - free.height
                    there = free.join(past.images, on="key", how="semi").height
                    updated, created = updated + there, created + free.height - there
            unseen = len(chunks) - max(0, MOST_WALKED - walked)
            walked += len(chunks)
            counted = created + updated + later
            waiting = max(0, _in_target(choice, step.object_id) - counted) if unseen > 0 else 0
            names = (step.mapping["source_entity"], step.mapping["target_entity"])
            stakes.append(Stake(step.object_id, *names, created, updated, waiting, later, 0))
    return stakes


def _groups(session: Session, choice: Choice, step: Step, chunk_id: int) -> list[tuple[Earlier, pl.DataFrame]]:
    """The records of the choice that this chunk was the first to write, with what was there before."""
    found = rollback.first_written(choice.of(step.object_id), session.bench(step.pk), chunk_id)
    return [(earlier(session, group), group) for group in rollback.alike(found)]


def _steps(choice: Choice) -> Sequence[Step]:
    return rollback.originals(choice.project.pk, choice.run, choice.scope)


def _some_run(choice: Choice) -> Run:
    """A run to read mappings by: connectors are opened only when they are asked."""
    newest = Run.objects.filter(project=choice.project, kind__in=UNDOABLE).first()
    run = choice.run or newest
    if run is None:
        raise RunRefused("No run has written anything yet.")
    return run


def _in_target(choice: Choice, object_id: int) -> int:
    chosen = services.in_scope(choice.project, choice.scope)
    return chosen.filter(object=object_id).exclude(target_id=None).exclude(state="rolled_back").count()


# --- Samples -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class SampleField:
    """A field that would change: what we wrote, and what it would hold again."""

    name: str
    wrote: str
    earlier: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One record of the choice, and what would be done to it."""

    object_id: int
    target: str
    source_id: str
    part: str
    deleted: bool
    fields: tuple[SampleField, ...]
    more: int
    """Fields that would change beyond those shown."""


def samples(seen: Preview) -> list[Sample]:
    """A few records of each object as they stand in the chunks; the target is not asked."""
    found: list[Sample] = []
    with Session(_some_run(seen.choice).pk) as session:
        for step in _steps(seen.choice)[:MOST_SAMPLED]:
            found += _sampled(session, seen.choice, step)
    return found


def _sampled(session: Session, choice: Choice, step: Step) -> list[Sample]:
    some: list[Sample] = []
    for chunk_id in rollback.chunks_of(choice.of(step.object_id))[:SAMPLES]:
        for past, group in _groups(session, choice, step, chunk_id):
            free = group.filter(~pl.col("later")).head(SAMPLES - len(some))
            wrote = _wrote(past.bench, free)
            some += [_sample(step, past, row, wrote.get(row["key"], {})) for row in free.iter_rows(named=True)]
        if len(some) >= SAMPLES:
            break
    return some


def _wrote(bench: Bench, records: pl.DataFrame) -> dict[str, dict[str, object]]:
    """Key → the fields that the last chunk wrote, by its mapping."""
    if not records.height:
        return {}
    last = Chunk.objects.get(pk=records["writers"][0][-1])
    try:
        frame = payload.unpack(last.payload, purpose=payload.PAYLOAD)
    except ContentsDropped:
        return {}
    identity = bench.mapping.identity
    if identity not in frame.columns:
        return {}
    mapped = transform(bench, frame.filter(pl.col(identity).is_in(records["source_id"].implode())))
    rows = mapped.content.select(mapped.records["key"], *bench.other_fields)
    return {row["key"]: row for row in rows.iter_rows(named=True)}


def _sample(step: Step, past: Earlier, record: Mapping[str, str], wrote: Mapping[str, object]) -> Sample:
    was = past.images.filter(pl.col("key") == record["key"])
    changed = [
        SampleField(name, _text(wrote[name]), _text(was[name][0]))
        for name in past.fields
        if was.height and name in wrote and wrote[name] != was[name][0]
    ]
    return Sample(
        step.object_id,
        step.mapping["target_entity"],
        record["source_id"],
        record["part"],
        not was.height,
        tuple(changed[:MOST_FIELDS]),
        max(0, len(changed) - MOST_FIELDS),
    )


def _text(value: object) -> str:
    return "blank" if value is None else str(value)
