"""What chunks carry, and the partitions it lies in: kept, listed by month, forgotten."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from django.db import connection, transaction

from runs import partitions


@dataclass(frozen=True, slots=True)
class KeptMonth:
    """Contents of the ``runs`` started in a month, in one partition; of ``past`` of them the retention has passed.

    ``due`` is when it will have passed for all of them; None while a run has not ended or everything is kept for
    ever. ``size`` is in bytes on disk.
    """

    month: date
    runs: int
    past: int
    chunks: int
    due: datetime | None
    size: int

    @property
    def wholly_past(self) -> bool:
        return self.past == self.runs


def ensure_partition(project_id: int) -> None:
    """Give the project partitions of its own, so that erasing it is a DROP."""
    partitions.ensure_project(project_id)


def drop_partition(project_id: int) -> None:
    """Forget all that grows with the project's records: tracked records, match keys, findings, predictions and the
    contents of chunks. Raises PartitionBusy, and then everything is there still."""
    partitions.drop_project(project_id)


def delete_chunks(project_id: int) -> None:
    """Delete the chunks of the project and their proofs, in the caller's transaction."""
    with connection.cursor() as cursor:
        chosen = "SELECT c.id FROM runs_chunk c JOIN runs_run r ON r.id = c.run_id WHERE r.project_id = %s"
        cursor.execute(f"DELETE FROM runs_chunkproof WHERE chunk_id IN ({chosen})", [project_id])  # noqa: S608  literals
        cursor.execute(f"DELETE FROM runs_chunk WHERE id IN ({chosen})", [project_id])  # noqa: S608  literals


def months(project_id: int, *, days: int | None) -> list[KeptMonth]:
    """The months whose runs' contents are kept, oldest first, seen with a retention of so many days (None: for ever)
    after a run's end, by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT month, count(*), count(*) FILTER (WHERE due <= clock_timestamp()), sum(chunks)::bigint,
                      CASE WHEN bool_and(due IS NOT NULL) THEN max(due) END
                 FROM (SELECT c.month, count(*) AS chunks, r.finished_at + make_interval(days => %(days)s) AS due
                         FROM runs_chunk c JOIN runs_run r ON r.id = c.run_id
                        WHERE r.project_id = %(project)s AND c.month IS NOT NULL GROUP BY c.month, r.id) kept
                GROUP BY month ORDER BY month""",
            {"project": project_id, "days": days},
        )
        rows = cursor.fetchall()
    return [
        KeptMonth(month, runs, past, chunks, due, partitions.size_of_month(project_id, month))
        for month, runs, past, chunks, due in rows
    ]


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


def keep(chunk_id: int, project_id: int, month: date, sealed: bytes) -> None:
    """Put a new chunk's source frame into its partition, in the caller's transaction."""
    partitions.ensure_month(project_id, month)
    with plain_cursor() as cursor:
        cursor.execute(
            "INSERT INTO runs_chunkcontent (chunk_id, project_id, month, payload) VALUES (%s, %s, %s, %b)",
            [chunk_id, project_id, month, sealed],
        )


@contextmanager
def plain_cursor() -> Iterator[psycopg.Cursor[Any]]:
    """A cursor that sends bytes (``%b``) as they are: Django's spells them out in the statement's text, twice as long,
    for the server to read back."""
    with connection.cursor() as cursor, psycopg.Cursor(cursor.connection) as plain:
        yield plain
