"""The scene of a data set: whatever objects and records a folder brings, moved between two orgs that know its objects.

Nothing in it is of one data set: the fields are those the org describes, the records those it was filled with, and what
happens to records follows from the fields. Objects without records get some; those there are get more like them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from migration_factory.torment import columns as values
from migration_factory.torment.columns import Column
from migration_factory.torment.scene import REFUSED, Chance, Entities, Entity, Kind, Policy, Row, Rows

LIKE = 0.6
"""How often a new record has the value of one that the data set brings."""
ENTERED = (Kind.TEXT, Kind.NUMBER, Kind.DAY, Kind.FLAG)
"""Kinds of fields that people edit, at most one each."""
Stored = Callable[[str], Sequence[Mapping[str, Any]]]
"""Entity → its records as the org stores them."""


class Unfit(Exception):
    """The data set cannot be moved so; the message is a sentence that says why."""


@dataclass(frozen=True, slots=True)
class _Life:
    """What happens to the records of one object; ``began`` are those that the data set brings."""

    columns: Sequence[Column]
    refusing: str
    edited: Mapping[str, Policy]
    began: Sequence[Row]

    @property
    def changing(self) -> list[Column]:
        return [each for each in self.columns if not each.fixed and each.name != self.refusing]

    @property
    def spoilable(self) -> list[Column]:
        return [each for each in self.columns if values.can_be_spoilt(each) and each.name != self.refusing]

    def new(self, chance: Chance, number: int, rows: Rows) -> Row:
        like = chance.choice(self.began) if self.began else {}
        made = {each.name: self._value(chance, each, like, rows) for each in self.columns}
        named = next((each for each in self.columns if each.free), None)
        if named is not None:
            made[named.name] = f"{number} {made[named.name] or ''}"[: named.length].strip()
        return made

    def _value(self, chance: Chance, column: Column, like: Row, rows: Rows) -> str | None:
        if column.linked:
            return _any(chance, column, rows)
        known = None if column.unique or chance.random() > LIKE else like.get(column.name)
        return known or values.drawn(chance, column)

    def touched(self, chance: Chance, row: Row, rows: Rows) -> Row:
        """A few other values, and other parents."""
        some = chance.sample(self.changing, min(len(self.changing), chance.randrange(1, 5)))
        return {**row, **{each.name: self._value(chance, each, {}, rows) for each in some}}

    def spoilt(self, chance: Chance, row: Row) -> Row:
        """Refused by the rule of the target, where there can be one, or for what the field is."""
        if self.refusing and (not self.spoilable or chance.random() < 0.5):
            return {**row, self.refusing: values.by_rule(chance)}
        if not self.spoilable:
            return row
        column = chance.choice(self.spoilable)
        return {**row, column.name: values.spoilt(chance, column)}

    def mended(self, chance: Chance, row: Row, rows: Rows) -> Row:
        return {
            **row,
            **{each.name: self._better(chance, each, rows) for each in self.columns if self._bad(each, row, rows)},
        }

    def _bad(self, column: Column, row: Row, rows: Rows) -> bool:
        value = row[column.name]
        if column.linked:
            return value is not None and value not in rows[column.field.parent]
        by_rule = column.name == self.refusing and (value or "").startswith(REFUSED)
        return by_rule or values.flawed(column, value) or values.refused(column, value)

    def _better(self, chance: Chance, column: Column, rows: Rows) -> str | None:
        return _any(chance, column, rows) if column.linked else values.drawn(chance, column)

    def flawed(self, row: Row) -> bool:
        return any(values.flawed(each, row[each.name]) for each in self.columns)

    def refused(self, _: str, row: Row) -> bool:
        return any(values.refused(each, row[each.name]) for each in self.columns)


def _any(chance: Chance, column: Column, rows: Rows) -> str | None:
    """A parent by chance, and now and then none; None where there is none to be had."""
    there = rows[column.field.parent]
    if not there or (not column.required and chance.random() < 0.3):
        return None
    return chance.choice(sorted(there))


def scene(described: Mapping[str, Mapping[str, Any]], stored: Stored) -> tuple[Entities, Rows]:
    """All objects ``described`` (by name, as the org does), parents first, and the rows that are there of each.

    Raises Unfit where parents and children cannot be told apart.
    """
    found = {name: tuple(values.columns(each, described.keys())) for name, each in described.items()}
    ordered = _parents_first(found)
    rows = {name: {str(each["Id"]): _row(found[name], each) for each in stored(name)} for name in ordered}
    return {name: _entity(name, place, found[name], rows[name]) for place, name in enumerate(ordered)}, rows


def _row(columns: Sequence[Column], record: Mapping[str, Any]) -> Row:
    return {each.name: values.as_told(each, record[each.name]) for each in columns}


def _parents_first(found: Mapping[str, Sequence[Column]]) -> list[str]:
    ordered: list[str] = []
    while len(ordered) < len(found):
        free = [
            name
            for name, columns in sorted(found.items())
            if name not in ordered and all(each.field.parent in {"", name, *ordered} for each in columns)
        ]
        if not free:
            left = ", ".join(sorted(found.keys() - set(ordered)))
            raise Unfit(
                f"Among {left} each refers to another; a campaign needs parents that come before their children."
            )
        ordered += free
    return ordered


def _entity(name: str, place: int, columns: Sequence[Column], rows: Mapping[str, Row]) -> Entity:
    refusing = _refusing(columns)
    life = _Life(columns, refusing, _edited(columns, refusing, place), tuple(rows.values()))
    return Entity(
        name,
        tuple(each.field for each in columns),
        new=life.new,
        touched=life.touched,
        spoilt=life.spoilt,
        mended=life.mended,
        refused=life.refused,
        flawed=life.flawed,
        refusing=refusing,
        edited=life.edited,
        mirrored=any(each.linked and each.field.parent != name for each in columns),
        prefix=f"new {name} ",
        spoils=bool(life.spoilable),
    )


def _refusing(columns: Sequence[Column]) -> str:
    """The second free text: people edit the first."""
    free = [each.name for each in columns if each.free and each.length <= values.LONGEST]
    return free[1] if len(free) > 1 else ""


def _edited(columns: Sequence[Column], refusing: str, place: int) -> Mapping[str, Policy]:
    """The first field of each kind, with another policy for it in the next object."""
    chosen = [found for kind in ENTERED if (found := _first(columns, kind, refusing))]
    policies = cycle(Policy)
    for _ in range(place % len(Policy)):
        next(policies)
    return {each.name: policy for each, policy in zip(chosen, policies, strict=False)}


def _first(columns: Sequence[Column], kind: Kind, refusing: str) -> Column | None:
    return next(
        (
            each
            for each in columns
            if each.field.kind is kind and each.name != refusing and not each.fixed and not each.unique and _open(each)
        ),
        None,
    )


def _open(column: Column) -> bool:
    """Whether there is something else to enter: any words, or another of some values."""
    if column.type in values.FREE:
        return column.free
    if column.type in values.NUMBERS:
        return column.whole > 1
    return column.type in {"date", "boolean"} or (column.type == "picklist" and len(column.field.values) > 1)


def grown(chance: Chance, entities: Entities, rows: Rows, records: int) -> Rows:
    """The rows with more like them, about so many ``records`` in all: half of them as the data set has them, and half
    the same number of each object."""
    total = sum(len(of_it) for of_it in rows.values())
    now = {name: dict(of_it) for name, of_it in rows.items()}
    for name, entity in entities.items():
        wanted = records // (2 * len(entities)) + records * len(rows[name]) // (2 * total)
        for number in range(len(rows[name]), wanted):
            now[name][f"{entity.prefix}{number}"] = entity.new(chance, number, now)
    return now
