"""A crew tells the memory of its processes, and leaves none behind, however its own process ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psutil
import pytest
from django.conf import settings
from django.db.models.functions import Now

from migration_factory import crew
from runs import hosts
from runs.choices import RunState
from runs.models import Run
from tests import factories

pytestmark = pytest.mark.processes


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the crew's processes run instead of ``manage.py drive``, first come first served."""
    programs: list[str] = []
    start = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda _command, **given: start([sys.executable, "-c", programs.pop(0)], **given)
    )
    return programs


def test_every_process_tells_its_peak_memory(processes: list[str]) -> None:
    processes += ["x = bytearray(64 << 20); del x; import time; time.sleep(0.5)", "import time; time.sleep(0.5)"]
    large, small = crew.drive(Run(pk=1), 2)
    assert 64 < large < 200
    assert 1 < small < large - 32


def test_workers_give_memory_back_unless_a_deployment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("_RJEM_MALLOC_CONF", raising=False)
    assert "dirty_decay_ms" in hosts.worker_environment(2)["_RJEM_MALLOC_CONF"]
    monkeypatch.setenv("_RJEM_MALLOC_CONF", "narenas:4")
    assert hosts.worker_environment(2)["_RJEM_MALLOC_CONF"] == "narenas:4"


def test_one_that_fails_ends_the_others(processes: list[str]) -> None:
    processes += ["import time; time.sleep(600)", "raise SystemExit(3)"]
    with pytest.raises(subprocess.CalledProcessError) as failed:
        crew.drive(Run(pk=1), 2)
    assert failed.value.returncode == 3
    assert not [child for child in psutil.Process().children() if "time.sleep(600)" in " ".join(child.cmdline())]


@contextmanager
def parent(program: str, children: int, **environment: str) -> Iterator[tuple[psutil.Process, list[psutil.Process]]]:
    """A process that runs the program, and its children once there are so many."""
    process = psutil.Popen(
        [sys.executable, "-c", program],
        cwd=settings.BASE_DIR,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
    )
    found: list[psutil.Process] = []
    try:
        while len(found := process.children()) < children:
            assert process.poll() is None, process.stderr.read()
        yield process, found
    finally:
        for each in (process, *found):
            if each.is_running():
                each.kill()
        process.communicate()


@pytest.mark.django_db(transaction=True)
def test_workers_end_with_a_process_that_is_killed(database_url: str) -> None:
    """The run has nothing for them to do and is not over, so that they wait for as long as they live."""
    run = factories.run(factories.project(), state=RunState.RUNNING, lease_until=Now() + timedelta(hours=1))
    program = f"""
import django; django.setup()
from migration_factory import crew
from runs.models import Run
crew.drive(Run(pk={run.pk}), 2)"""
    here = {"DATABASE_URL": database_url, "DEBUG": "true", "DJANGO_SETTINGS_MODULE": "migration_factory.settings"}
    with parent(program, 2, **here) as (killed, workers):
        assert all("drive" in worker.cmdline() for worker in workers)
        killed.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert not alive


def test_simulators_end_with_a_process_that_is_killed() -> None:
    program = """
from sandbox.salesforce.running import running_simulator
with running_simulator(process=True):
    import time; time.sleep(600)"""
    with parent(program, 1) as (killed, simulators):
        killed.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs(simulators, timeout=60)
        assert not alive
