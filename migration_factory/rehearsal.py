"""A complete migration against the sandbox or a data folder, in a scratch customer that is gone afterwards."""

import os
import resource
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from connectors.context import Context
from connectors.files import FolderFiles
from connectors.sources.workbook import WorkbookSource
from migration_factory import crew, scratch
from orgs import services as orgs
from orgs.models import Customer, Org, Role
from projects import services as projects
from projects.models import Project
from runs import drivers, reports
from runs import services as runs
from runs.choices import RecordState, RunState
from runs.models import Run
from sandbox.salesforce.running import Ready, running_simulator

PRODUCT_MODEL = "product"
TENANT = "rehearsal"


class RehearsalRefused(Exception):
    """What was asked cannot be rehearsed; the message is a sentence for staff."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to rehearse. ``workers`` 0 drives the run in this process, else in so many processes. ``whole`` goes on
    after the load: changes, a delta, and everything rolled back."""

    source: str
    target: str = "postgresql"
    data: Path | None = None
    mirror: bool = False
    records: int = 1_000
    bad: int = 0
    seed: int = 1
    again: bool = False
    whole: bool = False
    workers: int = 0
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Reach:
    """How to reach a system: what an org is made of."""

    platform: str
    settings: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Planted:
    """A record that was made wrong on purpose, and what became of it."""

    object: str
    source_id: str
    trouble: str
    state: str
    reason: str

    @property
    def explained(self) -> bool:
        return bool(self.reason) and self.state != RecordState.LOADED


@dataclass(frozen=True, slots=True)
class Later:
    """What came after the load: a delta that had so many edits and deletions to bring, and the way back.

    ``as_before``: a dump of the target's own store is what it was before the first run.
    """

    delta: reports.RunFigures
    edits: int
    deletes: int
    rollbacks: tuple[reports.RunFigures, ...]
    as_before: bool

    @property
    def good(self) -> bool:
        brought = self.delta.totals["updated"] == self.edits and self.delta.totals["deleted"] == self.deletes
        undone = all(each.status == RunState.COMPLETED for each in self.rollbacks)
        return brought and not self.delta.totals["created"] and undone and self.as_before

    def as_json(self) -> dict[str, Any]:
        names = ("read", "created", "updated", "deleted", "unchanged")
        back = {name: sum(each.totals[name] for each in self.rollbacks) for name in ("deleted", "updated", "created")}
        return {
            "delta": {"status": self.delta.status, **{name: self.delta.totals[name] for name in names}},
            "rollback": {"status": self.rollbacks[-1].status, **back, "as_before": self.as_before},
        }


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """``database`` is the target's where that is PostgreSQL; ``planted`` is told where the rehearsal can name them."""

    first: reports.RunFigures
    second: reports.RunFigures | None
    database: str = ""
    planted: tuple[Planted, ...] = ()
    later: Later | None = None

    @property
    def good(self) -> bool:
        """Everything is accounted for, going again over the unchanged source wrote nothing, what was planted wrong
        is explained and nothing else stayed behind, and what came later came to what it should."""
        told = [self.first.good, all(each.explained for each in self.planted)]
        if self.planted:
            told.append(self._landed(self.first) == self.first.totals["read"] - len(self.planted))
        if self.second is not None:
            told += [self.second.good, not self.second.totals["created"] + self.second.totals["updated"]]
        if self.later is not None:
            told.append(self.later.good)
        return all(told)

    @staticmethod
    def _landed(found: reports.RunFigures) -> int:
        return sum(found.totals[name] for name in ("created", "updated", "unchanged"))

    def as_json(self) -> dict[str, Any]:
        body = {**self.first.as_json(), "peak_rss_mib": round(_peak_rss_mib(), 1)}
        if self.planted:
            body["planted"] = [asdict(each) for each in self.planted]
        if self.second is not None:
            names = ("read", "created", "updated", "unchanged")
            body["again"] = {name: self.second.totals[name] for name in names}
        return body | (self.later.as_json() if self.later else {})


def rehearse(order: Order) -> Rehearsed:
    """Run one that loads into PostgreSQL. Raises RehearsalRefused, connector errors of the set-up, ProjectInvalid."""
    if order.whole:
        raise RehearsalRefused("Changes, delta and rollback are rehearsed with payroll; leave --whole out.")
    with ExitStack() as stack:
        source = stack.enter_context(_source(order))
        database = stack.enter_context(_database(order))
        project = stack.enter_context(_project(order, source, _target(order, database)))
        first = run_through(project, order)
        second = run_through(project, order) if order.again else None
        return Rehearsed(first, second, database)


