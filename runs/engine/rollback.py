"""Rollback: take back what a run wrote, in reverse order, only where the target still holds just that.

A rollback is a run of its own over the same pipeline. Its records come from the ledger instead of a
platform; *to load* means to delete what the run created and to restore what it changed from the
before-images; *to reconcile* means to prove by reading back that it is so. What somebody edited since is
left alone and listed as a conflict with both values; what somebody deleted since is noted.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import polars as pl
from django.db import transaction

from connectors.types import Outcome
from runs import events, leases, ledger, payload
from runs.choices import RecordState
from runs.crash_points import CrashPoint, reached
from runs.engine.comparison import compare
from runs.engine.images import fingerprints, typed
from runs.engine.session import Bench, Session
from runs.engine.transform import transform
from runs.leases import Lease
from runs.ledger import FINDING_COLUMNS, WRITTEN_SCHEMA, Counts, Verdict
from runs.models import Chunk, Step

LATER_RUN = "A later run wrote the record again; roll that run back first."
GONE = "Somebody deleted the record in the target since."
NO_FINDINGS = pl.DataFrame(schema=dict.fromkeys(FINDING_COLUMNS, pl.String))


def plan(session: Session, lease: Lease) -> None:
    """Write the steps of the run to undo in reverse, children before their parents. Raises LeaseLost."""
    undone = session.run.undoes
    if undone is None:
        raise ValueError("a rollback names the run it undoes")
    originals = list(undone.steps.order_by("-position"))
    last = max((step.wave for step in originals), default=0)
    with transaction.atomic():
        leases.settle(lease, "planned_at = clock_timestamp(), mapping_digest = %s", [undone.mapping_digest])
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
            for position, step in enumerate(originals)
        )
        events.tell(session.run.pk, f"Undoing {undone}: {len(originals)} objects, the last loaded first.")
    reached(CrashPoint.UNDO_PLANNED)


def gather(session: Session, lease: Lease, *, stop: Callable[[], bool]) -> bool:
    """Stage what each chunk of the undone run wrote, newest first; true where all of the step is staged."""
    step = Step.objects.get(pk=lease.id)
    bench = session.bench(step.pk)
    chunks = Chunk.objects.filter(
        run=session.run.undoes, step__object_id=step.object_id, intended_at__isnull=False
    ).order_by("-pk")
    if step.cursor:
        chunks = chunks.filter(pk__lt=step.cursor["chunk"])
    left = list(chunks.values_list("pk", flat=True))
    if not left:
        ledger.stage(lease, pl.DataFrame(schema=WRITTEN_SCHEMA), None)
        return True
    for chunk_id in left:
        last = chunk_id == left[-1]
        ledger.stage(lease, _written(bench, chunk_id), None if last else {"chunk": chunk_id})
        if last:
            return True
        if stop():
            break
    return False


def undo(session: Session, lease: Lease) -> None:
    """Delete or restore the records of one staged chunk. Raises connector errors and LeaseLost."""
    chunk = Chunk.objects.defer(None).get(pk=lease.id)
    bench = session.bench(chunk.step_id)
    records = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    before = _images(records)
    now = _now(session, bench, lease, chunk, records)
    judged = _judge(bench, records, before, now)
    leases.renew(lease)
    outcomes = pl.concat(
        [
            judged.untouchable,
            _delete(session, bench, judged.to_delete, now),
            _restore(session, bench, judged.to_restore, before),
        ]
    )
    findings = _conflicts(bench, judged, now)
    reached(CrashPoint.UNDO_RESTORED)
    ledger.undone(lease, bench.place, outcomes, findings, _count(outcomes))
    reached(CrashPoint.UNDONE)


def delete_again(session: Session, lease: Lease) -> None:
    """Delete what other records of the run still pointed at, now that those are gone or unlinked."""
    chunk = Chunk.objects.defer(None).get(pk=lease.id)
    bench = session.bench(chunk.step_id)
    records = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    known = ledger.known(bench.place, records["source_id"])
    waiting = records.join(known.filter(pl.col("state") == RecordState.DEFERRED), on="source_id", how="semi")
    outcomes = _deleted(session, bench, waiting, last_try=True)
    earlier = {field.name: getattr(chunk, field.name) for field in fields(Counts)} | {"deferred": 0}
    added = _count(outcomes)
    total = Counts(**{name: count + getattr(added, name) for name, count in earlier.items()})
    reached(CrashPoint.DELETED_AGAIN)
    ledger.undone(lease, bench.place, outcomes, NO_FINDINGS, total, relinked=waiting["source_id"])


def prove(session: Session, lease: Lease) -> None:
    """Read the target back: deleted records are gone and restored ones equal their before-images."""
    chunk = Chunk.objects.defer(None).get(pk=lease.id)
    bench = session.bench(chunk.step_id)
    records = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    known = ledger.known(bench.place, records["source_id"])
    # A restored record that an earlier run wrote stands as loaded again.
    ended = known.filter(pl.col("state").is_in([RecordState.ROLLED_BACK, RecordState.LOADED]))
    undone = records.join(ended, on="source_id", how="semi")
    before = _images(records)
    restored = before.join(undone, on="key", how="semi")
    now = session.target.fetch(
        bench.entity, key=bench.mapping.key, keys=undone["key"].to_list(), fields=bench.other_fields
    )
    found = compare(typed(bench, restored), now, fields=bench.other_fields, json=bench.json_fields)
    left = undone.join(before, on="key", how="anti").join(now, on="key", how="semi")
    verdict = Verdict(undone.height, found.fields, len(found.missing), found.mismatches.height + left.height)
    reached(CrashPoint.PROVEN)
    ledger.verified(lease, bench.place, verdict, _unproven(undone, left, found.mismatches))


@dataclass(frozen=True, slots=True)
class _Judged:
    """The records by what may be done; ``untouchable`` are outcomes, ``edited`` records that people changed."""

    to_delete: pl.DataFrame
    to_restore: pl.DataFrame
    edited: pl.DataFrame
    untouchable: pl.DataFrame


def _written(bench: Bench, chunk_id: int) -> pl.DataFrame:
    original = Chunk.objects.defer(None).get(pk=chunk_id)
    frame = payload.unpack(original.payload, purpose=payload.PAYLOAD)
    ids = frame[bench.mapping.identity].drop_nulls()
    return ledger.written_by(bench.place, chunk_id, ids).with_columns(undoes=pl.lit(chunk_id, pl.Int64))


def _images(records: pl.DataFrame) -> pl.DataFrame:
    """The before-images of the chunk that these records undo."""
    original = Chunk.objects.defer(None).get(pk=int(records["undoes"][0]))
    return payload.unpack(original.before or b"", purpose=payload.BEFORE)


def _now(session: Session, bench: Bench, lease: Lease, chunk: Chunk, records: pl.DataFrame) -> pl.DataFrame:
    """The target's rows as they were before this rollback touched them; committed on the first call."""
    if chunk.before is not None:
        return payload.unpack(chunk.before, purpose=payload.BEFORE)
    now = session.target.fetch(
        bench.entity, key=bench.mapping.key, keys=records["key"].to_list(), fields=bench.other_fields
    )
    ledger.intend(lease, now)
    reached(CrashPoint.UNDO_INTENDED)
    return now


