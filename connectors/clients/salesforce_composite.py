"""Several queries in one request: what is too long for an address, and many look-ups for the price of one call.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_composite.htm

A composite request counts as one API call and may hold five queries. Their statements stand in the body, where they may
be as long as SOQL itself.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import polars as pl

from connectors.answers import Answer
from connectors.clients.salesforce_errors import DIALECT, PlaceDropped
from connectors.clients.salesforce_query import SalesforceQuery
from connectors.clients.salesforce_session import SalesforceSession
from connectors.errors import ContractChanged
from connectors.pagination import Batch, NextLink, batch_from, follow
from connectors.types import Cursor

QUERIES_AT_ONCE: Final = 5
_TRIES: Final = 3


def frames(session: SalesforceSession, queries: Sequence[SalesforceQuery]) -> Iterator[pl.DataFrame]:
    """What each of the queries finds. Raises what any of them alone would raise."""
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        for query, first in _asked(session, queries[start : start + QUERIES_AT_ONCE]):
            yield _whole(session, query, first)


def _asked(session: SalesforceSession, queries: Sequence[SalesforceQuery]) -> Iterator[tuple[SalesforceQuery, Batch]]:
    """Each query with its first page, taken one after the other out of the answer that holds them all."""
    open_ones = {f"query{place}": query for place, query in enumerate(queries)}
    requests = [{"method": "GET", "url": query.address, "referenceId": name} for name, query in open_ones.items()]
    body = {"allOrNone": False, "compositeRequest": requests}
    answer = session.http.send("POST", session.path("composite"), json=body, repeatable=True)
    unclear = "Salesforce did not answer every query of a composite request."
    for entry in answer.each("compositeResponse"):
        query = open_ones.pop(str(entry.get("referenceId")), None) if isinstance(entry, dict) else None
        if query is None:
            raise ContractChanged(unclear, detail=answer.detail)
        yield query, _page(session, answer, entry)
    if open_ones:
        raise ContractChanged(unclear, detail=answer.detail)


def _page(session: SalesforceSession, answer: Answer, entry: Mapping[str, Any]) -> Batch:
    """One query's page; raises the error that its part of the answer means."""
    body, status = entry.get("body"), int(entry.get("httpStatusCode") or 0)
    records = body.get("records") if isinstance(body, dict) else None
    if status == HTTPStatus.OK and isinstance(records, list):
        return Batch(records, body)
    part = Answer(answer.system, answer.request, status, answer.headers, json.dumps(body).encode(), answer.redact)
    raise DIALECT.error(part, session.clock.now()) or ContractChanged(
        "Salesforce answered a query of a composite request without records.", detail=part.detail
    )


def _whole(session: SalesforceSession, query: SalesforceQuery, first: Batch, tries: int = _TRIES) -> pl.DataFrame:
    """All pages of a query whose first one is there; asked anew where Salesforce drops its place meanwhile."""

    def fetch(link: Cursor | None) -> Batch:
        return first if link is None else batch_from(session.http.get(str(link["link"])), ("records",))

    try:
        return pl.concat([query.frame(batch) for batch, _ in follow(NextLink(("nextRecordsUrl",)), fetch)])
    except PlaceDropped:
        if tries == 1:
            raise
    ((_, again),) = _asked(session, [query])
    return _whole(session, query, again, tries - 1)
