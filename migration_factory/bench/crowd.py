"""How much faster four workers are than one where every request takes its time: simulators with 50 ms latency.

Latency counts for something only where requests are many: both systems are orgs, so that a chunk is read, looked up,
written, polled for and read back over HTTP. The source refuses bulk jobs and chunks are pages of 2,000 records: of
chunks of 10,000, which one worker moves four times as fast, the target's simulator, a single process, soon has more to
do than a second worker could wait for.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

from migration_factory import crew
from migration_factory.bench.engine import BenchFailed
from migration_factory.bench.trial import Figure, Size
from migration_factory.rehearsal import erase, make_org, salesforce_reach
from orgs import services as orgs
from orgs.models import Customer, Role
from projects import services as projects
from projects.models import Project
from runs import reports
from runs import services as runs
from runs.models import Run
from sandbox.salesforce.running import ControlClient, running_simulator

LATENCY_MS = 50
FEW, MANY = 1, 4
WANTED_TIMES = 3.0
OBJECTS = tuple(f"Thing{number}__c" for number in range(MANY))
"""They point at nothing, so that none has to wait for another."""
KEY = "Key__c"
ROWS_PER_REQUEST = 2_000
CHUNK_RECORDS = 2_000
SHARE = 25
"""One in so many of the rows: 40,000 of a million are 20 chunks, so that planning, a second whoever does it, is a
tenth of what four workers take."""


def measure(size: Size) -> list[Figure]:
    """With a twenty-fifth of the rows. Raises BenchFailed."""
    each = max(10, size.rows // SHARE // len(OBJECTS))
    seconds = {}
    for workers in (FEW, MANY):
        seconds[workers] = _seconds(each, workers)
        size.tell(f"{workers} workers: {seconds[workers]:.1f} s")
    return [
        Figure(f"{each * len(OBJECTS):,} records, one worker", seconds[FEW], "s"),
        Figure(f"{each * len(OBJECTS):,} records, {MANY} workers", seconds[MANY], "s"),
        Figure(f"{MANY} workers are as fast as one", seconds[FEW] / seconds[MANY], "times", at_least=WANTED_TIMES),
    ]


def _seconds(each: int, workers: int) -> float:
    with _project(each) as (project, controls):
        for control in controls:
            control.fault("slow", path="/services/", latency_ms=LATENCY_MS)
        controls[0].fault("not_in_bulk", path="/jobs/query")
        run = runs.start_run(project, drivers=workers)
        with _pages_as_chunks():
            crew.drive(run, workers)
        return _took(Run.objects.get(pk=run.pk), each * len(OBJECTS))


@contextmanager
def _pages_as_chunks() -> Iterator[None]:
    """For worker processes that are started meanwhile."""
    before = os.environ.get("MF_CHUNK_RECORDS")
    os.environ["MF_CHUNK_RECORDS"] = str(CHUNK_RECORDS)
    try:
        yield
    finally:
        os.environ.pop("MF_CHUNK_RECORDS")
        if before is not None:
            os.environ["MF_CHUNK_RECORDS"] = before


def _took(run: Run, records: int) -> float:
    found = reports.figures(run)
    if not found.good or found.totals["created"] != records or run.started_at is None or run.finished_at is None:
        raise BenchFailed(f"The run did not load and prove {records:,} records: {run.reason}")
    return (run.finished_at - run.started_at).total_seconds()


@contextmanager
def _project(each: int) -> Iterator[tuple[Project, list[ControlClient]]]:
    """Two new orgs, ``each`` records of every object in the first, and a project from the first to the second."""
    with ExitStack() as stack:
        source, target = (stack.enter_context(running_simulator(process=True)) for _ in range(2))
        for org in (source, target):
            org.control.define(*(_definition(name) for name in OBJECTS))
        for name in OBJECTS:
            for start in range(0, each, ROWS_PER_REQUEST):
                numbers = range(start, min(start + ROWS_PER_REQUEST, each))
                source.control.upsert(name, [{"Name": f"{name} {n}", "City__c": f"City {n % 97}"} for n in numbers])
        customer = Customer.objects.create(name="Benchmark", slug=f"benchmark-{uuid4().hex[:10]}")
        stack.callback(erase, customer)
        from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
        to_org = make_org(customer, "Target", Role.TARGET, salesforce_reach(target.ready))
        project = projects.create_project(customer, "Benchmark", source=from_org, target=to_org)
        with orgs.open_source(from_org) as reading, orgs.open_target(to_org) as writing:
            projects.adopt_like(project, reading, writing, OBJECTS, key=KEY)
        yield project, [source.control, target.control]


def _definition(name: str) -> dict[str, object]:
    text = {"type": "Text", "length": 80}
    return {
        "fullName": name,
        "label": name,
        "nameField": {"type": "Text", "label": "Name"},
        "fields": [
            {"fullName": "City__c", "label": "City", **text},
            {"fullName": KEY, "label": "Key", **text, "externalId": True, "unique": True},
        ],
    }
