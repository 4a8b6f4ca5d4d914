"""The only writer of chunks, tracked records and findings: every write is bulk, fenced and in one transaction.

Frames here are what the engine's steps hand over:

- *outcomes*: ``source_id, part, state, target_id, key, hash, code, reason`` (all String; ``hash`` is 32
  hex digits or null), one row per record;
- *findings*: ``source_id, part, field, value, rule, message, severity`` (all String).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any

import polars as pl
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg import sql
from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from connectors.clients.postgresql import array_text, copy_frame
from runs import leases, partitions, payload
from runs.choices import DUE, RecordState
from runs.crash_points import CrashPoint, reached
from runs.leases import Lease
from runs.models import ChunkProof, Finding

OUTCOME_COLUMNS = ("source_id", "part", "state", "target_id", "key", "hash", "code", "reason")
UNDONE_COLUMNS = ("source_id", "part", "state", "code", "reason", "gone", "target_id", "hash", "earlier", "again")
FINDING_COLUMNS = ("source_id", "part", "field", "value", "rule", "message", "severity")
KNOWN_SCHEMA = {
    **dict.fromkeys(("source_id", "part", "target_id", "key", "hash", "state"), pl.String),
    "touched_by": pl.Int64,
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk's records belong."""

    project_id: int
    object_id: int
    run_id: int
    step_id: int
    part: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a retry or a rollback is limited to; blank means all. ``objects`` are ids of project objects."""

    objects: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()
    source_ids: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    reread: bool = False
    """Ask the source for a retry's records again instead of taking them as they were staged."""

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Scope":
        values: dict[str, Any] = {
            name: value if isinstance(value, bool) else tuple(value) for name, value in stored.items()
        }
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a chunk's records; they add up to the chunk's ``records``.

    ``deleted`` and ``conflicts`` occur in rollbacks, where ``updated`` means restored.
    """

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deferred: int = 0
    rejected: int = 0
    skipped: int = 0
    deleted: int = 0
    conflicts: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What reconciliation found in one chunk."""

    records: int
    fields: int
    missing: int
    mismatches: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What reading a chunk back proved, as ``ChunkProof`` keeps it; ``children`` as in ``runs.engine.family``."""

    equal: Mapping[str, Mapping[str, int]]
    sums: Mapping[str, Sequence[str]]
    written: str
    read_back: str
    children: pl.DataFrame | None


def watermark(object_id: int) -> datetime | None:
    """As ``watermarks``, of one object."""
    return watermarks([object_id]).get(object_id)


def watermarks(object_ids: Sequence[int]) -> dict[int, datetime]:
    """Object id → the latest change of the source that runs have read and brought; absent where none did in full.

    A step counts once all it read was brought: what was staged and never loaded must be read again. Records
    that were refused do not hold it back; they stay due by themselves. Nor does a run count that was taken back
    since, or a later one that built on it: what was taken back must be read again. Nor one from before the choice
    of records was changed: what is chosen newly may be old.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT s.object_id, max(s.watermark) FROM runs_step s JOIN runs_run r ON r.id = s.run_id
                 JOIN projects_projectobject o ON o.id = s.object_id
                  AND r.id > coalesce((o.selection->>'after_run')::bigint, 0)
                WHERE s.object_id = ANY(%s) AND s.watermark IS NOT NULL AND s.extracted_at IS NOT NULL
                  AND r.kind IN ('load', 'delta') AND s.task = 'bring'
                  AND NOT EXISTS (SELECT 1 FROM runs_run b JOIN runs_run u ON u.id = b.undoes_id
                                   WHERE b.project_id = r.project_id AND b.id > r.id AND b.planned_at IS NOT NULL
                                     AND (u.id <= r.id OR u.kind = 'retry'))
                  AND NOT EXISTS (SELECT 1 FROM runs_chunk c
                                   WHERE c.step_id = s.id AND c.state IN ('staged', 'loading', 'failed'))
                GROUP BY s.object_id""",
            [list(object_ids)],
        )
        return dict(cursor.fetchall())


def ensure_partition(project_id: int) -> None:
    """Give the project partitions of its own, so that erasing it is a DROP."""
    partitions.ensure_project(project_id)


def drop_partition(project_id: int) -> None:
    """Forget every tracked record and the contents of all chunks of the project. Raises PartitionBusy."""
    partitions.drop_project(project_id)


def months(project_id: int) -> list[tuple[date, datetime]]:
    """The months whose runs' contents are kept, oldest first, each with when the last of those runs ended.

    A month with a run that has not ended is not among them.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.month, max(r.finished_at) FROM runs_chunk c JOIN runs_run r ON r.id = c.run_id
                WHERE r.project_id = %s AND c.month IS NOT NULL
                GROUP BY c.month HAVING bool_and(r.finished_at IS NOT NULL) ORDER BY c.month""",
            [project_id],
        )
        return [(month, ended) for month, ended in cursor.fetchall()]


def drop_contents(project_id: int, month: date) -> int:
    """Forget what the chunks of the project's runs of that month carry, before-images included, by dropping their
    partition; returns how many chunks that were. What became of the records stays. Raises PartitionBusy."""
    with transaction.atomic(), connection.cursor() as cursor:
        partitions.drop_month(project_id, month)
        cursor.execute(
            """UPDATE runs_chunk SET month = NULL
                WHERE run_id IN (SELECT id FROM runs_run WHERE project_id = %s) AND month = %s""",
            [project_id, month],
        )
        return int(cursor.rowcount)


def forget_contents(project_id: int, run_ids: Sequence[int], *, most: int) -> int:
    """Forget what chunks of these runs carry, before-images included, of at most so many; returns of how many.

    What became of the records stays.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """WITH past AS MATERIALIZED (
                   SELECT id, month FROM runs_chunk WHERE run_id = ANY(%s) AND month IS NOT NULL
                    ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED),
               gone AS (
                   DELETE FROM runs_chunkcontent k USING past
                    WHERE k.project_id = %s AND k.month = past.month AND k.chunk_id = past.id)
               UPDATE runs_chunk c SET month = NULL FROM past WHERE c.id = past.id""",
            [list(run_ids), most, project_id],
        )
        return int(cursor.rowcount)


