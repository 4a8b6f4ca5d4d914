"""What a run will take, as ranges: requests, time and storage, from volumes and the rates that earlier runs showed.

Pure arithmetic. A range is wide where little is known and says so; every figure grows with the volume.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

WIDENING = 1.25
"""How far beyond what was measured a next run may lie, either way."""
START_SECONDS = (0.0, 20.0)
"""Describing, planning and ending, whatever the volume."""


@dataclass(frozen=True, slots=True)
class Range:
    """From ``low`` to ``high``, both within."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high:
            raise ValueError(f"{self.low} to {self.high} is no range")

    @classmethod
    def over(cls, measured: Iterable[float]) -> Self:
        """What holds all measured values, with room either way; raises ValueError where there are none."""
        values = list(measured)
        return cls(min(values) / WIDENING, max(values) * WIDENING)

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)

    def times(self, factor: "float | Range") -> "Range":
        by = factor if isinstance(factor, Range) else Range(factor, factor)
        return Range(self.low * by.low, self.high * by.high)

    def at_least(self, other: "Range") -> "Range":
        """The longer of two things that go on at the same time."""
        return Range(max(self.low, other.low), max(self.high, other.high))

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


NOTHING = Range(0, 0)
SECONDS_PER_RECORD = Range(1 / 20_000, 1 / 200)
"""Read, load and read back, from the fastest (a database on the same machine) to a slow interface."""
BYTES_PER_FIELD = Range(3, 40)
"""Of text; most fields of most records are blank or short."""
PACKED = Range(0.15, 0.7)
"""Our copy of a page against its text: compressed, and sealed."""
LEDGER_BYTES = Range(200, 450)
"""A tracked record with its part of the indexes."""
ROW_OVERHEAD = Range(1.2, 3.0)
"""A row of a database with its indexes against its text."""
RECORDS_PER_CALL = 200
"""What platforms take in one call where they take more than one record."""
CALLS_PER_WRITE = Range(1.0, 4.0)
"""Looking up, writing, and reading back; one where the vendor's bulk interface is used."""


@dataclass(frozen=True, slots=True)
class Volume:
    """One object. ``records`` is None where nobody can count them; ``fields`` are those that move; ``bytes_each``
    is what one record was seen to take with us, where one was seen, and ``text_each`` the bytes of text of a sampled
    record."""

    name: str
    records: int | None
    fields: int
    bytes_each: float | None = None
    text_each: float | None = None


@dataclass(frozen=True, slots=True)
class Rates:
    """What earlier runs between the same platforms took per record, each value one run; blank where there were none.

    ``seconds`` and ``calls`` are whole runs divided by their records; ``runs`` tells how many they were.
    """

    seconds: tuple[float, ...] = ()
    calls: tuple[float, ...] = ()
    runs: int = 0


@dataclass(frozen=True, slots=True)
class System:
    """A side as far as it matters: whether it is asked by requests, and what its budget allows.

    ``page_size`` is in records; ``per_second`` and ``per_day`` are requests, 0 without a limit. ``bytes_per_record``
    is what the platform counts for any record, whatever it holds; None where what it holds counts.
    """

    name: str
    by_requests: bool
    page_size: int = 2_000
    per_second: float = 0
    per_day: int = 0
    bytes_per_record: int | None = None


@dataclass(frozen=True, slots=True)
class ObjectEstimate:
    """``ours`` and ``theirs`` are bytes in our database and in the target."""

    name: str
    records: int
    calls: Range
    ours: Range
    theirs: Range


@dataclass(frozen=True, slots=True)
class Estimate:
    """Totals over the objects that can be counted; ``unknown`` names the others. ``basis`` are sentences that say
    where the figures come from and what limits the run."""

    objects: tuple[ObjectEstimate, ...]
    records: int
    calls: Range
    seconds: Range
    ours: Range
    theirs: Range
    unknown: tuple[str, ...]
    basis: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        objects = tuple(
            ObjectEstimate(
                each["name"],
                each["records"],
                calls=Range(**each["calls"]),
                ours=Range(**each["ours"]),
                theirs=Range(**each["theirs"]),
            )
            for each in stored["objects"]
        )
        return cls(
            objects,
            stored["records"],
            calls=Range(**stored["calls"]),
            seconds=Range(**stored["seconds"]),
            ours=Range(**stored["ours"]),
            theirs=Range(**stored["theirs"]),
            unknown=tuple(stored["unknown"]),
            basis=tuple(stored["basis"]),
        )


