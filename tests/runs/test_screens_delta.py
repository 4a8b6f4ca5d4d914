"""The pages of deltas: who may see and press what, and that it does what it says."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from connectors import registry
from connectors.types import EntityInfo, EntitySchema
from projects.models import OnDelete, Project
from runs import services
from runs.choices import ConflictState, RecordState, RunState
from runs.models import Conflict, DeltaSchedule, Run
from tests import factories
from tests.fakes import World, schema
from tests.runs.test_delta import at
from tests.runs.test_engine import drive, tracked

PERMISSIONS = (
    "projects.view_project",
    "runs.view_run",
    "runs.view_trackedrecord",
    "runs.view_conflict",
    "runs.decide_conflict",
    "runs.waive_record",
    "runs.plan_delta",
    "runs.control_run",
)


@pytest.fixture
def moving(world: World, project: Project, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(registry, "SOURCES", {"fake": "tests.runs.test_delta:ChangingSource"})
    info = EntityInfo("Account", "Account", "Id", updated_field="Changed")
    rows = ({"Id": f"A{n}", "Name": f"<b>{n}</b>", "Changed": at(8)} for n in range(4))
    world.add(EntitySchema(info, schema("Account", "Name", "Changed").fields), *rows)
    factories.project_object(project, "Account", on_delete=OnDelete.MIRROR)
    drive(services.start_run(project))
    for number in (1, 2):
        world.rows["account"][f"A{number}"]["name"] = "<i>by hand</i>"
        world.records["Account"][number].update(Name="new", Changed=at(20))
    drive(services.start_delta(project))
    return world


@pytest.fixture
def person(project: Project) -> User:
    return factories.user(*PERMISSIONS)


def test_conflicts_are_shown_decided_in_bulk_and_applied(
    client: Client, moving: World, project: Project, person: User
) -> None:
    client.force_login(person)
    where = reverse("admin:runs_conflict_list", args=[project.pk])
    body = client.get(where).content.decode()
    assert "&lt;i&gt;by hand&lt;/i&gt;" in body
    assert "<i>by hand</i>" not in body
    decide = reverse("admin:runs_conflict_decide", args=[project.pk])
    client.post(decide, {"decision": "source"})
    assert not Conflict.objects.filter(state=ConflictState.DECIDED).exists()
    one = Conflict.objects.get(source_id="A1")
    client.post(decide, {"decision": "target", "id": [str(one.pk)], "back": "https://elsewhere.example/"})
    assert Conflict.objects.get(pk=one.pk).decision == "target"
    client.post(decide, {"decision": "open", "id": [str(one.pk)]})
    response = client.post(decide, {"decision": "source", "all": "1", "field": "name"})
    assert response.headers["Location"] == where
    assert "Apply decisions to 2 records" in client.get(where).content.decode()
    assert LogEntry.objects.filter(change_message__contains="2 conflicts decided for the source").exists()
    client.post(reverse("admin:runs_conflict_apply", args=[project.pk]))
    drive(Run.objects.latest("pk"))
    assert moving.rows["account"]["A1"]["name"] == moving.rows["account"]["A2"]["name"] == "new"
    assert "No conflicts" in client.get(where).content.decode()


def test_records_are_waived_with_a_reason_and_taken_back(
    client: Client, moving: World, project: Project, person: User
) -> None:
    moving.refuse = lambda _, row: "No." if row["name"] == "bad" else None
    moving.records["Account"][3].update(Name="bad", Changed=at(21))
    drive(services.start_delta(project))
    client.force_login(person)
    chosen = project.project_objects.get()
    page = f"{reverse('records:page', args=[project.pk, chosen.pk])}?id=A3"
    assert "Waive it" in client.get(page).content.decode()
    where = reverse("admin:runs_waive", args=[project.pk])
    client.post(where, {"object": chosen.pk, "id": "A3", "reason": " "})
    assert tracked(project, "Account")["A3"].state == RecordState.REJECTED
    client.post(where, {"object": chosen.pk, "id": "A3", "reason": "A test account"})
    assert tracked(project, "Account")["A3"].state == RecordState.WAIVED
    body = client.get(page).content.decode()
    assert f"Waived by {person.username}: A test account" in body
    listed = client.get(reverse("records:list", args=[project.pk]), {"state": "waived"}).content.decode()
    assert "Take these waivers back" in listed
    client.post(where, {"undo": "1", "id": "A3"})
    assert tracked(project, "Account")["A3"].state == RecordState.REJECTED
    # A choice that names what is not there never grows to all.
    client.post(where, {"object": "999999", "reason": "x"})
    assert tracked(project, "Account")["A3"].state == RecordState.REJECTED


def test_a_schedule_is_set_paused_resumed_and_removed(
    client: Client, moving: World, project: Project, person: User
) -> None:
    client.force_login(person)
    where = reverse("admin:runs_deltaschedule", args=[project.pk])
    assert "Deltas start by hand" in client.get(where).content.decode()
    given = {"do": "set", "how": "daily", "daily_at": "04:30", "time_zone": "Europe/Berlin"}
    wrong = client.post(where, {**given, "time_zone": "Nowhere"}).content.decode()
    assert "There is no time zone “Nowhere”" in wrong
    assert 'value="04:30"' in wrong
    client.post(where, given)
    assert "Daily at 04:30, by the clock of Europe/Berlin" in client.get(where).content.decode()
    client.post(where, {"do": "pause"})
    assert DeltaSchedule.objects.get().paused == f"Paused by {person.username}."
    client.post(where, {"do": "resume"})
    assert DeltaSchedule.objects.get().paused == ""
    client.post(where, {"do": "limits", "percent": "7", "least": "3"})
    project.refresh_from_db()
    assert (project.delete_stop_percent, project.delete_stop_least) == (7, 3)
    client.post(where, {"do": "limits", "percent": "101", "least": "3"})
    client.post(where, {"do": "remove"})
    assert not DeltaSchedule.objects.exists()


def test_many_deletions_are_allowed_from_the_runs_page(
    client: Client, moving: World, project: Project, person: User
) -> None:
    Project.objects.filter(pk=project.pk).update(delete_stop_percent=0, delete_stop_least=0)
    moving.records["Account"] = [row for row in moving.records["Account"] if row["Id"] != "A0"]
    run = drive(services.start_delta(project))
    assert run.state == RunState.FAILED
    client.force_login(person)
    where = reverse("admin:runs_run_change", args=[run.pk])
    assert "Allow these deletions once" in client.get(where).content.decode()
    client.post(reverse("admin:runs_run_allow", args=[run.pk]))
    assert drive(run).state in {RunState.COMPLETED, RunState.COMPLETED_WITH_ERRORS}
    assert "A0" not in moving.rows["account"]
    assert "Allow these deletions once" not in client.get(where).content.decode()


@pytest.mark.parametrize(
    ("name", "permission"),
    [
        ("runs_conflict_list", "runs.view_conflict"),
        ("runs_conflict_decide", "runs.decide_conflict"),
        ("runs_conflict_apply", "runs.control_run"),
        ("runs_waive", "runs.waive_record"),
        ("runs_deltaschedule", "runs.plan_delta"),
    ],
)
def test_each_page_asks_for_its_permission_and_a_visible_project(
    client: Client, project: Project, name: str, permission: str
) -> None:
    where = reverse(f"admin:{name}", args=[project.pk])
    others = [each for each in PERMISSIONS if each != permission]
    client.force_login(factories.user(*others))
    assert client.post(where).status_code == 403
    client.force_login(factories.user(permission))
    ask = client.get if name == "runs_conflict_list" else client.post
    assert ask(where).status_code == 404


@pytest.mark.parametrize("name", ["runs_conflict_decide", "runs_conflict_apply", "runs_waive"])
def test_nothing_changes_by_looking(client: Client, project: Project, person: User, name: str) -> None:
    client.force_login(person)
    assert client.get(reverse(f"admin:{name}", args=[project.pk])).status_code == 405


def test_the_page_of_a_record_gone_from_the_source_shows_what_was_read_last(
    client: Client, moving: World, project: Project
) -> None:
    """The last chunk that touched it carries its id alone; no mapping can be shown on that."""
    project.project_objects.update(on_delete=OnDelete.FLAG)
    moving.records["Account"] = [row for row in moving.records["Account"] if row["Id"] != "A3"]
    drive(services.start_delta(project))
    record = tracked(project, "Account")["A3"]
    assert record.state == RecordState.GONE
    client.force_login(factories.user(*PERMISSIONS, "runs.view_chunk"))
    where = reverse("records:page", args=[project.pk, record.object_id])
    answer = client.get(where, {"id": "A3"})
    assert answer.status_code == 200
    body = answer.content.decode()
    assert "The record is gone from the source; the target keeps it." in body
    assert "&lt;b&gt;3&lt;/b&gt;" in body
