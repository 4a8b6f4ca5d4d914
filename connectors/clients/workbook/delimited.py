"""CSV and TSV: a file's columns, and its records as text frames, block by block.

Blocks end between records and are parsed by Polars. A parse is believed only when arithmetic proves
it: the bytes must be those of the cells, of what stands between them and of the quotation marks. Anything else
(short or long rows, odd quoting, blank lines) is read again by Python's strict parser, which is slower,
exact, and knows line numbers.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import polars as pl

from connectors.clients.workbook.encoding import Encoding, detect, unreadable
from connectors.clients.workbook.limits import BLOCK_BYTES, MAX_COLUMNS, MAX_RECORD_BYTES, MIB
from connectors.errors import InputInvalid

DELIMITERS = (",", ";", "\t", "|")
_NO_DELIMITER = "\x1f"  # for files of one column: the ASCII unit separator, which text does not use
_SNIFFED_RECORDS = 100
_CELL_LINES = 100_000
_EXCEL_HINT = re.compile(rb"sep=([,;\t|])\r?\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is written: where its first record starts (bytes, and line counted from 1)."""

    encoding: Encoding
    delimiter: str
    columns: tuple[str, ...]
    data_offset: int
    data_line: int


@dataclass(frozen=True, slots=True)
class Block:
    """Some whole records: bytes ``start`` to ``end`` of the file, beginning at ``line``."""

    start: int
    end: int
    line: int
    frame: pl.DataFrame


def layout(file: BinaryIO, label: str, *, encoding: Encoding | None = None, codec: str = "") -> Layout:
    """How ``file`` is written; raises InputInvalid for an empty file and an unusable header.

    ``encoding`` is a known result of an earlier look and saves the scan; ``codec`` is a person's choice.
    """
    known = encoding or detect(file, label, codec)
    text, _, _ = _records_at(file, known.mark, known, label, line=1)
    if not text.strip():
        raise InputInvalid(f"{label} is empty. Give a file whose first line names the columns.")
    if b"\r" in text and b"\n" not in text:
        raise InputInvalid(f"{label} uses the line ends of old Macintosh programs. Save it again as CSV UTF-8.")
    hint = _EXCEL_HINT.match(text)
    skipped = hint.end() if hint else len(text) - len(text.lstrip(b"\r\n"))
    sample = text[skipped : skipped + MIB]
    delimiter = hint[1].decode() if hint else _sniff(sample)
    cells, header_bytes = _header(text[skipped:], delimiter, label)
    offset = known.mark + known.raw_length(text[: skipped + header_bytes])
    line = 1 + text.count(b"\n", 0, skipped + header_bytes)
    return Layout(known, delimiter, _columns(cells, label), offset, line)


def blocks(file: BinaryIO, written: Layout, label: str, *, start: int = 0, line: int = 0) -> Iterator[Block]:
    """The records from byte ``start`` (of line ``line``) on; from the first record where they are 0.

    Records without any value (blank lines, rows of delimiters only) are left out. Raises InputInvalid
    naming the line where a row has more or fewer cells than the header.
    """
    start, line = (start, line) if start else (written.data_offset, written.data_line)
    while True:
        text, length, marks = _records_at(file, start, written.encoding, label, line=line)
        if not length:
            return
        frame = _parse(text, marks, written, label, line)
        lines = text.count(b"\n")
        del text  # as large as what is made of it, and not wanted while that is used
        yield Block(start, start + length, line, frame)
        start, line = start + length, line + lines


def _records_at(file: BinaryIO, start: int, encoding: Encoding, label: str, *, line: int) -> tuple[bytes, int, int]:
    """Whole records from byte ``start`` on, about ``BLOCK_BYTES`` of them: as UTF-8, their raw length, and how many
    quotation marks they have."""
    wanted = BLOCK_BYTES
    while True:
        file.seek(start)
        raw = file.read(wanted)
        final = len(raw) < wanted
        text = encoding.to_utf8(raw, final=final, label=label)
        end, marks = _last_record_end(text)
        more = text.count(b'"', end) if final else 0
        if final and more % 2 == 0:
            return text, len(raw), marks + more
        if end and not final:
            text = text[:end]
            return text, encoding.raw_length(text), marks
        if final or wanted >= MAX_RECORD_BYTES:
            raise _endless_record(text[end:], label, line + text.count(b"\n", 0, end), whole=final)
        wanted *= 2


