"""sObject collections: up to 200 records in one call, an answer for each in the order of the request.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections.htm
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import polars as pl
from starlette.responses import Response

from sandbox.salesforce import rest
from sandbox.salesforce.bodies import json_object, record_kind, saved, writable
from sandbox.salesforce.errors import ApiError
from sandbox.salesforce.incoming import from_records
from sandbox.salesforce.rest import Call, Services, as_json
from sandbox.salesforce.rows import Outcome
from sandbox.salesforce.schema import SObject
from sandbox.salesforce.sobject_writes import key_of
from sandbox.salesforce.writing import rolled_back

MOST_RECORDS = 200
MOST_CHUNKS = 10
Entry = dict[str, object]
Write = Callable[[SObject, Sequence[Any]], Outcome]


class Undo(Exception):
    """Raised inside a transaction to take back what it did."""


def undo_if(failed: object) -> None:
    """Raise Undo where something failed."""
    if failed:
        raise Undo


def insert(services: Services, call: Call) -> Response:
    return _save(services, call, "insert")


def update(services: Services, call: Call) -> Response:
    return _save(services, call, "update")


def _save(services: Services, call: Call, operation: str) -> Response:
    body = json_object(call.body)
    records = _records(body)
    kinds = [writable(record_kind(services.store, each), operation) for each in records]
    asked = rest.asked_of(call)

    def write(subject: SObject, part: Sequence[Mapping[str, Any]]) -> Outcome:
        return services.writer.save(from_records(services.store.schema, subject, part), operation, asked=asked)

    return as_json(_written(services, kinds, records, write, every=_flag(body.get("allOrNone"))))


def upsert(services: Services, call: Call) -> Response:
    """``PATCH /composite/sobjects/X/<external id>``: records of one object."""
    body = json_object(call.body)
    records = _records(body)
    subject = writable(rest.subject_named(services, call), "upsert")
    key = key_of(subject, call.request.path_params["key"])
    for each in records:
        if record_kind(services.store, each) is not subject:
            raise ApiError(400, "INVALID_TYPE", f"Every record of this call must be of the object {subject.name}")

    def write(_: SObject, part: Sequence[Mapping[str, Any]]) -> Outcome:
        named = key if key.type != "id" else None
        incoming = from_records(services.store.schema, subject, part, named)
        return services.writer.save(incoming, "upsert", key, asked=rest.asked_of(call))

    kinds = [subject] * len(records)
    return as_json(_written(services, kinds, records, write, every=_flag(body.get("allOrNone")), created=True))


def delete(services: Services, call: Call) -> Response:
    """``DELETE /composite/sobjects?ids=…&allOrNone=``: records of several objects by their ids."""
    wanted = [each.strip() for each in (call.argument("ids") or "").split(",") if each.strip()]
    _check_size(wanted)
    kinds = [writable(_kind_of(services, each), "delete") for each in wanted]

    def write(subject: SObject, part: Sequence[str]) -> Outcome:
        return services.deleter.delete(subject, pl.Series(part, dtype=pl.String))

    return as_json(_written(services, kinds, wanted, write, every=_flag(call.argument("allOrNone"))))


def retrieve(services: Services, call: Call) -> Response:
    """``GET /composite/sobjects/X?ids=…&fields=…`` (or POST with both in the body): a record or null for each id."""
    subject = rest.subject_named(services, call)
    if call.request.method == "POST":
        body = json_object(call.body)
        wanted, names = list(body.get("ids", [])), list(body.get("fields", []))
    else:
        wanted = [each for each in (call.argument("ids") or "").split(",") if each]
        names = [each for each in (call.argument("fields") or "").split(",") if each]
    return Response(rest.records_json(services, call.version, subject, wanted, names), media_type=rest.JSON)


def _written(
    services: Services,
    kinds: Sequence[SObject],
    items: Sequence[Any],
    write: Write,
    *,
    every: bool,
    created: bool = False,
) -> list[Entry]:
    """The answers of a collection: written chunk by chunk, all taken back where ``every`` and one failed."""
    runs = [(subject, len(list(group))) for subject, group in groupby(kinds, key=lambda each: each)]
    if len(runs) > MOST_CHUNKS:
        message = f"Cannot have more than {MOST_CHUNKS} chunks in a single operation. Please rearrange the data to reduce chunking."  # noqa: E501
        raise ApiError(400, "LIMIT_EXCEEDED", message)
    outcomes: list[Outcome] = []
    try:
        with services.store.write():
            start = 0
            for subject, size in runs:
                outcomes.append(write(subject, items[start : start + size]))
                start += size
            undo_if(every and any(outcome.errors for outcome in outcomes))
    except Undo:
        return [_undone(outcome, row) for outcome in outcomes for row in range(len(outcome.ids))]
    return [saved(outcome, row, created=created) for outcome in outcomes for row in range(len(outcome.ids))]


def _undone(outcome: Outcome, row: int) -> Entry:
    error = outcome.errors.get(row) or rolled_back()
    return {"success": False, "errors": [error.body()]}


def _records(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    records = body.get("records")
    if not isinstance(records, list):
        raise ApiError(400, "JSON_PARSER_ERROR", "The request body has no list of records")
    _check_size(records)
    return records


def _check_size(items: Sequence[object]) -> None:
    if not items:
        raise ApiError(400, "MISSING_ARGUMENT", "At least one record is needed")
    if len(items) > MOST_RECORDS:
        message = f"record limit reached. cannot submit more than {MOST_RECORDS} records into this operation"
        raise ApiError(400, "EXCEEDED_ID_LIMIT", message)


def _kind_of(services: Services, record_id: str) -> SObject:
    subject = services.store.schema.by_prefix(record_id[:3])
    if subject is None:
        raise ApiError(400, "MALFORMED_ID", f"malformed id {record_id}")
    return subject


def _flag(value: object) -> bool:
    return str(value).lower() == "true"
