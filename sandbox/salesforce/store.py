"""Where the records are: one SQLite table per object in a temporary file, read by several threads at once.

Booleans are 0/1, date-times text in UTC with milliseconds and ``Z``, ids always 18 characters. Every table has
``IsDeleted`` and ``_DeletedAt`` whether or not the object shows them.

Inside ``write()`` the same thread reads what it has written so far, and a ``write()`` within is a savepoint: what a
composite request does is undone as a whole or in part, and nobody else sees it before its end.
"""

import copy
import queue
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sandbox.salesforce import ids
from sandbox.salesforce.schema import NUMBER_TYPES, Field, Schema, SObject

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = OFF",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -16000",
)


def stamp(moment: datetime) -> str:
    """A moment as stored and filtered: whole seconds, as the platform keeps them."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def now() -> str:
    return stamp(datetime.now(UTC))


class Store:
    """Tables for every object of ``schema``. Close it to remove the file. ``first`` is the number before that of the
    first record of any object."""

    def __init__(self, schema: Schema, first: int = 0) -> None:
        self.schema = schema
        self._first = first
        self._folder = tempfile.TemporaryDirectory(prefix="salesforce-sandbox-")
        self._path = Path(self._folder.name) / "org.sqlite"
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._opened: list[sqlite3.Connection] = []
        self._writing = threading.Lock()
        self._counters: dict[str, int] = {}
        self._mine = threading.local()
        self.schema_changed = datetime.now(UTC).replace(microsecond=0)
        with self.write() as connection:
            for subject in schema:
                for statement in _table(subject):
                    connection.execute(statement)

    def change_schema(self, schema: Schema) -> None:
        """Take another schema: new objects get tables, new fields columns. What is gone stays stored, unseen."""
        with self.write() as connection:
            for subject in schema:
                for statement in _additions(connection, subject):
                    connection.execute(statement)
            self.schema = schema
            # The platform tells whole seconds; two changes in one must still be told apart.
            self.schema_changed = max(datetime.now(UTC).replace(microsecond=0), self.schema_changed) + timedelta(
                seconds=1
            )

    def seen_as(self, schema: Schema, since: datetime) -> "Store":
        """The same records under the schema that a user sees, changed for them at ``since``."""
        view = copy.copy(self)
        view.schema, view.schema_changed = schema, since
        return view

    def close(self) -> None:
        for connection in self._opened:
            connection.close()
        self._folder.cleanup()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own for the duration; many at once."""
        inside: sqlite3.Connection | None = getattr(self._mine, "connection", None)
        if inside is not None:
            yield inside
            return
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._open()
        try:
            yield connection
        finally:
            self._idle.put(connection)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction, committed at the end or rolled back on an exception; one writer at a time."""
        inside: sqlite3.Connection | None = getattr(self._mine, "connection", None)
        if inside is not None:
            with _savepoint(inside):
                yield inside
            return
        with self._writing, self.read() as connection:
            connection.execute("BEGIN IMMEDIATE")
            self._mine.connection = connection
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            else:
                connection.execute("COMMIT")
            finally:
                self._mine.connection = None

    def new_ids(self, subject: SObject, count: int) -> list[str]:
        """Fresh ids of an object, in ascending order."""
        if subject.prefix is None:
            raise ValueError(f"{subject.name} has no key prefix: its records are not made one by one")
        first = self.reserve(subject, count)
        return [ids.record_id(subject.prefix, number) for number in range(first, first + count)]

    def reserve(self, subject: SObject, count: int) -> int:
        """Take ``count`` consecutive record numbers of an object; returns the first."""
        first = self._counters.get(subject.name, self._first + 1)
        self._counters[subject.name] = first + count
        return first

    def take(self, subject: SObject, record_ids: Iterable[str]) -> None:
        """Give none of these ids, which records were given from outside, to another one."""
        numbers = [number for each in record_ids if (number := ids.number_of(each)) is not None]
        following = max(numbers, default=0) + 1
        self._counters[subject.name] = max(self._counters.get(subject.name, self._first + 1), following)

    def reserve_auto_number(self, subject: SObject, count: int) -> int:
        """Take ``count`` consecutive auto-numbers of an object; returns the first."""
        key = f"{subject.name} auto-number"
        first = self._counters.get(key, 1)
        self._counters[key] = first + count
        return first

    def insert(self, subject: SObject, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add complete rows as they are; columns not named are null (``IsDeleted`` false)."""
        names = ", ".join(f'"{column}"' for column in columns)
        marks = ", ".join("?" * len(columns))
        with self.write() as connection:
            connection.executemany(f'INSERT INTO "{subject.name}" ({names}) VALUES ({marks})', rows)  # noqa: S608 - schema names

    def count(self, subject: SObject) -> int:
        with self.read() as connection:
            sql = f'SELECT COUNT(*) FROM "{subject.name}" WHERE "IsDeleted" = 0'  # noqa: S608 - a schema name
            return int(connection.execute(sql).fetchone()[0])

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=60)
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        self._opened.append(connection)
        return connection


@contextmanager
def _savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("SAVEPOINT inner")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK TO inner")
        raise
    finally:
        connection.execute("RELEASE inner")


def _additions(connection: sqlite3.Connection, subject: SObject) -> list[str]:
    """What makes an existing database hold ``subject``: its table, or the columns it does not have yet."""
    present = {row[1] for row in connection.execute(f'PRAGMA table_info("{subject.name}")')}
    if not present:
        return _table(subject)
    missing = [each for each in subject.fields if each.stored and each.name not in present]
    columns = [
        f'ALTER TABLE "{subject.name}" ADD COLUMN "{each.name}" {_column_type(each)}'
        f"{f' NOT NULL DEFAULT {int(bool(each.default))}' if each.type == 'boolean' else ''}"
        for each in missing
    ]
    return columns + [_index(subject, each) for each in subject.fields if each.stored and _indexed(each)]


def _indexed(field: Field) -> bool:
    """Fields that writes look records up by."""
    return field.relationship_order is not None or field.external_id or field.unique


def _index(subject: SObject, field: Field) -> str:
    return f'CREATE INDEX IF NOT EXISTS "{subject.name} {field.name}" ON "{subject.name}" ("{field.name}")'


def _table(subject: SObject) -> list[str]:
    columns = [
        f'"{each.name}" {_column_type(each)}'
        for each in subject.fields
        if each.stored and each.name not in ("Id", "IsDeleted")
    ]
    body = ", ".join(
        [
            "_row INTEGER PRIMARY KEY",
            '"Id" TEXT NOT NULL UNIQUE',
            '"IsDeleted" INTEGER NOT NULL DEFAULT 0',
            '"_DeletedAt" TEXT',
            *columns,
        ]
    )
    statements = [f'CREATE TABLE "{subject.name}" ({body})']
    if subject.field("SystemModstamp"):
        statements.append(f'CREATE INDEX "{subject.name} stamp" ON "{subject.name}" ("SystemModstamp")')
    return statements + [_index(subject, each) for each in subject.fields if each.stored and _indexed(each)]


def _column_type(field: Field) -> str:
    if field.type in NUMBER_TYPES:
        return "REAL"
    if field.type in ("int", "boolean"):
        return "INTEGER"
    exact = field.type in ("id", "reference", "date", "datetime", "time") or field.case_sensitive
    return "TEXT" if exact else "TEXT COLLATE NOCASE"