def stage(
    step: Lease, frame: pl.DataFrame, cursor_after: Mapping[str, Any] | None, *, watermark: datetime | None = None
) -> None:
    """Commit one page: its chunk, and where reading continues. A crash neither loses nor repeats it.

    An empty page only moves the cursor. ``cursor_after`` None ends the extraction. ``watermark`` is the latest
    change on the page, by the source's clock. Raises LeaseLost.
    """
    sealed = payload.pack(frame, purpose=payload.PAYLOAD) if frame.height else b""
    with transaction.atomic():
        leases.write(
            step,
            """cursor = %s, read = read + %s, started_at = coalesce(started_at, clock_timestamp()),
               extracted_at = CASE WHEN %s THEN clock_timestamp() END, watermark = greatest(watermark, %s)""",
            [Jsonb(cursor_after), frame.height, cursor_after is None, watermark],
        )
        reached(CrashPoint.STAGE_IN_TRANSACTION)
        if frame.height:
            _insert_chunk(step.id, frame.height, sealed)
    reached(CrashPoint.STAGED)


def stage_more(run: Lease, step_id: int, frames: Sequence[pl.DataFrame]) -> None:
    """Commit chunks of a step that has been read, under the lease on the run. Raises LeaseLost."""
    with transaction.atomic(), connection.cursor() as cursor:
        leases.renew(run)
        for frame in frames:
            _insert_chunk(step_id, frame.height, payload.pack(frame, purpose=payload.PAYLOAD))
        cursor.execute(
            "UPDATE runs_step SET read = read + %s WHERE id = %s", [sum(frame.height for frame in frames), step_id]
        )


