"""Values into the notation of source frames: nothing lost, nothing guessed."""

import csv
import io
import json
import math
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import values
from connectors.answers import Answer
from connectors.errors import ContractChanged
from connectors.redaction import Redactor

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=20)
NUMBER = (
    st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False, places=4)
    | st.floats(allow_nan=False, allow_infinity=False)
)


def mapped(expression: Any, *items: str | None) -> list[str | None]:
    frame = pl.DataFrame({"v": items}, schema={"v": pl.String})
    return frame.select(expression(pl.col("v"))).to_series().to_list()


# --- JSON records --------------------------------------------------------------------------------------------


def test_records_become_text_in_the_asked_order() -> None:
    records = [
        {"id": 1, "flag": True, "name": "Ann", "sum": Decimal("1.50"), "address": {"city": "Bern"}, "gone": 5},
        {"id": 2, "flag": False, "name": "", "sum": None, "address": None},
    ]
    frame = values.records_to_frame(records, ["name", "id", "flag", "sum", "address", "absent"])
    assert frame.columns == ["name", "id", "flag", "sum", "address", "absent"]
    assert set(frame.dtypes) == {pl.String}
    assert frame.rows() == [
        ("Ann", "1", "true", "1.5", '{"city":"Bern"}', None),
        (None, "2", "false", None, None, None),
    ]


def test_no_records_still_have_columns() -> None:
    frame = values.records_to_frame([], ["a", "b"])
    assert frame.columns == ["a", "b"]
    assert frame.is_empty()
    assert set(frame.dtypes) == {pl.String}


@given(st.lists(NUMBER | TEXT | st.booleans() | st.none(), min_size=1, max_size=8))
def test_every_value_keeps_its_meaning_whatever_stands_beside_it(column: list[Any]) -> None:
    frame = values.records_to_frame([{"v": value} for value in column], ["v"])
    for value, text in zip(column, frame["v"], strict=True):
        if value is None or value == "":
            assert text is None
        elif isinstance(value, bool):
            assert text == str(value).lower()
        elif isinstance(value, str):
            assert text == value
        else:
            assert Decimal(text) == Decimal(str(value))
            assert "e" not in text.lower()
            assert not text.startswith("+")
            assert "." not in text or not text.endswith("0")


def test_json_fractions_beyond_a_float_stay_exact() -> None:
    records = json.loads('[{"v": 9999999999999999.99, "n": {"x": 0.1, "y": 9999999999999999.99}}]', parse_float=Decimal)
    assert values.records_to_frame(records, ["v", "n"]).row(0) == (
        "9999999999999999.99",
        '{"x":0.1,"y":"9999999999999999.99"}',
    )


def test_integers_of_more_than_64_bits_inside_nested_json() -> None:
    record = {"in": [{"exact": 2 * 10**19, "not": 2 * 10**19 + 1, "deep": {"far": -(10**400)}, "most": 2**64 - 1}]}
    (text,) = values.records_to_frame([record], ["in"])["in"]
    assert json.loads(text) == [
        {"exact": 2e19, "not": "20000000000000000001", "deep": {"far": f"-1{'0' * 400}"}, "most": 2**64 - 1}
    ]


@given(
    st.lists(
        st.from_regex(r"-?(0|[1-9][0-9]{0,19})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", fullmatch=True),
        min_size=1,
        max_size=6,
    ),
    st.text(max_size=20),
)
def test_a_page_of_records_is_as_exact_as_any_json(numbers: list[str], word: str) -> None:
    """Read in the quick way where that keeps every digit, else in the exact one."""
    rows = ", ".join(f'{{"n": {number}, "in": [{{"x": {number}}}], "t": {json.dumps(word)}}}' for number in numbers)
    body = f'{{"records": [{rows}]}}'
    answer = Answer("A system", "GET /x", 200, {}, body.encode(), Redactor())
    exact = json.loads(body, parse_float=Decimal)["records"]
    fields = ["n", "in", "t"]
    assert values.records_to_frame(answer.page()["records"], fields).equals(values.records_to_frame(exact, fields))


