"""Which records of an org somebody has changed since we wrote them, also in fields that we know nothing of.

Told by who changed a record last, and when. ``SystemModstamp`` alone would not do: a roll-up of a parent moves it, too.
The users of the platform itself (automation without a person) are nobody's edit.
https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/system_fields.htm
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from connectors.clients import salesforce_lookup as lookup
from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_columns import long_ids
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_session import SalesforceSession
from connectors.pagination import batch_from

SKEW: Final = timedelta(minutes=10)  # clocks of two houses; only a record that brought its last change is affected
_BY, _AT = "LastModifiedById", "LastModifiedDate"
_MACHINES: Final = frozenset({"AutomatedProcess", "CloudIntegrationUser"})


def changed(session: SalesforceSession, sobject: SObject, ids: Sequence[str], *, since: datetime) -> pl.Series:
    """As ``Target.changed_by_others``; nobody's where the object does not say who changed it."""
    nobody = pl.Series("target_id", [], dtype=pl.String)
    if not ids or not {_BY, _AT} <= set(sobject.schema.names):
        return nobody
    asked = pl.DataFrame({"target_id": pl.Series(ids, dtype=pl.String)}).with_columns(key=long_ids(pl.Series(ids)))
    held = lookup.find(session, sobject, key="Id", keys=asked["key"].to_list(), fields=[_BY, _AT])
    _, me = session.connected()
    others = held.filter((pl.col(_BY) != long_ids(pl.Series([me]))[0]) & (pl.col(_AT) > since - SKEW))
    people = _people(session, others[_BY].drop_nulls().unique().to_list())
    found = others.filter(pl.col(_BY).is_in(people))["key"]
    return asked.filter(pl.col("key").is_in(found.implode()))["target_id"]


def _people(session: SalesforceSession, users: Sequence[str]) -> list[str]:
    """Those of the user ids that are not the platform's own."""
    if not users:
        return []
    rows = batch_from(session.query(soql.select(["Id", "UserType"], "User", [soql.among("Id", users)])), ("records",))
    machines = {str(row["Id"]) for row in rows.records if row.get("UserType") in _MACHINES}
    return [user for user in users if user not in machines]
