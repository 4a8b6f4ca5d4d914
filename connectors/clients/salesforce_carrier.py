"""Which way records travel to Salesforce: collections for few, a bulk job for many, one by one for the stubborn."""

from typing import Final

import polars as pl

from connectors.clients import salesforce_collections as collections
from connectors.clients import salesforce_ingest as ingest
from connectors.clients.salesforce_errors import BulkUnsupported
from connectors.clients.salesforce_refusals import AGAIN, REFUSALS
from connectors.clients.salesforce_sending import Sending, no_answers
from connectors.clients.salesforce_session import SalesforceSession

BULK_ABOVE: Final = collections.MOST  # records of a first round
SINGLY: Final = 25  # records of a later round that are sent one by one: locks let one at a time through
SMALLER: Final = 50  # records of a call in which locked ones are tried again
MANY_LOCKED: Final = 2_000  # records above which locked ones go by a job, sorted, once more
WAITS: Final = (0.0, 2.0, 5.0, 10.0)  # seconds before each round, where the one before met locks

ALERT: Final = "DUPLICATES_DETECTED"

AGAIN_CODES: Final = frozenset(code for code, found in REFUSALS.items() if found.kind in AGAIN)


def carry(session: SalesforceSession, sending: Sending, *, number: int, refusals: pl.Series) -> pl.DataFrame:
    """``ANSWERS`` of the records whose fate is certain after this round. ``refusals`` are the codes these records
    had from the round before (null: none). From the second round on, every record is named by its answer."""
    few = collections.MOST if number == 0 else 1
    size = _size(len(sending), number, refusals)
    if size:
        return collections.send(session, sending, size=size)
    unfit = ingest.unfit(sending)
    try:
        answers = ingest.send(session, sending.where(~unfit)) if not unfit.all() else no_answers()
    except BulkUnsupported:
        return collections.send(session, sending, size=few)
    # A job knows no header that overrides the alerts of duplicate rules; a collection does.
    alerted = pl.lit(session.options.saves_duplicates) & (pl.col("code") == ALERT).fill_null(value=False)
    others = unfit | sending.refs.is_in(answers.filter(alerted)["ref"].implode())
    return pl.concat([answers.filter(~alerted), collections.send(session, sending.where(others), size=few)])


def pause(session: SalesforceSession, number: int, refusals: pl.Series) -> None:
    """Give locks time to go; that they were met, and how it goes on, is told."""
    locked = int(refusals.is_in(AGAIN_CODES).fill_null(value=False).sum()) if number else 0
    if locked:
        size = _size(len(refusals), number, refusals)
        how = "in a bulk job sorted by parent" if not size else "one by one" if size == 1 else f"{size} at a time"
        session.journal.tell(
            f"{locked:,} records were locked or could not be written at that moment; {len(refusals):,} are tried again "
            f"in {WAITS[number]:g} s, {how}."
        )
        session.clock.sleep(WAITS[number])


def _size(records: int, number: int, refusals: pl.Series) -> int:
    """Records per collection; 0 for a bulk job."""
    if number == 0:
        return collections.MOST if records <= BULK_ABOVE else 0
    if records <= SINGLY:
        return 1
    only_locked = refusals.is_in(AGAIN_CODES).fill_null(value=False).all()
    return SMALLER if number == 1 and only_locked and records <= MANY_LOCKED else 0
