"""From the text of a request to values as they are stored, a column at a time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from sandbox.salesforce import ids
from sandbox.salesforce.schema import NUMBER_TYPES, Field

ID = r"^[A-Za-z0-9]{15}([A-Za-z0-9]{3})?$"
_DATE = r"^\d{4}-\d{2}-\d{2}"
_STAMP = "%Y-%m-%dT%H:%M:%S.000Z"


@dataclass(frozen=True, slots=True)
class Converted:
    """``values`` as stored, null where there is none; ``wrong`` where a text is not of the field's type."""

    values: pl.Series
    wrong: pl.Series


def converted(field: Field, text: pl.Series) -> Converted:
    """A column of texts in ISO and XML Schema notation (what both REST and bulk files carry) as stored values."""
    values = _values(field, text)
    return Converted(values, text.is_not_null() & values.is_null())


def normalised(values: pl.Series) -> pl.Series:
    """Ids in their 18-character form; what is no id stays as it is."""
    if not (values.str.len_chars() == 15).any():
        return values
    return values.map_elements(ids.normalised, return_dtype=pl.String)


def _values(field: Field, text: pl.Series) -> pl.Series:
    if field.type in NUMBER_TYPES:
        return _finite(text).round(field.scale, mode="half_away_from_zero")
    read = _READERS.get(field.type)
    return text if read is None else read(text)


def _flags(text: pl.Series) -> pl.Series:
    return text.str.to_lowercase().replace_strict({"true": 1, "1": 1, "false": 0, "0": 0}, default=None)


def _finite(text: pl.Series) -> pl.Series:
    values = text.str.strip_chars().cast(pl.Float64, strict=False)
    return values.set(~values.is_finite(), None)


def _whole(text: pl.Series) -> pl.Series:
    values = _finite(text)
    return values.set((values != values.floor()) | (values.abs() >= 2**53), None).cast(pl.Int64)


def _dates(text: pl.Series) -> pl.Series:
    day = text.set(~text.str.contains(_DATE + r"(T.*)?$"), None).str.head(10)
    return day.set(day.str.to_date("%Y-%m-%d", strict=False).is_null(), None)


def _moments(text: pl.Series) -> pl.Series:
    """UTC, whole seconds; a day alone is its midnight."""
    zoned = text.str.replace("Z$", "+0000")
    moments = zoned.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", strict=False, time_unit="ms", time_zone="UTC")
    days = text.set(~text.str.contains(_DATE + "$"), None).str.to_datetime(
        "%Y-%m-%d", strict=False, time_unit="ms", time_zone="UTC"
    )
    found = moments.zip_with(moments.is_not_null(), days)
    return found.dt.strftime(_STAMP)


def _times(text: pl.Series) -> pl.Series:
    parts = text.str.strip_suffix("Z")
    exact = parts.str.to_time("%H:%M:%S%.f", strict=False)
    found = exact.zip_with(exact.is_not_null(), parts.str.to_time("%H:%M", strict=False))
    return found.dt.strftime("%H:%M:%S.%3fZ")


def _ids(text: pl.Series) -> pl.Series:
    return normalised(text.set(~text.str.contains(ID), None))


_READERS: Mapping[str, Callable[[pl.Series], pl.Series]] = {
    "boolean": _flags,
    "int": _whole,
    "date": _dates,
    "datetime": _moments,
    "time": _times,
    "id": _ids,
    "reference": _ids,
}
