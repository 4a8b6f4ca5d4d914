"""Files between two simulated orgs: versions in order, links, attachments; once each, proved, again, and taken back."""

from collections.abc import Iterator
from typing import Any

import pytest

from migration_factory.rehearsal import erase, make_org, salesforce_reach
from orgs import services as orgs
from orgs.models import Customer, Role
from projects import readiness
from projects import services as projects
from projects.models import Project
from projects.readiness import Sides
from projects.selections import Mode, Selection
from runs import drivers, reports, services
from runs.choices import RunState
from runs.dry_runs import start_dry_run
from runs.models import Finding, Run, TrackedRecord
from sandbox.salesforce.running import Running, running_simulator
from tests.connectors.file_org import add_key, contents, document_of, link, links, rows, upload

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

OBJECTS = ["Account", "ContentVersion", "Attachment"]


@pytest.fixture
def both(settings: Any) -> Iterator[tuple[Running, Running]]:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    with running_simulator() as source, running_simulator() as target:
        add_key(target, "Account", "ContentVersion")
        yield source, target


@pytest.fixture
def project(both: tuple[Running, Running]) -> Iterator[Project]:
    source, target = both
    customer = Customer.objects.create(name="Files", slug="files")
    from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
    to_org = make_org(customer, "Target", Role.TARGET, salesforce_reach(target.ready))
    yield projects.create_project(customer, "Move", source=from_org, target=to_org)
    erase(customer)


def chosen(project: Project) -> Project:
    with orgs.open_source(project.source) as reader, orgs.open_target(project.target) as writer:
        projects.choose_like(project, reader, writer, OBJECTS)
    return project


def filled(source: Running) -> None:
    """A plan of two versions at two accounts, a picture at one, a file that is linked to nobody, two attachments."""
    harbour, mill = source.control.upsert("Account", [{"Name": "Harbour"}, {"Name": "Mill"}])
    plan = upload(source, b"first", Title="Plan", PathOnClient="plan.txt", FirstPublishLocationId=harbour)
    document = document_of(source, plan)
    upload(source, b"the second", Title="Plan", PathOnClient="plan.txt", ContentDocumentId=document)
    link(source, document, mill, ShareType="C")
    upload(source, bytes(range(256)) * 40_000, Title="Picture", PathOnClient="a.bin", FirstPublishLocationId=mill)
    upload(source, b"", Title="Nobody's", PathOnClient="empty.txt")
    upload(source, b"old", into="Attachment", Name="note.txt", ParentId=harbour)
    upload(source, b"older", into="Attachment", Name="old.txt", ParentId=mill)


def finish(run: Run) -> Run:
    drivers.drive_here(run.pk)
    return Run.objects.get(pk=run.pk)


def test_files_move_once_with_versions_and_links(project: Project, both: tuple[Running, Running]) -> None:
    source, target = both
    filled(source)
    first = finish(services.start_run(chosen(project)))
    assert first.state == RunState.COMPLETED, first.reason
    figures = reports.figures(first)
    assert figures.reconcile.clean
    assert figures.reconcile.extra == 0

    here, there = contents(source), contents(target)
    assert {title: there[title] for title in here} == here
    assert {title for title in there if title not in here} == {"note.txt", "old.txt"}
    assert links(target) == sorted([*links(source), ("note.txt", "Harbour", "V"), ("old.txt", "Mill", "V")])

    # Nothing is written a second time, and nothing doubled.
    target.control.reset_calls()
    second = reports.figures(finish(services.start_run(project)))
    assert second.totals["created"] + second.totals["updated"] == 0
    assert not [call for call in target.control.calls() if call.startswith(("POST", "PATCH"))]
    assert contents(target) == there


def test_files_are_taken_back_and_only_those(project: Project, both: tuple[Running, Running]) -> None:
    source, target = both
    filled(source)
    own = upload(target, b"their own", Title="Own", PathOnClient="own.txt")
    first = finish(services.start_run(chosen(project)))
    undone = finish(services.start_rollback(first))
    assert undone.state == RunState.COMPLETED, undone.reason
    assert rows(target, "SELECT Id FROM Account") == []
    assert [row["Id"] for row in rows(target, "SELECT Id FROM ContentVersion")] == [own]


def test_a_delta_brings_new_versions_and_what_was_changed(project: Project, both: tuple[Running, Running]) -> None:
    source, target = both
    filled(source)
    finish(services.start_run(chosen(project)))
    [plan] = rows(source, "SELECT Id, ContentDocumentId FROM ContentVersion WHERE Title = 'Plan' AND IsLatest = true")
    upload(source, b"third", Title="Plan", PathOnClient="plan.txt", ContentDocumentId=plan["ContentDocumentId"])
    [mill] = rows(source, "SELECT Id FROM Account WHERE Name = 'Mill'")
    upload(source, b"late", into="Attachment", Name="late.txt", ParentId=mill["Id"])
    delta = finish(services.start_delta(project))
    assert delta.state == RunState.COMPLETED, delta.reason
    here, there = contents(source), contents(target)
    assert {title: there[title] for title in here} == here
    assert len(there["Plan"]) == 3
    assert there["late.txt"]


