"""Which records are gone: the deletion feed where it reaches back far enough, the recycle bin elsewhere.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_getdeleted.htm
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_errors import TooManyIds
from connectors.clients.salesforce_query import SalesforceQuery
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_session import SalesforceSession
from connectors.pagination import batch_from, value_at
from connectors.types import Deletion

FEED_REACH: Final = timedelta(days=15) - timedelta(hours=1)  # the vendor keeps 15 days
_SHORTEST_SPAN: Final = timedelta(minutes=1)  # the feed cuts seconds off and refuses an empty span


def deletions(session: SalesforceSession, sobject: SObject, since: datetime) -> Iterator[Deletion]:
    """Records deleted at or after ``since``; nothing for objects that know neither feed nor recycle bin."""
    found = _from_feed(session, sobject, since) if sobject.replicateable else None
    if found is not None:
        yield from found
    elif sobject.has_recycle_bin:
        yield from _from_bin(session, sobject, since)


def _from_feed(session: SalesforceSession, sobject: SObject, since: datetime) -> list[Deletion] | None:
    """None where the feed does not hold everything since then: too old, purged early, or too much."""
    now = session.clock.now()
    if now - since > FEED_REACH:
        return None
    span = {"start": _whole_minute(min(since, now - _SHORTEST_SPAN)), "end": _whole_minute(now + _SHORTEST_SPAN)}
    path = session.path("sobjects", sobject.schema.entity.name, "deleted") + "/"
    try:
        answer = session.http.get(path, params=span)
    except TooManyIds:
        return None
    if _moment(str(answer.value("earliestDateAvailable"))) > since:
        return None
    found = [_deletion(entry) for entry in batch_from(answer, ("deletedRecords",)).records]
    return [deletion for deletion in found if deletion.at is None or deletion.at >= since.replace(microsecond=0)]


def _from_bin(session: SalesforceSession, sobject: SObject, since: datetime) -> Iterator[Deletion]:
    updated = sobject.schema.entity.updated_field
    fields = ["Id", updated] if updated else ["Id"]
    where = [soql.condition(field="IsDeleted", operator="=", value=True)]
    if updated:
        where.append(soql.condition(updated, ">=", since))
    query = SalesforceQuery(session, sobject.schema, fields, where, resource="queryAll")
    for page in query.rest_pages(None):
        for row in page.frame.iter_rows():
            yield Deletion(row[0], _moment(row[1]) if updated and row[1] else None)


def _deletion(entry: Mapping[str, Any]) -> Deletion:
    return Deletion(str(value_at(entry, ("id",))), _moment(str(value_at(entry, ("deletedDate",)))))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _whole_minute(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:00+00:00")