def _judge(bench: Bench, records: pl.DataFrame, before: pl.DataFrame, now: pl.DataFrame) -> _Judged:
    marked = records.join(fingerprints(bench, now), on="key", how="left")
    ours = marked.filter(pl.col("latest") & (pl.col("held") == pl.col("hash"))).drop("held")
    later = marked.filter(~pl.col("latest"))
    gone = marked.filter(pl.col("latest") & pl.col("held").is_null())
    edited = marked.filter(pl.col("latest") & (pl.col("held") != pl.col("hash"))).drop("held")
    changed = pl.lit("Somebody changed the record in the target since; it is left as it is.")
    return _Judged(
        to_delete=ours.join(before, on="key", how="anti"),
        to_restore=ours.join(before, on="key", how="semi"),
        edited=edited,
        untouchable=pl.concat(
            [
                _outcome(
                    later, RecordState.CONFLICT, code="written_later", reason=pl.lit(LATER_RUN), count="conflicts"
                ),
                _outcome(edited, RecordState.CONFLICT, code="edited", reason=changed, count="conflicts"),
                _outcome(gone, RecordState.SKIPPED, code="gone", reason=pl.lit(GONE), count="skipped", gone=True),
            ]
        ),
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
    return _deleted(session, bench, records, last_try=False)


def _deleted(session: Session, bench: Bench, records: pl.DataFrame, *, last_try: bool) -> pl.DataFrame:
    """What the target refuses to delete waits until everything else is gone; after that it is a conflict, which
    people settle, and not a record that is due to be loaded."""
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
                RecordState.CONFLICT if last_try else RecordState.DEFERRED,
                code="still_referenced",
                reason=pl.col("message"),
                count="rejected" if last_try else "deferred",
            ),
        ]
    )


