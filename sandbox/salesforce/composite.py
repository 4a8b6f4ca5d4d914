"""Several requests in one: ``/composite``, ``/composite/graph`` and ``/composite/tree``.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite.htm
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from sandbox.salesforce.bodies import json_object
from sandbox.salesforce.collection_calls import Undo, undo_if
from sandbox.salesforce.errors import ApiError, not_found
from sandbox.salesforce.rest import Call, Services, as_json

MOST_REQUESTS = 25
MOST_HEAVY = 5
MOST_GRAPHS = 75
MOST_NODES = 500
MOST_FAILED_GRAPHS = 14
ROLLED_BACK = "The transaction was rolled back since another operation in the same transaction failed."
_REFERENCE = re.compile(r"@\{(\w+)((?:\.\w+|\[\d+\])*)\}")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_HEAVY = re.compile(r"/(query|queryAll|composite/sobjects)\b")
_FORBIDDEN = re.compile(r"/services/data/v[\d.]+/(jobs|composite(?!/sobjects))\b")
Handler = Callable[[Services, Call], Response]


class Unresolved(Exception):
    """A reference to what an earlier request did not bring."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer of one request among several."""

    reference: str
    status: int
    body: object
    headers: Mapping[str, str]

    @property
    def failed(self) -> bool:
        return self.status >= 400

    def shown(self) -> dict[str, object]:
        return {
            "body": self.body,
            "httpHeaders": dict(self.headers),
            "httpStatusCode": self.status,
            "referenceId": self.reference,
        }


class Composite:
    """Carries out requests inside a request, by the same handlers that serve them from outside."""

    def __init__(self, routes: Sequence[tuple[Route, Handler]]) -> None:
        self.routes = routes

    def run(self, services: Services, call: Call) -> Response:
        """``POST /composite``: up to 25 requests in their order."""
        body = json_object(call.body)
        requests = _requests(body.get("compositeRequest"), MOST_REQUESTS)
        heavy = sum(1 for each in requests if _HEAVY.search(urlsplit(str(each["url"])).path))
        if heavy > MOST_HEAVY:
            message = f"At most {MOST_HEAVY} subrequests may be queries or collections; there are {heavy}"
            raise ApiError(400, "LIMIT_EXCEEDED", message)
        every = bool(body.get("allOrNone", False))
        answers = self.all_or_none(services, call, requests) if every else self.each(services, call, requests)
        return as_json({"compositeResponse": [each.shown() for each in answers]})

    def graphs(self, services: Services, call: Call) -> Response:
        """``POST /composite/graph``: graphs of requests, each all or none."""
        given = json_object(call.body).get("graphs")
        if not isinstance(given, list) or not 0 < len(given) <= MOST_GRAPHS:
            raise ApiError(400, "LIMIT_EXCEEDED", f"The body holds between 1 and {MOST_GRAPHS} graphs")
        wanted = [(str(each.get("graphId")), _requests(each.get("compositeRequest"), MOST_NODES)) for each in given]
        if sum(len(requests) for _, requests in wanted) > MOST_NODES:
            raise ApiError(400, "LIMIT_EXCEEDED", f"All graphs together hold at most {MOST_NODES} nodes")
        shown: list[dict[str, object]] = []
        failed = 0
        for name, requests in wanted:
            if failed >= MOST_FAILED_GRAPHS:
                answers = [_halted(each, "Processing was halted because too many graphs failed.") for each in requests]
            else:
                answers = self.all_or_none(services, call, requests)
            good = not any(each.failed for each in answers)
            failed += not good
            response = {"compositeResponse": [each.shown() for each in answers]}
            shown.append({"graphId": name, "graphResponse": response, "isSuccessful": good})
        return as_json({"graphs": shown})

    def all_or_none(self, services: Services, call: Call, requests: Sequence[Mapping[str, Any]]) -> list[Answered]:
        """Requests in one transaction: one that fails takes the others back, and says why as the only one."""
        answers: list[Answered] = []
        try:
            with services.store.write():
                for each in requests:
                    answers.append(self.one(services, call, each, answers))
                    undo_if(answers[-1].failed)
        except Undo:
            guilty = answers[-1]
            return [guilty if row == len(answers) - 1 else _halted(each) for row, each in enumerate(requests)]
        return answers

    def each(self, services: Services, call: Call, requests: Sequence[Mapping[str, Any]]) -> list[Answered]:
        answers: list[Answered] = []
        for request in requests:
            answers.append(self.one(services, call, request, answers))
        return answers

    def one(self, services: Services, call: Call, request: Mapping[str, Any], before: Sequence[Answered]) -> Answered:
        reference = str(request["referenceId"])
        known = {each.reference: each for each in before}
        try:
            url = str(_resolved(request["url"], known))
            body = _resolved(request.get("body"), known)
        except Unresolved as missing:
            return _refused(reference, ApiError(400, "PROCESSING_HALTED", str(missing)))
        content = b"" if body is None else orjson.dumps(body)
        try:
            answer = self.dispatch(services, _inner(call, request, url, content), content)
        except ApiError as error:
            return _refused(reference, error)
        headers = {"Location": answer.headers["location"]} if "location" in answer.headers else {}
        return Answered(reference, answer.status_code, orjson.loads(answer.body) if answer.body else None, headers)

    def dispatch(self, services: Services, scope: Scope, body: bytes) -> Response:
        """The answer of the handler that serves a request; raises ApiError."""
        if _FORBIDDEN.match(scope["path"]):
            raise ApiError(400, "INVALID_INPUT", f"{scope['path']} may not be asked for inside a composite request")
        for route, handler in self.routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                inner = Call(Request({**scope, **found}), str(found["path_params"]["version"]), body)
                return handler(services, inner)
        raise not_found()


