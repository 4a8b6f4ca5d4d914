"""Advice on what type a text column holds, from looking at its values.

A type is advice only: frames stay text, and a value the advice does not fit becomes a finding about its
record when the mapping converts it, never a silent null. So the rules prefer text. ``007`` and ``+1``
are text (a number would lose characters), ``TRUE``, ``01/02/2024`` and ``1,5`` are text (their notation
is not the one of source frames, or means different things in different countries).
"""

from collections.abc import Container, Iterable, Mapping

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

_NAMES = {
    FieldType.BOOLEAN: "true or false",
    FieldType.INTEGER: "whole numbers",
    FieldType.DECIMAL: "numbers",
    FieldType.DATE: "dates",
    FieldType.DATETIME: "times",
    FieldType.TIME: "times of day",
}
_WORDS = r"\p{L}"
"""What sets a value apart from numbers that are only written in other ways (telephones, postal codes)."""
_FORMULA = r"^\s*(=|[+\-@].*[(|!])"
"""What a spreadsheet would work out, or call, on opening: https://owasp.org/www-community/attacks/CSV_Injection"""


def advise(
    columns: Iterable[str], frames: Iterable[pl.DataFrame], *, texts: Container[str] = frozenset()
) -> tuple[FieldInfo, ...]:
    """One field per column, typed by all values of ``frames``; a column without values is text.

    ``texts`` are columns known to hold text (JSON strings): at most dates and times hide in those.
    """
    possible = {name: list(_WRITTEN if name in texts else _SHAPES) for name in columns}
    seen: set[str] = set()
    odd = _Odd(possible)
    for frame in frames:
        for part in (frame.head(_PROBE_RECORDS), frame):  # the few first rows rule most types out, cheaply
            _rule_out(possible, part)
        odd.look_at(frame, possible)
        seen.update(name for name in possible if frame[name].null_count() < frame.height)
    kinds = {name: left[0] if left and name in seen else FieldType.TEXT for name, left in possible.items()}
    return tuple(FieldInfo(name, kind, label=name, note=odd.note(name, kind)) for name, kind in kinds.items())


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


class _Odd:
    """What staff should know of columns that are text: values that would be formulas elsewhere, and a few words
    among numbers or dates. What most values of a column are is taken from its first ``_PROBE_RECORDS``. Values are not
    repeated, only where the first of them is: they may be personal."""

    def __init__(self, possible: Mapping[str, list[FieldType]]) -> None:
        self._at_first = {name: tuple(kinds) for name, kinds in possible.items()}
        self._mostly: dict[str, FieldType] | None = None
        self._records = 0
        self._misfit: dict[str, int] = {}
        self._formula: dict[str, int] = {}

    def look_at(self, frame: pl.DataFrame, possible: Mapping[str, list[FieldType]]) -> None:
        """``possible`` is what the frame has left possible: what all values fit has nothing odd."""
        if self._mostly is None:
            self._mostly = _mostly(self._at_first, frame.head(_PROBE_RECORDS))
        for name, kinds in possible.items():
            values = frame[name]
            if not kinds and name not in self._formula:
                self._remember(self._formula, name, values.str.contains(_FORMULA))
            mostly = self._mostly.get(name)
            if mostly and mostly not in kinds and name not in self._misfit:
                odd = values.str.contains(_WORDS) & ~values.str.contains(_SHAPES[mostly])
                self._remember(self._misfit, name, odd)
        self._records += frame.height

    def _remember(self, found: dict[str, int], name: str, odd: pl.Series) -> None:
        place = odd.fill_null(value=False).arg_max()
        if place is not None and odd[place]:
            found[name] = self._records + place + 1

    def note(self, name: str, kind: FieldType) -> str:
        if kind is not FieldType.TEXT:
            return ""
        if name in self._formula:
            return (
                f"“{name}” has values that a spreadsheet would take for formulas, the first in record "
                f"{self._formula[name]:,}; they are kept as the text they are and never worked out."
            )
        if name in self._misfit and self._mostly:
            return (
                f"“{name}” mixes {_NAMES[self._mostly[name]]} with other text, first in record {self._misfit[name]:,}, "
                "and is read as text; a value that does not fit the target is told with its record."
            )
        return ""


def _mostly(possible: Mapping[str, tuple[FieldType, ...]], frame: pl.DataFrame) -> dict[str, FieldType]:
    """Column → what at least half of its values are, and more than one; absent where there is no such type."""
    checks = [
        pl.col(name).str.contains(_SHAPES[kind]).sum().alias(f"{kind.value}:{name}")
        for name, kinds in possible.items()
        for kind in kinds
    ]
    counts = frame.select(checks).row(0, named=True) if checks and frame.height else {}
    found = {}
    for name, kinds in possible.items():
        best = max(kinds, key=lambda kind: counts.get(f"{kind.value}:{name}", 0), default=None)
        count = counts.get(f"{best.value}:{name}", 0) if best else 0
        if best and count > 1 and count * 2 >= frame.height - frame[name].null_count():
            found[name] = best
    return found
