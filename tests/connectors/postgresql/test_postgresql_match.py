"""Looking rows up by any columns and taking them over: what the database takes for equal, and whose rows it is."""

from collections.abc import Iterator

import polars as pl
import pytest
from psycopg.errors import FeatureNotSupported

from connectors.targets.postgresql import PostgresqlTarget
from tests.connectors.postgresql.scratch import Database

PEOPLE = """
CREATE EXTENSION IF NOT EXISTS citext SCHEMA pg_catalog;
CREATE TABLE people (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    external_id text UNIQUE CHECK (external_id <> 'bad'),
    tenant_id bigint,
    mail citext,
    name text,
    born date,
    group_id bigint
);
"""


@pytest.fixture
def people(database: Database, schema: str) -> Iterator[PostgresqlTarget]:
    database.run(PEOPLE)
    with PostgresqlTarget(database.context(schema=schema)) as opened:
        yield opened


def found(target: PostgresqlTarget, **columns: list[object]) -> list[tuple[object, ...]]:
    return target.find("people", pl.DataFrame(columns), key="external_id").sort("target_id").rows()


def test_the_database_compares(database: Database, people: PostgresqlTarget) -> None:
    database.run("INSERT INTO people (mail, name, external_id) VALUES ('Ann@x.org', 'Ann', 'k')")
    assert found(people, mail=["ANN@X.ORG"]) == [("ANN@X.ORG", "1", "k")]
    assert found(people, name=["ANN"]) == []
    described = {info.name: info.ignores_case for info in people.describe("people").fields}
    assert (described["mail"], described["name"]) == (True, False)


def test_a_collation_that_ignores_case_is_followed(database: Database, people: PostgresqlTarget) -> None:
    try:
        database.run("CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    except FeatureNotSupported:
        pytest.skip("this server was built without ICU, so that every collation tells capitals apart")
    database.run("ALTER TABLE people ADD nick text COLLATE folded; INSERT INTO people (nick) VALUES ('Ann')")
    assert found(people, nick=["ANN"]) == [("ANN", "1", None)]
    assert {info.name: info.ignores_case for info in people.describe("people").fields}["nick"]


def test_all_columns_must_agree_and_every_hit_is_told(database: Database, people: PostgresqlTarget) -> None:
    database.run("INSERT INTO people (mail, group_id) VALUES ('a@x', 1), ('a@x', 2), ('a@x', 2), (NULL, 2)")
    assert found(people, mail=["a@x", "a@x"], group_id=["1", "2"]) == [
        ("a@x", "1", "1", None),
        ("a@x", "2", "2", None),
        ("a@x", "2", "3", None),
    ]


def test_a_value_that_is_none_of_its_type_is_in_no_row(database: Database, people: PostgresqlTarget) -> None:
    database.run("INSERT INTO people (group_id) VALUES (1)")
    assert found(people, group_id=["no number", "1"]) == [("1", "1", None)]


def test_other_tenants_rows_are_out_of_reach(database: Database, schema: str, people: PostgresqlTarget) -> None:
    database.run("INSERT INTO people (name, tenant_id) VALUES ('Ann', 1), ('Ann', 2)")
    with PostgresqlTarget(database.context(schema=schema, tenant_id="2")) as target:
        assert found(target, name=["Ann"]) == [("Ann", "2", None)]
        ours = pl.DataFrame({"target_id": ["1", "2"], "key": ["a", "b"]})
        result = target.adopt("people", ours, key="external_id").frame
        assert result.select("key", "outcome").rows() == [("1", "rejected"), ("2", "updated")]
    assert database.rows("SELECT external_id FROM people ORDER BY id") == [(None,), ("b",)]


def test_a_key_the_database_refuses_takes_no_other_with_it(database: Database, people: PostgresqlTarget) -> None:
    database.run("INSERT INTO people (name, external_id) VALUES ('a', NULL), ('b', NULL), ('c', NULL), ('d', 'taken')")
    ours = pl.DataFrame({"target_id": ["1", "2", "3", "x"], "key": ["one", "bad", "taken", "four"]})
    result = people.adopt("people", ours, key="external_id").frame
    assert result.select("key", "outcome", "code").rows() == [
        ("1", "updated", None),
        ("2", "rejected", "check_violation"),
        ("3", "rejected", "unique_violation"),
        ("x", "rejected", "not_adopted"),
    ]
    assert all(message for message in result.filter(pl.col("outcome") == "rejected")["message"])
