"""Deliberately bad records: known kinds of trouble planted in generated data, and the list of where they are.

They are taken from the last tenth of each object, to which no other generated record refers: each is one expected
finding and not the start of a chain.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from sandbox.salesforce import ids

NEVER_ISSUED = 62**8  # far above any number a generated record gets
LONG_COMPANY = "An exceedingly long company name " * 13


@dataclass(frozen=True, slots=True)
class BadRecord:
    """One planted record: its id and object, the kind of trouble, the field and the value put there."""

    id: str
    object: str
    kind: str
    field: str
    value: str | float | None


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of trouble; ``values`` are used in turn."""

    name: str
    object: str
    field: str
    values: tuple[str | float | None, ...]


def kinds(deleted_accounts: Sequence[str]) -> tuple[Kind, ...]:
    """All kinds; ``deleted_accounts`` are ids of accounts in the bin."""
    return (
        Kind(
            "contact_email_malformed", "Contact", "Email", ("not-an-email", "jane@@example..com", "jo at example.com")
        ),
        Kind("opportunity_amount_absurd", "Opportunity", "Amount", (9.0e16, -4.5e16)),
        Kind("lead_company_too_long", "Lead", "Company", (LONG_COMPANY,)),
        Kind("contact_last_name_blank", "Contact", "LastName", (None,)),
        Kind("opportunity_close_date_out_of_range", "Opportunity", "CloseDate", ("4000-12-31", "1700-01-01")),
        Kind("lead_status_unknown", "Lead", "Status", ("Lost in the post", "99")),
        Kind("account_name_blank", "Account", "Name", (None,)),
        Kind("contact_account_missing", "Contact", "AccountId", _missing("001")),
        Kind("opportunity_account_deleted", "Opportunity", "AccountId", tuple(deleted_accounts)),
        Kind("task_who_missing", "Task", "WhoId", _missing("003")),
        Kind("product_name_blank", "Product2", "Name", (None,)),
    )


def plant(frames: dict[str, pl.DataFrame], count: int, deleted_accounts: Sequence[str]) -> list[BadRecord]:
    """Spoil ``count`` records in ``frames`` (object → records, changed in place), kinds in turn.

    A kind whose object has no record left to spoil is passed over. Raises ValueError where the data is too small
    for so many.
    """
    room = {name: frame.height - first_unreferenced(frame.height) for name, frame in frames.items()}
    chosen: dict[str, list[tuple[Kind, str | float | None]]] = {}
    for number, (kind, value) in enumerate(_rotation(kinds(deleted_accounts), room)):
        if number == count:
            break
        chosen.setdefault(kind.object, []).append((kind, value))
    if sum(map(len, chosen.values())) < count:
        raise ValueError(f"{count} bad records were asked for, but this data has room for fewer: ask for more records")
    found: list[BadRecord] = []
    for name, spoilt in chosen.items():
        frames[name], bad = _spoilt(frames[name], spoilt)
        found += bad
    return found


def first_unreferenced(size: int) -> int:
    """From which row on nothing refers to an object's records."""
    return max(1, size - size // 10)


def _spoilt(frame: pl.DataFrame, spoilt: list[tuple[Kind, str | float | None]]) -> tuple[pl.DataFrame, list[BadRecord]]:
    start = first_unreferenced(frame.height)
    room = frame.height - start
    rows = [start + number * room // len(spoilt) for number in range(len(spoilt))]
    columns: dict[str, pl.Series] = {}
    bad: list[BadRecord] = []
    for row, (kind, value) in zip(rows, spoilt, strict=True):
        for field in (kind.field, "Name") if kind.field == "LastName" else (kind.field,):
            shown = frame["FirstName"][row] if field == "Name" and kind.field == "LastName" else value
            column = columns.setdefault(field, frame[field].clone())
            columns[field] = column.scatter(row, shown)
        bad.append(BadRecord(frame["Id"][row], kind.object, kind.name, kind.field, value))
    return frame.with_columns(**columns), bad


def _rotation(known: Sequence[Kind], room: Mapping[str, int]) -> Iterator[tuple[Kind, str | float | None]]:
    """Kinds and their values in turn, as long as any object has room."""
    left = dict(room)
    turn = 0
    while any(left[kind.object] for kind in known):
        for kind in known:
            if left[kind.object]:
                left[kind.object] -= 1
                yield kind, kind.values[turn % len(kind.values)]
        turn += 1


def _missing(prefix: str) -> tuple[str, ...]:
    return tuple(ids.record_id(prefix, NEVER_ISSUED + number) for number in range(5))
