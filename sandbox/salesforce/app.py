"""The ASGI application of one org: routes, authorisation, error bodies, counting, and the gate where faults strike."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.salesforce import (
    collection_calls,
    files,
    ingest_calls,
    jobs,
    oauth,
    rest,
    setup_views,
    sobject_writes,
    tree_calls,
)
from sandbox.salesforce.bad import BadRecord
from sandbox.salesforce.bulk import BulkJobs
from sandbox.salesforce.components import PERMISSION_SET, Components
from sandbox.salesforce.composite import Composite
from sandbox.salesforce.control import Control
from sandbox.salesforce.definitions import Definitions
from sandbox.salesforce.deleting import Deleter
from sandbox.salesforce.deployments import Deployments
from sandbox.salesforce.errors import ApiError, not_found
from sandbox.salesforce.faults import ERROR_KINDS, Fault, Faults, Kind, error_answer
from sandbox.salesforce.granting import Grants
from sandbox.salesforce.grants import Desk
from sandbox.salesforce.ingest import IngestJobs
from sandbox.salesforce.org import Org
from sandbox.salesforce.query import Queries
from sandbox.salesforce.rest import Call, Services, as_json
from sandbox.salesforce.rights import Rights, User
from sandbox.salesforce.soap import Soap
from sandbox.salesforce.store import Store
from sandbox.salesforce.versions import checked, versions
from sandbox.salesforce.writing import Writer

MAX_REQUEST_HEAD = 16_384  # bytes of address and headers together; 414 beyond
Handler = Callable[[Services, Call], Response]
Hangup = Callable[[Scope], None]
DATA = "/services/data/v{version}"


@dataclass(frozen=True)
class Simulator:
    """One org with its application. Close it to remove its records."""

    org: Org
    store: Store
    app: ASGIApp
    services: Services
    bad: list[BadRecord]

    def close(self) -> None:
        self.services.bulk.close()
        self.services.ingest.close()
        self.store.close()


def simulator(definitions: Definitions, bad: list[BadRecord], *, hang_up: Hangup, seed: int = 0) -> Simulator:
    """The application over a filled store. ``hang_up`` resets the connection of a request's scope."""
    store, org = definitions.store, definitions.org
    components = Components(org, store, Grants(definitions))
    services = _services(definitions, components)
    faults = Faults(seed)
    routes = [
        *_data_routes(services),
        *_identity_routes(services),
        *Soap(Desk(org, store), components, Deployments(components), services.rights).routes(),
        *Control(services, definitions, faults, bad).routes(),
    ]
    handlers = {HTTPException: _http_error, ApiError: _api_error}
    application = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]  # narrower exception types
    application.router.redirect_slashes = False
    gate = Gate(GZipMiddleware(application, minimum_size=1_000, compresslevel=1), org, faults, hang_up)
    return Simulator(org, store, gate, services, bad)


def _services(definitions: Definitions, components: Components) -> Services:
    store, org = definitions.store, definitions.org
    writer = Writer(store, org, definitions.automation, org.user_id, lambda: definitions.whole)
    deleter = Deleter(writer)
    return Services(
        org=org,
        store=store,
        queries=Queries(store),
        bulk=BulkJobs(store, org),
        ingest=IngestJobs(store, org, writer, deleter),
        writer=writer,
        deleter=deleter,
        grants=components.grants,
        rights=Rights(definitions, components.grants, partial(components.get, PERMISSION_SET)),
        user_id=org.user_id,
        started=datetime.now(UTC).replace(microsecond=0),
    )


