"""Salesforce's SOAP services: logging in once by user name and password, and deploying metadata.

Deployments go through simple-salesforce's metadata client; its requests travel by our own HTTP client, so that
addresses are checked, secrets redacted and errors told as everywhere else.
Docs: https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta/meta_deploy.htm
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import requests
from defusedxml.ElementTree import ParseError, fromstring

from connectors.answers import Answer, Dialect
from connectors.clients.salesforce_errors import CODES
from connectors.context import Context, Secret
from connectors.errors import (
    AuthenticationFailed,
    ConnectorError,
    ContractChanged,
    PermissionMissing,
    SettingsInvalid,
    Unavailable,
)
from connectors.http import HttpClient

SYSTEM: Final = "Salesforce"
LOGIN_VERSION: Final = "59.0"  # login() is absent from 65.0 up
METADATA_VERSION: Final = "63.0"  # that of the WSDL the metadata client brings
FINAL_STATES: Final = frozenset({"Succeeded", "SucceededPartial", "Failed", "Canceled"})
_DEPLOY_SECONDS: Final = 600.0
_POLL_SECONDS: Final = 2.0

_ENVELOPE = (
    '<?xml version="1.0" encoding="utf-8"?><env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/">'
    '<env:Body><login xmlns="urn:partner.soap.sforce.com"><username>{username}</username>'
    "<password>{password}</password></login></env:Body></env:Envelope>"
)
_OTHERWISE = "Use an administrator's SFDX auth URL or access token instead"
_FAULTS: Final[Mapping[str, tuple[type[ConnectorError], str]]] = {
    "INVALID_LOGIN": (
        AuthenticationFailed, "does not accept this user name with this password and security token; check all three"
    ),
    "INVALID_OPERATION": (
        PermissionMissing, f"has log-in by user name and password switched off in this org. {_OTHERWISE}"
    ),
    "LOGIN_MUST_USE_SECURITY_TOKEN": (
        AuthenticationFailed, "wants the security token, because it does not know the network we come from"
    ),
    "PASSWORD_LOCKOUT": (AuthenticationFailed, "has locked this user after too many wrong passwords"),
    "INSUFFICIENT_ACCESS": (
        PermissionMissing, "does not let this user change its set-up: it takes an administrator who may modify metadata"
    ),
    "API_DISABLED_FOR_ORG": (PermissionMissing, "does not let this user use its API: enable “API Enabled”"),
    "INVALID_SESSION_ID": (AuthenticationFailed, "no longer accepts the administrator's session: get a new one"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a deployment came to. ``problems`` are sentences of the org's about components, ``tests`` names of Apex
    tests that failed."""

    succeeded: bool
    problems: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()

    def require(self, what: str, *, otherwise: str) -> None:
        """Raises SettingsInvalid where it did not succeed, with the org's reasons and the other way to go."""
        if self.succeeded:
            return
        if self.tests:
            raise SettingsInvalid(
                f"Salesforce did not take {what}, because Apex tests of the org fail ({', '.join(self.tests[:3])}). "
                f"Have them mended, or go another way. {otherwise}"
            )
        said = "; ".join(self.problems[:3]).rstrip(".") or "it gave no reason"
        raise SettingsInvalid(f"Salesforce did not take {what}: {said}. {otherwise}")


def fault(answer: Answer, _now: datetime) -> ConnectorError | None:
    """The error a SOAP fault names; None where the body is no fault."""
    try:
        root = fromstring(answer.body)
    except ParseError:
        return None
    texts = {str(each.tag).rpartition("}")[2]: (each.text or "").strip() for each in root.iter()}
    code = texts.get("faultcode", "").rpartition(":")[2]
    if not code:
        return None
    said = answer.redact(texts.get("faultstring", ""))[:300]
    if code in _FAULTS:
        kind, sentence = _FAULTS[code]
        return kind(f"{answer.system} {sentence}.", detail=f"{code}: {said}")
    rule = CODES.get(code)
    kind = rule.error if rule is not None and not issubclass(rule.error, Unavailable) else ContractChanged
    return kind(f"{answer.system} refused the request: “{said}” ({code}).", detail=said)


