"""What runs carry is kept for as long as the project says, and deleted after that in small pieces."""

import re
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from projects.models import Project
from runs import partitions, retention, services
from runs.choices import RunState
from runs.dry_runs import start_dry_run
from runs.forecast_models import Prediction
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


def in_month(project: Project, like: Run, started: str, *, finished: str | None) -> Run:
    """A finished run of one chunk that was started on that day; without ``finished`` it ended just now."""
    run = factories.run(project, state=RunState.COMPLETED)
    ended = datetime.fromisoformat(finished).replace(tzinfo=UTC) if finished else timezone.now()
    Run.objects.filter(pk=run.pk).update(
        created_at=datetime.fromisoformat(started).replace(tzinfo=UTC), finished_at=ended
    )
    run.refresh_from_db()
    factories.chunk(factories.step(run, like.steps.all()[0].object), [{"Id": "X"}])
    return run


def partitions_of(project: Project) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND starts_with(relname, %s) ORDER BY 1",
            [f"{partitions.CONTENTS}_p{project.pk}_"],
        )
        return [name for (name,) in cursor.fetchall()]


def reader() -> dict[str, Any]:
    """How to reach the database past Django, as a backup does."""
    known = connection.get_connection_params()
    return {name: known[name] for name in ("dbname", "user", "password", "host", "port") if known.get(name)}


def blocked() -> bool:
    """Whether somebody waits for a lock that this connection holds, within a while."""
    for _ in range(2_000):
        with connection.cursor() as cursor:
            cursor.execute(
                """SELECT EXISTS (SELECT FROM pg_locks
                                   WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"""
            )
            if cursor.fetchone()[0]:
                return True
        threading.Event().wait(0.005)
    return False


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
    assert not partitions_of(project)
    assert not ChunkContent.objects.filter(project_id=project.pk).exists()
    with pytest.raises(services.RunRefused, match="cannot be rolled back any more"):
        services.start_rollback(loaded)
    assert TrackedRecord.objects.filter(project=project, state="loaded").count() == 9


def test_a_month_goes_once_its_last_run_is_past(world: World, project: Project, loaded: Run) -> None:
    keep(project, 30)
    grow_old(loaded, 31)
    for record in world.records["Contact"]:
        record["Name"] = f"New {record['Name']}"
    second = drive(services.start_run(project))
    [partition] = partitions_of(project)
    assert retention.purge_all() == 0
    assert retention.kept(project, 30) == retention.Kept(runs=2, chunks=8, past=0, waiting=1)
    assert services.start_rollback(loaded).pk  # what is past may still be used while it is there
    services.cancel_run(Run.objects.latest("pk"))
    drive(Run.objects.latest("pk"))
    for run in Run.objects.filter(project=project):
        grow_old(run, 31)
    assert retention.purge_all() == 8
    assert partition not in partitions_of(project)
    with pytest.raises(services.RunRefused, match="cannot be rolled back any more"):
        services.start_rollback(second)


def test_months_go_one_by_one(project: Project, loaded: Run) -> None:
    keep(project, 30)
    earlier = in_month(project, loaded, "2026-01-05", finished="2026-01-06")
    long = in_month(project, loaded, "2026-02-27", finished=None)
    in_month(project, loaded, "2026-02-03", finished="2026-02-03")
    assert [name[-6:] for name in partitions_of(project)] == ["202601", "202602", f"{loaded.created_at:%Y%m}"]
    assert retention.purge_all() == 1
    assert [name[-6:] for name in partitions_of(project)] == ["202602", f"{loaded.created_at:%Y%m}"]
    assert Chunk.objects.get(run=earlier).month is None
    assert Chunk.objects.get(run=long).payload


def test_a_younger_run_keeps_what_it_needs_where_rows_are_deleted_to_the_day(
    world: World, project: Project, loaded: Run
) -> None:
    keep(project, 30)
    grow_old(loaded, 31)
    for record in world.records["Contact"]:
        record["Name"] = f"New {record['Name']}"
    second = drive(services.start_run(project))
    chunks = Chunk.objects.filter(run=loaded).count()
    assert [retention.purge_to_the_day(project, most=3) for _ in range(3)] == [3, chunks - 3, 0]
    with pytest.raises(services.RunRefused, match="cannot be rolled back any more"):
        services.start_rollback(loaded)
    undone = drive(services.start_rollback(second))
    assert undone.state == RunState.COMPLETED
    assert world.rows["contact"]["C0"]["name"] == "C 0"


def test_nothing_goes_under_an_open_run(project: Project, loaded: Run, capsys: Any) -> None:
    keep(project, 1)
    grow_old(loaded, 2)
    open_run = services.start_rollback(loaded)
    assert retention.purge_all() == 0
    assert retention.purge_to_the_day(project) == 0
    call_command("purge", "--dry-run")
    assert capsys.readouterr().out == f"{project}: nothing is deleted while {open_run} is open.\n"
    Run.objects.filter(pk=open_run.pk).update(state=RunState.CANCELLED, finished_at=loaded.finished_at)
    assert retention.purge_all() == Chunk.objects.filter(run=loaded).count()


