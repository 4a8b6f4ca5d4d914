"""Who may own records of an org: its users and its queues, and as whom we are connected.

https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_user.htm
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from connectors.clients import salesforce_schema
from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_session import SalesforceSession
from connectors.pagination import Batch, NextLink, batch_from, follow
from connectors.types import Cursor, Owner, OwnerKind

_PAGES: Final = NextLink(("nextRecordsUrl",))
_SHORT: Final = 15  # characters of an id, without the three that only repeat its capitals
_SERVES: Final = ("Id", "QueueId", "SobjectType")
_USER_FIELDS: Final = ("Id", "Name", "Username", "Email", "FederationIdentifier", "IsActive")


def owners(session: SalesforceSession) -> tuple[Owner, ...]:
    """All users, also those no longer active, and all queues with the objects they serve."""
    _, me = session.connected()
    users = [_user(row, me) for row in _seen(session, "User", _USER_FIELDS)]
    queues = list(_seen(session, "Group", ("Id", "Name", "DeveloperName"), ("Type", "Queue")))
    serves: defaultdict[str, set[str]] = defaultdict(set)
    for row in _seen(session, "QueueSobject", _SERVES) if queues else ():
        serves[str(row.get("QueueId"))].add(str(row.get("SobjectType")))
    # Where no queue serves anything the connecting user does not see what they serve.
    told = bool(serves.keys() - {"None"})
    return (*users, *(_queue(row, serves[str(row["Id"])] if told else None) for row in queues))


def _seen(
    session: SalesforceSession, entity: str, wanted: Sequence[str], where: tuple[str, str] | None = None
) -> Iterator[Mapping[str, Any]]:
    """The rows ``where`` a field has that value, with those of the fields that the connecting user sees; none where
    that field is not seen."""
    names = salesforce_schema.describe(session, entity).schema.names
    if where is not None and where[0] not in names:
        return iter(())
    conditions = [soql.condition(where[0], "=", where[1])] if where is not None else []
    return _rows(session, soql.select([name for name in wanted if name in names], entity, conditions))


def _user(row: Mapping[str, Any], me: str) -> Owner:
    handles = (row.get("Username"), row.get("FederationIdentifier"), row.get("Email"))
    return Owner(
        str(row["Id"]),
        OwnerKind.USER,
        str(row.get("Name") or ""),
        handles=tuple(str(handle or "") for handle in handles),
        active=bool(row.get("IsActive", True)),
        connected=str(row["Id"])[:_SHORT] == me[:_SHORT],
    )


def _queue(row: Mapping[str, Any], serves: Collection[str] | None) -> Owner:
    handles = (str(row.get("DeveloperName") or ""),)
    owns = None if serves is None else frozenset(serves)
    return Owner(str(row["Id"]), OwnerKind.QUEUE, str(row.get("Name") or ""), handles, owns=owns)


def _rows(session: SalesforceSession, query: str) -> Iterator[Mapping[str, Any]]:
    def fetch(link: Cursor | None) -> Batch:
        if link is not None:
            return batch_from(session.http.get(str(link["link"])), ("records",))
        return batch_from(session.query(query), ("records",))

    for batch, _ in follow(_PAGES, fetch):
        yield from batch.records
