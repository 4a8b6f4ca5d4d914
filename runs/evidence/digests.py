"""Digests and exact sums: how evidence is spelled, sealed and added up, so that anybody gets the same."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from typing import Any

import orjson
import polars as pl

from projects.mapping.row_hash import row_hash

HASHABLE = (pl.String, pl.Int64, pl.Float64, pl.Boolean, pl.Date, pl.Time, pl.Datetime, pl.Decimal)
_LOW = 10**18
_DIGITS = 120
"""More than a sum of any number of 38-digit decimals can have."""


def canonical(value: Any) -> bytes:
    """JSON by RFC 8785: sorted keys, no blanks, UTF-8. Values are texts, whole numbers below 2^53, true, false,
    null, lists and objects with ASCII keys, for which orjson writes just that."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def sha256(value: Any) -> str:
    """64 hex digits over the canonical JSON of the value."""
    return hashlib.sha256(canonical(value)).hexdigest()


def records_digest(rows: pl.DataFrame, columns: Sequence[str]) -> str:
    """SHA-256 over the rows, whatever their order: each value after its length in bytes (``~`` for null), the
    values of a row joined by commas, the rows sorted as bytes and ended by line feeds."""
    if not rows.height:
        return hashlib.sha256(b"").hexdigest()
    lengths = {name: pl.col(name).str.len_bytes().cast(pl.String) for name in columns}
    spelled = [pl.concat_str(lengths[name], pl.lit(":"), pl.col(name)).fill_null("~") for name in columns]
    lines = rows.select(pl.concat_str(spelled, separator=",").sort()).to_series()
    return hashlib.sha256(("\n".join(lines.to_list()) + "\n").encode()).hexdigest()


def held_hashes(rows: pl.DataFrame, fields: Sequence[str]) -> pl.DataFrame:
    """``key`` and ``held``: a hash over the ``fields`` of each row as the target gave them, in its own types."""
    plain = rows.select(
        pl.col(name) if isinstance(rows.schema[name], HASHABLE) else pl.col(name).cast(pl.String) for name in fields
    )
    return rows.select("key", row_hash(plain).alias("held")) if plain.width else rows.select("key", held=pl.lit(""))


def exact_sum(values: pl.Series) -> str:
    """The sum as plain decimal text. Whole numbers and decimals are added exactly; floats are rounded once."""
    present = values.drop_nulls()
    if present.dtype.is_float():
        finite = present.filter(present.is_finite())
        return plain_decimal(Decimal(repr(math.fsum(finite.to_list()))))
    scale = present.dtype.scale if isinstance(present.dtype, pl.Decimal) else 0
    units = present.to_physical().cast(pl.Int128).alias("units").to_frame()
    low = pl.lit(_LOW, dtype=pl.Int128)
    high_sum, low_sum = units.select(
        (pl.col("units") // low).sum().alias("high"), (pl.col("units") % low).sum().alias("low")
    ).row(0)
    with localcontext(prec=_DIGITS):
        return plain_decimal(Decimal(high_sum * _LOW + low_sum).scaleb(-(scale or 0)))


def added(sums: Iterable[str]) -> str:
    """The exact sum of sums."""
    with localcontext(prec=_DIGITS):
        return plain_decimal(sum((Decimal(text) for text in sums), Decimal(0)))


def plain_decimal(number: Decimal) -> str:
    """Plain notation without closing zeros; zero is ``0``."""
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in {"-0", ""} else text
