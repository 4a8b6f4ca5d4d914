"""Which encoding a text file is in, and its blocks as UTF-8."""

import codecs
from dataclasses import dataclass
from typing import BinaryIO

from connectors.clients.workbook.limits import MIB
from connectors.errors import InputInvalid

ENCODINGS: tuple[tuple[str, str], ...] = (
    ("utf-8", "UTF-8"),
    ("utf-16-le", "UTF-16 (little endian)"),
    ("utf-16-be", "UTF-16 (big endian)"),
    ("cp1252", "Windows, Western (1252)"),
    ("latin-1", "ISO 8859-1"),
    ("iso8859-15", "ISO 8859-15"),
    ("cp1250", "Windows, Central European (1250)"),
    ("cp1251", "Windows, Cyrillic (1251)"),
    ("cp850", "DOS, Western (850)"),
    ("mac-roman", "Macintosh, Roman"),
)
"""Python codec → what staff call it. Only codecs that give back the same bytes they were made from:
resuming by byte offset counts on it."""

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


@dataclass(frozen=True, slots=True)
class Encoding:
    """A codec's name, and the bytes its byte order mark takes at the file's start."""

    codec: str
    mark: int = 0

    def to_utf8(self, raw: bytes, *, final: bool, label: str) -> bytes:
        """``raw`` as UTF-8, without a character cut off at its end unless ``final``."""
        if self.codec == "utf-8":
            return raw
        try:
            return codecs.getincrementaldecoder(self.codec)().decode(raw, final).encode()
        except UnicodeError as error:
            raise unreadable(label, self.codec) from error

    def raw_length(self, utf8: bytes) -> int:
        """How many bytes of the file ``utf8`` came from."""
        return len(utf8) if self.codec == "utf-8" else len(utf8.decode().encode(self.codec))


def byte_order_mark(head: bytes) -> Encoding | None:
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return Encoding(codec, len(mark))
    return None


def detect(file: BinaryIO, label: str, chosen: str = "") -> Encoding:
    """The file's encoding: its byte order mark's, the ``chosen`` one, or what all its bytes agree with.

    Every byte is looked at (about 1 GB/s), because one accented name after a million plain rows
    decides. Text that is not UTF-8 is Windows 1252, or ISO 8859-1 where it uses bytes 1252 leaves
    undefined. Raises InputInvalid for NUL bytes, and for UTF-8 that breaks off in the middle: there a
    guess would garble the names that were right.
    """
    file.seek(0)
    head = file.read(4096)
    marked = byte_order_mark(head)
    known = marked or (Encoding(chosen) if chosen else _unmarked_utf16(head))
    if known and known.codec != "utf-8":
        if not _decodes(file, known.codec, label):
            raise unreadable(label, known.codec)
        return known
    damage = _first_damage(file, label)
    if damage is None:
        return known or Encoding("utf-8")
    position, multibyte = damage
    if known or multibyte:
        raise InputInvalid(
            f"{label} is UTF-8 text, but damaged at byte {position:,}. "
            "Export it again, or choose its encoding in the org's settings."
        )
    return Encoding("cp1252" if _decodes(file, "cp1252", label) else "latin-1")


def _unmarked_utf16(head: bytes) -> Encoding | None:
    """UTF-16 without its mark shows as every second byte of a line of Latin text being NUL."""
    even, odd = head[0::2], head[1::2]
    if not odd or not head.count(b"\0"):
        return None
    if odd.count(b"\0") > 0.6 * len(odd) and not even.count(b"\0"):
        return Encoding("utf-16-le")
    if even.count(b"\0") > 0.6 * len(even) and not odd.count(b"\0"):
        return Encoding("utf-16-be")
    return None


def _first_damage(file: BinaryIO, label: str) -> tuple[int, bool] | None:
    """Where the file stops being UTF-8, and whether it had shown UTF-8's long characters before."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    position, multibyte = 0, False
    file.seek(0)
    while True:
        raw = file.read(MIB)
        if (nul := raw.find(b"\0")) >= 0:
            raise _nul(label, position + nul + 1)
        try:
            text = decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            good = error.object[: error.start]
            pending = len(error.object) - len(raw)
            return position - pending + error.start + 1, multibyte or not good.isascii()
        multibyte = multibyte or not text.isascii()
        position += len(raw)
        if not raw:
            return None


def _decodes(file: BinaryIO, codec: str, label: str) -> bool:
    decoder = codecs.getincrementaldecoder(codec)()
    file.seek(0)
    try:
        while raw := file.read(MIB):
            if "\0" in decoder.decode(raw):
                raise _nul(label, file.tell())
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True


def _nul(label: str, position: int) -> InputInvalid:
    return InputInvalid(
        f"{label} holds a NUL character before byte {position + 1:,}: it is damaged, or not a text file. "
        "Export it again as CSV UTF-8."
    )


def unreadable(label: str, codec: str) -> InputInvalid:
    name = dict(ENCODINGS).get(codec, codec)
    return InputInvalid(f"{label} is not {name} text all through. Choose its real encoding in the org's settings.")
