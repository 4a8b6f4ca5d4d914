"""What is wrong with single fields of a chunk's records."""

import polars as pl
from django.db import connection
from psycopg import sql

from connectors.clients.postgresql import copy_frame
from runs.ledger.shapes import FINDING_COLUMNS, Place
from runs.models import Finding


def replace_findings(
    place: Place, chunk_id: int, phase: Finding.Phase, findings: pl.DataFrame, *, of: pl.Series | None = None
) -> None:
    """Put the findings in place of earlier ones of the chunk, or of those of its records ``of``."""
    with connection.cursor() as cursor:
        cursor.execute(
            """DELETE FROM runs_finding WHERE project_id = %s AND chunk_id = %s AND phase = %s
                  AND (%s::text[] IS NULL OR source_id = ANY(%s))""",
            [place.project_id, chunk_id, phase, *([None if of is None else of.to_list()] * 2)],
        )
        if not findings.height:
            return
        rows = findings.select(
            pl.lit(place.project_id).alias("project_id"),
            pl.lit(place.run_id).alias("run_id"),
            pl.lit(place.step_id).alias("step_id"),
            pl.lit(chunk_id).alias("chunk_id"),
            pl.lit(str(phase)).alias("phase"),
            *FINDING_COLUMNS,
        )
        copy_frame(cursor.cursor, sql.Identifier("runs_finding"), rows)
