"""Conflicts: what to write where a record changed in the source and was edited in the target since we wrote it.

Three values of every field are compared: what the mapping made of the record when we last wrote it (the base),
what it makes of it now (ours) and what the target holds (theirs). Only the source changed it: it is written. Only
the target: the edit is kept. Both, to different values: the object's policy for the field decides, or a person.
A record with an open question is held back as a whole, since half of a change may mean nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import polars as pl

from projects.mapping.equality import canonical
from projects.mapping.row_hash import row_hash
from projects.models import OnConflict, ProjectObject
from runs import ledger, payload
from runs.choices import ConflictState, RecordState
from runs.engine.comparison import compare
from runs.engine.images import fingerprints, typed
from runs.engine.session import Bench, Session
from runs.engine.transform import Mapped, transform
from runs.ledger import CONFLICT_COLUMNS, FINDING_COLUMNS, OUTCOME_COLUMNS
from runs.models import Chunk, ContentsDropped

EDITED = "Changed in the source and edited in the target since we wrote it: {}. Decide which value holds."
NO_CONFLICTS = pl.DataFrame(
    schema={
        **dict.fromkeys(CONFLICT_COLUMNS, pl.String),
        "base_known": pl.Boolean,
        "decided_by_id": pl.Int64,
        "decided_at": pl.Datetime("us", "UTC"),
    }
)
ON_FIELD = ["key", "field"]


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
    edited = _edited(bench, fresh, earlier, before)
    conflicts, keep, held = NO_CONFLICTS, pl.DataFrame(schema=dict.fromkeys(ON_FIELD, pl.String)), edited.clear()
    if edited.height:
        conflicts = _judged(session, bench, mapped, edited, before)
        open_ids = conflicts.filter(_open(conflicts))["source_id"].unique()
        held = edited.filter(pl.col("source_id").is_in(open_ids.implode()))
        conflicts = _settled(conflicts, held)
        applied = conflicts.filter((pl.col("state") == ConflictState.APPLIED) & (pl.col("decision") == "target"))
        keep = applied.join(edited.select("source_id", "key"), on="source_id").select(ON_FIELD)
    free = fresh.join(held, on="key", how="anti", maintain_order="left")
    merged = _overlaid(bench, mapped, keep, before)
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


def as_written(bench: Bench, chunk: Chunk, mapped: Mapped) -> Mapped:
    """What the chunk wrote: what the mapping makes of its records, but for the edits that it left in the target."""
    kept = ledger.kept_fields([chunk.pk])
    if not kept.height or chunk.before is None:
        return mapped
    keep = kept.join(mapped.records.select("source_id", "part", "key"), on=["source_id", "part"]).select(ON_FIELD)
    return _overlaid(bench, mapped, keep, payload.unpack(chunk.before, purpose=payload.BEFORE))


def without_kept(bench: Bench, known: pl.DataFrame) -> pl.DataFrame:
    """The records without those in which an edit was kept: what they hold is not what the source says, and so it
    tells nothing about whether the source has changed."""
    kept = ledger.conflicts_of(bench.place, known["source_id"]).filter(pl.col("decision") == "target")
    return known.join(kept, on="source_id", how="anti", maintain_order="left") if kept.height else known


def _overlaid(bench: Bench, mapped: Mapped, keep: pl.DataFrame, before: pl.DataFrame) -> Mapped:
    """The content with the fields of ``keep`` as the target held them, and the hashes of that."""
    if not keep.height:
        return mapped
    held = typed(bench, before.join(keep, on="key", how="semi"))
    rows = mapped.records.select("key").hstack(mapped.content)
    for (field,), some in keep.partition_by("field", as_dict=True).items():
        name = str(field)
        values = held.join(some, on="key", how="semi").select(
            "key", pl.col(name).alias("·held"), pl.lit(1).alias("·is")
        )
        rows = rows.join(values, on="key", how="left", maintain_order="left").with_columns(
            pl.when(pl.col("·is").is_not_null()).then("·held").otherwise(name).alias(name)
        )
        rows = rows.drop("·held", "·is")
    content = rows.select(mapped.content.columns)
    hashes = row_hash(canonical(content, bench.rules)).alias("hash")
    return replace(mapped, content=content, records=mapped.records.with_columns(hashes))


# --- The three values -----------------------------------------------------------------------------------------
def _edited(bench: Bench, fresh: pl.DataFrame, earlier: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """The records whose target row is not what we last wrote, or held an edit already then, in their order; ``was``
    is the hash of what we wrote."""
    ours = earlier.filter(pl.col("hash").is_not_null() & pl.col("target_id").is_not_null())
    candidates = fresh.join(ours.select("source_id", was="hash"), on="source_id")
    if not candidates.height:
        return candidates
    held = fingerprints(bench, before.join(candidates, on="key", how="semi"))
    kept = ledger.conflicts_of(bench.place, candidates["source_id"]).filter(pl.col("decision") == "target")
    told = pl.col("source_id").is_in(kept["source_id"].implode())
    both = candidates.join(held, on="key").filter((pl.col("held") != pl.col("was")) | told)
    return both.drop("held").sort("place")


def _judged(session: Session, bench: Bench, mapped: Mapped, edited: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """A row per field that the target's edit touches: ``CONFLICT_COLUMNS`` and who decided. Fields that only the
    source changed have none: they are written."""
    fields = bench.other_fields
    ours = mapped.content_of(edited).select(edited["key"], *fields)
    theirs = typed(bench, before.join(edited, on="key", how="semi"))
    base = _base(session, bench, edited)
    differing = compare(ours, theirs, fields=fields, rules=bench.rules).mismatches.select(
        *ON_FIELD, ours="expected", theirs="actual"
    )
    proven = pl.col("key").is_in(base["key"].implode())
    moved = compare(base, ours, fields=fields, rules=bench.rules).mismatches.select(ON_FIELD)
    edits = compare(base, theirs, fields=fields, rules=bench.rules).mismatches.select(ON_FIELD)
    told = (
        differing.join(moved.with_columns(moved=pl.lit(value=True)), on=ON_FIELD, how="left")
        .join(edits.with_columns(edit=pl.lit(value=True)), on=ON_FIELD, how="left")
        .join(_texts(base, fields), on=ON_FIELD, how="left")
        .with_columns(
            moved=pl.col("moved").fill_null(value=False) | ~proven,
            edit=pl.col("edit").fill_null(value=False) | ~proven,
            base_known=proven,
        )
        .filter("edit")
        .join(edited.select("key", "source_id", "part"), on="key")
    )
    return _decided(bench, told)


def _texts(base: pl.DataFrame, fields: tuple[str, ...]) -> pl.DataFrame:
    spelled = base.select("key", *(pl.col(name).cast(pl.String) for name in fields))
    return spelled.unpivot(index="key", variable_name="field", value_name="base")


def _base(session: Session, bench: Bench, edited: pl.DataFrame) -> pl.DataFrame:
    """What the mapping made of these records when we last wrote them; only where it is proven.

    It is made again from the source records of earlier chunks, the newest first, by the mapping of their run; the
    hash of what we wrote tells whether that is it. Where none is (a value map was changed, contents are not kept
    any more) the record is absent: each field that differs then counts as changed on both sides.
    """
    fields = bench.other_fields
    schema = pl.Schema({"key": pl.String(), **{name: bench.content_schema[name] for name in fields}})
    found, left = [pl.DataFrame(schema=schema)], edited
    touches = ledger.touches(bench.place, edited["source_id"])
    for (chunk_id,), some in (
        touches.sort("chunk", descending=True).partition_by("chunk", as_dict=True, maintain_order=True).items()
    ):
        asked = left.join(some, on="source_id", how="semi")
        proven = _base_of(session, bench, int(chunk_id), asked) if asked.height else None
        if proven is not None and proven.height:
            found.append(proven.select(schema.names()))
            left = left.join(proven, on="key", how="anti")
        if not left.height:
            break
    return pl.concat(found)


def _base_of(session: Session, bench: Bench, chunk_id: int, asked: pl.DataFrame) -> pl.DataFrame | None:
    chunk = Chunk.objects.get(pk=chunk_id)
    then = session.bench(chunk.step_id)
    try:
        frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    except ContentsDropped:
        return None
    if not set(then.compiled.source_fields) <= set(frame.columns) or then.content_schema != bench.content_schema:
        return None
    mine = frame.filter(pl.col(then.mapping.identity).is_in(asked["source_id"].implode()))
    mapped = transform(then, mine.unique(then.mapping.identity, keep="last", maintain_order=True))
    wrote = as_written(then, chunk, mapped)
    proven = wrote.records.join(asked.select("source_id", "was"), on="source_id").filter(
        pl.col("hash") == pl.col("was")
    )
    return mapped.content_of(proven).select(proven["key"], *bench.other_fields)


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
