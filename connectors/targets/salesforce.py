"""The target **salesforce**: an org, written through sObject Collections and Bulk API 2.0 ingest.

Records are matched by an external id field of the object; what the org holds already is not sent. The one thing
to know: automation of the org (flows, triggers, validation and duplicate rules) runs on every record written.
Docs: https://developer.salesforce.com/docs/apis
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import polars as pl

from connectors.base import Target
from connectors.clients import (
    salesforce_bypass,
    salesforce_delete,
    salesforce_inventory,
    salesforce_keys,
    salesforce_lookup,
    salesforce_match,
    salesforce_owners,
    salesforce_rehearsal,
    salesforce_schema,
    salesforce_write,
)
from connectors.clients.salesforce_options import AUDIT_FIELDS, BYPASS, MODIFICATION_FIELDS, WRITING_SETTINGS
from connectors.clients.salesforce_query import PAGE_SIZE
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_session import SETTINGS, SalesforceSession
from connectors.clients.salesforce_ways import SalesforceWays
from connectors.context import Context
from connectors.types import (
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
        bypassed_by=BYPASS,
        rehearses=True,
        asked_by=Asking.BOTH,
        finds=True,
        locks_parents=True,
        lists_owners=True,
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
        return (self._as_target(described), described.stamp) if described else (None, stamp)

    def owners(self) -> tuple[Owner, ...]:
        return salesforce_owners.owners(self._session)

    def inventory(self, entities: Sequence[str]) -> Inventory:
        return salesforce_inventory.take(self._session, entities)

    def write(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        """New records are upserted by ``key``, an external id field; known ones are updated where they differ. New ones
        that bring audit fields are inserted, and known ones keep theirs.

        A blank sets the field blank; where the object knows no blank (a checkbox, an owner) the field is left
        as it is. After any error raised, some records may be written: writing the frame again goes on."""
        frame_of_results = salesforce_write.write(self._session, self._sobject(entity), frame, key=key)
        return WriteResult.checked(frame_of_results, frame[key])

    def rehearse(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        """Writes for real, with all automation of the org, in transactions that are bound to fail. A request per
        24 records and one more per refused record: rehearse a sample."""
        results = salesforce_rehearsal.rehearse(self._session, self._sobject(entity), frame, key=key)
        return WriteResult.checked(results, frame[key])

    def fetch(self, entity: str, *, key: str, keys: Sequence[str], fields: Sequence[str]) -> pl.DataFrame:
        """References come as ids of 18 characters, moments in UTC, numbers as Decimal with all digits stored."""
        return salesforce_lookup.find(self._session, self._sobject(entity), key=key, keys=keys, fields=fields)

    def find(self, entity: str, match: pl.DataFrame, *, key: str) -> pl.DataFrame:
        """Among the records the connecting user sees; capitals count as small letters where the field says so."""
        return salesforce_match.find(self._session, self._sobject(entity), match, key=key)

    def adopt(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        """An update of that one field; automation of the org runs on it."""
        results = salesforce_match.adopt(self._session, self._sobject(entity), frame, key=key)
        return WriteResult.checked(results, frame["target_id"])

    def count(self, entity: str, *, key: str, prefix: str) -> int | None:
        """Exact among the records the connecting user sees; capitals count as small letters."""
        return salesforce_lookup.count(self._session, self._sobject(entity), key=key, prefix=prefix)

    def keys(self, entity: str, *, key: str, prefix: str) -> Iterator[pl.Series] | None:
        """Those of the records the connecting user sees."""
        return salesforce_lookup.keys(self._session, self._sobject(entity), key=key, prefix=prefix)

    def delete(self, entity: str, target_ids: Sequence[str]) -> WriteResult:
        """Into the org's bin, from where they can be restored for about 15 days."""
        results = salesforce_delete.delete(self._session, self._sobject(entity), target_ids)
        return WriteResult.checked(results, pl.Series(list(target_ids), dtype=pl.String))

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

    def close(self) -> None:
        self._session.close()

    def _sobject(self, entity: str) -> SObject:
        if entity not in self._described:
            self._described[entity] = salesforce_schema.describe(self._session, entity)
        return self._described[entity]

    def _as_target(self, described: SObject) -> EntitySchema:
        writable = described.createable - (AUDIT_FIELDS - self._session.options.audit_fields)
        fields = (
            replace(field, writable=field.name in writable, overwritten=field.name in MODIFICATION_FIELDS)
            for field in described.schema.fields
        )
        return replace(described.schema, fields=tuple(fields))
