"""The child process that turns the workbook on its standard input into one CSV file per sheet.

Run by path, isolated (``python -I``), so it imports nothing of this project. Arguments: the folder to
write to, bytes of address space, processor seconds. Prints ``[[sheet, file name], …]`` as JSON. Exit
codes: 0 done, 3 calamine cannot read it, 4 a CSV outgrew its limit; memory and time end it by signal.
"""

import csv
import json
import re
import resource
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from defusedxml.ElementTree import parse
from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum

MAX_CSV_BYTES = 2 * 1024**3
"""Bytes of one converted sheet: shared text lets a small sheet spell out far more than it holds."""

_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_ERROR_CELL = re.compile(
    rb"<(?:\w+:)?c\b(?=[^>]*\br=[\"']([A-Z]{1,3})(\d{1,7})[\"'])(?=[^>]*\bt=[\"']e[\"'])[^>]*>"
    rb"(?:<(?:\w+:)?f\b[^>]*(?:/>|>[^<]*</(?:\w+:)?f>))?<(?:\w+:)?v>([^<]*)<"
)
_ERROR_TYPE = (b't="e"', b"t='e'")


def main(folder: Path, memory: int, seconds: int) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_CSV_BYTES, MAX_CSV_BYTES))
    try:
        workbook = CalamineWorkbook.from_filelike(sys.stdin.buffer)
        names = [sheet.name for sheet in workbook.sheets_metadata if sheet.typ is SheetTypeEnum.WorkSheet]
        parts = _parts()
        written = []
        for number, name in enumerate(names):
            sheet = workbook.get_sheet_by_name(name)
            if sheet.start is not None:
                _write(Table(sheet, _errors(parts.get(name, ""))), folder / f"{number}.csv")
                written.append((name, f"{number}.csv"))
    except (CalamineError, zipfile.BadZipFile, KeyError, SyntaxError, ValueError) as error:  # SyntaxError: broken XML
        sys.stderr.write(str(error))
        return 3
    except OSError as error:
        sys.stderr.write(str(error))
        return 4
    sys.stdout.write(json.dumps(written))
    return 0


@dataclass
class Column:
    """What one look over a sheet finds out about a column."""

    filled: bool = False
    dates: bool = False
    moments: bool = False


@dataclass
class Table:
    """A sheet's rows with its error cells put back: calamine reads ``#N/A`` as an empty cell, and a lost
    error would be a silent blank."""

    sheet: Any
    errors: dict[int, dict[int, str]] = field(default_factory=dict)

    def rows(self) -> Iterator[list[Any]]:
        """The rows that hold anything."""
        first_column = self.sheet.start[1]
        for number, row in enumerate(self.sheet.iter_rows()):
            for column, text in self.errors.get(number, {}).items():
                row[column - first_column] = text
            if any(cell != "" for cell in row):
                yield row


def _write(table: Table, path: Path) -> None:
    columns = _look(table)
    kept = [place for place, column in enumerate(columns) if column.filled]
    mixed = [column.dates and column.moments for column in columns]
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for row in table.rows():
            writer.writerow([as_text(row[place], moment=mixed[place]) for place in kept])


def _look(table: Table) -> list[Column]:
    """Every column of the table, its header left out where dates are concerned."""
    columns = [Column() for _ in range(table.sheet.width)]
    for number, row in enumerate(table.rows()):
        for column, cell in zip(columns, row, strict=True):
            column.filled = column.filled or cell != ""
            if number and isinstance(cell, date):
                moment = isinstance(cell, datetime)
                column.moments, column.dates = column.moments or moment, column.dates or not moment
    return columns


def as_text(cell: Any, *, moment: bool = False) -> str:
    """A cell in the notation of source frames; ``moment`` where its column holds dates with times, too.

    Excel's numbers are doubles of which it keeps 15 digits: whole ones are written exactly, the others
    with 15 significant digits, so that 0.1 + 0.2 is 0.3 as on the sheet. Durations are hours:minutes:seconds.
    """
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, (int, float)):
        return _number(cell)
    if isinstance(cell, timedelta):
        return _duration(cell)
    if isinstance(cell, (date, time)):
        whole_day = moment and not isinstance(cell, (datetime, time))
        return cell.isoformat() + ("T00:00:00" if whole_day else "")
    return str(cell)


def _number(cell: float) -> str:
    return str(int(cell)) if float(cell).is_integer() else f"{Decimal(f'{cell:.15g}'):f}"


def _duration(cell: timedelta) -> str:
    sign, seconds = ("-", -cell) if cell < timedelta() else ("", cell)
    total = round(seconds.total_seconds())
    return f"{sign}{total // 3600:02}:{total // 60 % 60:02}:{total % 60:02}"


def _parts() -> dict[str, str]:
    """Sheet name → the part of the package that holds it."""
    with zipfile.ZipFile(sys.stdin.buffer) as package:
        with package.open("xl/workbook.xml") as part:
            ids = {each.get("name", ""): each.get(_RELATION) for each in parse(part).iterfind(".//{*}sheet")}
        with package.open("xl/_rels/workbook.xml.rels") as part:
            targets = {each.get("Id"): each.get("Target", "") for each in parse(part).iterfind(".//{*}Relationship")}
    found = {name: targets.get(relation, "") for name, relation in ids.items()}
    return {name: target.lstrip("/") if target.startswith("/") else f"xl/{target}" for name, target in found.items()}


def _errors(part: str) -> dict[int, dict[int, str]]:
    """The error cells of a sheet: row → column → text, both counted from 0."""
    found: dict[int, dict[int, str]] = {}
    with zipfile.ZipFile(sys.stdin.buffer) as package:
        if part not in package.namelist():
            return found
        with package.open(part) as content:
            rest = b""
            while chunk := content.read(1024**2):
                rest += chunk
                end = max(rest.rfind(b"</c>"), rest.rfind(b":c>")) + 3
                if any(mark in rest for mark in _ERROR_TYPE):
                    for column, row, text in _ERROR_CELL.findall(rest, 0, max(end, 0)):
                        found.setdefault(int(row) - 1, {})[_column(column)] = text.decode()
                rest = rest[max(end, 0) :]
    return found


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number - 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