def _restore(session: Session, bench: Bench, records: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    images = typed(bench, before.join(records, on="key", how="semi"))
    if not images.height:
        return _outcome(records, RecordState.ROLLED_BACK, code="", reason=pl.lit(""), count="updated")
    key = bench.mapping.key
    answers = session.target.write(bench.entity, images.rename({"key": key}), key=key).frame
    told = records.join(answers.drop("target_id"), on="key", how="left").join(fingerprints(bench, images), on="key")
    kept = told.filter(pl.col("outcome") == Outcome.REJECTED)
    done = told.filter(pl.col("outcome") != Outcome.REJECTED)
    return pl.concat(
        [
            _outcome(done, RecordState.ROLLED_BACK, code="", reason=pl.lit(""), count="updated"),
            _outcome(kept, RecordState.CONFLICT, code="not_restored", reason=pl.col("message"), count="rejected"),
        ]
    )


def _conflicts(bench: Bench, judged: _Judged, now: pl.DataFrame) -> pl.DataFrame:
    """One finding per field that people changed, with what we wrote and what the target holds."""
    if not judged.edited.height:
        return NO_FINDINGS
    original = Chunk.objects.defer(None).get(pk=int(judged.edited["undoes"][0]))
    source = payload.unpack(original.payload, purpose=payload.PAYLOAD)
    edited = source.filter(pl.col(bench.mapping.identity).is_in(judged.edited["source_id"].implode()))
    mapped = transform(bench, edited)
    wrote = mapped.content.select(mapped.records["key"], *bench.other_fields)
    held = now.join(judged.edited, on="key", how="semi")
    found = compare(wrote, held, fields=bench.other_fields, json=bench.json_fields).mismatches
    told = found.join(judged.edited.select("key", "source_id", "part"), on="key")
    sentence = pl.format(
        "{}: we wrote {}, the target holds {}.",
        "field",
        pl.col("expected").fill_null("blank"),
        pl.col("actual").fill_null("blank"),
    )
    return _finding(told, field=pl.col("field"), value=pl.col("actual"), rule="edited", message=sentence)


def _unproven(undone: pl.DataFrame, left: pl.DataFrame, mismatches: pl.DataFrame) -> pl.DataFrame:
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
    return records.select(
        "source_id",
        "part",
        pl.lit(str(state)).alias("state"),
        pl.lit(code).alias("code"),
        reason.cast(pl.String).alias("reason"),
        pl.lit(gone).alias("gone"),
        (pl.col("held") if "held" in records.columns else pl.lit(None, pl.String)).alias("hash"),
        pl.col("undoes"),
        pl.lit(count).alias("count"),
    )


def _count(outcomes: pl.DataFrame) -> Counts:
    tally = dict(outcomes["count"].value_counts(name="records").iter_rows())
    return Counts(**{field.name: tally.get(field.name, 0) for field in fields(Counts)})
