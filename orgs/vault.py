"""The vault as a whole: which columns hold tokens, which keys they use, and sealing them anew."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg import sql

from orgs.fields import SealedTextField
from orgs.sealing import (
    PREFIX,
    SealBroken,
    SealedColumn,
    active_key_id,
    open_sealed,
    registered_sealed_columns,
    seal,
)

BROKEN_LISTED = 20


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did: values sealed anew, values that could not be opened, and a sentence for each of
    the first ``BROKEN_LISTED`` of those."""

    resealed: int
    broken: int
    examples: tuple[str, ...]


def sealed_columns() -> tuple[SealedColumn, ...]:
    """Every column of every installed model that holds tokens, sorted."""
    fields = (field for model in apps.get_models() for field in model._meta.local_fields)
    found = [
        SealedColumn(field.model._meta.label, field.name, field.purpose)
        for field in fields
        if isinstance(field, SealedTextField)
    ]
    return tuple(sorted((*found, *registered_sealed_columns()), key=lambda each: (each.model, each.column)))


def key_usage() -> dict[SealedColumn, Counter[str]]:
    """Column → key id → how many values it seals."""
    return {column: _usage(column) for column in sealed_columns()}


def rotate(batch: int) -> Rotation:
    """Seal with the active key whatever another key sealed, ``batch`` values in a transaction.

    Each value is read back from the database and compared before its transaction ends. Stopped at any
    point, it goes on where it was: what is done no longer matches. Values that do not open are left as
    they are and reported.
    """
    resealed, broken = 0, list[str]()
    for column in sealed_columns():
        for done, failed in _batches(column, batch):
            resealed += done
            broken += failed
    return Rotation(resealed, len(broken), tuple(broken[:BROKEN_LISTED]))


class _Table:
    """The SQL of one sealed column."""

    def __init__(self, column: SealedColumn) -> None:
        meta = apps.get_model(column.model)._meta
        self._names = {
            "table": sql.Identifier(meta.db_table),
            "key": sql.Identifier(meta.pk.column),
            "value": sql.Identifier(meta.get_field(column.column).get_attname_column()[1]),
        }
        head = "SELECT {key}, {value} FROM {table} WHERE {value} IS NOT NULL AND substring({value} from 1 for %s) <> %s"
        tail = "ORDER BY {key} LIMIT %s FOR NO KEY UPDATE"
        self.first = self._sql(f"{head} {tail}")
        self.next = self._sql(f"{head} AND {{key}} > %s {tail}")
        self.update = self._sql("UPDATE {table} SET {value} = %s WHERE {key} = %s RETURNING {value}")
        # A key id has at most 32 characters, then "$"; "escape" makes text of whatever else is cut out.
        self.usage = self._sql(
            "SELECT split_part(encode(substring({value} from 5 for 33), 'escape'), '$', 1), count(*) "
            "FROM {table} WHERE {value} IS NOT NULL GROUP BY 1"
        )

    def _sql(self, text: str) -> sql.Composed:
        return sql.SQL(text).format(**self._names)


def _usage(column: SealedColumn) -> Counter[str]:
    with connection.cursor() as cursor:
        cursor.execute(_Table(column).usage)
        return Counter(dict(cursor.fetchall()))


def _batches(column: SealedColumn, batch: int) -> Iterator[tuple[int, list[str]]]:
    """Per batch: how many values were sealed anew, and a sentence per value that could not be."""
    table = _Table(column)
    active = PREFIX + active_key_id().encode() + b"$"
    query, after = table.first, list[Any]()
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(query, [len(active), active, *after, batch])
            rows = [(key, bytes(token)) for key, token in cursor.fetchall()]
            failures = [each for key, token in rows if (each := _reseal(cursor, table, column, key, token))]
        if not rows:
            return
        yield len(rows) - len(failures), failures
        query, after = table.next, [rows[-1][0]]


def _reseal(cursor: CursorWrapper, table: _Table, column: SealedColumn, key: Any, token: bytes) -> str:
    """Seal one value anew and read it back; a sentence where it does not open as it is."""
    try:
        opened = open_sealed(column.purpose, token)
    except SealBroken as broken:
        return f"{column.model} {key}: {broken}"
    cursor.execute(table.update, [seal(column.purpose, opened), key])
    [(stored,)] = cursor.fetchall()
    if open_sealed(column.purpose, bytes(stored)) != opened:
        raise SealBroken(f"{column.model} {key}: the value sealed anew reads back differently; nothing was changed.")
    return ""
