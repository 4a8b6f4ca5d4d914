"""Rollback: take back what a run wrote, in reverse order, only where the target still holds just that.

A rollback is a run of its own over the same pipeline. Its records come from the ledger instead of a
platform; *to load* means to delete what the run created and to restore what it changed from the
before-images; *to reconcile* means to prove by reading back that it is so. What somebody edited since is
left alone and listed as a conflict with both values; what somebody deleted since is noted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import polars as pl
from django.db import transaction

from connectors.types import Outcome
from runs import events, leases, ledger, payload, traces
from runs.choices import UNDOABLE, RecordState, RunKind, StepTask
from runs.crash_points import CrashPoint, reached
from runs.engine import matching
from runs.engine.comparison import compare
from runs.engine.deletions import with_new_references, with_successors
from runs.engine.earlier import Earlier, earlier, left_hashes
from runs.engine.images import fingerprints
from runs.engine.session import Bench, Session
from runs.engine.transform import transform
from runs.engine.wrote import as_written
from runs.leases import Lease
from runs.ledger import FINDING_COLUMNS, Counts, Scope, Verdict
from runs.models import Chunk, ContentsDropped, Run, Step
from runs.traces import TRACE_SCHEMA, Undone

LATER_RUN = "A later run wrote the record again; roll that run back first."
EDITED = "Somebody changed the record in the target since; it is left as it is."
BACK_ALREADY = "The record was deleted by our run, and somebody created it again since; it is left as it is."
NO_PARENT = "A record that it refers to is not in the target (yet)."
ADDED_TO = (
    "Somebody else changed the record in the target since, in fields that we did not write; it is not deleted with "
    "that work."
)
GONE = "Somebody deleted the record in the target since."
NO_FINDINGS = pl.DataFrame(schema=dict.fromkeys(FINDING_COLUMNS, pl.String))


def plan(session: Session, lease: Lease) -> None:
    """Write the steps of what is undone in reverse, children before their parents. Raises LeaseLost."""
    undone = session.run.undoes
    steps = originals(session.run.project_id, undone, Scope.of(session.run.scope))
    last = max((step.wave for step in steps), default=0)
    with transaction.atomic():
        digest = undone.mapping_digest if undone else ""
        leases.settle(lease, "planned_at = clock_timestamp(), mapping_digest = %s", [digest])
        Step.objects.bulk_create(
            Step(
                run=session.run,
                object_id=step.object_id,
                position=position,
                wave=last - step.wave,
                mapping=step.mapping,
                source_schema=step.source_schema,
                target_schema=step.target_schema,
            )
            for position, step in enumerate(steps)
        )
        what = str(undone) if undone else "what any run wrote"
        events.tell(session.run.pk, f"Undoing {what}: {len(steps)} objects, the last loaded first.")
    reached(CrashPoint.UNDO_PLANNED)


def originals(project_id: int, undone: Run | None, scope: Scope) -> list[Step]:
    """One step per object in scope, as last planned by what is undone; the last loaded first."""
    known = Step.objects.filter(task=StepTask.BRING, run__project=project_id, run__kind__in=UNDOABLE)
    mine = known.filter(run=undone) if undone else known
    newest: Mapping[int, Step] = {step.object_id: step for step in mine.order_by("pk")}
    chosen = [step for pk, step in newest.items() if not scope.objects or pk in scope.objects]
    return sorted(chosen, key=lambda step: (step.wave, step.position), reverse=True)


def gather(session: Session, lease: Lease, *, stop: Callable[[], bool]) -> bool:
    """Stage what is to be undone, newest chunk first; true where all of the step is staged.

    Each record is staged once, with the first chunk that wrote it.
    """
    step = Step.objects.get(pk=lease.id)
    bench = session.bench(step.pk)
    undone = undone_of(session.run, step.object_id)
    left = chunks_of(undone, before=step.cursor["chunk"] if step.cursor else None)
    if not left:
        ledger.stage(lease, pl.DataFrame(schema=TRACE_SCHEMA), None)
        return True
    for chunk_id in left:
        last = chunk_id == left[-1]
        found = first_written(undone, bench, chunk_id)
        with transaction.atomic():
            for group in alike(found) or [found]:
                ledger.stage(lease, group, {"chunk": chunk_id})
            if last:
                ledger.stage(lease, found.clear(), None)
        if last:
            return True
        if stop():
            break
    return False


def alike(found: pl.DataFrame) -> list[pl.DataFrame]:
    """The records in groups of those that the same chunks wrote: their before-images are read together."""
    by = found["writers"].cast(pl.List(pl.String)).list.join(",")
    groups = found.with_columns(by.alias("by")).partition_by("by", "left_by", maintain_order=True)
    return [group.drop("by") for group in groups]


def undone_of(run: Run, object_id: int) -> Undone:
    """What that rollback takes back of one object."""
    return Undone(run.project_id, object_id, run.undoes_id, Scope.of(run.scope))


def chunks_of(undone: Undone, *, before: int | None = None) -> list[int]:
    """The chunks that may have written some of it, newest first: the run's own, and those of later retries."""
    chunks = Chunk.objects.filter(
        project=undone.project_id,
        step__object_id=undone.object_id,
        run__kind__in=UNDOABLE,
        intended_at__isnull=False,
    )
    if undone.run_id is not None:
        retries = chunks.filter(run__kind=RunKind.RETRY, run__gt=undone.run_id)
        chunks = chunks.filter(run=undone.run_id) | retries
    if undone.scope.source_ids:
        chunks = chunks.filter(pk__in=traces.chunks_with(undone, undone.scope.source_ids))
    if before is not None:
        chunks = chunks.filter(pk__lt=before)
    return list(chunks.order_by("-pk").values_list("pk", flat=True))


