"""Finding the guilty rows of a failed statement, and saying why each was refused."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg

from connectors.clients.postgresql import Connection
from connectors.clients.postgresql_catalog import Column, Rule, RuleKind, Table
from connectors.clients.postgresql_errors import LOCK_CODES, blames_record, condition, is_lock
from connectors.errors import Rejected

T = TypeVar("T")
Row = Mapping[str, Any]
MOST_LOCKS = 20
"""Failures for locks in one write, each of which costs ``LOCK_PATIENCE``."""
LOCK_PATIENCE = "500ms"
LITTLE_PATIENCE = f"SET LOCAL lock_timeout = '{LOCK_PATIENCE}'"
SHOWN = 60
"""Characters of a value that a sentence shows."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why the database refused: the condition's symbolic name; table, rule and column where it named them;
    its own words."""

    code: str
    table: str | None = None
    rule: str | None = None
    column: str | None = None
    words: str = ""

    @classmethod
    def of(cls, error: psycopg.Error, *, copied: str | None = None) -> "Cause":
        """``copied`` is the column a COPY was reading."""
        diag = error.diag
        words = diag.message_primary or str(error)
        return cls(condition(error), diag.table_name, diag.constraint_name, diag.column_name or copied, words)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One item (a row's number, a record's id) that may not be written, and why."""

    item: int
    cause: Cause


def isolate(
    connection: Connection,
    items: Sequence[int],
    attempt: Callable[[Sequence[int]], T],
    diagnose: Callable[[Cause, Sequence[int]], Sequence[int]] = lambda _cause, _items: (),
    *,
    past_locks: bool = False,
) -> tuple[list[T], list[Refusal]]:
    """Do ``attempt`` with as many items as the database accepts; what it answered, and the refused rest.

    Runs in the caller's transaction, each attempt in a savepoint. A failed attempt is first put to
    ``diagnose``, which may name all items that share its cause (one query instead of many attempts); where
    it names none the items are halved, the earlier half first: k guilty among n cost O(k log n) attempts,
    and of two items that collide the earlier one stays. Errors that blame no record go through; with ``past_locks``
    those of locks do not: the locked items are found by halving, with little patience, and after
    ``MOST_LOCKS`` failures what is left of a failed part counts as locked as a whole.
    """
    locks = 0
    done: list[T] = []
    refused: list[Refusal] = []
    waiting = [list(items)] if items else []
    while waiting:
        part = waiting.pop()
        try:
            with connection.transaction():
                done.append(attempt(part))
        except psycopg.Error as error:
            locked = past_locks and is_lock(error)
            if not locked and not blames_record(error):
                raise
            cause = Cause.of(error)
            if locked:
                locks += 1
                connection.execute(LITTLE_PATIENCE)
                guilty = set(part if len(part) == 1 or locks >= MOST_LOCKS else ())
            else:
                guilty = set(part if len(part) == 1 else diagnose(cause, part))
            refused += [Refusal(item, cause) for item in part if item in guilty]
            rest = [item for item in part if item not in guilty]
            halves = [rest] if guilty else [rest[len(rest) // 2 :], rest[: len(rest) // 2]]
            waiting += [half for half in halves if half]
    return done, refused


def rejected(table: Table, cause: Cause, row: Row) -> Rejected:
    """The refusal as an error for staff: constraint, column and value by name. ``row`` is what was sent."""
    rule = table.rule(cause.rule)
    names = _names(cause, rule, row)
    if cause.code in LOCK_CODES:
        message = f"{table.name}: the record, or one it points at, is locked by somebody else. Load it again later."
        return Rejected(message, code=cause.code, fields=(), detail=cause.words)
    sentence = _by_rule(table, rule, names, row) if rule else _by_column(table, cause, names, row)
    return Rejected(sentence, code=cause.code, fields=names, detail=cause.words)


def _names(cause: Cause, rule: Rule | None, row: Row) -> tuple[str, ...]:
    """The columns to blame: those of the rule that were sent, or all of it where none was."""
    if cause.column is not None:
        return (cause.column,)
    columns = rule.columns if rule else ()
    return tuple(name for name in columns if name in row) or columns


def _by_rule(table: Table, rule: Rule, names: Sequence[str], row: Row) -> str:
    values = _values(names, row)
    match rule.kind:
        case RuleKind.FOREIGN:
            parent = rule.parent[1] if rule.parent else "?"
            return f"{table.name}: {values} points at no record of {parent} (constraint {rule.name})."
        case RuleKind.CHECK:
            return f"{table.name}: {values} breaks the rule {rule.name}: {rule.expression}."
        case RuleKind.EXCLUSION:
            return f"{table.name}: {values} clashes with another record (constraint {rule.name})."
    what = f"{values} is taken by another record" if names else "another record has the same values"
    definition = f": {rule.expression}" if rule.expression else ""
    return f"{table.name}: {what} (unique constraint {rule.name}{definition})."


def _by_column(table: Table, cause: Cause, names: Sequence[str], row: Row) -> str:
    column = table.column(names[0]) if names else None
    if column is None:
        named = f" (constraint {cause.rule})" if cause.rule else ""
        return f"{table.name}: the database refused the record{named}: {_short(cause.words)}"
    if cause.code == "not_null_violation":
        return f"{table.name}: {column.name} must not be empty."
    value = _values((column.name,), row)
    return f"{table.name}: {value} {_misfit(column, cause)}."


def _misfit(column: Column, cause: Cause) -> str:
    if cause.code == "string_data_right_truncation":
        return f"is longer than the {column.length} characters of {column.declared}"
    if cause.code == "untranslatable_character":
        return "holds a NUL character (code 0), which PostgreSQL cannot store"
    if cause.code == "numeric_value_out_of_range":
        return f"does not fit into {column.declared}"
    if column.enum:
        return f"is not one of {', '.join(column.labels)}"
    return f"is no {column.declared}: {_short(cause.words)}"


def _values(names: Sequence[str], row: Row) -> str:
    return ", ".join(f"{name} “{_short(row[name])}”" if name in row else name for name in names)


def _short(value: object) -> str:
    text = "" if value is None else re.sub(r"\s+", " ", str(value))
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
