"""Load: write a chunk's records to the target and find out what became of each.

The order is what makes it exact. What the target holds under the keys is committed first (the intent),
then the records are sent, then the answers are committed. A worker that dies in between leaves the
intent behind; whoever claims the chunk next sends the same records again, which an upsert by key makes
harmless, and still tells created from updated by the committed before-images.
"""

from collections.abc import Collection
from dataclasses import dataclass, fields

import polars as pl
from django.db import transaction

from connectors.types import Outcome
from projects.mapping.specification import Unresolved
from runs import leases, ledger, payload
from runs.choices import RecordState
from runs.crash_points import CrashPoint, reached
from runs.engine import conflicts, matching
from runs.engine.journal import idempotency_key, jobs_of
from runs.engine.matching import Matches
from runs.engine.sending import equal_keys, send
from runs.engine.session import Bench, Session
from runs.engine.transform import Mapped, transform
from runs.engine.wrote import as_written
from runs.leases import Lease
from runs.ledger import FINDING_COLUMNS, OUTCOME_COLUMNS, Counts
from runs.models import Chunk

NO_TEXT = pl.lit(None, pl.String)
LANDED = (RecordState.LOADED, RecordState.UNCHANGED)
IN_TARGET = (*LANDED, RecordState.DEFERRED)
"""States in which the target may hold what the hash says; a deferred record does once it has a target id."""


@dataclass(frozen=True, slots=True)
class Landing:
    """What became of the records: the ledger's outcome and finding frames, and the counts.

    ``outcomes`` leaves out records whose row already says where they stand; ``counts`` has all. ``fates`` are the
    outcomes (one row per record, and ``count``: the name under which it was counted), and ``settled``
    has ``source_id, part, count`` of those left out. ``weighed`` tells of edits in the target.
    """

    outcomes: pl.DataFrame
    findings: pl.DataFrame
    counts: Counts
    fates: pl.DataFrame
    settled: pl.DataFrame
    weighed: conflicts.Weighed


def load(session: Session, lease: Lease) -> None:
    """Bring a staged chunk to the target and record it. Raises connector errors and LeaseLost."""
    chunk = Chunk.objects.defer(None).get(pk=lease.id)
    bench = session.bench(chunk.step_id)
    key = idempotency_key(chunk.payload, phase="load")
    with session.journal.of(lease, key, jobs_of(chunk, key)):
        landing = bring(session, bench, lease, chunk, payload.unpack(chunk.payload, purpose=payload.PAYLOAD), key=key)
    reached(CrashPoint.LOAD_SENT)
    with transaction.atomic():
        ledger.record(lease, bench.place, landing.outcomes, landing.findings, landing.counts)
        ledger.put_conflicts(bench.place, chunk.pk, landing.weighed.conflicts, landing.weighed.settled)
    reached(CrashPoint.LOAD_RECORDED)


