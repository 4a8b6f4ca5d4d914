"""Files: bodies that come with a record in parts or as base64, what the platform makes of them, and reading them back.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/dome_sobject_insert_update_blob.htm

A new version without a document makes one, and links it to its owner and to where it is first published. Bodies are
kept beside the records, and the field that holds one gives the address it is read at.
"""

import base64
import binascii
import hashlib
import re
import sqlite3
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from starlette.responses import Response

from sandbox.salesforce import ids, records, rest, sobject_writes
from sandbox.salesforce.bodies import json_object, request_error, writable
from sandbox.salesforce.errors import ApiError, not_found
from sandbox.salesforce.incoming import from_records
from sandbox.salesforce.pictures import Pictures, media_type
from sandbox.salesforce.rest import Call, Services, as_json
from sandbox.salesforce.schema import SObject

BLOBS: Final[Mapping[str, str]] = {"ContentVersion": "VersionData", "Attachment": "Body"}
"""Object → the field that holds its body."""
LARGEST_BASE64: Final = 37_500_000  # bytes of a body that does not come in parts of its own
_BOUNDARY: Final = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)
_NAME: Final = re.compile(rb'name="([^"]*)"', re.IGNORECASE)
_TABLE: Final = 'CREATE TABLE IF NOT EXISTS "_bodies" (id TEXT PRIMARY KEY, body BLOB NOT NULL)'
Connection = sqlite3.Connection


def create(services: Services, call: Call) -> Response:
    """``POST /sobjects/X``: of objects without a body as ever."""
    subject = rest.subject_named(services, call)
    if subject.name not in BLOBS:
        return sobject_writes.create(services, call)
    record, body = _parted(call, BLOBS[writable(subject, "insert").name])
    if len(body) > services.org.settings.file_bytes:
        raise ApiError(400, "FILE_SIZE_LIMIT_EXCEEDED", "The file is larger than this organization takes")
    with services.store.write() as connection:
        incoming = from_records(services.store.schema, subject, [{**record, BLOBS[subject.name]: "-"}])
        outcome = services.writer.save(incoming, "insert", asked=rest.asked_of(call))
        if error := outcome.errors.get(0):
            raise request_error(error)
        made = outcome.ids[0]
        connection.execute(_TABLE)
        connection.execute('INSERT INTO "_bodies" VALUES (?, ?)', (made, body))
        told = _version_of(services, connection, made, record, body) if subject.name == "ContentVersion" else {}
        told |= {} if told else {"BodyLength": len(body)}
        told[BLOBS[subject.name]] = (
            f"/services/data/v{call.version}/sobjects/{subject.name}/{made}/{BLOBS[subject.name]}"
        )
        _set(connection, subject, made, told)
    return as_json({"id": made, "success": True, "errors": []}, 201)


def by_key(services: Services, call: Call) -> Response:
    """``GET /sobjects/X/<id>/VersionData`` (or ``Body``); of anything else the record with that external id."""
    given = call.request.path_params
    blob = BLOBS.get(str(given["name"]))
    if blob is None or str(given["value"]).lower() != blob.lower():
        return sobject_writes.by_key(services, call)
    subject, record_id = rest.subject_named(services, call), ids.normalised(str(given["key"]))
    with services.store.write() as connection:
        connection.execute(_TABLE)
        sql = f'SELECT b.body FROM "_bodies" b JOIN "{subject.name}" t ON t."Id" = b.id WHERE b.id = ? AND t."IsDeleted" = 0'  # noqa: S608, E501 - a schema name
        found = connection.execute(sql, (record_id,)).fetchone()
    if found is None:
        raise not_found()
    return Response(found[0], media_type="application/octet-stream")


def picture(services: Services, call: Call) -> Response:
    """``GET /sobjects/X/<id>/richTextImageFields/<field>/<reference>``."""
    given = call.request.path_params
    subject, field = rest.subject_named(services, call), str(given["field"])
    with services.store.write() as connection:
        kept = Pictures(connection, services.org.first, services.org.org_id)
        found = kept.body(subject, ids.normalised(str(given["id"])), field, str(given["reference"]))
    if found is None:
        raise not_found()
    return Response(found, media_type=media_type(found))


