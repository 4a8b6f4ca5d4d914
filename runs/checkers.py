"""Starts the process that checks orgs which are due, or left with a bypass on, at most one per worker host.

A process of its own: a system that does not answer holds up neither a worker nor the watch over the workers.
"""

import subprocess
import sys
from dataclasses import dataclass

from django.conf import settings

from orgs import health
from runs import bypass

LOOK_SECONDS = 60.0


@dataclass(slots=True)
class Checker:
    """The process of this host, if one is at work."""

    _process: "subprocess.Popen[bytes] | None" = None
    _look_at: float = 0.0

    def tend(self, now: float) -> None:
        """Start it where something is due and none is at work; ``now`` is in seconds of a clock that never jumps."""
        if now < self._look_at or (self._process is not None and self._process.poll() is None):
            return
        self._look_at = now + LOOK_SECONDS
        if health.any_due() or bypass.any_left():
            command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "check_orgs"]
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        """End it; what it was asking is asked again when it is due the next time."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
