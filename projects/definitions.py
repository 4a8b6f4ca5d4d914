"""Entity schemas as JSON, the way definitions and steps keep them."""

from dataclasses import asdict
from typing import Any

from connectors.types import EntityInfo, EntitySchema, FieldInfo, FieldType, RecordType


def schema_to_json(schema: EntitySchema) -> dict[str, Any]:
    """The schema as JSON values; ``schema_from_json`` gives an equal one back."""
    stored: dict[str, Any] = {
        "entity": asdict(schema.entity),
        "fields": [_sparse(field) for field in schema.fields],
    }
    if schema.record_types:
        stored["record_types"] = [asdict(kind) for kind in schema.record_types]
    return stored


def schema_from_json(stored: dict[str, Any]) -> EntitySchema:
    kinds = tuple(RecordType(**kind) for kind in stored.get("record_types", ()))
    return EntitySchema(EntityInfo(**stored["entity"]), tuple(_field(field) for field in stored["fields"]), kinds)


_PLAIN = asdict(FieldInfo(name=""))


def _sparse(field: FieldInfo) -> dict[str, Any]:
    return {name: value for name, value in asdict(field).items() if value != _PLAIN[name]}


def _field(stored: dict[str, Any]) -> FieldInfo:
    lists: dict[str, Any] = {name: tuple(stored[name]) for name in ("choices", "references") if name in stored}
    return FieldInfo(**{**stored, **lists, "type": FieldType(stored.get("type", FieldType.TEXT))})
