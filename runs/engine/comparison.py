"""Compare what the mapping demands with what the target holds: every field, by rules that say why values are equal."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import orjson
import polars as pl

from connectors.contents import same
from projects.mapping.equality import EqualityRule, in_order, normal_text

FLOAT_TOLERANCE = 1e-9
"""Relative: a double survives a round trip as text exactly, but not every target stores doubles."""

MISMATCH_SCHEMA = {"key": pl.String, "field": pl.String, "expected": pl.String, "actual": pl.String, "rule": pl.String}
_NAMED = (EqualityRule.FLOAT, EqualityRule.JSON, EqualityRule.CONTENT)
"""Rules that name a mismatch; by any other, values that differ are told as not exactly equal."""

Rules = Mapping[str, Sequence[EqualityRule]]
Tally = dict[str, int]
"""Rule (or several, joined by ``+``) → how many values are equal by it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """``missing`` are keys without a row, ``doubled`` keys with several; ``mismatches`` has ``MISMATCH_SCHEMA``.

    ``fields`` counts the values that were compared; ``equal`` says per field by which rule so many were equal.
    """

    missing: pl.Series
    doubled: pl.Series
    mismatches: pl.DataFrame
    fields: int
    equal: dict[str, Tally]


def compare(
    expected: pl.DataFrame,
    actual: pl.DataFrame,
    *,
    fields: Sequence[str],
    json: Collection[str] = (),
    rules: Rules | None = None,
) -> Comparison:
    """Both frames have ``key`` and ``fields``; ``expected`` has each key once.

    Values are equal exactly, or by one of the field's ``rules`` in their order, or by several of its rules of
    spelling together. A field that ``rules`` does not name has those of its frame's type: floats within
    ``FLOAT_TOLERANCE``, the ``json`` fields as values. Null equals only null, unless a rule says otherwise.
    """
    doubled = actual.filter(pl.col("key").is_duplicated())["key"].unique()
    missing = expected.join(actual, on="key", how="anti")["key"]
    pairs = expected.select("key", *fields).join(actual.select("key", *fields), on="key", suffix="·actual")
    equal: dict[str, Tally] = {}
    found = [pl.DataFrame(schema=MISMATCH_SCHEMA)]
    for name in fields:
        chosen = rules.get(name) if rules else None
        if chosen is None:
            chosen = _of_type(pairs.schema[name], is_json=name in json)
        equal[name], differing = _judged(pairs, name, chosen)
        found.append(differing)
    return Comparison(missing, doubled, pl.concat(found), pairs.height * len(fields), equal)


def _of_type(dtype: pl.DataType, *, is_json: bool) -> tuple[EqualityRule, ...]:
    if is_json:
        return (EqualityRule.JSON,)
    return (EqualityRule.FLOAT,) if dtype.is_float() else ()


def _judged(pairs: pl.DataFrame, name: str, rules: Sequence[EqualityRule]) -> tuple[Tally, pl.DataFrame]:
    """How many values of one field are equal by which rule, and those that are not. Only values that are not
    exactly equal are looked at twice."""
    exact = _exactly(pairs[name], pairs[f"{name}·actual"])
    left = pairs.select("key", name, f"{name}·actual").filter(~exact)
    tally = {EqualityRule.EXACT.value: pairs.height - left.height} if pairs.height > left.height else {}
    for said, equal in _tests(rules):
        if not left.height:
            break
        same = equal(left[name], left[f"{name}·actual"]).fill_null(value=False)
        if same.any():
            tally[said] = int(same.sum())
            left = left.filter(~same)
    named = next((rule for rule in rules if rule in _NAMED), EqualityRule.EXACT)
    return tally, _told(left, name, named)


def _exactly(expected: pl.Series, actual: pl.Series) -> pl.Series:
    """The same value, whatever type the target gives it in: a cast that loses something is not the same."""
    if expected.dtype == actual.dtype:
        return expected.eq_missing(actual)
    if _zones_differ(expected, actual):
        return expected.is_null() & actual.is_null()
    cast = actual.cast(expected.dtype, strict=False)
    whole = cast.is_not_null() | actual.is_null()
    if actual.dtype != pl.String:
        whole &= cast.cast(actual.dtype, strict=False).eq_missing(actual)
    return expected.eq_missing(cast) & whole


def _zones_differ(one: pl.Series, other: pl.Series) -> bool:
    zones = [series.dtype.time_zone for series in (one, other) if isinstance(series.dtype, pl.Datetime)]
    return len(zones) == 2 and zones[0] != zones[1]


Test = Callable[[pl.Series, pl.Series], pl.Series]


def _tests(rules: Sequence[EqualityRule]) -> list[tuple[str, Test]]:
    """Each rule by itself, then those of spelling together: a text may differ in capitals and in blanks."""
    rules = in_order(rules)
    alone = [(rule.value, test) for rule in rules if (test := _test(rule)) is not None]
    spelling = [rule for rule in rules if normal_text(rule) and rule not in _TESTS]
    together = [("+".join(spelling), _spelled(spelling))] if len(spelling) > 1 else []
    return alone + together


