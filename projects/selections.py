"""Which records of an entity move: all, those a filter finds, chosen ones, or the children of chosen parents.

Pure. What is stored on an object becomes conditions for ``Source.narrow``; a choice of children follows the choice
made for their parents, also when that changes later.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from connectors.types import Condition, Operator

MOST_CHOSEN = 400
"""So many records can be chosen one by one: with their ids a query still fits into one address."""
MOST_CONDITIONS = 10


class SelectionInvalid(Exception):
    """A choice of records that cannot be; the message is a sentence for staff."""


class Mode(StrEnum):
    ALL = "all"
    FILTER = "filter"
    RECORDS = "records"
    CHILDREN = "children"


@dataclass(frozen=True, slots=True)
class Selection:
    """``conditions`` belong to a filter, ``ids`` to chosen records. Children are those whose reference field
    ``through`` leads to a chosen record of the source entity ``parent``."""

    mode: Mode = Mode.ALL
    conditions: tuple[Condition, ...] = ()
    ids: tuple[str, ...] = ()
    through: str = ""
    parent: str = ""

    def as_json(self) -> dict[str, Any]:
        """JSON values; an empty object for all records."""
        match self.mode:
            case Mode.ALL:
                return {}
            case Mode.FILTER:
                rows = [[each.field, each.operator.value, list(each.values)] for each in self.conditions]
                return {"mode": self.mode.value, "conditions": rows}
            case Mode.RECORDS:
                return {"mode": self.mode.value, "ids": list(self.ids)}
            case Mode.CHILDREN:
                return {"mode": self.mode.value, "through": self.through, "parent": self.parent}

    @property
    def sentence(self) -> str:
        """What is read, in a few words."""
        match self.mode:
            case Mode.ALL:
                return "all records"
            case Mode.FILTER:
                return " and ".join(_said(each) for each in self.conditions)
            case Mode.RECORDS:
                return f"{len(self.ids):,} chosen record{'' if len(self.ids) == 1 else 's'}"
            case Mode.CHILDREN:
                return f"those whose {self.through} is among the chosen {self.parent}"


EVERYTHING = Selection()


def stored(content: Mapping[str, Any]) -> Selection:
    """The selection that ``as_json`` wrote."""
    mode = Mode(content.get("mode", Mode.ALL))
    return Selection(
        mode,
        tuple(Condition(field, Operator(how), tuple(values)) for field, how, values in content.get("conditions", ())),
        tuple(content.get("ids", ())),
        content.get("through", ""),
        content.get("parent", ""),
    )


def checked(selection: Selection) -> Selection:
    """The selection as it came. Raises SelectionInvalid where it chooses nothing, or too much at once."""
    match selection.mode:
        case Mode.FILTER if not selection.conditions:
            raise SelectionInvalid("Add at least one condition, or move all records.")
        case Mode.FILTER if len(selection.conditions) > MOST_CONDITIONS:
            raise SelectionInvalid(f"A filter takes {MOST_CONDITIONS} conditions at most.")
        case Mode.RECORDS if not selection.ids:
            raise SelectionInvalid("Enter the ids of the records to move, one per line.")
        case Mode.RECORDS if len(selection.ids) > MOST_CHOSEN:
            raise SelectionInvalid(
                f"{len(selection.ids):,} records are too many to choose one by one ({MOST_CHOSEN} at most); "
                "use a filter instead."
            )
        case Mode.CHILDREN if not (selection.through and selection.parent):
            raise SelectionInvalid("Choose the parent whose children move.")
    return selection


def ids_in(text: str) -> tuple[str, ...]:
    """The ids of a pasted list, however it is separated, each once; the last part of a pasted address counts."""
    words = (word.rstrip("/").rpartition("/")[2] for word in re.split(r"[\s,;|]+", text) if word)
    return tuple(dict.fromkeys(word for word in words if word))


def conditions(
    entity: str, selections: Mapping[str, Selection], identities: Mapping[str, str]
) -> tuple[Condition, ...]:
    """What must hold of the entity's records, given every entity's selection and the field that identifies its
    records. Raises SelectionInvalid where children follow parents in a circle, or parents that do not move."""
    return tuple(_conditions(entity, selections, identities, ()))


def _conditions(
    entity: str, selections: Mapping[str, Selection], identities: Mapping[str, str], seen: tuple[str, ...]
) -> Iterable[Condition]:
    if entity in seen:
        raise SelectionInvalid(f"{entity} cannot be chosen by its parents, because they are chosen by {entity} itself.")
    selection = selections.get(entity, EVERYTHING)
    match selection.mode:
        case Mode.ALL:
            return ()
        case Mode.FILTER:
            return selection.conditions
        case Mode.RECORDS:
            return (Condition(identities[entity], Operator.AMONG, selection.ids),)
        case Mode.CHILDREN:
            return _of_children(entity, selection, selections, identities, seen)


def _of_children(
    entity: str,
    selection: Selection,
    selections: Mapping[str, Selection],
    identities: Mapping[str, str],
    seen: tuple[str, ...],
) -> Iterable[Condition]:
    if selection.parent not in identities:
        raise SelectionInvalid(
            f"{entity} is chosen by its {selection.parent}, which is not among the objects; choose it, too."
        )
    above = tuple(_conditions(selection.parent, selections, identities, (*seen, entity)))
    if not above:
        return (Condition(selection.through, Operator.FILLED, parents=(selection.parent,)),)
    return tuple(
        Condition(f"{selection.through}.{each.field}", each.operator, each.values, (selection.parent, *each.parents))
        for each in above
    )


def _said(condition: Condition) -> str:
    values = ", ".join(f"“{value}”" for value in condition.values[:3])
    more = f" and {len(condition.values) - 3} more" if len(condition.values) > 3 else ""
    words = {Operator.BLANK: "is blank", Operator.FILLED: "is filled in", Operator.AMONG: "is one of"}
    return f"{condition.field} {words.get(condition.operator, condition.operator.value)} {values}{more}".strip()
