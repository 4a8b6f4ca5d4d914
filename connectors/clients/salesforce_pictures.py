"""Pictures of rich texts in an org: told by picture addresses when a text is read, and read one by one.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_sobject_rich_text_image_retrieve.htm

Salesforce keeps the pictures of a rich text beside the record and writes ``/servlet/rtaImage?eid=…&refid=…`` into it.
A picture that is sent inside the text (``data:``) is taken out and kept in the same way; the guide is silent about
that, and the vendor's Data Loader and others rely on it. Under one ``refid`` there is one picture for ever.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final
from urllib.parse import parse_qs, urlsplit

import polars as pl

from connectors import pictures
from connectors.clients.salesforce_session import SalesforceSession
from connectors.contents import Reference, weighed
from connectors.errors import ContractChanged, NotFound
from connectors.types import EntitySchema

REMEMBERED: Final = 20_000  # pictures whose checksum a session keeps
PLACE: Final = re.compile(
    r"([A-Za-z0-9]{15})/([A-Za-z0-9_]+)/([A-Za-z0-9]{15,18})/([A-Za-z0-9_]+)/([A-Za-z0-9]{15,18})"
)
"""Organisation, object, record, field and reference of a picture."""
_KEPT: Final = "/servlet/rtaImage?"
_IMAGE: Final = re.compile(r"""(<img\b[^>]*?\bsrc\s*=\s*)(["'])([^"']*/servlet/rtaImage\?[^"']*)\2""", re.IGNORECASE)
_ID: Final = re.compile(r"[A-Za-z0-9]{15,18}")


def rich_fields(schema: EntitySchema, names: Sequence[str]) -> list[str]:
    return [name for name in names if name in schema.names and schema.field(name).rich]


def told(session: SalesforceSession, schema: EntitySchema, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame, in its rich texts a picture address for each picture that can be read; others stay as they are. Costs
    a request for each picture that this session has not seen."""
    for name in rich_fields(schema, frame.columns):
        has = frame[name].str.contains(_KEPT, literal=True).fill_null(value=False)
        if not has.any():
            continue
        ids = frame["Id"].to_list() if "Id" in frame.columns else [""] * frame.height
        texts = [
            _told(session, schema.entity.name, name, record or "", text) if is_shown else text
            for record, text, is_shown in zip(ids, frame[name].to_list(), has.to_list(), strict=True)
        ]
        frame = frame.with_columns(pl.Series(name, texts, dtype=pl.String))
    return frame


def dotted(rows: pl.DataFrame, schema: EntitySchema) -> pl.DataFrame:
    """The rows with one transparent dot in place of each picture."""
    names = rich_fields(schema, rows.columns)
    return rows.with_columns(pl.col(names).str.replace_all(pictures.ADDRESS, pictures.NONE)) if names else rows


def _told(session: SalesforceSession, entity: str, field: str, record: str, text: str) -> str:
    def address(found: re.Match[str]) -> str:
        query = parse_qs(urlsplit(html.unescape(found[3])).query)
        holder, reference = query.get("eid", [""])[0], query.get("refid", [""])[0]
        if not (_ID.fullmatch(holder) and _ID.fullmatch(reference)):
            return found[0]
        weight = _weight(session, entity, [holder, *([record] if record[:15] != holder[:15] else [])], field, reference)
        return found[0] if weight is None else f"{found[1]}{found[2]}{pictures.address(weight)}{found[2]}"

    return _IMAGE.sub(address, text)


def _weight(
    session: SalesforceSession, entity: str, holders: Sequence[str], field: str, reference: str
) -> Reference | None:
    """The picture's reference; None where none of the records that may hold it gives it."""
    known = session.pictures
    if reference in known:
        return known[reference]
    for holder in filter(None, holders):
        place = f"{session.organisation}/{entity}/{holder}/{field}/{reference}"
        # A page of many pictures takes its time; who sleeps by this clock shows that it lives.
        session.clock.sleep(0)
        try:
            found = weighed(OwnPictures(session), place)
        except NotFound:
            continue
        if len(known) >= REMEMBERED:
            known.clear()
        known[reference] = found
        return found
    return None


@dataclass(frozen=True, slots=True)
class OwnPictures:
    """The ``connectors.context.Contents`` of pictures of the session's own org."""

    session: SalesforceSession

    def read(self, at: str, into: BinaryIO) -> None:
        place = PLACE.fullmatch(at)
        if place is None:
            raise ContractChanged(f"“{at[:60]}” is no place where Salesforce keeps a picture.")
        _, entity, record, field, reference = place.groups()
        path = self.session.path("sobjects", entity, record, "richTextImageFields", field, reference)
        self.session.http.download(path, into)
