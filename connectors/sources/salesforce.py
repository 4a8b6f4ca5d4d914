"""Salesforce, read through REST and Bulk API 2.0 (https://developer.salesforce.com/docs/apis).

The one thing to know: sharing rules and field permissions hide records and fields without any error, so
connect as a user with “View All Data” and compare counts.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import BinaryIO, Final

import polars as pl

from connectors.base import Source
from connectors.clients import (
    salesforce_chosen,
    salesforce_file_pages,
    salesforce_inventory,
    salesforce_owners,
    salesforce_pictures,
    salesforce_schema,
    salesforce_selection,
    salesforce_soql,
)
from connectors.clients.salesforce_deletions import deletions
from connectors.clients.salesforce_file_pages import DOCUMENT, LINK, LINKED_TYPE, VERSION
from connectors.clients.salesforce_query import BULK_ABOVE, PAGE_SIZE, SalesforceQuery
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_session import SETTINGS, SalesforceSession
from connectors.clients.salesforce_ways import SalesforceWays
from connectors.context import Context
from connectors.errors import ContractChanged, SettingsInvalid
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

_BLOB: Final = re.compile(r"[A-Za-z0-9_]+/[A-Za-z0-9]{15,18}/[A-Za-z0-9_]+")


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
        contents=True,
        pictures=True,
        page_size=PAGE_SIZE,
        bulk_above=BULK_ABOVE,
        concurrency=5,
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._session = SalesforceSession(context)
        self._described: dict[str, SObject] = {}
        self._narrowed: dict[str, tuple[str, ...]] = {}
        self._files_of: Mapping[str, tuple[str, ...]] | None = None

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
        return (_as_source(described).schema, described.stamp) if described else (None, stamp)

    def owners(self) -> tuple[Owner, ...]:
        return salesforce_owners.owners(self._session)

    def inventory(self, entities: Sequence[str]) -> Inventory:
        return salesforce_inventory.take(self._session, entities)

    def narrow(self, entity: str, conditions: Sequence[Condition]) -> None:
        described = self._sobject(entity)
        self._narrowed[entity] = salesforce_selection.compiled(described, conditions, self._sobject)

    def narrow_files(self, chosen: Mapping[str, Sequence[Condition]]) -> None:
        self._files_of = {
            entity: salesforce_selection.compiled(self._sobject(entity), conditions, self._sobject)
            for entity, conditions in chosen.items()
        }

    def count(self, entity: str, *, since: datetime | None = None) -> int | None:
        if entity == LINK or (self._files_of is not None and entity in salesforce_chosen.KINDS):
            return None  # only the links of documents that are named can be counted
        return self._query(entity, ["Id"], since).count()

    def read(
        self,
        entity: str,
        fields: Sequence[str],
        *,
        since: datetime | None = None,
        cursor: Cursor | None = None,
    ) -> Iterator[Page]:
        described = self._sobject(entity)
        if self._files_of is not None and entity in salesforce_chosen.KINDS:
            yield from self._chosen_files(entity, fields, self._files_of, since, cursor)
        elif entity == VERSION:
            where = self._where(entity, since)
            yield from salesforce_file_pages.version_pages(self._session, described, fields, where, cursor)
        elif entity == LINK:
            both, where = (described, self._sobject(DOCUMENT)), self._where(entity, since)
            yield from salesforce_file_pages.link_pages(self._session, both, fields, where, cursor)
        else:
            pages = self._query(entity, fields, since).pages(cursor)
            yield from salesforce_file_pages.with_checksums(_Contents(self), entity, pages)

    def _chosen_files(
        self, entity: str, fields: Sequence[str], chosen: Mapping[str, tuple[str, ...]], since: datetime | None,
        cursor: Cursor | None,
    ) -> Iterator[Page]:  # fmt: skip
        def changed(described: SObject) -> str:
            return " AND ".join(_changed_since(described.schema.entity, since))

        def read(where: Sequence[str], place: Cursor | None) -> Iterator[Page]:
            pages = SalesforceQuery(self._session, self.describe(entity), fields, where).rest_pages(place)
            return salesforce_file_pages.with_checksums(_Contents(self), entity, pages)

        choice = salesforce_chosen.Choice(self._session, self._sobject, chosen, changed)
        where = self._narrowed.get(entity, ())
        if entity == salesforce_chosen.ATTACHMENT:
            yield from choice.attachments(fields, where, read, cursor)
        else:
            yield from choice.pages(entity, fields, where, cursor)

    def sample(self, entity: str, fields: Sequence[str], *, size: int) -> pl.DataFrame:
        if entity == LINK:
            return super().sample(entity, fields, size=size)
        frame = self._query(entity, fields, None).sample(size)
        return salesforce_file_pages.weighed_bodies(_Contents(self), entity, frame)

    def read_ids(self, entity: str, fields: Sequence[str], ids: Sequence[str]) -> pl.DataFrame:
        if entity == LINK:
            return salesforce_file_pages.links_by_id(self._session, self._sobject(entity), fields, ids)
        query = self._query(entity, fields, None, (salesforce_soql.among("Id", list(ids)),))
        if query.is_long and len(ids) > 1:
            half = len(ids) // 2
            return pl.concat([self.read_ids(entity, fields, ids[:half]), self.read_ids(entity, fields, ids[half:])])
        found = pl.concat([page.frame for page in query.rest_pages(None)])
        return salesforce_file_pages.weighed_bodies(_Contents(self), entity, found)

    def tell_pictures(self) -> None:
        self._session.tells_pictures = True

    def content(self, at: str, into: BinaryIO) -> None:
        if salesforce_pictures.PLACE.fullmatch(at):
            salesforce_pictures.OwnPictures(self._session).read(at, into)
            return
        if not _BLOB.fullmatch(at):
            raise ContractChanged(f"“{at[:60]}” is no place where Salesforce keeps contents of a file.")
        self._session.http.download(self._session.path("sobjects", *at.split("/")), into)

    def deleted(self, entity: str, *, since: datetime) -> Iterator[Deletion]:
        yield from deletions(self._session, self._sobject(entity), since)

    def close(self) -> None:
        self._session.close()

    def _query(
        self, entity: str, fields: Sequence[str], since: datetime | None, chosen: Sequence[str] = ()
    ) -> SalesforceQuery:
        where = [*self._where(entity, since), *chosen]
        bulk_above = self.capabilities.bulk_above
        return SalesforceQuery(self._session, self.describe(entity), fields, where, bulk_above=bulk_above)

    def _where(self, entity: str, since: datetime | None) -> list[str]:
        return [*self._narrowed.get(entity, ()), *_changed_since(self.describe(entity).entity, since)]

    def _sobject(self, entity: str) -> SObject:
        if entity not in self._described:
            self._described[entity] = _as_source(salesforce_schema.describe(self._session, entity))
        return self._described[entity]


@dataclass(frozen=True, slots=True)
class _Contents:
    """The ``connectors.context.Contents`` that this source itself gives."""

    source: SalesforceSource

    def read(self, at: str, into: BinaryIO) -> None:
        self.source.content(at, into)


def _as_source(described: SObject) -> SObject:
    """Links tell what they lead to."""
    if described.schema.entity.name != LINK:
        return described
    schema = described.schema
    return replace(described, schema=replace(schema, fields=(*schema.fields, LINKED_TYPE)))


def _changed_since(info: EntityInfo, since: datetime | None) -> list[str]:
    if since is None:
        return []
    if info.updated_field is None:
        raise SettingsInvalid(f"The object {info.name} does not say when a record changed; read it whole instead.")
    return [salesforce_soql.condition(info.updated_field, ">=", since)]
