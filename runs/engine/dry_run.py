"""Dry run: the same path as a load, over a target that keeps nothing, to predictions instead of the id map.

Planning, mapping, looking up, weighing and judging are the engine's own; a dry run differs in what its session
holds. Parents that only the real load would create are known by its own predictions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import polars as pl
from django.db import transaction
from django.db.models import F, Sum
from django.db.models.functions import Ceil, Least

from connectors.base import Target
from connectors.types import EntitySchema, Page
from projects.definitions import schema_from_json
from projects.mapping.row_hash import row_hash
from runs import events, leases, ledger, partitions, payload, predictions, transitions
from runs.choices import OUTCOMES, ChunkState, EventLevel, RecordState, RunKind, RunState
from runs.crash_points import CrashPoint, reached
from runs.engine import extract as extraction
from runs.engine import plan as planning
from runs.engine.journal import idempotency_key
from runs.engine.load import Landing, bring
from runs.engine.rehearsing import EVERYTHING, PARENT, SAMPLE, Rehearsing
from runs.engine.session import Bench, Session
from runs.forecast_models import DryRun
from runs.leases import Lease
from runs.ledger import FINDING_COLUMNS, Counts, Verdict
from runs.models import Chunk, Run, Step

HASH_SCALE = 16**8


def session_of(run_id: int, place: Lease | None = None) -> Session:
    """The session that a run of that kind is driven with."""
    kind = Run.objects.values_list("kind", flat=True).get(pk=run_id)
    return DryRunSession(run_id, place) if kind == RunKind.DRY_RUN else Session(run_id, place)


@dataclass(frozen=True)
class DryRunBench(Bench):
    """A bench that knows the parents the dry run predicts, too."""

    assumes_parents: bool = False
    """A parent that was not in the sample is taken to land."""

    def id_map(self, object_ids: Sequence[int], source_ids: pl.Series) -> pl.DataFrame:
        """As it is; records that would land have ``PARENT`` for their id."""
        real = super().id_map(object_ids, source_ids)
        others = source_ids.filter(~source_ids.is_in(real["source_id"].implode())).unique()
        if not len(others):
            return real
        predicted = predictions.parents(self.place, object_ids, others)
        expected = predicted.filter("lands")["source_id"]
        if self.assumes_parents:
            unseen = others.filter(~others.is_in(predicted["source_id"].implode()))
            expected = pl.concat([expected, unseen.cast(pl.String)])
        new = pl.DataFrame({"source_id": expected}).with_columns(target_id=pl.lit(PARENT))
        return pl.concat([real, new.select(real.columns)])

    def standing(self, object_ids: Sequence[int], source_ids: pl.Series) -> Mapping[str, str]:
        """As it is, or as the dry run found it would be."""
        predicted = predictions.parents(self.place, object_ids, source_ids)
        told = dict(predicted.select("source_id", "outcome").iter_rows())
        states = {"created": RecordState.LOADED, "updated": RecordState.LOADED, "conflicts": RecordState.CONFLICT}
        return {
            **super().standing(object_ids, source_ids),
            **{source_id: str(states.get(outcome, outcome)) for source_id, outcome in told.items()},
        }


class DryRunSession(Session):
    """A session whose target keeps nothing and whose benches know the predictions."""

    @cached_property
    def order(self) -> DryRun:
        return DryRun.objects.get(run=self.run)

    @cached_property
    def target(self) -> Target:
        return self.rehearsing

    @cached_property
    def rehearsing(self) -> Rehearsing:
        """A mirror's missing tables are imagined by every worker anew, from what was planned."""
        rehearsing = Rehearsing(super().target)
        steps = list(self.run.steps.select_related("object")) if self.run.project.mirror else []
        if steps:
            sources = {step.object_id: schema_from_json(step.source_schema) for step in steps}
            rehearsing.imagine(planning.rooms([step.object for step in steps], sources))
        return rehearsing

    def make_room(self, wanted: Sequence[tuple[EntitySchema, str]]) -> tuple[str, ...]:
        """As it would be made, told in the words of what a load would do."""
        return tuple(f"A load would do this first: {change}" for change in self.rehearsing.imagine(wanted))

    def describe_target(self, entity: str) -> EntitySchema:
        """As it is or would be; what is imagined is no definition to keep."""
        return self.rehearsing.describe(entity)

    def _set_up(self, step: Step) -> Bench:
        plain = super()._set_up(step)
        given = {field.name: getattr(plain, field.name) for field in fields(plain)}
        return DryRunBench(**given, assumes_parents=bool(self.order.most or self.order.share))