def _insert_chunk(step_id: int, records: int, sealed: bytes) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO runs_chunk (run_id, step_id, project_id, month, sequence, records)
               SELECT s.run_id, s.id, r.project_id, date_trunc('month', r.created_at AT TIME ZONE 'UTC'),
                      (SELECT coalesce(max(c.sequence) + 1, 0) FROM runs_chunk c WHERE c.step_id = s.id), %s
                 FROM runs_step s JOIN runs_run r ON r.id = s.run_id WHERE s.id = %s
               RETURNING id, project_id, month""",
            [records, step_id],
        )
        chunk_id, project_id, month = cursor.fetchone()
        keep(chunk_id, project_id, month, sealed)


def keep(chunk_id: int, project_id: int, month: date, sealed: bytes) -> None:
    """Put a new chunk's source frame into its partition, in the caller's transaction."""
    partitions.ensure_month(project_id, month)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO runs_chunkcontent (chunk_id, project_id, month, payload) VALUES (%s, %s, %s, %s)",
            [chunk_id, project_id, month, sealed],
        )


def chunks_to_match(step_id: int, *, waiting: bool) -> list[int]:
    """The chunks of a step whose match keys are not registered; with ``waiting`` also those with records that were
    not written because they waited for a parent."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT id FROM runs_chunk
                WHERE step_id = %s AND (NOT match_registered OR %s AND deferred > 0 AND relinked_at IS NULL)
                ORDER BY id""",
            [step_id, waiting],
        )
        return [chunk_id for (chunk_id,) in cursor.fetchall()]


def register_match_keys(place: Place, chunk_id: int, records: pl.DataFrame) -> None:
    """Commit the match keys (``match``, 32 hex digits) of a chunk's records. The same for every worker that does it,
    so that it needs no lease."""
    rows = records.select("source_id", "part", pl.col("match").alias("hash"))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE IF NOT EXISTS ledger_match (source_id text, part text, hash uuid)")
        cursor.execute("TRUNCATE ledger_match")
        copy_frame(cursor.cursor, sql.Identifier("ledger_match"), rows)
        cursor.execute(
            """INSERT INTO runs_matchkey (project_id, object_id, step_id, source_id, part, hash)
               SELECT %s, %s, %s, source_id, part, hash FROM ledger_match ORDER BY source_id, part
               ON CONFLICT (project_id, object_id, source_id, part)
               DO UPDATE SET hash = excluded.hash, step_id = excluded.step_id""",
            [place.project_id, place.object_id, place.step_id],
        )
        cursor.execute("UPDATE runs_chunk SET match_registered = true WHERE id = %s", [chunk_id])


def match_twins(place: Place, matches: pl.Series, *, earlier: bool) -> pl.DataFrame:
    """``match`` (hex digits) and ``source_ids`` (list, sorted) of those that several source records have.

    They are compared with what this step has read and, with ``earlier``, with records of earlier runs that are due.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT replace(m.hash::text, '-', ''), array_agg(m.source_id ORDER BY m.source_id)
                 FROM runs_matchkey m
                WHERE m.project_id = %(project)s AND m.object_id = %(object)s AND m.hash = ANY(%(hashes)s::uuid[])
                  AND (m.step_id = %(step)s OR %(earlier)s AND EXISTS (
                        SELECT FROM runs_trackedrecord t
                         WHERE t.project_id = m.project_id AND t.object_id = m.object_id
                           AND t.source_id = m.source_id AND t.part = m.part AND t.state = ANY(%(due)s)))
                GROUP BY m.hash HAVING count(*) > 1""",
            {
                "project": place.project_id,
                "object": place.object_id,
                "step": place.step_id,
                "hashes": array_text(matches),
                "earlier": earlier,
                "due": list(DUE),
            },
        )
        schema = pl.Schema({"match": pl.String(), "source_ids": pl.List(pl.String)})
        return pl.DataFrame(cursor.fetchall(), schema=schema, orient="row")


def intend(chunk: Lease, before: pl.DataFrame, *, key: str = "") -> None:
    """Commit what the target holds under the keys about to be written, before anything is sent.

    ``key`` is the idempotency key of this write; its jobs are none yet.
    """
    sealed = payload.pack(before, purpose=payload.BEFORE)
    with transaction.atomic(), connection.cursor() as cursor:
        leases.write(chunk, "intended_at = clock_timestamp(), idempotency_key = %s, jobs = '{}'", [key])
        cursor.execute("SELECT project_id, month FROM runs_chunk WHERE id = %s", [chunk.id])
        cursor.execute(
            "UPDATE runs_chunkcontent SET before = %s WHERE project_id = %s AND month = %s AND chunk_id = %s",
            [sealed, *cursor.fetchone(), chunk.id],
        )


def begin(chunk: Lease, key: str) -> None:
    """Commit the idempotency key of another write of a chunk whose before-images are kept already."""
    leases.write(chunk, "idempotency_key = %s, jobs = '{}'", [key])


def note_job(chunk: Lease, job: str) -> None:
    """Commit the number of a vendor's job that is about to carry the chunk. Raises LeaseLost.

    A claim stays counted: a chunk whose jobs never end must be set aside at last.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        leases.renew(chunk)
        cursor.execute("UPDATE runs_chunk SET jobs = jobs || %s::text WHERE id = %s", [job, chunk.id])