@pytest.mark.parametrize("body", ['{"a": NaN}', '{"a": [1}', "<html>", "", "\xff"])
def test_a_page_that_is_no_json_is_told_as_ever(body: str) -> None:
    answer = Answer("A system", "GET /x", 200, {}, body.encode("latin-1"), Redactor())
    with pytest.raises(ContractChanged):
        answer.page()


# --- numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("1.0E7", "10000000"),
        ("1e-7", "0.0000001"),
        ("-0.00", "0"),
        ("007", "7"),
        ("+5", "5"),
        ("1.", "1"),
        (".5", "0.5"),
        ("100", "100"),
        ("1.10", "1.1"),
        ("12,5", "12,5"),
        ("n/a", "n/a"),
        ("", ""),
        (None, None),
        ("1e999999999", "1e999999999"),
    ],
)
def test_numbers_become_plain(text: str | None, plain: str | None) -> None:
    assert mapped(values.plain_number, text) == [plain]


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**18), max_value=10**18) | st.integers())
def test_a_plain_number_is_the_same_number(number: Decimal | int) -> None:
    (plain,) = mapped(values.plain_number, str(number))
    assert plain is not None
    assert Decimal(plain) == number
    assert mapped(values.plain_number, plain) == [plain]


@pytest.mark.parametrize(
    ("text", "mark", "plain"),
    [
        ("$1,234.50", ".", "1234.5"),
        ("1.234,50 €", ",", "1234.5"),
        ("(12.00)", ".", "-12"),
        ("12-", ".", "-12"),
        ("-$5", ".", "-5"),
        ("USD 1 000", ".", "1000"),
        ("CHF 1'234.50", ".", "1234.5"),
        ("12,34,567", ".", "1234567"),
        ("1,5", ".", "1,5"),
        ("1.5", ",", "1.5"),
        ("1,23", ".", "1,23"),
        ("(5", ".", "(5"),
        ("call us", ".", "call us"),
        (None, ".", None),
        ("1.2.3", ".", "1.2.3"),
        ("$.50", ".", "$.50"),
    ],
)
def test_money_becomes_plain_or_stays(text: str | None, mark: Any, plain: str | None) -> None:
    assert mapped(lambda column: values.money(column, decimal_mark=mark), text) == [plain]


# --- times ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-11-01T10:00:00.000+0000", "2026-11-01T10:00:00Z"),
        ("2026-11-01T10:00:00.000Z", "2026-11-01T10:00:00Z"),
        ("2026-11-01T10:00:00Z", "2026-11-01T10:00:00Z"),
        ("2026-11-01T12:30:00.250+02:30", "2026-11-01T10:00:00.250Z"),
        ("2026-03-29T02:30:00-0500", "2026-03-29T07:30:00Z"),
        ("2026-11-01 10:00:00.123456+0000", "2026-11-01T10:00:00.123456Z"),
        ("2026-11-01T10:00:00", "2026-11-01T10:00:00"),
        ("2026-13-01T10:00:00Z", "2026-13-01T10:00:00Z"),
        (None, None),
    ],
)
def test_times_become_utc_or_stay(text: str | None, iso: str | None) -> None:
    assert mapped(values.iso_datetime, text) == [iso]


def test_many_columns_at_once_stay_apart() -> None:
    frame = pl.DataFrame({"a": ["2026-11-01T10:00:00Z"], "b": ["2025-01-01T00:00:00+0100"]})
    assert frame.select(values.iso_datetime(pl.col("a", "b"))).row(0) == (
        "2026-11-01T10:00:00Z",
        "2024-12-31T23:00:00Z",
    )


@pytest.mark.parametrize(
    ("text", "unit", "iso"),
    [
        ("0", "s", "1970-01-01T00:00:00Z"),
        ("1700000000.5", "s", "2023-11-14T22:13:20.500Z"),
        ("1700000000123", "ms", "2023-11-14T22:13:20.123Z"),
        ("-1", "s", "1969-12-31T23:59:59Z"),
        ("soon", "s", "soon"),
        (None, "s", None),
    ],
)
def test_epochs_become_utc_or_stay(text: str | None, unit: Any, iso: str | None) -> None:
    assert mapped(lambda column: values.epoch_datetime(column, unit), text) == [iso]


