"""``manage.py rehearse``: a complete migration against the sandbox or a data folder, in figures."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from connectors.errors import ConnectorError
from migration_factory import org_to_org
from migration_factory.rehearsal import Order, Planted, RehearsalRefused, Rehearsed, rehearse
from orgs.validation import EntryRefused
from projects.services import ProjectInvalid
from runs.choices import OUTCOMES

TARGETS = POSTGRESQL, SALESFORCE = ("postgresql", "salesforce")
WIDTH = 160
"""Of what goes to a file or a pipe, in characters."""
REFUSALS = (RehearsalRefused, ProjectInvalid, EntryRefused, ConnectorError)


class Command(BaseCommand):
    help = "Run a complete migration in a scratch customer and show what became of every record."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", help="workbook, salesforce, or payroll: the packaged path from org to org")
        parser.add_argument("--data", type=Path, metavar="DIR", help="folder of files, or dataset for the simulator")
        parser.add_argument("--target", choices=TARGETS, help="where to load into; payroll goes to salesforce")
        parser.add_argument("--mirror", action="store_true", help="copy entities as they are, creating tables")
        parser.add_argument("--records", type=int, default=1_000, metavar="N", help="how many to generate")
        parser.add_argument("--bad", type=int, default=0, metavar="N", help="how many of them shall be bad")
        parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the generated records")
        parser.add_argument("--again", action="store_true", help="run a second time over the unchanged source")
        parser.add_argument("--whole", action="store_true", help="payroll: then bring changes and roll all back")
        parser.add_argument("--workers", type=int, default=0, metavar="N", help="drive with N processes")
        parser.add_argument("--keep", action="store_true", help="leave customer, run and target database in place")
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")

    def handle(self, *_: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0, interactive=False)
        names = ("source", "data", "mirror", "records", "bad", "seed", "again", "whole", "workers", "keep")
        target = options["target"] or (SALESFORCE if options["source"] == org_to_org.PACKAGED else POSTGRESQL)
        order = Order(target=target, **{name: options[name] for name in names})
        try:
            done = org_to_org.rehearse(order) if target == SALESFORCE else rehearse(order)
        except REFUSALS as refused:
            raise CommandError(str(refused)) from refused
        if options["json"]:
            self.stdout.write(orjson.dumps(done.as_json()).decode())
        else:
            _print(done)
        if options["keep"] and done.database:
            self.stderr.write(f"The target database {done.database} was kept.")
        if not done.good:
            sys.exit(1)


def _print(done: Rehearsed) -> None:
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    table = Table(title=f"{done.first.status}: {done.first.reason}")
    for name in ("source", "target"):
        table.add_column(name, overflow="fold")
    shown = ["read", *(name for name in OUTCOMES if done.first.totals[name])]
    for name in shown:
        table.add_column(name, justify="right")
    for item in done.first.objects:
        table.add_row(item.source, item.target, *(f"{getattr(item, name):,}" for name in shown))
    console.print(table)
    body = done.as_json()
    found = done.first.reconcile
    console.print(
        f"Read back {found.records:,} records, {found.fields:,} fields: {found.missing:,} missing, "
        f"{found.mismatches:,} different, {found.extra if found.extra is not None else 'unknown'} extra."
    )
    console.print(
        f"{body['seconds']:.1f} s, {body['records_per_second']:,.0f} records/s, {body['api_calls']:,} requests, "
        f"peak {body['peak_rss_mib']:,.0f} MiB."
    )
    if done.planted:
        console.print(_planted(done.planted))
    if "again" in body:
        console.print(f"Again: {_counted(body['again'])}.")
    if done.later is not None:
        console.print(
            f"Delta of {done.later.edits} edits and {done.later.deletes} deletions: {_counted(body['delta'])}."
        )
        as_before = "is as it was before" if done.later.as_before else "is NOT as it was before"
        console.print(f"Rolled back: {_counted(body['rollback'])}; the target's store {as_before}.")


def _counted(body: Mapping[str, object]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in body.items() if type(count) is int)


def _planted(planted: Sequence[Planted]) -> Table:
    """A line for each kind of trouble, with the sentence of one of its records."""
    table = Table(title=f"{sum(each.explained for each in planted)} of {len(planted)} bad records are explained")
    for name in ("planted", "records", "what the record's page says"):
        table.add_column(name)
    kinds: dict[str, list[Planted]] = {}
    for each in planted:
        kinds.setdefault(each.trouble, []).append(each)
    for trouble, records in kinds.items():
        table.add_row(trouble, str(len(records)), f"{records[0].state}: {records[0].reason}")
    return table
