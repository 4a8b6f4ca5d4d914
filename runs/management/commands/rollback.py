"""``manage.py rollback RUN``: preview taking a run back, then do it with the preview's code."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from runs import drivers, previews
from runs.models import Run
from runs.previews import PreviewStale, Stake
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
        try:
            code = self._preview(run)
            if not options["confirm"]:
                self.stdout.write(f"To take this back: manage.py rollback {run.pk} --confirm {code}")
                return
            rollback = previews.confirm(run, options["confirm"])
        except PreviewStale as stale:
            raise CommandError(
                "The code is not that of this preview: look at the figures above and confirm those."
            ) from stale
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
        seen = previews.preview(run)
        self.stdout.write(f"{run} of {run.project} into {run.project.target}:")
        for stake in seen.stakes:
            self.stdout.write(f"  {_line(stake)}")
        return seen.code


def _line(stake: Stake) -> str:
    parts = [f"{stake.created:,} created (would be deleted)", f"{stake.updated:,} changed (would be restored)"]
    if stake.waiting:
        parts.append(f"{stake.waiting:,} waiting for a parent (deleted or restored if written)")
    if stake.later:
        parts.append(f"{stake.later:,} of them written again by a later run (would be left alone)")
    if stake.taken:
        parts.append(f"{stake.taken:,} of them taken back already")
    return f"{stake.target}: {', '.join(parts)}"