def plan(session: Session, lease: Lease) -> None:
    """As a load is planned, for a sample where one was asked for."""
    partitions.ensure_dry_run(session.run.project_id, session.run.pk)
    planning.plan(session, lease)
    order = _of(session).order
    steps = Step.objects.filter(run=session.run, expected__isnull=False)
    if order.most:
        steps.update(expected=Least(F("expected"), order.most))
    if order.share:
        steps.update(expected=Ceil(F("expected") * order.share / 100.0))


def extract(session: Session, lease: Lease, *, stop: Callable[[], bool]) -> bool:
    """As a load reads, of a sample no more than that."""
    order = _of(session).order
    step = Step.objects.get(pk=lease.id)
    identity = session.bench(step.pk).mapping.identity

    sample = (
        _share(identity, order.share)
        if order.share
        else _first(order.most, step.read)
        if order.most
        else extraction.whole
    )
    most = max(1, order.most - step.read) if order.most else None
    return extraction.extract(session, lease, stop=stop, sample=sample, most=most)


def _first(most: int, read: int) -> Callable[[Page], Page]:
    """The records of a page up to the first ``most`` of all, of which ``read`` were taken; then the entity ends."""
    left = most - read

    def sample(page: Page) -> Page:
        nonlocal left
        taken = page.frame.head(max(0, left))
        left -= page.frame.height
        return Page(taken, page.cursor if left > 0 else None)

    return sample


