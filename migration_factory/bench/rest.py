"""From a REST API into PostgreSQL: a whole run, against dlt's ``rest_api`` source and against fetching alone.

The Salesforce simulator serves everybody, in a process of its own, by its REST query and pages of 2,000 records. It
refuses bulk jobs (fault ``not_in_bulk``), so that the engine has to take the pages as well.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from uuid import uuid4

import httpx
import polars as pl

from migration_factory import crew, scratch
from migration_factory.bench import engine, rivals
from migration_factory.bench.data import write_accounts
from migration_factory.bench.engine import BenchFailed
from migration_factory.bench.trial import Figure, Size
from migration_factory.rehearsal import Reach, erase, make_project, salesforce_reach
from orgs import services as orgs
from orgs.models import Customer
from projects.models import Project
from runs import services as runs
from runs.models import Run
from sandbox.salesforce.running import Running, running_simulator

DATABASE = f"bench_rest_{os.getpid()}"
ENTITY = "Firm__c"
ROWS_PER_REQUEST = 2_000
SHARE = 10
"""One in so many of the rows: 100,000 of a million."""
WANTED_TIMES, WANTED_SHARE = 3.0, 1.25
QUERY = "/services/data/v66.0/query"
TEXTS = (
    "AccountNumber", "Type", "Industry", "Phone", "Fax", "Website", "BillingStreet", "BillingCity", "BillingState",
    "BillingPostalCode", "BillingCountry",
)  # fmt: skip
NUMBERS = {"AnnualRevenue": 2, "NumberOfEmployees": 0}
MOMENTS = ("CreatedDate", "LastModifiedDate")


@dataclass(frozen=True, slots=True)
class Course:
    """The simulator that serves ``rows`` records, and the query that everybody's pages are of."""

    simulator: Running
    rows: int
    soql: str
    fields: Sequence[str]


Contestant = Callable[[Course], float]


