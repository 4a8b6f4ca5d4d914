"""Chunks as they come from a source, each committed with the place where reading goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from django.db import connection, transaction
from psycopg.types.json import Jsonb

from runs import leases, payload
from runs.crash_points import CrashPoint, reached
from runs.leases import Lease
from runs.ledger.contents import keep
from runs.ledger.shapes import Mark


def stage(
    step: Lease, frame: pl.DataFrame, cursor_after: Mapping[str, Any] | None, *, watermark: Mark | None = None
) -> None:
    """Commit one page: its chunk, and where reading continues. A crash neither loses nor repeats it.

    An empty page only moves the cursor. ``cursor_after`` None ends the extraction, and the lease. ``watermark`` is the
    latest change on the page, by the source's clock. Raises LeaseLost.
    """
    sealed = payload.pack(frame, purpose=payload.PAYLOAD) if frame.height else b""
    with transaction.atomic():
        ended = cursor_after is None
        (leases.settle if ended else leases.write)(
            step,
            """cursor = %s, read = read + %s, started_at = coalesce(started_at, clock_timestamp()),
               extracted_at = CASE WHEN %s THEN clock_timestamp() END,
               (watermark, watermark_id) =
               (SELECT at, id FROM (VALUES (watermark, watermark_id), (%s::timestamptz, %s::text)) AS mark (at, id)
                 ORDER BY at DESC NULLS LAST, id COLLATE "C" DESC LIMIT 1)""",
            [Jsonb(cursor_after), frame.height, ended, *((watermark.at, watermark.id) if watermark else (None, ""))],
        )
        reached(CrashPoint.STAGE_IN_TRANSACTION)
        if frame.height:
            _insert_chunk(step.id, frame.height, sealed)
    reached(CrashPoint.STAGED)


def stage_more(run: Lease, step_id: int, frames: Sequence[pl.DataFrame]) -> None:
    """Commit chunks of a step that has been read, under the lease on the run. Raises LeaseLost."""
    with transaction.atomic(), connection.cursor() as cursor:
        leases.renew(run)
        for frame in frames:
            _insert_chunk(step_id, frame.height, payload.pack(frame, purpose=payload.PAYLOAD))
        cursor.execute(
            "UPDATE runs_step SET read = read + %s WHERE id = %s", [sum(frame.height for frame in frames), step_id]
        )
        reached(CrashPoint.WAITING_IN_TRANSACTION)
    reached(CrashPoint.WAITING_STAGED)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a chunk: its records, sealed, and the idempotency key of loading them."""

    records: int
    sealed: bytes
    key: str


def part(chunk: Lease, parts: Sequence[Part]) -> None:
    """Commit two parts in place of a chunk, the first under its own id, and end the lease.

    Both keep the before-images of all, count as left by one holder, and where the chunk may have been sent, so may
    they. Raises LeaseLost.
    """
    first, second = parts
    with transaction.atomic(), connection.cursor() as cursor:
        leases.settle(
            chunk,
            """state = 'staged', deaths = 1, jobs = '{}', match_registered = false, records = %s,
               idempotency_key = CASE WHEN idempotency_key = '' THEN '' ELSE %s END""",
            [first.records, first.key],
        )
        cursor.execute("SELECT step_id, project_id, month FROM runs_chunk WHERE id = %s", [chunk.id])
        step_id, *place = cursor.fetchone()
        cursor.execute(
            "UPDATE runs_chunkcontent SET payload = %s WHERE project_id = %s AND month = %s AND chunk_id = %s",
            [first.sealed, *place, chunk.id],
        )
        other = _insert_chunk(step_id, second.records, second.sealed)
        cursor.execute(
            """UPDATE runs_chunk c SET deaths = 1, intended_at = o.intended_at,
                      idempotency_key = CASE WHEN o.idempotency_key = '' THEN '' ELSE %s END
                 FROM runs_chunk o WHERE o.id = %s AND c.id = %s""",
            [second.key, chunk.id, other],
        )
        cursor.execute(
            """UPDATE runs_chunkcontent k SET before = o.before FROM runs_chunkcontent o
                WHERE k.project_id = %s AND k.month = %s AND k.chunk_id = %s
                  AND o.project_id = k.project_id AND o.month = k.month AND o.chunk_id = %s""",
            [*place, other, chunk.id],
        )


def stage_again(run_id: int) -> None:
    """Let the chunks of a run that were set aside be tried again, in the caller's transaction, and link anew what may
    have waited for their records."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE runs_chunk SET state = 'loaded', relinked_at = NULL
                WHERE run_id = %(run)s AND state IN ('loaded', 'verified') AND deferred > 0
                  AND EXISTS (SELECT 1 FROM runs_chunk f WHERE f.run_id = %(run)s AND f.state = 'failed')""",
            {"run": run_id},
        )
        cursor.execute(
            """UPDATE runs_chunk SET state = CASE state WHEN 'failed' THEN 'staged' ELSE state END, attempts = 0
                WHERE run_id = %s AND (state = 'failed' OR attempts <> 0)""",
            [run_id],
        )


def _insert_chunk(step_id: int, records: int, sealed: bytes) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO runs_chunk (run_id, step_id, project_id, month, sequence, records)
               SELECT s.run_id, s.id, r.project_id, date_trunc('month', r.created_at AT TIME ZONE 'UTC'),
                      (SELECT coalesce(max(c.sequence) + 1, 0) FROM runs_chunk c WHERE c.step_id = s.id), %s
                 FROM runs_step s JOIN runs_run r ON r.id = s.run_id WHERE s.id = %s
               RETURNING id, project_id, month""",
            [records, step_id],
        )
        chunk_id, project_id, month = cursor.fetchone()
        keep(chunk_id, project_id, month, sealed)
    return int(chunk_id)
