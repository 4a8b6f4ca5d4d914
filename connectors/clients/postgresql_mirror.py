"""Creating a table like a source's entity, and keeping up with it as the entity grows.

A mirror table has ``id`` (made by the database), a key column that holds the source's id, and a column per
field. Each column's comment is the source field's exact name, followed by `` -> Entity`` for a reference;
that is how a column is found again although names are lower-cased, shortened or numbered.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from connectors.clients.postgresql import Connection
from connectors.clients.postgresql_catalog import Column, RuleKind, Table, read_tables
from connectors.clients.postgresql_stage import ROW, raw
from connectors.errors import SettingsInvalid
from connectors.types import EntitySchema, FieldInfo, FieldType

_NAME_BYTES = 63  # https://www.postgresql.org/docs/current/limits.html
_VARCHAR_MAX = 10_485_760
_NUMERIC_MAX = 1_000
_COLUMNS_MAX = 1_600
_RESERVED = {"id", "tenant_id", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", ROW}
_POINTS_AT = " -> "

_TYPES: Mapping[FieldType, str] = {
    FieldType.INTEGER: "bigint",
    FieldType.FLOAT: "double precision",
    FieldType.BOOLEAN: "boolean",
    FieldType.DATE: "date",
    FieldType.TIME: "time without time zone",
    FieldType.DATETIME: "timestamp with time zone",
    FieldType.JSON: "jsonb",
    FieldType.UUID: "uuid",
    FieldType.BINARY: "bytea",
}


def table_name(entity: str) -> str:
    """The mirror table's name for a source entity."""
    return _fit(entity.lower() or "entity")


def known_columns(table: Table | None) -> dict[str, str]:
    """Source field → column, of the columns a mirror has; one without a comment stands for its own name."""
    columns: Sequence[Column] = table.columns if table else ()
    unnamed = {column.name: column.name for column in columns if not column.comment and column.name not in _RESERVED}
    return unnamed | {column.comment.partition(_POINTS_AT)[0]: column.name for column in columns if column.comment}