def first_written(undone: Undone, bench: Bench, chunk_id: int) -> pl.DataFrame:
    """The records to take back that this chunk was the first to write, with the columns of ``TRACE_SCHEMA``."""
    original = Chunk.objects.get(pk=chunk_id)
    try:
        frame = payload.unpack(original.payload, purpose=payload.PAYLOAD)
    except ContentsDropped:
        return pl.DataFrame(schema=TRACE_SCHEMA)
    identity = bench.mapping.identity if bench.mapping.identity in frame.columns else "source_id"
    found = traces.traces(undone, frame[identity].drop_nulls())
    return found.filter(pl.col("writers").list.first() == chunk_id)


def undo(session: Session, lease: Lease) -> None:
    """Delete or restore the records of one staged chunk. Raises connector errors and LeaseLost."""
    chunk = Chunk.objects.get(pk=lease.id)
    place = session.bench(chunk.step_id).place
    records = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    past = earlier(session, records)
    now = _now(session, past, lease, chunk, records)
    judged = _judge(past, records, now, _along(session, past.bench, now)["key"])
    judged = _spared(session, past, judged)
    leases.renew(lease)
    taken = past.adopted.join(judged.to_restore, on="key", how="semi")
    # An earlier try may have let go of them already, and a write under their keys would make new ones.
    matching.adopt(session, past.bench, taken)
    restored = _restore(session, past, judged.to_restore, now)
    back = restored.filter(pl.col("state") == RecordState.ROLLED_BACK).select("source_id")
    matching.release(
        session, past.bench, taken.join(judged.to_restore.join(back, on="source_id"), on="key", how="semi")
    )
    outcomes = pl.concat([judged.untouchable, _delete(session, past.bench, judged.to_delete, now), restored])
    findings = _conflicts(past, judged, now)
    reached(CrashPoint.UNDO_RESTORED)
    ledger.undone(lease, place, outcomes, findings, _count(outcomes))
    reached(CrashPoint.UNDONE)


