"""``manage.py bench``: speed and memory of the engine against raw COPY and dlt, in one run on this machine."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import orjson
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from migration_factory.bench import contest, rivals
from migration_factory.bench.contest import Contest
from migration_factory.bench.engine import BenchFailed
from migration_factory.bench.report import MEMORY_TARGET_MIB, OURS, TARGETS, Report
from migration_factory.bench.trial import TRIALS, Figure, Size, trial


class Command(BaseCommand):
    help = "Measure how fast the engine loads accounts from CSV, against raw COPY and dlt; see docs/benchmarks.md."

    def add_arguments(self, parser: CommandParser) -> None:
        names = ("load", *TRIALS)
        parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
        parser.add_argument("--rows", type=int, default=1_000_000, metavar="N", help="records to load")
        parser.add_argument("--rounds", type=int, default=2, metavar="N", help="times every contestant loads them")
        parser.add_argument("--without-dlt", action="store_true", help="compare with raw COPY only")
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")

    def handle(self, *_: Any, **options: Any) -> None:
        if options["rows"] < 1 or options["rounds"] < 1:
            raise CommandError("--rows and --rounds must be at least 1.")
        met = True
        with _tidy_end():
            for name in options["only"]:
                met = self._held(name, **options) and met
        if not met:
            sys.exit(1)

    def _held(self, name: str, **options: Any) -> bool:
        """One measurement; false where it failed or missed what is wanted. The others are held all the same."""
        try:
            return self._load(**options) if name == "load" else self._hold(name, **options)
        except BenchFailed as failed:
            self.stderr.write(f"{name} failed: {failed}")
            return False

    def _hold(self, name: str, **options: Any) -> bool:
        """One of ``TRIALS``; true where every figure is as it has to be."""
        call_command("migrate", verbosity=0, interactive=False)
        figures = trial(name)(Size(options["rows"], options["rounds"], self.stderr.write))
        if options["json"]:
            body = {"bench": name, "figures": [{**asdict(figure), "met": figure.met} for figure in figures]}
            self.stdout.write(orjson.dumps(body).decode())
        else:
            _print_figures(name, figures)
        return all(figure.met for figure in figures)

    def _load(self, **options: Any) -> bool:
        opponents = [name for name in TARGETS if not (options["without_dlt"] and name.startswith("dlt"))]
        if any(name.startswith("dlt") for name in opponents) and not rivals.dlt_installed():
            raise CommandError("dlt is not installed: “make bench” installs it beside; or give --without-dlt.")
        call_command("migrate", verbosity=0, interactive=False)
        found = contest.hold(Contest(options["rows"], options["rounds"], opponents, self.stderr.write))
        if options["json"]:
            self.stdout.write(orjson.dumps(found.as_json()).decode())
        else:
            _print(found)
        return found.met


@contextmanager
def _tidy_end() -> Iterator[None]:
    """SIGTERM ends what was started for a measurement and erases what that left in the database, as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended before its time."))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print_figures(name: str, figures: Sequence[Figure]) -> None:
    table = Table(title=name)
    for column in ("measured", "value", "unit", "wanted", ""):
        table.add_column(column, justify="right" if column == "value" else "left")
    for figure in figures:
        missed = "" if figure.met else "missed"
        table.add_row(figure.name, f"{figure.value:,.1f}", figure.unit, figure.wanted, missed)
    Console().print(table)


def _print(found: Report) -> None:
    console = Console()
    table = Table(title=f"{found.rows:,} accounts of {found.columns} columns; {found.machine}")
    for name in ("contestant", "seconds", "records/s", "engine is as fast", "wanted"):
        table.add_column(name, justify="left" if name == "contestant" else "right")
    speeds = {
        ratio.rival: (f"{ratio.times:.2f} ×", f"{ratio.target:g} ×" if ratio.target else "–") for ratio in found.ratios
    }
    for name in dict.fromkeys(timing.contestant for timing in found.timings):
        seconds = found.seconds(name)
        table.add_row(name, f"{seconds:.1f}", f"{found.rows / seconds:,.0f}", *speeds.get(name, ("", "")))
    console.print(table)
    memory = found.memory
    console.print(
        f"Peak memory of a worker: {memory.small_mib:.0f} MiB at {memory.small_rows:,} records, "
        f"{memory.large_mib:.0f} MiB at {found.rows:,}: {memory.growth_mib:+.0f} MiB (at most {MEMORY_TARGET_MIB:g})."
    )
    verified = ", ".join(f"{seconds:.1f} s" for seconds in found.reconcile_seconds)
    console.print(f"Not in the {OURS}'s seconds: reading everything back and comparing it, {verified}.")
    console.print(", ".join(f"{name} {version}" for name, version in found.versions.items()))
