"""A record that kills every worker that loads it: real deaths, and all the others get to the target."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from connectors.clients.workbook import tables
from runs import services
from runs.choices import ChunkState, RunState
from runs.models import Chunk, Run, RunEvent, TrackedRecord
from tests.faults.mortal import Life, let_leases_end, live
from tests.runs import checker, worker_host
from tests.runs.worker_host import Bed

pytestmark = pytest.mark.processes

PAGE = 8
MOST_DEATHS = 20


@pytest.fixture
def bed(transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.setattr(tables, "PAGE_RECORDS", PAGE)
    rows = worker_host.source_rows(13, companies=16, people=8)
    with worker_host.bed(tmp_path / "files", rows, "poison") as made:
        yield made


def ended(run: Run, poison: str = "") -> int:
    """Let one process after the other drive the run to its end; returns how many of them died."""
    place = {name: connection.settings_dict[name] for name in ("NAME", "USER", "HOST", "PORT", "PASSWORD")}
    for deaths in range(MOST_DEATHS):
        if live(Life(place, run.pk, page=PAGE, poison=poison)) == 0:
            return deaths
        let_leases_end()
    raise AssertionError(f"{MOST_DEATHS} died and the run is still not at its end")


def test_the_record_that_kills_its_workers_is_found_and_all_others_land(bed: Bed) -> None:
    run = services.start_run(bed.project, drivers=1)
    deaths = ended(run, poison="C11")
    assert deaths == 3 + 2 + 2 + 3, "three part the chunk of eight, two each its parts, and three set the record aside"
    run = Run.objects.get(pk=run.pk)
    assert (run.state, run.reason.partition(";")[0]) == (
        RunState.FAILED,
        "1 records could not be done although every one was tried",
    )
    told = RunEvent.objects.filter(run=run, message__contains="is set aside").get().message
    assert "record C11 of Company, whose loading ended every worker that tried it, is set aside" in told
    assert Chunk.objects.filter(run=run, state=ChunkState.FAILED).values_list("records", flat=True).get() == 1
    landed = set(TrackedRecord.objects.filter(project=bed.project).values_list("source_id", flat=True))
    assert landed == {*bed.rows["Company"], *bed.rows["Person"]} - {"C11"}

    # Once the cause is gone, the run is resumed and is exact.
    services.resume_run(run)
    assert ended(run) == 0
    assert Run.objects.get(pk=run.pk).state == RunState.COMPLETED
    with bed.connections() as (ledger, target):
        assert checker.problems(ledger, target, run.pk, worker_host.expected(bed.rows)) == []
        assert checker.outcomes(ledger, run.pk) == {"created": 24}
