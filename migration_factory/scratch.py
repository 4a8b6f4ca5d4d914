"""Databases for the demo and for rehearsals: made beside Django's own, with or without the product's tables."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
from django.conf import settings
from django.db import connection
from psycopg import sql

PRODUCT_SCHEMA = Path("sandbox") / "product.sql"


def connection_settings(name: str) -> dict[str, str]:
    """How a connector reaches database ``name`` on Django's server: the settings of the PostgreSQL target."""
    entry = connection.settings_dict
    return {
        "host": entry["HOST"] or "localhost",
        "port": str(entry["PORT"] or 5432),
        "database": name,
        "user": entry["USER"],
    }


def password() -> Mapping[str, str]:
    """The secret that goes with ``connection_settings``; empty where the server asks for none."""
    return {"password": connection.settings_dict["PASSWORD"]} if connection.settings_dict["PASSWORD"] else {}


def create(name: str) -> None:
    """Make the database, in place of one of that name."""
    with connect("postgres") as server:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def drop(name: str) -> None:
    with connect("postgres") as server:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def install_product(name: str, *, tenant: str) -> int:
    """Give the database the product's tables and a tenant of that slug; returns the tenant's id."""
    schema = (settings.BASE_DIR / PRODUCT_SCHEMA).read_text(encoding="utf-8")
    with connect(name) as server:
        server.execute(schema.encode())
        row = server.execute(
            "INSERT INTO tenants (slug, name) VALUES (%s, %s) RETURNING id", [tenant, tenant.title()]
        ).fetchone()
    return int(row[0]) if row else 0


@contextmanager
def connect(name: str) -> Iterator[psycopg.Connection]:
    """A connection to the database as Django's own user, in autocommit mode."""
    with psycopg.connect(
        host=connection.settings_dict["HOST"] or "localhost",
        port=connection.settings_dict["PORT"] or 5432,
        user=connection.settings_dict["USER"],
        password=connection.settings_dict["PASSWORD"] or None,
        dbname=name,
        autocommit=True,
    ) as server:
        yield server
