"""``manage.py forget_job PROJECT``: say that a bulk job, which nobody can ask any more, left nothing in the target."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from projects.models import Project
from runs import services
from runs.services import RunRefused


class Command(BaseCommand):
    help = (
        "List the bulk jobs that were to create records without an external id and have not been answered. With JOB: "
        "take it for one that created nothing, so that its records are sent again. Look in the target first, and "
        "delete there what it created."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", type=int, help="the project's number")
        parser.add_argument("job", nargs="?", default="", help="the job's number")

    def handle(self, *_: Any, **options: Any) -> None:
        project = Project.objects.filter(pk=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']}.")
        if not options["job"]:
            for each in services.unanswered_jobs(project):
                self.stdout.write(f"{each.job}: {each.records:,} records of {each.entity}, begun {each.begun_at:%c}")
            return
        try:
            count = services.forget_job(project, options["job"])
        except RunRefused as refused:
            raise CommandError(str(refused)) from refused
        self.stdout.write(f"Forgotten: {count:,} records are sent again by the next run, or by resuming this one.")
