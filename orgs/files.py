"""The files a person gave us for an org: sealed in parts in the database, read back as streams.

In the database because worker hosts share nothing else, and in parts so that neither writing nor
reading holds more than a few MiB, whatever the file's size.
"""

import io
import uuid
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

from connectors.errors import InputInvalid
from orgs.models import FILE_PART_BYTES, FILE_PART_PURPOSE, Org, OrgFile, OrgFilePart
from orgs.sealing import SealBroken, open_sealed, seal

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


def checked_name(name: str) -> str:
    """``name`` where it is a plain relative path with ``/``; raises InputInvalid otherwise."""
    steps = PurePosixPath(name).parts
    plain = name.isprintable() and "\\" not in name and ":" not in name and not name.startswith("/")
    if not (steps and plain and len(name) <= 500 and ".." not in steps):
        raise InputInvalid(f"The file name {name[:80]!r} is not a plain relative name; rename the file.")
    return "/".join(steps)


def seal_part(file: uuid.UUID, number: int, body: bytes) -> bytes:
    """A token for one part that opens only as that part of that file."""
    return seal(FILE_PART_PURPOSE, _place(file, number) + body)


def open_part(file: uuid.UUID, number: int, token: bytes) -> bytes:
    """The part's body; raises SealBroken, also where the token is another part's."""
    place = _place(file, number)
    opened = open_sealed(FILE_PART_PURPOSE, token)
    if not opened.startswith(place):
        raise SealBroken(f"Part {number} of an uploaded file belongs elsewhere; upload the file again.")
    return opened[len(place) :]


def _place(file: uuid.UUID, number: int) -> bytes:
    return file.bytes + number.to_bytes(4, "big")


class OrgFiles:
    """A ``FileStore`` over an org's uploaded files."""

    def __init__(self, org: Org) -> None:
        self._files = OrgFile.objects.filter(org_id=org.pk)

    def names(self) -> list[str]:
        return sorted(self._files.values_list("name", flat=True))

    def open(self, name: str) -> BinaryIO:
        """A seekable stream that holds one part in memory; raises FileNotFoundError, and on reading
        InputInvalid where a part is missing or does not open."""
        return cast("BinaryIO", io.BufferedReader(_PartStream(self._find(name)), buffer_size=256 * 1024))

    def size(self, name: str) -> int:
        return self._find(name).size

    def _find(self, name: str) -> OrgFile:
        found = self._files.filter(name=name).first()
        if found is None:
            raise FileNotFoundError(name)
        return found


class _PartStream(io.RawIOBase):
    """A file's parts as one read-only stream."""

    def __init__(self, file: OrgFile) -> None:
        super().__init__()
        self._file = file
        self._position = 0
        self._number = -1
        self._body = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        if start + offset < 0:
            raise ValueError("A stream has nothing before its start.")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        if self._position >= self._file.size:
            return 0
        number, start = divmod(self._position, FILE_PART_BYTES)
        view = memoryview(buffer).cast("B")
        piece = self._part(number)[start : start + len(view)]
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _part(self, number: int) -> bytes:
        if number != self._number:
            self._body = self._fetched(number)
            self._number = number
        return self._body

    def _fetched(self, number: int) -> bytes:
        row = OrgFilePart.objects.filter(file_id=self._file.pk, number=number).first()
        if row is None:
            raise InputInvalid(f"The uploaded file {self._file.name} is incomplete: upload it again.")
        try:
            body = open_part(self._file.public_id, number, bytes(row.body))
        except SealBroken as broken:
            raise InputInvalid(f"The uploaded file {self._file.name} cannot be opened: {broken}") from None
        if len(body) != min(FILE_PART_BYTES, self._file.size - number * FILE_PART_BYTES):
            raise InputInvalid(f"The uploaded file {self._file.name} is incomplete: upload it again.")
        return body
