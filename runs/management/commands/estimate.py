"""``manage.py estimate PROJECT``: what a load of the project would take."""

from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser

from connectors.errors import ConnectorError
from orgs.sealing import SealBroken
from projects.estimate import Estimate
from projects.models import Project
from runs import estimates
from runs.templatetags.screens import FIGURES, measure


class Command(BaseCommand):
    help = "Ask the source for its counts and say what a load would take: requests, time and storage, as ranges."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", type=int, help="the project's number")
        parser.add_argument("--sample", type=int, default=0, metavar="N", help="look at N records of each object first")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *_: Any, **options: Any) -> None:
        project = Project.objects.filter(pk=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']}.")
        try:
            found = estimates.foresee(project, sampled=max(0, options["sample"]))
        except (ConnectorError, SealBroken) as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(orjson.dumps(found.as_json()).decode())
        else:
            self._tell(found)

    def _tell(self, found: Estimate) -> None:
        self.stdout.write(f"{FIGURES['records']}: {found.records:,}")
        for name in ("seconds", "calls", "ours", "theirs"):
            self.stdout.write(f"{FIGURES[name]}: {measure(getattr(found, name), name)}")
        for sentence in found.basis:
            self.stdout.write(sentence)