def estimate(volumes: Sequence[Volume], rates: Rates, source: System, target: System) -> Estimate:
    """What a load of these volumes will take."""
    known = [volume for volume in volumes if volume.records is not None]
    objects = tuple(_object(volume, volume.records or 0, rates, source, target) for volume in known)
    records = sum(item.records for item in objects)
    calls, ours, theirs = (
        _sum(getattr(item, name) for item in objects) for name in ("calls", "ours", "theirs")
    )  # fmt: skip
    work = (Range.over(rates.seconds) if rates.seconds else SECONDS_PER_RECORD).times(records)
    seconds = Range(*START_SECONDS) + work.at_least(_paced(calls, source, target))
    unknown = tuple(volume.name for volume in volumes if volume.records is None)
    basis = (*_basis(rates, volumes), *_limits(calls, source, target))
    return Estimate(objects, records, calls, seconds, ours, theirs, unknown=unknown, basis=basis)


def _sum(ranges: Iterable[Range]) -> Range:
    return sum(ranges, start=NOTHING)


def _object(volume: Volume, records: int, rates: Rates, source: System, target: System) -> ObjectEstimate:
    text = BYTES_PER_FIELD.times(volume.fields) if volume.text_each is None else Range.over([volume.text_each])
    packed = text.times(PACKED) if volume.bytes_each is None else Range.over([volume.bytes_each])
    theirs = (
        ROW_OVERHEAD.times(text)
        if target.bytes_per_record is None
        else Range(target.bytes_per_record, target.bytes_per_record)
    )
    return ObjectEstimate(
        volume.name,
        records,
        _calls(records, rates, source, target),
        (packed + LEDGER_BYTES).times(records),
        theirs.times(records),
    )


def _calls(records: int, rates: Rates, source: System, target: System) -> Range:
    if rates.calls:
        return Range.over(rates.calls).times(records)
    reads = records / source.page_size + 2 if source.by_requests else 0
    writes = CALLS_PER_WRITE.times(records / RECORDS_PER_CALL + 1) if target.by_requests else NOTHING
    # A bulk interface takes a few calls for many thousands of records.
    return Range(reads, reads * 2) + (Range(min(4.0, writes.low), writes.high) if target.by_requests else NOTHING)


def _paced(calls: Range, source: System, target: System) -> Range:
    """Seconds that the budgets make the calls take, were they all of one system."""
    slowest = NOTHING
    for system in (source, target):
        if system.by_requests and system.per_second:
            slowest = slowest.at_least(Range(0, calls.high / system.per_second))
        if system.by_requests and system.per_day:
            slowest = slowest.at_least(Range(0, max(0.0, calls.high / system.per_day - 1) * 86_400))
    return slowest


def _basis(rates: Rates, volumes: Sequence[Volume]) -> Iterator[str]:
    if rates.runs:
        runs = "run" if rates.runs == 1 else "runs"
        yield f"Time and requests from {rates.runs} earlier {runs} between the same platforms."
    else:
        yield "No earlier run between these platforms: time and requests are what such platforms usually take."
    unseen = [
        volume.name
        for volume in volumes
        if volume.bytes_each is None and volume.text_each is None and volume.records is not None
    ]
    if unseen:
        yield f"No record of {_few(unseen)} was seen yet: sizes follow from the number of fields. A dry run tells."
    unknown = [volume.name for volume in volumes if volume.records is None]
    if unknown:
        yield f"Nobody can count {_few(unknown)} beforehand; they come on top."


def _limits(calls: Range, source: System, target: System) -> Iterator[str]:
    for system in (source, target):
        if system.by_requests and system.per_day and calls.high > system.per_day:
            yield f"{system.name} allows us {system.per_day:,} requests a day: this may take more than one day."


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} others" if len(names) > 3 else shown