def _version_of(
    services: Services, connection: Connection, made: str, record: Mapping[str, Any], body: bytes
) -> dict[str, object]:
    """Put a new version at the end of its document, which is made where it has none; what the version then tells."""
    schema, user = services.store.schema, services.user_id
    title = str(record.get("Title") or PurePosixPath(str(record["PathOnClient"])).stem)
    ending = PurePosixPath(str(record["PathOnClient"])).suffix.removeprefix(".")
    document, owner = record.get("ContentDocumentId"), str(record.get("OwnerId") or user)
    facts = {"ContentSize": len(body), "FileExtension": ending or None}
    if document:
        document = ids.normalised(str(document))
        connection.execute(
            'UPDATE "ContentVersion" SET "IsLatest" = 0 WHERE "ContentDocumentId" = ? AND "Id" != ?', (document, made)
        )
        changes = {**facts, "Title": title, "LatestPublishedVersionId": made}
        records.update(services.store, schema.require("ContentDocument"), document, changes, user)
    else:
        new = {**facts, "Title": title, "LatestPublishedVersionId": made, "OwnerId": owner}
        [document] = records.insert(services.store, schema.require("ContentDocument"), [new], user)
        places = {owner: "I", **({ids.normalised(str(place)): "V"} if (place := _place(record)) else {})}
        links = [
            {"ContentDocumentId": document, "LinkedEntityId": each, "ShareType": how, "Visibility": "AllUsers"}
            for each, how in places.items()
        ]
        records.insert(services.store, schema.require("ContentDocumentLink"), links, user)
    number = connection.execute(
        'SELECT COUNT(*) FROM "ContentVersion" WHERE "ContentDocumentId" = ? AND "Id" != ?', (document, made)
    ).fetchone()[0]
    return {
        **facts,
        "Title": title,
        "ContentDocumentId": document,
        "IsLatest": 1,
        "VersionNumber": str(number + 1),
        "FileType": (ending or "UNKNOWN").upper(),
        # The platform's own checksum of a file; nothing is secured by it.
        "Checksum": hashlib.md5(body, usedforsecurity=False).hexdigest(),
    }


def _place(record: Mapping[str, Any]) -> object:
    return record.get("FirstPublishLocationId")


def _set(connection: Connection, subject: SObject, record_id: str, values: Mapping[str, object]) -> None:
    names = ", ".join(f'"{name}" = ?' for name in values)
    sql = f'UPDATE "{subject.name}" SET {names} WHERE "Id" = ?'  # noqa: S608 - schema names
    connection.execute(sql, (*values.values(), record_id))


def _parted(call: Call, blob: str) -> tuple[dict[str, Any], bytes]:
    """The record and its body, from a body of parts or from JSON with base64. Raises ApiError."""
    kind = call.request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/"):
        record = json_object(call.body)
        return record, _from_base64(record.pop(blob, None), blob)
    found = _BOUNDARY.search(kind)
    if found is None:
        raise ApiError(400, "INVALID_MULTIPART_REQUEST", "The content type names no boundary")
    parts = dict(_parts(call.body, found[1].encode()))
    rest_of = [name for name in parts if name != blob.encode()]
    if blob.encode() not in parts or len(rest_of) != 1:
        raise ApiError(400, "INVALID_MULTIPART_REQUEST", f"A record and one part called {blob} are needed")
    return json_object(parts[rest_of[0]]), parts[blob.encode()]


def _parts(body: bytes, boundary: bytes) -> list[tuple[bytes, bytes]]:
    """Name and content of each part."""
    found = []
    for piece in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        found.append((name[1] if name else b"", content))
    return found


def _from_base64(text: object, blob: str) -> bytes:
    if text in (None, ""):
        raise ApiError(400, "REQUIRED_FIELD_MISSING", f"Required fields are missing: [{blob}]", (blob,))
    try:
        body = base64.b64decode(str(text), validate=True)
    except (ValueError, binascii.Error) as wrong:
        raise ApiError(400, "JSON_PARSER_ERROR", f"{blob} is no base64") from wrong
    if len(body) > LARGEST_BASE64:
        raise ApiError(400, "INVALID_FIELD", f"The value of {blob} is too long; send it as a part of its own")
    return body
