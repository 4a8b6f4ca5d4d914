"""The packaged path between two simulated orgs: payroll configuration with bad records in it, again, edited, undone."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from connectors.context import Context
from connectors.files import FolderFiles
from connectors.sources.workbook import WorkbookSource
from migration_factory.rehearsal import erase, make_org, salesforce_reach
from orgs import services as orgs
from orgs.models import Customer, Role
from projects import blueprints
from projects import services as projects
from projects.blueprints.payroll import PAYROLL
from projects.models import Project
from runs import drivers, reports, services
from runs.choices import RunState
from runs.models import Finding, Run, TrackedRecord
from sandbox.salesforce import payroll
from sandbox.salesforce.payroll import BREAKPOINT_LOOKUPS, Configuration, Names, Size
from sandbox.salesforce.running import Running, running_simulator
from tests.connectors.payroll_org import records_of

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

SOURCE, TARGET = Names(), Names(namespaced=False)
BAD = 30


@dataclass(frozen=True)
class Move:
    """A project between an org with the package and an org with its own copy of the objects."""

    project: Project
    source: Running
    target: Running
    made: Configuration


@pytest.fixture
def move(settings: Any) -> Iterator[Move]:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    with running_simulator() as source, running_simulator() as target:
        payroll.install(source, SOURCE)
        payroll.install(target, TARGET)
        made = payroll.fill(source, SOURCE, Size(bad=BAD))
        customer = Customer.objects.create(name="Payroll", slug="payroll")
        yield Move(_project(customer, source, target), source, target, made)
        erase(customer)


def _between(customer: Customer, source: Running, target: Running) -> Project:
    from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
    to_org = make_org(customer, "Target", Role.TARGET, salesforce_reach(target.ready))
    return projects.create_project(customer, "Move", source=from_org, target=to_org)


def _project(customer: Customer, source: Running, target: Running) -> Project:
    project = _between(customer, source, target)
    with orgs.open_source(project.source) as reader, orgs.open_target(project.target) as writer:
        offered = blueprints.offered(PAYROLL, [info.name for info in reader.entities()])
        projects.adopt_like(project, reader, writer, [each.entity for each in offered])
    projects.use_blueprint(project, PAYROLL)
    return project


def finish(run: Run) -> Run:
    drivers.drive_here(run.pk)
    return Run.objects.get(pk=run.pk)


def dump(org: Running, names: Names) -> dict[str, list[str]]:
    """Every record of the configuration with all its fields, without what the org computes by itself."""
    ours = {each["fullName"]: [field["fullName"] for field in each["fields"]] for each in payroll.metadata(names)}
    return {
        name: sorted(json.dumps(row, sort_keys=True) for row in records_of(org, name, "Id", "Name", *fields))
        for name, fields in ours.items()
    }


def keyed(org: Running, names: Names, name: str, *fields: str) -> dict[str, Mapping[str, Any]]:
    rows = records_of(org, name, "Id", names.external_id, *fields)
    return {str(row[names.external_id]): row for row in rows}


def test_configuration_moves_whole_and_back(move: Move) -> None:
    before = dump(move.target, TARGET)
    first = finish(services.start_run(move.project))
    figures = reports.figures(first)
    bad = {each.id: each for each in move.made.bad}
    assert first.state == RunState.COMPLETED_WITH_ERRORS
    assert figures.totals["read"] == move.made.total
    assert figures.totals["created"] == move.made.total - BAD

    # Every bad record is refused or waits, with a reason; every good one is in the target.
    standing = TrackedRecord.objects.filter(project=move.project)
    troubled = {record.source_id: record for record in standing.exclude(state="loaded")}
    assert set(troubled) == set(bad)
    assert all(record.reason for record in troubled.values())
    explained = set(Finding.objects.filter(run=first).values_list("source_id", flat=True))
    assert {key for key, record in troubled.items() if record.state == "rejected"} <= explained
    _assert_alike(move)

    second = reports.figures(finish(services.start_run(move.project)))
    assert second.totals["created"] + second.totals["updated"] == 0
    assert second.totals["unchanged"] == move.made.total - BAD

    # Ten edits travel by a delta, and nothing else is written.
    good = [row for row in move.made.records[SOURCE.pay_code] if row["Id"] not in bad][:10]
    edits = [{"Id": row["Id"], "Name": f"Edited {number}"} for number, row in enumerate(good)]
    move.source.control.upsert(SOURCE.pay_code, edits)
    delta = finish(services.start_delta(move.project))
    assert reports.figures(delta).totals["updated"] == 10
    held = keyed(move.target, TARGET, TARGET.pay_code, "Name")
    assert {held[str(edit["Id"])]["Name"] for edit in edits} == {edit["Name"] for edit in edits}

    for run in (delta, first):
        undone = finish(services.start_rollback(run))
        assert undone.state == RunState.COMPLETED, undone.reason
    assert dump(move.target, TARGET) == before


def _assert_alike(move: Move) -> None:
    """References point at the twins of what they pointed at, record types are of the same name."""
    rules = keyed(move.target, TARGET, TARGET.rule, "RecordTypeId", "Interpretation_Rule__c", "Pay_Code__c")
    codes = keyed(move.target, TARGET, TARGET.pay_code)
    assert len(rules) == 20
    assert len({row["RecordTypeId"] for row in rules.values()}) == 3
    for row in move.made.records[SOURCE.rule]:
        there = rules[row["Id"]]
        parent, code = row[SOURCE.time("Interpretation_Rule")], row[SOURCE.time("Pay_Code")]
        assert there["Interpretation_Rule__c"] == (rules[parent]["Id"] if parent else None)
        assert there["Pay_Code__c"] == codes[code]["Id"]
    lookups = [f"{name}__c" for name in BREAKPOINT_LOOKUPS]
    points = keyed(move.target, TARGET, TARGET.breakpoint, "Interpretation_Rule__c", *lookups)
    ids = {key: row["Id"] for key, row in points.items()}
    for row in move.made.records[SOURCE.breakpoint]:
        if row["Id"] in points:
            assert points[row["Id"]]["Interpretation_Rule__c"] == rules[row[SOURCE.rule]]["Id"]
            for name in lookups:
                assert points[row["Id"]][name] == ids.get(str(row.get(SOURCE.time(name.removesuffix("__c")))))


# --- Public data sets -----------------------------------------------------------------------------------------
EXTERNAL_ID = {
    "fullName": "External_Id__c",
    "label": "External Id",
    "type": "Text",
    "length": 40,
    "externalId": True,
    "unique": True,
}


@pytest.mark.parametrize("name", ["easy-spaces", "ebikes"])
def test_a_public_data_set_moves_org_to_org(name: str, settings: Any, tmp_path: Path) -> None:
    """All objects of the set; the target has the same metadata, no records, and an external id on each object."""
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    folder = settings.BASE_DIR.parent / "shared" / "data" / "salesforce" / name
    if not folder.is_dir():
        pytest.skip(f"the public data set {name} is not on this machine ({folder})")
    (tmp_path / "objects").symlink_to(folder / "objects")
    with running_simulator(data=folder) as source, running_simulator(data=tmp_path) as target:
        with WorkbookSource(Context(files=FolderFiles(folder))) as files:
            entities = [info.name for info in files.entities()]
        target.control.define(*({"fullName": entity, "fields": [EXTERNAL_ID]} for entity in entities))
        customer = Customer.objects.create(name=name, slug=name)
        project = _between(customer, source, target)
        with orgs.open_source(project.source) as reader, orgs.open_target(project.target) as writer:
            projects.adopt_like(project, reader, writer, entities)
        first, second = (reports.figures(finish(services.start_run(project))) for _ in range(2))
        erase(customer)
    assert (first.status, first.good) == ("completed", True), first.reason
    assert first.totals["created"] == first.totals["read"] == sum(source.ready.records[each] for each in entities)
    assert (second.status, second.totals["unchanged"]) == ("completed", first.totals["read"])
