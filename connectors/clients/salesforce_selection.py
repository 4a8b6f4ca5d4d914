"""Which records are read: conditions as data become SOQL, each name checked against what the org describes.

Nothing a person wrote becomes part of a query: names must be fields, values are converted to the field's type and
written as literals. Paths over references become relationship paths, which Bulk API 2.0 takes too:
https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_relationships_understanding.htm
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_schema import SObject
from connectors.errors import SettingsInvalid
from connectors.types import Condition, FieldInfo, FieldType, Operator

Describe = Callable[[str], SObject]

LONGEST: Final = 10_000  # characters of all conditions; with them a query still fits into one address
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


def compiled(entity: SObject, conditions: Sequence[Condition], describe: Describe) -> tuple[str, ...]:
    """The conditions in SOQL. Raises SettingsInvalid naming what does not fit the object."""
    made = tuple(_compiled(entity, condition, describe) for condition in conditions)
    if sum(map(len, made)) > LONGEST:
        raise SettingsInvalid(
            f"The choice of {entity.schema.entity.label} records is too long for one query: choose fewer records, "
            "or by a condition."
        )
    return made


def _compiled(entity: SObject, condition: Condition, describe: Describe) -> str:
    path, field = _resolved(entity, condition.field, describe)
    _check(entity, condition, field)
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


def _resolved(entity: SObject, path: str, describe: Describe) -> tuple[str, FieldInfo]:
    """The relationship path in SOQL and the field at its end."""
    *references, last = path.split(".")
    if len(references) > DEEPEST:
        raise SettingsInvalid(f"{path} goes up more than {DEEPEST} parents, and Salesforce goes no further.")
    here, steps = entity, []
    for name in references:
        field = _field(here, name)
        relationship = here.relationships.get(field.name)
        if relationship is None or len(field.references) != 1:
            raise SettingsInvalid(f"{here.schema.entity.name}.{name} does not lead to parents of one object.")
        steps.append(relationship)
        here = describe(field.references[0])
    field = _field(here, last)
    return ".".join((*steps, field.name)), field


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
