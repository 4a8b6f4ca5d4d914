"""What comes after a load of a million records: the same again, a delta of one in a hundred, and taking it back."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
from django.db import connection

from migration_factory import crew, scratch
from migration_factory.bench import engine
from migration_factory.bench.data import ENTITY, write_accounts
from migration_factory.bench.engine import CREW, BenchFailed
from migration_factory.bench.trial import Figure, Size
from projects.models import Project
from runs import reports
from runs import services as runs
from runs.models import Run

DATABASE = f"bench_later_{os.getpid()}"
CHANGED_EACH = 100


def measure(size: Size) -> list[Figure]:
    """Seconds by the database's clock from a run's start to its end, reading back included. Raises BenchFailed."""
    rows = size.rows
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        file = Path(name) / f"{ENTITY}.csv"
        write_accounts(file, rows)
        scratch.create(DATABASE)
        try:
            tenant = scratch.install_product(DATABASE, tenant="bench")
            with engine.project(Path(name), DATABASE, tenant) as project:
                return _in_turn(size, project, file)
        finally:
            scratch.drop(DATABASE)


def _in_turn(size: Size, project: Project, file: Path) -> list[Figure]:
    rows, few = size.rows, -(-size.rows // CHANGED_EACH)
    before = _written_ahead()
    first, load = _driven(project, runs.start_run, created=rows)
    wal, ledger = _written_ahead() - before, _ledger_bytes(project)
    size.tell(f"loaded {rows:,} records in {load:.1f} s")
    _, again = _driven(project, runs.start_run, unchanged=rows)
    size.tell(f"loaded them again in {again:.1f} s")
    _change(file)
    _, delta = _driven(project, runs.start_delta, updated=few, unchanged=rows - few)
    size.tell(f"brought {few:,} changes in {delta:.1f} s")
    back = _rolled_back(project, first)
    return [
        Figure("load and read back", load, "s"),
        Figure("the finished load again", again, "s", at_most=load),
        Figure("delta of one in a hundred", delta, "s", at_most=load),
        Figure("rollback of the load, proven", back, "s"),
        Figure("WAL of ledger and target", wal / rows, "bytes a record"),
        Figure("ledger", ledger / rows, "bytes a record"),
    ]


def _driven(project: Project, start: Callable[..., Run], **wanted: int) -> tuple[Run, float]:
    run = start(project, drivers=CREW)
    crew.drive(run, CREW)
    run.refresh_from_db()
    found = reports.figures(run)
    if not found.good or any(found.totals[name] != count for name, count in wanted.items()):
        raise BenchFailed(f"The run should have {wanted}, but has {found.totals}: {found.reason}")
    return run, _took(run)


def _rolled_back(project: Project, first: Run) -> float:
    """The load's own records only: what the delta wrote since is spared, and said so."""
    run = runs.start_rollback(first, drivers=CREW)
    crew.drive(run, CREW)
    run.refresh_from_db()
    if not reports.figures(run).totals["read"]:
        raise BenchFailed(f"The rollback took nothing back of {project}: {run.reason}")
    return _took(run)


def _took(run: Run) -> float:
    if run.started_at is None or run.finished_at is None:
        raise BenchFailed(f"{run} has not ended: {run.reason}")
    return (run.finished_at - run.started_at).total_seconds()


def _change(file: Path) -> None:
    """One record in a hundred gets another name."""
    accounts = pl.read_csv(file, infer_schema=False)
    chosen = pl.int_range(pl.len()) % CHANGED_EACH == 0
    accounts.with_columns(pl.when(chosen).then(pl.col("Name") + " new").otherwise("Name").alias("Name")).write_csv(file)


def _written_ahead() -> int:
    return _number("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")


def _ledger_bytes(project: Project) -> int:
    """Tracked records and contents of chunks, indexes included."""
    return _number(
        """SELECT coalesce(sum(pg_total_relation_size(relid)), 0)::bigint
             FROM (SELECT relid FROM pg_partition_tree(%s) WHERE isleaf UNION ALL
                   SELECT relid FROM pg_partition_tree(%s) WHERE isleaf) leaves""",
        f"runs_trackedrecord_p{project.pk}",
        f"runs_chunkcontent_p{project.pk}",
    )


def _number(query: str, *parameters: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, list(parameters))
        return int(cursor.fetchone()[0])