def undo_again(session: Session, lease: Lease) -> None:
    """Delete what other records still pointed at, now that those are gone or unlinked; create again what was
    refused for lack of another record. What waits still is tried again whenever something came or went: records of
    one object may hang on one another in a chain. What waits in the end is a conflict (``finish``)."""
    chunk = Chunk.objects.get(pk=lease.id)
    place = session.bench(chunk.step_id).place
    records = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    past = earlier(session, records)
    known = ledger.known(place, records["source_id"])
    waiting = records.join(known.filter(pl.col("state") == RecordState.DEFERRED), on="source_id", how="semi")
    images, now = past.images, _now(session, past, lease, chunk, records)
    outcomes = pl.concat(
        [
            _deleted(session, past.bench, waiting.join(images, on="key", how="anti")),
            _restore(session, past, waiting.join(images, on="key", how="semi"), now),
        ]
    )
    counted = {field.name: getattr(chunk, field.name) for field in fields(Counts)} | {"deferred": 0}
    added = _count(outcomes)
    total = Counts(**{name: count + getattr(added, name) for name, count in counted.items()})
    reached(CrashPoint.DELETED_AGAIN)
    with transaction.atomic():
        ledger.undone(lease, place, outcomes, NO_FINDINGS, total, relinked=waiting["source_id"])
        if (outcomes["state"] == RecordState.ROLLED_BACK).any():
            ledger.relink_again(session.run.pk)


def prove(session: Session, lease: Lease) -> None:
    """Read the target back: deleted records are gone and restored ones equal their before-images."""
    chunk = Chunk.objects.get(pk=lease.id)
    place = session.bench(chunk.step_id).place
    records = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    known = ledger.known(place, records["source_id"])
    # A restored record that an earlier run wrote stands as loaded again.
    ended = known.filter(pl.col("state").is_in([RecordState.ROLLED_BACK, RecordState.LOADED]))
    undone = records.join(ended, on="source_id", how="semi")
    past = earlier(session, records)
    restored = past.images.join(undone, on="key", how="semi")
    bench = past.bench
    if not past.deleted:
        restored = with_successors(session, bench, undone, restored).drop("lacks")
    now = session.target.fetch(bench.entity, key=bench.mapping.key, keys=undone["key"].to_list(), fields=past.fields)
    if bench.keyless:  # what was deleted has left the id map: it is looked for by its own id
        was = payload.unpack(chunk.before or b"", purpose=payload.BEFORE).select("target_id", "key")
        was = was.join(undone, on="key", how="semi").join(
            pl.concat([now["key"], past.adopted["key"]]).to_frame(), on="key", how="anti"
        )
        now = pl.concat([now, matching.read_back(session, bench, was, past.fields)], how="vertical_relaxed")
    taken = past.adopted.join(restored, on="key", how="semi")
    keeping = undone.join(taken, on="key", how="semi").join(now, on="key", how="semi")
    if taken.height:
        now = pl.concat([now.join(taken, on="key", how="anti"), matching.read_back(session, bench, taken, past.fields)])
    restored = restored.join(_along(session, bench, now), on="key", how="anti") if restored.height else restored
    references = {use.field for use in bench.compiled.references} if past.deleted else set()
    compared = [name for name in past.fields if name not in references]
    found = compare(restored, now, fields=compared, rules=past.rules)
    left = undone.join(past.images, on="key", how="anti").join(now, on="key", how="semi")
    wrong = len(found.doubled) + found.mismatches.height + left.height + keeping.height
    verdict = Verdict(undone.height, found.fields, len(found.missing), wrong)
    reached(CrashPoint.PROVEN)
    ledger.verified(lease, place, verdict, _unproven(undone, left, keeping, found.mismatches))


def _along(session: Session, bench: Bench, now: pl.DataFrame) -> pl.DataFrame:
    """Those of the rows that another record brings along: they are restored, and proven, with it. Their own images were
    taken when it had been written already."""
    brought = session.target.came_along(bench.entity, now["target_id"].to_list())
    return now.filter(pl.col("target_id").is_in(list(brought)))


