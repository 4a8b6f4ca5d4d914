"""Processes that drive one run together, where no worker host is wanted: rehearsals and benchmarks."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from django.conf import settings

from runs.models import Run


def drive(run: Run, workers: int) -> None:
    """Drive the run with so many processes until it needs none; raises CalledProcessError where one fails.

    None outlives the call: what one of them held when it was ended is free again when its lease ends.
    """
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "drive", str(run.pk)]
    with ExitStack() as stack:
        crew = [stack.enter_context(_ended(subprocess.Popen(command))) for _ in range(workers)]
        for process in crew:
            if process.wait():
                raise subprocess.CalledProcessError(process.returncode, command)


@contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()
