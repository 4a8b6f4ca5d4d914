"""What a file really is, by its first bytes, and a sentence where that is not what its name says."""

from enum import StrEnum
from pathlib import PurePosixPath

from connectors.clients.workbook.metadata import is_metadata
from connectors.context import FileStore
from connectors.errors import InputInvalid


class Kind(StrEnum):
    DELIMITED = "CSV"
    JSON = "JSON"
    WORKBOOK = "Excel workbook (.xlsx)"
    ARCHIVE = "zip archive"
    METADATA = "Salesforce metadata"
    OTHER = "other"


_KINDS = {
    ".csv": Kind.DELIMITED,
    ".tsv": Kind.DELIMITED,
    ".tab": Kind.DELIMITED,
    ".json": Kind.JSON,
    ".xlsx": Kind.WORKBOOK,
    ".zip": Kind.ARCHIVE,
}

_REFUSED = {
    ".xls": "an old Excel workbook",
    ".xlsm": "an Excel workbook with macros",
    ".xlsb": "a binary Excel workbook",
    ".xlt": "an old Excel template",
    ".xltx": "an Excel template",
    ".xltm": "an Excel template with macros",
    ".ods": "an OpenDocument spreadsheet",
    ".numbers": "an Apple Numbers spreadsheet",
}

ZIP_MARK = b"PK\x03\x04"
_EMPTY_ZIP_MARK = b"PK\x05\x06"
_OLE_MARK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MARKS: tuple[tuple[bytes, str], ...] = (
    (ZIP_MARK, "an Excel workbook or a zip archive"),
    (_EMPTY_ZIP_MARK, "an empty zip archive"),
    (_OLE_MARK, "an old Excel workbook, or one protected by a password"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3", "a SQLite database"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
)
_HEAD_BYTES = 512


def is_noise(name: str) -> bool:
    """Files that systems and editors leave behind: hidden ones, Apple's archive folder, Excel's lock files."""
    parts = PurePosixPath(name).parts
    return any(part.startswith((".", "__MACOSX", "~$")) for part in parts)


def kind_of(name: str) -> Kind:
    """What the name says the file is; raises InputInvalid for spreadsheets of a kind that is not read."""
    if is_metadata(name):
        return Kind.METADATA
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _REFUSED:
        raise InputInvalid(f"{name} is {_REFUSED[suffix]}, which is not read. Save it as .xlsx or CSV, or remove it.")
    return _KINDS.get(suffix, Kind.OTHER)


def check_content(files: FileStore, name: str, kind: Kind) -> None:
    """Raises InputInvalid where the first bytes are not those of ``kind``, or the file is empty."""
    with files.open(name) as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise InputInvalid(f"{name} is empty (0 bytes). Export it again, or remove it.")
    real = next((what for mark, what in _MARKS if head.startswith(mark)), "")
    if kind in (Kind.WORKBOOK, Kind.ARCHIVE):
        if not head.startswith(ZIP_MARK):
            raise InputInvalid(f"{name} is no {kind.value}, but {real or 'something else'}. {_advice(real)}")
    elif real:
        raise InputInvalid(f"{name} is no {kind.value} file, but {real}. {_advice(real)}")
    elif kind is Kind.DELIMITED and (other := _markup(head)):
        raise InputInvalid(f"{name} is no CSV file, but {other}. Export it again as CSV UTF-8, or remove it.")


def _advice(real: str) -> str:
    if "Excel" in real:
        return "Save it as .xlsx without a password (or give it its right extension)."
    return "Export it again in the format its name says, or remove it."


def _markup(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:15].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<table")):
        return "a web page or XML"
    if start.startswith((b'{"', b"[{", b"{\n", b"{\r", b"[\n")):
        return "JSON"
    return ""