def _inner(call: Call, request: Mapping[str, Any], url: str, body: bytes) -> Scope:
    """The scope of a request inside ``call``."""
    parts = urlsplit(url)
    extra = {str(name).lower(): str(value) for name, value in (request.get("httpHeaders") or {}).items()}
    headers = Headers({**extra, "content-length": str(len(body))})
    return {
        **call.request.scope,
        "method": str(request["method"]).upper(),
        "path": unquote(parts.path).rstrip("/"),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "headers": headers.raw,
    }


def _requests(given: object, most: int) -> list[Mapping[str, Any]]:
    """The requests of a body, each with method, url and a referenceId of its own; raises ApiError."""
    if not isinstance(given, list) or not given:
        raise ApiError(400, "JSON_PARSER_ERROR", "The request body has no list of requests: compositeRequest")
    if len(given) > most:
        raise ApiError(400, "LIMIT_EXCEEDED", f"Limit of {most} subrequests is exceeded; there are {len(given)}")
    for each in given:
        if not isinstance(each, dict) or not {"method", "url", "referenceId"} <= set(each):
            raise ApiError(400, "JSON_PARSER_ERROR", "Each subrequest has method, url and referenceId")
    names = [each["referenceId"] for each in given]
    if len(set(names)) != len(names):
        raise ApiError(400, "INVALID_INPUT", "Each referenceId may be used once")
    return given


def _refused(reference: str, error: ApiError) -> Answered:
    return Answered(reference, error.status, error.body(), {})


def _halted(request: Mapping[str, Any], message: str = ROLLED_BACK) -> Answered:
    return _refused(str(request["referenceId"]), ApiError(400, "PROCESSING_HALTED", message))


def _resolved(value: Any, known: Mapping[str, Answered]) -> Any:
    """A value with its ``@{reference.path}`` replaced; raises Unresolved."""
    if isinstance(value, dict):
        return {key: _resolved(each, known) for key, each in value.items()}
    if isinstance(value, list):
        return [_resolved(each, known) for each in value]
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole:
        return _looked_up(whole, known)
    return _REFERENCE.sub(lambda match: str(_looked_up(match, known)), value)


def _looked_up(match: re.Match[str], known: Mapping[str, Answered]) -> Any:
    name, path = match.group(1), match.group(2)
    answer = known.get(name)
    missing = Unresolved(f"Invalid reference specified. No value for {name}{path} found in {name}")
    if answer is None or answer.failed:
        raise missing
    value: Any = answer.body
    for key, place in _STEP.findall(path):
        try:
            value = value[int(place)] if place else value[key]
        except (KeyError, IndexError, TypeError) as wrong:
            raise missing from wrong
    return value
