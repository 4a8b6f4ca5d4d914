"""A crew tells the memory of its processes, and leaves none behind."""

import subprocess
import sys

import psutil
import pytest

from migration_factory import crew
from runs.models import Run

pytestmark = pytest.mark.processes


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the crew's processes run instead of ``manage.py drive``, first come first served."""
    programs: list[str] = []
    start = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda _command, env: start([sys.executable, "-c", programs.pop(0)], env=env)
    )
    return programs


def test_every_process_tells_its_peak_memory(processes: list[str]) -> None:
    processes += ["x = bytearray(64 << 20); del x; import time; time.sleep(0.5)", "import time; time.sleep(0.5)"]
    large, small = crew.drive(Run(pk=1), 2)
    assert 64 < large < 200
    assert 1 < small < large - 32


def test_one_that_fails_ends_the_others(processes: list[str]) -> None:
    processes += ["import time; time.sleep(600)", "raise SystemExit(3)"]
    with pytest.raises(subprocess.CalledProcessError) as failed:
        crew.drive(Run(pk=1), 2)
    assert failed.value.returncode == 3
    assert not [child for child in psutil.Process().children() if "time.sleep(600)" in " ".join(child.cmdline())]
