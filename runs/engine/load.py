"""Load: write a chunk's records to the target and find out what became of each.

The order is what makes it exact. What the target holds under the keys is committed first (the intent),
then the records are sent, then the answers are committed. A worker that dies in between leaves the
intent behind; whoever claims the chunk next sends the same records again, which an upsert by key makes
harmless, and still tells created from updated by the committed before-images.
"""

from dataclasses import dataclass, fields

import polars as pl

from connectors.types import Outcome
from runs import leases, ledger, payload
from runs.choices import RecordState
from runs.engine.session import Bench, Session
from runs.engine.transform import Mapped, transform
from runs.leases import Lease
from runs.ledger import FINDING_COLUMNS, OUTCOME_COLUMNS, Counts
from runs.models import Chunk

LANDED = (RecordState.LOADED, RecordState.UNCHANGED)
EMPTY_OUTCOMES = pl.DataFrame(schema=dict.fromkeys((*OUTCOME_COLUMNS, "count"), pl.String))


@dataclass(frozen=True, slots=True)
class Landing:
    """What became of the records: the ledger's outcome and finding frames, and the counts.

    ``outcomes`` leaves out records whose row already says where they stand; ``counts`` has all.
    """

    outcomes: pl.DataFrame
    findings: pl.DataFrame
    counts: Counts


def load(session: Session, lease: Lease) -> None:
    """Bring a staged chunk to the target and record it. Raises connector errors and LeaseLost."""
    chunk = Chunk.objects.defer(None).get(pk=lease.id)
    bench = session.bench(chunk.step_id)
    frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    landing = bring(session, bench, lease, chunk, frame)
    ledger.record(lease, bench.place, landing.outcomes, landing.findings, landing.counts, relinked=False)


def bring(session: Session, bench: Bench, lease: Lease, chunk: Chunk, frame: pl.DataFrame) -> Landing:
    """Transform, intend, write and judge these source records of the chunk."""
    mapped = transform(bench, frame)
    refusals = _named(mapped.transformed.findings, chunk)
    rows, clashes = _unique_keys(bench, mapped.hashed)
    deferred = _deferred(bench, mapped)
    known = ledger.known(bench.place, rows["source_id"])
    fresh, settled = _split(rows, known, deferred)
    touched = pl.concat([part.select(bench.mapping.key) for part in (fresh, mapped.waiting, settled)])
    redo = chunk.before is not None
    before = _before(session, bench, lease, chunk, touched[bench.mapping.key])
    leases.renew(lease)
    written = _write(session, bench, fresh)
    outcomes = pl.concat(
        [
            _refused_by_mapping(refusals),
            clashes,
            _skipped(mapped.transformed.skipped),
            _waiting(mapped, deferred),
            _judged(bench, fresh, written, before, deferred, redo=redo),
        ]
    )
    findings = pl.concat([refusals.select(FINDING_COLUMNS), _target_findings(fresh, written, bench)])
    return Landing(outcomes.select(OUTCOME_COLUMNS), findings, _count(outcomes, settled, deferred))


def _named(findings: pl.DataFrame, chunk: Chunk) -> pl.DataFrame:
    """Findings with a name for records that have no identity: their place, which the finding has as value."""
    place = pl.format("({}, page {})", "value", pl.lit(chunk.sequence + 1))
    return findings.with_columns(pl.coalesce("source_id", place).alias("source_id"))


