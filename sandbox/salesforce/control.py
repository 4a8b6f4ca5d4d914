"""``/_sandbox/…``: what tests and rehearsals do to an org from outside. Not a Salesforce path, no token needed."""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.salesforce import person_accounts, records
from sandbox.salesforce.apps import PLATFORM_CLI
from sandbox.salesforce.automation import Assignment
from sandbox.salesforce.bad import BadRecord
from sandbox.salesforce.definitions import Definitions
from sandbox.salesforce.faults import Fault, Faults
from sandbox.salesforce.grants import Desk
from sandbox.salesforce.ids import normalised
from sandbox.salesforce.org import Settings
from sandbox.salesforce.rest import Services
from sandbox.salesforce.schema import SObject

Answer = Callable[[Request, bytes], object]


class Refused(Exception):
    """A control request that makes no sense: 400 with one sentence."""


class Control:
    def __init__(self, services: Services, definitions: Definitions, faults: Faults, bad: list[BadRecord]) -> None:
        self.services = services
        self.definitions = definitions
        self.faults = faults
        self.bad = bad

    def routes(self) -> list[Route]:
        table: tuple[tuple[str, str, Answer], ...] = (
            ("GET", "/_sandbox", self.status),
            ("GET", "/_sandbox/bad", self.listed_bad),
            ("GET", "/_sandbox/calls", self.calls),
            ("DELETE", "/_sandbox/calls", self.reset_calls),
            ("GET", "/_sandbox/faults", self.listed_faults),
            ("POST", "/_sandbox/faults", self.add_faults),
            ("DELETE", "/_sandbox/faults", self.clear_faults),
            ("PATCH", "/_sandbox/settings", self.change_settings),
            ("DELETE", "/_sandbox/tokens", self.expire_tokens),
            ("POST", "/_sandbox/sessions", self.log_in),
            ("DELETE", "/_sandbox/cursors", self.expire_cursors),
            ("GET", "/_sandbox/records/{name}", self.dump),
            ("POST", "/_sandbox/records/{name}", self.upsert),
            ("DELETE", "/_sandbox/records/{name}", self.delete),
            ("POST", "/_sandbox/jobs/{id}/fail", self.fail_job),
            ("POST", "/_sandbox/objects", self.define),
            ("PATCH", "/_sandbox/fields/{name}/{field}", self.set_access),
            ("GET", "/_sandbox/rules", self.listed_rules),
            ("POST", "/_sandbox/rules/{name}", self.add_rule),
            ("DELETE", "/_sandbox/rules/{name}", self.remove_rules),
            ("GET", "/_sandbox/locks", self.listed_locks),
            ("POST", "/_sandbox/locks", self.lock),
            ("DELETE", "/_sandbox/locks", self.unlock),
            ("PUT", "/_sandbox/permissions", self.set_permissions),
            ("PUT", "/_sandbox/assignment/{name}", self.set_assignment),
        )
        return [Route(path, _endpoint(answer), methods=[method]) for method, path, answer in table]

    def status(self, _: Request, __: bytes) -> object:
        store, org = self.services.store, self.services.org
        counts = {each.name: store.count(each) for each in store.schema}
        return {
            "org_id": org.org_id,
            "user_id": org.user_id,
            "api_used": org.used,
            "settings": asdict(org.settings),
            "records": {name: count for name, count in sorted(counts.items()) if count},
        }

    def listed_bad(self, _: Request, __: bytes) -> object:
        return [asdict(each) for each in self.bad]

    def calls(self, _: Request, __: bytes) -> object:
        counted = dict(sorted(self.services.org.calls.items()))
        return {"total": sum(counted.values()), "calls": counted}

    def reset_calls(self, _: Request, __: bytes) -> object:
        self.services.org.reset_calls()
        return {}

    def listed_faults(self, _: Request, __: bytes) -> object:
        return self.faults.listed()

    def add_faults(self, _: Request, body: bytes) -> object:
        """One rule or a list of rules; none is taken where one is wrong."""
        given = _parsed(body)
        try:
            rules = [Fault.from_json(_mapping(each)) for each in _listed(given)]
        except (TypeError, ValueError, re.error) as wrong:
            raise Refused(str(wrong)) from wrong
        for rule in rules:
            self.faults.add(rule)
        return self.faults.listed()

    def clear_faults(self, request: Request, _: bytes) -> object:
        self.faults.clear(int(request.query_params.get("seed", "0")))
        return []

    def change_settings(self, _: Request, body: bytes) -> object:
        settings = self.services.org.settings
        known = {each.name for each in fields(Settings)}
        changes = _mapping(_parsed(body))
        if not set(changes) <= {*known, "api_used"}:
            raise Refused(f"settings are {sorted(known)} and api_used")
        for name, value in changes.items():
            if name == "api_used":
                self.services.org.used = int(str(value))
            else:
                setattr(settings, name, int(str(value)))
        if "audit_fields" in changes:
            self.definitions.apply()  # they may be written now, or no longer
        if settings.person_accounts:
            person_accounts.enable(self.definitions)
        return asdict(settings)

    def expire_tokens(self, _: Request, __: bytes) -> object:
        self.services.org.expire()
        return {}

    def log_in(self, request: Request, body: bytes) -> object:
        """``{"user": id or user name}``: a session and a refresh token of theirs, and a password."""
        org, named = self.services.org, str(_mapping(_parsed(body)).get("user", ""))
        user_id = Desk(org, self.services.store).active(named)
        if user_id is None:
            raise Refused(f"no active user is called {named}")
        password = "Sandbox-" + secrets.token_urlsafe(12)
        org.set_password(user_id, password)
        refresh = org.apps.new_refresh_token(PLATFORM_CLI, user_id)
        return {
            "user_id": user_id,
            "access_token": org.new_token(user_id),
            "refresh_token": refresh,
            "sfdx_auth_url": f"force://{PLATFORM_CLI}::{refresh}@{request.url.netloc}",
            "password": password,
        }

    def expire_cursors(self, _: Request, __: bytes) -> object:
        return {"expired": self.services.queries.expire()}

    def dump(self, request: Request, _: bytes) -> object:
        """What the store holds of an object outside the bin, column by column; no query, no field security."""
        return {"records": records.dump(self.services.store, self._subject(request))}

    def upsert(self, request: Request, body: bytes) -> object:
        """``{"records": [...]}``: those with the Id of a record there are changed, the others added."""
        subject = self._subject(request)
        given = _mapping(_parsed(body)).get("records")
        if not isinstance(given, list):
            raise Refused('the body is {"records": [...]}')
        try:
            return {"ids": [self._upserted(subject, _mapping(each)) for each in given]}
        except ValueError as wrong:
            raise Refused(str(wrong)) from wrong

    def _upserted(self, subject: SObject, record: Mapping[str, object]) -> str:
        store, user = self.services.store, self.services.org.user_id
        known = record.get("Id")
        if known and records.update(store, subject, str(known), record, user):
            return str(known)
        return records.insert(store, subject, [record], user)[0]

    def delete(self, request: Request, body: bytes) -> object:
        """``{"ids": [...]}``: into the bin."""
        given = _mapping(_parsed(body)).get("ids")
        if not isinstance(given, list):
            raise Refused('the body is {"ids": [...]}')
        return {"deleted": records.delete(self.services.store, self._subject(request), [str(each) for each in given])}

    def fail_job(self, request: Request, body: bytes) -> object:
        message = (
            str(_mapping(_parsed(body)).get("message", "InternalServerError : Retry your query")) if body else "Failed"
        )
        key = request.path_params["id"]
        if not self.services.ingest.fail(key, message):
            self.services.bulk.fail(key, message)
        return {}

    def define(self, _: Request, body: bytes) -> object:
        """One object, or a list of them, as metadata in JSON."""
        given = _parsed(body)
        try:
            return {"objects": [self.definitions.define(_mapping(each)) for each in _listed(given)]}
        except ValueError as wrong:
            raise Refused(str(wrong)) from wrong

    def set_access(self, request: Request, body: bytes) -> object:
        try:
            given = _mapping(_parsed(body))
            access, profile = str(given.get("access")), str(given.get("profile") or "")
            self.definitions.set_access(request.path_params["name"], request.path_params["field"], access, profile)
        except ValueError as wrong:
            raise Refused(str(wrong)) from wrong
        return {}

    def listed_rules(self, _: Request, __: bytes) -> object:
        rules = self.definitions.automation.rules
        return {
            "rules": [
                {"object": each.object, "name": each.name, "formula": each.text, "message": each.message,
                 "code": each.code, "field": each.field, "on": each.events, "active": each.active}
                for name in sorted(rules) for each in rules[name]
            ],
            "skipped": self.definitions.skipped_rules,
        }  # fmt: skip

    def add_rule(self, request: Request, body: bytes) -> object:
        try:
            self.definitions.add_rule(request.path_params["name"], _mapping(_parsed(body)))
        except ValueError as wrong:
            raise Refused(str(wrong)) from wrong
        return {}

    def remove_rules(self, request: Request, _: bytes) -> object:
        self.definitions.automation.remove(request.path_params["name"], request.query_params.get("name"))
        return {}

    def listed_locks(self, _: Request, __: bytes) -> object:
        return self.definitions.automation.locks.listed()

    def lock(self, _: Request, body: bytes) -> object:
        """``{"ids": [...], "refusals": N}``: held until so many rows were refused, or until released."""
        given = _mapping(_parsed(body))
        keys, refusals = given.get("ids"), given.get("refusals")
        if not isinstance(keys, list) or not (refusals is None or isinstance(refusals, int)):
            raise Refused('the body is {"ids": [...], "refusals": N or null}')
        self.definitions.automation.locks.hold([normalised(str(each)) for each in keys], refusals)
        return {}

    def unlock(self, _: Request, __: bytes) -> object:
        self.definitions.automation.locks.release()
        return {}

    def set_permissions(self, _: Request, body: bytes) -> object:
        """``["Name", …]``: the custom permissions the user has from now on."""
        names = _parsed(body)
        if not isinstance(names, list):
            raise Refused("a list of names is needed here")
        self.definitions.automation.permissions = {str(each) for each in names}
        return {}

    def set_assignment(self, request: Request, body: bytes) -> object:
        """``{"id", "owner", "active"}``: the object's assignment rule from now on; ``{}`` for none."""
        rules, given = self.definitions.automation.assignments, _mapping(_parsed(body))
        name = self._subject(request).name
        if not given:
            rules.pop(name, None)
            return {}
        if not {"id", "owner"} <= set(given) <= {"id", "owner", "active"}:
            raise Refused("an assignment rule has an id, an owner and perhaps active")
        rules[name] = Assignment(normalised(str(given["id"])), str(given["owner"]), bool(given.get("active", True)))
        return {}

    def _subject(self, request: Request) -> SObject:
        subject = self.services.store.schema.get(request.path_params["name"])
        if subject is None:
            raise Refused(f"there is no object {request.path_params['name']}")
        return subject


def _endpoint(answer: Answer) -> Callable[[Request], "object"]:
    async def endpoint(request: Request) -> Response:
        try:
            content = await run_in_threadpool(answer, request, await request.body())
        except Refused as refused:
            return JSONResponse({"error": str(refused)}, 400)
        return Response(orjson.dumps(content), media_type="application/json")

    return endpoint


def _parsed(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as wrong:
        raise Refused(f"the body is not JSON: {wrong}") from wrong


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise Refused("a JSON object is needed here")
    return value
