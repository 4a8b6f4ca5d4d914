"""``manage.py purge``: delete what is past the retention of its project."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from projects.models import Project
from runs import retention


class Command(BaseCommand):
    help = (
        "Delete the records as read and the target as it was of runs that are past their project's retention. Worker "
        "hosts do this by themselves; runs it concerns cannot be rolled back afterwards."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")

    def handle(self, *_: Any, **options: Any) -> None:
        if options["dry_run"]:
            for project in Project.objects.exclude(retention_days=None).order_by("pk"):
                past = retention.kept(project, project.retention_days).past
                self.stdout.write(f"{project}: {past} runs are past {project.retention_days} days.")
            return
        done = 0
        while deleted := retention.purge_all():
            done += deleted
        self.stdout.write(f"The contents of {done:,} chunks were deleted.")
