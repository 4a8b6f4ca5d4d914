"""Rows that somebody else holds: only they are refused, by a code that means to try them again."""

from collections.abc import Iterator
from functools import partial

import polars as pl
import pytest

from connectors.clients import postgresql_session
from connectors.clients.postgresql import connect
from connectors.targets.postgresql import PostgresqlTarget
from tests.connectors.postgresql.scratch import Database

TABLES = """
CREATE TABLE parents (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text UNIQUE);
CREATE TABLE children (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text UNIQUE, name text,
    parent bigint REFERENCES parents (id)
);
INSERT INTO parents (key) VALUES ('free'), ('held');
"""


@pytest.fixture
def impatient(database: Database, schema: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresqlTarget]:
    """The target, waiting a second for a lock where it would wait for half a minute."""
    database.run(TABLES)
    monkeypatch.setattr(postgresql_session, "connect", partial(connect, lock_seconds=1))
    with PostgresqlTarget(database.context(schema=schema)) as opened:
        yield opened


def outcomes(target: PostgresqlTarget, frame: pl.DataFrame) -> dict[str, str]:
    return dict(target.write("children", frame, key="key").frame.select("key", "outcome").iter_rows())


def children(name: str, parents: str = "1") -> pl.DataFrame:
    keys = [f"c{number}" for number in range(len(parents) if len(parents) > 1 else 8)]
    return pl.DataFrame({"key": keys, "name": name, "parent": list(parents) if len(parents) > 1 else "1"})


def test_only_locked_rows_are_refused_and_land_when_the_lock_has_gone(
    database: Database, schema: str, impatient: PostgresqlTarget
) -> None:
    outcomes(impatient, children("old"))
    with connect(database.where) as other, other.transaction():
        other.execute(f"SELECT FROM {schema}.children WHERE key IN ('c2', 'c5') FOR UPDATE")
        result = impatient.write("children", children("new"), key="key").frame
    locked = result.filter(pl.col("outcome") == "rejected")
    assert sorted(locked["key"]) == ["c2", "c5"]
    assert set(locked["code"]) <= impatient.capabilities.lock_codes
    assert "is locked by somebody else" in locked["message"][0]
    assert set(outcomes(impatient, children("new")).values()) == {"updated", "unchanged"}
    assert database.rows("SELECT DISTINCT name FROM children") == [("new",)]


def test_children_of_a_locked_parent_are_told_from_the_others(
    database: Database, schema: str, impatient: PostgresqlTarget
) -> None:
    with connect(database.where) as other, other.transaction():
        other.execute(f"SELECT FROM {schema}.parents WHERE key = 'held' FOR UPDATE")
        found = outcomes(impatient, children("x", "11211112"))
    assert {key for key, outcome in found.items() if outcome == "rejected"} == {"c2", "c7"}
    assert sorted(found.values()).count("created") == 6
