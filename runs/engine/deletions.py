"""Deletions: find the records that are gone from the source, and do in the target what the object's policy says.

A platform with a feed of deletions is asked for it; of any other all ids are read and compared with the tracked
records (a key sweep). What would be deleted is staged in chunks like any record, is looked at and kept as a
before-image first, and is given back by a rollback. A record that somebody edited in the target is spared.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import polars as pl
from django.db import transaction
from django.db.models import Q

from connectors.errors import FatalError
from connectors.types import Cursor, Deletion, Outcome
from projects.definitions import schema_from_json
from projects.models import OnConflict, OnDelete, ProjectObject
from runs import ledger, payload
from runs.choices import ConflictState, RecordState, StepTask
from runs.crash_points import CrashPoint, reached
from runs.engine.images import fingerprints
from runs.engine.matching import read_back
from runs.engine.session import Bench, Session
from runs.engine.transform import transform
from runs.engine.wrote import unedited
from runs.leases import Lease
from runs.ledger import CONFLICT_COLUMNS, FINDING_COLUMNS, GONE_FROM, UNDONE_COLUMNS, Counts, Verdict
from runs.models import Chunk, Conflict, Step, TrackedRecord

CHUNK_RECORDS = 2_000
SWEEPS = 2
FEED_REACH = timedelta(days=13)
"""How far back a feed is trusted: platforms empty their recycle bins after 15 days, and we ask a day too early."""
DELETED_AT = "deleted at"
"""The payload's second column: when the platform says the record was deleted, as text; null where it does not."""
NO_FINDINGS = pl.DataFrame(schema=dict.fromkeys(FINDING_COLUMNS, pl.String))

GONE = "The record is gone from the source; the target keeps it."
GONE_BEFORE = "The record went from the source before it got to the target."
DELETED = "The record is gone from the source and was deleted in the target, too."
ABSENT = "The record is gone from the source, and the target had it no more."
EDITED = "The record is gone from the source, but somebody edited it in the target since we wrote it; it is kept."
KEPT = "The record is gone from the source; it was edited in the target and is kept there."


class TooManyDeletions(FatalError):
    """A delta would delete more than the project lets it: a person must look first."""


# --- Finding them ---------------------------------------------------------------------------------------------
def gather(session: Session, lease: Lease, step: Step, *, stop: Callable[[], bool]) -> bool:
    """Stage the ids that are gone; true where all of them are. Raises TooManyDeletions, connector errors, LeaseLost."""
    bench = session.bench(step.pk)
    feed = session.source.capabilities.deletes and step.since is not None
    if not feed and not _sweep(session, lease, step, stop):
        return False
    step.refresh_from_db()
    return _stage_fed(session, lease, step, bench, stop) if feed else _stage_unswept(session, lease, step, bench, stop)


def _sweep(session: Session, lease: Lease, step: Step, stop: Callable[[], bool]) -> bool:
    """Read all ids of the source; true once they are read.

    Where a record was not met they are read a second time: pages of a platform shift while people work in it,
    and one that was passed over is not gone.
    """
    bench = session.bench(step.pk)
    identity, entity = bench.mapping.identity, bench.mapping.source_entity
    number, after = _reached(step)
    while number <= SWEEPS:
        for page in session.source.read(entity, [identity], cursor=after):
            number, after = (number, page.cursor) if page.cursor is not None else (number + 1, None)
            ledger.keep_keys(lease, page.frame[identity], {"sweep": number, "page": after})
            if stop():
                return False
            if after is None:
                break
        if not ledger.unswept_count(bench.place, _settled(bench))[0]:
            break
    if step.cursor is None or "staged" not in step.cursor:
        ledger.move_cursor(lease, {"staged": ""})
    return True


def _reached(step: Step) -> tuple[int, Cursor | None]:
    """Which sweep is under way, and the cursor within it; beyond the last one where they have ended."""
    if step.cursor is None:
        return 1, None
    return (SWEEPS + 1, None) if "staged" in step.cursor else (step.cursor["sweep"], step.cursor["page"])


