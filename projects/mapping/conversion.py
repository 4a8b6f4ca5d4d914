"""From source text to a target field's type, once and never silently.

A conversion is a value expression beside the faults to look for. ``suspect`` is a cheap mask over whole
columns; the faults, which cost more, are told apart only among the suspects. The first fault that holds
is the finding; ``error`` keeps the record out, ``note`` lets it go on with the change written down.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

import polars as pl

from connectors.types import FieldInfo, FieldType
from projects.mapping import json_text
from projects.mapping.problems import RuleInvalid

MAX_DIGITS = 38
UNSTATED_SCALE = 18
"""Decimals kept for a target that states no scale of its own."""

DATETIME = pl.Datetime("us", "UTC")

_NUMBER = r"^[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)$"
_FLOAT = r"^[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_UUID = r"^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_ZONE = r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
_DATETIME = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[T ]{_CLOCK}{_ZONE}?$"
_TIME = rf"^{_CLOCK}Z?$"
_BELOW_MICROSECOND = r"\.[0-9]{6}[0-9]*[1-9]"
_NUL_IN_JSON = r"(?:^|[^\\])(?:\\\\)*\\u0000"

_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


class Severity(StrEnum):
    ERROR = "error"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Fault:
    """``message`` is a sentence for staff with the first ``{}`` in the place of the value."""

    rule: str
    when: pl.Expr
    message: str
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, slots=True)
class Conversion:
    """How text becomes ``dtype``. ``suspect`` and ``faults`` read the text and the converted value."""

    dtype: pl.DataType
    value: Callable[[pl.Expr], pl.Expr]
    suspect: Callable[[pl.Expr, pl.Expr], pl.Expr]
    faults: Callable[[pl.Expr, pl.Expr], tuple[Fault, ...]]


Maker: TypeAlias = Callable[[FieldInfo], Conversion]


def conversion(info: FieldInfo) -> Conversion:
    """How text becomes a value of the target field; raises RuleInvalid for a type no text becomes."""
    maker = _MAKERS.get(info.type)
    if maker is None:
        raise RuleInvalid(f"Fields of type {info.type.value} are not filled by a mapping.")
    return maker(info)


def _always() -> pl.Expr:
    return pl.lit(value=True)


def _lost(text: pl.Expr, value: pl.Expr) -> pl.Expr:
    """True where something was there and nothing came out."""
    return text.is_not_null() & value.is_null()


def _trimmed(text: pl.Expr) -> pl.Expr:
    """Outer blanks mean nothing around a number, a date or a flag; blanks alone are blank."""
    bare = text.str.strip_chars()
    return pl.when(bare != "").then(bare)


def _trimmed_lost(text: pl.Expr, value: pl.Expr) -> pl.Expr:
    return _lost(_trimmed(text), value)


# --- Text -------------------------------------------------------------------------------------------


def _text(info: FieldInfo) -> Conversion:
    faults = [_nul()]
    suspects: list[Callable[[pl.Expr], pl.Expr]] = [_has_nul]
    if info.length is not None:
        length = info.length
        faults.append(
            lambda text: Fault(
                "too_long",
                text.str.len_chars() > length,
                f"The text is longer than the {length} characters that fit: “{{}}”.",
            )
        )
        suspects.append(lambda text: text.str.len_chars() > length)
    if info.restricted and info.choices and info.type in {FieldType.PICKLIST, FieldType.MULTIPICKLIST}:
        allowed = _allowed(info)
        message = f"“{{}}” is none of the target's values ({_shown(info.choices)}). Map it to one of them."
        faults.append(lambda text: Fault("unknown_value", ~allowed(text), message))
        suspects.append(lambda text: ~allowed(text))
    return Conversion(
        pl.String(),
        lambda text: text,
        lambda text, _value: pl.any_horizontal(suspect(text) for suspect in suspects),
        lambda text, _value: tuple(fault(text) for fault in faults),
    )


def _nul() -> Callable[[pl.Expr], Fault]:
    message = "The text contains a NUL character, which no database stores. Remove it: “{}”."
    return lambda text: Fault("nul_character", _has_nul(text), message)


def _has_nul(text: pl.Expr) -> pl.Expr:
    return text.str.contains("\x00", literal=True)


def _allowed(info: FieldInfo) -> Callable[[pl.Expr], pl.Expr]:
    choices = pl.Series(info.choices, dtype=pl.String).implode()
    if info.type is FieldType.PICKLIST:
        return lambda text: text.is_in(choices)
    return lambda text: text.str.split(";").list.eval(pl.element().is_in(choices)).list.all()


def _shown(choices: Iterable[str]) -> str:
    listed = list(choices)
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")


def _uuid(_info: FieldInfo) -> Conversion:
    def value(text: pl.Expr) -> pl.Expr:
        bare = _trimmed(text).str.to_lowercase()
        digits = bare.str.replace_all("-", "", literal=True)
        groups = [digits.str.slice(start, length) for start, length in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
        return pl.when(bare.str.contains(_UUID)).then(pl.concat_str(groups, separator="-"))

    fault = Fault("not_a_uuid", _always(), "“{}” is not a UUID.")
    return Conversion(pl.String(), value, _trimmed_lost, lambda _text, _value: (fault,))


def _json(_info: FieldInfo) -> Conversion:
    def value(text: pl.Expr) -> pl.Expr:
        return _trimmed(text).map_batches(json_text.canonical, return_dtype=pl.String)

    def faults(_text: pl.Expr, value: pl.Expr) -> tuple[Fault, ...]:
        nul = "The text contains a NUL character, which no database stores. Remove it: “{}”."
        return (
            Fault("not_json", value.is_null(), "“{}” is not JSON."),
            Fault("nul_character", value.str.contains(_NUL_IN_JSON), nul),
        )

    def suspect(text: pl.Expr, value: pl.Expr) -> pl.Expr:
        return _trimmed_lost(text, value) | value.str.contains("\\u0000", literal=True)

    return Conversion(pl.String(), value, suspect, faults)


# --- Numbers ----------------------------------------------------------------------------------------


def _plain(text: pl.Expr) -> pl.Expr:
    """The number without outer blanks and without an exponent."""
    return _trimmed(text).map_batches(_without_exponents, return_dtype=pl.String)


def _without_exponents(numbers: pl.Series) -> pl.Series:
    """``1.5E3`` as ``1500``; sources promise plain notation, so this hardly ever has work to do."""
    with_exponent = numbers.str.contains_any(["e", "E"])
    if not with_exponent.any():
        return numbers
    distinct = numbers.filter(with_exponent).unique()
    plain = pl.Series([_written_out(number) for number in distinct.to_list()], dtype=pl.String)
    return numbers.replace(distinct, plain)


def _written_out(number: str) -> str:
    """Plain notation, or the text itself where it is no number or one of absurd size."""
    if not re.fullmatch(_FLOAT, number) or not re.fullmatch(r"[+-]?[0-9]{1,3}", number.lower().partition("e")[2]):
        return number
    return format(Decimal(number), "f")


def _integer(info: FieldInfo) -> Conversion:
    digits = info.precision if info.precision and info.precision < 19 else None

    def value(text: pl.Expr) -> pl.Expr:
        whole = _plain(text).str.replace(r"^([+-]?[0-9]+)\.0*$", "${1}").str.replace(r"^[+-]?\.0+$", "0")
        number = whole.cast(pl.Int64, strict=False)
        if digits is None:
            return number
        return pl.when(number.is_between(1 - 10**digits, 10**digits - 1)).then(number)

    def faults(text: pl.Expr, _value: pl.Expr) -> tuple[Fault, ...]:
        plain = _plain(text)
        return (
            Fault("not_a_number", ~plain.str.contains(_NUMBER), "“{}” is not a number."),
            Fault("not_an_integer", plain.str.contains(r"\.[0-9]*[1-9]"), "“{}” is not a whole number."),
            Fault("out_of_range", _always(), "“{}” is too large for the field."),
        )

    return Conversion(pl.Int64(), value, _trimmed_lost, faults)


def _decimal(info: FieldInfo) -> Conversion:
    precision = info.precision or MAX_DIGITS
    scale = info.scale if info.scale is not None else min(UNSTATED_SCALE, precision)
    if not 0 <= scale <= precision <= MAX_DIGITS:
        raise RuleInvalid(
            f"Numbers of {precision} digits, {scale} of them decimals, are not supported ({MAX_DIGITS} is the most)."
        )
    dtype = pl.Decimal(precision, scale)
    more_decimals = rf"\.[0-9]{{{scale}}}[0-9]*[1-9]"

    def value(text: pl.Expr) -> pl.Expr:
        plain = _plain(text)
        # Polars rounds a tie to the even neighbour, PostgreSQL away from zero: make the tie a bit more.
        nudged = plain.str.replace(rf"^([^.]*\.[0-9]{{{scale}}}5)0*$", "${1}1")
        return pl.when(plain.str.contains(_NUMBER)).then(nudged.cast(dtype, strict=False))

    def faults(text: pl.Expr, value: pl.Expr) -> tuple[Fault, ...]:
        plain = _plain(text)
        return (
            Fault("not_a_number", ~plain.str.contains(_NUMBER), "“{}” is not a number."),
            Fault(
                "out_of_range",
                value.is_null(),
                f"“{{}}” has more than the {precision - scale} digits before the point that fit.",
            ),
            Fault(
                "rounded",
                _always(),
                f"“{{}}” was rounded to {scale} decimals, which is all the target keeps.",
                Severity.NOTE,
            ),
        )

    def suspect(text: pl.Expr, value: pl.Expr) -> pl.Expr:
        plain = _plain(text)
        return _lost(plain, value) | plain.str.contains(more_decimals)

    return Conversion(dtype, value, suspect, faults)


def _float(_info: FieldInfo) -> Conversion:
    def value(text: pl.Expr) -> pl.Expr:
        bare = _trimmed(text)
        # Adding zero makes minus zero plain zero; an underflow is refused like an overflow.
        number = bare.cast(pl.Float64, strict=False) + 0.0
        vanished = (number == 0) & bare.str.contains(r"^[^eE]*[1-9]")
        return pl.when(bare.str.contains(_FLOAT) & number.is_finite() & ~vanished).then(number)

    def faults(text: pl.Expr, _value: pl.Expr) -> tuple[Fault, ...]:
        return (
            Fault("not_a_number", ~_trimmed(text).str.contains(_FLOAT), "“{}” is not a number."),
            Fault("out_of_range", _always(), "“{}” is too large or too small for the field."),
        )

    return Conversion(pl.Float64(), value, _trimmed_lost, faults)


def _boolean(_info: FieldInfo) -> Conversion:
    yes, no = ["true", "1", "yes"], ["false", "0", "no"]

    def value(text: pl.Expr) -> pl.Expr:
        bare = text.str.strip_chars().str.to_lowercase()
        return pl.when(bare.is_in(yes)).then(True).when(bare.is_in(no)).then(False)  # noqa: FBT003 - the values themselves

    fault = Fault("not_a_boolean", _always(), "“{}” is neither true nor false.")
    return Conversion(pl.Boolean(), value, _trimmed_lost, lambda _text, _value: (fault,))


# --- Dates and times --------------------------------------------------------------------------------


def _instant(bare: pl.Expr) -> pl.Expr:
    """ISO 8601 text as an instant in UTC; a text without zone is UTC, a date alone its midnight."""
    joined = bare.str.replace(" ", "T", literal=True)
    dated = joined.str.replace(_DATE, "${0}T00:00:00")
    full = dated.str.replace(rf"^(.{{16}})({_ZONE}?)$", "${1}:00${2}")
    zoned = full.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False)
    zoneless = full.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False).dt.replace_time_zone("UTC")
    instant = pl.coalesce(zoned, zoneless)
    formed = bare.str.contains(_DATETIME) | bare.str.contains(_DATE)
    return pl.when(formed & instant.is_between(pl.lit(_EARLIEST, DATETIME), pl.lit(_LATEST, DATETIME))).then(instant)


def _datetime(_info: FieldInfo) -> Conversion:
    def faults(text: pl.Expr, value: pl.Expr) -> tuple[Fault, ...]:
        cut = "“{}” was cut to the microsecond, which is all the target keeps."
        return (
            Fault("not_a_datetime", value.is_null(), "“{}” is not a date and time such as 2026-11-01T10:00:00Z."),
            Fault("rounded", _trimmed(text).str.contains(_BELOW_MICROSECOND), cut, Severity.NOTE),
            Fault("time_assumed", _always(), "“{}” has no time of day; midnight UTC was taken.", Severity.NOTE),
        )

    def suspect(text: pl.Expr, value: pl.Expr) -> pl.Expr:
        bare = _trimmed(text)
        return _lost(bare, value) | bare.str.contains(_BELOW_MICROSECOND) | (bare.str.len_bytes() == 10)

    return Conversion(DATETIME, lambda text: _instant(_trimmed(text)), suspect, faults)


def _date(_info: FieldInfo) -> Conversion:
    def faults(_text: pl.Expr, value: pl.Expr) -> tuple[Fault, ...]:
        return (
            Fault("not_a_date", value.is_null(), "“{}” is not a date such as 2026-11-01."),
            Fault("time_dropped", _always(), "“{}” has a time of day; its date in UTC was taken.", Severity.NOTE),
        )

    def suspect(text: pl.Expr, value: pl.Expr) -> pl.Expr:
        bare = _trimmed(text)
        return _lost(bare, value) | (bare.str.len_bytes() > 10)

    return Conversion(pl.Date(), lambda text: _instant(_trimmed(text)).dt.date(), suspect, faults)


def _time(_info: FieldInfo) -> Conversion:
    def value(text: pl.Expr) -> pl.Expr:
        bare = _trimmed(text)
        full = (
            bare.str.strip_chars_end("Z")
            .str.replace(r"^(.{5})$", "${1}:00")
            .str.replace(r"(\.[0-9]{6})[0-9]+$", "${1}")
        )
        return pl.when(bare.str.contains(_TIME)).then(full.str.to_time("%H:%M:%S%.f", strict=False))

    def faults(_text: pl.Expr, value: pl.Expr) -> tuple[Fault, ...]:
        cut = "“{}” was cut to the microsecond, which is all the target keeps."
        return (
            Fault("not_a_time", value.is_null(), "“{}” is not a time of day such as 10:00:00."),
            Fault("rounded", _always(), cut, Severity.NOTE),
        )

    def suspect(text: pl.Expr, value: pl.Expr) -> pl.Expr:
        return _trimmed_lost(text, value) | text.str.contains(_BELOW_MICROSECOND)

    return Conversion(pl.Time(), value, suspect, faults)


_MAKERS: dict[FieldType, Maker] = {
    FieldType.TEXT: _text,
    FieldType.PICKLIST: _text,
    FieldType.MULTIPICKLIST: _text,
    FieldType.REFERENCE: _text,
    FieldType.UUID: _uuid,
    FieldType.JSON: _json,
    FieldType.INTEGER: _integer,
    FieldType.DECIMAL: _decimal,
    FieldType.FLOAT: _float,
    FieldType.BOOLEAN: _boolean,
    FieldType.DATE: _date,
    FieldType.TIME: _time,
    FieldType.DATETIME: _datetime,
}
