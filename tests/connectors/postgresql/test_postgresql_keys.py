"""Keys on their way into a query: as one array literal, without those the column's type could not hold."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from connectors.clients.postgresql import array_text
from connectors.clients.postgresql_catalog import Column
from tests.connectors.postgresql.scratch import Database

texts = st.text(st.characters(exclude_characters="\0", codec="utf-8")) | st.sampled_from(['"', "\\", "{},", "NULL", ""])


def column(base: str) -> Column:
    return Column("k", base, base, False, False, -1, False, False, True, (), "", False)


@given(st.lists(st.none() | texts, max_size=20))
def test_an_array_comes_out_as_it_went_in(database: Database, values: list[str | None]) -> None:
    literal = sql.Literal(array_text(pl.Series(values, dtype=pl.String)))
    query = sql.SQL("SELECT {}::text[]").format(literal)
    assert database.connection.execute(query).fetchone() == (values,)


@pytest.mark.parametrize(
    ("base", "possible", "impossible"),
    [
        ("int2", ["-32768", "0", "32767"], ["32768", "-32769", "1.0", "", "abc", "12345678901234567890", "1\n", "٣"]),
        ("int4", ["-2147483648", "2147483647"], ["2147483648", "-2147483649"]),
        ("int8", ["-9223372036854775808", "9223372036854775807"], ["9223372036854775808", "-9223372036854775809"]),
        ("uuid", ["123e4567-e89b-12d3-a456-426614174000", "123E4567E89B12D3A456426614174000"], ["123e4567", ""]),
        ("text", ["", "any\nthing", "ä"], ["a\0b", "\0"]),
    ],
)
def test_what_a_column_may_hold(base: str, possible: list[str], impossible: list[str]) -> None:
    assert column(base).may_hold(pl.Series(possible)).all()
    assert not column(base).may_hold(pl.Series(impossible)).any()


def test_of_no_keys_none_is_held() -> None:
    assert column("int8").may_hold(pl.Series([], dtype=pl.String)).len() == 0
