"""Keeps one worker host alive: starts its django-q2 cluster, gives it work, and replaces it when it freezes or ends.

django-q2 survives most things but not all: a process killed while it holds a queue's lock freezes the
cluster for ever, SIGTERM included, and nobody inside notices. So the watch is outside: this process fills
empty places at runs with its workers, sends canaries and kills the whole cluster where none comes back.
Nothing is lost by that: see ``runs.leases``.
"""

import faulthandler
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import psutil
from django.db import connection
from django_q.models import OrmQ

from runs import drivers, hosts, retention, schedules
from runs.checkers import Checker
from runs.cluster import Cluster
from runs.engine.coordinator import DATABASE_GONE
from runs.models import WorkerHost

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
CANARY_SECONDS = 5.0
PURGE_SECONDS = 3600.0
"""How often it is looked whether contents of chunks are past their project's retention."""
FROZEN_SECONDS = 30.0
"""Silence after which a cluster is judged frozen; see ``Silence`` for what counts."""
START_PATIENCE = 3
"""A cluster that has not answered yet gets so many times as long: starting takes its time on a busy machine."""
LONGEST_START_PATIENCE = 8
"""Each that never answered doubles what the next one gets, up to so many times: else a machine on which starting takes
longer than any of them may would start one after the other and never work."""
TAKE_OVER_SECONDS = 5.0
"""A supervisor that has not given a sign of life for so long is dead: it gives one every tick."""
STUCK_SECONDS = 300.0
"""A tick asks our own database a few short questions. One that takes so long waits for an answer, or a lock, that
never comes."""
SETTLED_SECONDS = 10.0
"""A cluster that lived for so long did start well; one that ended before is started again ever later."""
LONGEST_BACKOFF = 30.0


class HostTaken(Exception):
    """Another supervisor of this name is at work; the message is a sentence for staff."""


@dataclass(slots=True)
class Silence:
    """For how long, without a break, the cluster has owed an answer that it could have given.

    It owes none while no canary is out and while all its hands are at work: work may take longer than any
    patience. It is asked once a tick, and a tick counts for at most two: a machine that slept, or a
    supervisor that was stopped, does not wake up to a frozen cluster.
    """

    seconds: float = 0.0
    _looked_at: float | None = None

    def look(self, *, owed: bool, now: float) -> float:
        """The silence so far; ``now`` is in seconds of a clock that never jumps."""
        passed = 0.0 if self._looked_at is None else min(now - self._looked_at, 2 * TICK_SECONDS)
        self._looked_at = now
        self.seconds = self.seconds + passed if owed else 0.0
        return self.seconds

    def forgive(self) -> None:
        """Begin anew: the database was away, or there is another cluster."""
        self.seconds, self._looked_at = 0.0, None


@dataclass(slots=True)
class Backoff:
    """When a cluster that ended may be started again: at once if it had settled, ever later if it had not."""

    early_ends: int = 0
    _started_at: float = 0.0
    _not_before: float | None = None

    def started(self, now: float) -> None:
        self._started_at, self._not_before = now, None

    def may_start(self, now: float) -> bool:
        """Asked every tick while the cluster is down."""
        if self._not_before is None:
            early = now - self._started_at < SETTLED_SECONDS
            self.early_ends = self.early_ends + 1 if early else 0
            self._not_before = now + (min(LONGEST_BACKOFF, 2.0 ** (self.early_ends - 1)) if early else 0.0)
        return now >= self._not_before


