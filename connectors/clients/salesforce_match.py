"""Which records of an org agree in several fields, compared as the org compares, and giving found records our key."""

from collections.abc import Sequence
from typing import Final

import polars as pl

from connectors.clients import salesforce_lookup as lookup
from connectors.clients.salesforce_carrier import AGAIN_CODES, WAITS, carry, pause
from connectors.clients.salesforce_columns import long_ids, wire
from connectors.clients.salesforce_results import NOTHING, REFUSAL, given_up, landed, rejected
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_sending import Operation, Sending, no_answers
from connectors.clients.salesforce_session import SalesforceSession
from connectors.errors import SettingsInvalid
from connectors.types import FieldType, Outcome

_ASKABLE: Final = frozenset(
    {FieldType.TEXT, FieldType.PICKLIST, FieldType.REFERENCE, FieldType.INTEGER, FieldType.DECIMAL}
)


def find(session: SalesforceSession, sobject: SObject, match: pl.DataFrame, *, key: str) -> pl.DataFrame:
    """As ``Target.find``. The org is asked by the field with the most values; the others are compared here.

    Raises SettingsInvalid where none of the fields may stand in a condition.
    """
    names = match.columns
    asked = wire(match, sobject.schema, names).with_row_index("·row")
    by = _asked_by(sobject, asked, names)
    wanted = [name for name in dict.fromkeys([*names, key]) if name != by]
    held = lookup.find(session, sobject, key=by, keys=asked[by].unique().to_list(), fields=wanted)
    held = wire(held, sobject.schema, wanted).rename({"key": by})
    found = _folded(sobject, asked, names).join(_folded(sobject, held, names), on=[f"·{name}" for name in names])
    # Two spellings of one value bring the same record twice.
    hits = found.select("·row", "target_id", pl.col(f"{key}·held" if key in names else key).alias("key")).unique(
        maintain_order=True
    )
    return pl.concat([match[hits["·row"]], hits.drop("·row")], how="horizontal")


def _asked_by(sobject: SObject, asked: pl.DataFrame, names: Sequence[str]) -> str:
    fit = [
        name for name in names if name in sobject.filterable and sobject.schema.field(name).type in _ASKABLE
    ]  # fmt: skip
    if not fit:
        raise SettingsInvalid(
            f"Records of {sobject.schema.entity.name} cannot be looked up by {', '.join(names)}: Salesforce takes none "
            "of these fields in a condition. Choose a text, a number or a reference to match by."
        )
    return max(fit, key=lambda name: asked[name].n_unique())


def _folded(sobject: SObject, rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """With a column per field in which values are equal that the org takes for the same."""
    return rows.with_columns(lookup.folded(sobject, name, rows[name]).alias(f"·{name}") for name in names)


def adopt(session: SalesforceSession, sobject: SObject, rows: pl.DataFrame, *, key: str) -> pl.DataFrame:
    """As ``Target.adopt``: a result (``RESULT_SCHEMA``) per ``target_id`` of ``rows``. In rounds like writing."""
    left = rows.select(
        pl.col("target_id").alias("key"),
        pl.col("target_id").map_batches(long_ids, return_dtype=pl.String),
        pl.col("key").alias("value"),
    ).with_columns(NOTHING.alias(name) for name in REFUSAL)
    settled = []
    for number in range(len(WAITS)):
        if left.is_empty():
            break
        pause(session, number, left["code"])
        found, left = _sorted_out(session, sobject, left, key, number)
        answers = _given(session, sobject, left, key, number)
        told = left.drop(*REFUSAL).join(answers, on="target_id", how="left")
        again = pl.col("code").is_null() | pl.col("code").is_in(AGAIN_CODES)
        done = pl.col("is_done").fill_null(value=False)
        settled += [
            *found,
            landed(told.filter(done), pl.lit(Outcome.UPDATED)),
            rejected(told.filter(~done & ~again)),
        ]
        left = told.filter(~done & again).drop("is_done")
    return pl.concat([*settled, given_up(sobject, left)])


def _sorted_out(
    session: SalesforceSession, sobject: SObject, rows: pl.DataFrame, key: str, number: int
) -> tuple[list[pl.DataFrame], pl.DataFrame]:
    """Results of the records there is nothing to send of, and the others."""
    held = lookup.find(session, sobject, key="Id", keys=rows["target_id"].to_list(), fields=[key])
    held = wire(held, sobject.schema, [key]).select("target_id", pl.col(key).alias("held"))
    looked = rows.join(held.with_columns(there=pl.lit(value=True)), on="target_id", how="left")
    looked = looked.with_columns(
        same=lookup.folded(sobject, key, looked["held"]).eq_missing(lookup.folded(sobject, key, looked["value"]))
    )
    gone = pl.col("there").is_null()
    taken = ~pl.col("same") & pl.col("held").is_not_null() & pl.col("value").is_not_null()
    is_so = ~gone & pl.col("same")
    outcome = pl.lit(Outcome.UPDATED if number else Outcome.UNCHANGED)
    return [
        _refused(looked.filter(gone), key, "The record is gone from the org. Load it again to create it anew."),
        _refused(
            looked.filter(~gone & taken), key, "The record in the org has got another key meanwhile. Load it again."
        ),
        landed(looked.filter(is_so), outcome),
    ], looked.filter(~gone & ~taken & ~is_so).select(rows.columns)


def _refused(rows: pl.DataFrame, key: str, message: str) -> pl.DataFrame:
    return rows.select(
        "key",
        NOTHING.alias("target_id"),
        outcome=pl.lit(str(Outcome.REJECTED)),
        code=pl.lit("not_adopted"),
        fields=pl.lit(key),
        message=pl.lit(message),
    )


def _given(session: SalesforceSession, sobject: SObject, rows: pl.DataFrame, key: str, number: int) -> pl.DataFrame:
    """Answers by ``target_id``, with ``is_done``."""
    values = rows.select(pl.col("value").alias(key))
    carried = values.with_columns(pl.lit(value=True).alias(key))
    sending = Sending(sobject, Operation.UPDATE, "Id", rows["target_id"], values, carried)
    answers = carry(session, sending, number=number, refusals=rows["code"]) if rows.height else no_answers()
    return answers.select(pl.col("ref").alias("target_id"), pl.col("code").is_null().alias("is_done"), *REFUSAL)
