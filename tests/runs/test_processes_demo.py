"""The demo as a person runs it: it ends by itself when asked to, and no signal leaves a process behind."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from django.conf import settings

from migration_factory import embedded
from tests.runs.worker_host import until

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def var() -> Iterator[Path]:
    """A fresh var folder for the first demo; the later ones find what it left.

    Not one of pytest's: those are closed to other users whenever a test session starts, and the database server
    runs as another user where we are root.
    """
    with tempfile.TemporaryDirectory(prefix="mf-test-", ignore_cleanup_errors=True) as made:
        folder = Path(made) / "var"
        yield folder
        embedded.stop(folder)


@contextmanager
def running_demo(var: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    with subprocess.Popen(
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "demo", "--port", "0", "--records", "400", *options],
        env={**environment, "MF_VAR_DIR": str(var), "DEBUG": "true", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        try:
            yield demo
        finally:
            demo.kill()
            for process in family(var):
                process.kill()


def family(var: Path) -> list[psutil.Process]:
    """Everything that was started for this var folder and lives, whoever its parent is now."""
    return [process for process in psutil.process_iter() if belongs(process, var)]


def belongs(process: psutil.Process, var: Path) -> bool:
    try:
        ours = process.environ().get("MF_VAR_DIR") == str(var)
        return ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def runs_workers(var: Path) -> bool:
    return any("run_workers" in process.cmdline() for process in family(var))


def test_once_ends_by_itself_on_a_fresh_folder(var: Path) -> None:
    with running_demo(var, "--bad", "10", "--once") as demo:
        said, _ = demo.communicate(timeout=180)
    assert demo.returncode == 0, said
    assert "Watch it" in said
    assert "400 records done;" in said
    assert "0 missing, 0 different." in said
    assert family(var) == []
    assert not embedded.is_running(var)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_process(var: Path, number: signal.Signals) -> None:
    """SIGTERM comes when the workers have just been started, SIGINT (Ctrl-C) when the demo waits for it."""
    with running_demo(var, "--bad", "0") as demo:
        assert demo.stdout is not None
        if number == signal.SIGTERM:
            until(lambda: runs_workers(var))
        else:
            until(lambda: "Press Ctrl-C to stop" in (demo.stdout.readline() if demo.stdout else ""))
        demo.send_signal(number)
        said, _ = demo.communicate(timeout=60)
        assert demo.returncode == 0, said
        assert family(var) == []
    assert not embedded.is_running(var)
