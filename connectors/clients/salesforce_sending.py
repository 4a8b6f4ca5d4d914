"""What is sent to Salesforce and what comes back, whichever of its write interfaces carries it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

import polars as pl

from connectors.answers import Answer
from connectors.clients.salesforce_errors import CODES
from connectors.clients.salesforce_refusals import Class, refusal, sentence
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_session import SalesforceSession
from connectors.errors import FatalError, RateLimited

ANSWERS: Final[Mapping[str, type[pl.DataType]]] = {
    "ref": pl.String,
    "target_id": pl.String,
    "code": pl.String,
    "fields": pl.String,
    "said": pl.String,
}
"""An answer names its record by ``ref``. Without a ``code`` it was done, and ``target_id`` is the record; with one,
``fields`` (comma separated) and ``said`` are Salesforce's own words."""


class Operation(StrEnum):
    INSERT = "insert"
    UPSERT = "upsert"
    UPDATE = "update"
    DELETE = "delete"

    @property
    def by_key(self) -> bool:
        """Whether records are named by our key, having no id yet."""
        return self in (Operation.INSERT, Operation.UPSERT)


@dataclass(frozen=True, slots=True)
class Sending:
    """Rows for one operation. ``match`` is the field that names a record, ``refs`` its values, each once.

    ``values`` are the other fields in the wire notation; ``sent``, of the same columns, says which of them a row
    carries: null and sent makes a field blank, not sent leaves it alone.
    """

    sobject: SObject
    operation: Operation
    match: str
    refs: pl.Series
    values: pl.DataFrame
    sent: pl.DataFrame

    @property
    def entity(self) -> str:
        return self.sobject.schema.entity.name

    def __len__(self) -> int:
        return len(self.refs)

    def where(self, chosen: pl.Series) -> "Sending":
        """The rows where ``chosen`` (booleans) holds."""
        return replace(
            self,
            refs=self.refs.filter(chosen),
            values=self.values.filter(chosen) if self.values.width else self.values,
            sent=self.sent.filter(chosen) if self.sent.width else self.sent,
        )

    def parts(self, size: int) -> "Sequence[Sending]":
        """The same rows, at most ``size`` at a time."""
        return [
            replace(
                self,
                refs=self.refs.slice(start, size),
                values=self.values.slice(start, size),
                sent=self.sent.slice(start, size),
            )
            for start in range(0, len(self), size)
        ]


def no_answers() -> pl.DataFrame:
    return pl.DataFrame(schema=ANSWERS)


def refused_by(session: SalesforceSession, answer: Answer) -> tuple[str, str, str]:
    """Code, fields (comma separated) and words of the first error in an answer about one record. Raises what
    ``stop_for`` raises."""
    body = answer.json()
    first: Mapping[str, Any] = body[0] if isinstance(body, list) and body and isinstance(body[0], dict) else {}
    code, said = (
        str(first.get("errorCode") or "UNKNOWN_EXCEPTION"),
        session.http.redact(str(first.get("message") or "")),
    )
    stop_for(code, said)
    return code, ",".join(map(str, first.get("fields") or ())), said


def stop_for(code: str, said: str) -> None:
    """Raise where a refusal of one record means that no other will do better: no capacity, no storage."""
    kind = refusal(code).kind
    if kind is Class.THROTTLE:
        raise RateLimited(sentence(code, said), retry_after=CODES[code].wait)
    if kind is Class.STORAGE:
        raise FatalError(sentence(code, said))