def _stage_unswept(session: Session, lease: Lease, step: Step, bench: Bench, stop: Callable[[], bool]) -> bool:
    settled = _settled(bench)
    after = str((step.cursor or {})["staged"])
    if not after:
        _, landed = ledger.unswept_count(bench.place, settled)
        _check_share(session, step, bench, landed)
    while True:
        ids = ledger.unswept(bench.place, settled, after=after, limit=CHUNK_RECORDS)
        if not len(ids):
            break
        after = ids[-1]
        ledger.stage(lease, _frame(bench, ids, None), {"staged": after})
        if stop():
            return False
    ledger.stage(lease, _frame(bench, pl.Series([], dtype=pl.String), None), None)
    ledger.forget_keys(step.pk)
    return True


def _stage_fed(session: Session, lease: Lease, step: Step, bench: Bench, stop: Callable[[], bool]) -> bool:
    """The feed is short and not paged: after an interruption it is read anew, and goes on after the last chunk."""
    told = list(session.source.deleted(bench.mapping.source_entity, since=step.since)) if step.since else []
    times = {each.source_id: each for each in told} | {name: Deletion(name) for name in _decided(bench)}
    gone = ledger.tracked_among(bench.place, pl.Series(list(times), dtype=pl.String), _settled(bench))
    after = str((step.cursor or {}).get("staged", ""))
    if not after:
        _check_share(session, step, bench, gone["target_id"].drop_nulls().len())
    left = gone.filter(pl.col("source_id") > after).sort("source_id")["source_id"]
    for start in range(0, len(left), CHUNK_RECORDS):
        ids = left[start : start + CHUNK_RECORDS]
        ledger.stage(lease, _frame(bench, ids, times), {"staged": ids[-1]})
        if stop():
            return False
    ledger.stage(lease, _frame(bench, pl.Series([], dtype=pl.String), None), None)
    return True


def _frame(bench: Bench, ids: pl.Series, times: dict[str, Deletion] | None) -> pl.DataFrame:
    at = [times[name].at if times else None for name in ids]
    told = [moment.isoformat() if moment else None for moment in at]
    return pl.DataFrame({bench.mapping.identity: ids, DELETED_AT: pl.Series(told, dtype=pl.String)})


def _settled(bench: Bench) -> tuple[str, ...]:
    """States of records that need no look: where the policy only marks them, those that are marked already."""
    return (*GONE_FROM, RecordState.GONE) if _object(bench).on_delete == OnDelete.FLAG else GONE_FROM


def _decided(bench: Bench) -> list[str]:
    """Records whose deletion a person has decided about since."""
    decided = Conflict.objects.filter(
        object=bench.place.object_id, part=bench.place.part, field="", state=ConflictState.DECIDED
    )
    return list(decided.values_list("source_id", flat=True))


def _object(bench: Bench) -> ProjectObject:
    chosen: ProjectObject = ProjectObject.objects.select_related("project").get(pk=bench.place.object_id)
    return chosen


def _check_share(session: Session, step: Step, bench: Bench, landed: int) -> None:
    """Raises TooManyDeletions where more of the target would go than the project lets go without a look."""
    chosen = _object(bench)
    if chosen.on_delete != OnDelete.MIRROR:
        return
    Step.objects.filter(pk=step.pk).update(expected=landed)
    share, least = chosen.project.delete_stop_percent, chosen.project.delete_stop_least
    there = ledger.landed_count(bench.place)
    if landed <= least or landed * 100 <= there * share or landed <= (step.deletes_allowed or 0):
        return
    raise TooManyDeletions(
        f"{landed:,} of the {there:,} records of {chosen.source_entity} in the target are gone from "
        f"{session.run.project.source}, which is more than the {share} % that a delta may delete in this project. "
        "Nothing was deleted. Look whether they are really gone, then allow it once and resume the run, or cancel it."
    )


