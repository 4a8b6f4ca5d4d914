"""Compare what the mapping demands with what the target holds: every field, by a rule named for its type."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

FLOAT_TOLERANCE = 1e-9
"""Relative: a double survives a round trip as text exactly, but not every target stores doubles."""

MISMATCH_SCHEMA = {"key": pl.String, "field": pl.String, "expected": pl.String, "actual": pl.String, "rule": pl.String}


@dataclass(frozen=True, slots=True)
class Comparison:
    """``missing`` are keys without a row, ``doubled`` keys with several; ``mismatches`` has ``MISMATCH_SCHEMA``."""

    missing: pl.Series
    doubled: pl.Series
    mismatches: pl.DataFrame
    fields: int


def compare(expected: pl.DataFrame, actual: pl.DataFrame, *, fields: Sequence[str]) -> Comparison:
    """Both frames have ``key`` and ``fields``; ``expected`` has each key once.

    Values are equal by the rule of the expected type: text, dates, decimals and JSON (canonical on both
    sides) exactly, floats within ``FLOAT_TOLERANCE``. Null equals only null.
    """
    doubled = actual.filter(pl.col("key").is_duplicated())["key"].unique()
    missing = expected.join(actual, on="key", how="anti")["key"]
    pairs = expected.select("key", *fields).join(
        actual.select("key", *(pl.col(name).cast(expected.schema[name], strict=False) for name in fields)),
        on="key",
        suffix="·actual",
    )
    found = [_differences(pairs, name) for name in fields]
    mismatches = pl.concat(found) if found else pl.DataFrame(schema=MISMATCH_SCHEMA)
    return Comparison(missing, doubled, mismatches, pairs.height * len(fields))


def _differences(pairs: pl.DataFrame, name: str) -> pl.DataFrame:
    expected, actual = pl.col(name), pl.col(f"{name}·actual")
    rule, equal = _rule(pairs.schema[name], expected, actual)
    return pairs.filter(~equal).select(
        "key",
        pl.lit(name).alias("field"),
        expected.cast(pl.String).alias("expected"),
        actual.cast(pl.String).alias("actual"),
        pl.lit(rule).alias("rule"),
    )


def _rule(dtype: pl.DataType, expected: pl.Expr, actual: pl.Expr) -> tuple[str, pl.Expr]:
    if dtype.is_float():
        near = (expected - actual).abs() <= FLOAT_TOLERANCE * pl.max_horizontal(expected.abs(), actual.abs())
        return "float_within_tolerance", near.fill_null(value=False) | expected.eq_missing(actual)
    return "exact", expected.eq_missing(actual)