def _share(identity: str, percent: int) -> Callable[[Page], Page]:
    """The records whose id falls into the share, whatever page they are on; those without an id are not sampled."""

    def sample(page: Page) -> Page:
        number = row_hash(page.frame.select(identity)).str.head(8).str.to_integer(base=16)
        chosen = (number < HASH_SCALE * percent // 100) & page.frame[identity].is_not_null()
        return Page(page.frame.filter(chosen), page.cursor)

    return sample


def load(session: Session, lease: Lease) -> None:
    """Try out a staged chunk and record what would become of it. Raises connector errors and LeaseLost."""
    chunk = Chunk.objects.defer(None).get(pk=lease.id)
    bench = session.bench(chunk.step_id)
    frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    landing, not_asked = _tried(session, bench, lease, chunk, frame, phase="dry run")
    predicted = _predicted(bench, frame, landing, not_asked)
    reached(CrashPoint.LOAD_SENT)
    predictions.record(lease, bench.place, predicted, landing.findings, landing.counts)
    reached(CrashPoint.LOAD_RECORDED)


def relink(session: Session, lease: Lease) -> None:
    """Try out again what waited for a parent, now that all parents are predicted. Raises as ``load`` does."""
    chunk = Chunk.objects.defer(None).get(pk=lease.id)
    bench = session.bench(chunk.step_id)
    frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    identity, place = bench.mapping.identity, bench.place
    known = predictions.known(place, frame[identity].drop_nulls())
    waiting = known.filter(pl.col("outcome") == "deferred")["source_id"]
    again = frame.filter(pl.col(identity).is_in(waiting.implode()))
    landing, not_asked = _tried(session, bench, lease, chunk, again, phase="dry run again")
    earlier = {field.name: getattr(chunk, field.name) for field in fields(Counts)} | {"deferred": 0}
    total = Counts(**{name: count + getattr(landing.counts, name) for name, count in earlier.items()})
    predicted = _predicted(bench, again, landing, not_asked)
    reached(CrashPoint.RELINK_SENT)
    predictions.record(lease, place, predicted, landing.findings, total, relinked=waiting)
    reached(CrashPoint.RELINK_RECORDED)


def reconcile(session: Session, lease: Lease) -> None:
    """Nothing stayed, so there is nothing to read back. Raises LeaseLost."""
    bench = session.bench(Chunk.objects.values_list("step_id", flat=True).get(pk=lease.id))
    ledger.verified(
        lease, bench.place, Verdict(0, 0, 0, 0), pl.DataFrame(schema=dict.fromkeys(FINDING_COLUMNS, pl.String))
    )


def finish(session: Session, lease: Lease) -> None:
    """Say what a load would do, and what could not be found out. Raises LeaseLost."""
    run = session.run
    with transaction.atomic():
        leases.settle(lease, "reason = reason", [])
        _tell_not_asked(run)
        state, reason, level = _verdict(run.pk)
        transitions.move(run.pk, state, reason=reason, level=level)


def _tell_not_asked(run: Run) -> None:
    steps = {step.object_id: step for step in run.steps.all()}
    for object_id, without, count in predictions.not_asked(run.project_id, run.pk):
        step = steps[object_id]
        what = (
            "are predicted by the mapping alone: a parent does not exist yet, or only a sample is rehearsed."
            if without == EVERYTHING
            else f"were rehearsed without {without.replace(',', ', ')}: its parent does not exist yet."
        )
        events.tell(run.pk, f"{step}: {count:,} records {what}", step_id=step.pk)


def _verdict(run_id: int) -> tuple[RunState, str, EventLevel]:
    chunks = Chunk.objects.filter(run_id=run_id)
    names = ("records", *OUTCOMES)
    sums = chunks.aggregate(**{f"{name}_sum": Sum(name, default=0) for name in names})
    total = {name: int(sums[f"{name}_sum"]) for name in names}
    if chunks.filter(state=ChunkState.FAILED).exists():
        reason = "Some records could not be tried out although every one was tried; see the events, then resume."
        return RunState.FAILED, reason, EventLevel.ERROR
    told = f"{total['records']:,} records were tried out: a load would create {total['created']:,}"
    told += f" and update {total['updated']:,}"
    troubles = [
        f"refuse {total['rejected']:,}" if total["rejected"] else "",
        f"leave {total['deferred']:,} waiting for a parent" if total["deferred"] else "",
        f"keep {total['conflicts']:,} edits of the target" if total["conflicts"] else "",
    ]
    named = ", ".join(trouble for trouble in troubles if trouble)
    if named:
        return RunState.COMPLETED_WITH_ERRORS, f"{told}, {named}. Nothing was kept.", EventLevel.WARNING
    return RunState.COMPLETED, f"{told}; no record would be refused. Nothing was kept.", EventLevel.INFO


def _tried(
    session: Session, bench: Bench, lease: Lease, chunk: Chunk, frame: pl.DataFrame, *, phase: str
) -> tuple[Landing, pl.DataFrame]:
    rehearsing = _of(session).rehearsing
    rehearsing.begin(bench, most=None if rehearsing.capabilities.transactional else _most(chunk))
    landing = bring(session, bench, lease, chunk, frame, key=idempotency_key(chunk.payload, phase=phase))
    return landing, rehearsing.take_not_asked()


def _most(chunk: Chunk) -> int:
    """The chunk's part of ``SAMPLE``; where nobody knows how many records there are, the first chunk counts for all."""
    expected = chunk.step.expected or (chunk.records if chunk.sequence == 0 else None)
    return max(1, -(-SAMPLE * chunk.records // max(expected, chunk.records))) if expected else 0


def _predicted(bench: Bench, frame: pl.DataFrame, landing: Landing, not_asked: pl.DataFrame) -> pl.DataFrame:
    """Predictions of the records of ``frame``, whose content is told by a hash of what the mapping reads."""
    read = frame.select(bench.compiled.source_fields)
    content = read.select(
        pl.col(bench.mapping.identity).alias("source_id"), row_hash(read).alias("content")
    ).unique("source_id", keep="last", maintain_order=True)  # fmt: skip
    blank = pl.lit("")
    fated = landing.fates.join(not_asked, on="key", how="left").select(
        "source_id",
        "part",
        pl.col("count").alias("outcome"),
        (pl.col("key").is_not_null() & (pl.col("count") != "rejected")).alias("lands"),
        "code",
        "reason",
        pl.col("without").fill_null(blank).alias("without"),
    )
    settled = landing.settled.select(
        "source_id",
        "part",
        pl.col("count").alias("outcome"),
        pl.lit(value=True).alias("lands"),
        blank.alias("code"),
        blank.alias("reason"),
        blank.alias("without"),
    )
    known = settled.join(fated, on=["source_id", "part"], how="anti")
    return pl.concat([fated, known]).join(content, on="source_id", how="left", maintain_order="left")


def _of(session: Session) -> DryRunSession:
    if not isinstance(session, DryRunSession):
        raise TypeError("a dry run is driven with a session that keeps nothing")
    return session