def test_lost_answers_double_no_file(project: Project, both: tuple[Running, Running]) -> None:
    """Connections that break while, and after, files are taken: each is there once, byte for byte."""
    source, target = both
    filled(source)
    chosen(project)
    target.control.fault("drop_after", path="/sobjects/ContentVersion", method="POST", times=3)
    target.control.fault("drop_before", path="/sobjects/ContentVersion", method="POST", times=2)
    source.control.fault("cut", path="/VersionData", times=2)
    run = finish(services.start_run(project))
    assert run.state == RunState.COMPLETED, run.reason
    here, there = contents(source), contents(target)
    assert {title: there[title] for title in here} == here
    assert len(there) == len(here) + 2


def test_refused_files_are_explained_and_later_versions_wait_for_them(
    project: Project, both: tuple[Running, Running]
) -> None:
    source, target = both
    filled(source)
    target.control.change_settings(file_bytes=5)  # the second version of the plan and the picture are larger
    run = finish(services.start_run(chosen(project)))
    assert run.state == RunState.COMPLETED_WITH_ERRORS
    codes = dict(TrackedRecord.objects.filter(project=project, state="rejected").values_list("source_id", "code"))
    assert set(codes.values()) == {"FILE_SIZE_LIMIT_EXCEEDED"}
    waiting = TrackedRecord.objects.filter(project=project, state="deferred")
    assert waiting.exists()

    # With room for them the same project brings what was missing, in order.
    target.control.change_settings(file_bytes=2_000_000_000)
    again = finish(services.start_run(project))
    assert again.state == RunState.COMPLETED, again.reason
    here, there = contents(source), contents(target)
    assert {title: there[title] for title in here} == here


def test_a_dry_run_foretells_files_and_leaves_none(project: Project, both: tuple[Running, Running]) -> None:
    source, target = both
    filled(source)
    dry = finish(start_dry_run(chosen(project)))
    told = [(each.step_id, each.rule, each.field, each.message) for each in Finding.objects.filter(run=dry)]
    assert dry.state == RunState.COMPLETED, (dry.reason, told)
    assert rows(target, "SELECT Id FROM ContentVersion") == rows(target, "SELECT Id FROM ContentDocument") == []
    foretold = reports.figures(dry).totals
    done = reports.figures(finish(services.start_run(project))).totals
    assert (foretold["read"], foretold["rejected"]) == (done["read"], done["rejected"])


def test_objects_of_files_fit_and_are_offered(project: Project, both: tuple[Running, Running]) -> None:
    chosen(project)
    entities = list(project.project_objects.values_list("source_entity", flat=True))
    assert {"ContentDocument", "ContentDocumentLink"} <= set(entities)
    with orgs.open_source(project.source) as reader, orgs.open_target(project.target) as writer:
        sides = Sides.of(project, reader, writer)
        fits = readiness.fits(sides, entities, entities)
        previews = [readiness.preview(each, reader, writer) for each in project.project_objects.all()]
    assert all(fit.good for fit in fits.values()), {name: fit.reasons for name, fit in fits.items() if not fit.good}
    assert fits["Attachment"].target == "ContentVersion"
    assert not [each.trouble for each in previews if each.trouble]


def test_files_of_chosen_records_move_and_no_others(project: Project, both: tuple[Running, Running]) -> None:
    source, target = both
    filled(source)
    chosen(project)
    [mill] = rows(source, "SELECT Id FROM Account WHERE Name = 'Mill'")
    with orgs.open_source(project.source) as reader:
        account = project.project_objects.get(source_entity="Account")
        projects.select_records(account, Selection(Mode.RECORDS, ids=(str(mill["Id"]),)), reader)
    run = finish(services.start_run(project))
    assert run.state == RunState.COMPLETED, run.reason
    assert reports.figures(run).reconcile.clean
    assert set(contents(target)) == {"Plan", "Picture", "old.txt"}
    assert links(target) == [("Picture", "Mill", "V"), ("Plan", "Mill", "C"), ("old.txt", "Mill", "V")]
    again = reports.figures(finish(services.start_run(project)))
    assert again.totals["created"] + again.totals["updated"] == 0

    # A file that was elsewhere before is linked to the chosen record: its old versions come with it.
    [lonely] = rows(source, "SELECT Id FROM ContentDocument WHERE Title = 'Nobody''s'".replace("''", "\\'"))
    link(source, str(lonely["Id"]), str(mill["Id"]))
    delta = finish(services.start_delta(project))
    assert delta.state == RunState.COMPLETED, delta.reason
    assert ("Nobody's", "Mill", "V") in links(target)
