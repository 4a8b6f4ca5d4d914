"""``manage.py delta PROJECT``: bring what changed since the last run, and what is still due from before."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from projects.models import Project
from runs import drivers, services
from runs.models import Run
from runs.services import RunRefused


class Command(BaseCommand):
    help = "Bring what changed in the source since it was read last, and what is still due."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", type=int, help="the project's number")

    def handle(self, *_: Any, **options: Any) -> None:
        project = Project.objects.filter(pk=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']}.")
        try:
            self._drive(services.start_delta(project))
        except RunRefused as refused:
            raise CommandError(str(refused)) from refused

    def _drive(self, run: Run) -> None:
        drivers.drive_here(run.pk)
        run.refresh_from_db()
        self.stdout.write(f"{run} ({run.get_kind_display()}): {run.get_state_display()}. {run.reason}")
