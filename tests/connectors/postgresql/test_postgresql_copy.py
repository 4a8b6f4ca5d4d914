"""Frames by COPY: what is in the frame is in the table, to the last character."""

import datetime as dt
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from connectors.clients import postgresql
from connectors.clients.postgresql import copy_frame, copy_text, nul_columns, nul_rows
from connectors.errors import Rejected
from tests.connectors.postgresql.scratch import Database

HOSTILE = [
    "",
    "\\N",
    "\\.",
    "\\",
    "a\n\\.\nb",
    "\r",
    "\t",
    '"',
    "''",
    ",",
    "NULL",
    "\ufeffx",
    "\u2028",
    "😀",
    "\x7f\x01",
    " ",
]
TABLE = """
CREATE TEMP TABLE IF NOT EXISTS everything (
    place int, t text, b boolean, i bigint, f float8, n numeric, d date, h time, z timestamptz, y timestamp,
    x bytea, a text[], e text
)
"""

text = st.text(st.characters(exclude_characters="\0", codec="utf-8")) | st.sampled_from(HOSTILE)
days = st.dates()
moments = st.datetimes()
rows = st.lists(
    st.tuples(
        st.none() | text,
        st.none() | st.booleans(),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False),
        st.none() | st.decimals(-(10**20), 10**20, places=6),
        st.none() | days,
        st.none() | st.times(),
        st.none() | moments,
        st.none() | moments,
        st.none() | st.binary(),
        st.none() | st.lists(st.none() | text),
        st.none() | text,
    ),
    max_size=20,
)
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "t": pl.String,
    "b": pl.Boolean,
    "i": pl.Int64,
    "f": pl.Float64,
    "n": pl.Decimal(38, 6),
    "d": pl.Date,
    "h": pl.Time,
    "z": pl.Datetime("us"),
    "y": pl.Datetime("us"),
    "x": pl.Binary,
    "a": pl.List(pl.String),
    "e": pl.String,
}


@given(rows)
def test_every_value_arrives(database: Database, values: list[tuple[object, ...]]) -> None:
    frame = pl.DataFrame(values, schema=SCHEMA, orient="row").with_columns(
        pl.col("z").dt.replace_time_zone("UTC"), pl.col("e").cast(pl.Categorical)
    )
    database.run(TABLE + "; TRUNCATE everything")
    copy_frame(database.connection.cursor(), sql.Identifier("everything"), frame.with_row_index("place"))
    found = database.rows("SELECT t, b, i, f, n, d, h, z, y, x, a, e FROM everything ORDER BY place")
    sent = [(*row[:7], row[7] and row[7].replace(tzinfo=dt.UTC), *row[8:]) for row in frame.rows()]
    assert found == sent


@pytest.mark.parametrize("value", [*HOSTILE, None])
def test_a_single_column_keeps_what_would_end_or_blank_a_line(database: Database, value: str | None) -> None:
    database.run("CREATE TEMP TABLE IF NOT EXISTS single (t text); TRUNCATE single")
    copy_frame(database.connection.cursor(), sql.Identifier("single"), pl.DataFrame({"t": ["a", value, "b"]}))
    assert sorted(database.rows("SELECT t FROM single"), key=str) == sorted([("a",), (value,), ("b",)], key=str)


def test_zones_other_than_utc_arrive_as_the_same_moment(database: Database) -> None:
    database.run("CREATE TEMP TABLE IF NOT EXISTS moments (z timestamptz); TRUNCATE moments")
    moment = dt.datetime(2026, 7, 1, 12, tzinfo=dt.UTC)
    frame = pl.DataFrame({"z": [moment]}).with_columns(pl.col("z").dt.convert_time_zone("Asia/Tokyo"))
    copy_frame(database.connection.cursor(), sql.Identifier("moments"), frame)
    assert database.rows("SELECT z FROM moments") == [(moment,)]


def test_names_that_need_quoting(database: Database) -> None:
    database.run('CREATE TEMP TABLE IF NOT EXISTS "Odd ""%s"" name" ("a %s\tb" int, "order" int)')
    frame = pl.DataFrame({"a %s\tb": [1], "order": [2]})
    copy_frame(database.connection.cursor(), sql.Identifier('Odd "%s" name'), frame)
    assert database.rows('SELECT "a %s\tb", "order" FROM "Odd ""%s"" name"') == [(1, 2)]


def test_numbers_and_lists_of_numbers(database: Database) -> None:
    database.run("CREATE TEMP TABLE IF NOT EXISTS numbers (f float8, a int[], n numeric)")
    frame = pl.DataFrame(
        {"f": [float("nan"), float("inf")], "a": [[1, None], []], "n": [Decimal("-0.05"), None]},
        schema_overrides={"n": pl.Decimal(38, 2)},
    )
    copy_frame(database.connection.cursor(), sql.Identifier("numbers"), frame)
    assert database.rows("SELECT f::text, a, n FROM numbers ORDER BY f::text DESC") == [
        ("NaN", [1, None], Decimal("-0.05")),
        ("Infinity", [], None),
    ]


def test_a_large_frame_travels_in_slices(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "COPY_ROWS", 7)
    database.run("CREATE TEMP TABLE IF NOT EXISTS many (n int); TRUNCATE many")
    copy_frame(database.connection.cursor(), sql.Identifier("many"), pl.DataFrame({"n": range(50)}))
    assert database.rows("SELECT count(*), sum(n) FROM many") == [(50, sum(range(50)))]


def test_an_empty_frame_is_nothing(database: Database) -> None:
    database.run("CREATE TEMP TABLE IF NOT EXISTS many (n int); TRUNCATE many")
    copy_frame(database.connection.cursor(), sql.Identifier("many"), pl.DataFrame({"n": []}, schema={"n": pl.Int64}))
    assert database.rows("SELECT count(*) FROM many") == [(0,)]


def test_a_nul_character_is_told_and_nothing_arrives(database: Database) -> None:
    database.run("CREATE TEMP TABLE IF NOT EXISTS texts (a text, b text[], n int); TRUNCATE texts")
    frame = pl.DataFrame({"a": ["fine", "b\0d", None], "b": [["x\0"], None, ["y"]], "n": [1, 2, 3]})
    with pytest.raises(Rejected) as caught:
        copy_frame(database.connection.cursor(), sql.Identifier("texts"), frame)
    assert caught.value.code == "untranslatable_character"
    assert caught.value.fields == ("a", "b") == nul_columns(frame)
    assert nul_rows(frame).to_list() == [True, True, False]
    assert database.rows("SELECT count(*) FROM texts") == [(0,)]


@pytest.mark.parametrize(
    "dtype",
    [pl.Struct({"a": pl.Int64}), pl.Duration(), pl.List(pl.List(pl.String)), pl.List(pl.Binary), pl.List(pl.Datetime)],
    ids=str,
)
def test_what_has_no_text_form_is_a_callers_bug(dtype: pl.DataType) -> None:
    with pytest.raises(TypeError, match="no text form"):
        copy_text(pl.DataFrame({"v": [None]}, schema={"v": dtype}))
