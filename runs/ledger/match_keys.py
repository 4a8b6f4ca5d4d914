"""The match keys of source records, registered so that twins are found before anything is sent."""

import polars as pl
from django.db import connection, transaction
from psycopg import sql

from connectors.clients.postgresql import array_text, copy_frame
from runs.choices import DUE
from runs.ledger.shapes import Place


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
        # The chunk first, as everywhere: an erasure takes the rows first and then the tables.
        cursor.execute("UPDATE runs_chunk SET match_registered = true WHERE id = %s", [chunk_id])
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
