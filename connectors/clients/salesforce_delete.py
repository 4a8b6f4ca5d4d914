"""Deleting records by id, in rounds like writing: locked ones again, lost answers looked up."""

from collections.abc import Sequence
from typing import Final

import polars as pl

from connectors.clients import salesforce_lookup as lookup
from connectors.clients.salesforce_carrier import AGAIN_CODES, WAITS, carry, pause
from connectors.clients.salesforce_columns import long_ids
from connectors.clients.salesforce_results import NOTHING, REFUSAL, given_up, landed, rejected
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_sending import Operation, Sending, no_answers
from connectors.clients.salesforce_session import SalesforceSession
from connectors.types import Outcome

_GONE: Final = frozenset({"ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "NOT_FOUND"})
_ID: Final = r"^[A-Za-z0-9]{18}$"


def delete(session: SalesforceSession, sobject: SObject, target_ids: Sequence[str]) -> pl.DataFrame:
    """A result per id: deleted what was there, unchanged what was gone or never was an id."""
    keys = pl.Series("key", target_ids, dtype=pl.String).unique(maintain_order=True)
    rows = pl.DataFrame([keys, long_ids(keys).alias("target_id")])
    rows = rows.with_columns(NOTHING.alias(name) for name in REFUSAL)
    is_id = pl.col("target_id").str.contains(_ID)
    settled = [landed(rows.filter(~is_id), pl.lit(Outcome.UNCHANGED))]
    rows = rows.filter(is_id)
    for number in range(len(WAITS)):
        if rows.is_empty():
            break
        pause(session, number, rows["code"])
        # Only what is there is sent: the id of another object's record would delete that record.
        there = pl.col("target_id").is_in(lookup.existing(session, sobject, rows["target_id"].to_list()).implode())
        settled.append(landed(rows.filter(~there), pl.lit(Outcome.DELETED if number else Outcome.UNCHANGED)))
        rows = rows.filter(there)
        told = rows.drop(*REFUSAL).join(_deletion(session, sobject, rows, number), on="target_id", how="left")
        is_gone = (pl.col("is_done") | pl.col("code").is_in(_GONE)).fill_null(value=False)
        again = pl.col("code").is_null() | pl.col("code").is_in(AGAIN_CODES)
        settled += [
            landed(told.filter(is_gone), pl.lit(Outcome.DELETED)),
            rejected(told.filter(~is_gone & ~again)),
        ]
        rows = told.filter(~is_gone & again).drop("is_done")
    return pl.concat([*settled, given_up(sobject, rows)])


def _deletion(session: SalesforceSession, sobject: SObject, rows: pl.DataFrame, number: int) -> pl.DataFrame:
    """Answers by ``target_id``, with ``is_done``."""
    ids = rows["target_id"].unique(maintain_order=True)
    nothing = pl.DataFrame()
    sending = Sending(sobject, Operation.DELETE, "Id", ids, nothing, nothing)
    answers = carry(session, sending, number=number, refusals=rows["code"]) if rows.height else no_answers()
    return answers.select(pl.col("ref").alias("target_id"), pl.col("code").is_null().alias("is_done"), *REFUSAL)
