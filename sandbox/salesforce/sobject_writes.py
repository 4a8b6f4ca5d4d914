"""Writing one record: ``/sobjects/X``, ``/sobjects/X/<id>`` and ``/sobjects/X/<external id>/<value>``.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_sobject_upsert.htm
"""

from collections.abc import Mapping
from typing import Any

import polars as pl
from starlette.responses import Response

from sandbox.salesforce import ids, rest
from sandbox.salesforce.bodies import json_object, request_error, writable
from sandbox.salesforce.convert import ID
from sandbox.salesforce.errors import ApiError, RowError, not_found
from sandbox.salesforce.granting import ASSIGNMENT
from sandbox.salesforce.incoming import from_records
from sandbox.salesforce.lookups import by_value, existing
from sandbox.salesforce.rest import Call, Services, as_json
from sandbox.salesforce.rows import Outcome
from sandbox.salesforce.schema import Field, SObject

ANSWERED_SINCE = 46  # before that an upsert that updates answers 204 without a body


def create(services: Services, call: Call) -> Response:
    """``POST /sobjects/X``."""
    subject, body = writable(rest.subject_named(services, call), "insert"), json_object(call.body)
    if subject.name == ASSIGNMENT:
        services.grants.check_assignment(body)
    outcome = _saved(services, call, body, "insert")
    _raise_first(outcome)
    if subject.name == ASSIGNMENT:
        services.grants.refresh()
    return as_json({"id": outcome.ids[0], "success": True, "errors": []}, 201)


def update(services: Services, call: Call) -> Response:
    """``PATCH /sobjects/X/<id>``."""
    subject = writable(rest.subject_named(services, call), "update")
    body = json_object(call.body)
    _refuse(body, "Id")
    key = _addressed(services, subject, call)
    _raise_first(_saved(services, call, {**body, "Id": key}, "update"))
    return Response(status_code=204)


def delete(services: Services, call: Call) -> Response:
    """``DELETE /sobjects/X/<id>``."""
    subject = writable(rest.subject_named(services, call), "delete")
    key = _addressed(services, subject, call)
    if subject.name == ASSIGNMENT:
        services.grants.check_right()
    _raise_first(services.deleter.delete(subject, pl.Series([key])))
    if subject.name == ASSIGNMENT:
        services.grants.refresh()
    return Response(status_code=204)


def upsert(services: Services, call: Call) -> Response:
    """``PATCH /sobjects/X/<external id>/<value>``; ``?updateOnly=true`` makes no new record."""
    subject = writable(rest.subject_named(services, call), "upsert")
    key, value = key_of(subject, call.request.path_params["key"]), call.request.path_params["value"]
    body = json_object(call.body)
    _refuse(body, key.name)
    if key.type != "id":
        _refuse(body, "Id")
    with services.store.write():
        found = _matching(services, subject, key, value)
        if len(found) > 1:
            return _choices(call, subject, found)
        if not found and (key.type == "id" or str(call.argument("updateOnly")).lower() == "true"):
            raise not_found()
        outcome = _saved(services, call, {**body, key.name: value}, "upsert", key)
    _raise_first(outcome)
    fresh = outcome.created[0]
    if not fresh and float(call.version) < ANSWERED_SINCE:
        return Response(status_code=204)
    entry = {"id": outcome.ids[0], "success": True, "errors": [], "created": fresh}
    return as_json(entry, 201 if fresh else 200)


def create_by_key(services: Services, call: Call) -> Response:
    """``POST /sobjects/X/Id``: what an upsert by Id becomes where there is no id yet."""
    if call.request.path_params["id"].lower() != "id":
        raise ApiError(405, "METHOD_NOT_ALLOWED", "HTTP Method 'POST' not allowed. Allowed are HEAD,GET,PATCH,DELETE")
    return create(services, call)


def by_key(services: Services, call: Call) -> Response:
    """``GET /sobjects/X/<external id>/<value>``."""
    subject = rest.subject_named(services, call)
    key = key_of(subject, call.request.path_params["key"])
    found = _only(services, subject, key, call)
    return found if isinstance(found, Response) else rest.record_answer(services, call, subject, found)


def delete_by_key(services: Services, call: Call) -> Response:
    """``DELETE /sobjects/X/<external id>/<value>``."""
    subject = writable(rest.subject_named(services, call), "delete")
    found = _only(services, subject, key_of(subject, call.request.path_params["key"]), call)
    if isinstance(found, Response):
        return found
    _raise_first(services.deleter.delete(subject, pl.Series([found])))
    return Response(status_code=204)


def key_of(subject: SObject, name: str) -> Field:
    """The external id (or other identifying field) of that name; raises ApiError."""
    found = subject.field(name)
    if found is None or not (found.external_id or found.id_lookup):
        message = f"Provided external ID field does not exist or is not accessible: {name}"
        raise ApiError(404, "NOT_FOUND", message)
    return found


def _only(services: Services, subject: SObject, key: Field, call: Call) -> str | Response:
    """The id of the one record with that key, or the answer that there are several."""
    found = _matching(services, subject, key, call.request.path_params["value"])
    if not found:
        raise not_found()
    return found[0] if len(found) == 1 else _choices(call, subject, found)


def _matching(services: Services, subject: SObject, key: Field, value: str) -> list[str]:
    with services.store.write() as connection:
        if key.type == "id":
            known = existing(connection, subject, pl.Series([ids.normalised(value)]))
            return list(known.filter(~pl.col("deleted"))["id"])
        return list(by_value(connection, subject, key, pl.Series([value]))["id"])


def _choices(call: Call, subject: SObject, found: list[str]) -> Response:
    return as_json([f"/services/data/v{call.version}/sobjects/{subject.name}/{each}" for each in found], 300)


def _addressed(services: Services, subject: SObject, call: Call) -> str:
    """The id in the address; raises ApiError where it is none of a record that is there."""
    key = ids.normalised(str(call.request.path_params["id"]))
    with services.store.read() as connection:
        known = existing(connection, subject, pl.Series([key]))
    if not known.height or not pl.Series([key]).str.contains(ID)[0]:
        raise not_found()
    if known["deleted"][0]:
        raise ApiError(404, "ENTITY_IS_DELETED", "entity is deleted")
    return key


def _saved(
    services: Services, call: Call, body: Mapping[str, Any], operation: str, key: Field | None = None
) -> Outcome:
    subject = rest.subject_named(services, call)
    named = key if key is not None and key.type != "id" else None
    incoming = from_records(services.store.schema, subject, [body], named)
    return services.writer.save(incoming, operation, key, asked=rest.asked_of(call))


def _refuse(body: Mapping[str, Any], name: str) -> None:
    if any(each.lower() == name.lower() for each in body):
        raise ApiError(400, "INVALID_FIELD", f"The {name} field should not be specified in the sobject data.", (name,))


def _raise_first(outcome: Outcome) -> None:
    error: RowError | None = outcome.errors.get(0)
    if error is not None:
        raise request_error(error)