def _test(rule: EqualityRule) -> Test | None:
    return _TESTS.get(rule) or (_spelled([rule]) if normal_text(rule) else None)


def _spelled(rules: Sequence[EqualityRule]) -> Test:
    def same(expected: pl.Series, actual: pl.Series) -> pl.Series:
        texts = pl.DataFrame([expected.cast(pl.String).alias("expected"), actual.cast(pl.String).alias("actual")])
        for rule in rules:
            normal = normal_text(rule)
            if normal is not None:
                texts = texts.with_columns(normal(pl.col("expected")), normal(pl.col("actual")))
        return texts["expected"].eq_missing(texts["actual"])

    return same


def _within_tolerance(expected: pl.Series, actual: pl.Series) -> pl.Series:
    left, right = expected.cast(pl.Float64, strict=False), actual.cast(pl.Float64, strict=False)
    pair = pl.DataFrame([left.alias("a"), right.alias("b")])
    near = (pl.col("a") - pl.col("b")).abs() <= FLOAT_TOLERANCE * pl.max_horizontal(
        pl.col("a").abs(), pl.col("b").abs()
    )
    return pair.select(near.alias("near"))["near"]


def _rounded(expected: pl.Series, actual: pl.Series) -> pl.Series:
    if not (expected.dtype.is_numeric() and actual.dtype.is_numeric()):
        return _never(expected)
    return expected == actual.cast(expected.dtype, strict=False)


def _same_moment(expected: pl.Series, actual: pl.Series) -> pl.Series:
    if not _zones_differ(expected, actual):
        return _never(expected)
    return _utc(expected) == _utc(actual)


def _same_second(expected: pl.Series, actual: pl.Series) -> pl.Series:
    """What the target holds is a whole second: that of the moment, or the one it is rounded to."""
    if not (isinstance(expected.dtype, pl.Datetime) and isinstance(actual.dtype, pl.Datetime)):
        return _never(expected)
    sent, held = _utc(expected), _utc(actual)
    return (sent.dt.truncate("1s") == held) | (sent.dt.round("1s") == held)


def _same_day(expected: pl.Series, actual: pl.Series) -> pl.Series:
    """One side knows days only; the other's day is that of UTC."""
    if {expected.dtype.base_type(), actual.dtype.base_type()} != {pl.Date, pl.Datetime}:
        return _never(expected)
    return _day(expected) == _day(actual)


def _day(series: pl.Series) -> pl.Series:
    return _utc(series).dt.date() if isinstance(series.dtype, pl.Datetime) else series


def _utc(moments: pl.Series) -> pl.Series:
    """To the microsecond; a moment without a zone is taken for UTC."""
    assumed = moments if getattr(moments.dtype, "time_zone", None) else moments.dt.replace_time_zone("UTC")
    return assumed.dt.convert_time_zone("UTC").dt.cast_time_unit("us")


def _same_json(expected: pl.Series, actual: pl.Series) -> pl.Series:
    return canonical_json(expected).eq_missing(canonical_json(actual))


def _always(expected: pl.Series, _: pl.Series) -> pl.Series:
    return pl.repeat(value=True, n=len(expected), dtype=pl.Boolean, eager=True)


def _same_contents(expected: pl.Series, actual: pl.Series) -> pl.Series:
    return pl.DataFrame({"a": expected, "b": actual}).select(same(pl.col("a"), pl.col("b"))).to_series()


def _never(like: pl.Series) -> pl.Series:
    return pl.repeat(value=False, n=len(like), dtype=pl.Boolean, eager=True)


_TESTS: Mapping[EqualityRule, Test] = {
    EqualityRule.FLOAT: _within_tolerance,
    EqualityRule.SCALE: _rounded,
    EqualityRule.ZONE: _same_moment,
    EqualityRule.SECONDS: _same_second,
    EqualityRule.DATE: _same_day,
    EqualityRule.JSON: _same_json,
    EqualityRule.OVERWRITTEN: _always,
    EqualityRule.CONTENT: _same_contents,
}


def canonical_json(texts: pl.Series) -> pl.Series:
    """JSON texts spelled one way: sorted keys, no spaces; null stays null, and so does what is no JSON."""
    return pl.Series([None if text is None else _canonical_json(text) for text in texts], dtype=pl.String)


def _canonical_json(text: str) -> str:
    try:
        return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS).decode()
    except orjson.JSONDecodeError:
        return text


def _told(differing: pl.DataFrame, name: str, rule: EqualityRule) -> pl.DataFrame:
    return differing.select(
        "key",
        pl.lit(name).alias("field"),
        pl.col(name).cast(pl.String).alias("expected"),
        pl.col(f"{name}·actual").cast(pl.String).alias("actual"),
        pl.lit(rule.value).alias("rule"),
    )