def test_dates_are_read_by_the_vendors_forms_only() -> None:
    read = mapped(
        lambda column: values.iso_date(column, ["%d/%m/%Y", "%Y%m%d"]), "01/02/2026", "20260203", "30/02/2026", None
    )
    assert read == ["2026-02-01", "2026-02-03", "30/02/2026", None]


# --- text ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One &amp; <b>two</b></p><p>three</p>", "One & two\nthree"),
        ("a<br/>b<BR>c", "a\nb\nc"),
        ("<ul><li>x</li><li>y</li></ul>", "- x\n- y"),
        ("2 < 3 and 4 > 1", "2 < 3 and 4 > 1"),
        ("&lt;p&gt;", "<p>"),
        ("<script>alert(1)</script>ok", "ok"),
        ("<!-- note -->ok", "ok"),
        ("a&nbsp;b", "a b"),
        ("<p></p>", None),
        (None, None),
        ("<td>1</td><td>2</td>", "1\t2"),
        ('<a href="x">link</a>', "link"),
    ],
)
def test_rich_text_becomes_plain(html: str | None, text: str | None) -> None:
    assert mapped(values.html_to_text, html) == [text]


def test_addresses_become_json_of_what_is_there() -> None:
    frame = pl.DataFrame(
        {"s": ['1 "Main"\nSt', None, None], "c": ["Bern", "Ulm", None]}, schema={"s": pl.String, "c": pl.String}
    )
    found = frame.select(values.address_json({"street": pl.col("s"), "city": pl.col("c")})).to_series().to_list()
    assert [json.loads(text) if text else text for text in found] == [
        {"street": '1 "Main"\nSt', "city": "Bern"},
        {"city": "Ulm"},
        None,
    ]


# --- CSV -----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6))
def test_csv_reads_back_what_was_written(rows: list[tuple[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("a", "b"), *rows])
    frame = values.csv_to_frame(text.getvalue().encode())
    assert frame.rows() == [(one or None, two or None) for one, two in rows]
    assert set(frame.dtypes) == {pl.String}


@given(st.lists(st.tuples(TEXT, TEXT), max_size=30), st.integers(1, 200))
def test_a_csv_in_pieces_is_the_csv(rows: list[tuple[str, str]], size: int) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("a", "b"), *rows])
    pieces = list(values.csv_pieces(io.BytesIO(text.getvalue().encode()), size))
    frames = [values.csv_to_frame(piece) for piece in pieces]
    assert [row for frame in frames for row in frame.rows()] == [(one or None, two or None) for one, two in rows]
    longest = max(len(f'"{one}","{two}"'.encode()) * 2 for one, two in [*rows, ("", "")])
    assert max(map(len, pieces)) <= len(b'"a","b"\n') + longest + size


def test_no_csv_at_all_is_one_empty_piece() -> None:
    assert list(values.csv_pieces(io.BytesIO(b""))) == [b""]


def test_csv_keeps_leading_zeros_and_drops_nul() -> None:
    assert values.csv_to_frame(io.BytesIO(b'"zip","n"\n"0012","a\0b"\n')).rows() == [("0012", "ab")]


def test_csv_without_rows_or_without_anything() -> None:
    assert values.csv_to_frame(b'"a","b"\n').columns == ["a", "b"]
    assert values.csv_to_frame(b"").width == 0


@pytest.mark.parametrize("data", [b'"a","b"\n"1","cut of', b"a,b\n1,2,3\n", b'"a"\n"\xff\xfe"\n'])
def test_a_damaged_csv_is_told(data: bytes) -> None:
    with pytest.raises(ContractChanged, match="CSV"):
        values.csv_to_frame(data)


def test_float_artefacts_do_not_arise() -> None:
    frame = values.records_to_frame([{"v": 0.1}, {"v": 1e21}, {"v": math.pi}], ["v"])
    assert frame["v"].to_list() == ["0.1", "1000000000000000000000", "3.141592653589793"]
