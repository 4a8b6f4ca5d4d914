"""Zips: their files as files of the store, after a look at what unpacking them would do."""

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from connectors.clients.workbook import guard
from connectors.clients.workbook.guard import Kind
from connectors.clients.workbook.limits import (
    MAX_ARCHIVE_BYTES,
    MAX_ARCHIVE_ENTRIES,
    MAX_ARCHIVE_RATIO,
    MIB,
    RATIO_FLOOR_BYTES,
)
from connectors.clients.workbook.workspace import Workspace
from connectors.context import FileStore
from connectors.errors import InputInvalid

_PACKED = (".zip", ".7z", ".rar", ".gz", ".bz2", ".xz", ".tar", ".tgz")
_ENCRYPTED = 0x1  # bit of a zip entry's flags


class ExpandedFiles:
    """A store whose zips look like folders: ``export.zip/data/people.csv``.

    A file is unpacked into the workspace when it is first opened, so that it can be read from any byte
    on; opening it in a new process unpacks it once more. Raises InputInvalid for a zip that is damaged,
    protected, or would do harm.
    """

    def __init__(self, files: FileStore, workspace: Workspace) -> None:
        self._files = files
        self._workspace = workspace
        self._members: dict[str, tuple[str, zipfile.ZipInfo]] = {}
        self._unpacked: dict[str, Path] = {}
        self._plain = [name for name in files.names() if not guard.is_noise(name)]
        for archive in [name for name in self._plain if guard.kind_of(name) is Kind.ARCHIVE]:
            self._plain.remove(archive)
            guard.check_content(files, archive, Kind.ARCHIVE)
            for member in _members(files, archive):
                self._members[f"{archive}/{member.filename}"] = (archive, member)

    def names(self) -> list[str]:
        return sorted((*self._plain, *self._members))

    def size(self, name: str) -> int:
        return self._members[name][1].file_size if name in self._members else self._files.size(name)

    def open(self, name: str) -> BinaryIO:
        if name not in self._members:
            return self._files.open(name)
        if name not in self._unpacked:
            self._unpacked[name] = self._unpack(name)
        return self._unpacked[name].open("rb")

    def _unpack(self, name: str) -> Path:
        archive, member = self._members[name]
        path = self._workspace.path()
        try:
            with (
                self._files.open(archive) as packed,
                zipfile.ZipFile(packed) as opened,
                opened.open(member) as content,
                path.open("wb") as out,
            ):
                shutil.copyfileobj(content, out, MIB)  # reads no more than the declared size, then compares the CRC
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise _damaged(archive, f"“{member.filename}” cannot be unpacked") from error
        return path


def _members(files: FileStore, archive: str) -> list[zipfile.ZipInfo]:
    """The files in a zip that are worth reading, all of its entries having passed."""
    with files.open(archive) as packed:
        members = entries(packed, archive, MAX_ARCHIVE_ENTRIES, MAX_ARCHIVE_BYTES)
    seen: set[str] = set()
    for member in members:
        name = member.filename
        if _escapes(name) or stat.S_ISLNK(member.external_attr >> 16):
            raise InputInvalid(f"{archive} holds “{name[:200]}”, which leads out of it. Do not trust this file.")
        if name.lower().endswith(_PACKED):
            raise InputInvalid(f"{archive} holds another archive, “{name[:200]}”. Unpack that one first.")
        if name in seen:
            raise InputInvalid(f"{archive} holds “{name[:200]}” twice. Pack it again.")
        seen.add(name)
    return [member for member in members if not member.is_dir() and not guard.is_noise(member.filename)]


def entries(packed: BinaryIO, label: str, most: int, most_bytes: int) -> list[zipfile.ZipInfo]:
    """The entries of a zip of at most ``most`` files and ``most_bytes`` unpacked, by what it declares.

    What it declares is what it gets: unpacking stops there. Raises InputInvalid.
    """
    try:
        with zipfile.ZipFile(packed) as opened:
            found = opened.infolist()
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, OSError) as error:
        raise _damaged(label, "its list of contents cannot be read") from error
    if len(found) > most:
        raise InputInvalid(f"{label} holds {len(found):,} files; at most {most:,} are read. Split it.")
    total = sum(entry.file_size for entry in found)
    if total > most_bytes:
        raise InputInvalid(
            f"{label} would unpack to {total // MIB:,} MiB; at most {most_bytes // MIB:,} MiB are read. "
            "Split it, or give the data as CSV files."
        )
    for entry in found:
        _check(entry, label)
    return found


def _check(entry: zipfile.ZipInfo, label: str) -> None:
    if entry.flag_bits & _ENCRYPTED:
        raise InputInvalid(f"{label} is protected by a password. Pack it again without one.")
    ratio = entry.file_size / max(entry.compress_size, 1)
    if entry.file_size > RATIO_FLOOR_BYTES and ratio > MAX_ARCHIVE_RATIO:
        raise InputInvalid(
            f"{label}: “{entry.filename[:200]}” would unpack to {ratio:,.0f} times its size, as only made-up files do. "
            "Give the file itself, not packed, if it is genuine."
        )


def _escapes(name: str) -> bool:
    return name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts


def _damaged(label: str, what: str) -> InputInvalid:
    return InputInvalid(f"{label} is damaged or cut off: {what}. Copy or export it again.")
