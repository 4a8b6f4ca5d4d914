"""Mappings as JSON and back: ``{"rule": "field", "name": "Name"}``, and a clear error for anything else."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from projects.mapping.equality import EqualityRule
from projects.mapping.problems import MappingInvalid, Problem
from projects.mapping.specification import (
    Address,
    Composed,
    Constant,
    Default,
    Field,
    FieldRule,
    Formula,
    Mapped,
    ObjectMapping,
    Reference,
    Rule,
    Template,
    Unknown,
    Unresolved,
)

Json: TypeAlias = Mapping[str, Any]

MAX_DEPTH = 20


class _MalformedError(Exception):
    """What is wrong in one place of the document; never leaves this module."""


def encode_rule(rule: Rule) -> dict[str, Any]:  # noqa: PLR0911 - one return per kind of rule
    """The rule as a JSON object whose ``rule`` key names its kind in lower case."""
    match rule:
        case Field(name):
            return {"rule": "field", "name": name}
        case Constant(value):
            return {"rule": "constant", "value": value}
        case Default(of, otherwise):
            return {"rule": "default", "of": encode_rule(of), "otherwise": encode_rule(otherwise)}
        case Template(text):
            return {"rule": "template", "text": text}
        case Formula(sql):
            return {"rule": "formula", "sql": sql}
        case Mapped(of, entries, name, unknown):
            body = {"of": encode_rule(of), "entries": dict(entries), "name": name, "unknown": unknown.value}
            return {"rule": "mapped", **body}
        case Reference(of, entities, by, unresolved):
            found = {"rule": "reference", "of": encode_rule(of), "entities": list(entities)}
            policy = {"unresolved": unresolved.value} if unresolved is not None else {}
            return found | ({"by": by} if by else {}) | policy
        case Composed(fields):
            return {"rule": "composed", "fields": list(fields)}
        case Address(parts):
            return {"rule": "address", "parts": {name: encode_rule(part) for name, part in parts.items()}}


def decode_rule(data: object) -> Rule:
    """The rule that ``encode_rule`` wrote; raises MappingInvalid naming the place that is wrong."""
    try:
        return _rule(data, "rule", 0)
    except _MalformedError as wrong:
        raise MappingInvalid("rule", [Problem("", str(wrong))]) from None


def encode(mapping: ObjectMapping) -> dict[str, Any]:
    """The whole mapping as a JSON object; keys are the names of its fields."""
    return {
        "source_entity": mapping.source_entity,
        "target_entity": mapping.target_entity,
        "identity": mapping.identity,
        "key": mapping.key,
        "part": mapping.part,
        "universal": mapping.universal,
        "where": mapping.where.sql if mapping.where else None,
        "where_universal": mapping.where_universal.sql if mapping.where_universal else None,
        "to_universal": [_encode_field_rule(rule) for rule in mapping.to_universal],
        "to_target": [_encode_field_rule(rule) for rule in mapping.to_target],
        "equality": {name: [rule.value for rule in rules] for name, rules in mapping.equality.items()},
        "match": list(mapping.match),
        "unresolved": {name: policy.value for name, policy in mapping.unresolved.items()},
    }


def decode(data: object) -> ObjectMapping:
    """The mapping that ``encode`` wrote; raises MappingInvalid naming the place that is wrong."""
    try:
        return _mapping(data)
    except _MalformedError as wrong:
        raise MappingInvalid("document", [Problem("", str(wrong))]) from None


def _encode_field_rule(rule: FieldRule) -> dict[str, Any]:
    return {"target": rule.target, "rule": encode_rule(rule.rule)}


def _mapping(data: object) -> ObjectMapping:
    required = {"source_entity", "target_entity", "identity", "key", "to_target"}
    optional = {"part", "universal", "where", "where_universal", "to_universal", "equality", "match", "unresolved"}
    body = _object(data, "mapping", required, optional)
    return ObjectMapping(
        source_entity=_text(body, "source_entity", "mapping"),
        target_entity=_text(body, "target_entity", "mapping"),
        identity=_text(body, "identity", "mapping"),
        key=_text(body, "key", "mapping"),
        part=_text(body, "part", "mapping"),
        universal=_text(body, "universal", "mapping"),
        where=_where(body, "where"),
        where_universal=_where(body, "where_universal"),
        to_universal=_field_rules(body.get("to_universal", []), "to_universal"),
        to_target=_field_rules(body["to_target"], "to_target"),
        equality=_equality(body.get("equality", {})),
        match=_match(body.get("match", [])),
        unresolved=_policies(body.get("unresolved", {})),
    )


def decode_match(data: object) -> tuple[str, ...]:
    """The fields of a match key; raises MappingInvalid naming what is wrong."""
    try:
        return _match(data)
    except _MalformedError as wrong:
        raise MappingInvalid("match key", [Problem("", str(wrong))]) from None


def _match(data: object) -> tuple[str, ...]:
    if not (isinstance(data, list) and all(isinstance(name, str) and name for name in data)):
        raise _MalformedError('match must be a list of target fields, like ["Email", "AccountId"].')
    if len(set(data)) < len(data):
        raise _MalformedError("match names a field twice.")
    return tuple(data)


def decode_policies(data: object) -> dict[str, Unresolved]:
    """Reference field → what becomes of a record whose parent is not there; raises MappingInvalid."""
    try:
        return _policies(data)
    except _MalformedError as wrong:
        raise MappingInvalid("references", [Problem("", str(wrong))]) from None


def _policies(data: object) -> dict[str, Unresolved]:
    if not isinstance(data, Mapping):
        raise _MalformedError('unresolved must be an object of reference field → policy, like {"AccountId": "wait"}.')
    return {str(name): _policy(policy, f"unresolved.{name}") for name, policy in data.items()}


def _policy(data: object, place: str) -> Unresolved:
    if not isinstance(data, str) or data not in set(Unresolved):
        raise _MalformedError(f"{place} is “{data}”; it must be one of {', '.join(Unresolved)}.")
    return Unresolved(data)


def decode_equality(data: object) -> dict[str, tuple[EqualityRule, ...]]:
    """Target field → its rules of reading back; raises MappingInvalid naming what is wrong."""
    try:
        return _equality(data)
    except _MalformedError as wrong:
        raise MappingInvalid("equality", [Problem("", str(wrong))]) from None


def _equality(data: object) -> dict[str, tuple[EqualityRule, ...]]:
    if not isinstance(data, Mapping):
        raise _MalformedError("equality must be an object of target field → list of rules.")
    known = ", ".join(EqualityRule)
    for name, rules in data.items():
        if not (isinstance(name, str) and isinstance(rules, list)):
            raise _MalformedError(f"equality.{name} must be a list of rules; known ones: {known}.")
        unknown = [rule for rule in rules if rule not in set(EqualityRule)]
        if unknown:
            raise _MalformedError(f"equality.{name} has the unknown rule “{unknown[0]}”; known ones: {known}.")
    return {name: tuple(EqualityRule(rule) for rule in rules) for name, rules in data.items()}


def _where(body: Json, key: str) -> Formula | None:
    return None if body.get(key) is None else Formula(_text(body, key, "mapping"))


def _field_rules(data: object, place: str) -> tuple[FieldRule, ...]:
    if not isinstance(data, list):
        raise _MalformedError(f"{place} must be a list of field rules.")
    return tuple(_field_rule(item, f"{place}[{position}]") for position, item in enumerate(data))


def _field_rule(data: object, place: str) -> FieldRule:
    body = _object(data, place, {"target", "rule"}, set())
    return FieldRule(_text(body, "target", place), _rule(body["rule"], f"{place}.rule", 0))


def _rule(data: object, place: str, depth: int) -> Rule:
    if depth > MAX_DEPTH:
        raise _MalformedError(f"{place} nests rules more than {MAX_DEPTH} deep.")
    if not isinstance(data, Mapping):
        raise _MalformedError(f"{place} must be an object with a “rule” key.")
    kind = data.get("rule")
    decoder = _DECODERS.get(kind) if isinstance(kind, str) else None
    if decoder is None:
        raise _MalformedError(f"{place} is of the unknown kind “{kind}”. Known kinds: {', '.join(_DECODERS)}.")
    return decoder({key: value for key, value in data.items() if key != "rule"}, place, depth + 1)


def _field(data: Json, place: str, _depth: int) -> Rule:
    return Field(_text(_object(data, place, {"name"}, set()), "name", place))


def _constant(data: Json, place: str, _depth: int) -> Rule:
    body = _object(data, place, {"value"}, set())
    return Constant(None if body["value"] is None else _text(body, "value", place))


def _default(data: Json, place: str, depth: int) -> Rule:
    body = _object(data, place, {"of", "otherwise"}, set())
    return Default(_rule(body["of"], f"{place}.of", depth), _rule(body["otherwise"], f"{place}.otherwise", depth))


def _template(data: Json, place: str, _depth: int) -> Rule:
    return Template(_text(_object(data, place, {"text"}, set()), "text", place))


def _formula(data: Json, place: str, _depth: int) -> Rule:
    return Formula(_text(_object(data, place, {"sql"}, set()), "sql", place))


def _mapped(data: Json, place: str, depth: int) -> Rule:
    body = _object(data, place, {"of"}, {"entries", "name", "unknown"})
    unknown = body.get("unknown", Unknown.REJECT.value)
    if unknown not in set(Unknown):
        raise _MalformedError(f"{place}.unknown is “{unknown}”; it must be one of {', '.join(Unknown)}.")
    return Mapped(
        _rule(body["of"], f"{place}.of", depth),
        _entries(body.get("entries", {}), f"{place}.entries"),
        _text(body, "name", place),
        Unknown(unknown),
    )


def _entries(data: object, place: str) -> dict[str, str | None]:
    if not isinstance(data, Mapping):
        raise _MalformedError(f"{place} must be an object of value → value.")
    for key, value in data.items():
        if not (isinstance(key, str) and (value is None or isinstance(value, str))):
            raise _MalformedError(f"{place} holds “{key}”, whose value is neither text nor null.")
    return dict(data)


def _reference(data: Json, place: str, depth: int) -> Rule:
    body = _object(data, place, {"of", "entities"}, {"by", "unresolved"})
    entities = body["entities"]
    if not (isinstance(entities, list) and all(isinstance(entity, str) for entity in entities)):
        raise _MalformedError(f"{place}.entities must be a list of names.")
    policy = _policy(body["unresolved"], f"{place}.unresolved") if "unresolved" in body else None
    return Reference(_rule(body["of"], f"{place}.of", depth), tuple(entities), _text(body, "by", place), policy)


def _address(data: Json, place: str, depth: int) -> Rule:
    parts = _object(data, place, {"parts"}, set())["parts"]
    if not (isinstance(parts, Mapping) and all(isinstance(name, str) for name in parts)):
        raise _MalformedError(f"{place}.parts must be an object of part → rule.")
    return Address({name: _rule(part, f"{place}.parts.{name}", depth) for name, part in parts.items()})


def _composed(data: Json, place: str, _depth: int) -> Rule:
    fields = _object(data, place, {"fields"}, set())["fields"]
    if not (isinstance(fields, list) and fields and all(isinstance(name, str) and name for name in fields)):
        raise _MalformedError(f"{place}.fields must be a list of target fields.")
    return Composed(tuple(fields))


_DECODERS: Mapping[str, Callable[[Json, str, int], Rule]] = {
    "field": _field,
    "constant": _constant,
    "default": _default,
    "template": _template,
    "formula": _formula,
    "mapped": _mapped,
    "reference": _reference,
    "address": _address,
    "composed": _composed,
}


def _object(data: object, place: str, required: set[str], optional: set[str]) -> Json:
    if not isinstance(data, Mapping):
        raise _MalformedError(f"{place} must be an object.")
    missing = sorted(required - set(data))
    if missing:
        raise _MalformedError(f"{place} lacks {', '.join(missing)}.")
    unknown = sorted(str(key) for key in data if key not in required | optional)
    if unknown:
        raise _MalformedError(f"{place} has the unknown key(s) {', '.join(unknown)}.")
    return cast("Json", data)


def _text(body: Json, key: str, place: str) -> str:
    value = body.get(key, "")
    if not isinstance(value, str):
        raise _MalformedError(f"{place}.{key} must be text.")
    return value
