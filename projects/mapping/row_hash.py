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
    and the version of Polars: the values are spelled by rules of this module and hashed by XXH3,
    whose values are fixed since xxHash 0.8.0 (https://github.com/Cyan4973/xxHash). Null and empty text
    differ. Each field is hashed twice with seeds of its own and the sums are hashed together, which makes
    no long text of every row.
    """
    types = {name: dtype for name, dtype in rows.schema.items() if name not in _NOT_CONTENT}
    seeds = {name: _seeds(name, dtype) for name, dtype in types.items()}
    spelled = rows.select(_spelled(name, dtype) for name, dtype in types.items())
    sums = [sum((_hashed(name, two[lane]) for name, two in seeds.items()), pl.lit(0, pl.UInt64)) for lane in (0, 1)]
    both = pl.concat_str([each.cast(pl.String) for each in sums], separator=",")
    hashed = both.nchash.xxh3_128(seed=0, return_binary=True, byte_order="big")  # type: ignore[attr-defined]
    return spelled.select(hashed.bin.encode("hex").alias("row_hash")).to_series()


def _hashed(name: str, seed: int) -> pl.Expr:
    """64 bits; null is the seed itself."""
    hashed: pl.Expr = pl.col(name).nchash.xxh3_64(seed=seed)  # type: ignore[attr-defined]
    return hashed.fill_null(pl.lit(seed, pl.UInt64))


def _seeds(name: str, dtype: pl.DataType) -> tuple[int, int]:
    """Of the field's name and type, so that 1 as a number and 1 as a text differ, and values in two fields."""
    digest = hashlib.blake2b(f"{name}\x00{_type_name(dtype)}".encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")


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
    if isinstance(dtype, pl.String):
        return column
    if isinstance(dtype, pl.Float64):
        column = column.reinterpret(dtype=pl.Int64)
    elif isinstance(dtype, pl.Boolean):
        column = column.cast(pl.Int8)
    else:
        column = column.to_physical()
    return column.cast(pl.String)
