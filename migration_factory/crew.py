"""Processes that drive one run together, where no worker host is wanted: rehearsals and benchmarks."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
from django.conf import settings

from runs import hosts
from runs.models import Run

_LOOK_SECONDS = 0.1


def drive(run: Run, workers: int) -> tuple[float, ...]:
    """Drive the run with so many processes until it needs none; returns the peak memory of each, in MiB.

    Raises CalledProcessError where one fails. None outlives the call, nor this process, however it ends: what one of
    them held when it was ended is free again when its lease ends. What has to be right before a worker starts was
    checked when the command that calls this did.
    """
    command = [
        sys.executable,
        str(settings.BASE_DIR / "manage.py"),
        "drive",
        str(run.pk),
        "--attended",
        "--skip-checks",
    ]
    environment = {**os.environ, **hosts.worker_environment(workers)}
    with ExitStack() as stack:
        crew = [stack.enter_context(_started(command, environment)) for _ in range(workers)]
        peaks = dict.fromkeys((process.pid for process in crew), 0.0)
        while None in [process.poll() for process in crew]:
            peaks = {pid: max(peak, _peak_mib(pid)) for pid, peak in peaks.items()}
            _refuse_failure(crew)
            time.sleep(_LOOK_SECONDS)
        _refuse_failure(crew)
    return tuple(peaks.values())


def _refuse_failure(crew: "Sequence[subprocess.Popen[bytes]]") -> None:
    for process in crew:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)


@contextmanager
def _started(command: Sequence[str], environment: Mapping[str, str]) -> "Iterator[subprocess.Popen[bytes]]":
    """The kernel closes our end of its input when we are gone, which is what an attended worker waits for."""
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def _peak_mib(pid: int) -> float:
    """The most memory the process has had resident so far, 0 where it is gone.

    Not by getrusage: on Linux what that tells of a child begins with its parent's. Systems without Linux's
    high-water mark show what is resident now.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        mark = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        return int(mark[1]) / 1024 if mark else psutil.Process(pid).memory_info().rss / 2**20
    except (psutil.Error, OSError):
        return 0.0