def log_in(context: Context, base_url: str, username: str, password: Secret) -> tuple[str, Secret]:
    """The org's own address and a session, by SOAP ``login()``. Raises AuthenticationFailed or PermissionMissing."""
    http = _client(context, base_url)
    http.redact.add(password)
    body = _ENVELOPE.format(username=escape(username), password=escape(password.reveal())).encode()
    headers = {"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": "login"}
    try:
        answer = http.send("POST", f"/services/Soap/u/{LOGIN_VERSION}", content=body, headers=headers, repeatable=False)
    finally:
        http.close()
    found = {str(each.tag).rpartition("}")[2]: each.text or "" for each in fromstring(answer.body).iter()}
    session, server = found.get("sessionId"), found.get("serverUrl", "")
    if not session or not server:
        raise ContractChanged("Salesforce answered the log-in without giving a session.")
    parts = urlsplit(server)
    return f"{parts.scheme}://{parts.netloc}", Secret(session)


class Metadata:
    """Deployments to one org with an administrator's session. Close it when done."""

    def __init__(self, context: Context, base_url: str, session: Secret) -> None:
        self._clock = context.clock
        self._http = _client(context, base_url)
        self._http.redact.add(session)
        self._carrier = requests.Session()
        self._carrier.trust_env = False
        for scheme in ("http://", "https://"):
            self._carrier.mount(scheme, _Adapter(self._http))
        url = f"{base_url}/services/Soap/m/{METADATA_VERSION}/"
        # Imported here: it brings a SOAP stack that takes half a second, and only a set-up deploys.
        from simple_salesforce.metadata import SfdcMetadataApi  # noqa: PLC0415

        self._api = SfdcMetadataApi(self._carrier, session.reveal(), base_url, url, {}, METADATA_VERSION)

    def close(self) -> None:
        self._carrier.close()
        self._http.close()

    def deploy(self, package: bytes) -> Deployed:
        """Deploy a zip as a whole or not at all, and wait for its end. Raises connector errors; Unavailable where it
        takes longer than ten minutes."""
        key, _ = self._api.deploy(io.BytesIO(package), sandbox=False)
        waited = 0.0
        while waited < _DEPLOY_SECONDS:
            state, _, components, tests = self._api.check_deploy_status(key or "")
            if state in FINAL_STATES:
                return Deployed(state == "Succeeded", _problems(components), _named_tests(tests))
            self._clock.sleep(_POLL_SECONDS)
            waited += _POLL_SECONDS
        raise Unavailable(
            f"Salesforce has not finished the deployment {key} after ten minutes. Look there, then try again."
        )


class _Adapter(requests.adapters.BaseAdapter):
    """Carries the metadata client's requests over ours."""

    def __init__(self, http: HttpClient) -> None:
        super().__init__()
        self._http = http

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        body = request.body.encode() if isinstance(request.body, str) else request.body
        kept = {name: str(request.headers[name]) for name in ("Content-Type", "SOAPAction") if name in request.headers}
        answer = self._http.send(
            request.method or "POST", request.url or "", content=cast("bytes", body), headers=kept, repeatable=False
        )
        response = requests.Response()
        response.status_code = answer.status
        response.raw = io.BytesIO(answer.body)
        response.encoding = "utf-8"
        response.url = request.url or ""
        response.request = request
        return response

    def close(self) -> None:
        """The HTTP client is closed by whoever opened it."""


def _client(context: Context, base_url: str) -> HttpClient:
    return HttpClient(context, base_url, system=SYSTEM, dialect=Dialect(read_error=fault))


def _problems(components: Mapping[str, Any] | None) -> tuple[str, ...]:
    errors: Sequence[Mapping[str, str]] = (components or {}).get("errors") or ()
    return tuple(f"{error.get('type') or error.get('file')}: {error.get('message')}" for error in errors)


def _named_tests(tests: Mapping[str, Any] | None) -> tuple[str, ...]:
    errors: Sequence[Mapping[str, str]] = (tests or {}).get("errors") or ()
    return tuple(f"{error.get('class')}.{error.get('method')}" for error in errors)
