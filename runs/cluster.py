"""One django-q2 cluster as a tree of processes: started in a session of its own, asked to stop, killed as a whole."""

import hashlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
from django.conf import settings
from django.db import connection

from runs import hosts

logger = logging.getLogger(__name__)

MARK = "MF_CLUSTER_OF"
POLL_SECONDS = 0.1


@dataclass(slots=True)
class Cluster:
    """A ``qcluster`` and all processes it forked. They share a session and a mark, so that none outlives a kill."""

    host: str
    workers: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def mark(self) -> str:
        """Tells this host's cluster from those of other names and databases on the same machine."""
        entry = connection.settings_dict
        place = f"{self.host}|{entry['HOST']}|{entry['PORT']}|{entry['NAME']}"
        return hashlib.sha256(place.encode()).hexdigest()[:24]

    def start(self) -> None:
        environment = {
            **os.environ,
            MARK: self.mark,
            "MF_WORKER_HOST": self.host,
            "MF_WORKERS": str(self.workers),
            **hosts.worker_environment(self.workers),
        }
        self.process = subprocess.Popen(
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "qcluster", "--skip-checks"],
            env=environment,
            start_new_session=True,
        )

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """End every process of the cluster now; nothing happens where we started none."""
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            logger.debug("the cluster's session is gone already")
        self.process.wait()
        self.process = None
        self.kill_orphans()

    def stop(self, *, grace: float, cut_short: Callable[[], bool]) -> None:
        """Ask the main process to finish what is in hand, and kill what is left after ``grace`` seconds or when
        ``cut_short`` says so.

        Only the main process is asked: a SIGTERM to the whole session would freeze it.
        """
        if self.process is not None and self.alive():
            self.process.terminate()
            deadline = time.monotonic() + grace
            while self.alive() and time.monotonic() < deadline and not cut_short():
                time.sleep(POLL_SECONDS)
            if self.alive():
                logger.warning("the workers did not stop in time and are killed; their work will be taken up again")
        self.kill()

    def kill_orphans(self) -> int:
        """End the processes of this mark, whoever left them; returns how many there were."""
        found = [
            process for process in psutil.process_iter() if process.pid != os.getpid() and _marked(process, self.mark)
        ]
        for process in found:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(found, timeout=10)
        return len(found)


def _marked(process: psutil.Process, mark: str) -> bool:
    try:
        return bool(process.environ().get(MARK) == mark)
    except psutil.Error:  # ended meanwhile, or somebody else's
        return False
