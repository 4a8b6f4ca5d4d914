"""Keeps a worker's leases while it is silent: waiting for a vendor's bulk job, or inside one long statement.

Pieces of work usually end long before their lease does, and ledger writes renew it. Where one takes longer, a
thread with a connection of its own renews it, and the worker's place at the run with it. It trusts the worker for
``PATIENCE_SECONDS`` without a sign of life and then ends the process; a worker that sleeps through its clock gives
signs. The fence protects as ever: a lease that was lost is never won back.
Why a thread: docs/decisions/0016-a-keeper-renews-leases.md.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import DatabaseError, connection

from connectors.context import SystemClock
from runs import leases
from runs.leases import Lease, LeaseLost

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 900.0
"""Longer than any single statement or request may take (both end after 300 s); a worker that is silent for longer
hangs, and others may have its work."""
SLICE_SECONDS = 1.0
"""A long sleep looks so often whether its work is still its own."""


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Heartbeat:
    """One worker's. ``place`` is its place at the run, whose loss does not end the piece in hand."""

    def __init__(
        self, place: Lease | None = None, *, patience: float = PATIENCE_SECONDS, end: Callable[[], None] = _end
    ) -> None:
        self._place = place
        self._patience = patience
        self._end = end
        self._held: Lease | None = None
        self._lost = False
        self._renewed = self._sign = time.monotonic()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    @property
    def held(self) -> Lease | None:
        """The lease of the work in hand."""
        return self._held

    @contextmanager
    def holding(self, lease: Lease) -> Iterator[None]:
        """Keep the lease as long as the block runs, unless it is lost."""
        self._lost = False
        self._renewed = self._sign = time.monotonic()
        self._held = lease
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep, name="leases", daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            self._held = None

    def sign(self) -> None:
        """Say that the worker lives; raises LeaseLost where the keeper found that somebody else has the work."""
        self._sign = time.monotonic()
        if self._lost:
            raise LeaseLost(f"{self._held} while waiting")

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _keep(self) -> None:
        every = settings.MF_LEASE_SECONDS / 3
        while not self._stop.wait(every / 4):
            held, now = self._held, time.monotonic()
            if held is None or now - self._renewed < every:
                continue
            if now - self._sign > self._patience:
                self._give_up(held)
                return
            self._renew(held)
            self._renewed = now

    def _give_up(self, held: Lease) -> None:
        """Others may have the work; a called worker goes altogether, so that its host gets another one."""
        logger.error("no sign of life for %.0f s while holding %s", self._patience, held)
        if self._place is not None:
            self._end()

    def _renew(self, held: Lease) -> None:
        """On a connection that is opened for it: few pieces last so long, and connections are dear."""
        try:
            self._lost = not _renewed(held) and self._held is held
            if self._place is not None:
                _renewed(self._place)
        except DatabaseError as error:
            logger.warning("a lease could not be renewed: %s", " ".join(str(error).split()))
        finally:
            connection.close()


class WaitingClock(SystemClock):
    """The clock of a worker's connectors: whoever sleeps by it keeps its lease, or learns that it is lost."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat

    def sleep(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        self._heartbeat.sign()
        while (left := ends - time.monotonic()) > 0:
            super().sleep(min(left, SLICE_SECONDS))
            self._heartbeat.sign()


def _renewed(lease: Lease) -> bool:
    try:
        leases.renew(lease)
    except LeaseLost:
        return False
    return True
