"""Tables: one entity's records as pages, whatever kind of file they come from."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from io import SEEK_END
from typing import BinaryIO, Protocol

import polars as pl

from connectors.clients.workbook import delimited, inference
from connectors.clients.workbook.encoding import Encoding
from connectors.clients.workbook.limits import COUNTED_BYTES, INFERENCE_BYTES
from connectors.clients.workbook.sobject_tree import ID_FIELD, TreeEntity
from connectors.errors import InputInvalid
from connectors.types import Cursor, FieldInfo, FieldType, Page

ROW_FIELD = "_row"
"""The id of tables without an id column: the record's number in its file, counted from 1."""

PAGE_RECORDS = 25_000
"""At most; wide records fill a block sooner. Half of what a chunk costs does not depend on how many it has."""

_ID_NAMES = ("id", "_row", "external_id", "externalid", "external id", "record_id", "recordid", "record id")


class Table(Protocol):
    """An entity in a file. ``label`` names it in sentences, ``id_field`` is its identity."""

    @property
    def label(self) -> str: ...

    @property
    def id_field(self) -> str: ...

    def fields(self) -> tuple[FieldInfo, ...]:
        """Its fields, typed by their values; reads the file."""

    def count(self) -> int | None:
        """Its records, or None where counting takes as long as reading."""

    def pages(self, fields: Sequence[str], cursor: Cursor | None) -> Iterator[Page]:
        """See ``Source.read``. ``fields`` it does not have come as columns of nulls."""


class Opener(Protocol):
    """Opens a table's file, seekable, as often as asked."""

    def __call__(self) -> BinaryIO: ...


class DelimitedTable:
    """A CSV or TSV file.

    A cursor is the byte offset of a block and the records of it already read, so that resuming parses
    one block again (``limits.BLOCK_BYTES``, some 10 ms) and nothing before it. It also carries what the
    file's first look found out, and the file's size: a file that changed is refused.
    """

    def __init__(self, opener: Opener, label: str, *, size: int, codec: str = "", id_column: str = "") -> None:
        self.label = label
        self._open = opener
        self._size = size
        self._codec = codec
        self._id_column = id_column

    @cached_property
    def _layout(self) -> delimited.Layout:
        with self._open() as file:
            return delimited.layout(file, self.label, codec=self._codec)

    @property
    def columns(self) -> tuple[str, ...]:
        return self._layout.columns

    @property
    def id_field(self) -> str:
        return id_column(self.columns, self._id_column)

    def fields(self) -> tuple[FieldInfo, ...]:
        found = inference.advise(self.columns, self._sample())
        if self.id_field == ROW_FIELD and ROW_FIELD not in self.columns:
            return (FieldInfo(ROW_FIELD, FieldType.INTEGER, label="Row", required=True, unique=True), *found)
        return found

    def count(self) -> int | None:
        with self._open() as file:
            if file.seek(0, SEEK_END) > COUNTED_BYTES:
                return None
            file.seek(0)
            return sum(block.frame.height for block in delimited.blocks(file, self._layout, self.label))

    def pages(self, fields: Sequence[str], cursor: Cursor | None) -> Iterator[Page]:
        place = _Place.of(cursor)
        self._resume(cursor)
        held: Page | None = None  # a page's cursor is known only when it is known whether another follows
        with self._open() as file:
            for frame, after in self._slices(file, place):
                if held:
                    yield held
                held = Page(self._chosen(frame, fields, after), self._cursor(after))
        yield Page(held.frame if held else _empty(fields), None)

    def _resume(self, cursor: Cursor | None) -> None:
        if cursor is None:
            return
        if cursor["size"] != self._size:
            raise InputInvalid(
                f"{self.label} has changed since reading began ({cursor['size']:,} bytes then, {self._size:,} now). "
                "Start the run anew."
            )
        if "_layout" not in self.__dict__:
            known = Encoding(str(cursor["codec"]), int(cursor["mark"] or 0))
            with self._open() as file:
                self._layout = delimited.layout(file, self.label, encoding=known)

    def _slices(self, file: BinaryIO, place: "_Place") -> Iterator[tuple[pl.DataFrame, "_Place"]]:
        """Frames of at most ``PAGE_RECORDS`` records, each with the place after it."""
        skip, row = place.skip, place.row
        for block in delimited.blocks(file, self._layout, self.label, start=place.offset, line=place.line):
            frame = block.frame.slice(skip)
            done = min(skip, block.frame.height)
            skip -= done
            for part in frame.iter_slices(PAGE_RECORDS):
                done += part.height
                row += part.height
                yield part, _Place(block.start, block.line, done, row)

    def _chosen(self, frame: pl.DataFrame, fields: Sequence[str], after: "_Place") -> pl.DataFrame:
        if self.id_field in self.columns:
            self._check_ids(frame, after)
        else:
            numbers = pl.int_range(after.row - frame.height + 1, after.row + 1, dtype=pl.Int64, eager=True)
            frame = frame.with_columns(numbers.cast(pl.String).alias(ROW_FIELD))
        return chosen(frame, fields)

    def _check_ids(self, frame: pl.DataFrame, after: "_Place") -> None:
        missing = frame[self.id_field].is_null()
        if missing.any():
            number = after.row - frame.height + 1 + (missing.arg_true()[0])
            raise InputInvalid(
                f"{self.label}, record {number:,}: the id column “{self.id_field}” is empty. "
                "Fill it in, or choose another id column in the org's settings."
            )

    def _cursor(self, place: "_Place") -> Cursor:
        encoding = self._layout.encoding
        return {
            "offset": place.offset,
            "line": place.line,
            "skip": place.skip,
            "row": place.row,
            "size": self._size,
            "codec": encoding.codec,
            "mark": encoding.mark,
        }

    def _sample(self) -> Iterator[pl.DataFrame]:
        with self._open() as file:
            for block in delimited.blocks(file, self._layout, self.label):
                if block.start >= INFERENCE_BYTES:
                    return
                yield block.frame


