"""Reading files: the versions of a document stay together and in order, its links are asked for document by document.

https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_contentdocumentlink.htm

A version is written behind the one before it, so that no two workers may hold versions of one document: a page ends
where a document ends. Links answer only to a filter by document or by what they are linked to. Both ways go on behind
the last document, whoever reads on.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl

from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_query import SalesforceQuery
from connectors.clients.salesforce_schema import BLOBS, SObject
from connectors.clients.salesforce_session import SalesforceSession
from connectors.contents import read_reference, weighed
from connectors.context import Contents
from connectors.errors import NotFound
from connectors.types import Cursor, FieldInfo, FieldType, Page
from connectors.values import empty_frame, records_to_frame

VERSION: Final = "ContentVersion"
DOCUMENT: Final = "ContentDocument"
LINK: Final = "ContentDocumentLink"
VERSIONS_OF_A_PAGE: Final = 200  # each may be sent by itself later: a chunk is not to last for hours
BODIES_OF_A_PAGE: Final = 200
DOCUMENTS_OF_A_PAGE: Final = 200  # with their ids a query still fits into one address
LINKED_TYPE: Final = FieldInfo("LinkedEntityType", FieldType.TEXT, "Linked Entity Type", writable=False)
"""A field of links that is none of the platform's describe: the object that ``LinkedEntityId`` points at."""
_TYPE_PATH: Final = "LinkedEntity.Type"
_DOCUMENT: Final = "ContentDocumentId"


def version_pages(
    session: SalesforceSession, sobject: SObject, fields: Sequence[str], where: Sequence[str], cursor: Cursor | None
) -> Iterator[Page]:
    """Versions by document and, within one, by number; ends at the first question that finds none."""
    columns = list(dict.fromkeys([*fields, _DOCUMENT, "VersionNumber"]))
    after = str(cursor["after"]) if cursor else ""
    while True:
        found = _next_versions(session, sobject, columns, where, after)
        if not found.height:
            yield Page(empty_frame(fields), None)
            return
        number = pl.col("VersionNumber").cast(pl.Int64, strict=False)
        found = found.sort(_DOCUMENT, number, maintain_order=True)
        after = str(found[_DOCUMENT][-1])
        yield Page(found.select(fields), {"after": after})


def _next_versions(
    session: SalesforceSession, sobject: SObject, columns: Sequence[str], where: Sequence[str], after: str
) -> pl.DataFrame:
    """All versions of the next documents; the last one of a full page is left for the next page, unless it is alone."""
    beyond = [soql.condition(_DOCUMENT, ">", after)] if after else []
    query = SalesforceQuery(session, sobject.schema, columns, [*where, *beyond])
    found = query.first(VERSIONS_OF_A_PAGE, order_by=_DOCUMENT)
    if found.height < VERSIONS_OF_A_PAGE:
        return found
    last = str(found[_DOCUMENT][-1])
    whole = found.filter(pl.col(_DOCUMENT) != last)
    if whole.height:
        return whole
    one = SalesforceQuery(session, sobject.schema, columns, [*where, soql.condition(_DOCUMENT, "=", last)])
    return pl.concat([page.frame for page in one.rest_pages(None)])


def with_checksums(contents: Contents, entity: str, pages: Iterator[Page]) -> Iterator[Page]:
    """The pages, those of bodies without a checksum in parts: each body is read for its own, and a page is not to last
    for hours."""
    blob = BLOBS.get(entity)
    for page in pages:
        if blob is None or blob.md5 or blob.field not in page.frame.columns:
            yield page
            continue
        for start in range(0, max(1, page.frame.height), BODIES_OF_A_PAGE):
            part = page.frame.slice(start, BODIES_OF_A_PAGE)
            is_last = start + BODIES_OF_A_PAGE >= page.frame.height
            behind = page.cursor if is_last else {"after": str(part["Id"][-1])}
            yield Page(weighed_bodies(contents, entity, part), behind)


def weighed_bodies(contents: Contents, entity: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame, its content references with the checksum of what is read there now; as it came where the platform
    tells checksums itself."""
    blob = BLOBS.get(entity)
    if blob is None or blob.md5 or blob.field not in frame.columns:
        return frame
    told = pl.Series([_weighed(contents, at) for at in frame[blob.field].to_list()], dtype=pl.String)
    return frame.with_columns(told.alias(blob.field))


def _weighed(contents: Contents, at: str | None) -> str | None:
    if at is None:
        return None
    try:
        return weighed(contents, read_reference(at).at).text
    except NotFound:
        return at  # gone since the page was read; whoever needs the body finds that out


def link_pages(
    session: SalesforceSession, described: tuple[SObject, SObject], fields: Sequence[str], where: Sequence[str],
    cursor: Cursor | None,
) -> Iterator[Page]:  # fmt: skip
    """The links of all documents the connecting user sees, some documents a page; ``described`` are links and
    documents."""
    links, documents = described
    query = SalesforceQuery(session, documents.schema, ["Id"])
    after = str(cursor["after"]) if cursor else ""
    for page in query.rest_pages({"after": after} if after else None):
        for start in range(0, page.frame.height, DOCUMENTS_OF_A_PAGE):
            ids = page.frame["Id"].slice(start, DOCUMENTS_OF_A_PAGE).to_list()
            yield Page(links_of(session, links, fields, ids, where), {"after": ids[-1]})
    yield Page(empty_frame(fields), None)


def links_of(
    session: SalesforceSession, links: SObject, fields: Sequence[str], documents: Sequence[str],
    where: Sequence[str] = (),
) -> pl.DataFrame:  # fmt: skip
    """The links of these documents."""
    asked = [_TYPE_PATH if name == LINKED_TYPE.name else name for name in dict.fromkeys([*fields, "Id"])]
    text = soql.select(asked, links.schema.entity.name, [*where, soql.among(_DOCUMENT, list(documents))])
    rows = [
        {**row, LINKED_TYPE.name: (row.get("LinkedEntity") or {}).get("Type")} for row in session.records(text)
    ]  # fmt: skip
    return records_to_frame(rows, fields)


def links_by_id(
    session: SalesforceSession, links: SObject, fields: Sequence[str], ids: Sequence[str]
) -> pl.DataFrame:  # fmt: skip
    """Those of the links that exist. No query takes their ids, so that each is asked for its document first."""
    documents = [_document_of(session, one) for one in ids]
    known = sorted({one for one in documents if one})
    if not known:
        return empty_frame(fields)
    found = links_of(session, links, list(dict.fromkeys([*fields, "Id"])), known)
    return found.filter(pl.col("Id").is_in(list(ids))).select(fields)


def _document_of(session: SalesforceSession, link: str) -> str:
    try:
        return str(session.http.get(session.path("sobjects", LINK, link)).value(_DOCUMENT))
    except NotFound:
        return ""
