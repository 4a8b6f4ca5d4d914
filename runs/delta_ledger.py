"""The ledger's part that only deltas write: keys that a sweep met, conflicts, waivers."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from django.contrib.auth.models import User
from django.db import connection, transaction
from psycopg import sql
from psycopg.types.json import Jsonb

from connectors.clients.postgresql import array_text, copy_frame
from runs import leases
from runs.choices import RecordState
from runs.leases import Lease
from runs.ledger import Place, Scope

GONE_FROM = (RecordState.SKIPPED, RecordState.ROLLED_BACK, RecordState.DELETED, RecordState.WAIVED)
"""States of records whose going is of no account: nothing of ours is in the target, or a person settled them."""
CONFLICT_COLUMNS = ("source_id", "part", "field", "base", "base_known", "ours", "theirs", "state", "decision")
FEED_SKEW = timedelta(days=1)
"""How far before the last look a feed of deletions is asked: a deletion has no watermark but our clock, which may
be wrong; one that is told twice is harmless."""


# --- Keys that a sweep met ------------------------------------------------------------------------------------
def keep_keys(step: Lease, source_ids: pl.Series, cursor_after: Mapping[str, Any]) -> None:
    """Commit the ids of one page with the cursor after it. Raises LeaseLost."""
    with transaction.atomic(), connection.cursor() as cursor:
        leases.write(step, "cursor = %s, started_at = coalesce(started_at, clock_timestamp())", [Jsonb(cursor_after)])
        cursor.execute(
            """INSERT INTO runs_sweptkey (step_id, source_id) SELECT %s, unnest(%s::text[])
               ON CONFLICT DO NOTHING""",
            [step.id, array_text(source_ids.drop_nulls().unique())],
        )


def move_cursor(step: Lease, cursor_after: Mapping[str, Any]) -> None:
    """Commit where the step goes on. Raises LeaseLost."""
    leases.write(step, "cursor = %s, started_at = coalesce(started_at, clock_timestamp())", [Jsonb(cursor_after)])


def forget_keys(step_id: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM runs_sweptkey WHERE step_id = %s", [step_id])


_UNSWEPT = """
  FROM runs_trackedrecord r
 WHERE r.project_id = %(project)s AND r.object_id = %(object)s AND r.part = %(part)s AND r.source_id > %(after)s
   AND r.state <> ALL(%(settled)s)
   AND NOT EXISTS (SELECT 1 FROM runs_sweptkey k WHERE k.step_id = %(step)s AND k.source_id = r.source_id)
"""


def unswept(place: Place, settled: Sequence[str], *, after: str, limit: int) -> pl.Series:
    """Ids of tracked records that the sweep of this step has not met, in order, beyond ``after``."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT r.source_id {_UNSWEPT} ORDER BY r.source_id LIMIT %(limit)s",
            {**_sweep(place, settled, after), "limit": limit},
        )
        return pl.Series([name for (name,) in cursor.fetchall()], dtype=pl.String)


def unswept_count(place: Place, settled: Sequence[str]) -> tuple[int, int]:
    """How many records the sweep has not met, and how many of these are in the target."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*), count(r.target_id) {_UNSWEPT}",
            _sweep(place, settled, ""),
        )
        found, landed = cursor.fetchone()
        return int(found), int(landed)


def _sweep(place: Place, settled: Sequence[str], after: str) -> dict[str, Any]:
    return {
        "project": place.project_id,
        "object": place.object_id,
        "part": place.part,
        "step": place.step_id,
        "settled": list(settled),
        "after": after,
    }


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


def deletions_since(object_id: int) -> datetime | None:
    """From when on a feed of deletions is asked: when they were last followed in full or, before that, when the
    object was first read; None where neither was. Runs that were taken back since do not count."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT coalesce(max(s.started_at) FILTER (WHERE s.task = 'delete'),
                               min(r.started_at) FILTER (WHERE s.task = 'bring'))
                 FROM runs_step s JOIN runs_run r ON r.id = s.run_id
                WHERE s.object_id = %s AND s.extracted_at IS NOT NULL AND r.kind IN ('load', 'delta')
                  AND NOT EXISTS (SELECT 1 FROM runs_chunk c
                                   WHERE c.step_id = s.id AND c.state IN ('staged', 'loading', 'failed'))
                  AND NOT (s.task = 'delete' AND EXISTS (
                        SELECT 1 FROM runs_run b WHERE b.project_id = r.project_id AND b.kind = 'rollback'
                           AND b.id > r.id AND b.undoes_id <= r.id AND b.planned_at IS NOT NULL))""",
            [object_id],
        )
        (since,) = cursor.fetchone()
        return since - FEED_SKEW if since else None


# --- Conflicts ------------------------------------------------------------------------------------------------
def put_conflicts(place: Place, chunk_id: int, conflicts: pl.DataFrame, settled: pl.Series) -> None:
    """Put what was found about these records in place of what was known, in the caller's transaction.

    ``conflicts`` has ``CONFLICT_COLUMNS``; ``settled`` are ids of records without any left. What this chunk
    found before stays where it is not found again: a chunk that is relinked does not look twice.
    """
    if not conflicts.height and not len(settled):
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """DELETE FROM runs_conflict WHERE object_id = %s AND part = %s AND chunk <> %s
                  AND source_id = ANY(%s::text[])""",
            [place.object_id, place.part, chunk_id, array_text(settled)],
        )
        cursor.execute(
            "DELETE FROM runs_conflict WHERE object_id = %s AND part = %s AND source_id = ANY(%s::text[])",
            [place.object_id, place.part, array_text(conflicts["source_id"].unique())],
        )
        rows = conflicts.select(
            pl.lit(place.project_id).alias("project_id"),
            pl.lit(place.object_id).alias("object_id"),
            *CONFLICT_COLUMNS,
            *(name for name in ("decided_by_id", "decided_at") if name in conflicts.columns),
            pl.lit(chunk_id).alias("chunk"),
        )
        copy_frame(cursor.cursor, sql.Identifier("runs_conflict"), rows)


def conflicts_of(place: Place, source_ids: pl.Series) -> pl.DataFrame:
    """What is known about these records: ``CONFLICT_COLUMNS``, and who decided when."""
    schema: dict[str, Any] = {
        **dict.fromkeys(CONFLICT_COLUMNS, pl.String),
        "base_known": pl.Boolean,
        "decided_by_id": pl.Int64,
        "decided_at": pl.Datetime("us", "UTC"),
    }
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT {", ".join(schema)} FROM runs_conflict
                 WHERE object_id = %s AND part = %s AND source_id = ANY(%s::text[])""",  # noqa: S608  our own names
            [place.object_id, place.part, array_text(source_ids)],
        )
        return pl.DataFrame(cursor.fetchall(), schema=schema, orient="row")


