"""``manage.py drive RUN``: drive one run in this process until it needs no worker any more."""

import os
import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from runs import drivers, hosts


class Command(BaseCommand):
    help = "Drive one run in this process until it is done, paused or stopped. Several may drive the same run."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", type=int, help="the run's number")
        parser.add_argument(
            "--attended", action="store_true", help="end at once when standard input does: whoever started this is gone"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        if options["attended"]:
            threading.Thread(target=_end_with_input, name="attendance", daemon=True).start()
        hosts.settle_down()
        drivers.drive_here(options["run"])


def _end_with_input() -> None:
    """Nobody writes to it; it ends with the last process that holds its other end. What this worker has in hand is
    free again when its lease ends, as after any death."""
    while os.read(0, 1024):
        continue
    os.kill(os.getpid(), signal.SIGKILL)