def _data_routes(services: Services) -> list[BaseRoute]:
    table: tuple[tuple[str, str, Handler], ...] = (
        ("GET", "", rest.resources),
        ("GET", "/query", setup_views.query),
        ("GET", "/tooling/query", setup_views.tooling_query),
        ("GET", "/queryAll", rest.query_all),
        ("GET", "/query/{locator}", rest.query_more),
        ("GET", "/queryAll/{locator}", rest.query_more),
        ("GET", "/sobjects", rest.sobjects),
        ("GET", "/sobjects/{name}", rest.sobject_basic),
        ("GET", "/sobjects/{name}/describe", rest.sobject_describe),
        ("GET", "/sobjects/{name}/deleted", rest.deleted),
        ("GET", "/sobjects/{name}/updated", rest.updated),
        ("POST", "/sobjects/{name}", files.create),
        ("GET", "/sobjects/{name}/{id}", rest.record),
        ("POST", "/sobjects/{name}/{id}", sobject_writes.create_by_key),
        ("PATCH", "/sobjects/{name}/{id}", sobject_writes.update),
        ("DELETE", "/sobjects/{name}/{id}", sobject_writes.delete),
        ("GET", "/sobjects/{name}/{id}/richTextImageFields/{field}/{reference}", files.picture),
        ("GET", "/sobjects/{name}/{key}/{value:path}", files.by_key),
        ("PATCH", "/sobjects/{name}/{key}/{value:path}", sobject_writes.upsert),
        ("DELETE", "/sobjects/{name}/{key}/{value:path}", sobject_writes.delete_by_key),
        ("POST", "/composite/sobjects", collection_calls.insert),
        ("PATCH", "/composite/sobjects", collection_calls.update),
        ("DELETE", "/composite/sobjects", collection_calls.delete),
        ("PATCH", "/composite/sobjects/{name}/{key}", collection_calls.upsert),
        ("POST", "/composite/tree/{name}", tree_calls.create),
        ("GET", "/composite/sobjects/{name}", collection_calls.retrieve),
        ("POST", "/composite/sobjects/{name}", collection_calls.retrieve),
        ("GET", "/limits", rest.org_limits),
        ("GET", "/limits/recordCount", rest.org_record_counts),
        ("POST", "/jobs/query", jobs.create),
        ("GET", "/jobs/query", jobs.listed),
        ("GET", "/jobs/query/{id}", jobs.status),
        ("PATCH", "/jobs/query/{id}", jobs.abort),
        ("DELETE", "/jobs/query/{id}", jobs.delete),
        ("GET", "/jobs/query/{id}/results", jobs.results),
        ("GET", "/jobs/query/{id}/resultPages", jobs.result_pages),
        ("POST", "/jobs/ingest", ingest_calls.create),
        ("GET", "/jobs/ingest", ingest_calls.listed),
        ("GET", "/jobs/ingest/{id}", ingest_calls.status),
        ("PATCH", "/jobs/ingest/{id}", ingest_calls.change),
        ("DELETE", "/jobs/ingest/{id}", ingest_calls.delete),
        ("PUT", "/jobs/ingest/{id}/batches", ingest_calls.upload),
        ("GET", "/jobs/ingest/{id}/successfulResults", ingest_calls.successful),
        ("GET", "/jobs/ingest/{id}/failedResults", ingest_calls.failed),
        ("GET", "/jobs/ingest/{id}/unprocessedrecords", ingest_calls.unprocessed),
        ("GET", "/jobs/ingest/{id}/unprocessedRecords", ingest_calls.unprocessed),
    )
    served = [
        (Route(DATA + path, _guarded(services, handler), methods=[method]), handler) for method, path, handler in table
    ]
    composite = Composite(served)
    wholes: tuple[tuple[str, Handler], ...] = (("/composite", composite.run), ("/composite/graph", composite.graphs))
    inner = [Route(DATA + path, _guarded(services, handler), methods=["POST"]) for path, handler in wholes]
    return [*inner, *(route for route, _ in served)]


def _identity_routes(services: Services) -> list[BaseRoute]:
    org, store = services.org, services.store

    desk = Desk(org, store)

    async def form_of(request: Request) -> dict[str, str]:
        return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))

    async def token(request: Request) -> Response:
        form, header = await form_of(request), request.headers.get("authorization")
        return await run_in_threadpool(oauth.token_answer, desk, oauth.base_url(request), form, header)

    async def authorize(request: Request) -> Response:
        return oauth.authorize(org, request)

    async def consent(request: Request) -> Response:
        form = await form_of(request)
        return await run_in_threadpool(oauth.consent, desk, form)

    async def revoke(request: Request) -> Response:
        return oauth.revoke(org, await form_of(request))

    async def who(answer: Callable[[Org, Store, Request], Response], request: Request) -> Response:
        return await run_in_threadpool(answer, org, store, request)

    async def version_list(_: Request) -> Response:
        return as_json(versions())

    return [
        Route("/services/data", version_list),
        Route("/services/oauth2/token", token, methods=["POST"]),
        Route("/services/oauth2/authorize", authorize),
        Route("/services/oauth2/consent", consent, methods=["POST"]),
        Route("/services/oauth2/revoke", revoke, methods=["POST"]),
        Route("/services/oauth2/userinfo", partial(who, oauth.userinfo), methods=["GET", "POST"]),
        Route("/id/{org}/{user}", partial(who, oauth.identity)),
    ]


