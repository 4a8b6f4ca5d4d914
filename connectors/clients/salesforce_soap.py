"""Salesforce's SOAP services: logging in once by user name and password, and what their faults mean."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from defusedxml.ElementTree import ParseError, fromstring

from connectors.answers import Answer, Dialect
from connectors.clients.salesforce_errors import CODES
from connectors.context import Context, Secret
from connectors.errors import (
    AuthenticationFailed,
    ConnectorError,
    ContractChanged,
    PermissionMissing,
    Unavailable,
)
from connectors.http import HttpClient

SYSTEM: Final = "Salesforce"
LOGIN_VERSION: Final = "59.0"  # login() is absent from 65.0 up

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
    http = client(context, base_url)
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


def client(context: Context, base_url: str) -> HttpClient:
    """For an org's SOAP services. Close it when done."""
    return HttpClient(context, base_url, system=SYSTEM, dialect=Dialect(read_error=fault))
