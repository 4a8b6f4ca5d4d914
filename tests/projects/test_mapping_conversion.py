"""Conversions against a slow reference in plain Python, and the cases people argue about."""

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.types import FieldInfo, FieldType
from projects.mapping.compiler import compile_mapping
from projects.mapping.conversion import conversion
from projects.mapping.problems import RuleInvalid
from projects.mapping.specification import Field
from tests.projects.mappings import KEY, converted, field, frame, mapping, schema

T = FieldType
GONE = "—"
"""A record that an error finding kept out."""

Answer = tuple[object, str]
"""(value or GONE, rule of the finding or blank)."""


def checked(info: FieldInfo, values: list[str | None], reference: Callable[[str], Answer]) -> None:
    """The conversion says of each value what the reference says; null and blank stay blank."""
    out, found = converted(info, *values)
    rules = {int(number): rule for number, rule in found}
    for number, value in enumerate(values):
        expected = (None, "") if not value else reference(value)
        assert (out[number], rules.get(number, "")) == expected, value


EXACT = Context(prec=500)
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


def reference_decimal(precision: int, scale: int) -> Callable[[str], Answer]:
    def answer(text: str) -> Answer:
        bare = text.strip()
        if not bare:
            return None, ""
        if not NUMBER.fullmatch(bare):
            return GONE, "not_a_number"
        exact = Decimal(bare)
        kept = exact.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP, EXACT)
        if len(kept.as_tuple().digits) > precision and abs(kept) >= Decimal(10) ** (precision - scale):
            return GONE, "out_of_range"
        return kept, "" if kept == exact else "rounded"

    return answer


def reference_integer(text: str) -> Answer:
    bare = text.strip()
    if not bare:
        return None, ""
    if not NUMBER.fullmatch(bare):
        return GONE, "not_a_number"
    exact = Decimal(bare)
    if exact != exact.quantize(Decimal(1), ROUND_DOWN, EXACT):
        return GONE, "not_an_integer"
    return (int(exact), "") if -(2**63) <= exact < 2**63 else (GONE, "out_of_range")


plain_numbers = st.from_regex(r"\A[+-]?[0-9]{0,9}\.?[0-9]{0,6}\Z")
ties = st.builds("{}{}.{}5".format, st.sampled_from(["", "-", "+"]), st.integers(0, 999), st.from_regex(r"\A[0-9]\Z"))
ODD = """1e3 1.0E8 -2.5e-1 1,5 1_000 0x10 abc . - + 5. .5 -.50 ٣ inf NaN -0 -0.004 99999999999.99 007 ½ 0.005 -0.005
    9223372036854775807 9223372036854775808 0.00499999999999999999999999999999999999999999 9999999.995 1.10000 3.000"""
odd_numbers = st.sampled_from([*ODD.split(), " 7 ", "  ", "1 2"])
numbers = (
    st.none()
    | plain_numbers
    | ties
    | odd_numbers
    | st.decimals(allow_nan=False, allow_infinity=False).map(lambda number: format(number, "f")[:60])
)


@settings(max_examples=150)
@given(st.lists(numbers, min_size=1, max_size=8))
def test_decimals_are_rounded_as_postgresql_does(values: list[str | None]) -> None:
    checked(field(T.DECIMAL, precision=9, scale=2), values, reference_decimal(9, 2))


@given(st.lists(numbers, min_size=1, max_size=8))
def test_whole_numbers_are_never_rounded(values: list[str | None]) -> None:
    checked(field(T.INTEGER), values, reference_integer)


