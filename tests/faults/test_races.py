"""What goes wrong between several processes: two starts at once, a wrong clock, a lease that ends too early."""

import multiprocessing
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

from connectors.clients.workbook import tables
from runs import services
from runs.choices import OPEN, RunState
from runs.models import Chunk, Run
from tests.faults.mortal import Life, live, lived, press_start
from tests.runs import checker, worker_host
from tests.runs.worker_host import Bed

pytestmark = pytest.mark.processes

PAGE = 40


@pytest.fixture
def bed(transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.setattr(tables, "PAGE_RECORDS", PAGE)
    with worker_host.bed(tmp_path / "files", worker_host.source_rows(12, companies=60, people=100), "races") as made:
        yield made


def place() -> dict[str, str]:
    return {name: connection.settings_dict[name] for name in ("NAME", "USER", "HOST", "PORT", "PASSWORD")}


def assert_exact(bed: Bed, run: Run) -> None:
    assert Run.objects.get(pk=run.pk).state == RunState.COMPLETED
    with bed.connections() as (ledger, target):
        assert checker.problems(ledger, target, run.pk, worker_host.expected(bed.rows)) == []
        assert checker.outcomes(ledger, run.pk) == {"created": 160}


def test_of_two_people_who_press_start_at_once_one_is_told_of_the_other(bed: Bed) -> None:
    """Two processes, let go by one barrier; the database decides."""
    context = multiprocessing.get_context("forkserver")
    barrier, said = context.Barrier(2), context.Queue()
    people = [context.Process(target=press_start, args=[place(), bed.project.pk, barrier, said]) for _ in range(2)]
    for person in people:
        person.start()
    answers = sorted(said.get(timeout=60) for _ in people)
    for person in people:
        person.join(60)
    run = Run.objects.get(project=bed.project, state__in=OPEN)
    assert answers == [
        f"Run {run.pk} of races is not finished; wait for it, resume it or cancel it first.",
        f"started {run.pk}",
    ]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_worker_whose_clock_is_an_hour_off_takes_and_loses_nothing(bed: Bed, hours: int) -> None:
    """It shares a run with one whose clock is right: neither takes what the other holds, and the leases it
    leaves in the database are the database's time."""
    run = services.start_run(bed.project, drivers=2)
    context = multiprocessing.get_context("forkserver")
    workers = [
        context.Process(target=lived, args=[Life(place(), run.pk, clock_hours=skew, host=f"host{skew}")])
        for skew in (hours, 0)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert_exact(bed, run)
    attempts = Chunk.objects.filter(run=run).values_list("fence", flat=True)
    assert max(attempts) <= 3, "a chunk was claimed again: to load, to relink and to verify are three claims"
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp(), max(loaded_at), min(staged_at) FROM runs_chunk")
        now, last, first = cursor.fetchone()
    assert timedelta(0) <= now - last < timedelta(minutes=10)
    assert timedelta(0) <= now - first < timedelta(minutes=10)


def test_a_lease_that_ends_while_its_holder_works_keeps_its_late_writes_out(bed: Bed) -> None:
    """The holder has sent the records and comes back to find that somebody else has taken over and finished."""
    run = services.start_run(bed.project, drivers=1)
    assert live(Life(place(), run.pk, overtaken="load.sent", page=PAGE)) == 0
    assert_exact(bed, run)
    assert Chunk.objects.filter(run=run, fence__gt=2).exists(), "nobody was overtaken"
