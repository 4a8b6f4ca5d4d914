"""The only writer of predictions: what a dry run found, apart from where the records really stand.

Every dry run has a partition of its own (``runs.partitions``). Frames of predictions have ``source_id, part,
outcome, code, reason, without`` (String), ``lands`` (Boolean) and ``content`` (32 hex digits), one row per record.
"""

from collections.abc import Sequence

import polars as pl
from django.db import connection, transaction
from psycopg import sql

from connectors.clients.postgresql import array_text, copy_frame
from runs import ledger, partitions
from runs.leases import Lease
from runs.ledger import Counts, Place

COLUMNS = ("source_id", "part", "outcome", "lands", "code", "reason", "without", "content")
KNOWN = {
    **dict.fromkeys(("source_id", "outcome", "code", "without", "content"), pl.String),
    "lands": pl.Boolean,
}
TROUBLES = ("deferred", "rejected", "skipped", "conflicts")
"""Outcomes that a person wants listed."""


def record(
    chunk: Lease,
    place: Place,
    predicted: pl.DataFrame,
    findings: pl.DataFrame,
    counts: Counts,
    *,
    relinked: pl.Series | None = None,
) -> None:
    """Commit what the chunk's records would become: predictions, findings, counts and state as one.

    ``relinked`` as in ``ledger.record``. Raises LeaseLost, and then nothing is written.
    """
    with transaction.atomic():
        ledger.rehearsed(chunk, place, findings, counts, relinked=relinked)
        _write(place, chunk.id, predicted)


def _write(place: Place, chunk_id: int, predicted: pl.DataFrame) -> None:
    if not predicted.height:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """CREATE TEMP TABLE IF NOT EXISTS predictions_new (source_id text, part text, outcome text,
               lands boolean, code text, reason text, without text, content uuid)"""
        )
        cursor.execute("TRUNCATE predictions_new")
        copy_frame(cursor.cursor, sql.Identifier("predictions_new"), predicted.select(COLUMNS))
        cursor.execute(
            """INSERT INTO runs_prediction
                      (project_id, run_id, object_id, source_id, part, chunk, outcome, lands, code, reason,
                       without, content)
               SELECT %s, %s, %s, source_id, part, %s, outcome, lands, code, reason, without, content
                 FROM predictions_new
               ON CONFLICT (project_id, run_id, object_id, source_id, part) DO UPDATE
                  SET chunk = excluded.chunk, outcome = excluded.outcome, lands = excluded.lands,
                      code = excluded.code, reason = excluded.reason, without = excluded.without,
                      content = excluded.content""",
            [place.project_id, place.run_id, place.object_id, chunk_id],
        )


def forget(project_id: int, run_id: int) -> None:
    """Drop the predictions of a dry run. Raises PartitionBusy."""
    partitions.drop_dry_run(project_id, run_id)


def known(place: Place, source_ids: pl.Series) -> pl.DataFrame:
    """What was predicted of these records: the columns of ``KNOWN``; unknown ids are absent."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT source_id, outcome, code, without, replace(content::text, '-', ''), lands FROM runs_prediction
                WHERE project_id = %s AND run_id = %s AND object_id = %s AND part = %s
                  AND source_id = ANY(%s::text[])""",
            [place.project_id, place.run_id, place.object_id, place.part, array_text(source_ids)],
        )
        return pl.DataFrame(cursor.fetchall(), schema=KNOWN, orient="row")


def parents(place: Place, object_ids: Sequence[int], source_ids: pl.Series) -> pl.DataFrame:
    """``source_id``, ``outcome`` (String) and ``lands`` of records that others refer to, one row each: where one
    entity feeds several objects, one that lands is as good as all."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT ON (source_id) source_id, outcome, lands FROM runs_prediction
                WHERE project_id = %s AND run_id = %s AND object_id = ANY(%s) AND source_id = ANY(%s::text[])
                ORDER BY source_id, lands DESC, object_id, part""",
            [place.project_id, place.run_id, list(object_ids), array_text(source_ids)],
        )
        columns = {"source_id": pl.String, "outcome": pl.String, "lands": pl.Boolean}
        return pl.DataFrame(cursor.fetchall(), schema=columns, orient="row")


def not_asked(project_id: int, run_id: int) -> list[tuple[int, str, int]]:
    """Object id, what the target was not asked about (see ``Prediction.without``), how many records so."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT object_id, without, count(*) FROM runs_prediction
                WHERE project_id = %s AND run_id = %s AND without <> '' GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2""",
            [project_id, run_id],
        )
        return list(cursor.fetchall())


def totals(project_id: int, run_id: int) -> dict[int, int]:
    """Object id → predictions."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT object_id, count(*) FROM runs_prediction WHERE project_id = %s AND run_id = %s GROUP BY 1",
            [project_id, run_id],
        )
        return dict(cursor.fetchall())
