"""Which thing of one org is which of another: the same name, or the same name but for a package's namespace.

An org that installed a package calls its fields ``tc9_et__Status__c``; one that made its own copy ``Status__c``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from connectors.types import EntitySchema, FieldInfo, RecordType
from projects import owners
from projects.mapping import derive
from projects.mapping.derive import Likeness
from projects.mapping.specification import Field, FieldRule, Mapped, Unknown

RECORD_TYPE = "RecordType"
"""The entity that a reference to a record type points at; such references are matched by name, not moved."""
_NAMESPACED_PARTS = 3
_PART_OF_PLACE = "s"
"""What ends the names of a geolocation's parts: ``Site__Latitude__s`` is named after its field, not after a package."""


def bare(name: str) -> str:
    """The name without a namespace, lower-cased: ``tc9_et__Status__c`` and ``Status__c`` are alike."""
    parts = name.split("__")
    spaced = _NAMESPACED_PARTS + (parts[-1] == _PART_OF_PLACE)
    return ("__".join(parts[1:]) if len(parts) == spaced else name).lower()


def twin(name: str, among: Iterable[str]) -> str | None:
    """The same name among others, else the only one that differs by its namespace alone."""
    others = tuple(among)
    if name in others:
        return name
    alike = [other for other in others if bare(other) == bare(name)]
    return alike[0] if len(alike) == 1 else None


def field_twins(source: EntitySchema, target: EntitySchema) -> dict[str, str]:
    """Source field → target field, for those that have a twin. No target field is twin of two."""
    found: dict[str, str] = {}
    for name in sorted(source.names, key=lambda name: name not in target.names):  # the same name first
        other = twin(name, target.names)
        if other is not None and other not in found.values():
            found[name] = other
    return {name: found[name] for name in source.names if name in found}


def alike(source: EntitySchema, target: EntitySchema, *, key: str, people: bool = False) -> Likeness:
    """``derive.like`` between schemas whose names may differ by namespaces; record types are matched by name, and
    users and queues by the project's maps where ``people`` says that it has them."""
    twins = {name: other for name, other in field_twins(source, target).items() if other != key}
    back = {other: name for name, other in twins.items()}
    renamed = EntitySchema(target.entity, tuple(_renamed(info, back) for info in target.fields))
    kinds = {info.name for info in source.fields if info.references == (RECORD_TYPE,)}
    owned = owners.owner_fields(source, twins, target) if people else {}
    plain = EntitySchema(source.entity, tuple(_without(source.fields, {*kinds, *owned, *_twins_of(source, key)})))
    like = derive.like(plain, renamed, key=key)
    rules = [replace(rule, target=twins.get(rule.target, rule.target)) for rule in like.mapping.to_target]
    if source.record_types and target.record_types:
        rules.extend(
            FieldRule(twins[name], _by_name(name, source.record_types, target.record_types))
            for name in sorted(kinds & twins.keys())
        )
    rules.extend(owners.rule(name, other) for name, other in owned.items())
    return replace(like, mapping=replace(like.mapping, to_target=tuple(rules)))


def missing_record_types(source: EntitySchema, target: EntitySchema) -> tuple[RecordType, ...]:
    """The source's active record types that the target has not, or not active."""
    there = _types_by_name(target.record_types)
    return tuple(kind for kind in source.record_types if kind.active and _type_name(kind) not in there)


def _types_by_name(kinds: Iterable[RecordType]) -> Mapping[str, RecordType]:
    return {_type_name(kind): kind for kind in kinds if kind.active}


def _type_name(kind: RecordType) -> str:
    """Without a namespace; a developer name holds no double underscore of its own."""
    return kind.name.rpartition("__")[2].lower()


def _by_name(field: str, source: Iterable[RecordType], target: Iterable[RecordType]) -> Mapped:
    there = _types_by_name(target)
    pairs = {kind.id: there[_type_name(kind)].id for kind in source if _type_name(kind) in there}
    return Mapped(Field(field), pairs, unknown=Unknown.REJECT)


def _renamed(info: FieldInfo, names: Mapping[str, str]) -> FieldInfo:
    return replace(info, name=names.get(info.name, info.name))


def _without(fields: Iterable[FieldInfo], names: set[str]) -> Iterable[FieldInfo]:
    return (info for info in fields if info.name not in names)


def _twins_of(source: EntitySchema, key: str) -> set[str]:
    """The source's own external id: the target's is filled with the source's record id instead."""
    other = twin(key, source.names)
    return {other} if other is not None and other != source.entity.id_field else set()
