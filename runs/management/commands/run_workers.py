"""``manage.py run_workers``: one worker host, until it is told to stop."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from runs.cluster import Cluster
from runs.supervisor import FROZEN_SECONDS, STUCK_SECONDS, HostTaken, supervise


class Command(BaseCommand):
    help = (
        "Run migrations: start workers, give them work, replace them when they freeze. "
        "Start it on as many machines as you like; they share only the database."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--workers", type=int, default=settings.Q_CLUSTER["workers"], help="processes at work")
        parser.add_argument("--grace", type=float, default=30.0, help="seconds that work in hand may take at the end")
        parser.add_argument(
            "--frozen-after",
            type=float,
            default=FROZEN_SECONDS,
            help="seconds of silence after which workers are replaced",
        )
        parser.add_argument(
            "--stuck-after",
            type=float,
            default=STUCK_SECONDS,
            help="seconds without an answer of our database after which this process ends, to be started again",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        cluster = Cluster(settings.WORKER_HOST, options["workers"])
        try:
            supervise(
                cluster,
                grace=options["grace"],
                frozen_after=options["frozen_after"],
                stuck_after=options["stuck_after"],
            )
        except HostTaken as taken:
            raise CommandError(str(taken)) from taken