def salesforce_reach(ready: Ready) -> Reach:
    """An org that connects to a running simulator with its client credentials."""
    return Reach(
        "salesforce",
        {"login_url": ready.url, "client_id": ready.client_id},
        {"client_secret": ready.client_secret},
    )


@contextmanager
def _source(order: Order) -> Iterator[Reach]:
    match order.source:
        case "payroll":
            raise RehearsalRefused("payroll goes from org to org; leave --target out.")
        case "workbook":
            if order.data is None:
                raise RehearsalRefused("A workbook rehearsal reads a folder of files: name it with --data.")
            yield Reach("workbook", folder=order.data.resolve())
        case "salesforce":
            records = 0 if order.data else order.records
            with running_simulator(
                data=order.data, records=records, seed=order.seed, bad=order.bad, process=True
            ) as simulator:
                yield salesforce_reach(simulator.ready)
        case other:
            raise RehearsalRefused(f"There is no sandbox for “{other}”; rehearse workbook, salesforce or payroll.")


@contextmanager
def _database(order: Order) -> Iterator[str]:
    name = f"rehearsal_{os.getpid()}_{uuid.uuid4().hex[:6]}"
    scratch.create(name)
    try:
        yield name
    finally:
        if not order.keep:
            scratch.drop(name)


def _target(order: Order, database: str) -> Reach:
    settings = scratch.connection_settings(database)
    if not order.mirror:
        settings["tenant_id"] = str(scratch.install_product(database, tenant=TENANT))
    return Reach("postgresql", settings, scratch.password())


@contextmanager
def _project(order: Order, source: Reach, target: Reach) -> Iterator[Project]:
    customer = Customer.objects.create(name=f"Rehearsal {order.source}", slug=f"rehearsal-{uuid.uuid4().hex[:10]}")
    try:
        yield make_project(customer, "Rehearsal", source, target, mirror=order.mirror, entities=_entities_of(order))
    finally:
        if not order.keep:
            erase(customer)


def _entities_of(order: Order) -> Sequence[str] | None:
    if order.source != "salesforce" or order.data is None:
        return None
    return entities_in(order.data)


def entities_in(data: Path) -> list[str]:
    """What a data set for the simulator brings; the org around it (users, profiles) is not part of the set."""
    with WorkbookSource(Context(files=FolderFiles(data.resolve()))) as files:
        return [info.name for info in files.entities()]


def make_project(
    customer: Customer, name: str, source: Reach, target: Reach, *, mirror: bool, entities: Sequence[str] | None = None
) -> Project:
    """A project between two new orgs of the customer, with these entities or every one that can be moved."""
    from_org = make_org(customer, f"{name} source", Role.SOURCE, source)
    to_org = make_org(customer, f"{name} target", Role.TARGET, target)
    project = projects.create_project(customer, name, source=from_org, target=to_org, mirror=mirror)
    with orgs.open_source(from_org) as connector:
        if mirror:
            projects.adopt_entities(project, connector, entities)
        else:
            projects.adopt_packaged(project, connector, model=PRODUCT_MODEL)
    return project


def erase(customer: Customer) -> None:
    """The customer with its projects, runs and orgs, and nothing of any target."""
    for project in Project.objects.filter(customer=customer):
        runs.erase_project(project)
    Org.objects.filter(customer=customer).delete()
    customer.delete()


def make_org(customer: Customer, name: str, role: Role, reach: Reach) -> Org:
    """A new org of the customer that reaches the system."""
    return orgs.create_org(
        customer=customer,
        name=name,
        platform=reach.platform,
        role=role,
        settings=reach.settings,
        secrets=reach.secrets,
        local_folder=reach.folder,
    )


def run_through(project: Project, order: Order) -> reports.RunFigures:
    """Load the project once, to the end."""
    return finish(runs.start_run(project, drivers=max(1, order.workers)), order)


def finish(run: Run, order: Order) -> reports.RunFigures:
    """Drive a run to its end, in this process or in as many as the order asks for."""
    if order.workers:
        crew.drive(run, order.workers)
    else:
        drivers.drive_here(run.pk)
    return reports.figures(Run.objects.get(pk=run.pk))


def _peak_rss_mib() -> float:
    """The largest process of ours: this one or a child that has ended."""
    kib = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return kib / 1024