# --- Following them -------------------------------------------------------------------------------------------
def follow(session: Session, lease: Lease) -> None:
    """Mark or delete the records of one staged chunk. Raises connector errors and LeaseLost."""
    chunk = Chunk.objects.get(pk=lease.id)
    bench = session.bench(chunk.step_id)
    staged = payload.unpack(chunk.payload, purpose=payload.PAYLOAD).rename({bench.mapping.identity: "source_id"})
    chosen = _object(bench)
    known = ledger.known(bench.place, staged["source_id"]).join(staged, on="source_id")
    known = known.join(_back_again(session, bench, chunk, known), on="source_id", how="anti")
    landed = known.filter(pl.col("target_id").is_not_null())
    nowhere = known.filter(pl.col("target_id").is_null())
    outcomes = [_told(nowhere, RecordState.GONE, "gone_from_source", GONE_BEFORE, count="skipped")]
    conflicts = pl.DataFrame(schema=dict.fromkeys(CONFLICT_COLUMNS, pl.String))
    if chosen.on_delete == OnDelete.MIRROR:
        before = _before(session, bench, lease, chunk, landed)
        mirrored, conflicts = _mirror(session, bench, chosen, landed, before)
        outcomes.append(mirrored)
    else:
        outcomes.append(_told(landed, RecordState.GONE, "gone_from_source", GONE, count="unchanged"))
    told = pl.concat(outcomes)
    counts = _counts(told, chunk.records)
    settled = told.filter(pl.col("state") != RecordState.CONFLICT)["source_id"]
    reached(CrashPoint.DELETIONS_SENT)
    with transaction.atomic():
        ledger.undone(lease, bench.place, told.select(UNDONE_COLUMNS), NO_FINDINGS, counts)
        ledger.put_conflicts(bench.place, chunk.pk, conflicts, settled)
    reached(CrashPoint.DELETIONS_RECORDED)


def delete_again(session: Session, lease: Lease) -> None:
    """Delete what other records still pointed at, now that those are gone; whenever something went, what is left is
    tried once more."""
    chunk = Chunk.objects.get(pk=lease.id)
    bench = session.bench(chunk.step_id)
    staged = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    known = ledger.known(bench.place, staged[bench.mapping.identity])
    waiting = known.filter((pl.col("state") == RecordState.CONFLICT) & (pl.col("touched_by") == chunk.pk))
    codes = _codes(bench, waiting["source_id"])
    waiting = waiting.filter(pl.col("source_id").is_in(codes.implode()))
    told = _delete(session, bench, waiting)
    earlier = {field.name: getattr(chunk, field.name) for field in fields(Counts)} | {"deferred": 0}
    added = _counts(told, told.height)
    total = Counts(**{name: count + getattr(added, name) for name, count in earlier.items()})
    reached(CrashPoint.DELETIONS_SENT_AGAIN)
    with transaction.atomic():
        ledger.undone(
            lease, bench.place, told.select(UNDONE_COLUMNS), NO_FINDINGS, total, relinked=waiting["source_id"]
        )
        if (told["state"] == RecordState.DELETED).any():
            ledger.relink_again(session.run.pk)


def prove(session: Session, lease: Lease) -> None:
    """Read back that what was deleted is gone. Raises connector errors and LeaseLost."""
    chunk = Chunk.objects.get(pk=lease.id)
    bench = session.bench(chunk.step_id)
    staged = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    known = ledger.known(bench.place, staged[bench.mapping.identity])
    deleted = known.filter((pl.col("state") == RecordState.DELETED) & (pl.col("touched_by") == chunk.pk))
    keys = deleted["key"].drop_nulls().to_list()
    still = deleted.join(_left(session, bench, chunk, keys), on="key", how="semi") if keys else deleted.clear()
    findings = still.select(
        "source_id",
        "part",
        pl.lit("").alias("field"),
        pl.lit(None, pl.String).alias("value"),
        pl.lit("still_there").alias("rule"),
        pl.lit("The record was deleted, but the target still has it.").alias("message"),
        pl.lit("error").alias("severity"),
    )
    reached(CrashPoint.DELETIONS_PROVEN)
    ledger.verified(lease, bench.place, Verdict(deleted.height, 0, 0, still.height), findings)


