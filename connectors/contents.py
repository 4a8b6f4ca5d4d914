"""The contents of files: frames carry a reference to them, the bytes stay where they are until they are written.

A field of type ``CONTENT`` has as its text a *content reference*: canonical JSON with ``at`` (where its source reads
the bytes), their ``size`` and ``md5``. A source whose platform tells no checksum reads the bytes to find it. So a chunk
of thousands of files holds facts only, and these say whether two contents are the same.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, Final, cast

import orjson
import polars as pl

from connectors.context import Contents
from connectors.errors import ContractChanged, Rejected

IN_MEMORY: Final = 8 * 1024 * 1024  # bytes of one file that are held in memory; a larger one waits on disk
STEP: Final = 1024 * 1024  # bytes read at once
_TRIES: Final = 2
_FACTS: Final = ("at", "md5", "size")


@dataclass(frozen=True, slots=True)
class Reference:
    """One content reference, read. ``size`` in bytes is None, and ``md5`` (hex) blank, where unknown."""

    at: str
    size: int | None = None
    md5: str = ""

    @property
    def text(self) -> str:
        size = str(self.size) if self.size is not None else None
        return _text({"at": self.at, "md5": self.md5, "size": size})


def reference_columns(at: pl.Expr, *, size: pl.Expr, md5: pl.Expr) -> pl.Expr:
    """The content references made of columns of text; null where ``at`` is null."""
    facts = pl.struct(at=at, md5=md5, size=size)
    return facts.map_batches(_written, return_dtype=pl.String)


def _written(facts: pl.Series) -> pl.Series:
    return pl.Series([_text(row) if row["at"] else None for row in facts.to_list()], dtype=pl.String)


def _text(facts: Mapping[str, str | None]) -> str:
    told: dict[str, str | int] = {name: value for name in _FACTS if (value := facts[name])}
    if "size" in told:
        told["size"] = int(told["size"])
    return orjson.dumps(told).decode()


def read_reference(text: str) -> Reference:
    """Raises ContractChanged for a text that is no content reference."""
    try:
        facts = orjson.loads(text)
        return Reference(str(facts["at"]), facts.get("size"), str(facts.get("md5", "")))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise ContractChanged(f"“{text[:60]}” does not say where contents of a file are read.") from None


def same(one: pl.Expr, other: pl.Expr) -> pl.Expr:
    """Whether two content references are of the same contents, as far as both tell; never null. Blank is only like
    blank, and references that tell nothing in common are taken for different."""
    pairs = [(_fact(one, name), _fact(other, name)) for name in ("md5", "size")]
    differ = pl.any_horizontal((left != right).fill_null(value=False) for left, right in pairs)
    told = pl.any_horizontal(left.is_not_null() & right.is_not_null() for left, right in pairs)
    return (one.is_null() & other.is_null()) | (one.is_not_null() & other.is_not_null() & told & ~differ)


def fingerprint(text: pl.Expr) -> pl.Expr:
    """A text that changes when the contents do, and not with where they are read: for hashing."""
    facts = [_fact(text, name).fill_null("") for name in ("md5", "size")]
    return pl.when(text.is_not_null()).then(pl.concat_str(*facts, separator=":"))


def _fact(text: pl.Expr, name: str) -> pl.Expr:
    return text.str.json_path_match(f"$.{name}")


@dataclass(frozen=True, slots=True)
class Body:
    """Contents that have been read: a file at its beginning, its size in bytes and its MD5 (hex)."""

    file: BinaryIO
    size: int
    md5: str

    def chunks(self) -> Iterator[bytes]:
        """The contents from the beginning, piece by piece; may be asked for again."""
        self.file.seek(0)
        while piece := self.file.read(STEP):
            yield piece


@contextmanager
def opened(contents: Contents, reference: Reference) -> Iterator[Body]:
    """The contents of a reference, read whole and found to be what it says. Raises Rejected where they are not, after
    a second try, and what reading raises."""
    with SpooledTemporaryFile(max_size=IN_MEMORY) as spooled:
        file = cast("BinaryIO", spooled)
        for _ in range(_TRIES):
            file.seek(0)
            file.truncate()
            contents.read(reference.at, file)
            body = _weighed(file)
            if reference.size in (None, body.size) and reference.md5.lower() in ("", body.md5):
                yield body
                return
        raise Rejected(
            f"The contents are not what the source says of them: {body.size:,} bytes arrived, "
            f"{reference.size if reference.size is not None else 'an unknown number'} were announced, "
            f"{'and the checksum differs' if reference.md5 else 'and it gives no checksum'}. Load the record again.",
            code="content_differs",
        )


def weighed(contents: Contents, at: str) -> Reference:
    """The reference to contents of which nothing is known: they are read. Raises what reading raises."""
    with SpooledTemporaryFile(max_size=IN_MEMORY) as spooled:
        file = cast("BinaryIO", spooled)
        contents.read(at, file)
        body = _weighed(file)
        return Reference(at, body.size, body.md5)


def _weighed(file: BinaryIO) -> Body:
    # The platform's own checksum; nothing is secured by it.
    digest, size = hashlib.md5(usedforsecurity=False), 0
    file.seek(0)
    while piece := file.read(STEP):
        digest.update(piece)
        size += len(piece)
    return Body(file, size, digest.hexdigest())
