"""The SOAP services: log-in by user name and password, and the Metadata API.

https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta/meta_calls_intro.htm
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from defusedxml.ElementTree import ParseError, fromstring
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.salesforce.components import FOLDERS, ComponentRefused, Components
from sandbox.salesforce.deployments import Deployment, Deployments, Failure
from sandbox.salesforce.grants import Desk
from sandbox.salesforce.oauth import base_url
from sandbox.salesforce.org import Org
from sandbox.salesforce.rights import Rights
from sandbox.salesforce.soap_text import content_of, plain_name, repeated, written

METADATA = "http://soap.sforce.com/2006/04/metadata"
PARTNER = "urn:partner.soap.sforce.com"
LAST_LOGIN_VERSION = 64  # login() is absent from 65.0 up
MOST_AT_ONCE = 10


class Fault(Exception):
    """A SOAP fault: HTTP 500 with the vendor's code and sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Soap:
    desk: Desk
    components: Components
    deployments: Deployments
    rights: Rights

    @property
    def org(self) -> Org:
        return self.desk.org

    def routes(self) -> list[Route]:
        return [
            Route("/services/Soap/u/{version}", self._endpoint(self.partner, PARTNER), methods=["POST"]),
            Route("/services/Soap/m/{version}", self._endpoint(self.metadata, METADATA), methods=["POST"]),
            Route("/services/Soap/m/{version}/{rest:path}", self._endpoint(self.metadata, METADATA), methods=["POST"]),
        ]

    def partner(self, request: Request, _: str, call: Element) -> str:
        """``login``, the only call of the partner service here."""
        if plain_name(call) != "login":
            raise Fault("UNKNOWN_EXCEPTION", f"{plain_name(call)} is not simulated by this sandbox")
        if float(request.path_params["version"]) > LAST_LOGIN_VERSION or not self.org.settings.soap_login:
            raise Fault("INVALID_OPERATION", "SOAP API login() is disabled by default in this org.")
        given = content_of(call)
        user_id = self.desk.by_password(str(given.get("username")), str(given.get("password")))
        if user_id is None:
            raise Fault("INVALID_LOGIN", "Invalid username, password, security token; or user locked out.")
        base, version = base_url(request), request.path_params["version"]
        result = {
            "metadataServerUrl": f"{base}/services/Soap/m/{version}/{self.org.org_id}",
            "passwordExpired": False,
            "sandbox": True,
            "serverUrl": f"{base}/services/Soap/u/{version}/{self.org.org_id}",
            "sessionId": self.org.new_token(user_id),
            "userId": user_id,
        }
        return f"<loginResponse><result>{written(result)}</result></loginResponse>"

    def metadata(self, request: Request, session: str, call: Element) -> str:
        del request
        holder = self.org.holder(session)
        user = self.rights.user(holder) if holder else None
        if user is None:
            raise Fault("INVALID_SESSION_ID", "INVALID_SESSION_ID: Invalid Session ID found in SessionHeader")
        if not self.org.settings.setup_access or not self.rights.has(user, "ModifyAllData", "ModifyMetadata"):
            raise Fault(
                "INSUFFICIENT_ACCESS",
                "INSUFFICIENT_ACCESS: use of the Metadata API requires a user with the ModifyAllData or "
                "ModifyMetadata permissions",
            )
        calls: Mapping[str, Callable[[Element], str]] = {
            "createMetadata": self._create,
            "updateMetadata": self._update,
            "upsertMetadata": self._upsert,
            "readMetadata": self._read,
            "deleteMetadata": self._delete,
            "listMetadata": self._list,
            "describeMetadata": self._describe,
            "deploy": self._deploy,
            "checkDeployStatus": self._status,
        }
        name = plain_name(call)
        if name not in calls:
            raise Fault("UNKNOWN_EXCEPTION", f"{name} is not simulated by this sandbox")
        return f"<{name}Response>{calls[name](call)}</{name}Response>"

    def _create(self, call: Element) -> str:
        return self._saved(call, lambda kind, name, content: self.components.put(kind, name, content, fresh=True))

    def _upsert(self, call: Element) -> str:
        return self._saved(call, self.components.put, told="created")

    def _update(self, call: Element) -> str:
        def change(kind: str, name: str, content: Mapping[str, Any]) -> bool:
            if self.components.get(kind, name) is None:
                raise ComponentRefused("INVALID_CROSS_REFERENCE_KEY", f"no {kind} named {name} found")
            return self.components.put(kind, name, content)

        return self._saved(call, change)

    def _saved(self, call: Element, save: Callable[[str, str, Mapping[str, Any]], bool], *, told: str = "") -> str:
        """Each component by itself: one that is refused does not undo the others."""
        given = [child for child in call if plain_name(child) == "metadata"]
        if len(given) > MOST_AT_ONCE:
            raise Fault("LIMIT_EXCEEDED", f"LIMIT_EXCEEDED: at most {MOST_AT_ONCE} components may be saved at once")
        results = []
        for element in given:
            kind = _type_of(element)
            content = content_of(element)
            name = str(content.pop("fullName", ""))
            try:
                is_new = save(kind, name, content)
                extra = {told: is_new} if told else {}
                results.append({**extra, "fullName": name, "success": True})
            except ComponentRefused as refused:
                extra = {told: False} if told else {}
                error = {"message": refused.message, "statusCode": refused.code}
                results.append({**extra, "errors": error, "fullName": name, "success": False})
        return repeated("result", results)

    def _read(self, call: Element) -> str:
        """What is not there is answered as an empty record."""
        asked = content_of(call)
        kind, names = str(asked.get("type")), asked.get("fullNames", [])
        found = []
        for name in names if isinstance(names, list) else [names]:
            content = self.components.get(kind, name)
            inner = "" if content is None else written({"fullName": name, **content})
            found.append(f'<records xsi:type="{kind}">{inner}</records>' if inner else '<records xsi:nil="true"/>')
        return f"<result>{''.join(found)}</result>"

    def _delete(self, call: Element) -> str:
        asked = content_of(call)
        kind, names = str(asked.get("type")), asked.get("fullNames", [])
        results: list[dict[str, Any]] = []
        for name in names if isinstance(names, list) else [names]:
            try:
                self.components.remove(kind, name)
                results.append({"fullName": name, "success": True})
            except ComponentRefused as refused:
                error = {"message": refused.message, "statusCode": refused.code}
                results.append({"errors": error, "fullName": name, "success": False})
        return repeated("result", results)

    def _list(self, call: Element) -> str:
        queries = [content_of(child) for child in call if plain_name(child) == "queries"]
        kinds = [str(query.get("type")) for query in queries]
        return repeated(
            "result",
            (
                {"fileName": f"{FOLDERS[kind][0]}/{name}{FOLDERS[kind][1]}", "fullName": name, "type": kind}
                for kind in kinds if kind in FOLDERS
                for name in self.components.names(kind)
            ),
        )  # fmt: skip

    def _describe(self, _: Element) -> str:
        kinds = [
            {"directoryName": folder, "inFolder": False, "metaFile": False, "suffix": suffix[1:], "xmlName": kind}
            for kind, (folder, suffix) in FOLDERS.items()
        ]
        return f"<result>{written({'metadataObjects': kinds})}<partialSaveAllowed>true</partialSaveAllowed></result>"

    def _deploy(self, call: Element) -> str:
        given = {name.lower(): value for name, value in content_of(call).items()}
        options = given.get("deployoptions") or {}
        try:
            made = self.deployments.start(str(given.get("zipfile", "")), options if isinstance(options, dict) else {})
        except ValueError as wrong:
            raise Fault("INVALID_INPUT", str(wrong)) from wrong
        return f"<result>{written({'done': False, 'id': made.key, 'state': 'Queued'})}</result>"

    def _status(self, call: Element) -> str:
        key = str(content_of(call).get("asyncProcessId", ""))
        try:
            return f"<result>{written(_told(self.deployments.look(key)))}</result>"
        except KeyError as wrong:
            raise Fault("INVALID_CROSS_REFERENCE_KEY", f"invalid cross reference id: {key}") from wrong

    def _endpoint(self, answer: Callable[[Request, str, Element], str], namespace: str) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            try:
                session, call = _opened(await request.body())
                inner = await run_in_threadpool(answer, request, session, call)
            except Fault as fault:
                return _enveloped(_fault(fault), namespace, 500)
            return _enveloped(inner, namespace)

        return endpoint


