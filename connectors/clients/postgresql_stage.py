"""The staging table of a write, and copying rows into it.

It is temporary, lives as long as the connection, has the target's own column types (so every cast is the
database's) and a number per row; every commit empties it.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import psycopg
from psycopg import sql

from connectors.clients.postgresql import Connection, Cursor, copy_statement, copy_text, nul_columns, nul_rows
from connectors.clients.postgresql_catalog import Column, Table
from connectors.clients.postgresql_errors import blames_record
from connectors.clients.postgresql_isolate import Cause, Refusal

ROW = "mf_row"
"""The staging table's column that numbers the frame's rows from 0."""
_PROBE_ROWS = 32
"""Rows sent in one go after a refusal; grows again with success."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The staging table for these columns of a table; its name is made from them."""

    table: Table
    columns: tuple[Column, ...]

    @property
    def name(self) -> str:
        shape = repr((self.table.schema, self.table.name, [(c.name, c.declared) for c in self.columns]))
        return "mf_" + hashlib.sha256(shape.encode()).hexdigest()[:16]

    @property
    def relation(self) -> sql.Identifier:
        return sql.Identifier("pg_temp", self.name)

    def create(self) -> sql.Composed:
        # Types are the catalog's own spelling (format_type), quoted where they need it.
        columns = (f"{_quoted(column.name)} {_staged_type(column)}" for column in self.columns)
        return sql.SQL("CREATE TEMPORARY TABLE IF NOT EXISTS {} ({} integer, {}) ON COMMIT DELETE ROWS").format(
            sql.Identifier(self.name), sql.Identifier(ROW), raw(", ".join(columns))
        )

    def value(self, column: Column, alias: str = "s") -> sql.Composable:
        """The staged value as the target's column takes it."""
        name = sql.Identifier(alias, column.name)
        if not column.array:
            return name
        return sql.SQL("CASE WHEN {0} IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text({0}))::{1} END").format(
            name, raw(column.declared)
        )


def fill(connection: Connection, stage: Stage, frame: pl.DataFrame) -> list[Refusal]:
    """Copy the frame's rows, numbered, into the staging table; the rows its types refuse are left out.

    Runs in the caller's transaction. One COPY where all rows are good. COPY names the line it stopped at, so
    each bad row costs one more COPY of what follows, in small portions; nothing is encoded twice.
    """
    numbered = frame.with_row_index(ROW)
    refused: list[Refusal] = []
    text = copy_text(numbered)
    if b"\0" in text:
        bad = nul_rows(numbered)
        cause = Cause("untranslatable_character", column=nul_columns(numbered)[0])
        refused = [Refusal(row, cause) for row in numbered.filter(bad)[ROW]]
        numbered = numbered.filter(~bad)
        text = copy_text(numbered)
    return refused + _Filling(connection, stage, numbered, text).run()


class _Filling:
    """One COPY, or as many as bad rows demand."""

    def __init__(self, connection: Connection, stage: Stage, frame: pl.DataFrame, text: bytes) -> None:
        self._connection = connection
        self._cursor: Cursor = connection.cursor()
        self._stage = stage
        self._statement = copy_statement(stage.relation, frame.columns)
        self._context = re.compile(rf"COPY {stage.name}, \D*(\d+)(?:, \S+ (.+?)(?:: |$))?")
        self._rows = frame[ROW]
        self._text = text
        self._lines: list[bytes] = []
        self._bad: dict[int, Cause] = {}

    def run(self) -> list[Refusal]:
        start, size, total = 0, len(self._rows), len(self._rows)
        while start < total:
            if start in self._bad:
                start, size = start + 1, _PROBE_ROWS
                continue
            size = min([size, total - start, *(bad - start for bad in self._bad if bad > start)])
            try:
                self._send(start, size)
                start, size = start + size, size * 4
            except psycopg.Error as error:
                if not blames_record(error):
                    raise
                size = self._learn(error, start, size)
        return [Refusal(self._rows[place], cause) for place, cause in self._bad.items()]

    def _send(self, start: int, size: int) -> None:
        text = b"".join(self._lines[start : start + size]) if self._lines else self._text
        with self._connection.transaction(), self._cursor.copy(self._statement) as copy:
            copy.write(text)

    def _learn(self, error: psycopg.Error, start: int, size: int) -> int:
        """Note the row the error names; returns how many rows to try next."""
        self._lines = self._lines or self._text.splitlines(keepends=True)
        found = self._context.search(error.diag.context or "")
        line = int(found[1]) if found else size
        if not found and size > 1:
            return size // 2
        column = found[2] if found else None
        known = column if column in {known.name for known in self._stage.columns} else None
        self._bad[start + line - 1] = Cause.of(error, copied=known)
        return line - 1 or 1


def raw(text: str) -> sql.SQL:
    """A piece of SQL in the catalog's own spelling (a type, a condition): never a person's input."""
    return sql.SQL(text)


def _staged_type(column: Column) -> str:
    return "jsonb" if column.array else column.declared


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def without(items: Sequence[int], refused: Sequence[Refusal]) -> list[int]:
    """The items not refused, in order."""
    gone = {refusal.item for refusal in refused}
    return [item for item in items if item not in gone]
