"""Pictures inside rich texts: a text says which picture it shows, the bytes stay where they are until it is written.

In place of the address at which its platform serves it, a picture has a *picture address*:
``picture:<md5>.<bytes>@<place>``. What stands before the ``@`` is the same in every system that shows the same picture,
so that texts can be compared and hashed; the place is its own system's.
"""

import re
from typing import Final, NamedTuple

import polars as pl

from connectors.contents import Reference

ADDRESS: Final = r"picture:([0-9a-f]{32})\.([0-9]+)@([A-Za-z0-9_/]+)"
_ADDRESS: Final = re.compile(ADDRESS)
_KINDS: Final = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"))
NONE: Final = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
"""A picture of one transparent dot, to stand in for any."""


class Picture(NamedTuple):
    """``start`` and ``end`` are where its address stands in the text, in characters."""

    start: int
    end: int
    reference: Reference


def address(picture: Reference) -> str:
    """The picture address of a reference whose size and checksum are known."""
    return f"picture:{picture.md5}.{picture.size}@{picture.at}"


def shown(text: str) -> list[Picture]:
    """The pictures that a text shows by picture addresses, in their order."""
    return [Picture(*found.span(), Reference(found[3], int(found[2]), found[1])) for found in _ADDRESS.finditer(text)]


def wherever(text: pl.Expr) -> pl.Expr:
    """The text without the places of its pictures: equal where the same pictures are shown."""
    return text.str.replace_all(ADDRESS, "picture:$1.$2")


def wherever_in(text: str) -> str:
    """As ``wherever``, of one text."""
    return _ADDRESS.sub(r"picture:\1.\2", text)


def kind_of(body: bytes) -> str:
    """The subtype of an image's media type, by how it begins; PNG where that tells nothing."""
    return next((kind for beginning, kind in _KINDS if body.startswith(beginning)), "png")
