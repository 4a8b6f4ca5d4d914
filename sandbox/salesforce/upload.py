"""Reading the CSV upload of a bulk job, as strictly as the platform reads it."""

import csv
import io
import itertools
import sys
from collections.abc import Iterator

import polars as pl

LONGEST_VALUE = 32_000
PARSED_AT_ONCE = 5_000


class JobFailed(Exception):
    """An upload that cannot be worked on at all; the text is the job's ``errorMessage``."""


def parsed(content: bytes, delimiter: str, ending: str) -> pl.DataFrame:
    """A CSV upload as columns of text. Raises JobFailed where it is none."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise JobFailed("InvalidBatch : The content is not UTF-8") from wrong
    first = text.partition("\n")[0]
    if text and first.endswith("\r") != (ending == "CRLF"):
        message = f"ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {ending}"
        raise JobFailed(message)
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        frame = _frame(row for row in reader if row)
    except csv.Error as wrong:
        raise JobFailed(f"InvalidBatch : Failed to parse CSV: {wrong}") from wrong
    if frame.height and frame.select(pl.max_horizontal(pl.all().str.len_chars().max())).item() > LONGEST_VALUE:
        raise JobFailed(f"InvalidBatch : A value holds more than {LONGEST_VALUE} characters")
    return frame


def _frame(rows: Iterator[list[str]]) -> pl.DataFrame:
    """Rows under their header as columns; a part at a time, so that few rows are lists at once."""
    header = next(rows, [])
    if not header:
        raise JobFailed("InvalidBatch : The upload has no header row")
    if len({name.lower() for name in header}) != len(header):
        raise JobFailed("InvalidBatch : A column stands twice in the header")
    parts = [pl.DataFrame(schema=dict.fromkeys(header, pl.String))]
    while part := list(itertools.islice(rows, PARSED_AT_ONCE)):
        if {len(row) for row in part} != {len(header)}:
            raise JobFailed("InvalidBatch : A row has another number of columns than the header")
        columns = zip(header, zip(*part, strict=True), strict=True)
        parts.append(pl.DataFrame([pl.Series(name, values, dtype=pl.String) for name, values in columns]))
    return pl.concat(parts)
