"""``manage.py rollback RUN``: preview taking a run back, then do it with the preview's code."""

import hashlib
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from runs import drivers, reports, services
from runs.models import Run
from runs.services import RunRefused


class Command(BaseCommand):
    help = (
        "Take back what a run wrote: delete what it created, restore what it changed, spare what was edited since. "
        "Without --confirm it only shows what is at stake and prints the code that confirms just that."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", type=int, help="the number of the run to take back")
        parser.add_argument("--confirm", metavar="CODE", default="", help="the code the preview printed")
        parser.add_argument(
            "--queue", action="store_true", help="leave the work to worker hosts instead of doing it here"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        run = Run.objects.filter(pk=options["run"]).first()
        if run is None:
            raise CommandError(f"There is no run {options['run']}.")
        code = self._preview(run)
        if not options["confirm"]:
            self.stdout.write(f"To take this back: manage.py rollback {run.pk} --confirm {code}")
            return
        if options["confirm"] != code:
            raise CommandError("The code is not that of this preview: look at the figures above and confirm those.")
        try:
            rollback = services.start_rollback(run)
        except RunRefused as refused:
            raise CommandError(str(refused)) from refused
        if options["queue"]:
            self.stdout.write(f"{rollback} is queued.")
            return
        drivers.drive_here(rollback.pk)
        rollback.refresh_from_db()
        self.stdout.write(f"{rollback}: {rollback.get_state_display()}. {rollback.reason}")

    def _preview(self, run: Run) -> str:
        """Print what the run did, per object; the code stands for just these figures."""
        lines = [
            f"{item.target}: {item.created:,} created (would be deleted), {item.updated:,} changed (would be restored)"
            for item in reversed(reports.figures(run).objects)
        ]
        self.stdout.write(f"{run} of {run.project} into {run.project.target}:")
        for line in lines:
            self.stdout.write(f"  {line}")
        return hashlib.sha256("\n".join([str(run.pk), run.state, *lines]).encode()).hexdigest()[:8]