def record(
    chunk: Lease,
    place: Place,
    outcomes: pl.DataFrame,
    findings: pl.DataFrame,
    counts: Counts,
    *,
    relinked: pl.Series | None = None,
) -> None:
    """Commit what became of a chunk's records: tracked records, findings, counts and state as one.

    ``relinked`` are the source ids that were brought again; what was found about the chunk's other records
    stays. Raises LeaseLost, and then nothing is written.
    """
    unsent = outcomes.filter(pl.col("hash").is_null() & (pl.col("state") != RecordState.DELETED))["source_id"]
    with transaction.atomic():
        _settle_loaded(chunk, counts, unsent, relinked=relinked)
        reached(CrashPoint.RECORD_IN_TRANSACTION)
        track(place, chunk.id, outcomes)
        _replace_findings(place, chunk.id, Finding.Phase.LOAD, findings, of=relinked)


def rehearsed(
    chunk: Lease, place: Place, findings: pl.DataFrame, counts: Counts, *, relinked: pl.Series | None = None
) -> None:
    """As ``record``, of a dry run: where the records stand does not change. In the caller's transaction."""
    _settle_loaded(chunk, counts, pl.Series(dtype=pl.String), relinked=relinked)
    _replace_findings(place, chunk.id, Finding.Phase.LOAD, findings, of=relinked)


def any_target_id(project_id: int, object_ids: Sequence[int]) -> str | None:
    """The target id of some record of these objects; None where none is in the target."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT target_id FROM runs_trackedrecord
                WHERE project_id = %s AND object_id = ANY(%s) AND target_id IS NOT NULL LIMIT 1""",
            [project_id, list(object_ids)],
        )
        row = cursor.fetchone()
    return row[0] if row else None


def undone(
    chunk: Lease,
    place: Place,
    outcomes: pl.DataFrame,
    findings: pl.DataFrame,
    counts: Counts,
    *,
    relinked: pl.Series | None = None,
) -> None:
    """Commit what became of records that were taken back, as ``record`` does.

    ``outcomes`` has ``source_id, part, state, code, reason``, ``gone`` (Boolean), ``target_id`` (where it is another
    one now), ``hash``, ``earlier`` (the chunks that touched the record before those taken back, a list of Int64)
    and ``again`` (Boolean: it stands in the target as one of them left it). Gone records leave the id map and lose
    their hash, so that a later run writes them again. One that is there ``again`` is loaded, with the hash of what
    it holds and without the chunks that were taken back, so that the earlier run can be taken back too. One that
    was there before us is not ours any more.
    """
    held_back = (RecordState.CONFLICT, RecordState.DEFERRED, RecordState.GONE)
    unsent = outcomes.filter(pl.col("state").is_in(held_back))["source_id"]
    with transaction.atomic(), connection.cursor() as cursor:
        _settle_loaded(chunk, counts, unsent, relinked=relinked)
        reached(CrashPoint.UNDONE_IN_TRANSACTION)
        cursor.execute(
            """CREATE TEMP TABLE IF NOT EXISTS ledger_undone (source_id text, part text, state text, code text,
               reason text, gone boolean, target_id text, hash uuid, earlier bigint[], again boolean)"""
        )
        cursor.execute("TRUNCATE ledger_undone")
        copy_frame(cursor.cursor, sql.Identifier("ledger_undone"), outcomes.select(UNDONE_COLUMNS))
        cursor.execute(
            """UPDATE runs_trackedrecord known
                  SET state = CASE WHEN u.again THEN 'loaded' ELSE u.state END,
                      code = u.code, reason = u.reason, run_id = %(run)s,
                      target_id = CASE WHEN u.gone THEN NULL ELSE coalesce(u.target_id, known.target_id) END,
                      hash = CASE WHEN u.again THEN u.hash WHEN u.state = 'rolled_back' THEN NULL ELSE known.hash END,
                      chunks = CASE WHEN u.again THEN u.earlier
                                    WHEN known.chunks @> ARRAY[%(chunk)s::bigint] THEN known.chunks
                                    ELSE known.chunks || %(chunk)s::bigint END
                 FROM ledger_undone u
                WHERE known.project_id = %(project)s AND known.object_id = %(object)s
                  AND known.source_id = u.source_id AND known.part = u.part""",
            {"run": place.run_id, "chunk": chunk.id, "project": place.project_id, "object": place.object_id},
        )
        _replace_findings(place, chunk.id, Finding.Phase.LOAD, findings, of=relinked)


