"""``manage.py torment``: migrations, deltas and rollbacks under faults by chance, and a check of every promise."""

import secrets
import signal
import sys
from pathlib import Path
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser

from migration_factory.torment.campaign import Order, Report, hold
from migration_factory.torment.ground import DATASET, SOURCES, TARGETS, TormentRefused
from migration_factory.torment.storm import FAULTS

RECORDS, DATASET_RECORDS = 12_000, 3_000


class Command(BaseCommand):
    help = (
        "Run migrations, deltas and rollbacks between scratch systems under a storm of faults, and check after each "
        "that nothing was lost, doubled or changed. Exit code 1 where a promise was broken."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "source",
            choices=SOURCES,
            help="payroll is the packaged path; dataset moves the folder --data from org to org",
        )
        parser.add_argument(
            "--data", type=Path, metavar="DIR", help="a data set: objects/ with metadata, data/ with trees"
        )
        parser.add_argument("--target", choices=TARGETS, default="postgresql")
        parser.add_argument("--faults", default=",".join(FAULTS), help="which may strike, separated by commas")
        parser.add_argument("--seed", type=int, help="repeats the order of rounds and faults of an earlier campaign")
        parser.add_argument("--minutes", type=float, default=2.0, help="no round but the first begins after so long")
        parser.add_argument(
            "--records",
            type=int,
            metavar="N",
            help=f"what the source begins with: {RECORDS:,}, of a data set {DATASET_RECORDS:,} (payroll has its own)",
        )
        parser.add_argument("--calm", type=float, default=1.0, help="seconds between two faults, on average")
        parser.add_argument("--json", action="store_true", help="print one JSON object with the log of all faults")

    def handle(self, *_: Any, **options: Any) -> None:
        faults = tuple(name for name in options["faults"].split(",") if name)
        unknown = sorted(set(faults) - set(FAULTS))
        if unknown or not faults:
            raise CommandError(f"There is no fault “{', '.join(unknown)}”; choose of {', '.join(FAULTS)}.")
        seed = options["seed"] if options["seed"] is not None else secrets.randbelow(1_000_000)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything is cleared away
        self.stderr.write(f"Seed {seed}; the same again with --seed {seed}.")
        records = options["records"] or (DATASET_RECORDS if options["source"] == DATASET else RECORDS)
        names = ("source", "target", "data", "minutes", "calm")
        order = Order(faults=faults, seed=seed, records=records, **{name: options[name] for name in names})
        try:
            report = hold(order, tell=self.stderr.write if options["verbosity"] > 1 else lambda _: None)
        except TormentRefused as refused:
            raise CommandError(str(refused)) from refused
        if options["json"]:
            self.stdout.write(orjson.dumps(report.as_json()).decode())
        else:
            self._tell(report)
        if not report.clean:
            self.stderr.write(f"A promise was broken; repeat with --seed {seed}.")
            sys.exit(1)

    def _tell(self, report: Report) -> None:
        if report.problems:
            self.stdout.write("\n".join(report.log))
        runs, faults, outcomes = (
            ", ".join(f"{count:,} {name}" for name, count in sorted(counted.items()))
            for counted in (report.runs, report.faults, report.outcomes)
        )
        self.stdout.write(
            f"{report.source} to {report.target}, seed {report.seed}, {report.seconds:.0f} s: {runs or 'no run'}; "
            f"records {outcomes or 'none'}; {report.edits:,} fields edited in the target, {report.spared:,} of them "
            f"spared by a rollback; {faults or 'no fault'}; {len(report.resumed)} resumed; {report.records_checked:,} "
            f"records and {report.fields_checked:,} fields checked, {len(report.problems)} problems."
        )
        for problem in report.problems:
            self.stdout.write(f"  {problem}")