def _left(session: Session, bench: Bench, chunk: Chunk, keys: list[str]) -> pl.DataFrame:
    """What the target holds of the deleted records. Those without a key have left the id map: they are looked for by
    their own ids."""
    if not bench.keyless:
        return session.target.fetch(bench.entity, key=bench.mapping.key, keys=keys, fields=())
    was = payload.unpack(chunk.before or b"", purpose=payload.BEFORE).select("target_id", "key")
    return read_back(session, bench, was.filter(pl.col("key").is_in(keys)), ())


def _back_again(session: Session, bench: Bench, chunk: Chunk, known: pl.DataFrame) -> pl.DataFrame:
    """``source_id`` of records that came back: brought after this chunk was staged, or changed in the source after
    the deletion that its feed tells."""
    later = [known.filter(pl.col("touched_by") > chunk.pk).select("source_id")]
    updated = schema_from_json(Step.objects.get(pk=chunk.step_id).source_schema).entity.updated_field
    timed = known.filter(pl.col(DELETED_AT).is_not_null())
    if updated is not None:
        for (touched_by,), some in timed.partition_by("touched_by", as_dict=True, include_key=False).items():
            frame = _payload_of(session, int(touched_by))
            if updated in frame.columns and bench.mapping.identity in frame.columns:
                changed = frame.select(source_id=bench.mapping.identity, changed=_time(updated))
                both = some.join(changed, on="source_id")
                later.append(both.filter(pl.col("changed") > _time(DELETED_AT)).select("source_id"))
    return pl.concat(later).unique()


def _payload_of(session: Session, chunk_id: int) -> pl.DataFrame:
    chunk = Chunk.objects.get(pk=chunk_id, run__project=session.run.project_id)
    return payload.unpack(chunk.payload, purpose=payload.PAYLOAD)


def _time(column: str) -> pl.Expr:
    return pl.col(column).str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)


def _before(session: Session, bench: Bench, lease: Lease, chunk: Chunk, landed: pl.DataFrame) -> pl.DataFrame:
    """The target's rows as they were before this chunk first deleted; committed on the first call."""
    if chunk.before is not None:
        return payload.unpack(chunk.before, purpose=payload.BEFORE)
    keys = landed["key"].drop_nulls().to_list()
    before = session.target.fetch(bench.entity, key=bench.mapping.key, keys=keys, fields=bench.other_fields)
    ledger.intend(lease, before)
    reached(CrashPoint.DELETIONS_INTENDED)
    return before