def _unique_keys(bench: Bench, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that alone carry their key, and outcomes for those that do not: neither of two may win."""
    key = pl.col(bench.mapping.key)
    usable = key.is_not_null() & ~key.is_duplicated()
    reason = (
        pl.when(key.is_null())
        .then(pl.lit(f"{bench.mapping.key} is blank, so that the record could not be found again."))
        .otherwise(pl.format(f"Several records of this page have the same {bench.mapping.key} “{{}}”.", key))
    )
    clashing = rows.filter(~usable).select(
        "source_id",
        "part",
        pl.lit(str(RecordState.REJECTED)).alias("state"),
        pl.lit(None, pl.String).alias("target_id"),
        pl.lit(None, pl.String).alias("key"),
        pl.lit(None, pl.String).alias("hash"),
        pl.lit("ambiguous_key").alias("code"),
        reason.alias("reason"),
        pl.lit("rejected").alias("count"),
    )
    return rows.filter(usable), clashing


def _deferred(bench: Bench, mapped: Mapped) -> pl.DataFrame:
    """``source_id, reason`` of the records that wait for a parent, one row each."""
    unresolved = mapped.transformed.unresolved
    if not unresolved.height:
        return pl.DataFrame(schema={"source_id": pl.String, "reason": pl.String})
    objects = {
        pk
        for entities in unresolved["entities"].unique()
        for name in entities.split(",")
        for pk in bench.parents.get(name, ())
    }
    standing = ledger.standing(bench.place.project_id, sorted(objects), unresolved["parent_id"].unique())
    parent = pl.col("parent_id").replace_strict(standing, default=None, return_dtype=pl.String)
    why = (
        pl.when(parent.is_null()).then(pl.lit("which has not come from the source"))
        .when(parent == RecordState.REJECTED).then(pl.lit("which was rejected"))
        .when(parent == RecordState.SKIPPED).then(pl.lit("which was skipped"))
        .otherwise(pl.lit("which is not in the target yet"))
    )  # fmt: skip
    entities = pl.col("entities").str.replace_all(",", " or ")
    sentence = pl.format("{} waits for {} {}, {}.", "field", entities, "parent_id", why)
    return unresolved.select("source_id", sentence.alias("reason")).unique(
        "source_id", keep="first", maintain_order=True
    )


def _split(rows: pl.DataFrame, known: pl.DataFrame, deferred: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows to write, and rows the target already holds as they are now."""
    same = known.filter(
        pl.col("target_id").is_not_null() & pl.col("state").is_in([*LANDED, RecordState.DEFERRED])
    ).select("source_id", "hash", pl.lit(value=True).alias("same"), "state")
    marked = rows.join(same, on=["source_id", "hash"], how="left")
    # A record that stops or starts waiting needs its row rewritten even where its content is the same.
    waits = pl.col("source_id").is_in(deferred["source_id"].implode())
    settled = pl.col("same").fill_null(value=False) & (waits == (pl.col("state") == RecordState.DEFERRED))
    plain = marked.drop("same", "state")
    keep = marked.select(settled.fill_null(value=False)).to_series()
    return plain.filter(~keep), plain.filter(keep)


def _before(session: Session, bench: Bench, lease: Lease, chunk: Chunk, keys: pl.Series) -> pl.DataFrame:
    """The target's rows under these keys as they were before this chunk first wrote; committed on first call."""
    if chunk.before is not None:
        return payload.unpack(chunk.before, purpose=payload.BEFORE)
    before = session.target.fetch(
        bench.entity, key=bench.mapping.key, keys=keys.drop_nulls().to_list(), fields=bench.other_fields
    )
    ledger.intend(lease, before)
    return before


def _write(session: Session, bench: Bench, fresh: pl.DataFrame) -> pl.DataFrame:
    frame = fresh.select(bench.compiled.target_fields)
    if not frame.height:
        return pl.DataFrame(
            schema=dict.fromkeys(("key", "target_id", "outcome", "code", "fields", "message"), pl.String)
        )
    return session.target.write(bench.entity, frame, key=bench.mapping.key).frame


def _judged(
    bench: Bench,
    fresh: pl.DataFrame,
    written: pl.DataFrame,
    before: pl.DataFrame,
    deferred: pl.DataFrame,
    *,
    redo: bool,
) -> pl.DataFrame:
    """Outcomes of what was sent. Only the before-images tell created from updated when it was sent twice."""
    sent = fresh.rename({bench.mapping.key: "key"}).join(written, on="key", how="left", validate="1:1")
    existed = pl.col("key").is_in(before["key"].implode())
    refused = pl.col("outcome") == Outcome.REJECTED
    was_same = pl.lit(value=False)
    if redo:
        was_same = pl.col("key").is_in(_equal_before(bench, fresh, before).implode())
    count = (
        pl.when(refused).then(pl.lit("rejected"))
        .when(pl.col("reason").is_not_null()).then(pl.lit("deferred"))
        .when(~existed).then(pl.lit("created"))
        .when(was_same | ((pl.col("outcome") == Outcome.UNCHANGED) & pl.lit(not redo))).then(pl.lit("unchanged"))
        .otherwise(pl.lit("updated"))
    )  # fmt: skip
    state = count.replace({"created": RecordState.LOADED, "updated": RecordState.LOADED})
    return sent.join(deferred, on="source_id", how="left").select(
        "source_id",
        "part",
        state.alias("state"),
        "target_id",
        "key",
        pl.when(~refused).then("hash").alias("hash"),
        pl.when(refused)
        .then("code")
        .when(pl.col("reason").is_not_null())
        .then(pl.lit("waiting"))
        .otherwise(pl.lit(""))
        .alias("code"),
        pl.when(refused).then("message").otherwise(pl.col("reason").fill_null("")).alias("reason"),
        count.alias("count"),
    )


def _equal_before(bench: Bench, fresh: pl.DataFrame, before: pl.DataFrame) -> pl.Series:
    """Keys whose before-image already was what we wrote."""
    key = bench.mapping.key
    others = bench.other_fields
    images = before.rename({"key": key}).select(key, *(pl.col(name).cast(fresh.schema[name]) for name in others))
    return fresh.join(images, on=[key, *others], how="semi", nulls_equal=True)[key]


def _refused_by_mapping(findings: pl.DataFrame) -> pl.DataFrame:
    errors = findings.filter(pl.col("severity") == "error").unique("source_id", keep="first", maintain_order=True)
    return _unsent(errors, RecordState.REJECTED, code=pl.col("rule"), reason=pl.col("message"))


def _skipped(skipped: pl.DataFrame) -> pl.DataFrame:
    return _unsent(skipped, RecordState.SKIPPED, code=pl.lit("skipped"), reason=pl.col("reason"))


def _waiting(mapped: Mapped, deferred: pl.DataFrame) -> pl.DataFrame:
    """Outcomes of records that cannot be written before their parent is there."""
    unsent = mapped.waiting.select("source_id", "part").join(deferred, on="source_id", how="left")
    return _unsent(unsent, RecordState.DEFERRED, code=pl.lit("waiting"), reason=pl.col("reason"))


def _unsent(records: pl.DataFrame, state: RecordState, *, code: pl.Expr, reason: pl.Expr) -> pl.DataFrame:
    nothing = pl.lit(None, pl.String)
    return records.select(
        "source_id",
        "part",
        pl.lit(str(state)).alias("state"),
        nothing.alias("target_id"),
        nothing.alias("key"),
        nothing.alias("hash"),
        code.alias("code"),
        reason.alias("reason"),
        pl.lit(str(state)).alias("count"),
    )


def _target_findings(fresh: pl.DataFrame, written: pl.DataFrame, bench: Bench) -> pl.DataFrame:
    """The target's refusals as findings, so that causes are grouped with those of the mapping."""
    refused = written.filter(pl.col("outcome") == Outcome.REJECTED)
    sent = fresh.select("source_id", "part", pl.col(bench.mapping.key).alias("key"))
    return sent.join(refused, on="key").select(
        "source_id",
        "part",
        pl.col("fields").fill_null("").alias("field"),
        pl.lit(None, pl.String).alias("value"),
        pl.col("code").alias("rule"),
        "message",
        pl.lit("error").alias("severity"),
    )


def _count(outcomes: pl.DataFrame, settled: pl.DataFrame, deferred: pl.DataFrame) -> Counts:
    tally = dict(outcomes["count"].value_counts().iter_rows())
    waiting = settled.join(deferred, on="source_id", how="semi").height
    tally["unchanged"] = tally.get("unchanged", 0) + settled.height - waiting
    tally["deferred"] = tally.get("deferred", 0) + waiting
    return Counts(**{field.name: tally.get(field.name, 0) for field in fields(Counts)})
