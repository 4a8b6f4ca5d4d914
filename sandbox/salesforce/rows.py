"""Rows on their way into an org: what a call brings as columns, and what became of each row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from sandbox.salesforce.errors import RowError
from sandbox.salesforce.schema import Field, SObject


@dataclass(frozen=True, slots=True)
class Given:
    """One column of a call: ``text`` as sent (null clears the field) where ``given``, else the field is left alone.

    With ``key`` the text is not the field's own value but names its parent of the object ``parent`` by that field.
    """

    field: Field
    text: pl.Series
    given: pl.Series
    parent: SObject | None = None
    key: Field | None = None

    def at(self, rows: pl.Series) -> "Given":
        return replace(self, text=self.text.gather(rows), given=self.given.gather(rows))


@dataclass(frozen=True)
class Incoming:
    """What a call brings for ``size`` records of one object.

    ``ids`` are the records' ids as sent, ``keys`` the values of the external id an upsert goes by; null where a row
    has none. ``errors`` are rows already refused. ``exact`` is true for JSON, where a value of the wrong type refuses
    the whole request.
    """

    subject: SObject
    size: int
    columns: Sequence[Given]
    ids: pl.Series | None = None
    keys: pl.Series | None = None
    errors: Mapping[int, RowError] = field(default_factory=dict)
    exact: bool = False

    def at(self, rows: pl.Series) -> "Incoming":
        """Only the rows of those numbers; ``errors`` keep theirs."""
        numbers = rows.to_list()
        return replace(
            self,
            size=len(rows),
            columns=[each.at(rows) for each in self.columns],
            ids=None if self.ids is None else self.ids.gather(rows),
            keys=None if self.keys is None else self.keys.gather(rows),
            errors={place: self.errors[row] for place, row in enumerate(numbers) if row in self.errors},
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caller asks of the org's own rules: whether duplicates that are only alerted about are saved, and the
    assignment rule to run (an id, ``TRUE`` for the active one, blank for none)."""

    saves_duplicates: bool = False
    assignment: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of each row: the record's id (empty for a refused insert), whether it is new, why refused."""

    ids: list[str]
    created: list[bool]
    errors: dict[int, RowError]


class Rows:
    """Which rows of a call are still good; the first thing wrong with a row is what it is refused for."""

    def __init__(self, size: int, errors: Mapping[int, RowError]) -> None:
        self.errors = dict(errors)
        self.good = pl.repeat(value=True, n=size, dtype=pl.Boolean, eager=True)
        if errors:
            self.good = self.good.scatter(list(errors), values=False)

    def fail(self, bad: pl.Series, code: str, message: str | pl.Series, fields: Sequence[str] = ()) -> None:
        """Refuse the rows where ``bad`` is true, with one message or each with its own."""
        hit = (bad.fill_null(value=False) & self.good).arg_true()
        if not len(hit):
            return
        said = [message] * len(hit) if isinstance(message, str) else message.gather(hit).to_list()
        named = tuple(fields)
        self.errors |= {row: RowError(code, text, named) for row, text in zip(hit.to_list(), said, strict=True)}
        self.good = self.good & ~bad.fill_null(value=False)
