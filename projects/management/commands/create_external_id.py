"""``manage.py create_external_id PROJECT OBJECT``: have a field for our external id made in a project's target."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from connectors.errors import ConnectorError
from orgs.sealing import SealBroken
from projects import services
from projects.models import Project
from projects.services import ProjectInvalid


class Command(BaseCommand):
    help = (
        "Have the target of a project make a field by which records of one of its objects can be found again. Does "
        "nothing where there is one."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", type=int, help="number of the project")
        parser.add_argument("object", help="name of the object in the source")

    def handle(self, *_: Any, **options: Any) -> None:
        project = Project.objects.select_related("source", "target").filter(pk=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']}.")
        try:
            made = services.make_key(project, options["object"])
        except (ProjectInvalid, ConnectorError, SealBroken) as error:
            raise CommandError(str(error)) from error
        for sentence in made or ("There is one already; nothing was made.",):
            self.stdout.write(sentence)
