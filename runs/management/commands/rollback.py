"""``manage.py rollback RUN``: preview taking a run back, then do it with the preview's code."""

import shlex
from collections.abc import Mapping
from typing import Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser

from projects.models import Project
from runs import drivers, previews, services
from runs.ledger import Scope
from runs.management.id_files import ids_of
from runs.models import Run
from runs.previews import Preview, PreviewStale, Stake
from runs.services import RunRefused

SHOWN = 5


class Command(BaseCommand):
    help = (
        "Take back what a run wrote: delete what it created, restore what it changed, spare what was edited since. "
        "Without --confirm it only shows what is at stake and prints the code that confirms just that."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", type=int, nargs="?", help="the number of the run to take back")
        parser.add_argument("--project", type=int, help="instead of a run: all that was ever written of the choice")
        parser.add_argument("--object", type=int, action="append", default=[], help="only this object (repeatable)")
        parser.add_argument("--state", action="append", default=[], help="only records in this state (repeatable)")
        parser.add_argument("--code", action="append", default=[], help="only this cause (repeatable)")
        parser.add_argument("--id", action="append", default=[], help="only this source record (repeatable)")
        parser.add_argument("--ids", metavar="FILE", help="only the source records of this file, an id per line")
        parser.add_argument("--confirm", metavar="CODE", default="", help="the code the preview printed")
        parser.add_argument(
            "--queue", action="store_true", help="leave the work to worker hosts instead of doing it here"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        run = Run.objects.filter(pk=options["run"]).first() if options["run"] else None
        project = Project.objects.filter(pk=options["project"]).first() if options["project"] else None
        if (run is None) == (project is None):
            raise CommandError(_nothing(options))
        listed = ids_of(options["ids"]) if options["ids"] else ()
        _check_known(run.project if run else cast("Project", project), tuple(options["object"]), listed)
        ids = tuple(dict.fromkeys((*options["id"], *listed)))
        scope = Scope(tuple(options["object"]), tuple(options["code"]), ids, states=tuple(options["state"]))
        try:
            seen = previews.preview(run, scope) if run else previews.preview_of(cast("Project", project), scope)
            self._show(seen)
            if not options["confirm"]:
                self.stdout.write(f"To take this back: manage.py rollback {_again(options)} --confirm {seen.code}")
                return
            rollback = (
                previews.confirm(run, options["confirm"], scope)
                if run
                else previews.confirm_of(cast("Project", project), options["confirm"], scope)
            )
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

    def _show(self, seen: Preview) -> None:
        """Print what was done, per object, and a few records; the code stands for just these figures."""
        what = str(seen.run) if seen.run else "What any run wrote"
        self.stdout.write(f"{what} of {seen.choice.project} into {seen.choice.project.target}:")
        for stake in seen.stakes:
            self.stdout.write(f"  {_line(stake)}")
        for sample in previews.samples(seen):
            done = "would be deleted" if sample.deleted else "would be restored"
            self.stdout.write(f"    for example {sample.target} {sample.source_id} {done}")


def _check_known(project: Project, objects: tuple[int, ...], ids: tuple[str, ...]) -> None:
    """Raises CommandError where the project knows none of the records of some ids: a typing error must not pass."""
    unknown = services.unknown_ids(project, objects, ids)
    if unknown:
        some = ", ".join(unknown[:SHOWN])
        raise CommandError(
            f"{len(unknown):,} of the {len(ids):,} ids are of no record that {project} has brought, among them {some}. "
            "Correct the file, or take them out of it; nothing was taken back."
        )


def _nothing(options: Mapping[str, Any]) -> str:
    if options["run"] and not options["project"]:
        return f"There is no run {options['run']}."
    if options["project"] and not options["run"]:
        return f"There is no project {options['project']}."
    return "Name either a run or, with --project, a project."


def _again(options: Mapping[str, Any]) -> str:
    """The arguments as they were given."""
    given = [str(options["run"])] if options["run"] else ["--project", str(options["project"])]
    given += [
        part
        for name in ("object", "state", "code", "id")
        for each in options[name]
        for part in (f"--{name}", str(each))
    ]
    given += ["--ids", options["ids"]] if options["ids"] else []
    return shlex.join(given)


def _line(stake: Stake) -> str:
    parts = [f"{stake.created:,} created (would be deleted)", f"{stake.updated:,} changed (would be restored)"]
    if stake.waiting:
        parts.append(f"{stake.waiting:,} waiting for a parent (deleted or restored if written)")
    if stake.retried:
        parts.append(f"{stake.retried:,} brought by a retry (taken back with it)")
    if stake.later:
        parts.append(f"{stake.later:,} of them written again by a later run (would be left alone)")
    if stake.taken:
        parts.append(f"{stake.taken:,} of them taken back already")
    return f"{stake.target}: {', '.join(parts)}"
