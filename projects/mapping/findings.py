"""Findings from faults: which records of a page they hit, told in one sentence each."""

from collections.abc import Sequence

import polars as pl

from projects.mapping.conversion import Conversion, Fault, Severity
from projects.mapping.expressions import RuleFault
from projects.mapping.transformed import VALUE_CHARACTERS

ROW = "\x00row"
SOURCE_ID = "\x00source_id"
TEXT = "\x00text"
VALUE = "\x00value"
"""Columns that travel beside a record's fields; no platform has a NUL in a field's name."""

_SHOWN_CHARACTERS = 60


def told(frame: pl.DataFrame, field: str, faults: Sequence[Fault]) -> pl.DataFrame:
    """A finding for each record of ``frame`` (columns ROW, SOURCE_ID, TEXT, VALUE) that a fault holds
    for, the first one only. Columns: ROW and those of ``FINDINGS`` save ``part``."""
    number = pl.lit(None, dtype=pl.UInt32)
    for position, fault in reversed(list(enumerate(faults))):
        number = pl.when(fault.when).then(pl.lit(position, dtype=pl.UInt32)).otherwise(number)
    hit = frame.with_columns(number.alias("number")).filter(pl.col("number").is_not_null())
    each = [_finding(hit.filter(pl.col("number") == position), field, fault) for position, fault in enumerate(faults)]
    return pl.concat(each).sort(ROW)


def rule_fault(frame: pl.DataFrame, field: str, fault: RuleFault) -> pl.DataFrame:
    """The findings of a rule's fault over the records ``frame`` that it was found to hold for."""
    hit = frame.select(ROW, SOURCE_ID, fault.value.alias(TEXT))
    return _finding(hit, field, Fault(fault.rule, pl.lit(value=True), fault.message, fault.severity))


def conversion_faults(frame: pl.DataFrame, field: str, conversion: Conversion) -> pl.DataFrame:
    """The findings among the suspects ``frame`` (columns ROW, SOURCE_ID, TEXT, VALUE)."""
    return told(frame, field, conversion.faults(pl.col(TEXT), pl.col(VALUE)))


def missing(frame: pl.DataFrame, field: str) -> pl.DataFrame:
    """The findings of records ``frame`` (ROW, SOURCE_ID) that lack a value the target requires."""
    fault = Fault("required_missing", pl.lit(value=True), "The target requires a value and the source has none.")
    return _finding(frame.select(ROW, SOURCE_ID, pl.lit(None, dtype=pl.String).alias(TEXT)), field, fault)


def _finding(hit: pl.DataFrame, field: str, fault: Fault) -> pl.DataFrame:
    return hit.select(
        ROW,
        pl.col(SOURCE_ID).alias("source_id"),
        pl.lit(field).alias("field"),
        pl.col(TEXT).str.slice(0, VALUE_CHARACTERS).alias("value"),
        pl.lit(fault.rule).alias("rule"),
        _sentence(fault.message).alias("message"),
        pl.lit(fault.severity.value).alias("severity"),
    )


def _sentence(message: str) -> pl.Expr:
    before, place, after = message.partition("{}")
    if not place:
        return pl.lit(message)
    start = pl.col(TEXT).str.slice(0, _SHOWN_CHARACTERS)
    cut = pl.when(pl.col(TEXT).str.len_chars() > _SHOWN_CHARACTERS).then(start + "…").otherwise(start)
    return pl.concat_str(pl.lit(before), cut, pl.lit(after))


def is_error() -> pl.Expr:
    return pl.col("severity") == Severity.ERROR.value