_UNSENT = """unsent = ARRAY(SELECT id FROM unnest(unsent) AS id WHERE NOT id = ANY(coalesce(%s::text[], unsent))
                           UNION SELECT unnest(%s::text[]))"""


def _settle_loaded(chunk: Lease, counts: Counts, unsent: pl.Series, *, relinked: pl.Series | None) -> None:
    """``unsent`` are the records that the chunk touched without writing them: nothing of it is to be taken back."""
    names = [field.name for field in fields(counts)]
    leases.settle(
        chunk,
        f"""state = 'loaded', loaded_at = coalesce(loaded_at, clock_timestamp()),
            {_UNSENT},
            relinked_at = CASE WHEN %s THEN clock_timestamp() END, {", ".join(f"{name} = %s" for name in names)}""",
        [
            None if relinked is None else relinked.to_list(),
            unsent.to_list(),
            relinked is not None,
            *(getattr(counts, name) for name in names),
        ],
    )


def relink_again(run_id: int) -> None:
    """Let the chunks of a run that still wait be relinked once more, in the caller's transaction: a parent came."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE runs_chunk SET relinked_at = NULL
                WHERE run_id = %s AND state = 'loaded' AND deferred > 0 AND relinked_at IS NOT NULL""",
            [run_id],
        )


def verified(chunk: Lease, place: Place, verdict: Verdict, findings: pl.DataFrame, proof: Proof | None = None) -> None:
    """Commit what reading a chunk back found, with its proof where it has one. Raises LeaseLost."""
    with transaction.atomic():
        leases.settle(
            chunk,
            """state = 'verified', verified_records = %s, verified_fields = %s, missing = %s, mismatches = %s,
               verified_at = clock_timestamp()""",
            [verdict.records, verdict.fields, verdict.missing, verdict.mismatches],
        )
        reached(CrashPoint.VERIFY_IN_TRANSACTION)
        _replace_findings(place, chunk.id, Finding.Phase.VERIFY, findings)
        if proof:
            _prove(chunk.id, place, proof)


def _prove(chunk_id: int, place: Place, proof: Proof) -> None:
    children = payload.pack(proof.children, purpose=payload.CHILDREN) if proof.children is not None else None
    ChunkProof.objects.update_or_create(
        chunk_id=chunk_id,
        defaults={
            "step_id": place.step_id,
            "equal": proof.equal,
            "sums": proof.sums,
            "written": proof.written,
            "read_back": proof.read_back,
            "children": children,
        },
    )


def owners(project_id: int, object_ids: Sequence[int], target_ids: pl.Series) -> pl.DataFrame:
    """Which tracked record of these objects has each target id: ``target_id, source_id, key`` (String) and
    ``object`` (Int64), one row per target id; ids that nobody tracks are absent."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT ON (target_id) target_id, source_id, key, object_id FROM runs_trackedrecord
                WHERE project_id = %s AND object_id = ANY(%s) AND target_id = ANY(%s::text[])
                ORDER BY target_id, object_id, part""",
            [project_id, list(object_ids), array_text(target_ids)],
        )
        schema = {**dict.fromkeys(("target_id", "source_id", "key"), pl.String), "object": pl.Int64}
        return pl.DataFrame(cursor.fetchall(), schema=schema, orient="row")


