"""``POST /composite/tree/X``: nested new records in one call, all or none.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobject_tree.htm
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from starlette.responses import Response

from sandbox.salesforce import rest
from sandbox.salesforce.bodies import json_object, record_kind, writable
from sandbox.salesforce.collection_calls import Undo, undo_if
from sandbox.salesforce.errors import ApiError, RowError
from sandbox.salesforce.incoming import from_records
from sandbox.salesforce.rest import Call, Services, as_json
from sandbox.salesforce.schema import Schema, SObject

MOST_RECORDS = 200
MOST_LEVELS = 5
MOST_TYPES = 5


@dataclass(frozen=True, slots=True)
class _Node:
    """A record of a tree: its own fields, how deep it lies, and the field that names its parent."""

    subject: SObject
    reference: str
    values: Mapping[str, Any]
    nested: Mapping[str, Any]
    level: int
    link: str
    parent: str


def create(services: Services, call: Call) -> Response:
    root = rest.subject_named(services, call)
    nodes = _flat(services, json_object(call.body).get("records"), root)
    ids: dict[str, str] = {}
    errors: dict[str, RowError] = {}
    try:
        with services.store.write():
            for _, level in groupby(nodes, key=lambda node: node.level):
                _insert(services, call, list(level), ids, errors)
                undo_if(errors)
    except Undo:
        found = [{"referenceId": name, "errors": [error.body()]} for name, error in errors.items()]
        return as_json({"hasErrors": True, "results": found}, 400)
    results = [{"referenceId": node.reference, "id": ids[node.reference]} for node in nodes]
    return as_json({"hasErrors": False, "results": results}, 201)


def _insert(
    services: Services, call: Call, nodes: list[_Node], ids: dict[str, str], errors: dict[str, RowError]
) -> None:
    for subject in dict.fromkeys(node.subject for node in nodes):
        mine = [node for node in nodes if node.subject is subject]
        records = [{**node.values, **({node.link: ids[node.parent]} if node.link else {})} for node in mine]
        incoming = from_records(services.store.schema, subject, records)
        outcome = services.writer.save(incoming, "insert", asked=rest.asked_of(call))
        ids |= dict(zip((node.reference for node in mine), outcome.ids, strict=True))
        errors |= {mine[row].reference: error for row, error in outcome.errors.items()}


def _flat(services: Services, records: object, root: SObject) -> list[_Node]:
    """Every record of the body, level by level; raises ApiError where the tree is none or too large."""
    if not isinstance(records, list) or not records:
        raise ApiError(400, "JSON_PARSER_ERROR", "The request body has no list of records")
    found = [_node(services, each, 0, "", "") for each in records]
    if any(node.subject is not root for node in found):
        raise ApiError(400, "INVALID_TYPE", f"The records at the top must be of the object {root.name}")
    for node in found:  # grows while it is walked: children follow their level
        found += _children(services, node)
    if len(found) > MOST_RECORDS or len({node.subject.name for node in found}) > MOST_TYPES:
        raise ApiError(400, "LIMIT_EXCEEDED", f"A tree holds at most {MOST_RECORDS} records of {MOST_TYPES} objects")
    if found[-1].level >= MOST_LEVELS:
        raise ApiError(400, "LIMIT_EXCEEDED", f"A tree is at most {MOST_LEVELS} levels deep")
    if len({node.reference for node in found}) != len(found):
        raise ApiError(400, "INVALID_INPUT", "Each referenceId may be used once")
    return found


def _node(services: Services, record: Any, level: int, link: str, parent: str) -> _Node:
    subject = writable(record_kind(services.store, record), "insert")
    reference = record["attributes"].get("referenceId")
    if not reference:
        raise ApiError(400, "MISSING_ARGUMENT", "Each record must have a reference: attributes.referenceId")
    nested = {name: value for name, value in record.items() if isinstance(value, dict) and "records" in value}
    values = {name: value for name, value in record.items() if name not in nested}
    return _Node(subject, str(reference), values, nested, level, link, parent)


def _children(services: Services, node: _Node) -> list[_Node]:
    found: list[_Node] = []
    for name, value in node.nested.items():
        link = _link(services.store.schema, node.subject, name)
        found += [_node(services, each, node.level + 1, link, node.reference) for each in value["records"]]
    return found


def _link(schema: Schema, parent: SObject, relationship: str) -> str:
    for _, field in schema.children(parent.name):
        if field.child_relationship == relationship:
            return field.name
    raise ApiError(400, "INVALID_FIELD", f"No such relation '{relationship}' on sobject of type {parent.name}")
