"""Erasing a project and passing its retention date drop tables, and only that project's."""

import re
import threading
from datetime import UTC, date, datetime

import psycopg
import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from projects.models import Project
from runs import causes, inspection, ledger, partitions, payload, services
from runs.choices import ChunkState, RecordState, RunState
from runs.engine import coordinator
from runs.evidence import document, summary
from runs.models import Chunk, ChunkContent, ChunkProof, ContentsDropped, Finding, MatchKey, Run, Step, TrackedRecord
from runs.partitions import PartitionBusy
from tests import factories
from tests.fakes import World, schema
from tests.runs.screens import signed_in, text

pytestmark = pytest.mark.django_db

GROWING = (
    partitions.RECORDS, partitions.MATCH_KEYS, partitions.FINDINGS, partitions.CONTENTS, partitions.PREDICTIONS
)  # fmt: skip
"""Tables that grow with the records."""


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
    run = loaded(world, project)
    step = run.steps.get()
    factories.match_key(step, "A1")
    Finding.objects.create(project=project, run=run, step=step, chunk=step.chunks.get(), source_id="A1", rule="r")
    partitions.ensure_dry_run(project.pk, run.pk)
    other = factories.project()
    ledger.ensure_partition(other.pk)
    for table in GROWING:
        assert tables(f"{table}_p{project.pk}"), table
    services.erase_project(project)
    for table in GROWING:
        assert not tables(f"{table}_p{project.pk}"), table
    assert {name for table in GROWING for name in tables(f"{table}_p{other.pk}")} == {
        f"{table}_p{other.pk}" for table in GROWING if table != partitions.PREDICTIONS
    }
    left = (Chunk, ChunkContent, ChunkProof, Finding, MatchKey, Run, Step, TrackedRecord)
    assert [model.__name__ for model in left if model._default_manager.exists()] == []


def test_findings_are_looked_for_in_one_partition(world: World, project: Project) -> None:
    run = loaded(world, project)
    ledger.ensure_partition(factories.project().pk)
    with CaptureQueriesContext(connection) as seen:
        causes.causes_of(run)
        inspection.findings(TrackedRecord.objects.get(source_id="A1"))
        document.overview(run)
        summary.prove_step(run.steps.get(), [])
    asked = [query["sql"] for query in seen if "runs_finding" in query["sql"]]
    assert len(asked) >= 4
    for question in asked:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {question}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert set(re.findall(r"runs_finding_p(\d+)", plan)) == {str(project.pk)}, plan


def test_passing_the_retention_date_drops_the_contents_and_keeps_the_figures(world: World, project: Project) -> None:
    run = loaded(world, project)
    [kept] = ledger.months(project.pk, days=None)
    assert (kept.month, kept.runs, kept.chunks, kept.past, kept.due) == (month_of(run), 1, 1, 0, None)
    assert kept.size > 0
    assert ledger.drop_contents(project.pk, kept.month) == 1
    assert not tables(f"runs_chunkcontent_p{project.pk}_")
    assert ledger.months(project.pk, days=None) == []
    chunk = Chunk.objects.get()
    assert (chunk.state, chunk.created, chunk.month) == (ChunkState.VERIFIED, 1, None)
    with pytest.raises(ContentsDropped, match="retention time has passed"):
        _ = chunk.payload
    page = text(signed_in(superuser=True), f"{reverse('records:page', args=[project.pk, chunk.step.object_id])}?id=A1")
    assert "retention time has passed" in page


def test_a_month_with_an_open_run_is_not_past(project: Project) -> None:
    chosen, long_ago = factories.project_object(project, "Account"), datetime(2020, 1, 2, tzinfo=UTC)
    open_run = factories.run(project, state=RunState.RUNNING)
    ended = factories.run(project, state=RunState.COMPLETED, finished_at=long_ago)
    for run in (open_run, ended):
        factories.chunk(factories.step(run, chosen), [{"Id": "A1"}])
    [kept] = ledger.months(project.pk, days=1)
    assert (kept.runs, kept.past, kept.due, kept.wholly_past) == (2, 1, None, False)


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


@pytest.mark.django_db(transaction=True)
def test_of_two_workers_who_need_a_partition_at_once_one_finds_that_of_the_other(project: Project) -> None:
    """The second one had looked for it before, in the very transaction in which it looks once more."""
    month, name = date(2026, 7, 1), f"runs_chunkcontent_p{project.pk}_202607"

    def first() -> None:
        partitions.ensure_month(project.pk, month)
        connection.close()

    ledger.ensure_partition(project.pk)
    with transaction.atomic():
        ledger.ensure_partition(project.pk)
        assert not partitions._exists(name)
        other = threading.Thread(target=first)
        other.start()
        other.join()
        partitions.ensure_month(project.pk, month)
    assert partitions._exists(name)
    partitions.drop_project(project.pk)