@pytest.mark.parametrize(
    ("info", "value", "expected", "rule"),
    [
        (field(T.DECIMAL, precision=4, scale=0), "2.5", Decimal(3), "rounded"),
        (field(T.DECIMAL, precision=4, scale=0), "-2.5", Decimal(-3), "rounded"),
        (field(T.DECIMAL, precision=3, scale=2), "9.995", GONE, "out_of_range"),
        (field(T.DECIMAL, precision=2, scale=2), "0.25", Decimal("0.25"), ""),
        (field(T.DECIMAL, precision=38, scale=10), "1234567890123456789012345678.0123456789", ..., ""),
        (field(T.DECIMAL), "1.123456789012345678", Decimal("1.123456789012345678"), ""),
        (field(T.DECIMAL, precision=60, scale=2), "12.34", Decimal("12.34"), ""),
        (field(T.INTEGER, precision=3), "999", 999, ""),
        (field(T.INTEGER, precision=3), "1000", GONE, "out_of_range"),
        (field(T.FLOAT), "1.5e300", 1.5e300, ""),
        (field(T.FLOAT), "-0", 0.0, ""),
        (field(T.FLOAT), "0.000", 0.0, ""),
        (field(T.FLOAT), "1e999", GONE, "out_of_range"),
        (field(T.FLOAT), "1e-999", GONE, "out_of_range"),
        (field(T.FLOAT), "nan", GONE, "not_a_number"),
        (field(T.FLOAT), "inf", GONE, "not_a_number"),
        (field(T.BOOLEAN), "YES", True, ""),
        (field(T.BOOLEAN), "0", False, ""),
        (field(T.BOOLEAN), " True ", True, ""),
        (field(T.BOOLEAN), "maybe", GONE, "not_a_boolean"),
        (field(T.BOOLEAN), "  ", None, ""),
        (field(T.TEXT, length=3), "äöü", "äöü", ""),
        (field(T.TEXT, length=3), "abcd", GONE, "too_long"),
        (field(T.TEXT), "a\x00b", GONE, "nul_character"),
        (field(T.TEXT), "  kept  ", "  kept  ", ""),
        (field(T.PICKLIST, choices=("a", "b"), restricted=True), "a", "a", ""),
        (field(T.PICKLIST, choices=("a", "b"), restricted=True), "A", GONE, "unknown_value"),
        (field(T.PICKLIST, choices=("a", "b")), "z", "z", ""),
        (field(T.MULTIPICKLIST, choices=("a", "b{}"), restricted=True), "a;b{}", "a;b{}", ""),
        (field(T.MULTIPICKLIST, choices=("a", "b{}"), restricted=True), "a;c", GONE, "unknown_value"),
        (field(T.UUID), "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", ""),
        (field(T.UUID), "a0eebc999c0b4ef8bb6d6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", ""),
        (field(T.UUID), "a0eebc99", GONE, "not_a_uuid"),
        (field(T.JSON), '{"b": 1.10, "a": [null, "\\u00e9"]}', '{"a":[null,"é"],"b":1.10}', ""),
        (field(T.JSON), '{"a": 12345678901234567890123}', '{"a":12345678901234567890123}', ""),
        (field(T.JSON), "{'a': 1}", GONE, "not_json"),
        (field(T.JSON), '{"a": 1, "a": 2}', GONE, "not_json"),
        (field(T.JSON), "NaN", GONE, "not_json"),
        (field(T.JSON), "[" * 100_000, GONE, "not_json"),
        (field(T.JSON), '"\\u0000"', GONE, "nul_character"),
        (field(T.JSON), '"\\\\u0000"', '"\\\\u0000"', ""),
        (field(T.DATE), "2026-02-29", GONE, "not_a_date"),
        (field(T.DATE), "11/01/2026", GONE, "not_a_date"),
        (field(T.DATE), "2026-1-5", GONE, "not_a_date"),
        (field(T.DATE), "0000-01-01", GONE, "not_a_date"),
        (field(T.DATE), "2026-11-01T23:30:00-02:00", date(2026, 11, 2), "time_dropped"),
        (field(T.DATETIME), "2026-11-01", datetime(2026, 11, 1, tzinfo=UTC), "time_assumed"),
        (field(T.DATETIME), "2026-11-01T10:00", datetime(2026, 11, 1, 10, tzinfo=UTC), ""),
        (field(T.DATETIME), "2026-11-01T10:00:60Z", GONE, "not_a_datetime"),
        (field(T.DATETIME), "2026-11-01T24:00:00Z", GONE, "not_a_datetime"),
        (field(T.DATETIME), "0000-01-01T00:00:00Z", GONE, "not_a_datetime"),
        (field(T.DATETIME), "0001-01-01T00:00:00+05:00", GONE, "not_a_datetime"),
        (field(T.DATETIME), "9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), ""),
        (field(T.DATETIME), "yesterday", GONE, "not_a_datetime"),
        (field(T.DATETIME), "2026-11-01T10:00:00.1234567Z", ..., "rounded"),
        (field(T.TIME), "10:00:00.000Z", time(10), ""),
        (field(T.TIME), "10:30", time(10, 30), ""),
        (field(T.TIME), "25:00:00", GONE, "not_a_time"),
        (field(T.TIME), "10:00:00+02:00", GONE, "not_a_time"),
        (field(T.TIME), "10:00:00.1234567", time(10, 0, 0, 123_456), "rounded"),
    ],
)
def test_the_cases_people_argue_about(info: FieldInfo, value: str, expected: object, rule: str) -> None:
    out, found = converted(info, value)
    assert expected is ... or out == [expected]
    assert found == ([("0", rule)] if rule else [])


zones = st.sampled_from(["", "Z", "+00:00", "+0000", "-0800", "+05:30", "+13", "-03"])
stamps = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31))  # noqa: DTZ001 - zones are added


