"""Mappings nobody has to write: mirrors, moves between like schemas, and the packaged halves joined."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from connectors.clients.postgresql_mirror import mirror_names, table_name
from connectors.types import EntitySchema, FieldInfo, FieldType
from projects import universal
from projects.mapping import formula
from projects.mapping.expressions import template_fields
from projects.mapping.problems import MappingInvalid, Problem
from projects.mapping.specification import (
    Address,
    Composed,
    Constant,
    Default,
    Field,
    FieldRule,
    Formula,
    Half,
    Mapped,
    ObjectMapping,
    Reference,
    Rule,
    Template,
)

_BYTES = frozenset({FieldType.BINARY, FieldType.CONTENT})
MIRROR_KEY = "source_id"
"""The column of a mirrored table that holds the source's own id."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """A mapping derived from two like schemas, and what it leaves behind: source fields ``without_twin``
    in the target, and those that ``cannot_be_filled`` because the twin is not writable or the value binary."""

    mapping: ObjectMapping
    without_twin: tuple[str, ...]
    cannot_be_filled: tuple[str, ...]


def mirror_entity(entity: str) -> str:
    """The name of the table that mirrors an entity."""
    return table_name(entity)


def mirror(source: EntitySchema, columns: Mapping[str, str] | None = None) -> ObjectMapping:
    """Every field to its column of the mirror table, and the identity to the key ``source_id``.

    ``columns`` (source field → column) is what the target's ``mirror_names`` tells of a table that
    exists; without it the names are those a new table gets: lower-cased, and numbered where taken.
    References to exactly one entity become references; those to several stay the source's text, and
    binary fields and contents of files are left out.
    """
    identity = source.entity.id_field
    names = mirror_names(source, MIRROR_KEY) if columns is None else columns
    fields = [info for info in source.fields if info.name != identity and info.type not in _BYTES]
    return ObjectMapping(
        source_entity=source.entity.name,
        target_entity=mirror_entity(source.entity.name),
        identity=identity,
        key=MIRROR_KEY,
        to_target=(
            FieldRule(MIRROR_KEY, Field(identity)),
            *(FieldRule(names[info.name], _mirror_rule(info)) for info in fields),
        ),
    )


def _mirror_rule(info: FieldInfo) -> Rule:
    if info.type is FieldType.REFERENCE and len(info.references) == 1:
        return Reference(Field(info.name), info.references)
    return Field(info.name)


def like(source: EntitySchema, target: EntitySchema, *, key: str) -> Likeness:
    """Every source field to the writable target field of the same name; ``key`` is filled from the identity.

    A target reference is looked up in the entities that the source's field points at.
    """
    twins = {info.name: info for info in target.fields}
    identity = source.entity.id_field
    others = [info for info in source.fields if info.name not in {identity, key}]
    with_twin = [info for info in others if info.name in twins]
    unfillable = tuple(
        info.name
        for info in with_twin
        if not twins[info.name].writable or FieldType.BINARY in {info.type, twins[info.name].type}
    )
    mapping = ObjectMapping(
        source_entity=source.entity.name,
        target_entity=target.entity.name,
        identity=identity,
        key=key,
        to_target=(
            FieldRule(key, Field(identity)),
            *(FieldRule(info.name, _like_rule(info)) for info in with_twin if info.name not in unfillable),
        ),
    )
    return Likeness(
        mapping,
        without_twin=tuple(info.name for info in others if info.name not in twins),
        cannot_be_filled=unfillable,
    )


def _like_rule(info: FieldInfo) -> Rule:
    if info.type is FieldType.REFERENCE and info.references:
        return Reference(Field(info.name), info.references)
    return Field(info.name)


def compose(first: Half, second: Half, *, source: EntitySchema | None = None) -> ObjectMapping:
    """A platform's half and a target's half as one mapping.

    What the first half does not fill is taken out of the second: a default falls back to its other
    side, an address loses a part, and a rule left without any input is dropped. Given ``source``, the
    first half is fitted to the fields it really has in the same way. Raises MappingInvalid where the
    halves do not meet in one universal object.
    """
    if first.result != second.origin or first.result not in universal.OBJECTS:
        message = f"The first half ends in “{first.result}” and the second starts from “{second.origin}”."
        raise MappingInvalid(f"{first.origin} → {second.result}", [Problem("", message)])
    to_universal = first.rules if source is None else _fitted(first.rules, frozenset(source.names))
    provided = frozenset(rule.target for rule in to_universal)
    to_target = _fitted(second.rules, provided)
    read = [_fields_read(rule.rule) for rule in to_target]
    if second.where is not None:
        read.append(_fields_read(second.where))
    blanks = sorted(frozenset().union(*read) - provided)
    return ObjectMapping(
        source_entity=first.origin,
        target_entity=second.result,
        identity=first.identity,
        key=second.identity,
        to_target=to_target,
        to_universal=(*to_universal, *(FieldRule(name, Constant(None)) for name in blanks)),
        universal=first.result,
        where=first.where,
        where_universal=second.where,
    )


def _fitted(rules: tuple[FieldRule, ...], provided: frozenset[str]) -> tuple[FieldRule, ...]:
    fitted = ((rule.target, _pruned(rule.rule, provided)) for rule in rules)
    return tuple(FieldRule(target, rule) for target, rule in fitted if rule is not None)


def _pruned(rule: Rule, provided: frozenset[str]) -> Rule | None:
    """The rule without what nobody provides; None where nothing is left of it."""
    match rule:
        case Default(of, otherwise):
            left = [part for part in (_pruned(side, provided) for side in (of, otherwise)) if part is not None]
            return Default(*left) if len(left) == 2 else (left[0] if left else None)
        case Address(parts):
            kept = {name: _pruned(part, provided) for name, part in parts.items()}
            filled = {name: part for name, part in kept.items() if part is not None}
            return Address(filled) if filled else None
        case Mapped(of, entries, name, unknown):
            inner = _pruned(of, provided)
            return Mapped(inner, entries, name, unknown) if inner is not None else None
        case Reference(of):
            inner = _pruned(of, provided)
            return replace(rule, of=inner) if inner is not None else None
        case _:
            read = _fields_read(rule)
            return rule if not read or read & provided else None


def _fields_read(rule: Rule) -> frozenset[str]:  # noqa: PLR0911 - one return per kind of rule
    """The fields a rule reads."""
    match rule:
        case Field(name):
            return frozenset({name})
        case Template(text):
            return template_fields(text)
        case Formula(sql):
            return formula.fields_named(sql)
        case Default(of, otherwise):
            return _fields_read(of) | _fields_read(otherwise)
        case Mapped(of) | Reference(of):
            return _fields_read(of)
        case Address(parts):
            return frozenset().union(*(_fields_read(part) for part in parts.values()))
        case Constant() | Composed():
            return frozenset()
