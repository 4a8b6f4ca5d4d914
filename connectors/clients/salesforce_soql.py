"""SOQL text: the only place where names and values become part of a query."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

from connectors.errors import SettingsInvalid

# https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select_quotedstringescapes.htm
_ESCAPES = str.maketrans(
    {"\\": r"\\", "'": r"\'", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\b": r"\b", "\f": r"\f"}
)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*")

Value = str | bool | int | Decimal | datetime | date | None


def quoted(value: Value) -> str:
    """A value as a SOQL literal. Times become UTC with milliseconds, cut rather than rounded."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value.translate(_ESCAPES)}'"
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, date):
        return value.isoformat()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def name(text: str) -> str:
    """An object's or field's name; raises SettingsInvalid where it is none, for it would alter the query."""
    if not _NAME.fullmatch(text):
        raise SettingsInvalid(f"“{text[:80]}” is not the name of a Salesforce object or field. Correct the mapping.")
    return text


def condition(field: str, operator: str, value: Value) -> str:
    """``field operator literal``."""
    return f"{name(field)} {operator} {quoted(value)}"


def among(field: str, values: Sequence[Value]) -> str:
    """``field IN (literals)``; there must be at least one value."""
    return f"{name(field)} IN ({','.join(map(quoted, values))})"


def within(field: str, entity: str, where: Sequence[str]) -> str:
    """A reference that leads to one of an object's records of which all conditions hold (a semi-join)."""
    return f"{name(field)} IN ({select(['Id'], entity, where)})"


def either(*conditions: str) -> str:
    """One of these conditions."""
    return f"({' OR '.join(conditions)})"


def negated(condition: str) -> str:
    """What does not meet the condition."""
    return f"(NOT {condition})"


def begins_with(field: str, prefix: str) -> str:
    """A text field that begins with ``prefix``, in which % and _ stand for themselves; blank: any value."""
    if not prefix:
        return condition(field, "!=", None)
    literal = quoted(prefix).replace("%", r"\%").replace("_", r"\_")
    return f"{name(field)} LIKE {literal[:-1]}%'"


def select(fields: Sequence[str], entity: str, where: Sequence[str] = (), *, order_by: str = "") -> str:
    """A query; ``where`` are conditions that must all hold, made by ``condition``."""
    ending = ["ORDER BY", name(order_by)] if order_by else []
    return " ".join(["SELECT", ", ".join(map(name, fields)), "FROM", name(entity), *_where(where), *ending])


def count(entity: str, where: Sequence[str] = ()) -> str:
    """A query whose ``totalSize`` is the number of records."""
    return " ".join(["SELECT COUNT() FROM", name(entity), *_where(where)])


def _where(conditions: Sequence[str]) -> list[str]:
    return ["WHERE", " AND ".join(conditions)] if conditions else []


def _moment(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError("a time in a query must name its zone")
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
