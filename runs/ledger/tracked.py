"""Where source records stand: the tracked records, looked up and written."""

from collections.abc import Mapping, Sequence

import polars as pl
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg import sql
from psycopg.errors import UniqueViolation

from connectors.clients.postgresql import array_text, copy_frame
from connectors.clients.postgresql_lookup import WORTH_A_LOOK, extremes
from connectors.clients.postgresql_read import query_frame
from runs.choices import DUE
from runs.ledger.shapes import KNOWN_SCHEMA, OUTCOME_COLUMNS, Place, Scope


def known(place: Place, source_ids: pl.Series) -> pl.DataFrame:
    """Where these records stand: the columns of ``KNOWN_SCHEMA``; unknown ids are absent.

    ``touched_by`` is the last chunk that did something to the record.
    """
    with connection.cursor() as cursor:
        if len(source_ids) >= WORTH_A_LOOK and not _any_between(cursor, place, source_ids):
            return pl.DataFrame(schema=KNOWN_SCHEMA)
        query = sql.SQL(
            """SELECT source_id, part, target_id, key, replace(hash::text, '-', ''), state, chunks[cardinality(chunks)]
                 FROM runs_trackedrecord
                WHERE project_id = {} AND object_id = {} AND part = {} AND source_id = ANY({}::text[])"""
        ).format(place.project_id, place.object_id, place.part, array_text(source_ids))
        found = query_frame(cursor.cursor, query, list(KNOWN_SCHEMA))
    return found.cast({"touched_by": KNOWN_SCHEMA["touched_by"]})


def _any_between(cursor: CursorWrapper, place: Place, source_ids: pl.Series) -> bool:
    """Whether any record of the object has an id from the least to the greatest of these, which one descent of the
    primary key tells: a first load in the order of its ids need not look for each."""
    cursor.execute(
        """SELECT FROM runs_trackedrecord
            WHERE project_id = %s AND object_id = %s AND part = %s AND source_id BETWEEN %s AND %s
            ORDER BY source_id LIMIT 1""",
        [place.project_id, place.object_id, place.part, *extremes(cursor.cursor.connection, source_ids)],
    )
    return cursor.fetchone() is not None


def due(place: Place, scope: Scope, *, after_chunk: int) -> pl.DataFrame:
    """Records that still have to get to the target, with the chunk that has their source record.

    Columns ``source_id`` (String) and ``chunk`` (Int64), by chunk. Those this run has tried already are not
    among them. Conflicts are due once all their fields are decided. Where the scope names states, just these are due.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT source_id, chunks[cardinality(chunks)] FROM runs_trackedrecord
                WHERE project_id = %(project)s AND object_id = %(object)s AND part = %(part)s
                  AND (state = ANY(%(due)s) OR state = 'conflict' AND NOT %(named)s AND source_id IN (
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
                "due": list(scope.states or DUE),
                "named": bool(scope.states),
                "after": after_chunk,
                "codes": list(scope.codes) or None,
                "ids": list(scope.source_ids) or None,
            },
        )
        return pl.DataFrame(cursor.fetchall(), schema={"source_id": pl.String, "chunk": pl.Int64}, orient="row")


def taken_out(place: Place, source_ids: pl.Series) -> pl.Series:
    """Those of the records that people chose to take back, other than with a run, and that nobody brought since."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT t.source_id FROM runs_trackedrecord t JOIN runs_run r ON r.id = t.run_id
                WHERE t.project_id = %s AND t.object_id = %s AND t.part = %s AND t.source_id = ANY(%s::text[])
                  AND t.state = 'rolled_back' AND r.kind = 'rollback' AND r.undoes_id IS NULL""",
            [place.project_id, place.object_id, place.part, array_text(source_ids)],
        )
        return pl.Series([source_id for (source_id,) in cursor.fetchall()], dtype=pl.String)


def id_map(project_id: int, object_ids: Sequence[int], source_ids: pl.Series) -> pl.DataFrame:
    """``source_id, target_id`` of those of the records that have a place in the target, one row each.

    Where one entity feeds several objects, the first object's target is what references to it mean.
    """
    query = sql.SQL(
        """SELECT DISTINCT ON (source_id) source_id, target_id FROM runs_trackedrecord
            WHERE project_id = {} AND object_id = ANY({}::bigint[]) AND source_id = ANY({}::text[])
              AND target_id IS NOT NULL
            ORDER BY source_id, object_id, part"""
    ).format(project_id, list(object_ids), array_text(source_ids))
    with connection.cursor() as cursor:
        return query_frame(cursor.cursor, query, ["source_id", "target_id"])


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


def standing(project_id: int, object_ids: Sequence[int], source_ids: pl.Series) -> Mapping[str, str]:
    """Source id → state, for telling why a parent is not there."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT source_id, state FROM runs_trackedrecord
                WHERE project_id = %s AND object_id = ANY(%s) AND source_id = ANY(%s::text[])""",
            [project_id, list(object_ids), array_text(source_ids)],
        )
        return dict(cursor.fetchall())


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


def landed(project_id: int, object_ids: Sequence[int], *, prefix: str) -> int:
    """How many tracked records of these objects are in the target under keys beginning with ``prefix``."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(*) FROM runs_trackedrecord
                WHERE project_id = %s AND object_id = ANY(%s) AND target_id IS NOT NULL AND starts_with(key, %s)""",
            [project_id, list(object_ids), prefix],
        )
        return int(cursor.fetchone()[0])


def landed_count(place: Place) -> int:
    """How many records of the object are in the target."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(target_id) FROM runs_trackedrecord WHERE project_id = %s AND object_id = %s AND part = %s",
            [place.project_id, place.object_id, place.part],
        )
        return int(cursor.fetchone()[0])


def tracked_among(place: Place, source_ids: pl.Series, settled: Sequence[str]) -> pl.DataFrame:
    """``source_id, target_id`` of those of the ids that are tracked and not settled."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT source_id, target_id FROM runs_trackedrecord
                WHERE project_id = %s AND object_id = %s AND part = %s AND source_id = ANY(%s::text[])
                  AND state <> ALL(%s)""",
            [place.project_id, place.object_id, place.part, array_text(source_ids), list(settled)],
        )
        return pl.DataFrame(cursor.fetchall(), schema={"source_id": pl.String, "target_id": pl.String}, orient="row")


def touches(place: Place, source_ids: pl.Series) -> pl.DataFrame:
    """``source_id`` and ``chunk`` (Int64): every chunk that has touched these records."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT source_id, unnest(chunks) FROM runs_trackedrecord
                WHERE project_id = %s AND object_id = %s AND part = %s AND source_id = ANY(%s::text[])""",
            [place.project_id, place.object_id, place.part, array_text(source_ids)],
        )
        return pl.DataFrame(cursor.fetchall(), schema={"source_id": pl.String, "chunk": pl.Int64}, orient="row")


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
              SET state = CASE WHEN known.state = 'waived' AND (excluded.state = 'rejected' OR
                                    excluded.state = 'deferred' AND excluded.target_id IS NULL) THEN 'waived'
                               ELSE excluded.state END, target_id = coalesce(excluded.target_id, known.target_id),
                  key = coalesce(excluded.key, known.key), hash = coalesce(excluded.hash, known.hash),
                  code = excluded.code, reason = excluded.reason, run_id = excluded.run_id,
                  chunks = CASE WHEN known.chunks @> excluded.chunks THEN known.chunks
                                ELSE known.chunks || excluded.chunks END""",
        [place.project_id, place.object_id, place.run_id, chunk_id],
    )
