"""Pictures of rich texts on their way into an org: their bytes are put into the texts that show them."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from connectors import pictures
from connectors.clients.salesforce_pictures import OwnPictures, rich_fields
from connectors.clients.salesforce_results import sent_mark
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_session import SalesforceSession
from connectors.contents import Body, Reference, opened
from connectors.context import Contents
from connectors.errors import NotFound, Rejected

MOST_TOGETHER: Final = 25  # records with pictures in one request
BYTES_TOGETHER: Final = 5 * 2**20  # of embedded pictures in one request; a record may have more by itself


@dataclass(frozen=True, slots=True)
class Embedding:
    """Puts the bytes of pictures into the texts of one object that show them. Pictures of the org itself (of what was
    there before, when it is put back) are read there, others at the source."""

    session: SalesforceSession
    sobject: SObject
    source: Contents

    def fields(self, names: Sequence[str]) -> list[str]:
        return rich_fields(self.sobject.schema, names)

    def showing(self, rows: pl.DataFrame, names: Sequence[str]) -> pl.Series:
        """Which rows send texts that show pictures by picture addresses."""
        shown = [
            pl.col(sent_mark(name)) & pl.col(name).str.contains(pictures.ADDRESS).fill_null(value=False)
            for name in self.fields(names)
        ]
        return rows.select(pl.any_horizontal(pl.lit(value=False), *shown).alias("shown"))["shown"]

    def embedded(
        self, rows: pl.DataFrame, names: Sequence[str]
    ) -> Iterator[tuple[pl.DataFrame, dict[str, tuple[str, str, str]]]]:
        """The rows in parts that go into one request, pictures embedded; and, by ``key``, code, field and words of
        those whose pictures cannot be had, which are in none."""
        part: list[pl.DataFrame] = []
        refused: dict[str, tuple[str, str, str]] = {}
        size = 0
        for row in rows.iter_slices(1):
            try:
                filled, added = self._row(row, names)
            except _Missing as missing:
                refused[str(row["key"][0])] = missing.refusal
                continue
            if part and (size + added > BYTES_TOGETHER or len(part) == MOST_TOGETHER):
                yield pl.concat(part), {}
                part, size = [], 0
            part.append(filled)
            size += added
        yield pl.concat([rows.clear(), *part]), refused

    def _row(self, row: pl.DataFrame, names: Sequence[str]) -> tuple[pl.DataFrame, int]:
        size = 0
        for name in self.fields(names):
            text = row[name][0]
            if text is None or not row[sent_mark(name)][0]:
                continue
            pieces, end = list[str](), 0
            for picture in pictures.shown(text):
                data = self._data(picture.reference, name)
                pieces += [text[end : picture.start], data]
                end, size = picture.end, size + len(data)
            if pieces:
                row = row.with_columns(pl.lit("".join([*pieces, text[end:]])).alias(name))
        return row, size

    def _data(self, picture: Reference, field: str) -> str:
        is_own = picture.at.partition("/")[0] == self.session.organisation
        try:
            with opened(OwnPictures(self.session) if is_own else self.source, picture) as body:
                return _embedded(body)
        except NotFound:
            raise _Missing("content_gone", field, "A picture of the text is not there any more.") from None
        except Rejected as differing:
            raise _Missing(differing.code, field, differing.message) from None


def _embedded(body: Body) -> str:
    content = b"".join(body.chunks())
    return f"data:image/{pictures.kind_of(content)};base64,{base64.b64encode(content).decode()}"


class _Missing(Exception):
    def __init__(self, *refusal: str) -> None:
        super().__init__(refusal[-1])
        self.refusal = (refusal[0], refusal[1], refusal[2])
