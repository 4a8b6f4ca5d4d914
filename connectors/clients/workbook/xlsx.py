"""Excel workbooks: each sheet converted to a CSV file, in a child process with bounded memory and time.

The child (``xlsx_child``) uses calamine, which is fast but keeps a whole sheet in memory: a 3.5 MB file
that declares 1.4 GB took it 1.5 GiB. So a workbook is looked at before (what its parts declare, how many
rows there are), and the conversion can fail without harm to this process. After it, a sheet is read and
resumed like any CSV file; a new process converts anew (about 2 s per million cells).
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from connectors.clients.workbook import archive
from connectors.clients.workbook.limits import (
    MAX_SHEET_ROWS,
    MAX_XLSX_BYTES,
    MAX_XLSX_ENTRIES,
    MAX_XLSX_UNPACKED_BYTES,
    MIB,
    XLSX_MEMORY_BYTES,
    XLSX_SECONDS,
)
from connectors.clients.workbook.workspace import Workspace
from connectors.errors import InputInvalid

_CHILD = Path(__file__).with_name("xlsx_child.py")
_DIMENSION = re.compile(rb"<(?:\w+:)?dimension [^>]*ref=[\"'][A-Z]+\d+:[A-Z]+(\d+)[\"']")
_UNREADABLE = 3  # the child's exit codes: calamine refused the workbook,
_TOO_LARGE = 4  # or a converted sheet outgrew its limit


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet with its cells as a CSV file (UTF-8, commas, first filled row as the header)."""

    name: str
    path: Path


def sheets(file: BinaryIO, label: str, size: int, workspace: Workspace) -> list[Sheet]:
    """The workbook's sheets that hold anything, hidden ones too; raises InputInvalid."""
    if size > MAX_XLSX_BYTES:
        raise InputInvalid(
            f"{label} is larger than {MAX_XLSX_BYTES // MIB} MiB, the most that is read as Excel. "
            "Save its sheets as CSV."
        )
    copy, folder = workspace.path(), workspace.path()
    with copy.open("wb") as out:
        shutil.copyfileobj(file, out)
    _inspect(copy, label)
    folder.mkdir()
    return _convert(copy, folder, label)


def _inspect(path: Path, label: str) -> None:
    with path.open("rb") as packed:
        parts = {entry.filename for entry in archive.entries(packed, label, MAX_XLSX_ENTRIES, MAX_XLSX_UNPACKED_BYTES)}
    if "xl/workbook.xml" not in parts:
        raise InputInvalid(f"{label} is a zip archive, but no Excel workbook. Give it its right extension.")
    if any(part.endswith("vbaProject.bin") for part in parts):
        raise InputInvalid(f"{label} holds macros, which are not read. Save it as .xlsx without macros.")
    try:
        with zipfile.ZipFile(path) as opened:
            for part in sorted(parts):
                if part.startswith("xl/worksheets/") and part.endswith(".xml"):
                    _count_rows(opened, part, label)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InputInvalid(f"{label} is damaged or cut off. Save it again from Excel.", detail=str(error)) from error


def _count_rows(opened: zipfile.ZipFile, part: str, label: str) -> None:
    """Raises InputInvalid where a sheet declares, or has, more rows than Excel can make."""
    rows, tail = 0, b""
    with opened.open(part) as content:
        while chunk := content.read(MIB):
            declared = _DIMENSION.search(chunk) if not tail else None
            chunk, tail = tail + chunk, chunk[-3:]
            rows += chunk.count(b"<row") + chunk.count(b":row ")
            most = max(rows, int(declared[1]) if declared else 0)
            if most > MAX_SHEET_ROWS:
                raise InputInvalid(
                    f"{label}: a sheet ({part}) has {most:,} rows or more, but Excel itself allows {MAX_SHEET_ROWS:,}. "
                    "Export the data as CSV."
                )


def _convert(path: Path, folder: Path, label: str) -> list[Sheet]:
    command = [sys.executable, "-I", str(_CHILD), str(folder), str(XLSX_MEMORY_BYTES), str(XLSX_SECONDS)]
    with path.open("rb") as file:
        try:
            child = subprocess.run(command, stdin=file, capture_output=True, timeout=XLSX_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise _too_slow(label) from error
    if child.returncode == 0:
        return [Sheet(name, folder / file_name) for name, file_name in json.loads(child.stdout)]
    raise _refusal(child, label)


def _refusal(child: "subprocess.CompletedProcess[bytes]", label: str) -> InputInvalid:
    told = child.stderr.decode(errors="replace")[-500:]
    if child.returncode == _UNREADABLE:
        return InputInvalid(f"{label} is no readable Excel workbook. Save it again from Excel.", detail=told)
    if child.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return _too_slow(label)
    if child.returncode == _TOO_LARGE:
        return InputInvalid(f"{label}: a sheet holds too much text to be read as Excel. Save it as CSV.", detail=told)
    return InputInvalid(
        f"{label} needs more than {XLSX_MEMORY_BYTES // MIB:,} MiB of memory to be read. Save its sheets as CSV.",
        detail=told,
    )


def _too_slow(label: str) -> InputInvalid:
    return InputInvalid(f"{label} could not be read within {XLSX_SECONDS} seconds. Save its sheets as CSV.")
