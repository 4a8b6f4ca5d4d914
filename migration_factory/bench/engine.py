"""Our side: a whole migration of the file into the product's ``accounts``, driven by a crew of processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from django.db import connection
from django.db.models import Max

from migration_factory import crew, scratch
from migration_factory.bench.data import ENTITY
from migration_factory.rehearsal import PRODUCT_MODEL, Reach, erase, make_org
from orgs import services as orgs
from orgs.models import Customer, Role
from projects import services as projects
from projects.mapping import derive, library
from projects.models import Project
from runs import reports
from runs import services as runs
from runs.models import Chunk, Run

CREW = 3
"""Processes; one more than the smallest machine we run on has cores: while one waits for the disk, others work."""


class BenchFailed(Exception):
    """Something was not loaded as it should be, so that its speed means nothing; the message says what."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """``load_seconds`` is from the start of the run until its last chunk was loaded and tracked,
    ``reconcile_seconds`` from there until all was read back and compared; by the database's clock."""

    load_seconds: float
    reconcile_seconds: float
    peaks_mib: tuple[float, ...]


def load(folder: Path, database: str, tenant: int, *, rows: int) -> Loaded:
    """Migrate the file in ``folder`` to an empty product database. Raises BenchFailed where anything is amiss."""
    with project(folder, database, tenant) as moved:
        run = runs.start_run(moved, drivers=CREW)
        peaks = crew.drive(run, CREW)
        return measured(Run.objects.get(pk=run.pk), peaks, rows)


@contextmanager
def project(folder: Path, database: str, tenant: int) -> Iterator[Project]:
    """The packaged mapping of Salesforce accounts, fitted to the file's columns: two halves, value map,
    address to JSON."""
    customer = Customer.objects.create(name="Benchmark", slug=f"benchmark-{uuid4().hex[:10]}")
    try:
        source = make_org(customer, "File", Role.SOURCE, Reach("workbook", folder=folder))
        settings = {**scratch.connection_settings(database), "tenant_id": str(tenant)}
        target = make_org(customer, "Product", Role.TARGET, Reach("postgresql", settings, scratch.password()))
        made = projects.create_project(customer, "Benchmark", source=source, target=target)
        [first] = [half for half in library.platform_halves("salesforce") if half.origin == ENTITY]
        [second] = [half for half in library.target_halves(PRODUCT_MODEL) if half.origin == first.result]
        with orgs.open_source(source) as files:
            projects.save_mapping(made, derive.compose(first, second, source=files.describe(ENTITY)), 0)
        yield made
    finally:
        erase(customer)
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def measured(run: Run, peaks: tuple[float, ...], rows: int) -> Loaded:
    """What a run took that was to create so many records. Raises BenchFailed where it did not, or did not prove it."""
    found = reports.figures(run)
    if not found.good or found.totals["created"] != rows or found.reconcile.records != rows:
        raise BenchFailed(f"The run did not load and prove all of {rows:,} records: {found.reason}")
    loaded = Chunk.objects.filter(run=run).aggregate(at=Max("loaded_at"))["at"]
    if not (run.started_at and run.finished_at):
        raise BenchFailed("The run says that it is done, but not when.")
    return Loaded((loaded - run.started_at).total_seconds(), (run.finished_at - loaded).total_seconds(), peaks)
