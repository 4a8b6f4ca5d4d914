"""The REST resources under ``/services/data/vXX.X``: describe, query, single records, deleted and updated, limits."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import orjson
from starlette.requests import Request
from starlette.responses import Response

from sandbox.salesforce import ids
from sandbox.salesforce.bulk import BulkJobs
from sandbox.salesforce.compile import Plan, compile_query
from sandbox.salesforce.deleting import Deleter
from sandbox.salesforce.describe import describe, describe_global
from sandbox.salesforce.errors import ApiError, not_found
from sandbox.salesforce.granting import Grants
from sandbox.salesforce.ingest import IngestJobs
from sandbox.salesforce.limits import limits, record_counts
from sandbox.salesforce.org import Org
from sandbox.salesforce.query import Queries, page_size
from sandbox.salesforce.render import json_row
from sandbox.salesforce.result_columns import described
from sandbox.salesforce.rights import Rights, User
from sandbox.salesforce.rows import Asked
from sandbox.salesforce.schema import SObject
from sandbox.salesforce.soql import Name, Query, utc_text
from sandbox.salesforce.store import Store
from sandbox.salesforce.writing import Writer

JSON = "application/json;charset=UTF-8"
DELETED_DAYS = 15
UPDATED_DAYS = 30


@dataclass(frozen=True)
class Services:
    """What the resources work on, for one user; as made, for the org's administrator."""

    org: Org
    store: Store
    queries: Queries
    bulk: BulkJobs
    ingest: IngestJobs
    writer: Writer
    deleter: Deleter
    grants: Grants
    rights: Rights
    user_id: str
    started: datetime

    def acting(self, user: User) -> "Services":
        """The same org as this user sees it, and writes to it."""
        if user.id == self.user_id and user.administers:
            return self
        store = self.store.seen_as(*self.rights.seen_by(user))
        automation = replace(self.writer.automation, granted=self.rights.permissions(user))
        system = replace(self.writer, automation=automation, user_id=user.id)
        # What hangs on a deleted record goes with it, whether or not the user sees it.
        writer, deleter = replace(system, store=store), Deleter(system)
        return replace(
            self,
            store=store,
            queries=self.queries.acting(store),
            bulk=self.bulk.acting(store, user.id),
            ingest=self.ingest.acting(store, writer, deleter),
            writer=writer,
            deleter=deleter,
            user_id=user.id,
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One authorised request: its version (``66.0``) and its body, already read."""

    request: Request
    version: str
    body: bytes

    def argument(self, name: str) -> str | None:
        return self.request.query_params.get(name)


def asked_of(call: Call) -> Asked:
    """What a call's headers ask of duplicate and assignment rules; without a header the active assignment rule runs.

    https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/headers_autoassign.htm
    """
    headers = call.request.headers
    alerts = headers.get("sforce-duplicate-rule-header", "").replace(" ", "").lower()
    rule = headers.get("sforce-auto-assign", "TRUE")
    return Asked("allowsave=true" in alerts, "" if rule.upper() == "FALSE" else rule)


def resources(services: Services, call: Call) -> Response:
    """``GET /services/data/vXX.X``: what there is."""
    path = f"/services/data/v{call.version}/"
    names = ("sobjects", "query", "queryAll", "limits", "jobs", "composite")
    # Here the org is its own log-in host: a client that follows this address must not send its token elsewhere.
    identity = f"{str(call.request.base_url).rstrip('/')}/id/{services.org.org_id}/{services.user_id}"
    return as_json({**{name: path + name for name in names}, "identity": identity})


def query(services: Services, call: Call) -> Response:
    return _query(services, call, "query", deleted=False)


def query_all(services: Services, call: Call) -> Response:
    return _query(services, call, "queryAll", deleted=True)


def _query(services: Services, call: Call, resource: str, *, deleted: bool) -> Response:
    soql = call.argument("q")
    if not soql:
        raise ApiError(400, "MALFORMED_QUERY", "A query string has to be specified")
    if call.argument("columns") == "true":
        return as_json(described(services.queries.planned(soql, deleted=deleted)))
    asked = page_size(call.request.headers.get("sforce-query-options"))
    page = min(asked, services.org.settings.query_page)
    body = services.queries.run(soql, version=call.version, resource=resource, page=page, deleted=deleted)
    return Response(body, media_type=JSON)


def query_more(services: Services, call: Call) -> Response:
    """``GET /query/<locator>`` and ``/queryAll/<locator>``."""
    resource = "queryAll" if "/queryAll/" in call.request.url.path else "query"
    locator = call.request.path_params["locator"]
    return Response(services.queries.more(locator, version=call.version, resource=resource), media_type=JSON)


def sobjects(services: Services, call: Call) -> Response:
    return _unless_unchanged(services, call, lambda: describe_global(services.store.schema, call.version))


def sobject_describe(services: Services, call: Call) -> Response:
    subject = subject_named(services, call)
    return _unless_unchanged(services, call, lambda: describe(services.store.schema, subject, call.version))


def sobject_basic(services: Services, call: Call) -> Response:
    """``GET /sobjects/X``: the object's entry of the global describe. Recently viewed records are none."""
    subject = subject_named(services, call)
    entries = describe_global(services.store.schema, call.version)["sobjects"]
    entry = next(each for each in entries if each["name"] == subject.name)
    return as_json({"objectDescribe": entry, "recentItems": []})


def record(services: Services, call: Call) -> Response:
    """``GET /sobjects/X/<id>``, all fields or those of ``?fields=``."""
    return record_answer(services, call, subject_named(services, call), call.request.path_params["id"])


def record_answer(services: Services, call: Call, subject: SObject, record_id: str) -> Response:
    """One record's fields, all or those of ``?fields=``; raises ApiError where it is not there."""
    asked = call.argument("fields")
    names = [name.strip() for name in asked.split(",")] if asked else [each.name for each in subject.fields]
    plan = _plan(services, subject, names)
    sql = f'SELECT t."IsDeleted", {json_row(plan, call.version)} {plan.source} AND t."Id" = ?'
    with services.store.read() as connection:
        found = connection.execute(sql, (*plan.parameters, ids.normalised(record_id))).fetchone()
    if found is None:
        raise ApiError(404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible: Id")
    if found[0]:
        raise ApiError(404, "ENTITY_IS_DELETED", "entity is deleted")
    return Response(found[1], media_type=JSON)


def records_json(services: Services, version: str, subject: SObject, wanted: list[str], names: list[str]) -> bytes:
    """A JSON list with a record, or null, for each of the ids."""
    plan = _plan(services, subject, names or ["Id"])
    sql = f'SELECT t."Id", {json_row(plan, version)} {plan.source} AND t."IsDeleted" = 0 AND t."Id" IN (SELECT value FROM json_each(?))'  # noqa: E501, S608 - built from schema names
    keys = [ids.normalised(each) for each in wanted]
    with services.store.read() as connection:
        found = dict(connection.execute(sql, (*plan.parameters, orjson.dumps(keys).decode())).fetchall())
    return b"[" + b",".join(found.get(key, b"null") for key in keys) + b"]"


def _plan(services: Services, subject: SObject, names: list[str]) -> Plan:
    text = f"SELECT {','.join(names)} FROM {subject.name}"  # noqa: S608 - SOQL, shown in error messages only
    tree = Query(text, Name(subject.name, 0), tuple(Name(name, 0) for name in names))
    return compile_query(tree, services.store.schema, deleted=True)


def deleted(services: Services, call: Call) -> Response:
    """``GET /sobjects/X/deleted/?start=&end=``: at most 15 days back, seconds cut off."""
    subject = _replicated(services, call)
    start, end = _span(call, DELETED_DAYS)
    sql = f'SELECT "_DeletedAt", "Id" FROM "{subject.name}" WHERE "IsDeleted" AND "_DeletedAt" >= ? AND "_DeletedAt" < ? ORDER BY 1'  # noqa: S608, E501 - schema name
    with services.store.read() as connection:
        rows = connection.execute(sql, (start, end)).fetchall()
    return as_json(
        {
            "deletedRecords": [{"deletedDate": offset_form(moment), "id": record_id} for moment, record_id in rows],
            "earliestDateAvailable": offset_form(_minutes(services.started)),
            "latestDateCovered": offset_form(min(end, _minutes(datetime.now(UTC)))),
        }
    )


def updated(services: Services, call: Call) -> Response:
    """``GET /sobjects/X/updated/?start=&end=``: ids of records changed in a span, at most 30 days back."""
    subject = _replicated(services, call)
    start, end = _span(call, UPDATED_DAYS)
    sql = f'SELECT "Id" FROM "{subject.name}" WHERE NOT "IsDeleted" AND "SystemModstamp" >= ? AND "SystemModstamp" < ?'  # noqa: S608 - schema name
    with services.store.read() as connection:
        rows = connection.execute(sql, (start, end)).fetchall()
    covered = offset_form(min(end, _minutes(datetime.now(UTC))))
    return as_json({"ids": [row[0] for row in rows], "latestDateCovered": covered})


def org_limits(services: Services, _: Call) -> Response:
    return as_json(limits(services.org, services.store))


def org_record_counts(services: Services, call: Call) -> Response:
    names = [name for name in (call.argument("sObjects") or "").split(",") if name]
    return as_json(record_counts(services.store, names))


def as_json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type=JSON)


def offset_form(moment: str) -> str:
    """A stored moment the way REST JSON writes it: ``+0000`` instead of ``Z``."""
    return moment.removesuffix("Z") + "+0000"


def subject_named(services: Services, call: Call) -> SObject:
    subject = services.store.schema.get(call.request.path_params["name"])
    if subject is None:
        raise not_found()
    return subject


def _replicated(services: Services, call: Call) -> SObject:
    subject = subject_named(services, call)
    if subject.field("SystemModstamp") is None:
        raise ApiError(400, "INVALID_TYPE_FOR_OPERATION", f"entity type {subject.name} does not support replication")
    return subject


def _span(call: Call, days: int) -> tuple[str, str]:
    """The asked span as stored stamps, cut to whole minutes; raises ApiError where it makes no sense."""
    try:
        start, end = (utc_text((call.argument(name) or "").replace(" ", "+")) for name in ("start", "end"))
    except ValueError as wrong:
        raise ApiError(
            400, "INVALID_REPLICATION_DATE", "start and end must be ISO 8601 date-times with a zone"
        ) from wrong
    start, end = (f"{moment[:16]}:00.000Z" for moment in (start, end))
    if start >= end:
        raise ApiError(400, "INVALID_REPLICATION_DATE", "startDate must be before endDate by at least one minute")
    if start < _minutes(datetime.now(UTC) - timedelta(days=days)):
        message = f"startDate cannot be more than {days} days ago"
        raise ApiError(400, "INVALID_REPLICATION_DATE", message)
    return start, end


def _minutes(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:00.000Z")


def _unless_unchanged(services: Services, call: Call, build: Callable[[], object]) -> Response:
    """Describe answers carry Last-Modified and honour If-Modified-Since: metadata is as old as its last change."""
    since = call.request.headers.get("if-modified-since")
    modified = services.store.schema_changed.strftime("%a, %d %b %Y %H:%M:%S GMT")
    try:
        unchanged = since is not None and parsedate_to_datetime(since) >= services.store.schema_changed
    except (ValueError, TypeError):  # not a date, or one without a zone
        unchanged = False
    if unchanged:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"last-modified": modified})
    answer = as_json(build())
    answer.headers["last-modified"] = modified
    return answer
