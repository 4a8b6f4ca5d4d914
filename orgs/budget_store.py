"""The rows of a rate budget: read, written where nobody wrote meanwhile, places taken and given back.

Every function but ``locked`` is one statement, complete in itself: in autocommit no lock outlives it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from django.db import connection, transaction

from orgs.allowance import State, Terms
from orgs.models import OrgBudget
from orgs.quiet import QuietHours

PLACE_SECONDS: Final = 300.0
"""A place of a frozen worker is free again after that; ``http.Limits`` bound a request's silence to less."""

AGREED: Final = (
    "requests", "window_seconds", "concurrency", "requests_per_day", "reserve_percent",
    "quiet_from", "quiet_until", "quiet_percent", "time_zone",
)  # fmt: skip
_STATE: Final = tuple(each.name for each in fields(State))


@dataclass(frozen=True, slots=True)
class Reading:
    """An org's budget as it was at ``now`` by the database's clock. ``version`` is None where there is no row
    yet; ``places`` counts the requests under way and the places kept for the next ones."""

    now: datetime
    version: int | None
    terms: Terms
    state: State
    places: int


def read(org_id: int, default: Terms) -> Reading:
    """The terms are the default's where nobody entered others."""
    columns = ("version", *AGREED, *_STATE)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT clock_timestamp(), (SELECT count(*) FROM orgs_budgetplace
                                            WHERE org_id = one.id AND expires_at > clock_timestamp()),
                       {", ".join(columns)}
                  FROM (SELECT %s::bigint AS id) one LEFT JOIN orgs_orgbudget b ON b.org_id = one.id""",
            [org_id],
        )
        now, places, *values = cursor.fetchone()
    found = dict(zip(columns, values, strict=True))
    version = found.pop("version")
    if version is None:
        return Reading(now, None, default, State(), places)
    row = OrgBudget(org_id=org_id, **{**found, "used": json.loads(found["used"])})
    state = standing(row)
    # A database clock that was put back must not make time run twice.
    return Reading(max(now, state.level_at or now), version, agreed(row, default), state, places)


def agreed(row: OrgBudget, default: Terms) -> Terms:
    """The org's terms: what a person entered, else the platform's default."""
    own = row.requests is not None
    return Terms(
        requests=default.requests if row.requests is None else row.requests,
        window=float(row.window_seconds) if own else default.window,
        concurrency=default.concurrency if row.concurrency is None else row.concurrency,
        per_day=default.per_day if row.requests_per_day is None else row.requests_per_day,
        reserve=row.reserve_percent / 100,
        quiet=_quiet(row),
    )


def standing(row: OrgBudget) -> State:
    """Where the budget stands, from its row."""
    columns: dict[str, Any] = {name: getattr(row, name) for name in _STATE}
    return State(**{**columns, "used": {int(slot): count for slot, count in row.used.items()}})


def _quiet(row: OrgBudget) -> QuietHours | None:
    if row.quiet_from is None or row.quiet_until is None:
        return None
    return QuietHours(row.quiet_from, row.quiet_until, row.time_zone, row.quiet_percent / 100)


@contextmanager
def locked(org_id: int) -> Iterator[None]:
    """A transaction in which nobody else writes the row; raises RuntimeError inside another transaction."""
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM orgs_orgbudget WHERE org_id = %s FOR NO KEY UPDATE", [org_id])
        yield


def create(org_id: int) -> None:
    """A row for the org, where it has none."""
    OrgBudget.objects.bulk_create([OrgBudget(org_id=org_id)], ignore_conflicts=True)


def write(org_id: int, version: int, state: State) -> bool:
    """Store the state where the row still has this version; false where somebody was faster."""
    with connection.cursor() as cursor:
        cursor.execute(_UPDATE, _values(org_id, version, state))
        return bool(cursor.rowcount == 1)


def write_with_place(org_id: int, version: int, state: State) -> int | None:
    """The same, and take a place in the same statement: its id, or None where somebody was faster."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""WITH written AS ({_UPDATE} RETURNING org_id),
                     expired AS (DELETE FROM orgs_budgetplace
                                  WHERE org_id = %s AND expires_at <= clock_timestamp())
                INSERT INTO orgs_budgetplace (org_id, backend, taken_at, expires_at)
                SELECT org_id, pg_backend_pid(), clock_timestamp(), clock_timestamp() + make_interval(secs => %s)
                  FROM written
                RETURNING id""",
            [*_values(org_id, version, state), org_id, PLACE_SECONDS],
        )
        row = cursor.fetchone()
    return row[0] if row else None


_UPDATE: Final = f"""UPDATE orgs_orgbudget SET version = version + 1, {", ".join(f"{name} = %s" for name in _STATE)}
                      WHERE org_id = %s AND version = %s"""


def _values(org_id: int, version: int, state: State) -> list[Any]:
    columns: dict[str, Any] = {name: getattr(state, name) for name in _STATE}
    columns["used"] = json.dumps(dict(state.used))
    return [*columns.values(), org_id, version]


def renew_place(place_id: int) -> None:
    """Hold the place anew, unless it has ended: then somebody else may have it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE orgs_budgetplace SET expires_at = clock_timestamp() + make_interval(secs => %s)
                WHERE id = %s AND expires_at > clock_timestamp()""",
            [PLACE_SECONDS, place_id],
        )


def release_place(place_id: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM orgs_budgetplace WHERE id = %s", [place_id])


def free_dead_places(org_id: int) -> int:
    """Free the places whose worker is gone, which its database session tells; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            """DELETE FROM orgs_budgetplace p
                WHERE p.org_id = %s AND NOT EXISTS (
                  SELECT FROM pg_stat_activity a WHERE a.pid = p.backend AND a.backend_start <= p.taken_at)""",
            [org_id],
        )
        return int(cursor.rowcount)
