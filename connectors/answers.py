"""What a platform answered, and which error an answer means: the status table and its overrides."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
import polars as pl

from connectors.errors import (
    AuthenticationFailed,
    ConnectorError,
    ContractChanged,
    NotFound,
    PermissionMissing,
    RateLimited,
    Rejected,
    SettingsInvalid,
    Unavailable,
)
from connectors.redaction import Redactor

EXCERPT = 600  # characters of a body that go into an error's detail
_DOUBTFUL = r"[:,\[]\s*-?(?:[0-9.]{16}|[0-9.]+[eE])"
"""A number of 16 characters or more or with an exponent, or a text that looks like one."""
_ENDS = {b"{": b"}", b"[": b"]"}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)
_BLANK = re.compile(r"[ \t\n\r]*")


def _elements(text: str, place: int) -> Iterator[Any]:
    """The elements of a JSON list, from behind its bracket on. Raises ValueError where it is none."""
    place = _behind_blanks(text, place)
    more = not text.startswith("]", place)
    while more:
        element, place = _DECODER.raw_decode(text, place)
        yield element
        place = _behind_blanks(text, place)
        more = text.startswith(",", place)
        if more:
            place = _behind_blanks(text, place + 1)
        elif not text.startswith("]", place):
            raise ValueError("neither a comma nor the end of the list")
    json.loads('{"":0' + text[place + 1 :])  # what is behind the list ends the object


def _behind_blanks(text: str, place: int) -> int:
    found = _BLANK.match(text, place)
    return found.end() if found else place


@dataclass(frozen=True, slots=True)
class Answer:
    """One complete answer. ``request`` is method and path, never the query string; ``headers`` have
    lower-case names; ``body`` is decoded from its transfer encodings."""

    system: str
    request: str
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    redact: Redactor = field(repr=False)

    def header(self, name: str) -> str:
        """The header's value, empty where it was not sent."""
        return self.headers.get(name.lower(), "")

    @property
    def detail(self) -> str:
        """Status and the beginning of the body, free of secrets: for an error's ``detail``."""
        text = self.body[: EXCERPT * 4].decode("utf-8", errors="replace")
        return f"{self.request} → {self.status}: {self.redact(text)[:EXCERPT]}"

    def json(self) -> Any:
        """The body as JSON, numbers with a fraction as exact ``Decimal``; raises ContractChanged, or Unavailable
        where the answer broke off."""
        try:
            return json.loads(self.body, parse_float=Decimal, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise self._unreadable(error) from None

    def each(self, name: str) -> Iterator[Any]:
        """The elements of the JSON object's list ``name``, read one after the other: as Python's objects a large answer
        takes many times its size. Where other members stand before the list, all is read at once after all. Raises what
        ``json`` raises, and ContractChanged where there is no such list."""
        try:
            text = self.body.decode()
            start = re.match(rf'\s*{{\s*"{re.escape(name)}"\s*:\s*\[', text)
            if start is None or self._broke_off():
                found = self.object().get(name)
                if not isinstance(found, list):
                    raise ContractChanged(
                        f"{self.system} answered {self.request} without a list “{name}”.", detail=self.detail
                    )
                yield from found
                return
            yield from _elements(text, start.end())
        except (ValueError, RecursionError) as error:
            raise self._unreadable(error) from None

    def page(self) -> Any:
        """As ``json``, in a third of the time, for bodies of many records: fractions are floats where no number has
        more digits than a float keeps, so that they are as exact."""
        try:
            doubtful = pl.Series([self.body]).cast(pl.String).str.contains(_DOUBTFUL).item()
            return self.json() if doubtful else orjson.loads(self.body)
        except (pl.exceptions.PolarsError, orjson.JSONDecodeError):
            return self.json()

    def object(self) -> dict[str, Any]:
        """The body as a JSON object; raises ContractChanged where it is anything else."""
        found = self.json()
        if not isinstance(found, dict):
            raise ContractChanged(
                f"{self.system} answered {self.request} with something other than an object.", detail=self.detail
            )
        return found

    def value(self, name: str) -> Any:
        """One value of the JSON object; raises ContractChanged where it is absent or null."""
        found = self.object().get(name)
        if found is None:
            raise ContractChanged(f"{self.system} answered {self.request} without “{name}”.", detail=self.detail)
        return found

    def _unreadable(self, error: Exception) -> ConnectorError:
        if isinstance(error, ValueError) and self._broke_off():
            return Unavailable(
                f"{self.system} broke off in the middle of its answer to {self.request}. It will be tried again.",
                detail=self.detail,
            )
        return ContractChanged(self._not_json(), detail=self.detail)

    def _broke_off(self) -> bool:
        """Whether what came begins as JSON and does not end as it: a proxy gave up, not the platform's contract."""
        whole = self.body.strip()
        return whole[:1] in _ENDS and whole[-1:] != _ENDS[whole[:1]]

    def _not_json(self) -> str:
        start = self.body[:200].lstrip().lower()
        what = "nothing" if not start else "a web page" if start.startswith(b"<") else "broken or truncated JSON"
        return (
            f"{self.system} answered {self.request} with {what} instead of data. "
            "Check the org's address; if it is right, the platform or a proxy in between is at fault."
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """The error a status means. ``sentence`` follows the system's name. ``wait`` is in seconds, for a
    RateLimited whose answer names none."""

    error: type[ConnectorError]
    sentence: str
    wait: float = 5.0

    def build(self, answer: Answer, now: datetime) -> ConnectorError:
        """The error, its message ending in where it happened."""
        message = f"{answer.system} {self.sentence} ({answer.status} on {answer.request})."
        if issubclass(self.error, RateLimited):
            wait = retry_after(answer.header("retry-after"), now)
            return self.error(message, retry_after=self.wait if wait is None else wait, detail=answer.detail)
        if issubclass(self.error, Rejected):
            return self.error(message, code=str(answer.status), detail=answer.detail)
        return self.error(message, detail=answer.detail)


# Meanings: RFC 9110 §15, RFC 6585. A connector overrides single rows.
STATUS_ERRORS: Mapping[int, Rule] = {
    400: Rule(ContractChanged, "did not understand our request"),
    401: Rule(AuthenticationFailed, "does not accept our credentials: connect the org again"),
    402: Rule(PermissionMissing, "asks for a paid plan: have the subscription checked"),
    403: Rule(PermissionMissing, "does not permit this: give the connecting user the missing permission"),
    404: Rule(NotFound, "does not know what was asked for"),
    405: Rule(ContractChanged, "no longer offers this call"),
    406: Rule(ContractChanged, "cannot answer in the format we read"),
    407: Rule(SettingsInvalid, "stands behind a proxy that wants a password: have the network checked"),
    408: Rule(Unavailable, "took too long to receive our request"),
    409: Rule(Unavailable, "reports a conflict with another change under way"),
    410: Rule(ContractChanged, "has retired this call"),
    413: Rule(ContractChanged, "says our request is too large"),
    414: Rule(ContractChanged, "says our request's address is too long"),
    415: Rule(ContractChanged, "does not read the format we send"),
    422: Rule(Rejected, "refused the values sent"),
    423: Rule(Unavailable, "has locked this for now"),
    425: Rule(Unavailable, "asks to try later"),
    429: Rule(RateLimited, "asked us to slow down"),
    431: Rule(ContractChanged, "says our request's headers are too large"),
    500: Rule(Unavailable, "failed while answering"),
    501: Rule(ContractChanged, "does not offer this call"),
    502: Rule(Unavailable, "could not be reached behind its gateway"),
    503: Rule(Unavailable, "is not available at the moment"),
    504: Rule(Unavailable, "did not answer its own gateway in time"),
}
_REDIRECT = Rule(SettingsInvalid, "sent us to another address: enter the org's own address")
_OTHER_CLIENT_ERROR = Rule(ContractChanged, "refused the request in an undocumented way")
_OTHER_SERVER_ERROR = Rule(Unavailable, "failed while answering")


@dataclass(frozen=True, slots=True)
class Quota:
    """What a vendor's headers say about its limits: requests left and the window's total.

    ``daily`` says that the window is a day; otherwise it is taken for a short one of unknown length."""

    remaining: int | None = None
    limit: int | None = None
    daily: bool = False


def standard_quota(answer: Answer) -> Quota:
    """``X-RateLimit-*``, or ``RateLimit-*`` of the IETF draft; nothing where neither is sent."""
    return Quota(
        remaining=_whole(answer.header("x-ratelimit-remaining") or answer.header("ratelimit-remaining")),
        limit=_whole(answer.header("x-ratelimit-limit") or answer.header("ratelimit-limit")),
    )


def _no_opinion(_answer: Answer, _now: datetime) -> ConnectorError | None:
    return None


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one vendor speaks HTTP.

    ``errors`` override rows of ``STATUS_ERRORS``; ``read_error`` looks into the body first and answers
    None where the table may decide; ``read_quota`` reads the limit headers of every answer.
    """

    errors: Mapping[int, Rule] = field(default_factory=dict)
    read_error: Callable[[Answer, datetime], ConnectorError | None] = _no_opinion
    read_quota: Callable[[Answer], Quota] = standard_quota

    def error(self, answer: Answer, now: datetime) -> ConnectorError | None:
        """The error an answer means; None for success (2xx)."""
        if 200 <= answer.status < 300:
            return None
        return self.read_error(answer, now) or self._rule(answer.status).build(answer, now)

    def _rule(self, status: int) -> Rule:
        rule = self.errors.get(status) or STATUS_ERRORS.get(status)
        if rule is not None:
            return rule
        if status < 400:
            return _REDIRECT
        return _OTHER_CLIENT_ERROR if status < 500 else _OTHER_SERVER_ERROR


def retry_after(value: str, now: datetime) -> float | None:
    """Seconds to wait, from either form of Retry-After (RFC 9110 §10.2.3); None where unreadable."""
    value = value.strip()
    if value.isascii() and value.replace(".", "", 1).isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - now).total_seconds())


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
