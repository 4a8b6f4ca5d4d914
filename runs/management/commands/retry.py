"""``manage.py retry PROJECT``: bring again what was rejected or waits, from the staged data."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from projects.models import Project
from runs import drivers, services
from runs.choices import RecordState
from runs.ledger import Scope
from runs.management.id_files import ids_of
from runs.services import RunRefused


class Command(BaseCommand):
    help = "Try again what was rejected or waits for a parent; what is in the target is not sent again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", type=int, help="the project's number")
        parser.add_argument("--object", type=int, action="append", default=[], help="only this object (repeatable)")
        parser.add_argument("--code", action="append", default=[], help="only this cause (repeatable)")
        parser.add_argument("--id", action="append", default=[], help="only this source record (repeatable)")
        parser.add_argument("--ids", metavar="FILE", help="only the source records of this file, an id per line")
        parser.add_argument("--reread", action="store_true", help="read them from the source again")
        parser.add_argument(
            "--rolled-back",
            action="store_true",
            help="instead: what was taken back, read from the source again",
        )
        parser.add_argument("--queue", action="store_true", help="leave the work to worker hosts")

    def handle(self, *_: Any, **options: Any) -> None:
        project = Project.objects.filter(pk=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']}.")
        listed = ids_of(options["ids"]) if options["ids"] else ()
        ids = tuple(each.strip() for each in (*options["id"], *listed) if each.strip())
        states = (RecordState.ROLLED_BACK,) if options["rolled_back"] else ()
        scope = Scope(tuple(options["object"]), tuple(options["code"]), ids, states, reread=options["reread"])
        try:
            run = services.start_retry(project, scope)
        except RunRefused as refused:
            raise CommandError(str(refused)) from refused
        if options["queue"]:
            self.stdout.write(f"{run} is queued.")
            return
        drivers.drive_here(run.pk)
        run.refresh_from_db()
        self.stdout.write(f"{run}: {run.get_state_display()}. {run.reason}")
