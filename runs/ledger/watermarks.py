"""How far runs have read a source: its changes by its clock, its deletions by ours."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import connection

from runs.ledger.shapes import Mark

FEED_SKEW = timedelta(days=1)
"""How far before the last look a feed of deletions is asked: a deletion has no watermark but our clock, which may
be wrong; one that is told twice is harmless."""


def watermark(object_id: int) -> Mark | None:
    """As ``watermarks``, of one object."""
    return watermarks([object_id]).get(object_id)


def watermarks(object_ids: Sequence[int]) -> dict[int, Mark]:
    """Object id → the latest change of the source that runs have read and brought; absent where none did in full.

    A step counts once all it read was brought: what was staged and never loaded must be read again. Records
    that were refused do not hold it back; they stay due by themselves. Nor does a run count that was taken back
    since, or a later one that built on it: what was taken back must be read again. Where a run left something due
    and a later one that may have brought it was taken back, it does not count either: that is due no more, and only
    reading finds it. Nor one from before the choice of records was changed: what is chosen newly may be old. What
    people took back by choice, other than with a run, holds nothing back: no delta brings it (``taken_out``), and only
    a load or a retry of it does.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT ON (s.object_id) s.object_id, s.watermark, s.watermark_id
                 FROM runs_step s JOIN runs_run r ON r.id = s.run_id
                 JOIN projects_projectobject o ON o.id = s.object_id
                  AND r.id > coalesce((o.selection->>'after_run')::bigint, 0)
                WHERE s.object_id = ANY(%s) AND s.watermark IS NOT NULL AND s.extracted_at IS NOT NULL
                  AND r.kind IN ('load', 'delta') AND s.task = 'bring'
                  AND NOT EXISTS (SELECT 1 FROM runs_run b JOIN runs_run u ON u.id = b.undoes_id
                                   WHERE b.project_id = r.project_id AND b.id > r.id AND b.planned_at IS NOT NULL
                                     AND (u.id <= r.id OR u.kind = 'retry' OR EXISTS (
                                           SELECT 1 FROM runs_chunk c WHERE c.step_id = s.id
                                              AND c.rejected + c.deferred + c.conflicts > 0)))
                  AND NOT EXISTS (SELECT 1 FROM runs_chunk c
                                   WHERE c.step_id = s.id AND c.state IN ('staged', 'loading', 'failed'))
                ORDER BY s.object_id, s.watermark DESC, s.watermark_id COLLATE "C" DESC""",
            [list(object_ids)],
        )
        return {object_id: Mark(at, source_id) for object_id, at, source_id in cursor.fetchall()}


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
