"""``manage.py demo``: everything on this machine, with a migration to watch."""

import sys
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from migration_factory.demo import DemoFailed, Show, demo


class Command(BaseCommand):
    help = "Start sandbox, web and workers, migrate generated data and stay up until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        plain = Show()
        parser.add_argument("--once", action="store_true", help="end when the run has ended")
        parser.add_argument("--records", type=int, default=plain.records, metavar="N")
        parser.add_argument("--bad", type=int, default=plain.bad, metavar="N", help="how many of them are bad")
        parser.add_argument("--port", type=int, default=plain.port, help="of the web site, if it is free")

    def handle(self, *_: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0, interactive=False)
        show = Show(records=options["records"], bad=options["bad"], port=options["port"], once=options["once"])
        try:
            good = demo(show, Console())
        except KeyboardInterrupt:
            good = True
        except DemoFailed as failed:
            raise CommandError(str(failed)) from failed
        sys.exit(0 if good else 1)
