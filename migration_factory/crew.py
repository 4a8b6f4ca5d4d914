"""Processes that drive one run together, where no worker host is wanted: rehearsals and benchmarks."""

import subprocess
import sys

from django.conf import settings

from runs.models import Run


def drive(run: Run, workers: int) -> None:
    """Drive the run with so many processes until it needs none; raises CalledProcessError where one fails."""
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "drive", str(run.pk)]
    crew = [subprocess.Popen(command) for _ in range(workers)]
    for process in crew:
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, command)
