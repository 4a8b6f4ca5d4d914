"""Columns of platform values into the notation of source frames, shared by all connectors.

Everything here maps text to text and loses nothing: a value that cannot be read as what it should be is
left as it stands, so that the mapping can report it with its record.
"""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from operator import itemgetter
from types import NoneType
from typing import Any, BinaryIO, Final, Literal

import orjson
import polars as pl

from connectors.errors import ContractChanged

ISO_FORMATS: Final = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.fZ", "%Y-%m-%d %H:%M:%S%.f%#z")
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_LARGEST_EXPONENT = 400  # beyond any platform's number; keeps "1e999999999" from becoming a gigabyte


def records_to_frame(records: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> pl.DataFrame:
    """JSON records as a source frame of exactly ``fields``; absent, null and blank are all null.

    Booleans become ``true``/``false``, numbers plain decimals, nested values JSON text. Numbers are exact
    where the records were read by ``Answer.json``, which keeps fractions as ``Decimal``.
    """
    if not records:
        return empty_frame(fields)
    return pl.DataFrame([_column(*column) for column in zip(fields, _columns(records, fields), strict=True)])


def empty_frame(fields: Sequence[str]) -> pl.DataFrame:
    """A source frame without rows."""
    return pl.DataFrame(schema=dict.fromkeys(fields, pl.String))


def csv_to_frame(source: bytes | BinaryIO) -> pl.DataFrame:
    """A platform's CSV export (UTF-8, comma, header row, quotes doubled) as a source frame.

    NUL characters are dropped and blank cells are null. Raises ContractChanged where it is not such a CSV.
    """
    data = source if isinstance(source, bytes) else source.read()
    if b"\0" in data:
        data = data.replace(b"\0", b"")
    try:
        frame = pl.read_csv(data, infer_schema=False)
    except pl.exceptions.NoDataError:
        return pl.DataFrame()
    except pl.exceptions.PolarsError as error:
        raise ContractChanged("The platform's CSV export is damaged or not CSV.", detail=str(error)[:300]) from None
    return frame.with_columns(blank_to_null(pl.all()))


def csv_pieces(source: BinaryIO, size: int = 4 * 2**20) -> Iterator[bytes]:
    """A CSV as ``csv_to_frame`` takes it, in pieces of some ``size`` bytes, each with the header row: cut between
    records, so that a large file need not be in memory. At least one piece."""
    header = source.readline()
    rest, first = b"", True
    while block := source.read(size):
        data = rest + block
        end = _last_end(data)
        if end:
            yield header + data[:end]
            first = False
        rest = data[end:]
    if rest or first:
        yield header + rest


def _last_end(data: bytes) -> int:
    """Where the last record that is complete ends, in bytes that begin with a record: behind a line's end that is not
    inside quotes."""
    end, quotes = data.rfind(b"\n"), data.count(b'"')
    behind = len(data)
    while end >= 0:
        quotes -= data.count(b'"', end, behind)
        if quotes % 2 == 0:
            return end + 1
        behind, end = end, data.rfind(b"\n", 0, end)
    return 0


def blank_to_null(value: pl.Expr) -> pl.Expr:
    """Empty text becomes null; text of blanks only stays, for it is somebody's value."""
    return pl.when(value != "").then(value).name.keep()


def plain_number(value: pl.Expr) -> pl.Expr:
    """Numbers in any usual notation as plain decimals: no exponent, plus sign or closing zeros."""
    return value.map_batches(_plain, return_dtype=pl.String)


def iso_datetime(value: pl.Expr, formats: Sequence[str] = ISO_FORMATS) -> pl.Expr:
    """Times that name their zone as UTC: ``2026-11-01T10:00:00Z``, with a fraction only where there is one.

    ``formats`` are chrono patterns with ``%#z`` (or ``%z``) for the offset, or a literal ``Z`` for UTC."""
    return value.map_batches(partial(_moments, formats=formats), return_dtype=pl.String)


def iso_date(value: pl.Expr, formats: Sequence[str]) -> pl.Expr:
    """Dates in a vendor's ``formats`` (chrono patterns, tried in order) as ``2026-11-01``."""
    return _first_of([value.str.to_date(one, strict=False).dt.to_string("%Y-%m-%d") for one in formats], value)


def epoch_datetime(value: pl.Expr, unit: Literal["s", "ms"]) -> pl.Expr:
    """Seconds or milliseconds since 1970 as UTC, ``2026-11-01T10:00:00Z``."""
    scale = 1_000_000 if unit == "s" else 1_000
    whole = (value.cast(pl.Decimal(38, 6), strict=False) * scale).cast(pl.Int64, strict=False)
    return _first_of([_formatted(pl.from_epoch(whole, time_unit="us"))], value)


def html_to_text(value: pl.Expr) -> pl.Expr:
    """Rich text as plain text: block ends become line breaks, tags go, character references are resolved."""
    text = (
        value.str.replace_all(r"(?is)<(script|style)\b.*?</(script|style)\s*>", "")
        .str.replace_all(r"(?is)<!--.*?-->", "")
        .str.replace_all(r"(?i)<br\s*/?>|</(p|div|li|tr|h[1-6]|blockquote)\s*>", "\n")
        .str.replace_all(r"(?i)</t[dh]\s*>", "\t")
        .str.replace_all(r"(?i)<li\b[^>]*>", "- ")
        .str.replace_all(r"(?s)</?[a-zA-Z][^>]*>", "")
        .map_batches(_unescaped, return_dtype=pl.String)
        .str.replace_all("\u00a0", " ", literal=True)
        .str.replace_all(r"[ \t]+\n", "\n")
        .str.replace_all(r"\n{3,}", "\n\n")
        .str.strip_chars()
    )
    return blank_to_null(text)


def money(value: pl.Expr, *, decimal_mark: Literal[".", ","] = ".") -> pl.Expr:
    """Amounts with currency sign, grouping or accounting brackets as plain decimals: ``(1,234.50)`` → ``-1234.5``.

    ``decimal_mark`` is the platform's; guessing it would turn 1,234 into 1.234."""
    group = "," if decimal_mark == "." else "."
    bare = value.str.replace_all(r"[\s\u00a0\u202f'’]|\p{Sc}|\b[A-Z]{3}\b", "")
    # Groups must be whole (threes, or the Indian twos before the last three), else "1,5" would pass as fifteen.
    whole = rf"\d+|\d{{1,3}}({re.escape(group)}\d{{2,3}})*{re.escape(group)}\d{{3}}"
    is_amount = bare.str.contains(r"^(\([^()]+\)|[^()]+)$") & bare.str.contains(
        rf"^\(?[+-]?({whole})({re.escape(decimal_mark)}\d*)?-?\)?$"
    )
    plain = bare.str.replace_all(group, "", literal=True).str.replace(decimal_mark, ".", literal=True)
    signed = plain.str.replace(r"^\((.*)\)$", "-${1}").str.replace(r"^(.*)-$", "-${1}")
    return pl.when(is_amount).then(plain_number(signed)).otherwise(value).name.keep()


def address_json(parts: Mapping[str, pl.Expr]) -> pl.Expr:
    """Address columns as one JSON object holding the parts that are there; null where none is."""
    encoded = [
        pl.when(part.is_not_null()).then(pl.struct(part.alias(name)).struct.json_encode().str.slice(1).str.head(-1))
        for name, part in parts.items()
    ]
    joined = pl.concat_str(encoded, separator=",", ignore_nulls=True)
    return pl.when(pl.any_horizontal(part.is_not_null() for part in parts.values())).then(
        pl.concat_str(pl.lit("{"), joined, pl.lit("}"))
    )


def _columns(records: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> list[Sequence[Any]]:
    """The values of each field."""
    if len(fields) > 1:
        try:
            return list(zip(*map(itemgetter(*fields), records), strict=True))
        except KeyError:  # some record lacks a field
            pass
    return [[record.get(name) for record in records] for name in fields]


def _column(name: str, values: Sequence[Any]) -> pl.Series:
    kinds = set(map(type, values)) - {NoneType}
    if kinds <= {str}:
        text = pl.Series(name, values, dtype=pl.String)
        return text.set(text == "", None)
    if kinds == {bool}:
        return pl.Series(name, values, dtype=pl.Boolean).cast(pl.String)
    if kinds <= {int, float, Decimal}:
        return _plain(pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String))
    return pl.Series(name, [_text(value) for value in values], dtype=pl.String)


def _text(value: object) -> str | None:
    """One value of a column whose kinds differ from record to record."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return _plain_text(str(value))
    try:
        return orjson.dumps(value, default=_nested).decode()
    except orjson.JSONEncodeError:  # an integer of more than 64 bits
        return orjson.dumps(_without_long_integers(value), default=_nested).decode()


def _without_long_integers(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _without_long_integers(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_long_integers(each) for each in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return _nested(value)
    return value


def _nested(value: object) -> float | str:
    """A number inside nested JSON that its writer does not take: a number where a float is exact, else its digits as
    text."""
    number = float(str(value))
    return number if Decimal(repr(number)) == value else str(value)


def _plain(text: pl.Series) -> pl.Series:
    closing = text.str.contains(r"^-?(?:[1-9][0-9]*|0)\.[0-9]*0$")
    if closing.any():  # what floats of whole numbers look like in JSON
        text = text.str.strip_chars_end("0").str.strip_chars_end(".").zip_with(closing.fill_null(value=False), text)
    is_odd = text.str.contains(r"[eE+]|\.\d*0$|\.$|^-?\.|^-?0\d|^-0") & text.str.contains(_NUMBER)
    if not is_odd.any():
        return text
    odd = text.filter(is_odd).unique()
    plain = [_plain_text(value) for value in odd]
    return text.replace(odd, pl.Series(plain, dtype=pl.String))


def _plain_text(text: str) -> str:
    number = Decimal(text)
    if not number.is_finite() or abs(number.adjusted()) > _LARGEST_EXPONENT:
        return text
    if number == 0:
        return "0"
    plain = f"{number:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _moments(texts: pl.Series, formats: Sequence[str]) -> pl.Series:
    """The first of the formats alone where it reads all of the texts, as it usually does."""
    value = pl.col(texts.name)
    usual = texts.to_frame().select(_utc(value, formats[0])).to_series()
    if usual.null_count() == texts.null_count():
        return usual
    return texts.to_frame().select(_first_of([_utc(value, pattern) for pattern in formats], value)).to_series()


def _utc(value: pl.Expr, pattern: str) -> pl.Expr:
    parsed = value.str.to_datetime(pattern, time_unit="us", time_zone="UTC", strict=False)
    return _formatted(parsed)


def _formatted(moment: pl.Expr) -> pl.Expr:
    return moment.dt.to_string("%Y-%m-%dT%H:%M:%S%.fZ")


def _first_of(readings: Sequence[pl.Expr], value: pl.Expr) -> pl.Expr:
    """The first reading that is not null, else the value as it stands.

    Not ``pl.coalesce``: given an expression of several columns, that merges them into one."""
    for reading in reversed(readings):
        value = pl.when(reading.is_not_null()).then(reading).otherwise(value)
    return value.name.keep()


def _unescaped(text: pl.Series) -> pl.Series:
    marked = text.str.contains("&", literal=True)
    if not marked.any():
        return text
    some = text.filter(marked).unique()
    return text.replace(some, pl.Series([html.unescape(value) for value in some], dtype=pl.String))
