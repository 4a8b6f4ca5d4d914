"""What a worker is given next, beside what others hold."""

import pytest

from runs.engine import work
from runs.engine.work import READ_AHEAD, Task
from runs.models import Run, Step
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def run() -> Run:
    return factories.run(factories.project(), planned_at="2026-01-01T00:00Z", state="running")


def unread(run: Run, *, chunks: int) -> Step:
    """A step that is not read to its end, with so many chunks to load."""
    step = factories.step(run, factories.project_object(run.project, "Contact"), extracted_at=None)
    for number in range(chunks):
        factories.chunk(step, [{"Id": f"C{number}", "Name": "x"}], sequence=number)
    return step


def given(run: Run, workers: int) -> list[Task | None]:
    """What so many workers are given who come one after the other and keep it."""
    found = [work.next_work(run.pk) for _ in range(workers)]
    return [each.task if each else None for each in found]


def test_one_worker_loads_before_it_reads_and_a_second_reads_meanwhile(run: Run) -> None:
    unread(run, chunks=3)
    assert given(run, 4) == [Task.LOAD, Task.EXTRACT, Task.LOAD, Task.LOAD]


def test_nobody_reads_far_ahead_of_loading(run: Run) -> None:
    unread(run, chunks=READ_AHEAD + 1)
    assert given(run, 3) == [Task.LOAD] * 3


def test_what_is_read_to_its_end_is_only_loaded(run: Run) -> None:
    step = unread(run, chunks=2)
    Step.objects.filter(pk=step.pk).update(extracted_at="2026-01-01T00:00Z")
    assert given(run, 3) == [Task.LOAD, Task.LOAD, None]