def kept_fields(chunk_ids: Sequence[int]) -> pl.DataFrame:
    """``source_id, part, field`` of the fields that were left as the target had them when these chunks wrote."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT source_id, part, field FROM runs_conflict
                WHERE chunk = ANY(%s) AND state = 'applied' AND decision = 'target' AND field <> ''""",
            [list(chunk_ids)],
        )
        return pl.DataFrame(
            cursor.fetchall(), schema=dict.fromkeys(("source_id", "part", "field"), pl.String), orient="row"
        )


def touches(place: Place, source_ids: pl.Series) -> pl.DataFrame:
    """``source_id`` and ``chunk`` (Int64): every chunk that has touched these records."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT source_id, unnest(chunks) FROM runs_trackedrecord
                WHERE project_id = %s AND object_id = %s AND part = %s AND source_id = ANY(%s::text[])""",
            [place.project_id, place.object_id, place.part, array_text(source_ids)],
        )
        return pl.DataFrame(cursor.fetchall(), schema={"source_id": pl.String, "chunk": pl.Int64}, orient="row")


# --- Waivers --------------------------------------------------------------------------------------------------
_CHOSEN = """r.project_id = %(project)s
   AND (%(objects)s::bigint[] IS NULL OR r.object_id = ANY(%(objects)s))
   AND (%(ids)s::text[] IS NULL OR r.source_id = ANY(%(ids)s))"""


def waive(project_id: int, scope: Scope, states: Sequence[str], *, user: User, reason: str) -> int:
    """Mark the chosen records as waived and remember where they stood, in the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""WITH chosen AS (
                  SELECT object_id, source_id, part, state, code, reason FROM runs_trackedrecord r
                   WHERE {_CHOSEN} AND r.state = ANY(%(states)s)
                     AND (%(codes)s::text[] IS NULL OR r.code = ANY(%(codes)s))
                     FOR UPDATE),
                kept AS (
                  INSERT INTO runs_waiver
                         (project_id, object_id, source_id, part, was_state, was_code, was_reason, reason, by_id,
                          by_name)
                  SELECT %(project)s, object_id, source_id, part, state, code, reason, %(reason)s, %(by)s, %(name)s
                    FROM chosen
                  ON CONFLICT (object_id, source_id, part) DO UPDATE
                     SET was_state = excluded.was_state, was_code = excluded.was_code,
                         was_reason = excluded.was_reason, reason = excluded.reason, by_id = excluded.by_id,
                         by_name = excluded.by_name, at = statement_timestamp())
                UPDATE runs_trackedrecord r
                   SET state = 'waived', reason = format('Waived by %%s: %%s', %(name)s::text, %(reason)s::text)
                  FROM chosen c
                 WHERE r.project_id = %(project)s AND r.object_id = c.object_id AND r.source_id = c.source_id
                   AND r.part = c.part""",  # noqa: S608  put together from this module's own literals
            {
                **_choice(project_id, scope),
                "states": list(states),
                "codes": list(scope.codes) or None,
                "reason": reason,
                "by": user.pk,
                "name": user.get_full_name() or user.get_username(),
            },
        )
        waived: int = cursor.rowcount
        return waived


def unwaive(project_id: int, scope: Scope) -> int:
    """Let the chosen waived records stand where they stood, in the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""UPDATE runs_trackedrecord r SET state = w.was_state, code = w.was_code, reason = w.was_reason
                  FROM runs_waiver w
                 WHERE {_CHOSEN} AND r.state = 'waived' AND w.object_id = r.object_id
                   AND w.source_id = r.source_id AND w.part = r.part
                   AND (%(codes)s::text[] IS NULL OR w.was_code = ANY(%(codes)s))""",  # noqa: S608  put together from this module's own literals
            {**_choice(project_id, scope), "codes": list(scope.codes) or None},
        )
        restored: int = cursor.rowcount
        cursor.execute(
            """DELETE FROM runs_waiver w USING runs_trackedrecord r
                WHERE w.project_id = %s AND r.project_id = w.project_id AND r.object_id = w.object_id
                  AND r.source_id = w.source_id AND r.part = w.part AND r.state <> 'waived'""",
            [project_id],
        )
        return restored


def _choice(project_id: int, scope: Scope) -> dict[str, Any]:
    return {
        "project": project_id,
        "objects": list(scope.objects) or None,
        "ids": list(scope.source_ids) or None,
    }
