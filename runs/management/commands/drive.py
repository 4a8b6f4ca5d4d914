"""``manage.py drive RUN``: drive one run in this process until it needs no worker any more."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from runs import drivers


class Command(BaseCommand):
    help = "Drive one run in this process until it is done, paused or stopped. Several may drive the same run."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", type=int, help="the run's number")

    def handle(self, *_: Any, **options: Any) -> None:
        drivers.drive_here(options["run"])
