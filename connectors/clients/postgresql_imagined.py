"""Tables that a mirror would make, taken to be there: nobody else ever sees one, and none stays.

What they would be is read from the catalog inside a transaction that makes them and is rolled back. When rows are
tried out in one, a temporary table of that shape stands in for it, in a transaction that is rolled back as well, with
the rows of the real table, where there is one that lacks columns, under the keys in question. Foreign keys are not
tried: a temporary table cannot have any to a lasting one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from psycopg import sql

from connectors.clients.postgresql import Connection
from connectors.clients.postgresql_catalog import Column, RuleKind, Table, read_tables
from connectors.clients.postgresql_mirror import ensure_table, table_name
from connectors.clients.postgresql_stage import raw
from connectors.types import EntitySchema

PATIENCE = "SET LOCAL lock_timeout = '5s'"
"""Making a foreign key wants a lock on its parent, for a moment; whoever waits for it longer makes others wait."""


@dataclass(frozen=True, slots=True)
class Imagined:
    """A ``table`` as it would be, and the ``real`` one that lacks columns of it; None where there is none."""

    table: Table
    real: Table | None


def imagine(
    connection: Connection, space: str, wanted: Sequence[tuple[EntitySchema, str]]
) -> tuple[dict[str, Imagined], tuple[str, ...]]:
    """By name the tables that ``ensure_table`` would make or change for these entities with their keys, and its
    sentences. Raises as that does; nothing is changed."""
    with connection.transaction(force_rollback=True):
        connection.execute(PATIENCE)
        before = {table.name: table for table in read_tables(connection.cursor(), space)}
        told = [sentence for schema, key in wanted for sentence in ensure_table(connection, space, schema, key)]
        after = {table.name: table for table in read_tables(connection.cursor(), space)}
    asked = {table_name(schema.entity.name) for schema, _ in wanted}
    changed = {name: table for name, table in after.items() if name in asked and table != before.get(name)}
    return {name: Imagined(table, before.get(name)) for name, table in changed.items()}, tuple(told)


@contextmanager
def standing_in(connection: Connection, imagined: Imagined, *, rows: sql.Composable | None) -> Iterator[Table]:
    """A table of that shape to read and write until the block ends; ``rows`` is the condition, over the alias ``t``,
    of the real table's rows that are in it."""
    with connection.transaction(force_rollback=True):
        name = imagined.table.name
        for statement in _made(imagined, rows):
            connection.execute(statement)
        [space] = connection.execute("SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()").fetchone() or [
            ""
        ]
        [made] = read_tables(connection.cursor(), space, name)
        points_at = tuple(rule for rule in imagined.table.rules if rule.kind is RuleKind.FOREIGN)
        # Its ids come from a sequence of its own, which the imagined columns do not name.
        yield replace(imagined.table, schema=space, copyable=False, rules=(*made.rules, *points_at))


def _made(imagined: Imagined, rows: sql.Composable | None) -> Iterator[sql.Composed]:
    table, real = imagined.table, imagined.real
    stand_in = sql.Identifier("pg_temp", table.name)
    if real is None:
        keys = {rule.columns[0] for rule in table.rules if rule.is_key and len(rule.columns) == 1}
        columns = [
            _column(column, primary=column.name == table.id_column, unique=column.name in keys)
            for column in table.columns
        ]
        yield sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(
            sql.Identifier(table.name), sql.SQL(", ").join(columns)
        )
        return
    yield sql.SQL("CREATE TEMPORARY TABLE {} (LIKE {} INCLUDING ALL) ON COMMIT DROP").format(
        sql.Identifier(table.name), real.relation
    )
    for column in table.columns:
        there = real.column(column.name)
        if there is None:
            yield sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(stand_in, _column(column, primary=False, unique=False))
        elif there.declared != column.declared:
            yield sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {}").format(
                stand_in, sql.Identifier(column.name), raw(column.declared)
            )
    if rows is not None:
        names = sql.SQL(", ").join(
            sql.Identifier(column.name) for column in real.columns if column.writable or column.identity
        )
        yield sql.SQL("INSERT INTO {} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM {} t WHERE {}").format(
            stand_in, real.relation, rows, names=names
        )


def _column(column: Column, *, primary: bool, unique: bool) -> sql.Composed:
    parts = [sql.Identifier(column.name), raw(column.declared)]
    if column.identity:
        parts.append(sql.SQL("GENERATED ALWAYS AS IDENTITY"))
    if primary:
        parts.append(sql.SQL("PRIMARY KEY"))
    elif column.not_null:
        parts.append(sql.SQL("NOT NULL"))
    if unique and not primary:
        parts.append(sql.SQL("UNIQUE"))
    return sql.SQL(" ").join(parts)
