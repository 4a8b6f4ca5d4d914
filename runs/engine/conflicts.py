"""Conflicts: what to write where a record changed in the source and was edited in the target since we wrote it.

Three values of every field are compared: what the mapping made of the record when we last wrote it (the base),
what it makes of it now (ours) and what the target holds (theirs). Only the source changed it: it is written. Only
the target: the edit is kept. Both, to different values: the object's policy for the field decides, or a person.
A record with an open question is held back as a whole, since half of a change may mean nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from projects.models import OnConflict, ProjectObject
from runs import ledger
from runs.choices import ConflictState, RecordState
from runs.engine.comparison import compare
from runs.engine.images import typed
from runs.engine.session import Bench, Session
from runs.engine.transform import Mapped
from runs.engine.wrote import ON_FIELD, held_as_written, last_wrote, overlaid
from runs.ledger import CONFLICT_COLUMNS, FINDING_COLUMNS, OUTCOME_COLUMNS
from runs.models import Chunk

EDITED = "Changed in the source and edited in the target since we wrote it: {}. Decide which value holds."
NO_CONFLICTS = pl.DataFrame(
    schema={
        **dict.fromkeys(CONFLICT_COLUMNS, pl.String),
        "base_known": pl.Boolean,
        "decided_by_id": pl.Int64,
        "decided_at": pl.Datetime("us", "UTC"),
    }
)


@dataclass(frozen=True, slots=True)
class Weighed:
    """What is to be written, and what is not.

    ``records`` and ``content`` are those to send, row by row alike: identities as in ``Mapped.records``, and
    the target fields, edits that are kept among them. ``held_back`` has the outcomes of the others, with their
    ``count``. ``conflicts`` is for ``ledger.put_conflicts``, as are ``settled``, the ids of records that
    have none any more.
    """

    records: pl.DataFrame
    content: pl.DataFrame
    held_back: pl.DataFrame
    findings: pl.DataFrame
    conflicts: pl.DataFrame
    settled: pl.Series


def weigh(
    session: Session,
    bench: Bench,
    mapped: Mapped,
    *,
    chunk: Chunk,
    fresh: pl.DataFrame,
    known: pl.DataFrame,
    before: pl.DataFrame,
) -> Weighed:
    """Compare what is to be written with the target's rows as they were ``before`` this chunk touched them."""
    earlier = known.filter(pl.col("touched_by") != chunk.pk)
    if not earlier.height:
        return _all_new(mapped, fresh)
    edited = _edited(session, bench, fresh, earlier, before)
    conflicts, keep, held = NO_CONFLICTS, pl.DataFrame(schema=dict.fromkeys(ON_FIELD, pl.String)), edited.clear()
    if edited.height:
        conflicts = _judged(session, bench, mapped, edited, before)
        open_ids = conflicts.filter(_open(conflicts))["source_id"].unique()
        held = edited.filter(pl.col("source_id").is_in(open_ids.implode()))
        conflicts = _settled(conflicts, held)
        applied = conflicts.filter((pl.col("state") == ConflictState.APPLIED) & (pl.col("decision") == "target"))
        keep = applied.join(edited.select("source_id", "key"), on="source_id").select(ON_FIELD)
    free = fresh.join(held, on="key", how="anti", maintain_order="left")
    merged = overlaid(bench, mapped, keep, before)
    records = free.drop("hash").join(merged.records.select("place", "hash"), on="place", maintain_order="left")
    known_before = free.join(earlier, on="source_id", how="semi")["source_id"]
    return Weighed(
        records.select(fresh.columns),
        merged.content_of(records),
        _held_back(held, conflicts),
        pl.DataFrame(schema=dict.fromkeys(FINDING_COLUMNS, pl.String)),
        conflicts,
        known_before.filter(~known_before.is_in(conflicts["source_id"].implode())),
    )


def _all_new(mapped: Mapped, fresh: pl.DataFrame) -> Weighed:
    """Records that nobody wrote before this chunk: there is nothing that an edit could clash with."""
    held_back = pl.DataFrame(schema=dict.fromkeys((*OUTCOME_COLUMNS, "count"), pl.String))
    findings = pl.DataFrame(schema=dict.fromkeys(FINDING_COLUMNS, pl.String))
    return Weighed(fresh, mapped.content_of(fresh), held_back, findings, NO_CONFLICTS, fresh["source_id"].clear())


def without_kept(bench: Bench, known: pl.DataFrame) -> pl.DataFrame:
    """The records without those in which an edit was kept: what they hold is not what the source says, and so it
    tells nothing about whether the source has changed."""
    kept = ledger.conflicts_of(bench.place, known["source_id"]).filter(pl.col("decision") == "target")
    return known.join(kept, on="source_id", how="anti", maintain_order="left") if kept.height else known


