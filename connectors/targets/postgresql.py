"""The target **postgresql**: a product's own database, written by COPY and one set-based merge per chunk.

A table with a single-column primary key is an entity; its rows are matched by a key column the caller
names. Where the setting ``tenant_id`` is filled in, tables with a column of that name belong to one tenant:
the value is written to it and is part of every look-up, so that another tenant's rows are out of reach.
Docs: https://www.postgresql.org/docs/current/
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import polars as pl
from psycopg import sql

from connectors.base import Target
from connectors.clients.postgresql import Address, Connection, array_text
from connectors.clients.postgresql_catalog import Column, Table, entity_info, entity_schema, read_tables
from connectors.clients.postgresql_delete import delete_rows
from connectors.clients.postgresql_errors import LOCK_CODES
from connectors.clients.postgresql_imagined import Imagined, imagine, standing_in
from connectors.clients.postgresql_lookup import LOOK_UP, LOOK_UPS, WORTH_A_LOOK, extremes, planned_anew
from connectors.clients.postgresql_match import find_rows, give_keys
from connectors.clients.postgresql_merge import Merge, constant, merge_frame
from connectors.clients.postgresql_mirror import ensure_table, known_columns, mirror_names, table_name
from connectors.clients.postgresql_read import read_rows
from connectors.clients.postgresql_session import Session
from connectors.clients.postgresql_stage import Stage, raw
from connectors.context import Context, Secret
from connectors.errors import PermissionMissing, SettingsInvalid
from connectors.types import (
    RESULT_SCHEMA,
    Asking,
    Capabilities,
    EntityInfo,
    EntitySchema,
    Identity,
    Setting,
    SettingKind,
    WriteResult,
)

TENANT = "tenant_id"
KEYS_AT_ONCE = 10_000
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_CHECK = """
SELECT current_database(), current_setting('server_version'), pg_is_in_recovery(),
       has_database_privilege(current_database(), 'TEMPORARY'),
       EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s)
