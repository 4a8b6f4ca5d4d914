"""Columns of typed values and the text Salesforce writes them in: for JSON, for CSV and for comparing.

The *wire notation* is one text per value, null for blank: ``true``/``false``, plain decimals, ``2026-11-20``,
``2026-11-20T08:00:00.000Z``, ``08:00:00.000Z``, ids of 18 characters. A moment has a precision of one second,
says the vendor's guide of primitive types, so its fraction is cut off.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson
import polars as pl

from connectors import pictures
from connectors.contents import same
from connectors.errors import ContractChanged
from connectors.types import EntitySchema, FieldInfo, FieldType
from connectors.values import blank_to_null, plain_number

CSV_NULL: Final = "#N/A"  # https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch
DATETIME: Final = pl.Datetime("us", "UTC")
_BARE_JSON: Final = frozenset({FieldType.BOOLEAN, FieldType.INTEGER, FieldType.DECIMAL, FieldType.FLOAT})
_EXACT: Final = pl.Decimal(38, 18)  # the API gives all digits stored, also those behind the described scale
_SUFFIX: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def typed(frame: pl.DataFrame, schema: EntitySchema, names: Sequence[str]) -> pl.DataFrame:
    """Columns ``names`` of a source frame in the types the mapping gives; raises ContractChanged for a text that
    is no value of its field's type."""
    found = frame.with_columns(_read(schema.field(name)) for name in names)
    for name in names:
        if found[name].null_count() > frame[name].null_count():
            odd = frame.filter(found[name].is_null() & frame[name].is_not_null())[name][0]
            raise ContractChanged(
                f"Salesforce gave “{odd[:40]}” for {schema.entity.name}.{name}, which is no "
                f"{schema.field(name).type.value}. Describe the object again."
            )
    return found


def wire(frame: pl.DataFrame, schema: EntitySchema, names: Sequence[str]) -> pl.DataFrame:
    """Columns ``names`` of a typed frame in the wire notation, all String."""
    return frame.with_columns(_written(schema.field(name)) for name in names)


def differing(info: FieldInfo, one: pl.Expr, other: pl.Expr) -> pl.Expr:
    """Whether two values of the field in the wire notation differ."""
    if info.type is FieldType.CONTENT:
        return ~same(one, other)
    return comparable(info, one).ne_missing(comparable(info, other))


def comparable(info: FieldInfo, text: pl.Expr) -> pl.Expr:
    """The field's wire text such that equal values have equal texts: Salesforce orders a multi-select's values
    as its picklist does, not as they were sent, and keeps pictures of rich texts at places of its own."""
    if info.type is FieldType.MULTIPICKLIST:
        return text.str.split(";").list.sort().list.join(";")
    return pictures.wherever(text) if info.rich else text


def json_records(values: pl.DataFrame, sent: pl.DataFrame, schema: EntitySchema) -> list[dict[str, Any]]:
    """Each row's values as JSON members; those not ``sent`` (booleans, same columns) are left out."""
    bare = [schema.field(name).type in _BARE_JSON for name in values.columns]
    return [
        {
            name: orjson.Fragment(value) if is_bare and value is not None else value
            for name, value, is_sent, is_bare in zip(values.columns, row, flags, bare, strict=True)
            if is_sent
        }
        for row, flags in zip(values.iter_rows(), sent.iter_rows(), strict=True)
    ]


def csv_cells(values: pl.DataFrame, sent: pl.DataFrame) -> pl.DataFrame:
    """The cells of a bulk file: ``#N/A`` sets null, an empty cell leaves the field alone."""
    return pl.DataFrame(
        [
            pl.select(pl.when(sent[name]).then(values[name].fill_null(CSV_NULL)).otherwise(pl.lit(""))).to_series().alias(name)
            for name in values.columns
        ]
    )  # fmt: skip


def long_ids(ids: pl.Series) -> pl.Series:
    """Ids of 15 characters as the 18 that do not depend on case; any other text stays as it is."""
    short = ids.str.contains(r"^[A-Za-z0-9]{15}$").fill_null(value=False)
    if not short.any():
        return ids
    some = ids.filter(short).unique()
    return ids.replace(some, pl.Series([_long_id(value) for value in some.to_list()], dtype=pl.String))


def _long_id(short: str) -> str:
    """https://help.salesforce.com/s/articleView?id=000383751: a letter per five characters says which are capitals."""
    groups = (short[start : start + 5] for start in range(0, 15, 5))
    capitals = (sum(1 << place for place, letter in enumerate(group) if letter.isupper()) for group in groups)
    return short + "".join(_SUFFIX[bits] for bits in capitals)


def _read(info: FieldInfo) -> pl.Expr:
    return _READERS.get(info.type, _as_it_is)(pl.col(info.name)).alias(info.name)


def _written(info: FieldInfo) -> pl.Expr:
    return _WRITERS.get(info.type, _text)(pl.col(info.name)).alias(info.name)


def _as_it_is(text: pl.Expr) -> pl.Expr:
    return text


def _with_long_ids(text: pl.Expr) -> pl.Expr:
    return text.map_batches(long_ids, return_dtype=pl.String)


def _text(value: pl.Expr) -> pl.Expr:
    return blank_to_null(value.cast(pl.String))


def _plain(value: pl.Expr) -> pl.Expr:
    return plain_number(value.cast(pl.String))


_READERS: Final[Mapping[FieldType, Callable[[pl.Expr], pl.Expr]]] = {
    FieldType.BOOLEAN: lambda text: pl.when(text.is_in(["true", "false"])).then(text == "true"),
    FieldType.INTEGER: lambda text: text.cast(pl.Int64, strict=False),
    FieldType.DECIMAL: lambda text: text.cast(_EXACT, strict=False),
    FieldType.DATE: lambda text: text.str.to_date("%Y-%m-%d", strict=False),
    FieldType.DATETIME: lambda text: text.str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=False
    ),
    FieldType.TIME: lambda text: text.str.strip_chars_end("Z").str.to_time("%H:%M:%S%.f", strict=False),
    FieldType.REFERENCE: _with_long_ids,
}
_WRITERS: Final[Mapping[FieldType, Callable[[pl.Expr], pl.Expr]]] = {
    FieldType.BOOLEAN: lambda value: value.cast(pl.String),
    FieldType.INTEGER: lambda value: value.cast(pl.Int64).cast(pl.String),
    FieldType.DECIMAL: _plain,
    FieldType.FLOAT: _plain,
    FieldType.DATE: lambda value: value.cast(pl.Date).dt.to_string("%Y-%m-%d"),
    FieldType.DATETIME: lambda value: value.cast(DATETIME).dt.truncate("1s").dt.to_string("%Y-%m-%dT%H:%M:%S%.3fZ"),
    FieldType.TIME: lambda value: value.cast(pl.Time).dt.to_string("%H:%M:%S%.3fZ"),
    FieldType.REFERENCE: lambda value: _with_long_ids(_text(value)),
}
