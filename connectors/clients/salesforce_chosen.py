"""Files of chosen records: the versions, documents, links and attachments that lie at records which were chosen.

A link answers only to a filter by document or by what it leads to, so that the documents at chosen records are asked
for first, object by object, and kept (two ids a link). A file comes once, however many chosen records it lies at.

What was linked, or whose record was changed, since a delta's mark is read whatever its own age: it may be chosen newly.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import polars as pl

from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_file_pages import DOCUMENT, LINK, VERSION, links_of
from connectors.clients.salesforce_query import SalesforceQuery
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_selection import can_be_asked_within
from connectors.clients.salesforce_session import SalesforceSession
from connectors.types import Cursor, Page
from connectors.values import empty_frame, records_to_frame

ATTACHMENT: Final = "Attachment"
KINDS: Final = frozenset((VERSION, DOCUMENT, LINK, ATTACHMENT))
DOCUMENTS_OF_A_PAGE: Final = 50  # each of its versions may be sent by itself later
IDS_OF_A_QUERY: Final = 200
_DOCUMENT: Final = "ContentDocumentId"
_LINKED: Final = "LinkedEntityId"
Changed = Callable[[SObject], str]
"""The condition that a record of the object changed since a delta's mark; blank where everything is read."""
Read = Callable[[Sequence[str], Cursor | None], Iterator[Page]]


@dataclass(frozen=True)
class Choice:
    """``chosen`` are the conditions on records whose files move, by object; ``describe`` describes an object."""

    session: SalesforceSession
    describe: Callable[[str], SObject]
    chosen: Mapping[str, tuple[str, ...]]
    changed: Changed

    def pages(self, entity: str, fields: Sequence[str], where: Sequence[str], cursor: Cursor | None) -> Iterator[Page]:
        """Versions, documents or links of the files at chosen records, some documents a page. ``where`` holds of them
        besides."""
        after = str(cursor["after"]) if cursor else ""
        documents = self._links[_DOCUMENT].unique().sort()
        ahead = documents.filter(documents > after)
        for start in range(0, len(ahead), DOCUMENTS_OF_A_PAGE):
            part = ahead.slice(start, DOCUMENTS_OF_A_PAGE)
            yield Page(self._of(entity, fields, where, part), {"after": part[-1]})
        yield Page(empty_frame(fields), None)

    def attachments(
        self, fields: Sequence[str], where: Sequence[str], read: Read, cursor: Cursor | None
    ) -> Iterator[Page]:
        """Attachments at chosen records, as ``read`` reads those of which more conditions hold: part by part, and the
        cursor names the part beside the place in it."""
        begun = dict(cursor or {})
        since, done = str(begun.pop("part", "")), bool(begun.pop("done", False))
        for name, condition in self._parts_of_attachments():
            if name < since or (name == since and done):
                continue
            for page in read([*where, *condition], begun if name == since else None):
                yield Page(page.frame, {**(page.cursor or {}), "part": name, "done": page.cursor is None})
        yield Page(empty_frame(fields), None)

    def _parts_of_attachments(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Those that changed, and in a delta the others of records that changed; by object."""
        changed = self.changed(self.describe(ATTACHMENT))
        for name, condition in self._at_records(ATTACHMENT, "ParentId"):
            yield f"0 {name}", (condition, changed) if changed else (condition,)
        if changed:
            for name, condition in self._at_records(ATTACHMENT, "ParentId", only_changed=True):
                yield f"1 {name}", (condition, soql.negated(changed))

    def _of(self, entity: str, fields: Sequence[str], where: Sequence[str], documents: pl.Series) -> pl.DataFrame:
        """What belongs to these documents, versions of one document in their order."""
        described = self.describe(entity)
        by = "Id" if entity == DOCUMENT else _DOCUMENT
        changed = self.changed(described)
        if changed:
            fresh = documents.filter(documents.is_in(self._fresh.implode())).to_list()
            where = [*where, soql.either(changed, soql.among(by, fresh)) if fresh else changed]
        if entity == LINK:
            columns = list(dict.fromkeys([*fields, _DOCUMENT, _LINKED]))
            links = links_of(self.session, described, columns, documents.to_list(), where)
            return links.join(self._links, on=[_DOCUMENT, _LINKED], how="semi", maintain_order="left").select(fields)
        columns = list(dict.fromkeys([*fields, by, *(["VersionNumber"] if entity == VERSION else [])]))
        among = soql.among(by, documents.to_list())
        query = SalesforceQuery(self.session, described.schema, columns, [*where, among])
        found = pl.concat([page.frame for page in query.rest_pages(None)])
        if entity == VERSION:
            number = pl.col("VersionNumber").cast(pl.Int64, strict=False)
            found = found.sort(by, number, maintain_order=True)
        return found.select(fields)

    @cached_property
    def _links(self) -> pl.DataFrame:
        """Document and record of each link to a chosen record."""
        return self._links_with(self._at_records(LINK, _LINKED))

    @cached_property
    def _fresh(self) -> pl.Series:
        """Documents with a link that changed, or at a record that changed, since the mark."""
        changed = self.changed(self.describe(LINK))
        linked = self._links_with(self._at_records(LINK, _LINKED), *([changed] if changed else []))
        at_changed = self._links_with(self._at_records(LINK, _LINKED, only_changed=True))
        return pl.concat([linked, at_changed])[_DOCUMENT].unique()

    def _links_with(self, parts: Iterator[tuple[str, str]], *more: str) -> pl.DataFrame:
        rows = [
            row
            for _, condition in parts
            for row in self.session.records(soql.select([_DOCUMENT, _LINKED], LINK, [condition, *more]))
        ]
        return records_to_frame(rows, [_DOCUMENT, _LINKED]).unique()

    def _at_records(self, kind: str, reference: str, *, only_changed: bool = False) -> Iterator[tuple[str, str]]:
        """Conditions that the reference leads to a chosen record, which together hold of all that do, each with a name
        by which they are in order. Objects that no query inside another may ask are asked first."""
        references = self.describe(kind).schema.field(reference).references
        for entity in sorted(self.chosen.keys() & set(references)):
            described, where = self.describe(entity), self.chosen[entity]
            if only_changed:
                changed = self.changed(described)
                where = (*where, changed) if changed else where
            if can_be_asked_within(entity, where):
                yield f"{entity} ", soql.within(reference, entity, where)
                continue
            for page in SalesforceQuery(self.session, described.schema, ["Id"], where).rest_pages(None):
                for ids in page.frame["Id"].to_frame().iter_slices(IDS_OF_A_QUERY):
                    yield f"{entity} {ids['Id'][-1]}", soql.among(reference, ids["Id"].to_list())
