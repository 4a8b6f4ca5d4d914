"""What became of a chunk's records: states, findings and counts in one commit."""

from dataclasses import fields

import polars as pl
from django.db import connection, transaction

from runs import leases
from runs.choices import RecordState
from runs.crash_points import CrashPoint, reached
from runs.leases import Lease
from runs.ledger.findings import replace_findings
from runs.ledger.insertions import settle_insertions
from runs.ledger.shapes import Counts, Place
from runs.ledger.tracked import track
from runs.models import Finding


def record(
    chunk: Lease,
    place: Place,
    outcomes: pl.DataFrame,
    findings: pl.DataFrame,
    counts: Counts,
    *,
    relinked: pl.Series | None = None,
) -> None:
    """Commit what became of a chunk's records: tracked records, findings, counts and state as one.

    ``relinked`` are the source ids that were brought again; what was found about the chunk's other records
    stays. Raises LeaseLost, and then nothing is written.
    """
    unsent = outcomes.filter(pl.col("hash").is_null() & (pl.col("state") != RecordState.DELETED))["source_id"]
    with transaction.atomic():
        settle_loaded(chunk, counts, unsent, relinked=relinked)
        reached(CrashPoint.RECORD_IN_TRANSACTION)
        track(place, chunk.id, outcomes)
        settle_insertions(place, outcomes["source_id"])
        replace_findings(place, chunk.id, Finding.Phase.LOAD, findings, of=relinked)


def rehearsed(
    chunk: Lease, place: Place, findings: pl.DataFrame, counts: Counts, *, relinked: pl.Series | None = None
) -> None:
    """As ``record``, of a dry run: where the records stand does not change. In the caller's transaction."""
    settle_loaded(chunk, counts, pl.Series(dtype=pl.String), relinked=relinked)
    replace_findings(place, chunk.id, Finding.Phase.LOAD, findings, of=relinked)


_UNSENT = """unsent = ARRAY(SELECT id FROM unnest(unsent) AS id WHERE NOT id = ANY(coalesce(%s::text[], unsent))
                           UNION SELECT unnest(%s::text[]))"""


def settle_loaded(chunk: Lease, counts: Counts, unsent: pl.Series, *, relinked: pl.Series | None) -> None:
    """``unsent`` are the records that the chunk touched without writing them: nothing of it is to be taken back."""
    names = [field.name for field in fields(counts)]
    leases.settle(
        chunk,
        f"""state = 'loaded', loaded_at = coalesce(loaded_at, clock_timestamp()),
            {_UNSENT},
            relinked_at = CASE WHEN %s THEN clock_timestamp() END, {", ".join(f"{name} = %s" for name in names)}""",
        [
            None if relinked is None else relinked.to_list(),
            unsent.to_list(),
            relinked is not None,
            *(getattr(counts, name) for name in names),
        ],
    )


def relink_again(run_id: int) -> None:
    """Let the chunks of a run that still wait be relinked once more, in the caller's transaction: a parent came."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE runs_chunk SET relinked_at = NULL
                WHERE run_id = %s AND state = 'loaded' AND deferred > 0 AND relinked_at IS NOT NULL""",
            [run_id],
        )
