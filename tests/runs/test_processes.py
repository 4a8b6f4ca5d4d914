"""Real workers over real runs, killed, frozen and called twice: nothing lost, nothing doubled, every field equal."""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from runs import reports, services
from runs.choices import OPEN, RunState
from runs.models import Run
from tests.runs import checker, worker_host
from tests.runs.checker import Row
from tests.runs.worker_host import Bed, Host

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
