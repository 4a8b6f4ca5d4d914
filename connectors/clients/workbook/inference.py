"""Advice on what type a text column holds, from looking at its values.

A type is advice only: frames stay text, and a value the advice does not fit becomes a finding about its
record when the mapping converts it, never a silent null. So the rules prefer text. ``007`` and ``+1``
are text (a number would lose characters), ``TRUE``, ``01/02/2024`` and ``1,5`` are text (their notation
is not the one of source frames, or means different things in different countries).
"""

from collections.abc import Container, Iterable

import polars as pl

from connectors.types import FieldInfo, FieldType

_SHAPES: dict[FieldType, str] = {
    FieldType.BOOLEAN: r"^(true|false)$",
    FieldType.INTEGER: r"^-?(0|[1-9]\d{0,17})$",
    FieldType.DECIMAL: r"^-?(0|[1-9]\d{0,17})(\.\d{1,18})?$",
    FieldType.DATE: r"^\d{4}-\d{2}-\d{2}$",
    FieldType.DATETIME: r"^\d{4}-\d{2}-\d{2}T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})?$",
    FieldType.TIME: r"^([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?Z?$",
}
"""Type → the notation all values must have; where several fit, the first one is advised."""

_WRITTEN = (FieldType.DATE, FieldType.DATETIME, FieldType.TIME)
_DATED = (FieldType.DATE, FieldType.DATETIME)
_PROBE_RECORDS = 200


def advise(
    columns: Iterable[str], frames: Iterable[pl.DataFrame], *, texts: Container[str] = frozenset()
) -> tuple[FieldInfo, ...]:
    """One field per column, typed by all values of ``frames``; a column without values is text.

    ``texts`` are columns known to hold text (JSON strings): at most dates and times hide in those.
    """
    possible = {name: list(_WRITTEN if name in texts else _SHAPES) for name in columns}
    seen: set[str] = set()
    for frame in frames:
        for part in (frame.head(_PROBE_RECORDS), frame):  # the few first rows rule most types out, cheaply
            _rule_out(possible, part)
        seen.update(name for name in possible if frame[name].null_count() < frame.height)
    return tuple(
        FieldInfo(name, kinds[0] if kinds and name in seen else FieldType.TEXT, label=name)
        for name, kinds in possible.items()
    )


def _rule_out(possible: dict[str, list[FieldType]], frame: pl.DataFrame) -> None:
    checks = [_fits(name, kind).alias(f"{kind.value}:{name}") for name, kinds in possible.items() for kind in kinds]
    fits = frame.select(checks).row(0, named=True) if checks and frame.height else {}
    for name, kinds in possible.items():
        possible[name] = [kind for kind in kinds if fits.get(f"{kind.value}:{name}", True)]


def _fits(name: str, kind: FieldType) -> pl.Expr:
    column = pl.col(name)
    fits = column.str.contains(_SHAPES[kind])
    if kind in _DATED:  # 2024-02-30 has the shape of a date and is none
        fits = fits & column.str.head(10).str.to_date("%Y-%m-%d", strict=False).is_not_null()
    return fits.all(ignore_nulls=True)