class TreeTable:
    """All records of one sObject type; a cursor is the number of records already read."""

    id_field = ID_FIELD

    def __init__(self, entity: TreeEntity) -> None:
        self.label = entity.name
        self._entity = entity

    def fields(self) -> tuple[FieldInfo, ...]:
        frame = self._entity.frame
        return tuple(self._field(info) for info in inference.advise(frame.columns, [frame], texts=self._entity.texts))

    def _field(self, info: FieldInfo) -> FieldInfo:
        if info.name == ID_FIELD:
            return FieldInfo(ID_FIELD, label="Reference id", required=True, unique=True)
        if references := self._entity.references.get(info.name):
            return FieldInfo(info.name, FieldType.REFERENCE, label=info.name, references=references)
        return info

    def count(self) -> int:
        return self._entity.frame.height

    def pages(self, fields: Sequence[str], cursor: Cursor | None) -> Iterator[Page]:
        total = self._entity.frame.height
        if cursor is not None and cursor["records"] != total:
            raise InputInvalid(f"The files of {self.label} have changed since reading began. Start the run anew.")
        start = int(cursor["row"] or 0) if cursor else 0
        for first in range(start, max(total, 1), PAGE_RECORDS):
            after = first + PAGE_RECORDS
            frame = chosen(self._entity.frame.slice(first, PAGE_RECORDS), fields)
            yield Page(frame, {"row": after, "records": total} if after < total else None)


class _Place:
    """A place in a delimited file: ``skip`` records into the block at ``offset``, ``row`` records in all."""

    __slots__ = ("line", "offset", "row", "skip")

    def __init__(self, offset: int = 0, line: int = 0, skip: int = 0, row: int = 0) -> None:
        self.offset, self.line, self.skip, self.row = offset, line, skip, row

    @classmethod
    def of(cls, cursor: Cursor | None) -> "_Place":
        if cursor is None:
            return cls()
        return cls(*(int(cursor[name] or 0) for name in ("offset", "line", "skip", "row")))


def id_column(columns: Sequence[str], wanted: str) -> str:
    """The column that identifies a record: the ``wanted`` one, else one named like an id, else the row."""
    if wanted in columns:
        return wanted
    for name in _ID_NAMES:
        matching = [column for column in columns if column.lower() == name]
        if len(matching) == 1:
            return matching[0]
    return ROW_FIELD


def chosen(frame: pl.DataFrame, fields: Sequence[str]) -> pl.DataFrame:
    present = set(frame.columns)
    return frame.select(
        pl.col(name) if name in present else pl.lit(None, dtype=pl.String).alias(name) for name in fields
    )


def _empty(fields: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(schema=dict.fromkeys(fields, pl.String))
