"""``manage.py bench_reconcile``: how fast reconciling is, as a ratio to reladiff over the same rows."""

from typing import Any

import orjson
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from migration_factory.bench import reconcile, rivals
from migration_factory.bench.engine import BenchFailed


class Command(BaseCommand):
    help = "Migrate and reconcile accounts, then let reladiff compare the same rows; see docs/benchmarks.md."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--rows", type=int, default=1_000_000, metavar="N", help="records to reconcile")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *_: Any, **options: Any) -> None:
        if not rivals.dlt_installed():
            raise CommandError("reladiff is not installed: “make bench” installs it beside.")
        call_command("migrate", verbosity=0, interactive=False)
        try:
            found = reconcile.compare(options["rows"])
        except BenchFailed as failed:
            raise CommandError(str(failed)) from failed
        figures = {
            "rows": found.rows,
            "engine_seconds": round(found.engine_seconds, 2),
            "reladiff_seconds": round(found.reladiff_seconds, 2),
            "ratio": round(found.ratio, 2),
            "reladiff": found.reladiff_version,
        }
        if options["json"]:
            self.stdout.write(orjson.dumps(figures).decode())
            return
        self.stdout.write(
            f"{found.rows:,} records reconciled in {found.engine_seconds:.1f} s; reladiff {found.reladiff_version} "
            f"compared the same rows in {found.reladiff_seconds:.1f} s: {found.ratio:.2f} × its speed."
        )
