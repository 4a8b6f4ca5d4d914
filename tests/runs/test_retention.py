"""What runs carry is kept for as long as the project says, and deleted after that in small pieces."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import F
from django.test import Client
from django.urls import reverse

from projects.models import Project
from runs import retention, services
from runs.choices import RunState
from runs.models import Chunk, ChunkContent, Run, TrackedRecord
from tests import factories
from tests.fakes import World
from tests.runs.test_engine import drive, family


def grow_old(run: Run, days: int) -> Run:
    Run.objects.filter(pk=run.pk).update(finished_at=F("finished_at") - timedelta(days=days))
    run.refresh_from_db()
    return run


@pytest.fixture
def loaded(world: World, project: Project) -> Run:
    family(world, project)
    return drive(services.start_run(project))


def kept_for(project: Project) -> int | None:
    return Project.objects.get(pk=project.pk).retention_days


def keep(project: Project, days: int | None) -> None:
    project.retention_days = days
    project.save()


def test_a_run_past_its_retention_loses_its_contents_and_cannot_be_undone(project: Project, loaded: Run) -> None:
    keep(project, 30)
    assert loaded.finished_at
    assert services.undoable_until(loaded) == loaded.finished_at + timedelta(days=30)
    assert retention.purge_all() == 0
    grow_old(loaded, 31)
    assert retention.kept(project, 30).past == 1
    assert retention.purge_all() == Chunk.objects.filter(run=loaded).count()
    assert not ChunkContent.objects.filter(project_id=project.pk).exists()
    with pytest.raises(services.RunRefused, match="cannot be rolled back any more"):
        services.start_rollback(loaded)
    assert TrackedRecord.objects.filter(project=project, state="loaded").count() == 9


def test_a_younger_run_keeps_what_it_needs(world: World, project: Project, loaded: Run) -> None:
    keep(project, 30)
    grow_old(loaded, 31)
    for record in world.records["Contact"]:
        record["Name"] = f"New {record['Name']}"
    second = drive(services.start_run(project))
    retention.purge_all()
    undone = drive(services.start_rollback(second))
    assert undone.state == RunState.COMPLETED
    assert world.rows["contact"]["C0"]["name"] == "C 0"


def test_it_goes_in_small_pieces_and_not_under_an_open_run(project: Project, loaded: Run) -> None:
    keep(project, 1)
    grow_old(loaded, 2)
    open_run = services.start_rollback(loaded)
    assert retention.purge_all() == 0
    Run.objects.filter(pk=open_run.pk).update(state=RunState.CANCELLED)
    chunks = Chunk.objects.filter(run=loaded).count()
    assert chunks > 2
    assert retention.purge_all(most=2) == 2
    with pytest.raises(services.RunRefused, match="cannot be rolled back any more"):
        services.start_rollback(loaded)
    assert retention.purge_all() == chunks - 2


def test_without_a_retention_everything_is_kept(project: Project, loaded: Run) -> None:
    grow_old(loaded, 10_000)
    assert retention.purge_all() == 0
    assert services.undoable_until(loaded) is None


def test_the_command(project: Project, loaded: Run, capsys: Any) -> None:
    keep(project, 1)
    grow_old(loaded, 2)
    call_command("purge", "--dry-run")
    assert f"{project}: 1 runs are past 1 days." in capsys.readouterr().out
    call_command("purge")
    assert "The contents of 4 chunks were deleted." in capsys.readouterr().out


def test_the_page_shows_what_it_means_before_it_is_done(project: Project, loaded: Run, client: Client) -> None:
    client.force_login(factories.user("projects.change_project", "projects.view_project", "runs.view_run"))
    grow_old(loaded, 40)
    address = reverse("admin:runs_run_retention", args=[project.pk])
    assert "until the project is erased" in client.get(address).content.decode()
    shown = client.get(address, {"days": "30"}).content.decode()
    assert "the contents of <strong>1 run</strong> are past that" in shown
    assert "has changed since it was shown" in client.post(address, {"days": "30", "past": "0"}).content.decode()
    assert kept_for(project) is None
    assert client.post(address, {"days": "30", "past": "1"}).status_code == 302
    assert kept_for(project) == 30
    assert "Give a number of days" in client.get(address, {"days": "0"}).content.decode()
    client.post(address, {"days": "", "past": "0"})
    assert kept_for(project) is None


def test_the_page_is_for_those_who_may_change_the_project(project: Project, client: Client) -> None:
    client.force_login(factories.user("projects.view_project"))
    assert client.get(reverse("admin:runs_run_retention", args=[project.pk])).status_code == 403


def test_a_runs_page_says_until_when_it_can_be_undone(project: Project, loaded: Run, client: Client) -> None:
    client.force_login(factories.user("runs.view_run", "runs.rollback_run"))
    address = reverse("admin:runs_run_change", args=[loaded.pk])
    assert "can be rolled back at any later date" in client.get(address).content.decode()
    keep(project, 30)
    assert "It can be rolled back until" in client.get(address).content.decode()
    grow_old(loaded, 31)
    retention.purge_all()
    assert "cannot be rolled back any more" in client.get(address).content.decode()