def mirror_names(schema: EntitySchema, key: str, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Source field → column, for every field. The source's id field is the column ``key``.

    ``known`` are the columns that exist already. Names are lower-cased and shortened to 63 bytes; one that
    is taken or reserved gets a number (``name_2``).
    """
    names = {name: column for name, column in (known or {}).items() if name in schema.names}
    names[schema.entity.id_field] = key
    taken = {key, *_RESERVED, *(known or {}).values()}
    for name in schema.names:
        if name not in names:
            names[name] = _free(name.lower() or "field", taken)
            taken.add(names[name])
    return {name: names[name] for name in schema.names}


def column_type(field: FieldInfo) -> str:
    """The field's type as PostgreSQL's catalog spells it. Picklists are text: a mirror judges no value."""
    if len(field.references) == 1:
        return "bigint"
    if field.type is FieldType.DECIMAL:
        whole = field.precision is not None and field.scale is not None and 0 < field.precision <= _NUMERIC_MAX
        return f"numeric({field.precision},{field.scale})" if whole else "numeric"
    if field.type in _TYPES:
        return _TYPES[field.type]
    if field.type is FieldType.TEXT and field.length and field.length <= _VARCHAR_MAX:
        return f"character varying({field.length})"
    return "text"


def ensure_table(connection: Connection, space: str, schema: EntitySchema, key: str) -> tuple[str, ...]:
    """Create or extend the mirror table of ``schema`` in the database schema ``space``; one sentence per
    change made, none where everything is there.

    One transaction, one at a time per database schema. A text column that became too short, or a number
    too narrow, is widened; raises SettingsInvalid where a column is of another kind, where the table is no
    mirror, or where the names cannot be kept.
    """
    if key in _RESERVED or len(key.encode()) > _NAME_BYTES:
        raise SettingsInvalid(f"“{key}” cannot be the key column of a mirror table. Choose another name.")
    if len(schema.fields) + 2 > _COLUMNS_MAX:
        raise SettingsInvalid(
            f"{schema.entity.name} has {len(schema.fields)} fields; a PostgreSQL table holds {_COLUMNS_MAX} columns. "
            "Leave fields out."
        )
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"mirror {space}"])
        return _Mirroring(connection, space, schema, key).run()


@dataclass(frozen=True, slots=True)
class _Step:
    """One change: the statement, and how it is told."""

    statement: sql.Composed
    sentence: str


class _Mirroring:
    """One entity on its way to a table."""

    def __init__(self, connection: Connection, space: str, schema: EntitySchema, key: str) -> None:
        self._connection = connection
        self._tables = {table.name: table for table in read_tables(connection.cursor(), space)}
        self._schema = schema
        self._key = key
        self._name = table_name(schema.entity.name)
        self._sql = sql.Identifier(space, self._name)
        self._table = self._tables.get(self._name)
        self._space = space

    def run(self) -> tuple[str, ...]:
        steps = [*self._head(), *self._columns(), *self._links()]
        for step in steps:
            self._connection.execute(step.statement)
        return tuple(step.sentence for step in steps if step.sentence)

    def _head(self) -> Iterable[_Step]:
        if self._table is not None:
            if not self._table.is_key((self._key,)) or self._table.id_column is None:
                raise SettingsInvalid(
                    f"The table {self._name} exists, but is no mirror: it has no unique column {self._key}. Choose "
                    "another schema on the org's page, or rename the table."
                )
            return
        yield _Step(
            sql.SQL(
                "CREATE TABLE {} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, {} text NOT NULL UNIQUE)"
            ).format(self._sql, sql.Identifier(self._key)),
            f"Created table {self._name} with key column {self._key}.",
        )
        yield self._comment(self._key, self._schema.entity.id_field)
        yield _Step(sql.SQL("COMMENT ON TABLE {} IS {}").format(self._sql, sql.Literal(self._schema.entity.name)), "")

    def _columns(self) -> Iterable[_Step]:
        existing = {column.name: column for column in self._table.columns} if self._table else {}
        names = mirror_names(self._schema, self._key, known_columns(self._table))
        for field in self._schema.fields:
            name = names[field.name]
            if name == self._key:
                continue
            found = existing.get(name)
            yield from self._new(field, name) if found is None else self._wider(field, found)

    def _new(self, field: FieldInfo, name: str) -> Iterable[_Step]:
        declared = column_type(field)
        yield _Step(
            sql.SQL("ALTER TABLE {} ADD COLUMN {} {}").format(self._sql, sql.Identifier(name), raw(declared)),
            f"Added column {self._name}.{name} ({declared}).",
        )
        parent = f"{_POINTS_AT}{field.references[0]}" if len(field.references) == 1 else ""
        yield self._comment(name, field.name + parent)

    def _wider(self, field: FieldInfo, column: Column) -> Iterable[_Step]:
        wanted = _widened(column, column_type(field))
        if wanted is None:
            raise SettingsInvalid(
                f"The column {self._name}.{column.name} is {column.declared}, but the source's field {field.name} "
                f"needs {column_type(field)}. Rename or drop the column, and the mirror makes a new one."
            )
        if wanted != column.declared:
            yield _Step(
                sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {}").format(
                    self._sql, sql.Identifier(column.name), raw(wanted)
                ),
                f"Widened column {self._name}.{column.name} from {column.declared} to {wanted}.",
            )

    def _links(self) -> Iterable[_Step]:
        """Foreign keys whose both ends exist now: ours to others, others' to us, ours to ourselves."""
        names = mirror_names(self._schema, self._key, known_columns(self._table))
        for field in self._schema.fields:
            if len(field.references) == 1 and names[field.name] != self._key:
                parent = table_name(field.references[0])
                if parent == self._name or parent in self._tables:
                    yield from self._link(self._table, self._name, names[field.name], parent)
        for table in self._tables.values():
            if table.name != self._name:
                for column in table.columns:
                    entity = column.comment.partition(_POINTS_AT)[2]
                    if entity and table_name(entity) == self._name:
                        yield from self._link(table, table.name, column.name, self._name)

    def _link(self, table: Table | None, child: str, column: str, parent: str) -> Iterable[_Step]:
        rules = table.rules if table else ()
        if any(rule.kind is RuleKind.FOREIGN and rule.columns == (column,) for rule in rules):
            return
        where = sql.Identifier(self._space, child)
        yield _Step(
            sql.SQL("ALTER TABLE {} ADD FOREIGN KEY ({}) REFERENCES {} (id) DEFERRABLE").format(
                where, sql.Identifier(column), sql.Identifier(self._space, parent)
            ),
            f"Column {child}.{column} now points at {parent}.",
        )
        # Without it, deleting a parent (a rollback) reads the whole child table.
        yield _Step(sql.SQL("CREATE INDEX ON {} ({})").format(where, sql.Identifier(column)), "")

    def _comment(self, column: str, text: str) -> _Step:
        name = sql.Identifier(self._space, self._name, column)
        return _Step(sql.SQL("COMMENT ON COLUMN {} IS {}").format(name, sql.Literal(text)), "")


def _widened(column: Column, wanted: str) -> str | None:
    """The type that holds both what the column holds and ``wanted``; None where there is none."""
    have = column.declared
    if have == wanted or (have == "text" and wanted.startswith("character varying")):
        return have
    if column.base == "varchar" and (wanted == "text" or wanted.startswith("character varying")):
        length = _numbers(wanted)
        return have if column.length is None or (length and length[0] <= column.length) else wanted
    if column.base == "numeric" and wanted.startswith("numeric"):
        return _wider_numeric(column, _numbers(wanted))
    return None


def _wider_numeric(column: Column, wanted: Sequence[int]) -> str:
    if column.precision is None or column.scale is None or not wanted:
        return "numeric"
    scale = max(column.scale, wanted[1])
    digits = max(column.precision - column.scale, wanted[0] - wanted[1])
    return f"numeric({digits + scale},{scale})"


def _numbers(declared: str) -> list[int]:
    inside = declared.partition("(")[2].rstrip(")")
    return [int(number) for number in inside.split(",") if number]


def _free(name: str, taken: set[str]) -> str:
    candidate, number = _fit(name), 2
    while candidate in taken:
        candidate, number = _fit(name, f"_{number}"), number + 1
    return candidate


def _fit(name: str, ending: str = "") -> str:
    """The name with its ending in 63 bytes; a shortened one keeps apart from its like by a digest."""
    if len((name + ending).encode()) <= _NAME_BYTES:
        return name + ending
    ending = "_" + hashlib.sha256(name.encode()).hexdigest()[:8] + ending
    return name.encode()[: _NAME_BYTES - len(ending)].decode(errors="ignore") + ending
