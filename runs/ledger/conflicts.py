"""Fields that both sides changed, and what persons decided about them."""

from collections.abc import Sequence
from typing import Any

import polars as pl
from django.db import connection
from psycopg import sql

from connectors.clients.postgresql import array_text, copy_frame
from runs.ledger.shapes import CONFLICT_COLUMNS, Place


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
