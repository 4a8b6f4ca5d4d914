"""What Salesforce's answers mean: its error codes, its limit header.

Codes: https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/errorcodes.htm. The body is a
list of ``{errorCode, message, fields}``, but a gateway may answer HTML or nothing; then the status decides.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from connectors.answers import Answer, Dialect, Quota, Rule
from connectors.errors import (
    AuthenticationFailed,
    ConnectorError,
    ContractChanged,
    FatalError,
    NotFound,
    PermissionMissing,
    RateLimited,
    SettingsInvalid,
    Unavailable,
)

CONCURRENT_WAIT: Final = 30.0  # seconds; no Retry-After is documented
DAILY_WAIT: Final = 3_600.0  # the daily limit is a rolling 24 h, so that an hour always frees some


class TooManyIds(ContractChanged):
    """The deletion feed holds more ids than it can give (600,000): ask by query instead."""


class NotModified(ContractChanged):
    """Nothing changed since the time we named, so that nothing was sent."""


class BulkUnsupported(ContractChanged):
    """The Bulk API does not serve this object: ask by REST query instead."""


class PlaceDropped(ContractChanged):
    """Salesforce no longer knows the link to the next page: ask anew behind the last record."""


class BodyRefused(ContractChanged):
    """Salesforce could not read the body of a request: one odd value spoils it for all records in it."""


_WAIT = Rule(RateLimited, "asked us to slow down", wait=60.0)
_BUSY = Rule(Unavailable, "cannot serve this at the moment")
_RIGHTS = Rule(PermissionMissing, "does not let the connecting user see this: give the permission set the object")
_NO_API = Rule(PermissionMissing, "does not let the connecting user use its API: enable “API Enabled”")
_KEY = Rule(SettingsInvalid, "does not match records by this field: choose an external id of the object")
_FIELDS = Rule(PermissionMissing, "does not let the connecting user fill a field: give the permission set edit access")
_QUERY = Rule(ContractChanged, "refused a query; the object may have changed: describe it again")

CODES: Mapping[str, Rule] = {
    "INVALID_SESSION_ID": Rule(AuthenticationFailed, "no longer accepts our session: connect the org again"),
    "SESSION_EXPIRED": Rule(AuthenticationFailed, "no longer accepts our session: connect the org again"),
    "INVALID_AUTH_HEADER": Rule(AuthenticationFailed, "does not accept our credentials: connect the org again"),
    "REQUEST_LIMIT_EXCEEDED": Rule(RateLimited, "has no API requests left for today", wait=DAILY_WAIT),
    "LIMIT_EXCEEDED": _WAIT,
    "ExceededQuota": Rule(RateLimited, "has no bulk allowance left for today", wait=DAILY_WAIT),
    "EXCEEDED_QUOTA": Rule(RateLimited, "has no bulk allowance left for today", wait=DAILY_WAIT),
    "TOO_MANY_APEX_REQUESTS": _WAIT,
    "REQUEST_RUNNING_TOO_LONG": _WAIT,
    "TXN_SECURITY_METERING_ERROR": Rule(
        PermissionMissing, "stops us by a transaction security policy: give “Exempt from Transaction Security”"
    ),
    "UNABLE_TO_LOCK_ROW": _BUSY,
    "SERVICE_UNAVAILABLE": _BUSY,
    "SERVER_UNAVAILABLE": _BUSY,
    "QUERY_TIMEOUT": _BUSY,
    "UNKNOWN_EXCEPTION": _BUSY,
    "INTERNAL_ERROR": _BUSY,
    "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE": _BUSY,
    "INSUFFICIENT_ACCESS": _RIGHTS,
    "INSUFFICIENT_ACCESS_OR_READONLY": _RIGHTS,
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": Rule(
        PermissionMissing, "does not let the connecting user do this with that record or set-up"
    ),
    "API_DISABLED_FOR_ORG": _NO_API,
    "API_CURRENTLY_DISABLED": _NO_API,
    "FUNCTIONALITY_NOT_ENABLED": Rule(PermissionMissing, "has this feature switched off: have it enabled there"),
    "FeatureNotEnabled": Rule(PermissionMissing, "has this feature switched off: have it enabled there"),
    "NOT_FOUND": Rule(NotFound, "does not know what was asked for"),
    "INVALID_TYPE": Rule(SettingsInvalid, "knows no such object, or hides it from the connecting user"),
    "INVALID_FIELD": Rule(ContractChanged, "no longer has a field we ask for: describe the object again"),
    "MALFORMED_QUERY": _QUERY,
    "INVALID_QUERY_FILTER_OPERATOR": _QUERY,
    "QUERY_TOO_COMPLICATED": _QUERY,
    "INVALID_QUERY_LOCATOR": Rule(PlaceDropped, "has dropped the place where reading stopped"),
    "EXCEEDED_ID_LIMIT": Rule(TooManyIds, "has too many ids for one answer"),
    "INVALIDENTITY": Rule(BulkUnsupported, "does not serve this object by its Bulk API"),
    "JSON_PARSER_ERROR": Rule(BodyRefused, "could not read the records we sent"),
    "INVALID_EXTERNAL_ID_FIELD_NAME": _KEY,
    "INVALID_ENTITY_FOR_UPSERT": _KEY,
    "INVALID_ID_FIELD": _KEY,
    "INVALID_FIELD_FOR_INSERT_UPDATE": _FIELDS,
    "FIELD_NOT_UPDATABLE": _FIELDS,
    "MIXED_DML_OPERATION": Rule(ContractChanged, "does not take users and data in one call: move them in two objects"),
    "STORAGE_LIMIT_EXCEEDED": Rule(FatalError, "has no storage left: free some or have more added, then resume"),
    "UNSUPPORTED_API_VERSION": Rule(SettingsInvalid, "has retired this API version: enter a newer one"),
}

_CONCURRENT = Rule(RateLimited, "is answering too many of our requests at once", wait=CONCURRENT_WAIT)

# 420: the edge is "setting things up"; 406 passes by itself at the edge, seen by Airbyte's connector.
STATUSES: Mapping[int, Rule] = {
    304: Rule(NotModified, "has nothing newer"),
    406: Rule(Unavailable, "could not answer at its edge"),
    410: Rule(SettingsInvalid, "has retired this API version: enter a newer one"),
    420: Rule(Unavailable, "is setting things up at its edge"),
}


def read_error(answer: Answer, now: datetime) -> ConnectorError | None:
    """The error the body's first code names, with Salesforce's own words; None where the status decides."""
    first = _first(answer)
    code, said = str(first.get("errorCode", "")), str(first.get("message", ""))
    rule = CODES.get(code)
    if rule is None:
        return None
    if code == "REQUEST_LIMIT_EXCEEDED" and "concurrent" in said.lower():
        rule = _CONCURRENT
    error = rule.build(answer, now)
    if isinstance(error, RateLimited):
        return error
    return type(error)(f"{error.message} It says: “{answer.redact(said)[:200]}”.", detail=error.detail)


def read_quota(answer: Answer) -> Quota:
    """``Sforce-Limit-Info: api-usage=18/15000`` as what is left of the day."""
    found = re.search(r"(?<![\w-])api-usage=(\d+)/(\d+)", answer.header("sforce-limit-info"))
    if found is None:
        return Quota()
    used, limit = int(found[1]), int(found[2])
    return Quota(remaining=max(0, limit - used), limit=limit, daily=True)


def _first(answer: Answer) -> Mapping[str, Any]:
    try:
        body = answer.json()
    except ContractChanged:
        return {}
    if isinstance(body, list):
        body = body[0] if body else {}
    return body if isinstance(body, dict) else {}


DIALECT: Final = Dialect(errors=STATUSES, read_error=read_error, read_quota=read_quota)
