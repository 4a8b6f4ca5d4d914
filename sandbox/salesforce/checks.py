"""What the platform demands of single values: required, length, range, picklist, address. A column at a time.

Codes and wording: https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_concepts_core_data_objects.htm
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from sandbox.salesforce.schema import NUMBER_TYPES, TEXT_TYPES, Field

FIRST_DAY, LAST_DAY = "1700-01-01", "4000-12-31"  # themselves already outside
_EMAIL = r"^[^\s@<>,;:\"()\[\]\\]+@[^\s@<>,;:\"()\[\]\\]+\.[^\s@.<>,;:\"()\[\]\\]{2,}$"


@dataclass(frozen=True, slots=True)
class Complaint:
    """Rows of a column that break a rule; ``message`` is one for all or one a row."""

    bad: pl.Series
    code: str
    message: str | pl.Series
    fields: tuple[str, ...] = ()


def wrong_type(field: Field, text: pl.Series, wrong: pl.Series) -> Complaint:
    if field.type in ("id", "reference"):
        said = each_row(f"{field.label}: id value of incorrect type: ", text)
        return Complaint(wrong, "MALFORMED_ID", said, (field.name,))
    said = each_row(f"{field.label}: value not of required type: ", text)
    return Complaint(wrong, "INVALID_TYPE_ON_FIELD_IN_RECORD", said, (field.name,))


def value_complaints(field: Field, values: pl.Series) -> Iterator[Complaint]:
    """What is wrong with given values as stored; a null breaks none of these rules."""
    if field.type in ("picklist", "multipicklist") and field.restricted:
        said = each_row(f"{field.label}: bad value for restricted picklist field: ", values)
        yield Complaint(_unlisted(field, values), "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", said, (field.name,))
    elif field.type in TEXT_TYPES - {"id", "reference"} and field.length:
        said = each_row(f"{field.label}: data value too large: ", values, f" (max length={field.length})")
        yield Complaint(values.str.len_chars() > field.length, "STRING_TOO_LONG", said, (field.name,))
    if field.type == "email":
        said = each_row(f"{field.label}: invalid email address: ", values)
        yield Complaint(~values.str.contains(_EMAIL), "INVALID_EMAIL_ADDRESS", said, (field.name,))
    if field.type == "int" or field.type in NUMBER_TYPES:
        said = each_row(f"{field.label}: value outside of valid range on numeric field: ", values)
        yield Complaint(values.abs() >= _beyond(field), "NUMBER_OUTSIDE_VALID_RANGE", said, (field.name,))
    if field.type in ("date", "datetime"):
        day = values.str.head(10)
        said = each_row(f"{field.label}: invalid date: ", values)
        yield Complaint((day <= FIRST_DAY) | (day >= LAST_DAY), "DATE_OUT_OF_RANGE", said, (field.name,))


def combinations(masks: Mapping[str, pl.Series]) -> Iterator[tuple[tuple[str, ...], pl.Series]]:
    """Every set of names that some rows have in common, with those rows: ``masks`` says which rows have which name."""
    present = {name: mask.fill_null(value=False) for name, mask in masks.items() if mask.any()}
    if not present:
        return
    frame = pl.DataFrame(present)
    for combination in frame.unique().rows(named=True):
        names = tuple(name for name, has in combination.items() if has)
        if names:
            yield names, frame.select(pl.all_horizontal(pl.col(n) == has for n, has in combination.items())).to_series()


def _unlisted(field: Field, values: pl.Series) -> pl.Series:
    active = [each.value for each in field.values if each.active]
    if field.type == "picklist":
        return ~values.is_in(active)
    return values.str.split(";").list.eval(~pl.element().is_in(active)).list.any()


def _beyond(field: Field) -> float:
    return 10.0 ** (field.digits or 18) if field.type == "int" else 10.0 ** ((field.precision or 18) - field.scale)


def each_row(before: str, values: pl.Series, after: str = "") -> pl.Series:
    """A message a row with its value in it."""
    return pl.select(pl.concat_str(pl.lit(before), values.cast(pl.String).fill_null(""), pl.lit(after))).to_series()
