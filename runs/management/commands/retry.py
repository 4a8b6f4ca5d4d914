"""``manage.py retry PROJECT``: bring again what was rejected or waits, from the staged data."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from projects.models import Project
from runs import drivers, services
from runs.ledger import Scope
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
        parser.add_argument("--queue", action="store_true", help="leave the work to worker hosts")

    def handle(self, *_: Any, **options: Any) -> None:
        project = Project.objects.filter(pk=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']}.")
        listed = _listed(Path(options["ids"])) if options["ids"] else []
        ids = tuple(each.strip() for each in (*options["id"], *listed) if each.strip())
        if options["ids"] and not ids:
            raise CommandError(f"The file {options['ids']} names no record; write an id per line.")
        scope = Scope(tuple(options["object"]), tuple(options["code"]), ids, reread=options["reread"])
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


def _listed(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"The file {file} cannot be read as text; write an id per line. ({error})") from error
