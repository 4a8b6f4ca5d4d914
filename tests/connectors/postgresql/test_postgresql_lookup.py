"""Look-ups that were planned while the table was next to empty."""

import os

import polars as pl
import psycopg
import pytest

from connectors.clients import postgresql_lookup
from connectors.clients.postgresql import connect
from connectors.clients.postgresql_lookup import extremes, planned_anew
from tests.connectors.postgresql.scratch import Database, address


@pytest.mark.parametrize("slow", [0, 1])
def test_a_look_up_that_takes_long_is_asked_again_without_hurry(
    database: Database, monkeypatch: pytest.MonkeyPatch, slow: int
) -> None:
    monkeypatch.setattr(postgresql_lookup, "PATIENCE", "SET LOCAL statement_timeout = '10ms'")
    connection, limits = database.connection, []

    def ask() -> str:
        limits.append(str(connection.execute("SHOW statement_timeout").fetchone()))
        if len(limits) <= slow:
            connection.execute("SELECT pg_sleep(60)")
        return "found"

    with connection.transaction():
        before = str(connection.execute("SHOW statement_timeout").fetchone())
        assert planned_anew(connection, ask) == "found"
        assert str(connection.execute("SHOW statement_timeout").fetchone()) == before
    assert limits == ["('10ms',)", before][: slow + 1]


LOCALES = {
    "C": "LOCALE_PROVIDER libc LOCALE 'C'",
    "C.utf8": "LOCALE_PROVIDER libc LOCALE 'C.utf8'",
    "dictionary": "LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C'",
}


@pytest.mark.parametrize("order", LOCALES)
def test_the_least_and_the_greatest_as_the_database_orders_texts(database: Database, order: str) -> None:
    """By bytes “Zebra” comes before “apple”, and “éclair” last; in a dictionary not."""
    name = f"mf_ordered_{os.getpid()}"
    texts = pl.Series(["apple", "Zebra", "éclair", "pear", 'a"b,c\\'])
    with connect(address("postgres")) as admin:
        try:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' {LOCALES[order]}")
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.WrongObjectType) as error:
            pytest.skip(f"this server has no such order: {error}")
        try:
            with connect(address(name)) as connection:
                found = extremes(connection, texts)
                assert extremes(connection, texts[:0]) == (None, None)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert found == ('a"b,c\\' if order == "dictionary" else "Zebra", "Zebra" if order == "dictionary" else "éclair")
