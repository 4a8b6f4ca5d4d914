"""What became of records that were taken back, in one commit."""

import polars as pl
from django.db import connection, transaction
from psycopg import sql

from connectors.clients.postgresql import copy_frame
from runs.choices import RecordState
from runs.crash_points import CrashPoint, reached
from runs.leases import Lease
from runs.ledger.findings import replace_findings
from runs.ledger.insertions import settle_insertions
from runs.ledger.outcomes import settle_loaded
from runs.ledger.shapes import UNDONE_COLUMNS, Counts, Place
from runs.models import Finding


def undone(
    chunk: Lease,
    place: Place,
    outcomes: pl.DataFrame,
    findings: pl.DataFrame,
    counts: Counts,
    *,
    relinked: pl.Series | None = None,
) -> None:
    """Commit what became of records that were taken back, as ``record`` does.

    ``outcomes`` has ``source_id, part, state, code, reason``, ``gone`` (Boolean), ``target_id`` (where it is another
    one now), ``hash``, ``earlier`` (the chunks that touched the record before those taken back, a list of Int64)
    and ``again`` (Boolean: it stands in the target as one of them left it). Gone records leave the id map and lose
    their hash, so that a later run writes them again. One that is there ``again`` is loaded, with the hash of what
    it holds and without the chunks that were taken back, so that the earlier run can be taken back too. One that
    was there before us is not ours any more.
    """
    held_back = (RecordState.CONFLICT, RecordState.DEFERRED, RecordState.GONE)
    unsent = outcomes.filter(pl.col("state").is_in(held_back))["source_id"]
    with transaction.atomic(), connection.cursor() as cursor:
        settle_loaded(chunk, counts, unsent, relinked=relinked)
        reached(CrashPoint.UNDONE_IN_TRANSACTION)
        cursor.execute(
            """CREATE TEMP TABLE IF NOT EXISTS ledger_undone (source_id text, part text, state text, code text,
               reason text, gone boolean, target_id text, hash uuid, earlier bigint[], again boolean)"""
        )
        cursor.execute("TRUNCATE ledger_undone")
        copy_frame(cursor.cursor, sql.Identifier("ledger_undone"), outcomes.select(UNDONE_COLUMNS))
        cursor.execute(
            """UPDATE runs_trackedrecord known
                  SET state = CASE WHEN u.again THEN 'loaded' ELSE u.state END,
                      code = u.code, reason = u.reason, run_id = %(run)s,
                      target_id = CASE WHEN u.gone THEN NULL ELSE coalesce(u.target_id, known.target_id) END,
                      hash = CASE WHEN u.again THEN u.hash WHEN u.state = 'rolled_back' THEN NULL ELSE known.hash END,
                      chunks = CASE WHEN u.again THEN u.earlier
                                    WHEN known.chunks @> ARRAY[%(chunk)s::bigint] THEN known.chunks
                                    ELSE known.chunks || %(chunk)s::bigint END
                 FROM ledger_undone u
                WHERE known.project_id = %(project)s AND known.object_id = %(object)s
                  AND known.source_id = u.source_id AND known.part = u.part""",
            {"run": place.run_id, "chunk": chunk.id, "project": place.project_id, "object": place.object_id},
        )
        settle_insertions(place, outcomes["source_id"])
        replace_findings(place, chunk.id, Finding.Phase.LOAD, findings, of=relinked)


def give_up_waiting(run_id: int) -> None:
    """What waited in vain to be taken back or deleted is a conflict, which people settle, and not a record that is due
    to be loaded. In the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE runs_chunk c SET conflicts = c.conflicts + c.deferred, deferred = 0
                 FROM runs_step s JOIN runs_run r ON r.id = s.run_id
                WHERE s.id = c.step_id AND s.run_id = %s AND c.deferred > 0
                  AND (r.kind = 'rollback' OR s.task = 'delete')""",
            [run_id],
        )
        cursor.execute(
            """UPDATE runs_trackedrecord t SET state = 'conflict' FROM runs_run r
                WHERE r.id = %s AND r.kind = 'rollback' AND t.project_id = r.project_id AND t.run_id = r.id
                  AND t.state = 'deferred'""",
            [run_id],
        )
