"""Lets the contestants take turns: each on a database of its own that was just made, on one and the same server."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from migration_factory import scratch
from migration_factory.bench import engine, report, rivals
from migration_factory.bench.data import COLUMNS, ENTITY, write_accounts
from migration_factory.bench.report import OURS, TARGETS, Memory, Report, Timing

DATABASE = f"bench_{os.getpid()}"
TENANT = "bench"
SMALL_ROWS = 10_000
"""What the memory at the full size is compared with."""


@dataclass(frozen=True, slots=True)
class Contest:
    """``contestants`` besides the engine, which always takes part; ``tell`` hears of each load as it is done."""

    rows: int
    rounds: int = 2
    rivals: Sequence[str] = tuple(TARGETS)
    tell: Callable[[str], None] = field(default=lambda _line: None)


@dataclass(slots=True)
class _Course:
    """One benchmark under way: its files, and what was measured so far."""

    contest: Contest
    folder: Path
    timings: list[Timing] = field(default_factory=list)
    reconciled: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    dlt_version: str = ""

    @property
    def file(self) -> Path:
        return self.folder / "full" / f"{ENTITY}.csv"

    @property
    def mapped(self) -> Path:
        return self.folder / "mapped.copy"


def hold(contest: Contest) -> Report:
    """Measure. Raises BenchFailed where a contestant does not load every row."""
    machine, versions = report.machine(), report.versions()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        course = _Course(contest, Path(name))
        small = _small(course)
        course.file.parent.mkdir()
        write_accounts(course.file, contest.rows)
        for number in range(1, contest.rounds + 1):
            for contestant in _order(contest, number):
                seconds = _load(course, contestant)
                course.timings.append(Timing(contestant, number, seconds))
                contest.tell(f"round {number}: {contestant} {seconds:.1f} s")
    memory = Memory(SMALL_ROWS, small, max(course.peaks))
    if course.dlt_version:
        versions["dlt"] = course.dlt_version
    return Report(contest.rows, len(COLUMNS), course.timings, course.reconciled, memory, machine, versions)


def _order(contest: Contest, number: int) -> list[str]:
    """The engine first in odd rounds, last in even ones: what COPY loads is what the first round's engine made."""
    order = [OURS, *contest.rivals]
    return order if number % 2 else order[::-1]


def _small(course: _Course) -> float:
    folder = course.folder / "small"
    folder.mkdir()
    write_accounts(folder / f"{ENTITY}.csv", SMALL_ROWS)
    with _product() as tenant:
        return max(engine.load(folder, DATABASE, tenant, rows=SMALL_ROWS).peaks_mib)


def _load(course: _Course, contestant: str) -> float:
    rows = course.contest.rows
    if contestant.startswith("dlt"):
        with _empty():
            loaded = rivals.dlt(contestant.removeprefix("dlt "), course.file, DATABASE, rows=rows)
        course.dlt_version = loaded.version
        return loaded.seconds
    with _product() as tenant:
        if contestant == "copy":
            return rivals.raw_copy(course.mapped, DATABASE, rows=rows)
        ours = engine.load(course.file.parent, DATABASE, tenant, rows=rows)
        course.reconciled.append(ours.reconcile_seconds)
        course.peaks.extend(ours.peaks_mib)
        if not course.mapped.exists():
            rivals.export_mapped(DATABASE, course.mapped)
        return ours.load_seconds


@contextmanager
def _product() -> Iterator[int]:
    """The product's tables with one tenant, whose id is given."""
    with _empty():
        tenant = scratch.install_product(DATABASE, tenant=TENANT)
        _settle()
        yield tenant


@contextmanager
def _empty() -> Iterator[None]:
    scratch.create(DATABASE)
    try:
        _settle()
        yield
    finally:
        scratch.drop(DATABASE)


def _settle() -> None:
    """Nothing of an earlier contestant is left to be written while the next one is timed."""
    with scratch.connect(DATABASE) as server:
        server.execute("CHECKPOINT")
