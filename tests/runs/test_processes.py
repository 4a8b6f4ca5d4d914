"""Real workers over real runs, killed, frozen and called twice: nothing lost, nothing doubled, every field equal."""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import psycopg
import pytest
from django.db import connection

from migration_factory import embedded
from runs import drivers, reports, services
from runs.choices import OPEN, RunState
from runs.models import Chunk, Driver, Run
from tests.runs import checker, worker_host
from tests.runs.checker import Row
from tests.runs.worker_host import Bed, Host, until

pytestmark = pytest.mark.processes

ROLES = ["worker at work"] * 14 + ["worker, monitor or pusher"] * 3 + ["sentinel", "main", "supervisor"]
"""Who is killed, 20 in all; the order is by chance."""


@pytest.fixture
def host(database_url: str, tmp_path: Path) -> Iterator[Host]:
    host = Host(database_url, f"host-{os.getpid()}", tmp_path / "workers.log")
    yield host
    host.killed()


def finished(run: Run) -> Run | None:
    found = Run.objects.get(pk=run.pk)
    return None if found.state in OPEN else found


def until_finished(run: Run) -> None:
    until(lambda: finished(run))


def outcomes(before: Mapping[str, Mapping[str, Row]], now: Mapping[str, Mapping[str, Row]]) -> dict[str, int]:
    """What a run has to count where the source was ``before`` at the last one and is ``now``."""
    counts = {"created": 0, "updated": 0, "unchanged": 0}
    for entity, rows in now.items():
        for name, row in rows.items():
            earlier = before.get(entity, {}).get(name)
            counts["created" if earlier is None else "unchanged" if earlier == row else "updated"] += 1
    return {name: count for name, count in counts.items() if count}


def assert_exact(bed: Bed, run: Run, counts: Mapping[str, int], told: object = "") -> None:
    run = Run.objects.get(pk=run.pk)
    assert run.state == RunState.COMPLETED, (run.reason, told)
    with bed.connections() as (ledger, target):
        assert checker.problems(ledger, target, run.pk, worker_host.expected(bed.rows))[:20] == [], told
        assert checker.outcomes(ledger, run.pk) == counts, told
    figures = reports.figures(run)
    assert figures.good, (figures, told)
    assert {name: count for name, count in figures.totals.items() if count and name != "read"} == counts, told


def victims(host: Host, role: str) -> list[psutil.Process]:
    match role:
        case "worker at work":
            return host.at_work()
        case "worker, monitor or pusher":
            return host.parts()
        case "sentinel":
            return [found] if (found := host.sentinel()) else []
        case "main":
            return [found] if (found := host.main()) else []
        case _:
            return [psutil.Process(host.pid)] if host.main() else []


@pytest.mark.long
def test_kills_at_random_moments_lose_and_double_nothing(host: Host, tmp_path: Path) -> None:
    """Loads, and loads again what changed meanwhile, until so many processes were killed in the middle of it."""
    seed = int(os.environ.get("MF_TEST_SEED", time.time_ns() % 100_000))
    chance = random.Random(seed)
    roles = ROLES * int(os.environ.get("MF_TEST_REPEAT", "1"))
    patience = worker_host.PATIENCE * len(roles) / len(ROLES)
    chance.shuffle(roles)
    told = [f"seed {seed}; repeat with MF_TEST_SEED={seed}"]
    started = time.monotonic()
    before: Mapping[str, Mapping[str, Row]] = {}
    host.start()
    with worker_host.bed(tmp_path / "files", worker_host.source_rows(seed, companies=5_000, people=30_000)) as bed:
        while roles:
            run = services.start_run(bed.project, drivers=3)
            while finished(run) is None:
                assert time.monotonic() - started < patience, told
                time.sleep(chance.uniform(0.0, 1.0))
                found = victims(host, roles[-1]) if roles else []
                if not found or not worker_host.signal_quietly(victim := chance.choice(found), signal.SIGKILL):
                    continue
                told.append(f"{time.monotonic() - started:5.1f} s: {roles[-1]} {victim.pid} killed")
                if roles.pop() == "supervisor":
                    host.restart()
            told.append(f"{time.monotonic() - started:5.1f} s: run {run.pk} ended")
            assert_exact(bed, run, outcomes(before, bed.rows), told)
            before = bed.rows
            bed.change_source(worker_host.changed(bed.rows, seed + run.pk, more_people=1_000))
    sys.stdout.write("\n".join(told))
    assert worker_host.SECRET not in host.log.read_text()


def test_two_runs_at_once_share_the_workers(host: Host, tmp_path: Path) -> None:
    rows = [worker_host.source_rows(seed, companies=1_000, people=10_000) for seed in (1, 2)]
    with (
        worker_host.bed(tmp_path / "one", rows[0], "one") as one,
        worker_host.bed(tmp_path / "two", rows[1], "two") as two,
    ):
        host.start()
        both = [(bed, services.start_run(bed.project)) for bed in (one, two)]
        for bed, run in both:
            until_finished(run)
            assert_exact(bed, run, {"created": 11_000})
        begun, ended = zip(*Run.objects.values_list("started_at", "finished_at"), strict=True)
        assert max(begun) < min(ended)