class Supervisor:
    """One worker host, tick by tick. ``host`` is None until the name is ours."""

    def __init__(self, cluster: Cluster, *, frozen_after: float = FROZEN_SECONDS) -> None:
        self.cluster = cluster
        self.frozen_after = frozen_after
        self.host: WorkerHost | None = None
        self.silence = Silence()
        self.backoff = Backoff()
        self._more_patience = 1
        self._canary_at = 0.0
        self._purge_at = 0.0
        self._checker = Checker()
        self._earlier: tuple[datetime, float] | None = None
        self._database_away = False

    def tick(self) -> None:
        """Do what is due now. Raises HostTaken; never where the database is out of reach."""
        try:
            if self.host is None:
                self._take_over()
            else:
                self._tend(self.host)
        except DATABASE_GONE as error:
            self._database_gone(error)
        else:
            if self._database_away:
                logger.warning("the database answers again")
            self._database_away = False

    def leave(self, *, grace: float, asked: Sequence[int]) -> None:
        """Let the workers finish what they hold and go. A second request to stop, in ``asked``, ends the grace."""
        self._best_effort(self._dismiss)
        self._checker.stop()
        self.cluster.stop(grace=grace, cut_short=lambda: len(asked) > 1)
        self._best_effort(self._sign_off)

    def _take_over(self) -> None:
        """Register under the cluster's name once it is certain that no other supervisor lives under it."""
        name = self.cluster.host
        earlier = WorkerHost.objects.filter(name=name).first()
        if earlier and earlier.pid != os.getpid() and _supervises(earlier.pid):
            raise HostTaken(
                f"The worker host “{name}” is at work already (process {earlier.pid}). "
                "Stop it, or give this one another name with MF_WORKER_HOST."
            )
        orphans = self.cluster.kill_orphans()
        if orphans:
            logger.warning("killed %s processes that an earlier supervisor left", orphans)
        # Where it left processes here it had run here, and it does not any more; else it may live on another machine.
        if earlier and earlier.pid and not orphans and self._may_live(earlier):
            return
        self.host = hosts.register(name, os.getpid())
        self._dismiss()
        self._start()

    def _may_live(self, earlier: WorkerHost) -> bool:
        """Whether a supervisor of this name may still be at work elsewhere; raises HostTaken when it shows."""
        now = time.monotonic()
        if self._earlier is None:
            logger.warning("a worker host “%s” was here before; looking whether it still lives", earlier.name)
            self._earlier = earlier.seen_at, now
        seen_at, since = self._earlier
        if earlier.seen_at != seen_at:
            raise HostTaken(
                f"The worker host “{earlier.name}” is at work on another machine or in another container. "
                "Stop it, or give this one another name with MF_WORKER_HOST."
            )
        return now - since < TAKE_OVER_SECONDS

    def _tend(self, host: WorkerHost) -> None:
        if not hosts.beat(host):
            self.host = None
            raise HostTaken(f"Another process has taken over the worker host “{host.name}”; this one ends.")
        now = time.monotonic()
        if not self.cluster.alive():
            if self.backoff.may_start(now):
                self._replace(host, "ended by itself")
            return
        pulse = hosts.pulse(host)
        owed = pulse.canary_out and pulse.hands < self.cluster.workers
        if pulse.answered:
            self._more_patience = 1
        patience = self.frozen_after * (1 if pulse.answered else START_PATIENCE * self._more_patience)
        if self.silence.look(owed=owed, now=now) > patience:
            if not pulse.answered:
                self._more_patience = min(2 * self._more_patience, LONGEST_START_PATIENCE)
            self._replace(host, f"gave no sign of life for {patience:.0f} s")
            return
        if now >= self._canary_at:
            self._canary_at = now + CANARY_SECONDS
            hosts.send_canary(host)
        schedules.start_due()
        drivers.fill_places(host.name, hands=self.cluster.workers)
        self._checker.tend(now)
        if now >= self._purge_at:
            self._purge_at = now + PURGE_SECONDS
            retention.purge_all()

    def _replace(self, host: WorkerHost, why: str) -> None:
        logger.warning("the worker cluster %s; starting another one", why)
        self.cluster.kill()
        self._dismiss()
        hosts.restarted(host)
        self._start()

    def _start(self) -> None:
        self.cluster.start()
        self.silence.forgive()
        now = time.monotonic()
        self.backoff.started(now)
        self._canary_at = now

    def _database_gone(self, error: Exception) -> None:
        """Silence is only held against the cluster while the database answers."""
        if not self._database_away:
            logger.warning("the database is out of reach: %s", " ".join(str(error).split()))
        self._database_away = True
        self._earlier = None
        connection.close()
        self.silence.forgive()

    def _dismiss(self) -> None:
        """Take this host off its places and empty its queue: who waits is called to again, here or elsewhere."""
        if self.host is not None:
            OrmQ.objects.filter(key=self.host.name).delete()
            drivers.dismiss(self.host.name)

    def _sign_off(self) -> None:
        if self.host is not None:
            self._dismiss()
            hosts.sign_off(self.host)

    def _best_effort(self, what: Callable[[], None]) -> None:
        try:
            what()
        except DATABASE_GONE as error:
            self._database_gone(error)


def supervise(
    cluster: Cluster, *, grace: float, frozen_after: float = FROZEN_SECONDS, stuck_after: float = STUCK_SECONDS
) -> None:
    """Run until SIGTERM or SIGINT. Raises HostTaken where a supervisor of that name is at work.

    Who watches is watched, too: a tick that takes ``stuck_after`` seconds ends this process at once, with the places
    in the code where it stood in its log. Whoever keeps it running starts it again, and it takes its host back.
    """
    asked = _stop_requests()
    supervisor = Supervisor(cluster, frozen_after=frozen_after)
    try:
        while not asked:
            faulthandler.dump_traceback_later(stuck_after, exit=True)
            supervisor.tick()
            time.sleep(TICK_SECONDS)
    finally:
        faulthandler.cancel_dump_traceback_later()
        supervisor.leave(grace=grace, asked=asked)


def _supervises(pid: int) -> bool:
    try:
        return "run_workers" in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def _stop_requests() -> Sequence[int]:
    """A list that gains an element whenever somebody asks this process to stop."""
    asked: list[int] = []
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _frame: asked.append(number))
    return asked
