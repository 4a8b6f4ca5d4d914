"""Processes that drive one run together, where no worker host is wanted: rehearsals and benchmarks."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
from django.conf import settings

from runs import hosts
from runs.models import Run

_LOOK_SECONDS = 0.1


def drive(run: Run, workers: int) -> tuple[float, ...]:
    """Drive the run with so many processes until it needs none; returns the peak memory of each, in MiB.

    Raises CalledProcessError where one fails.
    """
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "drive", str(run.pk)]
    environment = {**os.environ, **hosts.worker_environment(workers)}
    crew = [subprocess.Popen(command, env=environment) for _ in range(workers)]
    peaks = dict.fromkeys((process.pid for process in crew), 0.0)
    while any(process.poll() is None for process in crew):
        for pid, peak in peaks.items():
            peaks[pid] = max(peak, _peak_mib(pid))
        time.sleep(_LOOK_SECONDS)
    for process in crew:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
    return tuple(peaks.values())


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