@dataclass(frozen=True, slots=True)
class _Judged:
    """The records by what may be done; ``untouchable`` are outcomes, ``edited`` records that people changed."""

    to_delete: pl.DataFrame
    to_restore: pl.DataFrame
    edited: pl.DataFrame
    untouchable: pl.DataFrame


def _now(session: Session, past: Earlier, lease: Lease, chunk: Chunk, records: pl.DataFrame) -> pl.DataFrame:
    """The target's rows as they were before this rollback touched them; committed on the first call."""
    if chunk.before is not None:
        return payload.unpack(chunk.before, purpose=payload.BEFORE)
    bench = past.bench
    now = session.target.fetch(bench.entity, key=bench.mapping.key, keys=records["key"].to_list(), fields=past.asked())
    ledger.intend(lease, now)
    reached(CrashPoint.UNDO_INTENDED)
    return now


def _judge(past: Earlier, records: pl.DataFrame, now: pl.DataFrame, along: pl.Series) -> _Judged:
    """Only what the target still holds as we wrote it may be touched. The keys ``along`` are of rows that another
    record brings: whether people changed them is judged with that."""
    code, trouble = past.trouble
    if code:
        refused = _outcome(records, RecordState.CONFLICT, code=code, reason=pl.lit(trouble), count="conflicts")
        return _Judged(records.clear(), records.clear(), records.clear(), refused)
    marked = records.join(fingerprints(past.bench, now), on="key", how="left")
    mine = marked.filter(~pl.col("later"))
    there = pl.col("held").is_not_null()
    as_written = (
        ~there
        if past.deleted
        else ((pl.col("held") == pl.col("hash")).fill_null(value=False) | pl.col("key").is_in(along.implode()))
    )
    ours = mine.filter(as_written).drop("held")
    edited = mine.filter(~as_written & there).drop("held")
    gone = mine.filter(~as_written & ~there).drop("held")
    changed = pl.lit(BACK_ALREADY if past.deleted else EDITED)
    return _Judged(
        to_delete=ours.join(past.images, on="key", how="anti"),
        to_restore=ours.join(past.images, on="key", how="semi"),
        edited=edited.clear() if past.deleted else edited,
        untouchable=pl.concat(
            [
                _outcome(
                    marked.filter("later").drop("held"),
                    RecordState.CONFLICT,
                    code="written_later",
                    reason=pl.lit(LATER_RUN),
                    count="conflicts",
                ),
                _outcome(
                    edited,
                    RecordState.CONFLICT,
                    code="recreated" if past.deleted else "edited",
                    reason=changed,
                    count="conflicts",
                ),
                _outcome(gone, RecordState.SKIPPED, code="gone", reason=pl.lit(GONE), count="skipped", gone=True),
            ]
        ),
    )


def _spared(session: Session, past: Earlier, judged: _Judged) -> _Judged:
    """Without created records that somebody else has changed since in fields we did not write: deleting them would
    take that work along."""
    if past.deleted or not judged.to_delete.height or not session.target.capabilities.tells_editors:
        return judged
    since = Chunk.objects.get(pk=judged.to_delete["writers"][0][0]).intended_at
    if since is None:
        return judged
    ids = judged.to_delete["target_id"].to_list()
    others = session.target.changed_by_others(past.bench.entity, ids, since=since)
    theirs = pl.col("target_id").is_in(others.implode())
    spared = _outcome(
        judged.to_delete.filter(theirs),
        RecordState.CONFLICT,
        code="edited",
        reason=pl.lit(ADDED_TO),
        count="conflicts",
    )
    return replace(
        judged,
        to_delete=judged.to_delete.filter(~theirs),
        untouchable=pl.concat([judged.untouchable, spared]),
    )


