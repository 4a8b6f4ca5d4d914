"""Who may own records of an org: its users and its queues, and as whom we are connected.

https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_user.htm
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_session import SalesforceSession
from connectors.pagination import Batch, NextLink, batch_from, follow
from connectors.types import Cursor, Owner, OwnerKind

_PAGES: Final = NextLink(("nextRecordsUrl",))
_SHORT: Final = 15  # characters of an id, without the three that only repeat its capitals
_USER_FIELDS: Final = ("Id", "Name", "Username", "Email", "FederationIdentifier", "IsActive")


def owners(session: SalesforceSession) -> tuple[Owner, ...]:
    """All users, also those no longer active, and all queues."""
    _, me = session.connected()
    users = [_user(row, me) for row in _rows(session, soql.select(_USER_FIELDS, "User"))]
    queued = soql.select(("Id", "Name", "DeveloperName"), "Group", [soql.condition("Type", "=", "Queue")])
    return (*users, *(_queue(row) for row in _rows(session, queued)))


def _user(row: Mapping[str, Any], me: str) -> Owner:
    handles = (row.get("Username"), row.get("FederationIdentifier"), row.get("Email"))
    return Owner(
        str(row["Id"]),
        OwnerKind.USER,
        str(row.get("Name") or ""),
        handles=tuple(str(handle or "") for handle in handles),
        active=bool(row.get("IsActive")),
        connected=str(row["Id"])[:_SHORT] == me[:_SHORT],
    )


def _queue(row: Mapping[str, Any]) -> Owner:
    return Owner(str(row["Id"]), OwnerKind.QUEUE, str(row.get("Name") or ""), (str(row.get("DeveloperName") or ""),))


def _rows(session: SalesforceSession, query: str) -> Iterator[Mapping[str, Any]]:
    def fetch(link: Cursor | None) -> Batch:
        if link is not None:
            return batch_from(session.http.get(str(link["link"])), ("records",))
        return batch_from(session.query(query), ("records",))

    for batch, _ in follow(_PAGES, fetch):
        yield from batch.records
