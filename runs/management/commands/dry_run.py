"""``manage.py dry_run PROJECT``: try a load out and say what it would do; nothing stays."""

from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser

from projects.models import Project
from runs import drivers, predictions, reports
from runs.dry_runs import start_dry_run
from runs.models import Run
from runs.services import RunRefused


class Command(BaseCommand):
    help = "Read and map everything, try it on the target where it can take writes back, and keep nothing there."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", type=int, help="the project's number")
        parser.add_argument("--first", type=int, metavar="N", help="only the first N records of each object")
        parser.add_argument("--share", type=int, metavar="P", help="only P percent of the records, chosen by their ids")
        parser.add_argument("--queue", action="store_true", help="leave the work to worker hosts")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *_: Any, **options: Any) -> None:
        project = Project.objects.filter(pk=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']}.")
        try:
            run = start_dry_run(project, most=options["first"], share=options["share"])
        except RunRefused as refused:
            raise CommandError(str(refused)) from refused
        if not options["queue"]:
            drivers.drive_here(run.pk)
            run.refresh_from_db()
        if options["json"]:
            self.stdout.write(orjson.dumps(_figures(run)).decode())
        elif options["queue"]:
            self.stdout.write(f"{run} is queued.")
        else:
            self.stdout.write(f"{run}: {run.get_state_display()}. {run.reason}")


def _figures(run: Run) -> dict[str, Any]:
    """The run's figures, and what the target was not asked about."""
    names = {step.object_id: str(step) for step in run.steps.all()}
    not_asked = [
        {"object": names[object_id], "without": without, "records": count}
        for object_id, without, count in predictions.not_asked(run.project_id, run.pk)
    ]
    return {"run": run.pk, **reports.figures(run).as_json(), "not_asked": not_asked}
