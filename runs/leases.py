"""Who may work on what, and until when: claims, renewals and fences, by the database's clock only.

A claim adds one to the row's fence. Everything the holder writes later says ``WHERE fence = mine``; a
worker that was cut off, froze or ran slow finds another fence there and stops. Times of worker hosts
never enter: a host whose clock is wrong works like any other.
"""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection

CHUNK = "runs_chunk"
STEP = "runs_step"
RUN = "runs_run"
DRIVER = "runs_driver"


class LeaseLost(Exception):
    """Somebody else holds this work now: stop, write nothing more."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A held claim on one row of ``table`` (``CHUNK``, ``STEP``, ``RUN`` or ``DRIVER``)."""

    table: str
    id: int
    fence: int
    attempts: int


def owner() -> str:
    """This process, as the run page shows it."""
    return f"{socket.gethostname()}:{os.getpid()}"[:80]


def claim(table: str, candidates: str, parameters: Sequence[Any], *, assign: str = "") -> Lease | None:
    """Take the first free row of ``candidates``, or None.

    ``candidates`` is a query for the ids in order of preference, written in this package (never from
    input); it is locked row by row with SKIP LOCKED, so that workers do not wait for each other.
    """
    sql = f"""
        UPDATE {table} SET owner = %s, fence = fence + 1, attempts = attempts + 1,
               lease_until = clock_timestamp() + make_interval(secs => %s) {assign}
         WHERE id = ({candidates} LIMIT 1)
        RETURNING id, fence, attempts
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [owner(), settings.MF_LEASE_SECONDS, *parameters])
        row = cursor.fetchone()
    return Lease(table, *row) if row else None


def renew(lease: Lease) -> None:
    """Hold for another ``MF_LEASE_SECONDS``; raises LeaseLost."""
    _change(lease, "lease_until = clock_timestamp() + make_interval(secs => %s)", [settings.MF_LEASE_SECONDS])


def release(lease: Lease, *, wait_seconds: float = 0, attempts: int | None = None) -> None:
    """Give the work back, to be claimed again after ``wait_seconds``; raises LeaseLost.

    ``attempts`` replaces the count where this claim shall not weigh as a failed one.
    """
    _change(
        lease,
        """lease_until = NULL, owner = '', attempts = coalesce(%s, attempts),
           available_at = clock_timestamp() + make_interval(secs => %s)""",
        [attempts, wait_seconds],
    )


def settle(lease: Lease, assign: str, parameters: Sequence[Any]) -> None:
    """Write the work's result and end the lease, in the caller's transaction; raises LeaseLost.

    Attempts start anew: they count claims without a result.
    """
    _change(lease, f"{assign}, lease_until = NULL, owner = '', attempts = 0", parameters)


def write(lease: Lease, assign: str, parameters: Sequence[Any]) -> None:
    """Write and keep the lease, renewed; raises LeaseLost."""
    _change(
        lease,
        f"{assign}, attempts = 0, lease_until = clock_timestamp() + make_interval(secs => %s)",
        [*parameters, settings.MF_LEASE_SECONDS],
    )


def _change(lease: Lease, assign: str, parameters: Sequence[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {lease.table} SET {assign} WHERE id = %s AND fence = %s AND lease_until IS NOT NULL",
            [*parameters, lease.id, lease.fence],
        )
        if cursor.rowcount != 1:
            raise LeaseLost(f"{lease.table} {lease.id} fence {lease.fence}")