def bring(session: Session, bench: Bench, lease: Lease, chunk: Chunk, frame: pl.DataFrame, *, key: str) -> Landing:
    """Transform, intend, write and judge these source records of the chunk.

    ``key`` is the idempotency key of this write; where the chunk has it already, an earlier try may have sent it.
    """
    mapped, source_ids = as_written(bench, chunk, transform(bench, frame)), frame[bench.mapping.identity].drop_nulls()
    del frame  # as large as what was made of it, and not wanted while that is written
    refusals = _named(_with_status(bench, mapped.transformed.findings), chunk)
    usable, clashes = _unique_keys(bench, mapped.records)
    deferred = _deferred(bench, mapped)
    known = ledger.known(bench.place, usable["source_id"])
    fresh, settled = _split(usable, conflicts.without_kept(bench, known), deferred)
    if bench.keyless:
        session.target.settle(bench.entity, source_ids.to_list(), key=bench.mapping.key)
    again, rewritten = chunk.idempotency_key == key, chunk.before is not None
    touched = [fresh, mapped.waiting, _waiting_among(settled, deferred)]
    before = _before(session, bench, chunk, touched, known)
    matches = matching.NOTHING
    if bench.mapping.match:
        matches = matching.match(session, bench, chunk, mapped, _new(fresh, known, before))
        fresh = fresh.join(matches.stopped, on="source_id", how="anti", maintain_order="left")
    before = _intend(lease, chunk, before, matches, key=key)
    leases.renew(lease)
    weighed = conflicts.weigh(session, bench, mapped, chunk=chunk, fresh=fresh, known=known, before=before)
    fresh = weighed.records
    refused = matching.adopt(session, bench, matching.adopted(before).join(fresh, on="key", how="semi"))
    written = pl.concat([send(session, bench, _without(bench, weighed.content, refused), again=again), refused])
    same_before = equal_keys(bench, weighed.content, before) if rewritten else _unchanged(written)
    judged = _judged(fresh, written, deferred, existed=before["key"], same_before=same_before)
    outcomes = pl.concat(
        [
            _refused_by_mapping(refusals),
            clashes,
            _skipped(mapped.transformed.skipped),
            _unsent(
                mapped.waiting.join(deferred, on="source_id"),
                RecordState.DEFERRED,
                code=pl.lit("waiting"),
                reason=pl.col("reason"),
            ),
            matches.stopped,
            weighed.held_back,
            judged,
        ]
    )
    findings = pl.concat(
        [refusals.select(FINDING_COLUMNS), _refused_by_target(fresh, written), weighed.findings, matches.findings]
    )
    # A record repeated on the page is skipped once and landed once; how it landed is where it stands.
    alone = outcomes.height == judged.height
    fates = outcomes if alone else outcomes.unique(["source_id", "part"], keep="last", maintain_order=True)
    counts = _count(outcomes, settled, deferred)
    return Landing(fates.select(OUTCOME_COLUMNS), findings, counts, fates, _settled_fates(settled, deferred), weighed)


def _named(findings: pl.DataFrame, chunk: Chunk) -> pl.DataFrame:
    """Findings with a name for records that have no identity: their place, which the finding has as value."""
    place = pl.format("({}, page {})", "value", pl.lit(chunk.sequence + 1))
    return findings.with_columns(pl.coalesce("source_id", place).alias("source_id"))


