"""What is committed before a chunk is sent: before-images, idempotency key, the vendor's jobs."""

import polars as pl
from django.db import connection, transaction

from runs import leases, payload
from runs.leases import Lease
from runs.ledger.contents import plain_cursor


def intend(chunk: Lease, before: pl.DataFrame, *, key: str = "") -> None:
    """Commit what the target holds under the keys about to be written, before anything is sent.

    ``key`` is the idempotency key of this write; its jobs are none yet.
    """
    sealed = payload.pack(before, purpose=payload.BEFORE)
    with transaction.atomic(), plain_cursor() as cursor:
        leases.write(chunk, "intended_at = clock_timestamp(), idempotency_key = %s, jobs = '{}'", [key])
        # The partition's keys: the database else looks in every one.
        cursor.execute("SELECT project_id, month FROM runs_chunk WHERE id = %s", [chunk.id])
        [place] = cursor.fetchall()
        cursor.execute(
            "UPDATE runs_chunkcontent SET before = %b WHERE project_id = %s AND month = %s AND chunk_id = %s",
            [sealed, *place, chunk.id],
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