def test_a_call_delivered_twice_at_the_same_time_is_driven_once(database_url: str, tmp_path: Path) -> None:
    with worker_host.bed(tmp_path / "files", worker_host.source_rows(3, companies=1_000, people=9_000)) as bed:
        run = services.start_run(bed.project, drivers=1)
        assert drivers.fill_places("twice", hands=1) == 1
        place = Driver.objects.get(run=run)
        ready = Host(database_url, "twice", tmp_path / "drive.log", environment={"MF_TIME_BOX_SECONDS": "60"})
        drive = f"from runs.tasks import drive; drive({place.pk})"
        deliveries = [ready.manage("shell", "-c", drive) for _ in range(2)]
        assert [delivery.wait(60) for delivery in deliveries] == [0, 0], ready.log.read_text()
        assert_exact(bed, run, {"created": 10_000})
        assert Driver.objects.get(run=run).fence == 1


def test_a_worker_that_froze_longer_than_its_lease_is_fenced(host: Host, tmp_path: Path) -> None:
    """Stopped in the middle, it is taken for dead; when it goes on, what it writes to the ledger is refused."""
    with worker_host.bed(tmp_path / "files", worker_host.source_rows(4, companies=2_000, people=20_000)) as bed:
        run = services.start_run(bed.project)
        host.start()
        pid, chunk = until(lambda: frozen_with_a_chunk(host))
        until(lambda: Chunk.objects.filter(pk=chunk.pk, fence__gt=chunk.fence).exists())
        os.kill(pid, signal.SIGCONT)
        until_finished(run)
        assert_exact(bed, run, {"created": 22_000})


def frozen_with_a_chunk(host: Host) -> tuple[int, Chunk] | None:
    """Stop a worker that holds a chunk; whoever held none after all goes on."""
    for process in host.at_work():
        process.suspend()
        held = (
            Chunk.objects.filter(owner__endswith=f":{process.pid}", state="loading").exclude(lease_until=None).first()
        )
        if held:
            return process.pid, held
        process.resume()
    return None


def test_cut_connections_end_neither_supervisor_nor_run(host: Host, tmp_path: Path) -> None:
    with worker_host.bed(tmp_path / "files", worker_host.source_rows(5, companies=2_000, people=20_000)) as bed:
        run = services.start_run(bed.project)
        host.start()
        until(lambda: Chunk.objects.filter(run=run).exists())
        for _ in range(3):
            cut_connections()
            time.sleep(1)
        until_finished(run)
        assert_exact(bed, run, {"created": 22_000})
        assert host.process is not None
        assert host.process.poll() is None
        assert "the database is out of reach" in host.log.read_text()


def cut_connections() -> None:
    """To every database of this test, the target's too; all but our own."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE pid <> pg_backend_pid() AND starts_with(datname, current_database())"""
        )


@pytest.mark.long
def test_an_outage_of_the_database_ends_neither_supervisor_nor_run(tmp_path: Path) -> None:
    """A server of its own is stopped in the middle of a run, and comes back seconds later."""
    var, rows = tmp_path / "var", worker_host.source_rows(6, companies=2_000, people=20_000)
    worker_host.write_files(tmp_path / "files", rows)
    embedded.ensure_running(var, disposable=True)
    # After an outage django-q2's pusher sleeps for 10 s: with the usual patience no reason to replace anything.
    host = Host(embedded.url(var), f"outage-{os.getpid()}", tmp_path / "workers.log", options=())
    try:
        assert host.manage("migrate", "-v0").wait(120) == 0, host.log.read_text()
        prepare = f"from tests.runs.worker_host import prepare; prepare({str(tmp_path / 'files')!r})"
        assert host.manage("shell", "-c", prepare).wait(120) == 0, host.log.read_text()
        host.start()
        until(lambda: state_of(var)[1] > 0)
        embedded.stop(var)
        time.sleep(5)
        embedded.ensure_running(var, disposable=True)
        until(lambda: state_of(var)[0] == "completed")
        with psycopg.connect(embedded.dsn(var)) as ledger, psycopg.connect(embedded.dsn(var, "bed")) as target:
            assert checker.problems(ledger, target, 1, worker_host.expected(rows)) == []
            assert ledger.execute("SELECT restarts, pid FROM runs_workerhost").fetchall() == [(0, host.pid)]
        assert host.stop() == 0
        assert host.processes() == []
        assert "the database answers again" in host.log.read_text()
    finally:
        host.killed()
        embedded.stop(var)


def state_of(var: Path) -> tuple[str, int]:
    """The only run's state, and how many of its chunks are loaded."""
    with psycopg.connect(embedded.dsn(var)) as ledger:
        row = ledger.execute(
            "SELECT state, (SELECT count(*) FROM runs_chunk WHERE state = 'loaded') FROM runs_run"
        ).fetchone()
    return row or ("", 0)


def test_workers_keep_neither_connections_nor_memory(host: Host, tmp_path: Path) -> None:
    """Run after run in the same workers: what one needs is given back before the next."""
    runs = 6 * int(os.environ.get("MF_TEST_REPEAT", "1"))
    told = []
    with worker_host.bed(tmp_path / "files", worker_host.source_rows(7, companies=500, people=5_000)) as bed:
        host.start()
        for number in range(runs):
            run = services.start_run(bed.project)
            until_finished(run)
            bed.change_source(worker_host.changed(bed.rows, number, more_people=0))
            until(lambda: connections_to(bed.database) == 0, 10)
            told.append((max(part.memory_info().rss for part in host.parts()) >> 20, connections_to()))
        sys.stdout.write(f"MiB of the largest worker and connections to our database after each run: {told}\n")
        settled, last = told[len(told) // 2], told[-1]
        assert last[0] - settled[0] < 40, told
        assert max(connections for _, connections in told) <= 7, told  # six of the host's processes, and the test's


def connections_to(database: str | None = None) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(*) FROM pg_stat_activity
                WHERE datname = coalesce(%s, current_database()) AND backend_type = 'client backend'""",
            [database],
        )
        return int(cursor.fetchone()[0])
