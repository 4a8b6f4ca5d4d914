"""Salesforce, read through REST and Bulk API 2.0 (https://developer.salesforce.com/docs/apis).

The one thing to know: sharing rules and field permissions hide records and fields without any error, so
connect as a user with “View All Data” and compare counts.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

import polars as pl

from connectors.base import Source
from connectors.clients import (
    salesforce_inventory,
    salesforce_owners,
    salesforce_schema,
    salesforce_selection,
    salesforce_soql,
)
from connectors.clients.salesforce_deletions import deletions
from connectors.clients.salesforce_query import PAGE_SIZE, SalesforceQuery
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_session import SETTINGS, SalesforceSession
from connectors.clients.salesforce_ways import SalesforceWays
from connectors.context import Context
from connectors.errors import SettingsInvalid
from connectors.types import (
    Capabilities,
    Condition,
    Cursor,
    Deletion,
    EntityInfo,
    EntitySchema,
    Identity,
    Inventory,
    Owner,
    Page,
)


class SalesforceSource(SalesforceWays, Source):
    """Every object the connecting user may query. Deltas go by SystemModstamp, deletions by the feed."""

    slug = "salesforce"
    label = "Salesforce"
    settings = SETTINGS
    # 25 requests of 20 s and more may run at once in production, 5 in a developer org.
    capabilities = Capabilities(
        reads=True,
        counts=True,
        delta=True,
        deletes=True,
        filters=True,
        reads_ids=True,
        lists_owners=True,
        page_size=PAGE_SIZE,
        concurrency=5,
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._session = SalesforceSession(context)
        self._described: dict[str, SObject] = {}
        self._narrowed: dict[str, tuple[str, ...]] = {}

    @property
    def calls(self) -> int:
        return self._session.http.calls

    def check(self) -> Identity:
        return self._session.identity()

    def entities(self) -> tuple[EntityInfo, ...]:
        return salesforce_schema.list_entities(self._session)

    def describe(self, entity: str) -> EntitySchema:
        return self._sobject(entity).schema

    def describe_if_changed(self, entity: str, stamp: str) -> tuple[EntitySchema | None, str]:
        described = salesforce_schema.describe_if_changed(self._session, entity, stamp)
        return (described.schema, described.stamp) if described else (None, stamp)

    def owners(self) -> tuple[Owner, ...]:
        return salesforce_owners.owners(self._session)

    def inventory(self, entities: Sequence[str]) -> Inventory:
        return salesforce_inventory.take(self._session, entities)

    def narrow(self, entity: str, conditions: Sequence[Condition]) -> None:
        described = self._sobject(entity)
        self._narrowed[entity] = salesforce_selection.compiled(described, conditions, self._sobject)

    def count(self, entity: str, *, since: datetime | None = None) -> int:
        return self._query(entity, ["Id"], since).count()

    def read(
        self,
        entity: str,
        fields: Sequence[str],
        *,
        since: datetime | None = None,
        cursor: Cursor | None = None,
    ) -> Iterator[Page]:
        yield from self._query(entity, fields, since).pages(cursor)

    def sample(self, entity: str, fields: Sequence[str], *, size: int) -> pl.DataFrame:
        return self._query(entity, fields, None).sample(size)

    def read_ids(self, entity: str, fields: Sequence[str], ids: Sequence[str]) -> pl.DataFrame:
        query = self._query(entity, fields, None, (salesforce_soql.among("Id", list(ids)),))
        if query.is_long and len(ids) > 1:
            half = len(ids) // 2
            return pl.concat([self.read_ids(entity, fields, ids[:half]), self.read_ids(entity, fields, ids[half:])])
        return pl.concat([page.frame for page in query.rest_pages(None)])

    def deleted(self, entity: str, *, since: datetime) -> Iterator[Deletion]:
        yield from deletions(self._session, self._sobject(entity), since)

    def close(self) -> None:
        self._session.close()

    def _query(
        self, entity: str, fields: Sequence[str], since: datetime | None, chosen: Sequence[str] = ()
    ) -> SalesforceQuery:
        schema = self.describe(entity)
        where = [*self._narrowed.get(entity, ()), *_changed_since(schema.entity, since), *chosen]
        return SalesforceQuery(self._session, schema, fields, where)

    def _sobject(self, entity: str) -> SObject:
        if entity not in self._described:
            self._described[entity] = salesforce_schema.describe(self._session, entity)
        return self._described[entity]


def _changed_since(info: EntityInfo, since: datetime | None) -> list[str]:
    if since is None:
        return []
    if info.updated_field is None:
        raise SettingsInvalid(f"The object {info.name} does not say when a record changed; read it whole instead.")
    return [salesforce_soql.condition(info.updated_field, ">=", since)]