@given(st.lists(st.tuples(stamps, zones, st.sampled_from(["T", " "])), min_size=1, max_size=6))
def test_instants_are_the_same_moment_in_utc(stamped: list[tuple[datetime, str, str]]) -> None:
    values = [moment.isoformat(sep=separator) + zone for moment, zone, separator in stamped]
    out, found = converted(field(T.DATETIME), *values)
    assert found == []
    for value, instant in zip(values, out, strict=True):
        expected = datetime.fromisoformat(value)
        assert instant == (expected if expected.tzinfo else expected.replace(tzinfo=UTC))
        assert isinstance(instant, datetime)
        assert instant.utcoffset() == timedelta(0)


@given(st.lists(st.dates(), min_size=1, max_size=6))
def test_dates_are_themselves(days: list[date]) -> None:
    assert converted(field(T.DATE), *(day.isoformat() for day in days)) == (days, [])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet=st.characters(exclude_characters="\x00")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_canonical_json_is_the_same_value_in_one_spelling(value: object) -> None:
    loose = json.dumps(value, indent=2, ensure_ascii=True)
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    out, found = converted(field(T.JSON), loose, compact)
    if "\\u0000" in loose:
        return
    assert found == []
    assert out[0] == out[1]
    assert isinstance(out[0], str)
    assert json.loads(out[0]) == value
    assert " " not in re.sub(r'"(?:[^"\\]|\\.)*"', "", out[0])


@pytest.mark.parametrize("kind", sorted(set(FieldType) - {T.BINARY, T.REFERENCE}))
@given(values=st.lists(st.none() | st.text(max_size=12), min_size=1, max_size=4))
@settings(max_examples=25)
def test_no_text_stops_a_page(kind: FieldType, values: list[str | None]) -> None:
    out, found = converted(field(kind), *values)
    rejected = {number for number, _ in found}
    for number, value in enumerate(values):
        assert (out[number] == GONE) <= (str(number) in rejected), value


def test_a_message_is_one_sentence_with_the_value_cut() -> None:
    text = conversion(field(T.TEXT, length=2))
    assert text.dtype == pl.String()
    out, found = converted(field(T.TEXT, length=2), "y" * 500)
    assert (out, found) == ([GONE], [("0", "too_long")])


def test_a_type_that_no_text_becomes_is_refused() -> None:
    with pytest.raises(RuleInvalid, match="binary"):
        conversion(field(T.BINARY))
    with pytest.raises(RuleInvalid, match="7 decimals among 5"):
        conversion(field(T.DECIMAL, precision=5, scale=7))


# --- Pictures of rich texts --------------------------------------------------------------------------------

LEFT = '<img src="https://acme.file.force.com/servlet/rtaImage?eid=001&amp;refid=0EM">'
CARRIED = f'<img src="picture:{"a" * 32}.12@00DAA0000000001/Account/001AA0000000001/Story__c/0EMAA0000000001">'


@pytest.mark.parametrize(
    ("source", "target", "noted"),
    [
        (True, True, [LEFT]),  # what could be carried becomes a picture of the target
        (True, False, [LEFT, CARRIED]),  # a plain text shows none
        (False, True, [LEFT]),
        (False, False, []),
    ],
)
def test_a_picture_that_stays_behind_is_told(source: bool, target: bool, noted: list[str]) -> None:
    values = [LEFT, CARRIED, "<p>none</p>"]
    made = compile_mapping(
        mapping({"story": Field("Story")}),
        schema("Thing", "Id", FieldInfo("Story", rich=source)),
        schema("things", KEY, FieldInfo("story", rich=target, length=32_000)),
    ).apply(frame(Story=values), {})
    assert made.rows["story"].to_list() == values
    assert [values[int(number)] for number in made.findings["source_id"]] == noted
    assert set(made.findings["rule"]) <= {"image_left"}
