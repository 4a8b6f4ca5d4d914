"""Keeps one worker host alive: a django-q2 cluster in a session of its own, watched by canary, replaced when frozen.

django-q2 survives most things but not all: a worker killed while it holds the queue's lock freezes the
cluster for ever, SIGTERM included, and nobody inside notices. So the watch is outside: this process
starts the cluster, fills empty places at runs with its workers, sends canaries and kills the whole
session where none comes back. Nothing is lost by that: see ``runs.leases``.
"""

import hashlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil
from django.conf import settings
from django.db import connection, transaction
from django_q.models import OrmQ

from runs import drivers, hosts
from runs.engine.coordinator import DATABASE_GONE
from runs.models import WorkerHost

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
CANARY_SECONDS = 5.0
FROZEN_SECONDS = 30.0
"""Silence after which a cluster is judged frozen; a busy one answers between two drivers at the latest."""
LONGEST_BACKOFF = 30.0
MARK = "MF_CLUSTER_OF"


class HostTaken(Exception):
    """Another supervisor of this name is at work; the message is a sentence for staff."""


@dataclass(slots=True)
class Cluster:
    """A ``qcluster`` and all processes it forked: they share a session, so that none outlives a kill."""

    host: str
    workers: int
    process: "subprocess.Popen[bytes] | None" = None
    restarts: int = 0
    not_before: float = field(default=0.0)

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
        }
        self.process = subprocess.Popen(
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "qcluster"], env=environment, start_new_session=True
        )

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """End every process of the session now."""
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            logger.debug("the cluster's session is gone already")
        self.process.wait()
        self.process = None

    def stop(self, *, grace: float) -> None:
        """Ask the main process to finish what is in hand, and kill what is left after ``grace`` seconds.

        Only the main process is asked: a SIGTERM to the whole session would freeze it.
        """
        if self.alive() and self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(grace)
            except subprocess.TimeoutExpired:
                logger.warning("the cluster did not stop within %s s and is killed; its work will be taken up", grace)
        self.kill()

    def kill_orphans(self) -> int:
        """End clusters of this mark that an earlier, killed supervisor left; returns how many processes."""
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


def supervise(cluster: Cluster, *, grace: float) -> None:
    """Run until SIGTERM or SIGINT. Raises HostTaken where a supervisor of that name is at work."""
    asked = _stop_requests()
    host = _take_over(cluster)
    cluster.start()
    canary_at = 0.0
    try:
        while not asked:
            try:
                _tend(cluster, host)
                if time.monotonic() >= canary_at:
                    canary_at = time.monotonic() + CANARY_SECONDS
                    hosts.send_canary(host)
            except DATABASE_GONE as error:
                logger.warning("the database is out of reach: %s", error)
                connection.close()
                # Silence is only held against the cluster while the database answers.
                canary_at = time.monotonic() + CANARY_SECONDS
            time.sleep(TICK_SECONDS)
    finally:
        cluster.stop(grace=grace)


def _tend(cluster: Cluster, host: WorkerHost) -> None:
    if not cluster.alive():
        if time.monotonic() >= cluster.not_before:
            _replace(cluster, host, "ended by itself")
        return
    if hosts.silence(host) > FROZEN_SECONDS:
        _replace(cluster, host, f"gave no sign of life for {FROZEN_SECONDS:.0f} s")
        return
    drivers.fill_places(cluster.host, hands=cluster.workers)


def _replace(cluster: Cluster, host: WorkerHost, why: str) -> None:
    cluster.restarts += 1
    logger.warning("the worker cluster %s; starting another one (restart %s)", why, cluster.restarts)
    cluster.kill()
    _forget_calls(cluster.host)
    hosts.restarted(host)
    cluster.not_before = time.monotonic() + min(LONGEST_BACKOFF, 2.0 ** min(cluster.restarts, 5))
    cluster.start()


def _take_over(cluster: Cluster) -> WorkerHost:
    with transaction.atomic():
        earlier = WorkerHost.objects.filter(name=cluster.host).first()
        if earlier and earlier.pid != os.getpid() and _supervises(earlier.pid):
            raise HostTaken(
                f"The worker host “{cluster.host}” is at work already (process {earlier.pid}). "
                "Stop it, or give this one another name with MF_WORKER_HOST."
            )
        host = hosts.register(cluster.host, os.getpid())
    orphans = cluster.kill_orphans()
    if orphans:
        logger.warning("killed %s processes that an earlier supervisor left", orphans)
    _forget_calls(cluster.host)
    return host


def _forget_calls(host: str) -> None:
    """Empty this host's queue: whoever was called is gone, and empty places are called again."""
    OrmQ.objects.filter(key=host).delete()
    drivers.forget_calls(host)


def _supervises(pid: int) -> bool:
    try:
        return "run_workers" in psutil.Process(pid).cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False


def _stop_requests() -> Sequence[int]:
    """A list that gains an element when somebody asks this process to stop."""
    asked: list[int] = []
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _frame: asked.append(number))
    return asked
