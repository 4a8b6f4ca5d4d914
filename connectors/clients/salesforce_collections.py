"""sObject Collections: up to 200 records in one call, each standing or falling alone.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections.htm

An answer names a record it wrote by id and does not name one it refused at all; only its place in the list would.
We do not trust places. What was written is found by id, under its key; who was refused is known where one record
was sent, or where all refused ones were refused alike; anyone else stays unanswered and is sent again by a way
that tells. Every call here may be repeated: an upsert by key, an update by id and a deletion come to the same,
and an insert with a unique key is refused the second time.
"""

from typing import Any, Final

import polars as pl

from connectors.answers import Answer
from connectors.clients.salesforce_columns import json_records
from connectors.clients.salesforce_errors import BodyRefused
from connectors.clients.salesforce_lookup import find
from connectors.clients.salesforce_sending import ANSWERS, Operation, Sending, no_answers, stop_for
from connectors.clients.salesforce_session import SalesforceSession
from connectors.errors import ContractChanged

MOST: Final = 200  # records of one call


def send(session: SalesforceSession, sending: Sending, *, size: int = MOST) -> pl.DataFrame:
    """``ANSWERS`` of the records whose fate is certain; the others may or may not have been written."""
    return pl.concat([no_answers(), *(_one_call(session, part) for part in sending.parts(size))])


def _one_call(session: SalesforceSession, sending: Sending) -> pl.DataFrame:
    try:
        answer = _call(session, sending)
    except BodyRefused as error:
        if len(sending) > 1:
            return no_answers()
        return _refused(sending.refs, ("JSON_PARSER_ERROR", "", error.message))
    items = _items(answer)
    done = pl.Series([str(item["id"]) for item in items if item.get("success")], dtype=pl.String).unique()
    reasons = [_reason(session, item) for item in items if not item.get("success")]
    for code, _, said in reasons:
        stop_for(code, said)
    written = _written(session, sending, done, answer)
    left = sending.refs.filter(~sending.refs.is_in(written["ref"].implode()))
    is_whole = len(items) == len(sending) and len(reasons) == len(left)
    if is_whole and len(set(reasons)) == 1:
        return pl.concat([written, _refused(left, reasons[0])])
    return written


def _call(session: SalesforceSession, sending: Sending) -> Answer:
    root = session.path("composite", "sobjects")
    if sending.operation is Operation.DELETE:
        params = {"ids": ",".join(sending.refs.to_list()), "allOrNone": "false"}
        return session.http.send("DELETE", root, params=params, repeatable=True)
    path = root
    if sending.operation is Operation.UPSERT:
        path = session.path("composite", "sobjects", sending.entity, sending.match)
    body = {"allOrNone": False, "records": _records(sending)}
    headers = session.options.headers(sending.entity, is_new=sending.operation.by_key)
    method = "POST" if sending.operation is Operation.INSERT else "PATCH"
    return session.http.send(method, path, json=body, headers=headers, repeatable=True)


def _records(sending: Sending) -> list[dict[str, Any]]:
    match = pl.DataFrame({sending.match: sending.refs})
    names = json_records(match, match.select(pl.all().is_not_null()), sending.sobject.schema)
    values = json_records(sending.values, sending.sent, sending.sobject.schema)
    return [
        {"attributes": {"type": sending.entity}, **name, **members}
        for name, members in zip(names, values or [{}] * len(names), strict=True)
    ]


def _items(answer: Answer) -> list[dict[str, Any]]:
    found = answer.json()
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ContractChanged(
            "Salesforce answered a collection of records with something else than a list.", detail=answer.detail
        )
    if any(item.get("success") and not item.get("id") for item in found):
        raise ContractChanged("Salesforce confirmed a record without naming it.", detail=answer.detail)
    return found


def _reason(session: SalesforceSession, item: dict[str, Any]) -> tuple[str, str, str]:
    """Code, fields and words of a refusal."""
    first: dict[str, Any] = next(iter(item.get("errors") or ()), {})
    code = str(first.get("statusCode") or first.get("errorCode") or "UNKNOWN_EXCEPTION")
    fields = ",".join(map(str, first.get("fields") or ()))
    return code, fields, session.http.redact(str(first.get("message") or ""))


def _written(session: SalesforceSession, sending: Sending, done: pl.Series, answer: Answer) -> pl.DataFrame:
    """Answers of the records whose ids were confirmed; raises ContractChanged for a confirmed stranger."""
    known = _known_ids(session, sending, done)
    strangers = done.filter(~done.is_in(known["target_id"].implode()))
    if len(strangers):
        raise ContractChanged(
            f"Salesforce confirmed the record {strangers[0]} of {sending.entity}, which does not carry any of the keys "
            f"we sent. An automation may change {sending.match} when a record is saved: switch it off for the move.",
            detail=answer.detail,
        )
    written = known.filter(pl.col("target_id").is_in(done.implode()))
    return written.with_columns(pl.lit(None, pl.String).alias(name) for name in ("code", "fields", "said"))


_IDS: Final = {"ref": pl.String, "target_id": pl.String}


def _known_ids(session: SalesforceSession, sending: Sending, done: pl.Series) -> pl.DataFrame:
    """``ref`` and ``target_id`` of the records sent, where any was written."""
    if done.is_empty():
        return pl.DataFrame(schema=_IDS)
    if not sending.operation.by_key:
        return pl.DataFrame({"ref": sending.refs, "target_id": sending.refs})
    if len(sending) == len(done) == 1:
        return pl.DataFrame({"ref": sending.refs, "target_id": done})
    found = find(session, sending.sobject, key=sending.match, keys=sending.refs.to_list(), fields=())
    return found.select(pl.col("key").alias("ref"), "target_id")


def _refused(refs: pl.Series, reason: tuple[str, str, str]) -> pl.DataFrame:
    code, fields, said = reason
    told = {"target_id": pl.lit(None, pl.String), "code": pl.lit(code), "fields": pl.lit(fields), "said": pl.lit(said)}
    return pl.DataFrame({"ref": refs}).with_columns(**told).select(*ANSWERS)
