"""``manage.py rotate_vault``: seal every secret with the active key."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orgs.services import rotate_vault


class Command(BaseCommand):
    help = (
        "Seal every value with the first key of the ring. Put the new key first, restart every process, then run "
        "this; it may be stopped and run again. Drop an old key only when vault_keys shows no value under it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--batch", type=int, default=32, help="values in one transaction (default 32)")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["batch"] < 1:
            raise CommandError("--batch must be at least 1.")
        rotation = rotate_vault(options["batch"])
        self.stdout.write(f"{rotation.resealed:,} values sealed with the active key.")
        if rotation.broken:
            listed = "\n".join(rotation.examples)
            raise CommandError(f"{rotation.broken:,} values could not be opened and stay as they are:\n{listed}")