def measure(size: Size) -> list[Figure]:
    """With a tenth of the rows; medians of the rounds. Raises BenchFailed where a contestant misses a record."""
    rows = max(10, size.rows // SHARE)
    contestants: dict[str, Contestant] = {"fetching alone": fetch, "engine": migrate}
    if rivals.dlt_installed():
        contestants |= {"dlt": lambda course: dlt(course, ""), "dlt tuned": lambda course: dlt(course, "tuned")}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    with _course(rows) as course:
        for number in range(size.rounds):
            for name in list(contestants)[:: -1 if number % 2 else 1]:
                seconds[name].append(contestants[name](course))
                size.tell(f"{name}: {seconds[name][-1]:.1f} s")
    return figures(rows, {name: median(found) for name, found in seconds.items()})


def figures(rows: int, seconds: dict[str, float]) -> list[Figure]:
    """What the seconds of each contestant mean."""
    ours, alone = seconds["engine"], seconds["fetching alone"]
    found = [Figure(f"{rows:,} records: {name}", took, "s") for name, took in seconds.items()]
    found.append(Figure("engine takes, of fetching alone", ours / alone, "times", at_most=WANTED_SHARE))
    if "dlt" in seconds:
        found.append(Figure("engine is as fast as dlt", seconds["dlt"] / ours, "times", at_least=WANTED_TIMES))
    if "dlt tuned" in seconds:
        found.append(Figure("engine is as fast as dlt tuned", seconds["dlt tuned"] / ours, "times"))
    return found


def fetch(course: Course) -> float:
    """Seconds to get all pages one after the other and decode their JSON, and nothing else."""
    count, link = 0, f"{QUERY}?{httpx.QueryParams(q=course.soql)}"
    login = {"Authorization": f"Bearer {course.simulator.ready.access_token}"}
    with httpx.Client(base_url=course.simulator.url, headers=login, timeout=60, trust_env=False) as client:
        started = time.perf_counter()
        while link:
            page = client.get(link).raise_for_status().json()
            count, link = count + len(page["records"]), page.get("nextRecordsUrl")
        seconds = time.perf_counter() - started
    if count != course.rows:
        raise BenchFailed(f"Fetching alone got {count:,} records, not {course.rows:,}.")
    return seconds


def dlt(course: Course, mode: str) -> float:
    """dlt's own seconds; ``mode`` is blank or ``tuned``."""
    with _database():
        ready = course.simulator.ready
        what = [ready.url, ready.access_token, QUERY, course.soql]
        return rivals.dlt_rest(mode, what, DATABASE, rows=course.rows).seconds


def migrate(course: Course) -> float:
    """A run's seconds from its start until its last chunk was loaded and tracked. What it wrote is counted again."""
    with _database(), _project(course.simulator) as project:
        run = runs.start_run(project, drivers=engine.CREW)
        peaks = crew.drive(run, engine.CREW)
        seconds = engine.measured(Run.objects.get(pk=run.pk), peaks, course.rows).load_seconds
        table = project.project_objects.get().target_entity
        with scratch.connect(DATABASE) as server:
            held = server.execute(f'SELECT count(*) FROM "{table}"'.encode()).fetchone()  # noqa: S608 - ours
        if held != (course.rows,):
            raise BenchFailed(f"The table {table} does not hold {course.rows:,} records.")
    return seconds


@contextmanager
def _course(rows: int) -> Iterator[Course]:
    with running_simulator(process=True) as simulator:
        simulator.control.define(_definition())
        _fill(simulator, rows)
        simulator.control.fault("not_in_bulk", path="/jobs/")
        with _database(), _project(simulator) as project, orgs.open_source(project.source) as source:
            fields = source.describe(ENTITY).names
        soql = f"SELECT {', '.join(fields)} FROM {ENTITY} ORDER BY Id"  # noqa: S608 - our own object
        yield Course(simulator, rows, soql, fields)


def _fill(simulator: Running, rows: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file = Path(folder) / "accounts.csv"
        write_accounts(file, rows)
        accounts = pl.read_csv(file, infer_schema=False)
    texts = [pl.col(name).alias(f"{name}__c") for name in TEXTS]
    numbers = [pl.col(name).cast(pl.Float64).alias(f"{name}__c") for name in NUMBERS]
    moments = [pl.col(name).alias(f"{name}_there__c") for name in MOMENTS]
    for piece in accounts.select("Name", *texts, *numbers, *moments).iter_slices(ROWS_PER_REQUEST):
        simulator.control.upsert(ENTITY, piece.to_dicts())


def _definition() -> dict[str, object]:
    numbers = [
        {"fullName": f"{name}__c", "label": name, "type": "Number", "precision": 18, "scale": scale}
        for name, scale in NUMBERS.items()
    ]
    return {
        "fullName": ENTITY,
        "label": "Firm",
        "nameField": {"type": "Text", "label": "Name"},
        "fields": [
            *({"fullName": f"{name}__c", "label": name, "type": "Text", "length": 255} for name in TEXTS),
            *numbers,
            *({"fullName": f"{name}_there__c", "label": name, "type": "DateTime"} for name in MOMENTS),
        ],
    }


@contextmanager
def _project(simulator: Running) -> Iterator[Project]:
    """A mirror of the one object in the empty database."""
    customer = Customer.objects.create(name="Benchmark", slug=f"benchmark-{uuid4().hex[:10]}")
    try:
        target = Reach("postgresql", scratch.connection_settings(DATABASE), scratch.password())
        source = salesforce_reach(simulator.ready)
        yield make_project(customer, "Benchmark", source, target, mirror=True, entities=[ENTITY])
    finally:
        erase(customer)


@contextmanager
def _database() -> Iterator[None]:
    scratch.create(DATABASE)
    try:
        with scratch.connect(DATABASE) as server:
            server.execute("CHECKPOINT")
        yield
    finally:
        scratch.drop(DATABASE)
