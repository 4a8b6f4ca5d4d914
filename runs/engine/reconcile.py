"""Reconcile: read the target back and compare every field of every record with what the mapping demands."""

import polars as pl

from runs import ledger, payload
from runs.crash_points import CrashPoint, reached
from runs.engine.comparison import Comparison, compare
from runs.engine.load import IN_TARGET
from runs.engine.session import Bench, Session
from runs.engine.transform import transform
from runs.leases import Lease
from runs.ledger import FINDING_COLUMNS, Verdict
from runs.models import Chunk, Step


def reconcile(session: Session, lease: Lease) -> None:
    """Verify one loaded chunk against the target. Raises connector errors and LeaseLost."""
    chunk = Chunk.objects.defer(None).get(pk=lease.id)
    bench = session.bench(chunk.step_id)
    frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    mapped = transform(bench, frame)
    landed = _landed(bench, chunk, mapped.records)
    expected = mapped.content_of(landed).select(landed["key"], *bench.other_fields)
    actual = session.target.fetch(
        bench.entity, key=bench.mapping.key, keys=landed["key"].to_list(), fields=bench.other_fields
    )
    found = compare(expected, actual, fields=bench.other_fields, rules=bench.rules)
    verdict = Verdict(
        records=landed.height,
        fields=found.fields,
        missing=len(found.missing),
        mismatches=found.mismatches.height + len(found.doubled),
    )
    reached(CrashPoint.RECONCILE_READ)
    ledger.verified(lease, bench.place, verdict, _findings(landed, found))
    reached(CrashPoint.RECONCILED)


def extra(session: Session, step: Step) -> int | None:
    """Target records under this step's keys that no tracked record accounts for; None where it cannot be told."""
    bench = session.bench(step.pk)
    held = session.target.count(bench.entity, key=bench.mapping.key, prefix=bench.key_prefix)
    if held is None:
        return None
    siblings = session.run.project.project_objects.filter(target_entity=bench.entity).values_list("pk", flat=True)
    return max(0, held - ledger.landed(bench.place.project_id, list(siblings), prefix=bench.key_prefix))


def _landed(bench: Bench, chunk: Chunk, records: pl.DataFrame) -> pl.DataFrame:
    """Those that the ledger says are in the target as this chunk has them.

    A record that came again on a later page (sources change while they are read) is that chunk's to prove.
    """
    known = ledger.known(bench.place, records["source_id"])
    there = known.filter(
        pl.col("target_id").is_not_null() & pl.col("state").is_in(IN_TARGET) & (pl.col("touched_by") <= chunk.pk)
    )
    return records.join(there.select("source_id"), on="source_id", how="semi")


def _findings(landed: pl.DataFrame, found: Comparison) -> pl.DataFrame:
    ids = landed.select("key", "source_id", "part")
    mismatches = found.mismatches.select(
        "key",
        "field",
        pl.col("actual").alias("value"),
        pl.format("mismatch_{}", "rule").alias("rule"),
        pl.format(
            "{} should be {}, but the target holds {}.",
            "field",
            pl.col("expected").fill_null("blank"),
            pl.col("actual").fill_null("blank"),
        ).alias("message"),
    )
    whole = [
        _whole(found.missing, "missing", "The record is tracked as loaded, but the target has no such record."),
        _whole(found.doubled, "doubled", "The target has several records under the same key."),
    ]
    return (
        pl.concat([mismatches, *whole])
        .join(ids, on="key")
        .with_columns(severity=pl.lit("error"))
        .select(FINDING_COLUMNS)
    )


def _whole(keys: pl.Series, rule: str, message: str) -> pl.DataFrame:
    nothing = pl.lit(None, pl.String)
    return pl.DataFrame({"key": keys.cast(pl.String)}).select(
        "key",
        pl.lit("").alias("field"),
        nothing.alias("value"),
        pl.lit(rule).alias("rule"),
        pl.lit(message).alias("message"),
    )
