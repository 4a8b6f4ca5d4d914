"""Rehearsals from one simulated Salesforce org to another, in a scratch customer that is gone afterwards.

``payroll`` is the packaged path with everything that comes after a load; a data set or generated records of the
simulator are moved and, if asked for, moved again.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from migration_factory import rehearsal
from migration_factory.rehearsal import Order, RehearsalRefused, Rehearsed, make_org, salesforce_reach
from orgs import services as orgs
from orgs.models import Customer, Role
from projects import blueprints
from projects import services as projects
from projects.blueprints.payroll import PAYROLL
from projects.models import OnDelete, Project
from runs import services as runs
from runs.models import Run, TrackedRecord
from runs.reports import RunFigures
from sandbox.salesforce import payroll
from sandbox.salesforce.generate import SHARES
from sandbox.salesforce.payroll import Configuration, Names, Size
from sandbox.salesforce.running import Running, running_simulator

PACKAGED = "payroll"
GENERATED = (*SHARES, "Task")
SOURCE, TARGET = Names(), Names(namespaced=False)
SIZE = Size()
TWINS = 5
"""So many pay codes are in the target already, in an older version."""
STAMPS = frozenset({"LastModifiedDate", "LastModifiedById", "SystemModstamp"})
"""What an org sets anew by itself whenever a record is written, a restored one too."""
EXTERNAL_ID = {
    "fullName": "External_Id__c",
    "label": "External Id",
    "type": "Text",
    "length": 40,
    "externalId": True,
    "unique": True,
}

Dump = Mapping[str, Sequence[Mapping[str, object]]]


@dataclass(frozen=True, slots=True)
class Ground:
    """Two orgs, and the project between them. ``made`` is the configuration in the source, where it is payroll."""

    project: Project
    source: Running
    target: Running
    made: Configuration | None = None


def rehearse(order: Order) -> Rehearsed:
    """Run it. Raises RehearsalRefused, connector errors of the set-up, ProjectInvalid."""
    if order.source not in {PACKAGED, "salesforce"}:
        raise RehearsalRefused(f"Only salesforce and payroll go from org to org, not “{order.source}”.")
    if order.mirror:
        raise RehearsalRefused("Between two orgs there are no tables to create; leave --mirror out.")
    if order.source == PACKAGED and order.data is not None:
        raise RehearsalRefused("payroll brings its own records; rehearse salesforce for those of --data.")
    if order.whole and order.source != PACKAGED:
        raise RehearsalRefused("Changes, delta and rollback are rehearsed with payroll; leave --whole out.")
    with _orgs(order) as (source, target), _ground(order, source, target) as ground:
        return _rehearsed(order, ground)


def _rehearsed(order: Order, ground: Ground) -> Rehearsed:
    before = dump(ground.target, TARGET) if order.whole else {}
    first = rehearsal.run_through(ground.project, order)
    loaded = ground.project.runs.latest("pk")
    planted = tuple(_planted(ground))
    second = rehearsal.run_through(ground.project, order) if order.again else None
    done = Rehearsed(first, second, planted=planted)
    return replace(done, later=_later(order, ground, loaded, before)) if order.whole else done


def _later(order: Order, ground: Ground, loaded: Run, before: Dump) -> rehearsal.Later:
    if ground.made is None:
        raise RehearsalRefused("What is changed later is known of payroll only.")
    changed = payroll.change(ground.source, SOURCE, ground.made)
    ground.project.project_objects.update(on_delete=OnDelete.MIRROR)
    delta = runs.start_delta(ground.project, drivers=max(1, order.workers))
    brought = rehearsal.finish(delta, order)
    back = tuple(_undone(pk, order) for pk in (delta.pk, loaded.pk))
    as_before = dump(ground.target, TARGET) == before
    return rehearsal.Later(brought, len(changed.edits), len(changed.deletes), back, as_before)


def _undone(pk: int, order: Order) -> RunFigures:
    rollback = runs.start_rollback(Run.objects.get(pk=pk), drivers=max(1, order.workers))
    return rehearsal.finish(rollback, order)


def dump(org: Running, names: Names) -> Dump:
    """The configuration an org holds, column by column out of its store, without the stamps of the last write."""
    return {
        name: [
            {column: value for column, value in row.items() if column not in STAMPS} for row in org.control.dump(name)
        ]
        for name in names.objects
    }


def _planted(ground: Ground) -> Iterator[rehearsal.Planted]:
    bad = ground.made.bad if ground.made else ()
    known = TrackedRecord.objects.filter(project=ground.project, source_id__in=[each.id for each in bad])
    standing = {record.source_id: record for record in known}
    for each in bad:
        found = standing[each.id]
        yield rehearsal.Planted(each.object, each.id, each.trouble, found.state, found.reason)


# --- The ground -----------------------------------------------------------------------------------------------
@contextmanager
def _orgs(order: Order) -> Iterator[tuple[Running, Running]]:
    """A full org and one that has the same objects; payroll's target holds a few records of its own."""
    with ExitStack() as stack:
        records = 0 if order.data or order.source == PACKAGED else order.records
        source = stack.enter_context(
            running_simulator(
                data=order.data, records=records, seed=order.seed, bad=order.bad if records else 0, process=True
            )
        )
        metadata = Path(stack.enter_context(TemporaryDirectory()))
        if order.data is not None:
            (metadata / "objects").symlink_to((order.data / "objects").resolve())
        target = stack.enter_context(running_simulator(data=metadata if order.data else None, process=True))
        yield source, target


@contextmanager
def _ground(order: Order, source: Running, target: Running) -> Iterator[Ground]:
    made = _configured(order, source, target) if order.source == PACKAGED else None
    if made is None:
        names = _moved(order)
        target.control.define(*({"fullName": name, "fields": [EXTERNAL_ID]} for name in names))
    customer = Customer.objects.create(name=f"Rehearsal {order.source}", slug=f"rehearsal-{uuid.uuid4().hex[:10]}")
    try:
        project = between(customer, source, target)
        with orgs.open_source(project.source) as reader, orgs.open_target(project.target) as writer:
            if made is not None:
                offered = blueprints.offered(PAYROLL, [info.name for info in reader.entities()])
                projects.choose_like(project, reader, writer, [each.entity for each in offered], blueprint=PAYROLL)
            else:
                projects.choose_like(project, reader, writer, names)
        yield Ground(project, source, target, made)
    finally:
        if not order.keep:
            rehearsal.erase(customer)


def _configured(order: Order, source: Running, target: Running) -> Configuration:
    payroll.install(source, SOURCE)
    payroll.install(target, TARGET)
    try:
        made = payroll.fill(source, SOURCE, replace(SIZE, bad=order.bad), seed=order.seed)
    except ValueError as refused:
        raise RehearsalRefused(str(refused)) from refused
    payroll.settle(target, TARGET, [str(row["Id"]) for row in made.records[SOURCE.pay_code][:TWINS]])
    return made


def _moved(order: Order) -> list[str]:
    return rehearsal.entities_in(order.data) if order.data else list(GENERATED)


def between(customer: Customer, source: Running, target: Running) -> Project:
    """A project between two new orgs of the customer, with nothing chosen yet."""
    from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
    to_org = make_org(customer, "Target", Role.TARGET, salesforce_reach(target.ready))
    return projects.create_project(customer, "Move", source=from_org, target=to_org)
