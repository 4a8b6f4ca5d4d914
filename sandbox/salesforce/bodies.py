"""Reading request bodies, and the small answers that writing resources share."""

from collections.abc import Mapping
from typing import Any

import orjson

from sandbox.salesforce.errors import ApiError, RowError
from sandbox.salesforce.rows import Outcome
from sandbox.salesforce.schema import SObject
from sandbox.salesforce.store import Store


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; raises ApiError."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as wrong:
        raise ApiError(400, "JSON_PARSER_ERROR", f"Unexpected content in request body: {wrong}") from wrong
    if not isinstance(found, dict):
        raise ApiError(400, "JSON_PARSER_ERROR", "The request body is not a JSON object")
    return found


def record_kind(store: Store, record: object) -> SObject:
    """The object a record of a collection says it is of; raises ApiError."""
    attributes = record.get("attributes") if isinstance(record, Mapping) else None
    name = attributes.get("type") if isinstance(attributes, Mapping) else None
    if not name:
        raise ApiError(400, "MISSING_ARGUMENT", "Each record must name its object: attributes.type")
    subject = store.schema.get(str(name))
    if subject is None:
        raise ApiError(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
    return subject


def writable(subject: SObject, operation: str) -> SObject:
    """The object, where records of it may be made, changed or deleted; raises ApiError."""
    may = {"delete": subject.deletable, "insert": subject.createable, "update": subject.may_change}
    if not may.get(operation, subject.createable and subject.may_change):
        raise ApiError(400, "INVALID_TYPE_FOR_OPERATION", f"entity type {subject.name} does not support {operation}")
    return subject


def saved(outcome: Outcome, row: int, *, created: bool = False) -> dict[str, object]:
    """One record's entry in the answer of a collection; ``created`` adds that word, as an upsert does."""
    error = outcome.errors.get(row)
    if error is not None:
        return {"success": False, "errors": [error.body()]} | (
            {"id": outcome.ids[row]} if outcome.ids[row] and not created else {}
        )
    entry: dict[str, object] = {"id": outcome.ids[row], "success": True, "errors": []}
    return {**entry, "created": outcome.created[row]} if created else entry


def request_error(error: RowError, *, addressed: bool = False) -> ApiError:
    """A refused row as the answer of a request for that one record, which the address names where ``addressed``."""
    if addressed and error.code in ("INVALID_CROSS_REFERENCE_KEY", "MALFORMED_ID") and not error.fields:
        return ApiError(404, "NOT_FOUND", "The requested resource does not exist")
    status = 404 if addressed and error.code == "ENTITY_IS_DELETED" and not error.fields else 400
    return error.as_answer(status)
