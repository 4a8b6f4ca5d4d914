"""The target's disk fills in the middle of a run: one sentence, a wait, and everything is there once there is room."""

import multiprocessing
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
from django.db import connection
from psycopg import sql

from connectors.clients.workbook import tables
from migration_factory import scratch
from runs import services
from runs.choices import RunState
from runs.models import Run, RunEvent
from tests.faults.mortal import Life, lived
from tests.faults.test_races import place
from tests.runs import checker, worker_host
from tests.runs.worker_host import Bed, until

pytestmark = pytest.mark.processes
TINY, ROOMY = "200k", "64m"
TABLESPACE = "tiny_disk"


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of 200 KiB that the database server may write to."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount the small disk that this test fills")
    if connection.settings_dict["HOST"] and not connection.settings_dict["HOST"].startswith("/"):
        pytest.skip("the database server is on another machine, whose disks are not ours to fill")
    folder = Path(mkdtemp(prefix="tiny-disk-"))
    owner = pwd.getpwuid(_server_folder().stat().st_uid)
    try:
        _mount("-t", "tmpfs", "-o", f"size={TINY},uid={owner.pw_uid},mode=700", "tmpfs", str(folder))
    except subprocess.CalledProcessError as refused:
        shutil.rmtree(folder)
        pytest.skip(f"this machine does not let us mount: {refused.stderr.decode().strip()}")
    folder.chmod(0o700)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


def _server_folder() -> Path:
    with connection.cursor() as cursor:
        cursor.execute("SHOW data_directory")
        return Path(cursor.fetchone()[0])


@pytest.fixture
def bed(transactional_db: None, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    """The target's tables and indexes are made on the small disk."""
    monkeypatch.setattr(tables, "PAGE_RECORDS", 400)
    rows = worker_host.source_rows(3, companies=600, people=1_900)
    with scratch.connect("postgres") as server:
        server.execute(
            sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(sql.Identifier(TABLESPACE), sql.Literal(str(disk)))
        )
    try:
        with worker_host.bed(tmp_path / "files", rows, "full") as made:
            with scratch.connect("postgres") as server:
                server.execute(
                    sql.SQL("ALTER DATABASE {} SET default_tablespace = {}").format(
                        sql.Identifier(made.database), sql.Literal(TABLESPACE)
                    )
                )
            yield made
    finally:
        with scratch.connect("postgres") as server:
            server.execute(sql.SQL("DROP TABLESPACE {}").format(sql.Identifier(TABLESPACE)))


def test_a_full_disk_is_waited_out(bed: Bed, disk: Path) -> None:
    run = services.start_run(bed.project, drivers=1)
    context = multiprocessing.get_context("forkserver")
    worker = context.Process(target=lived, args=[Life(place(), run.pk, page=400)])
    worker.start()
    try:
        told = until(lambda: RunEvent.objects.filter(run=run, message__contains="disk is full").first())
        assert told.until is not None, "people do not see for how long it waits"
        assert Run.objects.get(pk=run.pk).state == RunState.RUNNING
        _mount("-o", f"remount,size={ROOMY}", str(disk))
        until(lambda: _no_longer_waiting(run) or None)
        worker.join(worker_host.PATIENCE)
        assert worker.exitcode == 0
    finally:
        worker.kill()
        worker.join()
    assert Run.objects.get(pk=run.pk).state == RunState.COMPLETED
    with bed.connections() as (ledger, target):
        assert checker.problems(ledger, target, run.pk, worker_host.expected(bed.rows)) == []
        assert checker.outcomes(ledger, run.pk) == {"created": 2_500}


def _no_longer_waiting(run: Run) -> bool:
    """End the waits, as time would, until the run is over."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE runs_chunk SET available_at = clock_timestamp() WHERE run_id = %s", [run.pk])
    return not Run.objects.filter(pk=run.pk, state=RunState.RUNNING).exists()
