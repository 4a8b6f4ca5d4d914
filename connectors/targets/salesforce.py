"""The target **salesforce**: an org, written through sObject Collections and Bulk API 2.0 ingest.

Records are matched by an external id field of the object; what the org holds already is not sent. The one thing
to know: automation of the org (flows, triggers, validation and duplicate rules) runs on every record written.
Docs: https://developer.salesforce.com/docs/apis
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

import polars as pl

from connectors.base import Target
from connectors.clients import (
    salesforce_bypass,
    salesforce_editors,
    salesforce_inventory,
    salesforce_keyless,
    salesforce_keys,
    salesforce_owners,
    salesforce_schema,
)
from connectors.clients.salesforce_objects import Records, keyless, way_of, with_own_fields
from connectors.clients.salesforce_options import AUDIT_FIELDS, BYPASS, MODIFICATION_FIELDS, WRITING_SETTINGS
from connectors.clients.salesforce_query import PAGE_SIZE
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_session import SETTINGS, SalesforceSession
from connectors.clients.salesforce_ways import SalesforceWays
from connectors.context import Context
from connectors.types import (
    ID_MAP,
    Alteration,
    Asking,
    Bypass,
    Capabilities,
    EntityInfo,
    EntitySchema,
    Identity,
    Inventory,
    Owner,
    WriteResult,
)


class SalesforceTarget(SalesforceWays, Target):
    """Every object in which the connecting user may create records."""

    slug = "salesforce"
    label = "Salesforce"
    settings = (*SETTINGS, *WRITING_SETTINGS)
    # 25 requests of 20 s and more may run at once in production, 5 in a developer org.
    capabilities = Capabilities(
        writes=True,
        counts=True,
        makes_keys=True,
        tells_editors=True,
        bypassed_by=BYPASS,
        rehearses=True,
        asked_by=Asking.BOTH,
        finds=True,
        locks_parents=True,
        lists_owners=True,
        id_map=True,
        pictures=True,
        page_size=PAGE_SIZE,
        concurrency=5,
        # Saves lock the parents of what they write; and two of a developer org's five stay free for its people.
        writers=3,
        # Moments lose their fraction, blank text is null, and blanks at the end of a text are taken off.
        alters=frozenset({Alteration.CUTS_TO_SECONDS, Alteration.BLANKS_TO_NULL, Alteration.TRIMS_TEXT}),
        keeps_references=True,
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._session = SalesforceSession(context)
        self._session.tells_pictures = True
        self._described: dict[str, SObject] = {}

    @property
    def calls(self) -> int:
        return self._session.http.calls

    def check(self) -> Identity:
        return self._session.identity()

    def entities(self) -> tuple[EntityInfo, ...]:
        return salesforce_schema.list_entities(self._session, writable=True)

    def describe(self, entity: str) -> EntitySchema:
        """As the org is now. Writable is what a new record may carry: fields that can be filled by an update only
        are not, because a record is brought in one piece."""
        self._described.pop(entity, None)
        return self._as_target(self._sobject(entity))

    def describe_if_changed(self, entity: str, stamp: str) -> tuple[EntitySchema | None, str]:
        described = salesforce_schema.describe_if_changed(self._session, entity, stamp)
        if described is None:
            return None, stamp
        return self._as_target(with_own_fields(described)), described.stamp

    def owners(self) -> tuple[Owner, ...]:
        return salesforce_owners.owners(self._session)

    def inventory(self, entities: Sequence[str]) -> Inventory:
        return salesforce_inventory.take(self._session, entities)

    def write(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        """New records are upserted by ``key``, an external id field; known ones are updated where they differ. New ones
        that bring audit fields are inserted, and known ones keep theirs. Where ``key`` is ``ID_MAP``, new ones are
        inserted by bulk jobs that can be asked.

        A blank sets the field blank; where the object knows no blank (a checkbox, an owner) the field is left
        as it is. After any error raised, some records may be written: writing the frame again goes on."""
        return WriteResult.checked(self._way(entity, key).write(frame, key=key), frame[key])

    def rehearse(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        """Writes for real, with all automation of the org, in transactions that are bound to fail. A request per
        24 records and one more per refused record: rehearse a sample."""
        return WriteResult.checked(self._way(entity, key).rehearse(frame, key=key), frame[key])

    def fetch(self, entity: str, *, key: str, keys: Sequence[str], fields: Sequence[str]) -> pl.DataFrame:
        """References come as ids of 18 characters, moments in UTC, numbers as Decimal with all digits stored."""
        return self._way(entity, key).fetch(key=key, keys=keys, fields=fields)

    def settle(self, entity: str, keys: Sequence[str], *, key: str) -> None:
        """By the results of the bulk jobs that were begun for them."""
        if key == ID_MAP:
            salesforce_keyless.settle(self._session, entity, keys)

    def came_along(self, entity: str, target_ids: Sequence[str]) -> frozenset[str]:
        """Documents of files come and go with their versions."""
        return self._way(entity).came_along(target_ids)

    def find(self, entity: str, match: pl.DataFrame, *, key: str) -> pl.DataFrame:
        """Among the records the connecting user sees; capitals count as small letters where the field says so."""
        return self._way(entity, key).find(match, key=key)

    def adopt(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        """An update of that one field; automation of the org runs on it."""
        return WriteResult.checked(self._way(entity, key).adopt(frame, key=key), frame["target_id"])

    def count(self, entity: str, *, key: str, prefix: str) -> int | None:
        """Exact among the records the connecting user sees; capitals count as small letters."""
        return self._way(entity, key).count(key=key, prefix=prefix)

    def keys(self, entity: str, *, key: str, prefix: str) -> Iterator[pl.Series] | None:
        """Those of the records the connecting user sees."""
        return self._way(entity, key).keys(key=key, prefix=prefix)

    def delete(self, entity: str, target_ids: Sequence[str]) -> WriteResult:
        """Into the org's bin, from where they can be restored for about 15 days."""
        asked = pl.Series(list(target_ids), dtype=pl.String)
        return WriteResult.checked(self._way(entity).delete(target_ids), asked)

    def make_key(self, entity: str) -> tuple[str, ...]:
        """A text field ``Migration_Factory_Id__c``, unique and case sensitive, in one deployment with a permission
        set that is then assigned to us."""
        self._described.pop(entity, None)
        return salesforce_keys.make(self._session, entity)

    def bypass(self, name: str) -> Bypass | None:
        """A permission set that grants the custom permission of the settings."""
        return salesforce_bypass.bypass(self._session, name)

    def switch_bypass(self, found: Bypass, *, on: bool) -> None:
        salesforce_bypass.switch(self._session, found, on=on)

    def prepare_bypass(self, name: str) -> tuple[str, ...]:
        """One deployment, of the custom permission where the org has none of that name and of the permission set."""
        return salesforce_bypass.prepare(self._session, name)

    def changed_by_others(self, entity: str, target_ids: Sequence[str], *, since: datetime) -> pl.Series:
        """By who changed a record last; automation that runs without a person is nobody."""
        return salesforce_editors.changed(self._session, self._sobject(entity), target_ids, since=since)

    def close(self) -> None:
        self._session.close()

    def _sobject(self, entity: str) -> SObject:
        if entity not in self._described:
            self._described[entity] = with_own_fields(salesforce_schema.describe(self._session, entity))
        return self._described[entity]

    def _way(self, entity: str, key: str = "") -> Records:
        if key == ID_MAP:
            return keyless(self._session, self._sobject(entity))
        contents = self.context.contents
        return way_of(self._session, self._sobject(entity), contents=contents, describe=self._sobject)

    def _as_target(self, described: SObject) -> EntitySchema:
        writable = described.createable - (AUDIT_FIELDS - self._session.options.audit_fields)
        fields = (
            replace(field, writable=field.name in writable, overwritten=field.name in MODIFICATION_FIELDS)
            for field in described.schema.fields
        )
        return replace(described.schema, fields=tuple(fields))
