"""Where the records are: one SQLite table per object in a temporary file, read by several threads at once.

Booleans are 0/1, date-times text in UTC with milliseconds and ``Z``, ids always 18 characters. Every table has
``IsDeleted`` and ``_DeletedAt`` whether or not the object shows them.
"""

import queue
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
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
    """Tables for every object of ``schema``. Close it to remove the file."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._folder = tempfile.TemporaryDirectory(prefix="salesforce-sandbox-")
        self._path = Path(self._folder.name) / "org.sqlite"
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._opened: list[sqlite3.Connection] = []
        self._writing = threading.Lock()
        self._counters: dict[str, int] = {}
        with self.write() as connection:
            for subject in schema:
                for statement in _table(subject):
                    connection.execute(statement)

    def close(self) -> None:
        for connection in self._opened:
            connection.close()
        self._folder.cleanup()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own for the duration; many at once."""
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
        with self._writing, self.read() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def new_ids(self, subject: SObject, count: int) -> list[str]:
        """Fresh ids of an object, in ascending order."""
        if subject.prefix is None:
            raise ValueError(f"{subject.name} has no key prefix: its records are not made one by one")
        first = self.reserve(subject, count)
        return [ids.record_id(subject.prefix, number) for number in range(first, first + count)]

    def reserve(self, subject: SObject, count: int) -> int:
        """Take ``count`` consecutive record numbers of an object; returns the first."""
        first = self._counters.get(subject.name, 1)
        self._counters[subject.name] = first + count
        return first

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
    masters = [each for each in subject.fields if each.relationship_order is not None]
    return statements + [
        f'CREATE INDEX "{subject.name} {each.name}" ON "{subject.name}" ("{each.name}")' for each in masters
    ]


def _column_type(field: Field) -> str:
    if field.type in NUMBER_TYPES:
        return "REAL"
    if field.type in ("int", "boolean"):
        return "INTEGER"
    return "TEXT" if field.type in ("id", "reference", "date", "datetime", "time") else "TEXT COLLATE NOCASE"