def _opened(body: bytes) -> tuple[str, Element]:
    """Session id and call of an envelope."""
    try:
        envelope = fromstring(body)
    except ParseError as wrong:
        raise Fault("UNKNOWN_EXCEPTION", f"Envelope cannot be read: {wrong}") from wrong
    parts = {plain_name(part): part for part in envelope}
    header, inner = parts.get("Header"), parts.get("Body")
    if inner is None or not len(inner):
        raise Fault("UNKNOWN_EXCEPTION", "No operation found in the envelope")
    session = content_of(header).get("SessionHeader", {}) if header is not None else {}
    return str(session.get("sessionId", "")) if isinstance(session, dict) else "", inner[0]


def _type_of(element: Element) -> str:
    kind = element.get("{http://www.w3.org/2001/XMLSchema-instance}type", "")
    return kind.rpartition(":")[2]


def _told(made: Deployment) -> dict[str, Any]:
    told: dict[str, Any] = {
        "checkOnly": made.check_only,
        "details": {
            "componentFailures": [_component_failure(each) for each in made.failures] if made.done else [],
            "runTestResult": {
                "failures": [_test_failure(each) for each in made.test_failures] if made.done else [],
                "numFailures": len(made.test_failures) if made.done else 0,
            },
        },
        "done": made.done,
        "id": made.key,
        "numberComponentErrors": len(made.failures) if made.done else 0,
        "numberComponentsDeployed": 0 if made.failures or not made.done else made.components,
        "numberComponentsTotal": made.components,
        "numberTestErrors": len(made.test_failures) if made.done else 0,
        "numberTestsCompleted": 0,
        "numberTestsTotal": len(made.test_failures),
        "status": made.status,
        "success": made.status == "Succeeded",
    }
    return told


def _component_failure(failure: Failure) -> dict[str, Any]:
    folder, suffix = FOLDERS[failure.kind]
    return {
        "componentType": failure.kind,
        "fileName": f"{folder}/{failure.name}{suffix}",
        "fullName": failure.name,
        "problem": failure.message,
        "problemType": "Error",
        "success": False,
    }


def _test_failure(failure: Failure) -> dict[str, Any]:
    name, _, method = failure.name.partition(".")
    return {"message": failure.message, "methodName": method, "name": name, "stackTrace": "line 1, column 1"}


def _fault(fault: Fault) -> str:
    code = f"sf:{fault.code}"
    return f"<soapenv:Fault>{written({'faultcode': code, 'faultstring': fault.message})}</soapenv:Fault>"


def _enveloped(inner: str, namespace: str, status: int = 200) -> Response:
    # A fault's elements have no namespace, as SOAP 1.1 wants it.
    default = "" if inner.startswith("<soapenv:Fault>") else f' xmlns="{namespace}"'
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"{default} '
        'xmlns:sf="urn:fault.partner.soap.sforce.com" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<soapenv:Body>{inner}</soapenv:Body></soapenv:Envelope>"
    )
    return Response(text, status, media_type="text/xml;charset=UTF-8")