def _guarded(services: Services, handler: Handler) -> Callable[[Request], object]:
    """An endpoint that checks version, session and daily allowance first, in the platform's order."""

    async def endpoint(request: Request) -> Response:
        version = checked(request.path_params["version"])
        user = await run_in_threadpool(_user, services, request)
        if user is None:
            return _with_challenge(ApiError(401, "INVALID_SESSION_ID", "Session expired or invalid"))
        if not services.org.use():
            raise ApiError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        call = Call(request, version, await request.body())
        try:
            answer = await run_in_threadpool(lambda: handler(services.acting(user), call))
        except ApiError as error:
            answer = as_json(error.body(), error.status)
        answer.headers["Sforce-Limit-Info"] = services.org.usage()
        return answer

    return endpoint


def _user(services: Services, request: Request) -> User | None:
    """Whose session the request comes with; None where it is worth nothing, also because the user was deactivated."""
    holder = services.org.holder(oauth.bearer(request))
    return services.rights.user(holder) if holder else None


def _with_challenge(error: ApiError) -> Response:
    answer = as_json(error.body(), error.status)
    answer.headers["WWW-Authenticate"] = "Token"
    return answer


async def _api_error(_: Request, error: ApiError) -> Response:
    return as_json(error.body(), error.status)


async def _http_error(request: Request, error: HTTPException) -> Response:
    """Unknown paths and wrong methods, in the platform's body."""
    if error.status_code == 405:
        message = f"HTTP Method '{request.method}' not allowed. Allowed are {(error.headers or {}).get('Allow', '')}"
        return as_json(ApiError(405, "METHOD_NOT_ALLOWED", message).body(), 405)
    return as_json(not_found().body(), error.status_code)


class Gate:
    """In front of the application: trailing slashes, counting, and faults that no application could produce."""

    def __init__(self, app: ASGIApp, org: Org, faults: Faults, hang_up: Hangup) -> None:
        self.app = app
        self.org = org
        self.faults = faults
        self.hang_up = hang_up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["path"] = scope["path"].rstrip("/") or "/"
        if scope["path"].startswith("/_sandbox"):
            await self.app(scope, receive, send)
            return
        self.org.count(scope["method"], scope["path"])
        if _head_size(scope) > MAX_REQUEST_HEAD:
            await Response("URI Too Long", 414, media_type="text/plain")(scope, receive, send)
            return
        target = f"{scope['path']}?{scope['query_string'].decode('latin-1')}"
        await self.pass_on(self.faults.striking(scope["method"], target), scope, receive, send)

    async def pass_on(self, faults: list[Fault], scope: Scope, receive: Receive, send: Send) -> None:
        for fault in faults:
            if fault.kind is Kind.SLOW:
                await asyncio.sleep(fault.latency_ms / 1000)
            elif fault.kind is Kind.EXPIRE_TOKEN:
                self.org.expire(oauth.bearer(Request(scope)))
            elif fault.kind is Kind.DROP_BEFORE:
                await self.drop(scope)
                return
            elif fault.kind in ERROR_KINDS:
                status, headers, body = error_answer(fault)
                await Response(body, status, headers)(scope, receive, send)
                return
        kinds = {fault.kind for fault in faults}
        if kinds & {Kind.DROP_AFTER, Kind.CUT, Kind.TRUNCATED, Kind.LATE}:
            await self.spoil(faults, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def spoil(self, faults: list[Fault], scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request be carried out in full, then answer late, with nothing or with half a body."""
        kinds = {fault.kind for fault in faults}
        start, body = await self.carried_out(scope, receive)
        await asyncio.sleep(sum(fault.latency_ms for fault in faults if fault.kind is Kind.LATE) / 1000)
        if not kinds & {Kind.DROP_AFTER, Kind.CUT, Kind.TRUNCATED}:
            await send(start)
            await send({"type": "http.response.body", "body": body})
            return
        if Kind.DROP_AFTER in kinds:
            await self.drop(scope)
            return
        half = body[: len(body) // 2]
        length = len(half) if Kind.TRUNCATED in kinds else len(body)
        headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        await send({**start, "headers": [*headers, (b"content-length", str(length).encode())]})
        await send({"type": "http.response.body", "body": half, "more_body": Kind.TRUNCATED not in kinds})
        if Kind.TRUNCATED not in kinds:
            await self.drop(scope)

    async def carried_out(self, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        await self.app({**scope, "headers": plain}, receive, keep)
        return messages[0], b"".join(message.get("body", b"") for message in messages[1:])

    async def drop(self, scope: Scope) -> None:
        self.hang_up(scope)
        await asyncio.sleep(0.01)  # lets the server notice, so that it does not try to answer on a dead connection


def _head_size(scope: Scope) -> int:
    address = len(scope["raw_path"]) + len(scope["query_string"])
    return address + sum(len(name) + len(value) + 4 for name, value in scope["headers"])
