"""From source text to a target field's type, once and never silently.

Each conversion goes two ways. The quick one works over whole columns and answers only where the text is
in the plain form that fits exactly; the careful one takes the rest, converts what can be converted and
says by faults what was wrong or changed. The first fault that holds is the finding; an ``error`` keeps
the record out, a ``note`` lets it go on with the change written down.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

import polars as pl

from connectors import pictures
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
_PLAIN_UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_ZONE = r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
_DATETIME = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[T ]{_CLOCK}{_ZONE}?$"
_PLAIN_DATETIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}(?:\.[0-9]{3}|\.[0-9]{6})?Z$"
_PLAIN_FORMATS = {24: "%Y-%m-%dT%H:%M:%S.%3fZ", 20: "%Y-%m-%dT%H:%M:%SZ", 27: "%Y-%m-%dT%H:%M:%S.%6fZ"}
"""The forms sources promise, by their length in bytes: Polars reads texts of a form of fixed length three times as
fast as others, and is slower where they do not have it."""
_TIME = rf"^{_CLOCK}Z?$"
_PLAIN_TIME = r"^(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}$"
_BELOW_MICROSECOND = r"\.[0-9]{6}[0-9]*[1-9]"
_NUL_IN_JSON = r"(?:^|[^\\])(?:\\\\)*\\u0000"

_ORG_IMAGE = r"/servlet/(?:rtaImage|servlet\.ImageServer)"
"""Where Salesforce keeps the images of rich texts."""
_ANY_IMAGE = rf"{_ORG_IMAGE}|{pictures.ADDRESS}"
"""Pictures that travel become pictures in a rich text only."""

_NUL_MESSAGE = "“{}” contains a NUL character, which no database stores. Remove it at the source."
_CUT_MESSAGE = "“{}” was cut to the microsecond, which is all the target keeps."

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
    """How text becomes ``dtype``; expressions in, expressions out.

    ``exact`` (of text and quick value) is true where ``quick`` gives the value and nothing needs to be told. For
    the other texts ``careful`` gives the value, null where there is none, and ``faults`` (of text and careful value)
    what to tell.
    """

    dtype: pl.DataType
    exact: Callable[[pl.Expr, pl.Expr], pl.Expr]
    quick: Callable[[pl.Expr], pl.Expr]
    careful: Callable[[pl.Expr], pl.Expr]
    faults: Callable[[pl.Expr, pl.Expr], tuple[Fault, ...]]


Maker: TypeAlias = Callable[[FieldInfo], Conversion]


def conversion(info: FieldInfo, *, of_rich: bool = False) -> Conversion:
    """How text becomes a value of the target field; raises RuleInvalid for a type no text becomes. ``of_rich`` says
    that the text is a rich one, whatever the target takes it for."""
    maker = _MAKERS.get(info.type)
    if maker is None:
        raise RuleInvalid(f"Fields of type {info.type.value} are not filled by a mapping.")
    if info.type is FieldType.TEXT and (of_rich or info.rich):
        return _text(info, _image_left(_ORG_IMAGE if info.rich else _ANY_IMAGE))
    return maker(info)


def _trimmed(text: pl.Expr) -> pl.Expr:
    """Outer blanks mean nothing around a number, a date or a flag; blanks alone are blank."""
    bare = text.str.strip_chars()
    return pl.when(bare != "").then(bare)


def _lost(text: pl.Expr, value: pl.Expr) -> pl.Expr:
    """True where something other than blanks was there and nothing came out."""
    return _trimmed(text).is_not_null() & value.is_null()


# --- Text -------------------------------------------------------------------------------------------


def _text(info: FieldInfo, *more: Callable[[pl.Expr], Fault]) -> Conversion:
    faults: list[Callable[[pl.Expr], Fault]] = [_nul]
    if info.length is not None:
        faults.append(_too_long(info.length))
    faults += more
    if info.restricted and info.choices and info.type in {FieldType.PICKLIST, FieldType.MULTIPICKLIST}:
        faults.append(_not_a_choice(info))
    return Conversion(
        pl.String(),
        lambda text, _value: ~pl.any_horizontal(fault(text).when for fault in faults),
        lambda text: text,
        lambda text: text,
        lambda text, _value: tuple(fault(text) for fault in faults),
    )


def _nul(text: pl.Expr) -> Fault:
    return Fault("nul_character", text.str.contains("\x00", literal=True), _NUL_MESSAGE)


def _image_left(pattern: str) -> Callable[[pl.Expr], Fault]:
    message = "“{}” shows an image that is kept by the source org and points back there."
    return lambda text: Fault("image_left", text.str.contains(pattern), message, Severity.NOTE)


def _too_long(length: int) -> Callable[[pl.Expr], Fault]:
    message = f"“{{}}” is longer than the {length} characters that fit."
    return lambda text: Fault("too_long", text.str.len_chars() > length, message)


def _not_a_choice(info: FieldInfo) -> Callable[[pl.Expr], Fault]:
    choices = pl.Series(info.choices, dtype=pl.String).implode()
    some = ", ".join(info.choices[:8]) + (f" and {len(info.choices) - 8} more" if len(info.choices) > 8 else "")
    message = f"“{{}}” is none of the target's values ({some}). Map it to one of them."

    def refused(text: pl.Expr) -> pl.Expr:
        if info.type is FieldType.PICKLIST:
            return ~text.is_in(choices)
        return ~text.str.split(";").list.eval(pl.element().is_in(choices)).list.all()

    return lambda text: Fault("unknown_value", refused(text), message)


def _uuid(_info: FieldInfo) -> Conversion:
    def careful(text: pl.Expr) -> pl.Expr:
        bare = _trimmed(text).str.to_lowercase()
        digits = bare.str.replace_all("-", "", literal=True)
        groups = [digits.str.slice(start, length) for start, length in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
        return pl.when(bare.str.contains(_UUID)).then(pl.concat_str(groups, separator="-"))

    return Conversion(
        pl.String(),
        lambda text, _value: text.str.contains(_PLAIN_UUID),
        lambda text: text,
        careful,
        lambda text, value: (Fault("not_a_uuid", _lost(text, value), "“{}” is not a UUID."),),
    )


def _json(_info: FieldInfo) -> Conversion:
    def faults(text: pl.Expr, value: pl.Expr) -> tuple[Fault, ...]:
        return (
            Fault("not_json", _lost(text, value), "“{}” is not JSON."),
            Fault("nul_character", value.str.contains(_NUL_IN_JSON), _NUL_MESSAGE),
        )

    return Conversion(
        pl.String(),
        lambda text, _value: text.is_null(),
        lambda text: text,
        lambda text: _trimmed(text).map_batches(json_text.canonical, return_dtype=pl.String),
        faults,
    )


def canonical_json() -> Conversion:
    """The conversion of JSON that a rule wrote in canonical form itself."""
    return Conversion(
        pl.String(),
        lambda text, _value: ~text.str.contains("\\u0000", literal=True),
        lambda text: text,
        lambda text: text,
        lambda text, _value: (Fault("nul_character", text.str.contains(_NUL_IN_JSON), _NUL_MESSAGE),),
    )


# --- Numbers ----------------------------------------------------------------------------------------


def _plain(text: pl.Expr) -> pl.Expr:
    """The number without outer blanks and without an exponent."""
    return _trimmed(text).map_batches(_without_exponents, return_dtype=pl.String)


def _without_exponents(numbers: pl.Series) -> pl.Series:
    """``1.5E3`` as ``1500``; sources promise plain notation, so this hardly ever has work to do."""
    with_exponent = numbers.str.contains_any(["e", "E"]).fill_null(value=False)
    if not with_exponent.any():
        return numbers
    distinct = numbers.filter(with_exponent).unique()
    plain = pl.Series([_written_out(number) for number in distinct.to_list()], dtype=pl.String)
    return numbers.replace(distinct, plain)


def _written_out(number: str) -> str:
    """Plain notation, or the text itself where it is no number or one of absurd size."""
    exponent = number.lower().partition("e")[2]
    if not re.fullmatch(_FLOAT, number) or not re.fullmatch(r"[+-]?[0-9]{1,3}", exponent):
        return number
    return format(Decimal(number), "f")


def _integer(info: FieldInfo) -> Conversion:
    digits = info.precision if info.precision and info.precision < 19 else None

    def quick(text: pl.Expr) -> pl.Expr:
        number = text.cast(pl.Int64, strict=False)
        if digits is None:
            return number
        return pl.when(number.is_between(1 - 10**digits, 10**digits - 1)).then(number)

    def careful(text: pl.Expr) -> pl.Expr:
        whole = _plain(text).str.replace(r"^([+-]?[0-9]+)\.0*$", "${1}").str.replace(r"^[+-]?\.0+$", "0")
        return quick(whole)

    def faults(text: pl.Expr, value: pl.Expr) -> tuple[Fault, ...]:
        plain, lost = _plain(text), _lost(text, value)
        return (
            Fault("not_a_number", lost & ~plain.str.contains(_NUMBER), "“{}” is not a number."),
            Fault("not_an_integer", lost & plain.str.contains(r"\.[0-9]*[1-9]"), "“{}” is not a whole number."),
            Fault("out_of_range", lost, "“{}” is too large for the field."),
        )

    return Conversion(pl.Int64(), lambda _text, value: value.is_not_null(), quick, careful, faults)


def _decimal(info: FieldInfo) -> Conversion:
    precision = min(info.precision or MAX_DIGITS, MAX_DIGITS)
    scale = info.scale if info.scale is not None else min(UNSTATED_SCALE, precision)
    if not 0 <= scale <= precision:
        raise RuleInvalid(f"Numbers with {scale} decimals among {precision} digits are not supported.")
    dtype = pl.Decimal(precision, scale)
    # At most 18 digits before the point, so that the pattern alone proves the value fits.
    within = rf"^-?[0-9]{{1,{min(precision - scale, 18)}}}(?:\.[0-9]{{1,{scale}}})?$" if precision > scale else "^$"
    within = within if scale else within.replace(r"(?:\.[0-9]{1,0})?", "")

    def careful(text: pl.Expr) -> pl.Expr:
        plain = _plain(text)
        # Polars rounds a tie to the even neighbour, PostgreSQL away from zero: make the tie a bit more.
        nudged = plain.str.replace(rf"^([^.]*\.[0-9]{{{scale}}}5)0*$", "${1}1")
        return pl.when(plain.str.contains(_NUMBER)).then(nudged.cast(dtype, strict=False))

    def faults(text: pl.Expr, value: pl.Expr) -> tuple[Fault, ...]:
        plain, lost = _plain(text), _lost(text, value)
        too_large = f"“{{}}” has more than the {precision - scale} digits before the point that fit."
        rounded = f"“{{}}” was rounded to {scale} decimals, which is all the target keeps."
        return (
            Fault("not_a_number", lost & ~plain.str.contains(_NUMBER), "“{}” is not a number."),
            Fault("out_of_range", lost, too_large),
            Fault("rounded", plain.str.contains(rf"\.[0-9]{{{scale}}}[0-9]*[1-9]"), rounded, Severity.NOTE),
        )

    return Conversion(
        dtype,
        lambda text, _value: text.str.contains(within),
        lambda text: text.cast(dtype, strict=False),
        careful,
        faults,
    )


def _float(_info: FieldInfo) -> Conversion:
    def quick(text: pl.Expr) -> pl.Expr:
        # Adding zero makes minus zero plain zero.
        return text.cast(pl.Float64, strict=False) + 0.0

    def exact(text: pl.Expr, number: pl.Expr) -> pl.Expr:
        return text.str.contains(_FLOAT) & number.is_finite() & ((number != 0) | (text == "0"))

    def careful(text: pl.Expr) -> pl.Expr:
        bare = _trimmed(text)
        number = quick(bare)
        vanished = (number == 0) & bare.str.contains(r"^[^eE]*[1-9]")
        return pl.when(bare.str.contains(_FLOAT) & number.is_finite() & ~vanished).then(number)

    def faults(text: pl.Expr, value: pl.Expr) -> tuple[Fault, ...]:
        lost = _lost(text, value)
        return (
            Fault("not_a_number", lost & ~_trimmed(text).str.contains(_FLOAT), "“{}” is not a number."),
            Fault("out_of_range", lost, "“{}” is too large or too small for the field."),
        )

    return Conversion(pl.Float64(), exact, quick, careful, faults)


def _boolean(_info: FieldInfo) -> Conversion:
    def careful(text: pl.Expr) -> pl.Expr:
        bare = text.str.strip_chars().str.to_lowercase()
        return pl.when(bare.is_in(["true", "1", "yes", "false", "0", "no"])).then(bare.is_in(["true", "1", "yes"]))

    return Conversion(
        pl.Boolean(),
        lambda text, _value: (text == "true") | (text == "false"),
        lambda text: text == "true",
        careful,
        lambda text, value: (Fault("not_a_boolean", _lost(text, value), "“{}” is neither true nor false."),),
    )


# --- Dates and times --------------------------------------------------------------------------------


def _zoned(text: pl.Expr) -> pl.Expr:
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False)


def _plain_instant(text: pl.Expr) -> pl.Expr:
    """The instant where the text is in a plain form; right only where ``_PLAIN_DATETIME`` holds, too."""
    length = text.str.len_bytes()
    forms = (
        pl.when(length == bytes_long).then(text).str.to_datetime(form, time_unit="us", strict=False)
        for bytes_long, form in _PLAIN_FORMATS.items()
    )
    return pl.coalesce(*forms).dt.replace_time_zone("UTC")


def _within_calendar(instant: pl.Expr) -> pl.Expr:
    """Years 1 to 9999: what Python and every target can hold."""
    return instant.is_between(pl.lit(_EARLIEST, DATETIME), pl.lit(_LATEST, DATETIME))


def _instant(bare: pl.Expr) -> pl.Expr:
    """ISO 8601 text as an instant in UTC; a text without zone is UTC, a date alone its midnight."""
    joined = bare.str.replace(" ", "T", literal=True)
    dated = joined.str.replace(_DATE, "${0}T00:00:00")
    full = dated.str.replace(rf"^(.{{16}})({_ZONE}?)$", "${1}:00${2}")
    zoneless = full.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False).dt.replace_time_zone("UTC")
    instant = pl.coalesce(_zoned(full), zoneless)
    formed = bare.str.contains(_DATETIME) | bare.str.contains(_DATE)
    return pl.when(formed & _within_calendar(instant)).then(instant)


def _datetime(_info: FieldInfo) -> Conversion:
    def faults(text: pl.Expr, value: pl.Expr) -> tuple[Fault, ...]:
        bare = _trimmed(text)
        assumed = "“{}” has no time of day; midnight UTC was taken."
        form = "“{}” is not a date and time such as 2026-11-01T10:00:00Z."
        return (
            Fault("not_a_datetime", _lost(text, value), form),
            Fault("rounded", bare.str.contains(_BELOW_MICROSECOND), _CUT_MESSAGE, Severity.NOTE),
            Fault("time_assumed", bare.str.contains(_DATE), assumed, Severity.NOTE),
        )

    return Conversion(
        DATETIME,
        lambda text, value: text.str.contains(_PLAIN_DATETIME) & _within_calendar(value),
        _plain_instant,
        lambda text: _instant(_trimmed(text)),
        faults,
    )


def _date(_info: FieldInfo) -> Conversion:
    def quick(text: pl.Expr) -> pl.Expr:
        return text.str.to_date("%Y-%m-%d", strict=False)

    def faults(text: pl.Expr, value: pl.Expr) -> tuple[Fault, ...]:
        dropped = "“{}” has a time of day; its date in UTC was taken."
        return (
            Fault("not_a_date", _lost(text, value), "“{}” is not a date such as 2026-11-01."),
            Fault("time_dropped", _trimmed(text).str.contains(_DATETIME), dropped, Severity.NOTE),
        )

    return Conversion(
        pl.Date(),
        lambda text, value: text.str.contains(_DATE) & (value >= pl.lit(_EARLIEST.date())),
        quick,
        lambda text: _instant(_trimmed(text)).dt.date(),
        faults,
    )


def _time(_info: FieldInfo) -> Conversion:
    def quick(text: pl.Expr) -> pl.Expr:
        return text.str.to_time("%H:%M:%S", strict=False)

    def careful(text: pl.Expr) -> pl.Expr:
        bare = _trimmed(text)
        full = bare.str.strip_chars_end("Z").str.replace(r"^(.{5})$", "${1}:00")
        cut = full.str.replace(r"(\.[0-9]{6})[0-9]+$", "${1}")
        return pl.when(bare.str.contains(_TIME)).then(cut.str.to_time("%H:%M:%S%.f", strict=False))

    def faults(text: pl.Expr, value: pl.Expr) -> tuple[Fault, ...]:
        return (
            Fault("not_a_time", _lost(text, value), "“{}” is not a time of day such as 10:00:00."),
            Fault("rounded", text.str.contains(_BELOW_MICROSECOND), _CUT_MESSAGE, Severity.NOTE),
        )

    return Conversion(pl.Time(), lambda text, _value: text.str.contains(_PLAIN_TIME), quick, careful, faults)


_MAKERS: dict[FieldType, Maker] = {
    FieldType.TEXT: _text,
    FieldType.PICKLIST: _text,
    FieldType.MULTIPICKLIST: _text,
    FieldType.REFERENCE: _text,
    FieldType.UUID: _uuid,
    FieldType.CONTENT: _text,
    FieldType.JSON: _json,
    FieldType.INTEGER: _integer,
    FieldType.DECIMAL: _decimal,
    FieldType.FLOAT: _float,
    FieldType.BOOLEAN: _boolean,
    FieldType.DATE: _date,
    FieldType.TIME: _time,
    FieldType.DATETIME: _datetime,
}
