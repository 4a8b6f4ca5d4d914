"""``manage.py verify_evidence FILE``: is evidence what it says it is, by itself and against the database."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from runs.evidence.verification import EvidenceDiffers, compare_with_database, verify


class Command(BaseCommand):
    help = "Recompute an evidence file's chain, sums and seal; exit code 1 and one sentence where it is not whole."
    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="the JSON file that a run's page gives")
        parser.add_argument("--against-database", action="store_true", help="compare with what the ledger tells, too")

    def handle(self, *_: Any, **options: Any) -> None:
        path: Path = options["file"]
        try:
            found, told = verify(path)
            if options["against_database"]:
                found = compare_with_database(told)
        except OSError as error:
            self._refuse(f"{path} cannot be read: {error.strerror}.")
        except EvidenceDiffers as differs:
            self._refuse(str(differs))
        said = f"The evidence of run {found.run} is whole: {found.records:,} records in {found.chunks:,} chunks"
        if options["against_database"]:
            said += ", and the database tells the same"
        if found.unproven:
            said += f" ({found.unproven:,} chunks' records were written again since, or are not kept any more)"
        self.stdout.write(f"{said}; seal {found.seal}.")

    def _refuse(self, sentence: str) -> None:
        self.stderr.write(sentence)
        sys.exit(1)
