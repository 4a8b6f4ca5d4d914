"""Pictures of rich texts: taken out of a text that brings them, kept beside the record, and read back one by one.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_sobject_rich_text_image_retrieve.htm

A picture may be sent inside the text, as ``data:``; in its place the text then names the address it is served at. That
address wants a session of the user interface; clients read it by ``richTextImageFields``. Other addresses stay as they
are, also those of other orgs.
"""

import base64
import binascii
import re
import sqlite3
import zlib
from dataclasses import dataclass
from typing import Final

import polars as pl

from sandbox.salesforce import ids
from sandbox.salesforce.schema import Field, SObject

RICH: Final = "richtextarea"
_KINDS: Final = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
_DATA: Final = re.compile(
    r'(<img\b[^>]*?\bsrc\s*=\s*")data:image/(?:png|p?jpe?g|gif);base64,([A-Za-z0-9+/=\s]*)"', re.IGNORECASE
)
_TABLE: Final = (
    'CREATE TABLE IF NOT EXISTS "_pictures" '
    "(number INTEGER PRIMARY KEY, record TEXT NOT NULL, field TEXT NOT NULL, body BLOB NOT NULL)"
)
_NOBODY: Final = "eid=~&amp;"
"""Stands for the record in the address of a picture until the record has its id."""
_NEW: Final = re.compile(re.escape(_NOBODY) + r"[^\"]*?refid=([A-Za-z0-9]{15})")


@dataclass(frozen=True, slots=True)
class Pictures:
    """Those of one org. ``first`` and ``organisation`` tell its references and addresses from those of others."""

    connection: sqlite3.Connection
    first: int
    organisation: str

    def taken_out(self, subject: SObject, field: Field, texts: pl.Series) -> pl.Series:
        """The texts, each picture that they bring kept and its address in its place. Whose they are, ``owned`` says."""
        if field.extra != RICH or not texts.str.contains("data:image/", literal=True).fill_null(value=False).any():
            return texts
        self.connection.execute(_TABLE)
        field_id = ids.record_id("00N", zlib.crc32(f"{subject.name}.{field.name}".encode()))[:15]
        place = f"https://{self.organisation[:15].lower()}.file.force.com/servlet/rtaImage?{_NOBODY}feoid={field_id}"

        def keep(found: re.Match[str]) -> str:
            try:
                body = base64.b64decode(re.sub(r"\s", "", found[2]), validate=True)
            except binascii.Error:
                return f'{found[1]}"'
            sql = 'INSERT INTO "_pictures" (record, field, body) VALUES (?, ?, ?)'
            number = self.connection.execute(sql, ("", field.name, body)).lastrowid or 0
            return f'{found[1]}{place}&amp;refid={ids.record_id("0EM", self.first + number)[:15]}"'

        changed = [text if text is None else _DATA.sub(keep, text) for text in texts.to_list()]
        return pl.Series(texts.name, changed, dtype=pl.String)

    def owned(self, field: Field, texts: pl.Series, owners: pl.Series) -> pl.Series:
        """The texts with the records they belong to in the addresses of new pictures."""
        if field.extra != RICH or not texts.str.contains(_NOBODY, literal=True).fill_null(value=False).any():
            return texts
        pairs = zip(texts.to_list(), owners.to_list(), strict=True)
        named = [self._given(text, owner) if text and owner else text for text, owner in pairs]
        return pl.Series(texts.name, named, dtype=pl.String)

    def _given(self, text: str, owner: str) -> str:
        for reference in _NEW.findall(text):
            sql = 'UPDATE "_pictures" SET record = ? WHERE number = ?'
            self.connection.execute(sql, (owner, self._number(reference)))
        return text.replace(_NOBODY, f"eid={owner[:15]}&amp;")

    def body(self, subject: SObject, record: str, field: str, reference: str) -> bytes | None:
        """What one of the record's fields shows under a reference; None where it does not, or the record is gone."""
        self.connection.execute(_TABLE)
        sql = f'SELECT p.body FROM "_pictures" p JOIN "{subject.name}" t ON t."Id" = p.record WHERE p.number = ? AND p.record = ? AND p.field = ? AND t."IsDeleted" = 0'  # noqa: S608, E501 - a schema name
        found = self.connection.execute(sql, (self._number(reference), record, field)).fetchone()
        return found[0] if found else None

    def _number(self, reference: str) -> int:
        return (ids.number_of(ids.normalised(reference)) or 0) - self.first


def media_type(body: bytes) -> str:
    return next((kind for start, kind in _KINDS.items() if body.startswith(start)), "image/png")