def untracked(project_id: int, object_ids: Sequence[int], keys: pl.Series) -> list[str]:
    """Those of the keys that no record of these objects in the target accounts for, in their order."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT k.key FROM unnest(%s::text[]) WITH ORDINALITY AS k (key, place)
                WHERE NOT EXISTS (SELECT FROM runs_trackedrecord r
                                   WHERE r.project_id = %s AND r.object_id = ANY(%s) AND r.key = k.key
                                     AND r.target_id IS NOT NULL)
                ORDER BY k.place""",
            [array_text(keys), project_id, list(object_ids)],
        )
        return [key for (key,) in cursor.fetchall()]


def known(place: Place, source_ids: pl.Series) -> pl.DataFrame:
    """Where these records stand: the columns of ``KNOWN_SCHEMA``; unknown ids are absent.

    ``touched_by`` is the last chunk that did something to the record.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT source_id, part, target_id, key, replace(hash::text, '-', ''), state,
                      chunks[cardinality(chunks)]
                 FROM runs_trackedrecord
                WHERE project_id = %s AND object_id = %s AND part = %s AND source_id = ANY(%s::text[])""",
            [place.project_id, place.object_id, place.part, array_text(source_ids)],
        )
        return pl.DataFrame(cursor.fetchall(), schema=KNOWN_SCHEMA, orient="row")


def due(place: Place, scope: Scope, *, after_chunk: int) -> pl.DataFrame:
    """Records that still have to get to the target, with the chunk that has their source record.

    Columns ``source_id`` (String) and ``chunk`` (Int64), by chunk. Those this run has tried already are not
    among them. Conflicts are due once all their fields are decided.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT source_id, chunks[cardinality(chunks)] FROM runs_trackedrecord
                WHERE project_id = %(project)s AND object_id = %(object)s AND part = %(part)s
                  AND (state = ANY(%(due)s) OR state = 'conflict' AND source_id IN (
                        SELECT c.source_id FROM runs_conflict c
                         WHERE c.object_id = %(object)s AND c.part = %(part)s AND c.field <> '' AND c.state <> 'applied'
                         GROUP BY c.source_id HAVING bool_and(c.state = 'decided')))
                  AND run_id <> %(run)s AND chunks[cardinality(chunks)] > %(after)s
                  AND (%(codes)s::text[] IS NULL OR code = ANY(%(codes)s))
                  AND (%(ids)s::text[] IS NULL OR source_id = ANY(%(ids)s))
                ORDER BY 2, 1""",
            {
                "project": place.project_id,
                "object": place.object_id,
                "part": place.part,
                "run": place.run_id,
                "due": list(DUE),
                "after": after_chunk,
                "codes": list(scope.codes) or None,
                "ids": list(scope.source_ids) or None,
            },
        )
        return pl.DataFrame(cursor.fetchall(), schema={"source_id": pl.String, "chunk": pl.Int64}, orient="row")


def id_map(project_id: int, object_ids: Sequence[int], source_ids: pl.Series) -> pl.DataFrame:
    """``source_id, target_id`` of those of the records that have a place in the target, one row each.

    Where one entity feeds several objects, the first object's target is what references to it mean.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT ON (source_id) source_id, target_id FROM runs_trackedrecord
                WHERE project_id = %s AND object_id = ANY(%s) AND source_id = ANY(%s::text[]) AND target_id IS NOT NULL
                ORDER BY source_id, object_id, part""",
            [project_id, list(object_ids), array_text(source_ids)],
        )
        return pl.DataFrame(cursor.fetchall(), schema={"source_id": pl.String, "target_id": pl.String}, orient="row")


def standing(project_id: int, object_ids: Sequence[int], source_ids: pl.Series) -> Mapping[str, str]:
    """Source id → state, for telling why a parent is not there."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT source_id, state FROM runs_trackedrecord
                WHERE project_id = %s AND object_id = ANY(%s) AND source_id = ANY(%s::text[])""",
            [project_id, list(object_ids), array_text(source_ids)],
        )
        return dict(cursor.fetchall())