def _unique_keys(bench: Bench, records: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Records that alone carry their key, and outcomes for those that do not: neither of two may win."""
    key, name = pl.col("key"), bench.mapping.key
    usable = key.is_not_null() & ~key.is_duplicated()
    reason = (
        pl.when(key.is_null())
        .then(pl.lit(f"{name} is blank, so that the record could not be found again."))
        .otherwise(pl.format("Several records of this page have the same {} “{}”.", pl.lit(name), key))
    )
    fits = records.select(usable).to_series()
    clashing = records.clear() if fits.all() else records.filter(~fits)
    return records if fits.all() else records.filter(fits), _unsent(
        clashing, RecordState.REJECTED, code=pl.lit("ambiguous_key"), reason=reason
    )


def _deferred(bench: Bench, mapped: Mapped) -> pl.DataFrame:
    """``source_id, reason`` of the records that wait for a parent, one row each."""
    unresolved = mapped.transformed.unresolved
    if not unresolved.height:
        return pl.DataFrame(schema={"source_id": pl.String, "reason": pl.String})
    named = {name for entities in unresolved["entities"].unique() for name in entities.split(",")}
    parent = _status(bench, named, unresolved["parent_id"])
    why = pl.when(pl.col("by") != "").then(pl.lit("which is not in the target")).otherwise(parent)
    entities = pl.col("entities").str.replace_all(",", " or ")
    sentence = pl.format("{} waits for {} {}, {}.", "field", entities, "parent_id", why)
    reasons = unresolved.select("source_id", sentence.alias("reason"))
    return reasons.unique("source_id", keep="first", maintain_order=True)


def _status(bench: Bench, entities: Collection[str], parents: pl.Series) -> pl.Expr:
    """Why the parent that the column ``parent_id`` names by source id is not there."""
    objects = sorted({pk for name in entities for pk in bench.parents.get(name, ())})
    standing = bench.standing(objects, parents.unique())
    state = pl.col("parent_id").replace_strict(standing, default=None, return_dtype=pl.String)
    return (
        pl.when(state.is_null()).then(pl.lit("which has not come from the source"))
        .when(state == RecordState.REJECTED).then(pl.lit("which was rejected"))
        .when(state == RecordState.SKIPPED).then(pl.lit("which was skipped"))
        .otherwise(pl.lit("which is not in the target yet"))
    )  # fmt: skip


def _with_status(bench: Bench, findings: pl.DataFrame) -> pl.DataFrame:
    """The findings of references that refuse a record for its parent, with where that parent stands."""
    uses = {use.field: use.entities for use in bench.compiled.references if use.policy is Unresolved.REJECT}
    hit = (pl.col("rule") == "unresolved_reference") & pl.col("field").is_in(list(uses))
    if not uses or not findings.select(hit.any()).item():
        return findings
    named = {name for entities in uses.values() for name in entities}
    found = findings.with_columns(pl.col("value").alias("parent_id"))
    status = _status(bench, named, found.filter(hit)["parent_id"])
    head = pl.col("message").str.replace(r", which is not in the target\.$", ", ")
    told = pl.when(hit).then(pl.concat_str(head, status, pl.lit("."))).otherwise("message")
    return found.with_columns(told.alias("message")).select(findings.columns)


def _split(records: pl.DataFrame, known: pl.DataFrame, deferred: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Records to write, and records the target already holds as they are now.

    A record that stops or starts waiting is written even where its content is the same: its row must say so.
    """
    held = known.filter(pl.col("target_id").is_not_null() & pl.col("state").is_in(IN_TARGET))
    if not held.height:
        return records, records.clear()
    marked = records.join(held.select("source_id", "hash", "state"), on=["source_id", "hash"], how="left")
    waits = pl.col("source_id").is_in(deferred["source_id"].implode())
    settled = marked.select(
        (pl.col("state").is_not_null() & (waits == (pl.col("state") == RecordState.DEFERRED))).fill_null(value=False)
    ).to_series()
    plain = marked.drop("state")
    return plain.filter(~settled), plain.filter(settled)


def _waiting_among(settled: pl.DataFrame, deferred: pl.DataFrame) -> pl.DataFrame:
    return settled.join(deferred, on="source_id", how="semi")


def _settled_fates(settled: pl.DataFrame, deferred: pl.DataFrame) -> pl.DataFrame:
    waits = pl.col("source_id").is_in(deferred["source_id"].implode())
    return settled.select(
        "source_id", "part", pl.when(waits).then(pl.lit("deferred")).otherwise(pl.lit("unchanged")).alias("count")
    )


def _before(
    session: Session, bench: Bench, chunk: Chunk, touched: list[pl.DataFrame], known: pl.DataFrame
) -> pl.DataFrame:
    """The target's rows, as they were before this chunk first wrote, under all keys it may write, now or when
    it is relinked; fetched on the first call.

    A row that came along with what we wrote of another object was not there before us: it has no image. Nor has one
    that an earlier try created and did not live to record."""
    if chunk.before is not None:
        return payload.unpack(chunk.before, purpose=payload.BEFORE)
    keys = pl.concat([records.select("key") for records in touched])["key"].drop_nulls().unique()
    before = session.target.fetch(bench.entity, key=bench.mapping.key, keys=keys.to_list(), fields=bench.other_fields)
    reached(CrashPoint.LOAD_FETCHED)
    strange = before.filter(~pl.col("target_id").is_in(known["target_id"].drop_nulls().implode()))
    brought = _brought(session, bench, strange["target_id"].to_list()) if strange.height else frozenset()
    return before.filter(~pl.col("target_id").is_in(list(brought))) if brought else before


def _brought(session: Session, bench: Bench, target_ids: list[str]) -> frozenset[str]:
    along = session.target.came_along(bench.entity, target_ids)
    return along | session.id_map.created_untracked(bench.entity, target_ids) if bench.keyless else along


def _new(fresh: pl.DataFrame, known: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """The records that are neither in the id map nor in the target under their key."""
    ours = known.filter(pl.col("target_id").is_not_null())
    return fresh.join(ours, on="source_id", how="anti", maintain_order="left").join(
        before, on="key", how="anti", maintain_order="left"
    )


def _intend(lease: Lease, chunk: Chunk, before: pl.DataFrame, matches: Matches, *, key: str) -> pl.DataFrame:
    """Commit the before-images, with those of rows that are about to be taken over, and the idempotency key."""
    if matches.images is not None:
        before = matching.with_images(before, matches.images)
    if chunk.before is None or matches.images is not None:
        ledger.intend(lease, before, key=key)
    elif chunk.idempotency_key != key:
        ledger.begin(lease, key)
    reached(CrashPoint.LOAD_INTENDED)
    return before


def _without(bench: Bench, content: pl.DataFrame, refused: pl.DataFrame) -> pl.DataFrame:
    if not refused.height:
        return content
    return content.filter(~pl.col(bench.mapping.key).cast(pl.String).is_in(refused["key"].implode()))


def _unchanged(written: pl.DataFrame) -> pl.Series:
    return written.filter(pl.col("outcome") == Outcome.UNCHANGED)["key"]


def _judged(
    fresh: pl.DataFrame, written: pl.DataFrame, deferred: pl.DataFrame, *, existed: pl.Series, same_before: pl.Series
) -> pl.DataFrame:
    """Outcomes of what was sent. Created means that the key was not there before this chunk first wrote."""
    if fresh["key"].equals(written["key"]):
        sent = pl.concat([fresh, written.drop("key")], how="horizontal")
    else:
        sent = fresh.join(written, on="key", how="left", validate="1:1")
    sent = sent.join(deferred, on="source_id", how="left") if deferred.height else sent.with_columns(reason=NO_TEXT)
    refused, waits = pl.col("outcome") == Outcome.REJECTED, pl.col("reason").is_not_null()
    count = (
        pl.when(refused).then(pl.lit("rejected"))
        .when(waits).then(pl.lit("deferred"))
        .when(~pl.col("key").is_in(existed.implode())).then(pl.lit("created"))
        .when(pl.col("key").is_in(same_before.implode())).then(pl.lit("unchanged"))
        .otherwise(pl.lit("updated"))
    )  # fmt: skip
    code = pl.when(refused).then("code").when(waits).then(pl.lit("waiting")).otherwise(pl.lit(""))
    return sent.select(
        "source_id",
        "part",
        count.replace({"created": RecordState.LOADED, "updated": RecordState.LOADED}).alias("state"),
        "target_id",
        "key",
        pl.when(~refused).then("hash").alias("hash"),
        code.alias("code"),
        pl.when(refused).then("message").otherwise(pl.col("reason").fill_null("")).alias("reason"),
        count.alias("count"),
    )


def _refused_by_mapping(findings: pl.DataFrame) -> pl.DataFrame:
    errors = findings.filter(pl.col("severity") == "error").unique("source_id", keep="first", maintain_order=True)
    reason = pl.when(pl.col("field") != "").then(pl.format("{}: {}", "field", "message")).otherwise("message")
    return _unsent(errors, RecordState.REJECTED, code=pl.col("rule"), reason=reason)


def _skipped(skipped: pl.DataFrame) -> pl.DataFrame:
    return _unsent(skipped, RecordState.SKIPPED, code=pl.lit("skipped"), reason=pl.col("reason"))


def _unsent(
    records: pl.DataFrame, state: RecordState, *, code: pl.Expr, reason: pl.Expr, count: str = ""
) -> pl.DataFrame:
    return records.select(
        "source_id",
        "part",
        pl.lit(str(state)).alias("state"),
        NO_TEXT.alias("target_id"),
        NO_TEXT.alias("key"),
        NO_TEXT.alias("hash"),
        code.alias("code"),
        reason.alias("reason"),
        pl.lit(count or str(state)).alias("count"),
    )


def _refused_by_target(fresh: pl.DataFrame, written: pl.DataFrame) -> pl.DataFrame:
    """The target's refusals as findings, so that causes are grouped with those of the mapping."""
    refused = written.filter(pl.col("outcome") == Outcome.REJECTED)
    return fresh.join(refused, on="key").select(
        "source_id",
        "part",
        pl.col("fields").fill_null("").alias("field"),
        pl.lit(None, pl.String).alias("value"),
        pl.col("code").alias("rule"),
        "message",
        pl.lit("error").alias("severity"),
    )


def _count(outcomes: pl.DataFrame, settled: pl.DataFrame, deferred: pl.DataFrame) -> Counts:
    tally = dict(outcomes["count"].value_counts(name="records").iter_rows())
    waiting = _waiting_among(settled, deferred).height
    tally["unchanged"] = tally.get("unchanged", 0) + settled.height - waiting
    tally["deferred"] = tally.get("deferred", 0) + waiting
    return Counts(**{field.name: tally.get(field.name, 0) for field in fields(Counts)})