# --- The three values -----------------------------------------------------------------------------------------
def _edited(
    session: Session, bench: Bench, fresh: pl.DataFrame, earlier: pl.DataFrame, before: pl.DataFrame
) -> pl.DataFrame:
    """The records whose target row is not what we last wrote, or held an edit already then, in their order; ``was``
    is the hash of what we wrote."""
    ours = earlier.filter(pl.col("hash").is_not_null() & pl.col("target_id").is_not_null())
    candidates = fresh.join(ours.select("source_id", was="hash"), on="source_id")
    if not candidates.height:
        return candidates
    as_we_wrote = held_as_written(session, bench, candidates, before)
    kept = ledger.conflicts_of(bench.place, candidates["source_id"]).filter(pl.col("decision") == "target")
    told = pl.col("source_id").is_in(kept["source_id"].implode())
    there = candidates.join(before, on="key", how="semi")
    return there.filter(~pl.col("key").is_in(as_we_wrote.implode()) | told).sort("place")


def _judged(session: Session, bench: Bench, mapped: Mapped, edited: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """A row per field that the target's edit touches: ``CONFLICT_COLUMNS`` and who decided. Fields that only the
    source changed have none, nor has one that the mapping did not have when we last wrote: they are written."""
    ours = mapped.content_of(edited).select(edited["key"], *bench.other_fields)
    theirs = typed(bench, before.join(edited, on="key", how="semi"))
    base = last_wrote(session, bench, edited)
    differing = compare(ours, theirs, fields=bench.other_fields, rules=bench.rules).mismatches.select(
        *ON_FIELD, ours="expected", theirs="actual"
    )
    yes, untold = pl.lit(value=True), ~pl.col("key").is_in(base.keys.implode())
    told = (
        differing.join(base.differing(ours, bench.rules).with_columns(moved=yes), on=ON_FIELD, how="left")
        .join(base.differing(theirs, bench.rules).with_columns(edit=yes), on=ON_FIELD, how="left")
        .join(base.retyped.with_columns(retyped=yes), on=ON_FIELD, how="left")
        .join(base.texts(), on=ON_FIELD, how="left")
        .with_columns(pl.col("moved", "edit", "retyped").fill_null(value=False))
        .with_columns(base_known=~(untold | pl.col("retyped")))
        .with_columns(moved=pl.col("moved") | ~pl.col("base_known"), edit=pl.col("edit") | ~pl.col("base_known"))
        .filter("edit")
        .join(edited.select("key", "source_id", "part"), on="key")
    )
    return _decided(bench, told)


# --- Who decides ----------------------------------------------------------------------------------------------
def _decided(bench: Bench, told: pl.DataFrame) -> pl.DataFrame:
    """By the side that alone changed it, a person's decision about these very values, or the policy."""
    chosen = ProjectObject.objects.get(pk=bench.place.object_id)
    policies: Mapping[str, str] = chosen.field_policies
    persons = ledger.conflicts_of(bench.place, told["source_id"]).filter(pl.col("decided_at").is_not_null())
    by_person = told.join(
        persons.select("source_id", "part", "field", "ours", "theirs", "decision", "decided_by_id", "decided_at"),
        on=["source_id", "part", "field", "ours", "theirs"],
        how="left",
        nulls_equal=True,
    )
    policy = pl.col("field").replace_strict(policies, default=str(chosen.on_conflict), return_dtype=pl.String)
    said = pl.when(policy == OnConflict.ASK).then(pl.lit("")).otherwise(policy)
    decision = pl.when(~pl.col("moved")).then(pl.lit("target")).otherwise(pl.coalesce("decision", said))
    state = pl.when(decision == "").then(pl.lit(str(ConflictState.OPEN))).otherwise(pl.lit(str(ConflictState.APPLIED)))
    return by_person.with_columns(decision=decision, state=state).select(NO_CONFLICTS.columns)


def _open(conflicts: pl.DataFrame) -> pl.Series:
    return conflicts["state"] == ConflictState.OPEN


def _settled(conflicts: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Of records that are held back, the questions, and the answers a person has given; of others, what is kept."""
    waits = pl.col("source_id").is_in(held["source_id"].implode())
    answered = pl.when(waits & (pl.col("state") == ConflictState.APPLIED))
    state = answered.then(pl.lit(str(ConflictState.DECIDED))).otherwise("state").alias("state")
    mine = waits & ((pl.col("state") == ConflictState.OPEN) | pl.col("decided_at").is_not_null())
    kept = ~waits & ((pl.col("decision") == "target") | pl.col("decided_at").is_not_null())
    return conflicts.filter(mine | kept).with_columns(state)


def _held_back(held: pl.DataFrame, conflicts: pl.DataFrame) -> pl.DataFrame:
    asked = conflicts.filter(_open(conflicts)).group_by("source_id").agg(pl.col("field").sort())
    names = asked.select("source_id", names=pl.col("field").list.head(5).list.join(", "))
    nothing = pl.lit(None, pl.String)
    return (
        held.join(names, on="source_id")
        .select(
            "source_id",
            "part",
            pl.lit(str(RecordState.CONFLICT)).alias("state"),
            target_id=nothing,
            key=nothing,
            hash=nothing,
            code=pl.lit("edited"),
            reason=pl.format(EDITED, "names"),
            count=pl.lit("conflicts"),
        )
        .select(*OUTCOME_COLUMNS, "count")
    )
