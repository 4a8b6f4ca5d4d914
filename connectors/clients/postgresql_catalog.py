"""What a PostgreSQL table is, read from the catalog: columns, types, rules; and how they look as fields.

The catalog: https://www.postgresql.org/docs/current/catalogs.html
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import polars as pl
from psycopg import sql

from connectors.clients.postgresql import Cursor
from connectors.types import EntityInfo, EntitySchema, FieldInfo, FieldType

_FIELD_TYPES: Mapping[str, FieldType] = {
    "int2": FieldType.INTEGER,
    "int4": FieldType.INTEGER,
    "int8": FieldType.INTEGER,
    "numeric": FieldType.DECIMAL,
    "float4": FieldType.FLOAT,
    "float8": FieldType.FLOAT,
    "bool": FieldType.BOOLEAN,
    "date": FieldType.DATE,
    "time": FieldType.TIME,
    "timestamp": FieldType.DATETIME,
    "timestamptz": FieldType.DATETIME,
    "json": FieldType.JSON,
    "jsonb": FieldType.JSON,
    "uuid": FieldType.UUID,
    "bytea": FieldType.BINARY,
}

# What a text must look like to be a value of the type, and below what its size must be.
_KEY_TEXTS: Mapping[str, tuple[str, int | None]] = {
    "int2": ("-?[0-9]{1,5}", 2**15),
    "int4": ("-?[0-9]{1,10}", 2**31),
    "int8": ("-?[0-9]{1,19}", 2**63),
    "uuid": ("[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}", None),
}

_TABLES = """
SELECT c.oid, c.relname, obj_description(c.oid, 'pg_class'),
       (SELECT count(*) > 0 FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid AND g.tgtype & 3 = 3),
       c.relhasrules, c.relkind = 'r' AND NOT c.relhasrules AND NOT pg_catalog.row_security_active(c.oid)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND (%(name)s::text IS NULL OR c.relname = %(name)s)
 ORDER BY c.relname COLLATE "C"
"""
_COLUMNS = """
SELECT a.attrelid, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), b.typname, b.typtype = 'e',
       t.typcategory = 'A', CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END,
       a.attnotnull OR t.typnotnull, a.atthasdef OR t.typdefault IS NOT NULL,
       a.attidentity = '' AND a.attgenerated = '',
       ARRAY(SELECT e.enumlabel::text FROM pg_catalog.pg_enum e WHERE e.enumtypid = b.oid ORDER BY e.enumsortorder),
       coalesce(col_description(a.attrelid, a.attnum), ''), a.attidentity <> '',
       b.typname = 'citext' OR NOT coalesce(c.collisdeterministic, true),
       c.collname IS NOT DISTINCT FROM 'default' AND c.collnamespace = 'pg_catalog'::regnamespace,
       CASE WHEN a.attidentity <> '' AND pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'INSERT') THEN
         (SELECT s.name FROM pg_catalog.pg_get_serial_sequence(a.attrelid::regclass::text, a.attname) s(name)
           WHERE pg_catalog.has_sequence_privilege(s.name, 'USAGE')) END
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN pg_catalog.pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
  LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
 WHERE a.attrelid = ANY(%(tables)s) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum
"""
_RULES = """
SELECT k.conrelid, k.conname, k.contype::text,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(n, o)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY u.o),
       n.nspname, f.relname,
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(n, o)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY u.o),
       pg_catalog.pg_get_expr(k.conbin, k.conrelid),
       EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indexrelid = k.conindid AND i.indisprimary)
  FROM pg_catalog.pg_constraint k
  LEFT JOIN pg_catalog.pg_class f ON f.oid = k.confrelid
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid = f.relnamespace
 WHERE k.conrelid = ANY(%(tables)s) AND k.contype IN ('p', 'f', 'c', 'x')
UNION ALL
SELECT i.indrelid, c.relname, CASE WHEN i.indpred IS NULL AND i.indisvalid THEN 'u' ELSE 'i' END,
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey[:i.indnkeyatts - 1]) WITH ORDINALITY u(n, o)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.n ORDER BY u.o),
       NULL, NULL, '{}', CASE WHEN i.indexprs IS NULL THEN NULL ELSE pg_catalog.pg_get_indexdef(i.indexrelid) END, false
  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
 WHERE i.indrelid = ANY(%(tables)s) AND i.indisunique
 ORDER BY 1, 2
"""


class RuleKind(StrEnum):
    PRIMARY = "p"
    FOREIGN = "f"
    CHECK = "c"
    EXCLUSION = "x"
    UNIQUE = "u"
    UNIQUE_PARTLY = "i"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``declared`` is the type as SQL writes it; ``base`` the catalog's name of it (of a
    domain's base); ``modifier`` its type modifier (-1: none); ``labels`` an enum's values, in order. ``ignores_case``:
    the type or the collation takes different texts for equal; ``usual_order``: texts are compared as the database does
    where nobody says how. ``sequence`` is what an identity's values are drawn from, by its quoted name, where we may
    draw some ourselves."""

    name: str
    declared: str
    base: str
    enum: bool
    array: bool
    modifier: int
    not_null: bool
    has_default: bool
    writable: bool
    labels: Sequence[str]
    comment: str
    identity: bool
    ignores_case: bool = False
    usual_order: bool = False
    sequence: str | None = None

    @property
    def length(self) -> int | None:
        """Characters allowed, or None where the type sets no limit."""
        return self.modifier - 4 if self.base in {"varchar", "bpchar"} and self.modifier > 4 else None

    @property
    def precision(self) -> int | None:
        return (self.modifier - 4) >> 16 if self.base == "numeric" and self.modifier > 4 else None

    @property
    def scale(self) -> int | None:
        # Eleven bits, signed since version 15: numeric(5, -2) rounds to hundreds.
        return (((self.modifier - 4) & 0x7FF) ^ 1024) - 1024 if self.precision is not None else None

    def may_hold(self, texts: pl.Series) -> pl.Series:
        """Which of the texts can be values of the column, of types that serve as keys; others are let pass."""
        pattern, whole = _KEY_TEXTS.get(self.base, (r"[^\x00]*", None))
        fits = texts.str.contains(f"^(?s:{pattern})$")
        if whole is None:
            return fits
        return fits & texts.cast(pl.Int64, strict=False).is_between(-whole, whole - 1).fill_null(value=False)

    @property
    def is_text(self) -> bool:
        """Whether a value comes back, and compares, as the very text that was sent."""
        return self.base in {"text", "varchar"}


