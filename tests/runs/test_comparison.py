"""Comparing what should be with what is, type by type."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.engine.comparison import compare


def frames(expected: Any, actual: Any, dtype: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
    return tuple(  # type: ignore[return-value]
        pl.DataFrame({"key": ["k"], "f": [value]}, schema={"key": pl.String, "f": dtype})
        for value in (expected, actual)
    )


@pytest.mark.parametrize(
    ("expected", "actual", "dtype", "equal"),
    [
        ("a", "a", pl.String, True),
        ("a", "A", pl.String, False),
        ("a", "a ", pl.String, False),
        ("", None, pl.String, False),
        (None, None, pl.String, True),
        (1, None, pl.Int64, False),
        (Decimal("1.10"), Decimal("1.1"), pl.Decimal(10, 2), True),
        (Decimal("1.10"), Decimal("1.11"), pl.Decimal(10, 2), False),
        (0.1 + 0.2, 0.3, pl.Float64, True),
        (1.0, 1.0000001, pl.Float64, False),
        (None, 1.0, pl.Float64, False),
        (None, None, pl.Float64, True),
        (0.0, 0.0, pl.Float64, True),
        (date(2026, 1, 1), date(2026, 1, 2), pl.Date, False),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), pl.Datetime("us", "UTC"), True),
        (True, False, pl.Boolean, False),
    ],
)
def test_values_are_equal_by_the_rule_of_their_type(expected: Any, actual: Any, dtype: Any, equal: bool) -> None:
    left, right = frames(expected, actual, dtype)
    found = compare(left, right, fields=["f"])
    assert (found.mismatches.height == 0) is equal
    assert found.fields == 1


@given(st.dictionaries(st.text(max_size=4), st.none() | st.integers(-9, 9) | st.text(max_size=4), max_size=4))
def test_json_is_compared_as_a_value(value: dict[str, Any]) -> None:
    spaced = orjson.dumps(dict(reversed(value.items())), option=orjson.OPT_INDENT_2).decode()
    left, right = frames(orjson.dumps(value).decode(), spaced, pl.String)
    assert compare(left, right, fields=["f"], json={"f"}).mismatches.is_empty()
    other = orjson.dumps({**value, "another": 1}).decode()
    left, right = frames(orjson.dumps(value).decode(), other, pl.String)
    assert compare(left, right, fields=["f"], json={"f"}).mismatches.row(0, named=True) == {
        "key": "k",
        "field": "f",
        "expected": orjson.dumps(value).decode(),
        "actual": other,
        "rule": "json_value",
    }


def test_missing_and_doubled_records_are_told_apart() -> None:
    expected = pl.DataFrame({"key": ["a", "b", "c"], "f": ["1", "2", "3"]})
    actual = pl.DataFrame({"key": ["b", "b", "c"], "f": ["2", "x", "3"]})
    found = compare(expected, actual, fields=["f"])
    assert found.missing.to_list() == ["a"]
    assert found.doubled.to_list() == ["b"]
    assert found.mismatches["key"].to_list() == ["b"]


def test_nothing_to_compare_finds_nothing() -> None:
    empty = pl.DataFrame(schema={"key": pl.String})
    found = compare(empty, empty, fields=[])
    assert (found.fields, found.mismatches.height, len(found.missing)) == (0, 0, 0)