def _mirror(
    session: Session, bench: Bench, chosen: ProjectObject, landed: pl.DataFrame, before: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The outcomes of records that are in the target, and the conflicts among them."""
    marked = landed.join(fingerprints(bench, before), on="key", how="left")
    absent = marked.filter(pl.col("held").is_null())
    asked = landed.select("source_id", "key", was="hash")
    ours = pl.col("key").is_in(unedited(session, bench, asked, before).implode())
    edited = marked.filter(pl.col("held").is_not_null() & ~ours)
    if chosen.on_conflict == OnConflict.SOURCE:
        edited = edited.clear()
    decided = ledger.conflicts_of(bench.place, edited["source_id"]).filter(
        (pl.col("field") == "") & (pl.col("state") != ConflictState.OPEN)
    )
    answers = decided.select("source_id", "decision", "decided_by_id", "decided_at", asked="theirs")
    decision = edited.join(answers, on="source_id", how="left")
    same = pl.col("asked").eq_missing(pl.col("held"))
    kept = decision.filter((pl.col("decision") == "target") & same)
    spared = decision if chosen.on_conflict == OnConflict.TARGET else kept
    asked = decision.filter(~((pl.col("decision") != "") & same).fill_null(value=False))
    asked = asked.join(spared, on="source_id", how="anti")
    going = marked.join(
        pl.concat([absent, *(part.select(absent.columns) for part in (spared, asked))]), on="source_id", how="anti"
    )
    told = pl.concat(
        [
            _told(absent, RecordState.GONE, "gone_from_source", ABSENT, count="unchanged", gone=True),
            _told(spared, RecordState.GONE, "gone_from_source", KEPT, count="unchanged"),
            _told(asked, RecordState.CONFLICT, "edited", EDITED, count="conflicts"),
            _delete(session, bench, going, before=before),
        ]
    )
    return told, pl.concat([_about(asked, ConflictState.OPEN, ""), _about(kept, ConflictState.APPLIED, "target")])


def _about(asked: pl.DataFrame, state: ConflictState, decision: str) -> pl.DataFrame:
    """A conflict about the record as a whole: its target row is named by its hash. One that was decided stays known,
    or the next delta would ask again."""
    nothing = pl.lit(None, pl.String)
    return asked.select(
        "source_id",
        "part",
        pl.lit("").alias("field"),
        pl.col("hash").alias("base"),
        pl.lit(value=True).alias("base_known"),
        nothing.alias("ours"),
        pl.col("held").alias("theirs"),
        pl.lit(str(state)).alias("state"),
        pl.lit(decision).alias("decision"),
        "decided_by_id" if decision else pl.lit(None, pl.Int64).alias("decided_by_id"),
        "decided_at" if decision else pl.lit(None, pl.Datetime("us", "UTC")).alias("decided_at"),
    )


def _delete(
    session: Session, bench: Bench, records: pl.DataFrame, *, before: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Delete, after letting go of references among records of this object: parents may go before children.

    What the target refuses waits until everything else is gone; in the end it is counted as a conflict (``finish``).
    """
    if not records.height:
        return _told(records, RecordState.DELETED, "deleted_with_source", DELETED, count="deleted", gone=True)
    if before is not None:
        _cut_links(session, bench, records, before)
    answers = session.target.delete(bench.entity, records["target_id"].to_list()).frame
    reached(CrashPoint.DELETIONS_ANSWERED)
    told = records.join(answers.select("key", "outcome", "message"), left_on="target_id", right_on="key", how="left")
    kept = told.filter(pl.col("outcome").is_null() | (pl.col("outcome") == Outcome.REJECTED))
    done = told.join(kept, on="source_id", how="anti")
    return pl.concat(
        [
            _told(done, RecordState.DELETED, "deleted_with_source", DELETED, count="deleted", gone=True),
            _told(
                kept,
                RecordState.CONFLICT,
                "not_deleted",
                pl.col("message").fill_null("The target gave no answer to the deletion."),
                count="deferred",
            ),
        ]
    )


def _cut_links(session: Session, bench: Bench, records: pl.DataFrame, before: pl.DataFrame) -> None:
    links = [
        use.field
        for use in bench.compiled.references
        if not use.required and bench.mapping.source_entity in use.entities
    ]
    linked = before.join(records, on="key", how="semi").filter(
        pl.any_horizontal([pl.lit(value=False), *(pl.col(name).is_not_null() for name in links)])
    )
    if linked.height:
        key = bench.mapping.key
        cut = linked.select(pl.col("key").alias(key), *(pl.lit(None, pl.String).alias(name) for name in links))
        session.target.write(bench.entity, cut, key=key)
        reached(CrashPoint.DELETIONS_CUT)


def _codes(bench: Bench, source_ids: pl.Series) -> pl.Series:
    """Those of the records that wait because something still points at them."""
    waiting = TrackedRecord.objects.filter(
        project=bench.place.project_id,
        object=bench.place.object_id,
        part=bench.place.part,
        source_id__in=source_ids.to_list(),
        code="not_deleted",
    )
    return pl.Series(list(waiting.values_list("source_id", flat=True)), dtype=pl.String)


def _told(
    records: pl.DataFrame, state: RecordState, code: str, reason: str | pl.Expr, *, count: str, gone: bool = False
) -> pl.DataFrame:
    said = pl.lit(reason) if isinstance(reason, str) else reason
    return records.select(
        "source_id",
        "part",
        pl.lit(str(state)).alias("state"),
        pl.lit(code).alias("code"),
        said.cast(pl.String).alias("reason"),
        pl.lit(gone).alias("gone"),
        pl.lit(None, pl.String).alias("target_id"),
        pl.lit(None, pl.String).alias("hash"),
        pl.lit([], pl.List(pl.Int64)).alias("earlier"),
        pl.lit(value=False).alias("again"),
        pl.lit(count).alias("count"),
    )


def _counts(outcomes: pl.DataFrame, records: int) -> Counts:
    """What is not told of came back to the source and is unchanged."""
    tally = dict(outcomes["count"].value_counts(name="records").iter_rows())
    tally["unchanged"] = tally.get("unchanged", 0) + records - outcomes.height
    return Counts(**{field.name: tally.get(field.name, 0) for field in fields(Counts)})


# --- Giving them back -----------------------------------------------------------------------------------------
def with_new_references(session: Session, bench: Bench, deleted: pl.DataFrame, images: pl.DataFrame) -> pl.DataFrame:
    """Before-images of records that are to be created again, with references as the mapping gives them now, and
    ``lacks``: whether a parent is not there (again) yet.

    A parent that was deleted too has another id once it is created again. ``deleted`` has ``source_id``, ``key``
    and ``left_by``, the chunk that has the source record; references of records without one stay as they were.
    """
    names = [use.field for use in bench.compiled.references]
    plain = images.with_columns(lacks=pl.lit(value=False))
    if not names:
        return plain
    fresh = [pl.DataFrame(schema={"key": pl.String, **dict.fromkeys(names, pl.String)})]
    for (chunk_id,), some in (
        deleted.filter(pl.col("left_by").is_not_null()).partition_by("left_by", as_dict=True).items()
    ):
        frame = _payload_of(session, int(chunk_id))
        if set(bench.compiled.source_fields) <= set(frame.columns):
            mapped = transform(bench, frame.filter(pl.col(bench.mapping.identity).is_in(some["source_id"].implode())))
            fresh.append(
                mapped.content.select(mapped.records["key"], *(pl.col(name).cast(pl.String) for name in names))
            )
            fresh.append(mapped.waiting.select("key", *(pl.lit(None, pl.String).alias(name) for name in names)))
    now = pl.concat(fresh).unique("key", keep="last").rename({name: f"{name}·now" for name in names})
    both = plain.join(now.with_columns(told=pl.lit(value=True)), on="key", how="left", maintain_order="left")
    told = pl.col("told").is_not_null()
    lacks = pl.any_horizontal(told & pl.col(name).is_not_null() & pl.col(f"{name}·now").is_null() for name in names)
    return both.with_columns(
        lacks=lacks,
        **{
            name: pl.when(told).then(pl.col(f"{name}·now").cast(images.schema[name])).otherwise(pl.col(name))
            for name in names
        },
    ).select(*images.columns, "lacks")


def with_successors(session: Session, bench: Bench, records: pl.DataFrame, images: pl.DataFrame) -> pl.DataFrame:
    """Before-images of records that are still there, with ``lacks`` as above: a reference that names a record which
    was deleted by what is taken back names the one created in its place. All others stay as they were.
    """
    plain = images.with_columns(lacks=pl.lit(value=False))
    lost = {use.field: _lost(bench, use.entities, images[use.field]) for use in bench.compiled.references}
    some = images.filter(pl.any_horizontal(pl.lit(value=False), *lost.values()))
    if not some.height:
        return plain
    renewed = with_new_references(session, bench, records.join(some, on="key", how="semi"), some)
    succeeded = _succeeded(session, bench, records.join(some, on="key", how="semi"))
    told = plain.join(renewed.select("key", pl.exclude("key", "lacks").name.suffix("·now")), on="key", how="left")
    told = told.join(succeeded, on="key", how="left", maintain_order="left")
    ours = {name: mask & told[f"{name}·ours"].fill_null(value=False) for name, mask in lost.items()}
    return told.with_columns(
        lacks=pl.any_horizontal(mask & told[f"{name}·now"].is_null() for name, mask in ours.items()),
        **{name: pl.when(mask).then(f"{name}·now").otherwise(name) for name, mask in ours.items()},
    ).select(*images.columns, "lacks")


def _lost(bench: Bench, entities: Sequence[str], named: pl.Series) -> pl.Series:
    """Which of these ids of the target no record of ours has."""
    ids = named.cast(pl.String)
    objects = sorted({pk for entity in entities for pk in bench.parents.get(entity, ())})
    there = ledger.owners(bench.place.project_id, objects, ids.drop_nulls().unique())["target_id"]
    return ids.is_not_null() & ~ids.is_in(there.implode()).fill_null(value=False)


def _succeeded(session: Session, bench: Bench, records: pl.DataFrame) -> pl.DataFrame:
    """``key`` and per reference ``·ours``: whether the parent that the source names was deleted by what this rollback
    takes back, and is (to be) created again."""
    names = [use.field for use in bench.compiled.references]
    found = [pl.DataFrame(schema={"key": pl.String, **{f"{name}·ours": pl.Boolean for name in names}})]
    mine = records.filter(pl.col("left_by").is_not_null())
    for (chunk_id,), some in mine.partition_by("left_by", as_dict=True).items():
        frame = _payload_of(session, int(chunk_id))
        if not set(bench.compiled.source_fields) <= set(frame.columns):
            continue
        parents = bench.compiled.parent_ids(frame).join(some.select("source_id", "key"), on="source_id")
        found.append(
            parents.select(
                "key",
                *(
                    pl.col(use.field)
                    .is_in(_given_back(session, bench, use.entities, parents[use.field]).implode())
                    .alias(f"{use.field}·ours")
                    for use in bench.compiled.references
                ),
            )
        )
    return pl.concat(found).unique("key", keep="last")


def _given_back(session: Session, bench: Bench, entities: Sequence[str], source_ids: pl.Series) -> pl.Series:
    """Those of the records that are deleted, or were created again by this rollback."""
    objects = sorted({pk for entity in entities for pk in bench.parents.get(entity, ())})
    standing = TrackedRecord.objects.filter(
        Q(state=RecordState.DELETED) | Q(run=session.run),
        project=bench.place.project_id,
        object__in=objects,
        source_id__in=source_ids.drop_nulls().unique().to_list(),
    )
    return pl.Series(list(standing.values_list("source_id", flat=True)), dtype=pl.String)


# --- The plan -------------------------------------------------------------------------------------------------
def steps_after(session: Session, brought: Sequence[Step]) -> list[Step]:
    """A step for each object whose deletions are followed: after all that is brought, children before parents."""
    watched = set(session.run.project.project_objects.exclude(on_delete=OnDelete.IGNORE).values_list("pk", flat=True))
    last = max((step.wave for step in brought), default=0)
    followed = [step for step in reversed(brought) if step.object_id in watched]
    return [
        Step(
            run=session.run,
            object_id=step.object_id,
            task=StepTask.DELETE,
            position=len(brought) + place,
            wave=2 * last + 1 - step.wave,
            mapping=step.mapping,
            source_schema=step.source_schema,
            target_schema=step.target_schema,
            since=_fed_since(session, step),
        )
        for place, step in enumerate(followed)
    ]


def _fed_since(session: Session, step: Step) -> datetime | None:
    """None where all ids are to be read instead: no feed, or one that may not reach back so far."""
    if not session.source.capabilities.deletes:
        return None
    since = ledger.deletions_since(step.object_id)
    return since if since and since > datetime.now(UTC) - FEED_REACH else None
