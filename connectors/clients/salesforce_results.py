"""Results of writing to an object, and the rows they are made of.

A row has the record's ``key`` (text), the fields in the wire notation, and the refusal it had last (``code``,
``fields``, ``said``; null where there was none).
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from connectors.clients import salesforce_lookup as lookup
from connectors.clients.salesforce_refusals import sentence
from connectors.clients.salesforce_schema import SObject
from connectors.errors import Unavailable
from connectors.types import Outcome

NOTHING: Final = pl.lit(None, pl.String)
REFUSAL: Final = ("code", "fields", "said")


def clashing(sobject: SObject, rows: pl.DataFrame, key: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Refusals of rows whose keys the org takes for the same, and the other rows: neither of two may win."""
    clash = lookup.folded(sobject, key, rows["key"]).is_duplicated()
    clashing = rows.filter(clash)
    message = pl.format(
        "Several records come with the key “{}”, which {} does not tell apart. Make the keys differ by more than "
        "capitals.",
        "key",
        pl.lit(f"{sobject.schema.entity.name}.{key}"),
    )
    return _results(clashing, code="DUPLICATE_EXTERNAL_ID", fields=pl.lit(key), message=message), rows.filter(~clash)


def several(twins: pl.DataFrame, sobject: SObject, key: str) -> pl.DataFrame:
    message = pl.format(
        "Several {} of the org have the {} “{}”: {}. Leave the key on one of them only.",
        pl.lit(sobject.schema.entity.label),
        pl.lit(key),
        "key",
        "target_id",
    )
    return _results(twins, code="DUPLICATE_EXTERNAL_ID", fields=pl.lit(key), message=message)


def fixed_fields(rows: pl.DataFrame, fixed: Sequence[str]) -> pl.DataFrame:
    """Refusals of known records that differ in fields which are set on creation only."""
    named = [pl.when(pl.col(sent_mark(name))).then(pl.lit(name)) for name in fixed]
    fields = pl.concat_str(named, separator=",", ignore_nulls=True) if named else pl.lit("")
    message = pl.format(
        "The record in the org has another value in {}, which is set on creation only. Leave the field out of the "
        "mapping, or delete the record there and load it again.",
        fields,
    )
    return _results(rows, code="FIELD_NOT_UPDATABLE", fields=fields, message=message)


def landed(rows: pl.DataFrame, outcome: pl.Expr) -> pl.DataFrame:
    return rows.select(
        "key",
        "target_id",
        outcome.cast(pl.String).alias("outcome"),
        *(NOTHING.alias(name) for name in ("code", "fields", "message")),
    )


def rejected(rows: pl.DataFrame) -> pl.DataFrame:
    """Refusals in Salesforce's words and ours."""
    told = [sentence(code, said or "") for code, said in rows.select("code", "said").iter_rows()]
    message = pl.lit(pl.Series(told, dtype=pl.String))
    return _results(rows, code=pl.col("code"), fields=pl.col("fields"), message=message)


def _results(rows: pl.DataFrame, *, code: pl.Expr | str, fields: pl.Expr, message: pl.Expr) -> pl.DataFrame:
    return rows.select(
        "key",
        NOTHING.alias("target_id"),
        pl.lit(Outcome.REJECTED).cast(pl.String).alias("outcome"),
        (pl.lit(code) if isinstance(code, str) else code).alias("code"),
        fields.cast(pl.String).alias("fields"),
        message.alias("message"),
    )


def given_up(sobject: SObject, rows: pl.DataFrame) -> pl.DataFrame:
    """Refusals of what is open after the last round; raises Unavailable where Salesforce never answered."""
    silent = rows.filter(pl.col("code").is_null())
    if silent.height:
        raise Unavailable(
            f"Salesforce told nothing about {silent.height} records of {sobject.schema.entity.name}, among them "
            f"{silent['key'][0]}. They are looked for before anything is sent again."
        )
    return rejected(rows)


def sent_mark(name: str) -> str:
    """The column that says whether a row carries the field."""
    return f"{name}·sent"