"""


LISTED_AT_ONCE = 50_000


class PostgresqlTarget(Target):
    """One connection, opened when first needed, kept between calls and replaced when it broke."""

    slug = "postgresql"
    label = "PostgreSQL"
    settings = (
        Setting("host", "Host", help="A name, an address, or the folder of a Unix socket."),
        Setting("port", "Port", SettingKind.NUMBER, default="5432"),
        Setting("database", "Database"),
        Setting("user", "User"),
        Setting("password", "Password", required=False, secret=True),
        Setting("schema", "Schema", required=False, default="public"),
        Setting(
            "sslmode",
            "SSL mode",
            SettingKind.CHOICE,
            required=False,
            default="prefer",
            choices=tuple((mode, mode) for mode in _SSL_MODES),
            help="verify-full checks that the server is the one it says it is.",
        ),
        Setting(
            TENANT, "Tenant", required=False, help="Where tables are shared by tenants: the id all records belong to."
        ),
    )
    capabilities = Capabilities(
        writes=True,
        creates_schema=True,
        rehearses=True,
        imagines=True,
        transactional=True,
        asked_by=Asking.KEY_LOOKUP,
        finds=True,
        lock_codes=LOCK_CODES,
        page_size=10_000,
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._open: Session | None = None
        self._tables: dict[str, Table] = {}
        self._imagined: dict[str, Imagined] = {}

    def check(self) -> Identity:
        """Signs in, and looks for the schema, the rights a write needs and the tenant."""
        with self._session.connected() as connection:
            row = connection.execute(_CHECK, [self._schema]).fetchone()
            name, version, standby, temporary, exists = row or ("", "", True, False, False)
            if not exists:
                raise SettingsInvalid(
                    f"The {self._session} has no schema “{self._schema}”. Correct it on the org's page."
                )
            if standby:
                raise PermissionMissing(
                    f"The {self._session} is a read-only standby. Name the primary on the org's page."
                )
            if not temporary:
                raise PermissionMissing(
                    f"The {self._session} does not let this user create temporary tables, which every write needs. "
                    "Ask its administrator to grant TEMPORARY on the database."
                )
            tables = read_tables(connection.cursor(), self._schema)
            self._check_tenant(connection, tables)
        facts = {"version": version, "schema": self._schema, "tables": len(tables)}
        return Identity(name, facts | ({"tenant": self._tenant} if self._tenant else {}))

    def entities(self) -> tuple[EntityInfo, ...]:
        with self._session.connected() as connection:
            tables = read_tables(connection.cursor(), self._schema)
        return tuple(info for table in tables if (info := entity_info(table)) is not None)

    def describe(self, entity: str) -> EntitySchema:
        self._tables.pop(entity, None)
        with self._session.connected() as connection:
            imagined = self._imagination(entity)
            table, info = (imagined.table, entity_info(imagined.table)) if imagined else self._table(connection, entity)
            if info is None:
                raise _no_key(entity, self._session)
        return entity_schema(table, info, [column.name for column, _ in self._constants(table)])

    def write(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        """One transaction. A row the database refuses is answered as rejected, with PostgreSQL's name of the
        error as its code; after any error raised, nothing of the frame is written."""
        return self._merge(entity, frame, key=key, keep=True)

    def rehearse(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        """Runs the very statements of ``write`` and rolls back. The ids of created records are those the
        rehearsal saw; sequences do not roll back and have moved on, nothing else has."""
        imagined = self._imagination(entity)
        if imagined is None or frame.is_empty():
            return self._merge(entity, frame, key=key, keep=False)
        keys = frame[key].cast(pl.String)
        with (
            self._session.connected() as connection,
            self._standing_in(connection, imagined, key, keys.drop_nulls().to_list()) as table,
        ):
            merge = self._plan(table, frame.columns, key)
            connection.execute(merge.stage.create())
            answers = merge_frame(connection, merge, frame)
        return WriteResult.checked(answers, frame[key])

    def fetch(self, entity: str, *, key: str, keys: Sequence[str], fields: Sequence[str]) -> pl.DataFrame:
        """JSON comes as the database's own canonical text, a reference as the text of the id, a moment in UTC
        to the microsecond, a numeric as Decimal."""
        with self._session.connected() as connection:
            if imagined := self._imagination(entity):
                with self._standing_in(connection, imagined, key, keys) as table:
                    return self._fetched(connection, table, key, keys, fields)
            table, _ = self._table(connection, entity)
            return self._fetched(connection, table, key, keys, fields)

    def _fetched(
        self, connection: Connection, table: Table, key: str, keys: Sequence[str], fields: Sequence[str]
    ) -> pl.DataFrame:
        column, *wanted = self._columns(table, [key, *fields])
        reach = self._reach(table)
        indexed = table.is_key([key, *(name.name for name, _ in self._constants(table))])
        rows, most = (_one_by_one, LOOK_UPS) if indexed else (_among, KEYS_AT_ONCE)
        with connection.transaction():
            if indexed:
                connection.execute(LOOK_UP)
                keys = keys if _some_between(connection, table, column, keys, reach) else ()
            portions = (rows(table, column, part, reach) for part in _portions(keys, most))
            return read_rows(connection.cursor(), table, key=column, rows=portions, fields=wanted)

    def find(self, entity: str, match: pl.DataFrame, *, key: str) -> pl.DataFrame:
        """The database compares, by the collations of its columns; other tenants' rows are out of reach."""
        imagined = self._imagination(entity)
        if imagined and not (imagined.real and all(map(imagined.real.column, match.columns))):
            return pl.DataFrame(schema={**match.schema, "target_id": pl.String, "key": pl.String})
        with self._session.connected() as connection:
            table, _ = self._table(connection, entity)
            stage = Stage(table, tuple(self._columns(table, match.columns)))
            [column] = self._columns(table, [key])
            self._session.stage(connection, stage)
            with connection.transaction():
                return find_rows(connection, stage, match, key=column, condition=self._reach(table))

    def adopt(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        """One transaction. The rows are locked while their keys are looked at."""
        with self._session.connected() as connection:
            table, _ = self._table(connection, entity)
            [column] = self._columns(table, [key])
            with connection.transaction():
                answers = give_keys(connection, table, column, frame, self._reach(table))
        return WriteResult.checked(answers, frame["target_id"])

    def count(self, entity: str, *, key: str, prefix: str) -> int | None:
        """Exact, within the tenant where there is one; a scan of the table at worst."""
        with self._session.connected() as connection:
            table, _ = self._table(connection, entity)
            [column] = self._columns(table, [key])
            statement = sql.SQL("SELECT count(*) FROM {} t WHERE {} AND starts_with(t.{}::text, {})").format(
                table.relation, self._reach(table), sql.Identifier(column.name), sql.Literal(prefix)
            )
            row = connection.execute(statement).fetchone()
        return int(row[0]) if row else None

    def keys(self, entity: str, *, key: str, prefix: str) -> Iterator[pl.Series]:
        """Within the tenant where there is one, in no order, by a cursor of the database."""
        with self._session.connected() as connection:
            table, _ = self._table(connection, entity)
            [column] = self._columns(table, [key])
            name = sql.Identifier(column.name)
            statement = sql.SQL("SELECT t.{}::text FROM {} t WHERE {} AND starts_with(t.{}::text, {})").format(
                name, table.relation, self._reach(table), name, sql.Literal(prefix)
            )
            with connection.transaction(), connection.cursor(name="keys") as cursor:
                cursor.execute(statement)
                while rows := cursor.fetchmany(LISTED_AT_ONCE):
                    yield pl.Series([text for (text,) in rows], dtype=pl.String)

    def delete(self, entity: str, target_ids: Sequence[str]) -> WriteResult:
        """One transaction. A record others point at is rejected by a sentence that names their table."""
        with self._session.connected() as connection:
            table, _ = self._table(connection, entity)
            with connection.transaction():
                frame = delete_rows(connection, table, target_ids, self._reach(table))
        return WriteResult.checked(frame, pl.Series(list(target_ids), dtype=pl.String))

    def ensure_entity(self, schema: EntitySchema, *, key: str) -> tuple[str, ...]:
        """Create or extend the mirror table; ``mirror_names`` tells which field became which column."""
        self._tables.clear()
        with self._session.connected() as connection:
            return ensure_table(connection, self._schema, schema, key)

    def imagine(self, wanted: Sequence[tuple[EntitySchema, str]]) -> tuple[str, ...]:
        """Tables and columns that are missing are made in a transaction that is rolled back; what is tried out in them
        is so in temporary tables. Foreign keys of such tables are not tried."""
        self._tables.clear()
        with self._session.connected() as connection:
            self._imagined, told = imagine(connection, self._schema, wanted)
        return told

    def _imagination(self, entity: str) -> Imagined | None:
        return self._imagined.get(entity) or self._imagined.get(table_name(entity))

    def _standing_in(
        self, connection: Connection, imagined: Imagined, key: str, keys: Sequence[str]
    ) -> AbstractContextManager[Table]:
        column = imagined.real.column(key) if imagined.real else None
        if column is None:
            return standing_in(connection, imagined, rows=None)
        asked = sql.SQL("{} AND t.{} = ANY({})").format(
            self._reach(imagined.table), sql.Identifier(key), _array(column, pl.Series(keys, dtype=pl.String))
        )
        return standing_in(connection, imagined, rows=asked)

    def mirror_names(self, schema: EntitySchema, *, key: str) -> Mapping[str, str]:
        """Source field → column of the mirror table, for every field of ``schema``."""
        with self._session.connected() as connection:
            table, _ = self._table(connection, schema.entity.name)
        return mirror_names(schema, key, known_columns(table))

    def close(self) -> None:
        if self._open is not None:
            self._open.close()

    # What the settings say -----------------------------------------------------------------------------

    @property
    def _session(self) -> Session:
        if self._open is None:
            port = self.context.text("port", "5432")
            if not port.isdecimal():
                raise SettingsInvalid(f"The port “{port}” is no number. Correct it on the org's page.")
            self._open = Session(
                Address(
                    host=self.context.require("host"),
                    port=int(port),
                    database=self.context.require("database"),
                    user=self.context.require("user"),
                    password=self.context.secrets.get("password", Secret("")),
                    sslmode=self.context.text("sslmode", "prefer"),
                )
            )
        return self._open

    @property
    def _schema(self) -> str:
        return self.context.text("schema", "public")

    @property
    def _tenant(self) -> str:
        return self.context.text(TENANT)

    def _check_tenant(self, connection: Connection, tables: Sequence[Table]) -> None:
        """The tenant must exist where the schema says where tenants are."""
        for table in tables:
            for column, value in self._constants(table):
                parent = next((r for r in table.rules if r.columns == (TENANT,) and r.parent), None)
                if parent is not None and parent.parent is not None:
                    query = sql.SQL("SELECT FROM {} WHERE {} = {}").format(
                        sql.Identifier(*parent.parent),
                        sql.Identifier(parent.parent_columns[0]),
                        constant(column, value),
                    )
                    if connection.execute(query).fetchone() is None:
                        raise SettingsInvalid(
                            f"The {self._session} has no tenant {value} in {parent.parent[1]}. Correct it on the "
                            "org's page."
                        )
                    return

    # What a call works on ------------------------------------------------------------------------------

    def _table(self, connection: Connection, entity: str) -> tuple[Table, EntityInfo]:
        """The entity's table, by its own name or by that of the source entity it mirrors."""
        for name in dict.fromkeys((entity, table_name(entity))):
            found = self._tables.get(name) or next(iter(read_tables(connection.cursor(), self._schema, name)), None)
            if found is not None:
                self._tables[name] = found
                info = entity_info(found)
                if info is None:
                    raise _no_key(entity, self._session)
                return found, info
        raise SettingsInvalid(
            f"The {self._session} has no table “{entity}” in the schema “{self._schema}”. Correct the project's "
            "object or the org's schema."
        )

    def _columns(self, table: Table, names: Sequence[str]) -> list[Column]:
        found = {column.name: column for column in table.columns}
        unknown = [name for name in names if name not in found]
        if unknown:
            raise SettingsInvalid(f"The table {table.name} has no column {', '.join(unknown)}. Correct the mapping.")
        return [found[name] for name in names]

    def _constants(self, table: Table) -> tuple[tuple[Column, str], ...]:
        column = table.column(TENANT)
        if column is None or not self._tenant:
            return ()
        if column.base in {"int2", "int4", "int8"} and not self._tenant.isdecimal():
            raise SettingsInvalid(f"The tenant “{self._tenant}” is no number. Correct it on the org's page.")
        return ((column, self._tenant),)

    def _reach(self, table: Table) -> sql.Composable:
        """The condition, over the alias ``t``, that keeps other tenants' rows out of reach."""
        parts = [
            sql.SQL("t.{} = {}").format(sql.Identifier(column.name), constant(column, value))
            for column, value in self._constants(table)
        ]
        return sql.SQL(" AND ").join(parts) if parts else sql.SQL("true")

    def _merge(self, entity: str, frame: pl.DataFrame, *, key: str, keep: bool) -> WriteResult:
        with self._session.connected() as connection:
            table, _ = self._table(connection, entity)
            merge = self._plan(table, frame.columns, key)
            if frame.is_empty():
                return WriteResult(pl.DataFrame(schema=dict(RESULT_SCHEMA)))
            self._session.stage(connection, merge.stage)
            with connection.transaction(force_rollback=not keep):
                answers = merge_frame(connection, merge, frame)
        return WriteResult.checked(answers, frame[key])

    def _plan(self, table: Table, names: Sequence[str], key: str) -> Merge:
        constants = self._constants(table)
        columns = self._columns(table, names)
        fixed = {column.name for column, _ in constants}
        refused = [column.name for column in columns if not column.writable or column.name in fixed]
        if refused:
            raise SettingsInvalid(
                f"The column(s) {', '.join(refused)} of {table.name} are filled by the database or by the org's tenant "
                "and cannot be written. Take them out of the mapping."
            )
        return Merge(table, tuple(columns), self._columns(table, [key])[0], constants)


def _no_key(entity: str, session: Session) -> SettingsInvalid:
    return SettingsInvalid(
        f"The table {entity} of the {session} has no primary key of one column, so its records cannot be told apart. "
        "Give it one, or leave it out."
    )


def _among(table: Table, column: Column, keys: pl.Series, reach: sql.Composable) -> sql.Composed:
    """The rows in reach whose key is among ``keys``; a text that cannot be a key of that type is none."""
    return sql.SQL("{} AS t WHERE {} AND t.{} = ANY({})").format(
        table.relation, reach, sql.Identifier(column.name), _array(column, keys)
    )


def _one_by_one(table: Table, column: Column, keys: pl.Series, reach: sql.Composable) -> sql.Composed:
    """The same by one descent of the key's index per key: a table that grows while it is read has no statistics to
    go by, and the planner may else choose to read all of a tenant for every portion of keys."""
    return sql.SQL(
        "(SELECT DISTINCT u.k FROM unnest({keys}) AS u(k)) AS asked CROSS JOIN LATERAL "
        "(SELECT * FROM {table} AS t WHERE {reach} AND t.{key} = asked.k OFFSET 0) AS t"
    ).format(keys=_array(column, keys), table=table.relation, reach=reach, key=sql.Identifier(column.name))


def _some_between(
    connection: Connection, table: Table, column: Column, keys: Sequence[str], reach: sql.Composable
) -> bool:
    """False where no row in reach has a key from the least of ``keys`` to the greatest, as the index of the key orders
    them: one descent of it tells, where a first load goes on in the order of its keys, what else takes one per key."""
    if not column.is_text or not column.usual_order or len(keys) < WORTH_A_LOOK:
        return True
    texts = pl.Series(keys, dtype=pl.String)
    least, most = extremes(connection, texts.filter(column.may_hold(texts)))
    query = sql.SQL(
        "SELECT FROM {table} AS t WHERE {reach} AND t.{key} BETWEEN {least} AND {most} ORDER BY t.{key} LIMIT 1"
    ).format(
        table=table.relation,
        reach=reach,
        key=sql.Identifier(column.name),
        least=sql.Literal(least),
        most=sql.Literal(most),
    )
    return planned_anew(connection, lambda: connection.execute(query, prepare=False).fetchone()) is not None


def _array(column: Column, keys: pl.Series) -> sql.Composed:
    possible = sql.Literal(array_text(keys.filter(column.may_hold(keys))))
    return sql.SQL("{}::text[]::{}[]").format(possible, raw("text" if column.is_text else column.declared))


def _portions(keys: Sequence[str], most: int) -> Iterator[pl.Series]:
    """The keys, at most so many at a time; one empty portion of none."""
    texts = pl.Series(keys, dtype=pl.String)
    for start in range(0, max(len(texts), 1), most):
        yield texts[start : start + most]
