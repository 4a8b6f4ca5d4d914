"""What chunks carry, and the partitions it lies in: kept, listed by month, forgotten."""

from collections.abc import Sequence
from datetime import date, datetime

from django.db import connection, transaction

from runs import partitions


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


def keep(chunk_id: int, project_id: int, month: date, sealed: bytes) -> None:
    """Put a new chunk's source frame into its partition, in the caller's transaction."""
    partitions.ensure_month(project_id, month)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO runs_chunkcontent (chunk_id, project_id, month, payload) VALUES (%s, %s, %s, %s)",
            [chunk_id, project_id, month, sealed],
        )
