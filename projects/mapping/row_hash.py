"""The fingerprint of a target row, by which a later run knows that nothing changed."""

import hashlib

import polars as pl
import polars_hash  # noqa: F401 - registers the expression namespace ``nchash``

from projects.mapping.transformed import RECORD_ID, RECORD_PART

_NOT_CONTENT = frozenset({RECORD_ID, RECORD_PART})


def row_hash(rows: pl.DataFrame) -> pl.Series:
    """A hash of 128 bits (String, 32 hex digits) per row over the names, types and values of all target fields.

    ``rows`` is ``Transformed.rows``; ``RECORD_ID`` and ``RECORD_PART`` say whose content it is and do not
    count. The same content gives the same digits whatever the order of columns, the process, the machine
    and the version of Polars: the values are spelled by rules of this module and hashed by XXH3-128,
    whose values are fixed since xxHash 0.8.0 (https://github.com/Cyan4973/xxHash). Null and empty text
    differ, and no two rows spell the same text: the lengths of all texts go first.
    """
    names = sorted(set(rows.columns) - _NOT_CONTENT)
    texts = [pl.col(name) for name in names if isinstance(rows.schema[name], pl.String)]
    lengths = [text.str.len_bytes().cast(pl.String).fill_null("~") for text in texts]
    others = [_spelled(name, dtype) for name in names if not isinstance(dtype := rows.schema[name], pl.String)]
    seed = _schema_seed(rows, names)
    spelled = pl.concat_str([*lengths, *others, *texts] or [pl.lit("")], separator=",", ignore_nulls=True)
    hashed = spelled.nchash.xxh3_128(seed=seed, return_binary=True, byte_order="big")  # type: ignore[attr-defined]
    return rows.select(hashed.bin.encode("hex").alias("row_hash")).to_series()


def _schema_seed(rows: pl.DataFrame, names: list[str]) -> int:
    """64 bits of the fields' names and types, so that 1 as a number and 1 as a text differ."""
    described = "\x00".join(f"{name}\x00{_type_name(rows.schema[name])}" for name in names)
    return int.from_bytes(hashlib.blake2b(described.encode(), digest_size=8).digest(), "big")


def _type_name(dtype: pl.DataType) -> str:
    """Our own names: how Polars writes a type may change."""
    if isinstance(dtype, pl.Decimal):
        return f"decimal {dtype.scale}"
    names = {
        pl.String: "text",
        pl.Int64: "integer",
        pl.Float64: "float",
        pl.Boolean: "boolean",
        pl.Date: "date",
        pl.Time: "time",
        pl.Datetime: "datetime",
    }
    return names[dtype.base_type()]


def _spelled(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.Float64):
        column = column.reinterpret(dtype=pl.Int64)
    elif isinstance(dtype, pl.Boolean):
        column = column.cast(pl.Int8)
    else:
        column = column.to_physical()
    return column.cast(pl.String).fill_null("~")