def _last_record_end(text: bytes) -> tuple[int, int]:
    """Where the last whole record of ``text`` ends: after a newline with an even number of quotes before it, which is
    told as well.

    Both are 0 where there is none, or none near: no genuine cell has ``_CELL_LINES`` lines with quotes in them.
    """
    end = text.rfind(b"\n") + 1
    quotes = text.count(b'"', 0, end)
    for _ in range(_CELL_LINES):
        if quotes % 2 == 0:
            return end, quotes
        last = text.rfind(b'"', 0, end)
        earlier = text.rfind(b"\n", 0, last) + 1
        quotes -= text.count(b'"', earlier, end)
        end = earlier
    return 0, 0


def _endless_record(text: bytes, label: str, line: int, *, whole: bool) -> InputInvalid:
    if b'"' not in text:
        return InputInvalid(
            f"{label}, line {line:,}: one line is longer than {MAX_RECORD_BYTES // MIB} MiB. "
            "This is no table; export the data again as CSV UTF-8."
        )
    cut = " before the end of the file (is the file complete?)" if whole else f" within {MAX_RECORD_BYTES // MIB} MiB"
    return InputInvalid(
        f"{label}, record of line {line:,}: a quotation mark is opened and not closed{cut}. "
        "Double the quotation marks inside cells, or export the file again."
    )


def _sniff(sample: bytes) -> str:
    """The delimiter: the one the header uses and the first records agree on, else the header's commonest."""
    unquoted = re.sub(rb'"[^"]*"?', b"", sample)
    lines = [line for line in unquoted.splitlines()[:_SNIFFED_RECORDS] if line]
    counts = {mark: lines[0].count(mark.encode()) if lines else 0 for mark in DELIMITERS}
    used = sorted((mark for mark in DELIMITERS if counts[mark]), key=lambda mark: -counts[mark])
    for mark in used:
        if all(line.count(mark.encode()) == counts[mark] for line in lines):
            return mark
    return used[0] if used else _NO_DELIMITER