def test_what_dry_runs_predicted_goes_with_their_month(project: Project, loaded: Run, client: Client) -> None:
    tried = drive(start_dry_run(project))
    assert Prediction.objects.filter(run=tried).exists()
    keep(project, 30)
    for run in (loaded, tried):
        grow_old(run, 31)
    assert retention.purge_all() > 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [f"runs_prediction_p{project.pk}_r{tried.pk}"])
        assert cursor.fetchone() == (None,)
    client.force_login(factories.user(superuser=True))
    page = client.get(reverse("admin:runs_run_forecast", args=[tried.pk])).content.decode()
    assert "retention time has passed" in page


@pytest.mark.django_db(transaction=True)
def test_a_month_that_somebody_reads_stays_for_the_next_time(
    project: Project, loaded: Run, monkeypatch: pytest.MonkeyPatch, capsys: Any, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(partitions, "MONTH_PATIENCE_SECONDS", 0.1)
    keep(project, 30)
    grow_old(loaded, 31)
    earlier = in_month(project, loaded, "2026-01-05", finished="2026-01-06")
    before = partitions_of(project)
    with psycopg.connect(**reader()) as backup:
        backup.execute(f"SELECT count(*) FROM {before[-1]}")
        assert retention.purge_all() == 1, "the month that nobody reads goes"
        assert partitions_of(project) == before[1:]
        assert "stay for now" in caplog.text
        call_command("purge")
        assert "try again later" in capsys.readouterr().out
        assert Chunk.objects.filter(run=loaded)[0].payload, "and what is read is there still"
    assert Chunk.objects.get(run=earlier).month is None
    assert retention.purge_all() == 4
    assert partitions_of(project) == []


@pytest.mark.django_db(transaction=True)
def test_a_run_that_starts_while_a_month_is_dropped_waits_and_is_refused(project: Project, loaded: Run) -> None:
    keep(project, 30)
    grow_old(loaded, 31)
    answers: list[str] = []

    def press() -> None:
        try:
            services.start_rollback(Run.objects.get(pk=loaded.pk))
        except services.RunRefused as refused:
            answers.append(str(refused))
        finally:
            connection.close()

    with transaction.atomic():
        assert list(retention.purge(project))
        person = threading.Thread(target=press)
        person.start()
        assert blocked()
    person.join()
    [answer] = answers
    assert "cannot be rolled back any more" in answer
    assert not Run.objects.filter(kind="rollback").exists()


def test_without_a_retention_everything_is_kept(project: Project, loaded: Run) -> None:
    grow_old(loaded, 10_000)
    assert retention.purge_all() == 0
    assert services.undoable_until(loaded) is None


def test_the_command_says_what_it_would_do_and_does_it(project: Project, loaded: Run, capsys: Any) -> None:
    keep(project, 30)
    grow_old(loaded, 31)
    in_month(project, loaded, "2026-01-05", finished="2026-01-06")
    in_month(project, loaded, "2026-01-07", finished=f"{timezone.now() - timedelta(days=3):%Y-%m-%d}")
    before, due = partitions_of(project), timezone.now() + timedelta(days=27)
    call_command("purge", "--dry-run", "--to-the-day")
    told = capsys.readouterr().out.splitlines()
    last = f"the last of them is past on {due:%-d %B %Y}"
    size = r"[\d.]+\xa0KB"
    patterns = (
        r": would delete row by row what 1 of 2 runs of January 2026 carried\.",
        rf": January 2026 \(2 runs, 2 chunks, {size}\) stays: 1 of its runs are past 30 days, {last}\.",
        rf": would drop {loaded.created_at:%B %Y} \(1 runs, 4 chunks, {size}\)\.",
    )
    assert len(told) == len(patterns)
    for line, pattern in zip(told, patterns, strict=True):
        assert re.fullmatch(re.escape(str(project)) + pattern, line), line
    assert partitions_of(project) == before, "a dry run drops nothing"
    call_command("purge")
    assert re.search(rf"dropped {loaded.created_at:%B %Y} ", capsys.readouterr().out)
    assert partitions_of(project) == before[:1]
    call_command("purge", "--to-the-day")
    assert "deleted the contents of 1 chunks row by row" in capsys.readouterr().out
    assert ChunkContent.objects.filter(project_id=project.pk).count() == 1


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
    assert "It can be rolled back at least until" in client.get(address).content.decode()
    grow_old(loaded, 31)
    retention.purge_all()
    assert "cannot be rolled back any more" in client.get(address).content.decode()
