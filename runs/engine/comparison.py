"""Compare what the mapping demands with what the target holds: every field, by a rule named for its type."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import orjson
import polars as pl

FLOAT_TOLERANCE = 1e-9
"""Relative: a double survives a round trip as text exactly, but not every target stores doubles."""

MISMATCH_SCHEMA = {"key": pl.String, "field": pl.String, "expected": pl.String, "actual": pl.String, "rule": pl.String}


@dataclass(frozen=True, slots=True)
class Comparison:
    """``missing`` are keys without a row, ``doubled`` keys with several; ``mismatches`` has ``MISMATCH_SCHEMA``.

    ``fields`` counts the values that were compared.
    """

    missing: pl.Series
    doubled: pl.Series
    mismatches: pl.DataFrame
    fields: int


def compare(
    expected: pl.DataFrame, actual: pl.DataFrame, *, fields: Sequence[str], json: Collection[str] = ()
) -> Comparison:
    """Both frames have ``key`` and ``fields``; ``expected`` has each key once.

    Values are equal by the rule of the expected type: text, dates and decimals exactly, floats within
    ``FLOAT_TOLERANCE``, the ``json`` fields as values (spacing and the order of keys do not count). Null
    equals only null.
    """
    doubled = actual.filter(pl.col("key").is_duplicated())["key"].unique()
    missing = expected.join(actual, on="key", how="anti")["key"]
    pairs = expected.select("key", *fields).join(
        actual.select("key", *(pl.col(name).cast(expected.schema[name], strict=False) for name in fields)),
        on="key",
        suffix="·actual",
    )
    found = [_json_differences(pairs, name) if name in json else _differences(pairs, name) for name in fields]
    mismatches = pl.concat(found) if found else pl.DataFrame(schema=MISMATCH_SCHEMA)
    return Comparison(missing, doubled, mismatches, pairs.height * len(fields))


def _differences(pairs: pl.DataFrame, name: str) -> pl.DataFrame:
    rule, equal = _rule(pairs.schema[name], pl.col(name), pl.col(f"{name}·actual"))
    return _told(pairs.filter(~equal), name, rule)


def _json_differences(pairs: pl.DataFrame, name: str) -> pl.DataFrame:
    """Only values that are spelled differently are parsed."""
    doubtful = pairs.filter(~pl.col(name).eq_missing(pl.col(f"{name}·actual")))
    expected, actual = canonical_json(doubtful[name]), canonical_json(doubtful[f"{name}·actual"])
    return _told(doubtful.filter(~expected.eq_missing(actual)), name, "json_value")


def canonical_json(texts: pl.Series) -> pl.Series:
    """JSON texts spelled one way: sorted keys, no spaces; null stays null."""
    return pl.Series(
        [
            None if text is None else orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS).decode()
            for text in texts
        ],
        dtype=pl.String,
    )


def _told(differing: pl.DataFrame, name: str, rule: str) -> pl.DataFrame:
    expected, actual = pl.col(name), pl.col(f"{name}·actual")
    return differing.select(
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
