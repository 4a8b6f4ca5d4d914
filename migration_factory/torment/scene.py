"""What a campaign moves: its entities with what may happen to their records, and rows as plain texts.

This is the reference that targets are held against. Nothing here asks the engine, a mapping or a connector.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

Row = Mapping[str, str | None]
"""Field → value: numbers with their digits after the point, ``true`` or ``false``, ISO days and moments in UTC (``Z``),
keys of other rows."""
Rows = Mapping[str, Mapping[str, Row]]
"""Entity → key → row."""

VERSION = "·version"
"""A field of every row that counts its changes: targets that take the source's own stamps over change with it."""


class Kind(StrEnum):
    TEXT = "Text"
    LONG_TEXT = "LongTextArea"
    NUMBER = "Number"
    FLAG = "Checkbox"
    DAY = "Date"
    MOMENT = "DateTime"
    REFERENCE = "Lookup"
    RECORD_TYPE = "RecordType"
    """Told by its developer name."""


class Policy(StrEnum):
    """Who wins where a field changed in the source and was edited in the target."""

    ASK = "ask"
    TARGET = "target"
    SOURCE = "source"


@dataclass(frozen=True, slots=True)
class Field:
    """``parent`` is the entity that a reference points at, ``twin`` the field's name in the target, ``values`` those
    that may be chosen of, where not all may."""

    name: str
    kind: Kind = Kind.TEXT
    parent: str = ""
    required: bool = False
    digits: int = 2
    twin: str = ""
    values: Sequence[str] = ()

    @property
    def there(self) -> str:
        return self.twin or self.name

    @property
    def relation(self) -> str:
        """How a query in an org goes from a reference to its parent."""
        custom = self.there.endswith("__c")
        return f"{self.there.removesuffix('__c')}__r" if custom else self.there.removesuffix("Id")


Chance = random.Random


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity, and what happens to its records in source and target.

    ``new`` makes a row with that number, ``touched`` a row that changed as rows do, ``spoilt`` one that the target
    refuses and ``mended`` one that it takes again. ``refused`` says whether it refuses a row, by its key, without
    any rule of its own; ``flawed`` whether that shows before it is sent, so that parents it lacks do not matter.
    """

    name: str
    fields: Sequence[Field]
    new: Callable[[Chance, int, Rows], Row]
    touched: Callable[[Chance, Row, Rows], Row]
    spoilt: Callable[[Chance, Row], Row]
    mended: Callable[[Chance, Row, Rows], Row]
    refused: Callable[[str, Row], bool]
    flawed: Callable[[Row], bool] = lambda _: False
    refusing: str = ""
    """The field that a rule of the target's looks at: what begins with ``refused`` is not taken. Blank: no rule."""
    edited: Mapping[str, Policy] = field(default_factory=dict)
    """Fields that people edit in the target, and who wins."""
    mirrored: bool = True
    """Whether deletions are mirrored; else they are flagged."""
    twin: str = ""
    prefix: str = ""
    """What keys of new records begin with."""
    spoils: bool = False
    """Whether ``spoilt`` makes rows that are refused without the target's rule, too."""

    @property
    def there(self) -> str:
        return self.twin or self.name

    @property
    def references(self) -> Sequence[Field]:
        return [each for each in self.fields if each.kind is Kind.REFERENCE]

    def field(self, name: str) -> Field:
        return next(each for each in self.fields if each.name == name)


Entities = Mapping[str, Entity]
"""By name, parents before children."""
REFUSED = "refused"


def is_refused(entity: Entity, key: str, row: Row, *, ruled: bool) -> bool:
    """Whether the target refuses the row; ``ruled``: its rules are in force."""
    by_rule = bool(entity.refusing) and (row[entity.refusing] or "").startswith(REFUSED)
    return (by_rule and ruled) or entity.flawed(row) or entity.refused(key, row)


def another(chance: Chance, each: Field, value: str | None) -> str:
    """Another value for a field, as people enter it."""
    while True:
        found = _entered(each, chance.randrange(10_000))
        if found != value:
            return found


def _entered(each: Field, number: int) -> str:
    match each.kind:
        case Kind.NUMBER:
            return f"{number % 40}.{'5':0<{each.digits}}" if each.digits else str(number % 40)
        case Kind.FLAG:
            return str(number % 2 == 0).lower()
        case Kind.DAY:
            return f"20{number % 90 + 10}-0{number % 9 + 1}-1{number % 10}"
        case _:
            return each.values[number % len(each.values)] if each.values else f"Edited {number}"


def differences(before: Rows, now: Rows) -> dict[str, dict[str, Row]]:
    """The rows of ``now`` that ``before`` has not, or has otherwise."""
    return {
        entity: {key: row for key, row in rows.items() if before.get(entity, {}).get(key) != row}
        for entity, rows in now.items()
    }


def gone(before: Rows, now: Rows) -> dict[str, list[str]]:
    """The keys that ``before`` has and ``now`` has not."""
    return {entity: [key for key in rows if key not in now[entity]] for entity, rows in before.items()}


def stamped(before: Rows, now: Rows) -> dict[str, dict[str, Row]]:
    """``now`` with every changed row's version one higher."""
    return {
        entity: {key: _stamped(before.get(entity, {}).get(key), row) for key, row in rows.items()}
        for entity, rows in now.items()
    }


def _stamped(was: Row | None, row: Row) -> Row:
    if was == row:
        return was
    return {**row, VERSION: str(int((was or row).get(VERSION) or 0) + 1)}


def visible(row: Row) -> dict[str, str | None]:
    return {name: value for name, value in row.items() if name != VERSION}
