"""Keys that a sweep met in the source, and the tracked records it did not meet."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from django.db import connection, transaction
from psycopg.types.json import Jsonb

from connectors.clients.postgresql import array_text
from runs import leases
from runs.choices import RecordState
from runs.leases import Lease
from runs.ledger.shapes import Place

GONE_FROM = (RecordState.SKIPPED, RecordState.ROLLED_BACK, RecordState.DELETED, RecordState.WAIVED)
"""States of records whose going is of no account: nothing of ours is in the target, or a person settled them."""


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
