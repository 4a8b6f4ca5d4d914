"""A true rehearsal: records are really written, triggers, flows and rules really run, and nothing stays.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_composite.htm

A composite request with ``allOrNone`` is one transaction of up to 25 requests, and the last of ours is bound to
fail. Where it is the one that failed, all records before it would have been taken. Where a record failed, its
reason is told, the records before it passed, and the rest is rehearsed in the next request.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl

from connectors.answers import Answer
from connectors.clients.salesforce_columns import json_records
from connectors.clients.salesforce_pictures import dotted
from connectors.clients.salesforce_results import REFUSAL, landed, rejected, sent_mark
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_sending import stop_for
from connectors.clients.salesforce_session import SalesforceSession
from connectors.clients.salesforce_write import Kind, Writing, prepared
from connectors.errors import ContractChanged
from connectors.pagination import batch_from
from connectors.types import Outcome

AT_ONCE: Final = 24  # records of a request, and one more that fails
_END: Final = "end"
_HALTED: Final = "PROCESSING_HALTED"
_Reason = tuple[str, str, str]


def rehearse(
    session: SalesforceSession, sobject: SObject, frame: pl.DataFrame, *, key: str, kind: Kind | None = None,
    instead: Mapping[str, str] | None = None,
) -> pl.DataFrame:  # fmt: skip
    """A result (``RESULT_SCHEMA``) per row, as ``write`` would give it; a created one has no ``target_id``.

    Values that must be unique are compared with the org and within ``AT_ONCE`` records, not across requests. ``kind``
    is as of ``salesforce_write.write``; ``instead`` are values that are sent in place of all others of a field."""
    writing, clashes, rows = prepared(session, sobject, frame, key, kind)
    held = writing.held(rows["key"])
    found, rows = writing.sorted_out(rows, held, held["key"].unique(), is_first=True)
    stood_in = rows.with_columns(
        pl.lit(value).alias(name) for name, value in (instead or {}).items() if name in rows.columns
    )
    reasons = _reasons(writing, _requests(writing, stood_in))
    told = pl.DataFrame(reasons, schema=dict.fromkeys(REFUSAL, pl.String), orient="row")
    rows = rows.drop(*REFUSAL).hstack(told)
    outcome = pl.when(pl.col("target_id").is_null()).then(pl.lit(Outcome.CREATED)).otherwise(pl.lit(Outcome.UPDATED))
    passed = landed(rows.filter(pl.col("code").is_null()), outcome)
    return pl.concat([clashes, found, passed, rejected(rows.filter(pl.col("code").is_not_null()))])


def _reasons(writing: Writing, requests: Sequence[Mapping[str, Any]]) -> list[_Reason | tuple[None, None, None]]:
    """Why each request is refused, in their order; three times None where it would be taken."""
    reasons: list[_Reason | tuple[None, None, None]] = []
    while len(reasons) < len(requests):
        part = requests[len(reasons) : len(reasons) + AT_ONCE]
        place, reason = _first_refusal(writing, part)
        reasons += [(None, None, None)] * place
        if reason is not None:
            stop_for(reason[0], reason[2])
            reasons.append(reason)
    return reasons


def _requests(writing: Writing, rows: pl.DataFrame) -> list[Mapping[str, Any]]:
    """One request per row: a new record with its key, a known one with what differs."""
    schema, entity = writing.sobject.schema, writing.sobject.schema.entity.name
    names = list(writing.names)
    named = writing.key_members(rows)
    sent = rows.select(pl.col(sent_mark(name)).alias(name) for name in names)
    rows = dotted(rows, schema)  # pictures are not what is tried out
    members = json_records(rows.select(names), sent, schema) if names else [{}] * rows.height
    root, options = writing.session.path("sobjects", entity), writing.session.options
    create = {"method": "POST", "url": root, "httpHeaders": options.headers(entity, is_new=True)}
    change = {"method": "PATCH", "httpHeaders": options.headers(entity, is_new=False)}
    return [
        {**create, "body": _literal({**name, **values})}
        if target_id is None
        else {**change, "url": f"{root}/{target_id}", "body": _literal(values)}
        for target_id, name, values in zip(rows["target_id"].to_list(), named, members, strict=True)
    ]


def _literal(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members such that no text is taken for a reference to another answer (``@{name.path}``)."""
    return {
        name: value.replace("@{", "@(") if isinstance(value, str) else value for name, value in members.items()
    }  # fmt: skip


def _first_refusal(writing: Writing, part: Sequence[Mapping[str, Any]]) -> tuple[int, _Reason | None]:
    """How many requests of the part pass, and why the next one does not (None: all pass)."""
    session, entity = writing.session, writing.sobject.schema.entity.name
    bound_to_fail = {
        "method": "POST",
        "url": session.path("sobjects", entity),
        "body": {"Here_Ends_The_Rehearsal__c": True},
        "referenceId": _END,
    }
    named = ({**request, "referenceId": f"record{place}"} for place, request in enumerate(part))
    requests = [*named, bound_to_fail]
    body = {"allOrNone": True, "compositeRequest": requests}
    # Repeatable: nothing of it ever stays.
    answer = session.http.send("POST", session.path("composite"), json=body, repeatable=True)
    refused = _refusals(answer, [str(request["referenceId"]) for request in requests])
    if len(refused) != 1:
        raise ContractChanged(
            f"Salesforce did not say which of the rehearsed records of {entity} failed.", detail=answer.detail
        )
    [(reference, first)] = refused.items()
    if reference == _END:
        return len(part), None
    fields = ",".join(map(str, first.get("fields") or ()))
    said = session.http.redact(str(first.get("message") or ""))
    return int(reference.removeprefix("record")), (str(first.get("errorCode")), fields, said)


def _refusals(answer: Answer, asked: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Reference → first error of the requests that failed by themselves; raises ContractChanged where the
    transaction was not taken back, or where not all of it was answered."""
    entries = {str(entry.get("referenceId")): entry for entry in batch_from(answer, ("compositeResponse",)).records}
    kept = [name for name, entry in entries.items() if int(entry.get("httpStatusCode") or 0) < 400]
    if kept:
        raise ContractChanged(
            "Salesforce kept what a rehearsal wrote, although it was to be taken back. Look for records created a "
            "moment ago and delete them.",
            detail=answer.detail,
        )
    if set(entries) != set(asked):
        raise ContractChanged("Salesforce did not answer for all rehearsed records.", detail=answer.detail)
    firsts = {name: _first_error(entry.get("body")) for name, entry in entries.items()}
    return {name: first for name, first in firsts.items() if first.get("errorCode") != _HALTED}


def _first_error(body: object) -> Mapping[str, Any]:
    first = body[0] if isinstance(body, list) and body else {}
    return first if isinstance(first, dict) else {}