@dataclass(frozen=True, slots=True)
class Rule:
    """A constraint or unique index. ``parent`` and ``parent_columns`` say what a foreign key points at;
    ``expression`` is a check's condition, or the definition of a unique index over expressions; ``to_primary`` tells a
    foreign key that points at its parent's primary key."""

    name: str
    kind: RuleKind
    columns: tuple[str, ...]
    parent: tuple[str, str] | None
    parent_columns: tuple[str, ...]
    expression: str | None
    to_primary: bool

    @property
    def is_key(self) -> bool:
        """Whether its columns name one row at most."""
        return self.kind is RuleKind.UNIQUE and self.expression is None


@dataclass(frozen=True, slots=True)
class Table:
    """A table. ``before_triggers``: something may change or drop a row before it is written; ``rewritten``: rules
    may make other statements of those that write to it; ``copyable``: COPY writes to it what INSERT would."""

    schema: str
    name: str
    comment: str
    before_triggers: bool
    rewritten: bool
    copyable: bool
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...]

    @property
    def relation(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    @property
    def id_column(self) -> str | None:
        """The single column of the primary key, or None."""
        return next((r.columns[0] for r in self.rules if r.kind is RuleKind.PRIMARY and len(r.columns) == 1), None)

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)

    def parents(self, column: str) -> tuple[str, ...]:
        """The tables whose ids the column holds."""
        return tuple(r.parent[1] for r in self.rules if r.columns == (column,) and r.parent and r.to_primary)

    def rule(self, name: str | None) -> Rule | None:
        """The rule of that name: of a unique constraint and its index (one name), either."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def is_key(self, columns: Sequence[str]) -> bool:
        """Whether a unique index covers exactly these columns, in any order."""
        return any(rule.is_key and set(rule.columns) == set(columns) for rule in self.rules)


def read_tables(cursor: Cursor, schema: str, name: str | None = None) -> tuple[Table, ...]:
    """The schema's tables by name (or only the one called ``name``), partitions left out."""
    heads = cursor.execute(_TABLES, {"schema": schema, "name": name}).fetchall()
    oids = {"tables": [head[0] for head in heads]}
    columns: dict[int, list[Column]] = {oid: [] for oid in oids["tables"]}
    rules: dict[int, list[Rule]] = {oid: [] for oid in oids["tables"]}
    for row in cursor.execute(_COLUMNS, oids).fetchall():
        columns[row[0]].append(Column(*row[1:]))
    for oid, rule, kind, names, space, parent, parent_names, expression, primary in cursor.execute(_RULES, oids):
        target = (space, parent) if parent else None
        rules[oid].append(Rule(rule, RuleKind(kind), tuple(names), target, tuple(parent_names), expression, primary))
    return tuple(
        Table(schema, relname, comment or "", triggers, rewritten, copyable, tuple(columns[oid]), tuple(rules[oid]))
        for oid, relname, comment, triggers, rewritten, copyable in heads
    )


def entity_info(table: Table) -> EntityInfo | None:
    """The table as an entity; None where no single column names its rows."""
    if table.id_column is None:
        return None
    updated = table.column("updated_at")
    moved = "updated_at" if updated is not None and field_type(table, updated) is FieldType.DATETIME else None
    return EntityInfo(table.name, table.comment or table.name, table.id_column, moved)


def entity_schema(table: Table, info: EntityInfo, constants: Sequence[str]) -> EntitySchema:
    """The table's fields. ``constants`` are columns the target fills itself (the tenant): not writable, and
    part of every key."""
    return EntitySchema(info, tuple(_field(table, column, tuple(constants)) for column in table.columns))


def field_type(table: Table, column: Column) -> FieldType:
    """The neutral type of a column. Arrays are JSON (a list); what PostgreSQL has and we have not (intervals,
    ranges, network addresses …) is text."""
    if table.parents(column.name):
        return FieldType.REFERENCE
    if column.array:
        return FieldType.JSON
    if column.enum:
        return FieldType.PICKLIST
    return _FIELD_TYPES.get(column.base, FieldType.TEXT)


def _field(table: Table, column: Column, constants: tuple[str, ...]) -> FieldInfo:
    parents = table.parents(column.name)
    unique = table.is_key((column.name,)) or table.is_key((column.name, *constants))
    writable = column.writable and column.name not in constants
    return FieldInfo(
        name=column.name,
        type=field_type(table, column),
        label=column.comment.partition(" -> ")[0] or column.name,
        length=column.length,
        precision=column.precision,
        scale=column.scale,
        required=writable and column.not_null and not column.has_default,
        writable=writable,
        unique=unique,
        external_id=unique and writable and not parents,
        choices=tuple(column.labels),
        restricted=column.enum,
        references=parents,
        ignores_case=column.ignores_case,
    )
