"""From the records of a JSON body, or the columns of a CSV file, to the columns of a write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from sandbox.salesforce.errors import ApiError, RowError
from sandbox.salesforce.rows import Given, Incoming
from sandbox.salesforce.schema import Field, Schema, SObject

NULL = "#N/A"


class BadColumn(ValueError):
    """A name in a record or header that means no field; the text is the platform's."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a name stands for: a field, or a parent named by its field ``key``."""

    field: Field
    parent: SObject | None = None
    key: Field | None = None


@dataclass
class _Column:
    target: Target
    size: int
    texts: list[str | None] = field(init=False)
    given: list[bool] = field(init=False)

    def __post_init__(self) -> None:
        self.texts = [None] * self.size
        self.given = [False] * self.size

    def put(self, row: int, text: str | None) -> None:
        self.texts[row] = text
        self.given[row] = True

    def made(self) -> Given:
        return Given(
            self.target.field,
            pl.Series(self.texts, dtype=pl.String),
            pl.Series(self.given, dtype=pl.Boolean),
            self.target.parent,
            self.target.key,
        )


def from_records(
    schema: Schema, subject: SObject, records: Sequence[Mapping[str, Any]], key: Field | None = None
) -> Incoming:
    """Records of a JSON body. ``key`` is the external id of an upsert; raises ApiError where a body is no record."""
    columns: dict[tuple[str, str], _Column] = {}
    found: list[str | None] = [None] * len(records)
    keys: list[str | None] = [None] * len(records)
    errors: dict[int, RowError] = {}
    for row, record in enumerate(records):
        for name, value in record.items():
            if name == "attributes":
                continue
            if name.lower() == "id":
                found[row] = _text(value)
            elif key is not None and name.lower() == key.name.lower():
                keys[row] = _text(value)
            else:
                try:
                    target, text = _entry(schema, subject, name, value)
                except BadColumn as wrong:
                    errors.setdefault(row, RowError("INVALID_FIELD", str(wrong)))
                    continue
                place = (target.field.name, target.key.name if target.key else "")
                columns.setdefault(place, _Column(target, len(records))).put(row, text)
    ids_given, keys_given = (pl.Series(each, dtype=pl.String) for each in (found, keys))
    given = [each.made() for each in columns.values()]
    return Incoming(subject, len(records), given, ids_given, keys_given, errors, exact=True)


def _entry(schema: Schema, subject: SObject, name: str, value: object) -> tuple[Target, str | None]:
    if isinstance(value, Mapping):
        attributes = value.get("attributes")
        kind = attributes.get("type") if isinstance(attributes, Mapping) else None
        named = [(key, each) for key, each in value.items() if key != "attributes"]
        if len(named) != 1:
            raise BadColumn(f"The relationship {name} must name its parent by exactly one field")
        key, text = named[0]
        return parent_target(schema, subject, name, key, kind), _text(text)
    found = subject.field(name)
    if found is None:
        relation = subject.relationship(name)
        if relation is not None and value is None:
            return Target(relation), None
        raise BadColumn(f"No such column '{name}' on sobject of type {subject.name}")
    if not found.stored and found.type == "address":
        raise BadColumn(f"No such column '{name}' on sobject of type {subject.name}")
    return Target(found), _text(value)


def parent_target(schema: Schema, subject: SObject, relation: str, key: str, kind: str | None) -> Target:
    """What ``Relation.Key`` means; ``kind`` says the parent's object where there may be several. Raises BadColumn."""
    found = subject.relationship(relation)
    if found is None:
        raise BadColumn(f"No such column '{relation}' on sobject of type {subject.name}")
    targets = [each for each in found.reference_to if kind is None or each.lower() == kind.lower()]
    if len(targets) != 1:
        raise BadColumn(f"The external foreign key reference does not reference a valid entity: {relation}")
    parent = schema.get(targets[0])
    field_named = parent.field(key) if parent else None
    if parent is None or field_named is None or not (field_named.external_id or field_named.id_lookup):
        raise BadColumn(f"Field name provided, {key} does not match an External ID for {targets[0]}")
    return Target(found, parent, field_named)


def header_target(schema: Schema, subject: SObject, name: str) -> Target:
    """What a column of a bulk file means: ``Field``, ``Relation.Key`` or ``Type:Relation.Key``. Raises BadColumn."""
    relation, dot, key = name.partition(".")
    if not dot:
        found = subject.field(name)
        if found is None or found.type == "address":
            raise BadColumn(f"Field name not found : {name}")
        return Target(found)
    kind, colon, plain = relation.rpartition(":")
    reference = subject.relationship(plain)
    if reference is None:
        raise BadColumn(f"Field name not found : {name}")
    if colon and not reference.polymorphic:
        raise BadColumn(f"type is not needed for non polymorphic foreign key references : {name}")
    if reference.polymorphic and not colon:
        raise BadColumn(f"type is needed for polymorphic foreign key references : {name}")
    try:
        return parent_target(schema, subject, plain, key, kind or None)
    except BadColumn as wrong:
        raise BadColumn(f"Field name not found : {name}") from wrong


def from_columns(
    schema: Schema, subject: SObject, columns: Mapping[str, pl.Series], key: Field | None = None
) -> Incoming:
    """Columns of a bulk file by header: an empty cell says nothing, ``#N/A`` clears. Raises BadColumn."""
    found: pl.Series | None = None
    keys: pl.Series | None = None
    given: list[Given] = []
    size = len(next(iter(columns.values())))
    for name, raw in columns.items():
        filled = raw.set(raw == "", None)
        if name.lower() == "id":
            found = filled
        elif key is not None and name.lower() == key.name.lower():
            keys = filled
        else:
            target = header_target(schema, subject, name)
            text = filled.set(raw == NULL, None)
            given.append(Given(target.field, text, filled.is_not_null(), target.parent, target.key))
    return Incoming(subject, size, given, found, keys)


def _text(value: object) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        raise ApiError(400, "JSON_PARSER_ERROR", "Cannot deserialize a field from START_ARRAY or START_OBJECT")
    return str(value)