def landed(project_id: int, object_ids: Sequence[int], *, prefix: str) -> int:
    """How many tracked records of these objects are in the target under keys beginning with ``prefix``."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(*) FROM runs_trackedrecord
                WHERE project_id = %s AND object_id = ANY(%s) AND target_id IS NOT NULL AND starts_with(key, %s)""",
            [project_id, list(object_ids), prefix],
        )
        return int(cursor.fetchone()[0])


def track(place: Place, chunk_id: int, outcomes: pl.DataFrame) -> None:
    """Write where these records stand now, touched by this chunk, in the caller's transaction."""
    if not outcomes.height:
        return
    with connection.cursor() as cursor:
        if not _track_new(cursor, place, chunk_id, outcomes):
            _track_known(cursor, place, chunk_id, outcomes)


def _track_new(cursor: CursorWrapper, place: Place, chunk_id: int, outcomes: pl.DataFrame) -> bool:
    """Append the rows, which takes half the time of looking for each; false, with nothing written, where one
    is there already. Whether the first one is tells whether it is worth trying."""
    if known(place, outcomes["source_id"].head(1)).height:
        return False
    rows = outcomes.select(
        pl.lit(place.project_id).alias("project_id"),
        pl.lit(place.object_id).alias("object_id"),
        *OUTCOME_COLUMNS,
        pl.lit(place.run_id).alias("run_id"),
        pl.lit(f"{{{chunk_id}}}").alias("chunks"),
    )
    try:
        with transaction.atomic():
            copy_frame(cursor.cursor, sql.Identifier("runs_trackedrecord"), rows)
    except UniqueViolation:
        return False
    return True


def _track_known(cursor: CursorWrapper, place: Place, chunk_id: int, outcomes: pl.DataFrame) -> None:
    cursor.execute(
        """CREATE TEMP TABLE IF NOT EXISTS ledger_outcomes (source_id text, part text, state text, target_id text,
           key text, hash uuid, code text, reason text)"""
    )
    cursor.execute("TRUNCATE ledger_outcomes")
    copy_frame(cursor.cursor, sql.Identifier("ledger_outcomes"), outcomes)
    cursor.execute(
        """INSERT INTO runs_trackedrecord AS known
                  (project_id, object_id, source_id, part, state, target_id, key, hash, code, reason,
                   run_id, chunks)
           SELECT %s, %s, source_id, part, state, target_id, key, hash, code, reason, %s, ARRAY[%s::bigint]
             FROM ledger_outcomes
           ON CONFLICT (project_id, object_id, source_id, part) DO UPDATE
              SET state = CASE WHEN known.state = 'waived' AND excluded.state IN ('rejected', 'deferred') THEN 'waived'
                               ELSE excluded.state END, target_id = coalesce(excluded.target_id, known.target_id),
                  key = coalesce(excluded.key, known.key), hash = coalesce(excluded.hash, known.hash),
                  code = excluded.code, reason = excluded.reason, run_id = excluded.run_id,
                  chunks = CASE WHEN known.chunks @> excluded.chunks THEN known.chunks
                                ELSE known.chunks || excluded.chunks END""",
        [place.project_id, place.object_id, place.run_id, chunk_id],
    )


def _replace_findings(
    place: Place, chunk_id: int, phase: Finding.Phase, findings: pl.DataFrame, *, of: pl.Series | None = None
) -> None:
    """Put the findings in place of earlier ones of the chunk, or of those of its records ``of``."""
    with connection.cursor() as cursor:
        cursor.execute(
            """DELETE FROM runs_finding WHERE chunk_id = %s AND phase = %s
                  AND (%s::text[] IS NULL OR source_id = ANY(%s))""",
            [chunk_id, phase, *([None if of is None else of.to_list()] * 2)],
        )
        if not findings.height:
            return
        rows = findings.select(
            pl.lit(place.run_id).alias("run_id"),
            pl.lit(place.step_id).alias("step_id"),
            pl.lit(chunk_id).alias("chunk_id"),
            pl.lit(str(phase)).alias("phase"),
            *FINDING_COLUMNS,
        )
        copy_frame(cursor.cursor, sql.Identifier("runs_finding"), rows)
