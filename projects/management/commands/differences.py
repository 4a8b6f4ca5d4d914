"""``manage.py differences SOURCE TARGET``: what would be lost if records of one org were moved to another."""

import sys
from collections.abc import Sequence
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser

from connectors.base import Source
from connectors.errors import ConnectorError
from orgs import services as orgs
from orgs.models import Org
from projects import discovery
from projects.differences import Compared, Verdict, compare
from projects.twins import twin


class Command(BaseCommand):
    help = (
        "Compare the objects of two orgs, as records would go from SOURCE to TARGET. Exit code 1 where an object is "
        "not compatible."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", help="name or number of the org records come from")
        parser.add_argument("target", help="name or number of the org they go to")
        parser.add_argument(
            "--object",
            action="append",
            default=[],
            dest="objects",
            metavar="NAME",
            help="compare this one, and others given so; otherwise every object of the source that holds records",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of sentences")

    def handle(self, *_: Any, **options: Any) -> None:
        source, target = _org(options["source"]), _org(options["target"])
        try:
            found = _compared(source, target, options["objects"])
        except ConnectorError as error:
            raise CommandError(error.message) from error
        if options["json"]:
            body = {"source": source.name, "target": target.name, "objects": [each.as_json() for each in found]}
            self.stdout.write(orjson.dumps(body).decode())
        else:
            for each in found:
                self.stdout.write(f"{each.label} ({each.source}): {each.verdict.value}")
                self.stdout.writelines(f"  {reason}\n" for reason in each.reasons)
        if any(each.verdict is Verdict.NOT_COMPATIBLE for each in found):
            sys.exit(1)


def _org(given: str) -> Org:
    """The org of that number or name; raises CommandError where there is none, or several of the name."""
    known = Org.objects.filter(pk=int(given)) if given.isdecimal() else Org.objects.filter(name=given)
    found = list(known.select_related("customer")[:2])
    if len(found) != 1:
        how = "There is no org" if not found else "Several orgs are called"
        raise CommandError(f"{how} “{given}”; give the number from the org's page.")
    return found[0]


def _compared(from_org: Org, to_org: Org, objects: Sequence[str]) -> list[Compared]:
    with orgs.open_source(from_org) as source, orgs.open_target(to_org) as target:
        there = tuple(info.name for info in target.entities())

        def one(name: str) -> Compared:
            other = twin(name, there)
            found = discovery.definition(to_org, other, target) if other is not None else None
            return compare(discovery.definition(from_org, name, source), found)

        return [one(name) for name in objects or _held(from_org, source)]


def _held(org: Org, source: Source) -> list[str]:
    """The objects that hold records, or may."""
    return [each.name for each in discovery.take_inventory(org, source).entities if each.records != 0]
