"""A scratch database beside Django's on the test server, with the product's tables, and a schema per test."""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from psycopg import sql

from connectors.clients.postgresql import connect
from connectors.targets.postgresql import PostgresqlTarget
from tests.connectors.postgresql.scratch import Database, address

PRODUCT = Path(__file__).parents[3] / "sandbox" / "product.sql"
_numbers = count(1)


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    name = f"mf_target_{os.getpid()}"
    where = address("postgres")
    with connect(where) as admin:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        admin.execute(drop)
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(name)))
        with connect(address(name)) as connection:
            scratch = Database(address(name), connection)
            scratch.run(PRODUCT.read_text())
            yield scratch
        admin.execute(drop)


@pytest.fixture
def schema(database: Database) -> Iterator[str]:
    """An empty schema, named first in the scratch connection's search path."""
    name = f"s{next(_numbers)}"
    database.run(f"CREATE SCHEMA {name}; SET search_path = {name}")
    yield name
    database.run(f"SET search_path = public; DROP SCHEMA {name} CASCADE")


@pytest.fixture
def target(database: Database, schema: str) -> Iterator[PostgresqlTarget]:
    """The target on the test's own schema."""
    with PostgresqlTarget(database.context(schema=schema)) as opened:
        yield opened


@pytest.fixture
def tenant(database: Database) -> Iterator[str]:
    """One tenant of the product's tables, which are emptied afterwards."""
    ((number,),) = database.rows("INSERT INTO tenants (slug, name) VALUES ('acme', 'Acme') RETURNING id")
    yield str(number)
    database.run("TRUNCATE tenants CASCADE")


@pytest.fixture
def product(database: Database, tenant: str) -> Iterator[PostgresqlTarget]:
    """The target on the product's tables, for one tenant."""
    with PostgresqlTarget(database.context(tenant_id=tenant)) as opened:
        yield opened