def _delete(session: Session, bench: Bench, records: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """Delete, after letting go of references among the records themselves: parents may go before children."""
    links = [
        use.field
        for use in bench.compiled.references
        if not use.required and bench.mapping.source_entity in use.entities
    ]
    linked = now.join(records, on="key", how="semi").filter(
        pl.any_horizontal([pl.lit(value=False), *(pl.col(name).is_not_null() for name in links)])
    )
    if linked.height:
        key = bench.mapping.key
        cut = linked.select(pl.col("key").alias(key), *(pl.lit(None, pl.String).alias(name) for name in links))
        session.target.write(bench.entity, cut, key=key)
        reached(CrashPoint.UNDO_CUT)
    return _deleted(session, bench, records)


def _deleted(session: Session, bench: Bench, records: pl.DataFrame) -> pl.DataFrame:
    """What the target refuses to delete waits until everything else is gone."""
    if not records.height:
        return _outcome(records, RecordState.ROLLED_BACK, code="", reason=pl.lit(""), count="deleted")
    answers = session.target.delete(bench.entity, records["target_id"].to_list()).frame
    reached(CrashPoint.UNDO_DELETED)
    told = records.join(answers.drop("target_id"), left_on="target_id", right_on="key", how="left")
    kept = told.filter(pl.col("outcome") == Outcome.REJECTED)
    done = told.filter(pl.col("outcome") != Outcome.REJECTED)
    return pl.concat(
        [
            _outcome(done, RecordState.ROLLED_BACK, code="", reason=pl.lit(""), count="deleted", gone=True),
            _outcome(
                kept,
                RecordState.DEFERRED,
                code="still_referenced",
                reason=pl.col("message"),
                count="deferred",
            ),
        ]
    )


def _restore(session: Session, past: Earlier, records: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """Give changed records their earlier values, and create again those we deleted; what is so already is not sent.

    A record that is refused when it is to be created again may lack another one: it waits for it.
    """
    images = past.images.join(records, on="key", how="semi")
    if not images.height:
        return _outcome(records, RecordState.ROLLED_BACK, code="", reason=pl.lit(""), count="updated")
    renewed = with_new_references if past.deleted else with_successors
    referring = renewed(session, past.bench, records, images)
    lacking = records.join(referring.filter("lacks"), on="key", how="semi")
    if lacking.height:
        reason = pl.lit(NO_PARENT)
        held = _outcome(lacking, RecordState.DEFERRED, code="not_restored", reason=reason, count="deferred")
        return pl.concat([held, _restore(session, past, records.join(lacking, on="key", how="anti"), now)])
    images = referring.drop("lacks")
    found = compare(images, now, fields=past.fields, rules=past.rules)
    same = pl.concat([found.mismatches["key"], found.missing])
    differing = images.join(same.to_frame("key"), on="key", how="semi")
    hashes = left_hashes(session, records, images)
    told = records.join(_written(session, past.bench, differing), on="key", how="left").join(hashes, on="key")
    refused = pl.col("outcome") == Outcome.REJECTED
    kept, done = told.filter(refused), told.filter(~refused.fill_null(value=False))
    again = done.filter(~pl.col("key").is_in(now["key"].implode()))
    changed = done.filter(pl.col("key").is_in(now["key"].implode()))
    waits = kept.filter(~pl.col("key").is_in(now["key"].implode()))
    stuck = kept.join(waits, on="key", how="anti")
    state = RecordState.ROLLED_BACK
    return pl.concat(
        [
            _outcome(again, state, code="", reason=pl.lit(""), count="created"),
            _outcome(
                changed.filter(pl.col("outcome").is_not_null()), state, code="", reason=pl.lit(""), count="updated"
            ),
            _outcome(changed.filter(pl.col("outcome").is_null()), state, code="", reason=pl.lit(""), count="unchanged"),
            _outcome(waits, RecordState.DEFERRED, code="not_restored", reason=pl.col("message"), count="deferred"),
            _outcome(stuck, RecordState.CONFLICT, code="not_restored", reason=pl.col("message"), count="conflicts"),
        ]
    )


def _written(session: Session, bench: Bench, images: pl.DataFrame) -> pl.DataFrame:
    """``key``, ``outcome``, ``message`` and ``new_id`` of the images that were written."""
    key = bench.mapping.key
    schema = dict.fromkeys(("key", "outcome", "message", "new_id"), pl.String)
    if not images.height:
        return pl.DataFrame(schema=schema)
    answers = session.target.write(bench.entity, images.rename({"key": key}), key=key).frame
    return answers.select("key", "outcome", "message", new_id="target_id")


def _conflicts(past: Earlier, judged: _Judged, now: pl.DataFrame) -> pl.DataFrame:
    """One finding per field that people changed, with what we wrote and what the target holds."""
    if not judged.edited.height:
        return NO_FINDINGS
    bench = past.bench
    last = Chunk.objects.get(pk=judged.edited["writers"][0][-1])
    source = payload.unpack(last.payload, purpose=payload.PAYLOAD)
    edited = source.filter(pl.col(bench.mapping.identity).is_in(judged.edited["source_id"].implode()))
    mapped = as_written(bench, last, transform(bench, edited))
    wrote = mapped.content.select(mapped.records["key"], *bench.other_fields)
    held = now.join(judged.edited, on="key", how="semi")
    found = compare(wrote, held, fields=bench.other_fields, rules=bench.rules).mismatches
    told = found.join(judged.edited.select("key", "source_id", "part"), on="key")
    sentence = pl.format(
        "{}: we wrote {}, the target holds {}.",
        "field",
        pl.col("expected").fill_null("blank"),
        pl.col("actual").fill_null("blank"),
    )
    return _finding(told, field=pl.col("field"), value=pl.col("actual"), rule="edited", message=sentence)


def _unproven(
    undone: pl.DataFrame, left: pl.DataFrame, keeping: pl.DataFrame, mismatches: pl.DataFrame
) -> pl.DataFrame:
    ids = undone.select("key", "source_id", "part")
    blank = pl.lit(None, pl.String)
    sentence = pl.format("{} was not restored.", "field")
    return pl.concat(
        [
            _finding(
                ids.join(left, on="key", how="semi"),
                field=pl.lit(""),
                value=blank,
                rule="still_there",
                message=pl.lit("The record was deleted, but the target still has it."),
            ),
            _finding(
                keeping,
                field=pl.lit(""),
                value=pl.col("key"),
                rule="key_left",
                message=pl.lit("The record was there before without our key, but still carries it."),
            ),
            _finding(
                mismatches.join(ids, on="key"),
                field=pl.col("field"),
                value=pl.col("actual"),
                rule="not_restored",
                message=sentence,
            ),
        ]
    )


def _finding(records: pl.DataFrame, *, field: pl.Expr, value: pl.Expr, rule: str, message: pl.Expr) -> pl.DataFrame:
    return records.select(
        "source_id",
        "part",
        field.alias("field"),
        value.alias("value"),
        pl.lit(rule).alias("rule"),
        message.alias("message"),
        pl.lit("error").alias("severity"),
    )


def _outcome(
    records: pl.DataFrame, state: RecordState, *, code: str, reason: pl.Expr, count: str, gone: bool = False
) -> pl.DataFrame:
    there = records.columns
    done = state == RecordState.ROLLED_BACK and not gone
    return records.select(
        "source_id",
        "part",
        pl.lit(str(state)).alias("state"),
        pl.lit(code).alias("code"),
        reason.cast(pl.String).alias("reason"),
        pl.lit(gone).alias("gone"),
        (pl.col("new_id") if "new_id" in there else pl.lit(None, pl.String)).alias("target_id"),
        (pl.col("held") if "held" in there else pl.lit(None, pl.String)).alias("hash"),
        "earlier",
        (pl.lit(done) & pl.col("left_by").is_not_null()).alias("again"),
        pl.lit(count).alias("count"),
    )


def _count(outcomes: pl.DataFrame) -> Counts:
    tally = dict(outcomes["count"].value_counts(name="records").iter_rows())
    return Counts(**{field.name: tally.get(field.name, 0) for field in fields(Counts)})