def _header(text: bytes, delimiter: str, label: str) -> tuple[list[str], int]:
    """The header's cells, and how many bytes of ``text`` they took."""
    first = _first_record(text)
    try:
        cells = next(csv.reader(io.StringIO(first.decode(), newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InputInvalid(f"{label}: the header cannot be read ({error}). Export it again as CSV UTF-8.") from error
    return cells, len(first)


def _first_record(text: bytes) -> bytes:
    end, quotes = 0, 0
    while True:
        newline = text.find(b"\n", end)
        following = newline + 1 if newline >= 0 else len(text)
        quotes += text.count(b'"', end, following)
        end = following
        if newline < 0 or quotes % 2 == 0:
            return text[:end]


def _columns(cells: list[str], label: str) -> tuple[str, ...]:
    if len(cells) > MAX_COLUMNS:
        raise InputInvalid(f"{label} has {len(cells):,} columns; at most {MAX_COLUMNS:,} can be read. Split it.")
    names = tuple(cell.strip() for cell in cells)
    for place, name in enumerate(names, start=1):
        if not name:
            raise InputInvalid(f"{label}: column {place} has no name in the header. Name it or remove the column.")
        if names.index(name) < place - 1:
            raise InputInvalid(
                f"{label}: the columns {names.index(name) + 1} and {place} are both named “{name[:100]}”. Rename one."
            )
    return names


def _parse(text: bytes, marks: int, written: Layout, label: str, line: int) -> pl.DataFrame:
    try:
        frame = _fast(text, marks, written)
    except pl.exceptions.PolarsError:
        frame = None
    if frame is None:
        frame = _exact(text, written, label, line)
    return _without_blank_records(frame)


def _fast(text: bytes, marks: int, written: Layout) -> pl.DataFrame | None:
    """What Polars makes of the records, which have so many quotation ``marks``, or None where the count of bytes does
    not prove it right.

    Polars refuses rows that are too long and fills up those that are too short, so as many bytes as the
    frame needs mean that every row had its cells. Lone carriage returns, which only some programs
    take for a line's end, are left to the exact parser.
    """
    returns = text.count(b"\r") if b"\r" in text else 0
    if returns != (text.count(b"\r\n") if returns else 0):
        return None
    # The header of our own keeps Polars from unpacking blocks that begin like zlib data (“x^”); without a
    # newline at the end it overlooks one cell too many.
    names = [f"c{place}" for place in range(len(written.columns))]
    frame = pl.read_csv(
        b"".join((written.delimiter.join(names).encode(), b"\n", text, b"" if text.endswith(b"\n") else b"\n")),
        schema=dict.fromkeys(names, pl.String()),
        separator=written.delimiter,
        quote_char='"',
    )
    frame.columns = list(written.columns)
    whole = len(text) + (not text.endswith(b"\n"))
    rest = whole - _sum(frame, pl.all().str.len_bytes()) - frame.height * frame.width  # a delimiter or newline a cell
    rest -= returns - (_sum(frame, pl.all().str.count_matches("\r", literal=True)) if returns else 0)
    if not marks:
        return frame if not rest else None
    inside = 0
    if marks != 2 * _openings(text, written.delimiter):  # else each mark that opens has its closing one: that is all
        if _misquoted(text, written.delimiter):
            return None
        inside = _sum(frame, pl.all().str.count_matches('"', literal=True))
    if rest != marks - inside:
        return None
    return frame.with_columns(pl.when(pl.all() != "").then(pl.all()))


def _sum(frame: pl.DataFrame, of_cells: pl.Expr) -> int:
    return sum(frame.select(of_cells.sum()).row(0))


def _openings(text: bytes, delimiter: str) -> int:
    """How many quotation marks stand where one can open a cell."""
    # In one pass, which takes a sixth of counting both in bytes; in parts, for Polars copies what it looks through.
    pattern = f'[{delimiter}\n]"'
    found, start = int(text.startswith(b'"')), 0
    while start < len(text):
        end = text.find(b"\n", start + MIB)  # each part ends before a newline, with which the next one begins
        part = text[start : end if end >= 0 else len(text)]
        found += pl.Series([part]).cast(pl.String).str.count_matches(pattern).item()
        start += len(part)
    return found


def _misquoted(text: bytes, delimiter: str) -> bool:
    """Whether a quotation mark stands where it can neither open, close nor be doubled.

    Polars would drop such marks without a word. This finds all but contrived ones (of random rubbish
    about 1 in 3,000 goes unseen); right text that is suspected is only read more slowly.
    """
    ends = delimiter.encode() + b"\r\n"
    shape = b"," + text.translate(bytes(44 if code in ends else 34 if code == 34 else 97 for code in range(256)))
    return any(odd in shape for odd in (b'a"a', b',""a', b',""""a'))


def _exact(text: bytes, written: Layout, label: str, line: int) -> pl.DataFrame:
    csv.field_size_limit(MAX_RECORD_BYTES)  # the module's default of 128 KiB is less than a Salesforce text area
    try:
        lines = io.StringIO(text.decode(), newline="")
    except UnicodeDecodeError as error:  # only where the file was replaced while it was read
        raise unreadable(label, "utf-8") from error
    reader = csv.reader(lines, delimiter=written.delimiter, strict=True)
    width = len(written.columns)
    rows: list[list[str | None]] = []
    before = 0
    try:
        for cells in reader:
            if cells and len(cells) != width:
                raise _ragged(cells, width, label, line + before)
            if cells:
                rows.append([cell or None for cell in cells])
            before = reader.line_num
    except csv.Error as error:
        raise InputInvalid(
            f"{label}, line {line + before:,}: the quotation marks are not right ({error}). "
            "Double the quotation marks inside cells, or export the file again."
        ) from error
    return pl.DataFrame(rows, schema=dict.fromkeys(written.columns, pl.String), orient="row")


def _ragged(cells: list[str], width: int, label: str, line: int) -> InputInvalid:
    more = "more" if len(cells) > width else "fewer"
    return InputInvalid(
        f"{label}, line {line:,}: the row has {len(cells):,} cells, {more} than the {width:,} columns of the header. "
        "Put cells that hold a delimiter or a line break in quotation marks, or correct the row."
    )


def _without_blank_records(frame: pl.DataFrame) -> pl.DataFrame:
    blank = frame.select(pl.all_horizontal(pl.all().is_null()).any()).item() if frame.height else False
    return frame.filter(~pl.all_horizontal(pl.all().is_null())) if blank else frame
