"""Which records are read: conditions as data become SOQL, each name checked against what the org describes.

Nothing a person wrote becomes part of a query: names must be fields, values are converted to the field's type and
written as literals. Paths over references become relationship paths, which Bulk API 2.0 takes too:
https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_relationships_understanding.htm

Through a reference that may lead to several objects no path goes further than to a name. What such a parent must be
like is asked in a semi-join, of which the platform allows two, none inside another, and none on some objects:
https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select_comparisonoperators.htm
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_schema import SObject
from connectors.errors import SettingsInvalid
from connectors.types import Condition, FieldInfo, FieldType, Operator

Describe = Callable[[str], SObject]

LONGEST: Final = 10_000  # characters of all conditions; with them a query still fits into one address
MOST_JOINS: Final = 2
_NOT_WITHIN: Final = frozenset(
    "ActivityHistory Attachment Event EventAttendee Note OpenActivity Task".split()  # noqa: SIM905
)
"""Objects a query inside another cannot ask, says the guide; so it is with tags."""
_JOINS: Final = re.compile(r" IN \(SELECT ")
DEEPEST: Final = 5  # SOQL goes no further up than five relationships
_COMPARISONS: Final[Mapping[Operator, str]] = {
    Operator.EQUALS: "=",
    Operator.DIFFERS: "!=",
    Operator.LESS: "<",
    Operator.LESS_OR_EQUAL: "<=",
    Operator.GREATER: ">",
    Operator.GREATER_OR_EQUAL: ">=",
}
_ORDERED: Final = frozenset(
    (
        FieldType.INTEGER, FieldType.DECIMAL, FieldType.FLOAT, FieldType.DATE, FieldType.DATETIME, FieldType.TIME,
        FieldType.TEXT,
    )
)  # fmt: skip
_SIZES: Final = frozenset((Operator.LESS, Operator.LESS_OR_EQUAL, Operator.GREATER, Operator.GREATER_OR_EQUAL))


@dataclass(frozen=True, slots=True)
class _Open:
    """A condition on parents of one object, ``parent``, of those a ``reference`` of ours may lead to."""

    reference: str
    parent: str
    condition: Condition


def compiled(entity: SObject, conditions: Sequence[Condition], describe: Describe) -> tuple[str, ...]:
    """The conditions in SOQL. Raises SettingsInvalid naming what does not fit the object."""
    made: list[str] = []
    of_parents: dict[tuple[str, str], list[Condition]] = {}
    for condition in conditions:
        found = _compiled(entity, condition, describe)
        if isinstance(found, _Open):
            of_parents.setdefault((found.reference, found.parent), []).append(found.condition)
        else:
            made.append(found)
    made += [_joined(entity, *place, inner, describe) for place, inner in of_parents.items()]
    if len(of_parents) > MOST_JOINS:
        raise SettingsInvalid(
            f"The choice of {entity.schema.entity.label} records asks about parents through {len(of_parents)} "
            f"references that lead to several objects, and Salesforce allows {MOST_JOINS}: choose by fewer of them."
        )
    if sum(map(len, made)) > LONGEST:
        raise SettingsInvalid(
            f"The choice of {entity.schema.entity.label} records is too long for one query: choose fewer records, "
            "or by a condition."
        )
    return tuple(made)


def can_be_asked_within(entity: str, where: Sequence[str]) -> bool:
    """Whether the object's records of which these conditions hold may be named by a query inside another."""
    return entity not in _NOT_WITHIN and not any(_JOINS.search(each) for each in where)


def _joined(entity: SObject, reference: str, parent: str, conditions: Sequence[Condition], describe: Describe) -> str:
    where = compiled(describe(parent), conditions, describe)
    if parent == entity.schema.entity.name or not can_be_asked_within(parent, where):
        raise SettingsInvalid(
            f"Salesforce cannot find {entity.schema.entity.name} records by what holds of the {parent} that their "
            f"{reference} leads to. Choose the {parent} records one by one, or the {entity.schema.entity.name} records "
            "by a filter of their own."
        )
    return soql.within(reference, parent, where)


def _compiled(entity: SObject, condition: Condition, describe: Describe) -> str | _Open:
    found = _resolved(entity, condition, describe)
    if isinstance(found, _Open | str):
        return found
    _check(entity, condition, found[1])
    return _compared(*found, condition)


def _compared(path: str, field: FieldInfo, condition: Condition) -> str:
    match condition.operator:
        case Operator.BLANK:
            return soql.condition(path, "=", None)
        case Operator.FILLED:
            return soql.condition(path, "!=", None)
        case Operator.AMONG if field.type is FieldType.MULTIPICKLIST:
            values = ",".join(soql.quoted(value) for value in condition.values)
            return f"{soql.name(path)} INCLUDES ({values})"
        case Operator.AMONG:
            return soql.among(path, [_value(field, value) for value in condition.values])
        case Operator.BEGINS:
            return soql.begins_with(path, condition.values[0])
        case other:
            return soql.condition(path, _COMPARISONS[other], _value(field, condition.values[0]))


