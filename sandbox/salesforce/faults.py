"""Fault knobs: rules that make chosen requests fail the way the real platform and the network between do."""

import json
import random
import re
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    RATE_LIMITED = "rate_limited"
    """429, with ``retry_after`` where given."""
    API_LIMIT = "api_limit"
    """403 REQUEST_LIMIT_EXCEEDED: the platform's own form of throttling, never with Retry-After."""
    UNAVAILABLE = "unavailable"
    """503 SERVER_UNAVAILABLE, with ``retry_after`` where given."""
    SERVER_ERROR = "server_error"
    """500 UNKNOWN_EXCEPTION."""
    NOT_IN_BULK = "not_in_bulk"
    """400 INVALIDENTITY, which is how Bulk API 2.0 refuses an object it does not serve; for ``/jobs/``."""
    DROP_BEFORE = "drop_before"
    """The connection is reset before anything is done."""
    DROP_AFTER = "drop_after"
    """The request is carried out, then the connection is reset instead of answering."""
    EXPIRE_TOKEN = "expire_token"  # noqa: S105 - the name of a fault
    """The access token used is no longer good, from this request on."""
    SLOW = "slow"
    """``latency_ms`` pass before the request is looked at."""
    LATE = "late"
    """The request is carried out, then ``latency_ms`` pass before the answer: the client may have given up."""
    TRUNCATED = "truncated"
    """A well-formed answer whose body ends half way."""
    CUT = "cut"
    """The connection is reset half way through the body."""


ERROR_KINDS: Mapping[Kind, tuple[int, str, str]] = {
    Kind.RATE_LIMITED: (429, "REQUEST_LIMIT_EXCEEDED", "Too many requests"),
    Kind.API_LIMIT: (403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
    Kind.UNAVAILABLE: (503, "SERVER_UNAVAILABLE", "Server temporarily unavailable"),
    Kind.SERVER_ERROR: (
        500,
        "UNKNOWN_EXCEPTION",
        "An unexpected error occurred. Please include this ErrorId if you contact support",
    ),
    Kind.NOT_IN_BULK: (400, "INVALIDENTITY", "This entity is not supported by the Bulk API."),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule. It looks at requests whose method is ``method`` (empty: any) and whose path, with query string,
    matches the regular expression ``path``; of those it lets the first ``after`` pass, then strikes each with
    ``probability`` until it has struck ``times`` times (None: for ever). ``body`` is json, html or empty.
    """

    kind: Kind
    path: str = ""
    method: str = ""
    after: int = 0
    times: int | None = None
    probability: float = 1.0
    retry_after: int | None = None
    latency_ms: int = 0
    body: str = "json"

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Fault":
        """The rule of a control request; raises ValueError saying what is wrong with it."""
        known = {each.name for each in fields(cls)}
        unknown = set(raw) - known
        if unknown or "kind" not in raw:
            raise ValueError(f"a fault has the keys {sorted(known)} and must have kind; got {sorted(raw)}")
        if raw.get("body", "json") not in ("json", "html", "empty"):
            raise ValueError("a fault's body is json, html or empty")
        re.compile(raw.get("path", ""))
        return cls(**{**raw, "kind": Kind(raw["kind"])})


class _Rule:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.pattern = re.compile(fault.path)
        self.seen = 0
        self.struck = 0

    def strikes(self, method: str, target: str, dice: random.Random) -> bool:
        fault = self.fault
        if (fault.method and fault.method != method) or not self.pattern.search(target):
            return False
        self.seen += 1
        if self.seen <= fault.after or (fault.times is not None and self.struck >= fault.times):
            return False
        if fault.probability < 1 and dice.random() >= fault.probability:
            return False
        self.struck += 1
        return True


class Faults:
    """The rules in force, tried in order; several may strike one request (slow and then cut)."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self._dice = random.Random(seed)

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._rules.append(_Rule(fault))

    def clear(self, seed: int = 0) -> None:
        with self._lock:
            self._rules = []
            self._dice = random.Random(seed)

    def striking(self, method: str, target: str) -> list[Fault]:
        """What happens to this request. An error answer or a lost connection ends the list."""
        with self._lock:
            found: list[Fault] = []
            for rule in self._rules:
                if rule.strikes(method, target, self._dice):
                    found.append(rule.fault)
                    if rule.fault.kind in ERROR_KINDS or rule.fault.kind is Kind.DROP_BEFORE:
                        break
            return found

    def listed(self) -> list[dict[str, Any]]:
        with self._lock:
            return [{**asdict(rule.fault), "seen": rule.seen, "struck": rule.struck} for rule in self._rules]


def error_answer(fault: Fault) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an error kind."""
    status, code, message = ERROR_KINDS[fault.kind]
    headers = {"retry-after": str(fault.retry_after)} if fault.retry_after is not None else {}
    if fault.body == "html":
        page = f"<html><head><title>{status}</title></head><body><h1>We'll be back shortly</h1></body></html>"
        return status, {**headers, "content-type": "text/html; charset=utf-8"}, page.encode()
    if fault.body == "empty":
        return status, headers, b""
    body = json.dumps([{"message": message, "errorCode": code}]).encode()
    return status, {**headers, "content-type": "application/json;charset=UTF-8"}, body
