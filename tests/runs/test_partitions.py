"""Erasing a project and passing its retention date drop tables, and only that project's."""

from datetime import date

import psycopg
import pytest
from django.db import connection
from django.urls import reverse

from projects.models import Project
from runs import ledger, partitions, payload, services
from runs.choices import ChunkState, RecordState, RunState
from runs.engine import coordinator
from runs.models import Chunk, ChunkContent, ContentsDropped, Run
from runs.partitions import PartitionBusy
from tests import factories
from tests.fakes import World, schema
from tests.runs.screens import signed_in, text

pytestmark = pytest.mark.django_db


def loaded(world: World, project: Project) -> Run:
    world.add(schema("Account", "Name"), {"Id": "A1", "Name": "x"})
    factories.project_object(project, "Account")
    run = services.start_run(project)
    while coordinator.advance(run.pk, stop=lambda: False) is not coordinator.Progress.STOPPED:
        pass
    return Run.objects.get(pk=run.pk)


def tables(beginning: str) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND starts_with(relname, %s)", [beginning]
        )
        return {name for (name,) in cursor.fetchall()}


def month_of(run: Run) -> date:
    return run.created_at.date().replace(day=1)


def test_what_a_chunk_carries_lies_in_the_partition_of_its_project_and_month(world: World, project: Project) -> None:
    run = loaded(world, project)
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM runs_chunkcontent")
        assert cursor.fetchall() == [(f"runs_chunkcontent_p{project.pk}_{month_of(run):%Y%m}",)]
    chunk = Chunk.objects.get()
    assert payload.unpack(chunk.payload, purpose=payload.PAYLOAD)["Id"].to_list() == ["A1"]
    assert payload.unpack(chunk.before or b"", purpose=payload.BEFORE).height == 0


def test_erasing_a_project_drops_its_tables_and_no_others(world: World, project: Project) -> None:
    loaded(world, project)
    other = factories.project()
    ledger.ensure_partition(other.pk)
    services.erase_project(project)
    assert tables(f"runs_chunkcontent_p{project.pk}") == tables(f"runs_trackedrecord_p{project.pk}") == set()
    assert tables(f"runs_chunkcontent_p{other.pk}")
    assert not ChunkContent.objects.exists()


def test_passing_the_retention_date_drops_the_contents_and_keeps_the_figures(world: World, project: Project) -> None:
    run = loaded(world, project)
    [(month, ended)] = ledger.months(project.pk)
    assert (month, ended) == (month_of(run), run.finished_at)
    assert ledger.drop_contents(project.pk, month) == 1
    assert not tables(f"runs_chunkcontent_p{project.pk}_")
    assert ledger.months(project.pk) == []
    chunk = Chunk.objects.get()
    assert (chunk.state, chunk.created, chunk.month) == (ChunkState.VERIFIED, 1, None)
    with pytest.raises(ContentsDropped, match="retention time has passed"):
        _ = chunk.payload
    page = text(signed_in(superuser=True), f"{reverse('records:page', args=[project.pk, chunk.step.object_id])}?id=A1")
    assert "retention time has passed" in page


def test_a_month_with_an_open_run_is_not_offered_for_dropping(project: Project) -> None:
    run = factories.run(project, state=RunState.RUNNING)
    factories.chunk(factories.step(run, factories.project_object(project, "Account")), [{"Id": "A1"}])
    assert ledger.months(project.pk) == []


def test_a_retry_of_dropped_records_fails_with_a_sentence(world: World, project: Project) -> None:
    run = factories.run(project, state=RunState.COMPLETED_WITH_ERRORS)
    world.add(schema("Account", "Name"), {"Id": "A1", "Name": "x"})
    step = factories.step(run, factories.project_object(project, "Account"))
    chunk = factories.chunk(step, [{"Id": "A1", "Name": "x"}], state=ChunkState.LOADED, rejected=1)
    factories.track(chunk, {"source_id": "A1", "state": RecordState.REJECTED, "code": "c", "reason": "Why."})
    ledger.drop_contents(project.pk, month_of(run))
    again = services.start_retry(project)
    while coordinator.advance(again.pk, stop=lambda: False) is not coordinator.Progress.STOPPED:
        pass
    again.refresh_from_db()
    assert again.state == RunState.FAILED
    assert "until the project's retention time had passed" in again.reason


def test_partitions_asked_for_twice_are_made_once(project: Project) -> None:
    for _ in range(2):
        partitions.ensure_project(project.pk)
        partitions.ensure_month(project.pk, date(2026, 1, 1))
    assert len(tables(f"runs_chunkcontent_p{project.pk}")) == 2


@pytest.mark.django_db(transaction=True)
def test_a_drop_does_not_queue_everybody_behind_a_long_reader(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "PATIENCE_SECONDS", 0.1)
    ledger.ensure_partition(project.pk)
    known = connection.get_connection_params()
    reader = {name: known[name] for name in ("dbname", "user", "password", "host", "port") if known.get(name)}
    with psycopg.connect(**reader) as backup:
        backup.execute("SELECT count(*) FROM runs_trackedrecord")
        with pytest.raises(PartitionBusy, match="try again later"):
            ledger.drop_partition(project.pk)
        assert tables(f"runs_trackedrecord_p{project.pk}")
    services.erase_project(project)
    assert not tables(f"runs_trackedrecord_p{project.pk}")
