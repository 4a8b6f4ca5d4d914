"""``manage.py purge``: delete what is past the retention of its project."""

from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.template.defaultfilters import filesizeformat

from projects.models import Project
from runs import ledger, retention
from runs.ledger import KeptMonth
from runs.partitions import PartitionBusy


class Command(BaseCommand):
    help = (
        "Drop the records as read and the target as it was of months whose runs are all past their project's "
        "retention. Worker hosts do this by themselves; runs it concerns cannot be rolled back afterwards."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would be dropped, and what waits")
        parser.add_argument(
            "--to-the-day",
            action="store_true",
            help="also delete what is past in months that are not wholly past: row by row, slower, more log",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        for project in Project.objects.exclude(retention_days=None).order_by("pk"):
            told = _foretold if options["dry_run"] else _purged
            for sentence in told(project, to_the_day=options["to_the_day"]):
                self.stdout.write(f"{project}: {sentence}")


def _foretold(project: Project, *, to_the_day: bool) -> Iterator[str]:
    if run := retention.open_run(project):
        yield f"nothing is deleted while {run} is open."
        return
    for month in ledger.months(project.pk, days=project.retention_days):
        if month.wholly_past:
            yield f"would drop {_named(month)}."
            continue
        if to_the_day and month.past:
            yield f"would delete row by row what {month.past:,} of {month.runs:,} runs of {month.month:%B %Y} carried."
        due = f"the last of them is past on {month.due:%-d %B %Y}" if month.due else "one of them has not ended"
        yield f"{_named(month)} stays: {month.past:,} of its runs are past {project.retention_days} days, {due}."


def _purged(project: Project, *, to_the_day: bool) -> Iterator[str]:
    try:
        for month in retention.purge(project):
            yield f"dropped {_named(month)}."
    except PartitionBusy as busy:
        yield str(busy)
    deleted = 0
    while to_the_day and (some := retention.purge_to_the_day(project)):
        deleted += some
    if deleted:
        yield f"deleted the contents of {deleted:,} chunks row by row."


def _named(month: KeptMonth) -> str:
    return f"{month.month:%B %Y} ({month.runs:,} runs, {month.chunks:,} chunks, {filesizeformat(month.size)})"
