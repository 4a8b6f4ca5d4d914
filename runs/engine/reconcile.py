"""Reconcile: read the target back and compare every field of every record with what the mapping demands."""

from dataclasses import dataclass

import polars as pl

from runs import ledger, payload
from runs.crash_points import CrashPoint, reached
from runs.engine.comparison import Comparison, compare
from runs.engine.family import GONE, Family, family
from runs.engine.load import IN_TARGET
from runs.engine.session import Bench, Session
from runs.engine.transform import Mapped, transform
from runs.engine.wrote import as_written
from runs.evidence.digests import exact_sum, held_hashes, records_digest
from runs.leases import Lease
from runs.ledger import FINDING_COLUMNS, Proof, Verdict
from runs.models import Chunk, Step

EXTRAS_NAMED = 1_000


def reconcile(session: Session, lease: Lease) -> None:
    """Verify one loaded chunk against the target. Raises connector errors and LeaseLost."""
    chunk = Chunk.objects.defer(None).get(pk=lease.id)
    bench = session.bench(chunk.step_id)
    frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    mapped = as_written(bench, chunk, transform(bench, frame))
    known = ledger.known(bench.place, frame[bench.mapping.identity].drop_nulls())
    landed = _landed(known, chunk, mapped.records)
    expected = mapped.content_of(landed).select(landed["key"], *bench.other_fields)
    actual = session.target.fetch(
        bench.entity, key=bench.mapping.key, keys=landed["key"].to_list(), fields=bench.other_fields
    )
    found = compare(expected, actual, fields=bench.other_fields, rules=bench.rules)
    wanted = _wanted(bench, frame, mapped, known, chunk)
    kin = family(session, bench, wanted=wanted, expected=expected, held=actual)
    verdict = Verdict(
        records=landed.height,
        fields=found.fields,
        missing=len(found.missing),
        mismatches=found.mismatches.height + len(found.doubled) + kin.orphans.filter(pl.col("rule") == GONE).height,
    )
    reached(CrashPoint.RECONCILE_READ)
    findings = _findings(landed, found, kin.orphans)
    ledger.verified(lease, bench.place, verdict, findings, _proof(landed, expected, actual, found, kin))
    reached(CrashPoint.RECONCILED)


@dataclass(frozen=True, slots=True)
class Extras:
    """Target records under a step's keys that no tracked record accounts for: how many (None where the target
    cannot count) and the ``keys`` of the first ``EXTRAS_NAMED`` of them, where it can list them."""

    count: int | None
    keys: tuple[str, ...] = ()


def extras(session: Session, step: Step) -> Extras:
    """What the target holds under this step's keys and nobody tracks. Raises connector errors."""
    bench = session.bench(step.pk)
    held = session.target.count(bench.entity, key=bench.mapping.key, prefix=bench.key_prefix)
    if held is None:
        return Extras(None)
    siblings = list(session.run.project.project_objects.filter(target_entity=bench.entity).values_list("pk", flat=True))
    count = max(0, held - ledger.landed(bench.place.project_id, siblings, prefix=bench.key_prefix))
    return Extras(count, tuple(_named(session, bench, siblings)) if count else ())


def _named(session: Session, bench: Bench, siblings: list[int]) -> list[str]:
    pages = session.target.keys(bench.entity, key=bench.mapping.key, prefix=bench.key_prefix)
    named: list[str] = []
    for page in pages or ():
        named += ledger.untracked(bench.place.project_id, siblings, page)
        if len(named) >= EXTRAS_NAMED:
            break
    return named[:EXTRAS_NAMED]


def _wanted(bench: Bench, frame: pl.DataFrame, mapped: Mapped, known: pl.DataFrame, chunk: Chunk) -> pl.DataFrame:
    """Who is whose child in the source, of the records that are to be moved: all but those skipped, and those
    that came again on a later page."""
    later = known.filter(pl.col("touched_by") > chunk.pk)
    named = bench.compiled.parent_ids(frame).drop_nulls("source_id").unique("source_id", keep="last")
    return named.join(later, on="source_id", how="anti").join(
        mapped.transformed.skipped.join(mapped.records, on="source_id", how="anti"), on="source_id", how="anti"
    )


def _proof(landed: pl.DataFrame, expected: pl.DataFrame, held: pl.DataFrame, found: Comparison, kin: Family) -> Proof:
    fields = [name for name in expected.columns if name != "key"]
    numbers = [name for name in fields if expected.schema[name].is_numeric()]
    return Proof(
        equal={name: tally for name, tally in found.equal.items() if tally},
        sums={name: (exact_sum(expected[name]), exact_sum(_as_number(held[name], expected[name]))) for name in numbers},
        written=records_digest(landed, ("source_id", "part", "key", "written")),
        read_back=records_digest(held_hashes(held, fields), ("key", "held")),
        children=kin.children,
    )


def _as_number(held: pl.Series, like: pl.Series) -> pl.Series:
    """A target may give numbers as text."""
    return held if held.dtype.is_numeric() else held.cast(like.dtype, strict=False)


def _landed(known: pl.DataFrame, chunk: Chunk, records: pl.DataFrame) -> pl.DataFrame:
    """Those that the ledger says are in the target as this chunk has them.

    A record that came again on a later page (sources change while they are read) is that chunk's to prove.
    """
    there = known.filter(
        pl.col("target_id").is_not_null() & pl.col("state").is_in(IN_TARGET) & (pl.col("touched_by") <= chunk.pk)
    )
    return records.join(there.select("source_id", written="hash"), on="source_id", how="inner", maintain_order="left")


def _findings(landed: pl.DataFrame, found: Comparison, orphans: pl.DataFrame) -> pl.DataFrame:
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
        pl.concat([mismatches, *whole, orphans.select(mismatches.columns)])
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