def _resolved(entity: SObject, condition: Condition, describe: Describe) -> tuple[str, FieldInfo] | str | _Open:
    """The relationship path in SOQL and the field at its end; where a reference on the way may lead to several objects,
    what can be said of the one that is meant."""
    *references, last = condition.field.split(".")
    if len(references) > DEEPEST:
        raise SettingsInvalid(f"{condition.field} goes up more than {DEEPEST} parents, and Salesforce goes no further.")
    here, steps = entity, list[str]()
    for number, name in enumerate(references):
        field = _field(here, name)
        relationship = here.relationships.get(field.name)
        parent = _parent(here, field, condition.parents[number : number + 1])
        if relationship is None or parent is None:
            raise SettingsInvalid(f"{here.schema.entity.name}.{name} does not lead to parents of one object.")
        if len(field.references) > 1:
            rest = replace(
                condition, field=".".join((*references[number + 1 :], last)), parents=condition.parents[number + 1 :]
            )
            return _of_several(".".join((*steps, field.name)), parent, rest)
        steps.append(relationship)
        here = describe(parent)
    field = _field(here, last)
    relationship = here.relationships.get(field.name)
    if condition.operator is Operator.FILLED and len(condition.parents) > len(references) and len(field.references) > 1:
        # Filled in is not enough: it may lead to a record of another object.
        parent = _parent(here, field, condition.parents[-1:])
        return soql.condition(".".join((*steps, str(relationship), "Type")), "=", parent)
    return ".".join((*steps, field.name)), field


def _parent(here: SObject, field: FieldInfo, told: tuple[str, ...]) -> str | None:
    """The object that is meant; None where it is not told and there are several."""
    if not told:
        return field.references[0] if len(field.references) == 1 else None
    if told[0] not in field.references:
        raise SettingsInvalid(f"{here.schema.entity.name}.{field.name} never leads to {told[0]}; correct the choice.")
    return told[0]


def _of_several(path: str, parent: str, rest: Condition) -> tuple[str, FieldInfo] | _Open:
    """A condition on the parents that ``path`` leads to: on their ids it is one on the path itself."""
    if rest.field == "Id":
        return path, FieldInfo("Id")
    if "." in path:
        raise SettingsInvalid(
            f"Salesforce cannot find records by the {parent} that {path} leads to. Choose the {parent} records one by "
            "one, or these records by a filter of their own."
        )
    return _Open(path, parent, rest)


def _field(entity: SObject, name: str) -> FieldInfo:
    try:
        field = entity.schema.field(name)
    except KeyError:
        raise SettingsInvalid(
            f"{entity.schema.entity.name} has no field {name} that the connecting user may see; correct the filter."
        ) from None
    if field.name not in entity.filterable:
        raise SettingsInvalid(f"Salesforce cannot filter by {entity.schema.entity.name}.{name}; choose another field.")
    return field


def _check(entity: SObject, condition: Condition, field: FieldInfo) -> None:
    where = f"{entity.schema.entity.name}.{condition.field}"
    count = len(condition.values)
    wanted = 0 if condition.operator in (Operator.BLANK, Operator.FILLED) else 1
    if count != wanted and not (condition.operator is Operator.AMONG and count):
        raise SettingsInvalid(f"The filter on {where} needs {'no value' if not wanted else 'a value'}.")
    if condition.operator in _SIZES and field.type not in _ORDERED:
        raise SettingsInvalid(f"{where} has no order, so “{condition.operator}” cannot be asked of it.")
    if condition.operator is Operator.BEGINS and field.type not in (FieldType.TEXT, FieldType.PICKLIST):
        raise SettingsInvalid(f"{where} is not a text, so “{condition.operator}” cannot be asked of it.")


def _value(field: FieldInfo, text: str) -> soql.Value:
    """The value in the field's type; raises SettingsInvalid where it is none of that type."""
    try:
        return _convert(field.type, text.strip())
    except (ValueError, InvalidOperation):
        raise SettingsInvalid(
            f"“{text[:40]}” is not a value for {field.name}, which is a {field.type.value}."
        ) from None


def _convert(kind: FieldType, text: str) -> soql.Value:
    match kind:
        case FieldType.BOOLEAN:
            return {"true": True, "false": False}.get(text.lower()) if text.lower() in ("true", "false") else _wrong()
        case FieldType.INTEGER | FieldType.DECIMAL | FieldType.FLOAT:
            number = Decimal(text)
            return number if number.is_finite() else _wrong()
        case FieldType.DATE:
            return date.fromisoformat(text)
        case FieldType.DATETIME:
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        case _:
            return text


def _wrong() -> soql.Value:
    raise ValueError
