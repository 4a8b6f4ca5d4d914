"""What there is to do next in a run: one ordered question to the database, answered with a lease."""

from dataclasses import dataclass
from enum import StrEnum

from django.db import connection

from runs import leases
from runs.leases import CHUNK, RUN, STEP, Lease


class Task(StrEnum):
    """In the order in which a run goes through them; loading and extracting overlap."""

    PLAN = "plan"
    EXTRACT = "extract"
    LOAD = "load"
    RELINK = "relink"
    RECONCILE = "reconcile"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class Work:
    task: Task
    lease: Lease


READ_AHEAD = 40
"""Chunks not loaded yet above which nobody reads for the sake of reading."""

FREE = "available_at <= clock_timestamp() AND (lease_until IS NULL OR lease_until < clock_timestamp())"

PLANNING = f"SELECT id FROM {RUN} WHERE id = %s AND planned_at IS NULL AND {FREE} FOR UPDATE SKIP LOCKED"
# Asked for the state, too: whoever looked just before another worker ended the run must not end it once more.
FINISHING = f"""
    SELECT id FROM {RUN} WHERE id = %s AND planned_at IS NOT NULL AND state = 'running' AND {FREE}
       FOR UPDATE SKIP LOCKED"""
EXTRACTING = f"""
    SELECT id FROM {STEP} WHERE run_id = %s AND extracted_at IS NULL AND {FREE}
     ORDER BY position FOR UPDATE SKIP LOCKED"""
# A wave opens when every step of the lower ones has been read and loaded: its references then resolve.
LOADING = f"""
    SELECT c.id FROM {CHUNK} c JOIN {STEP} s ON s.id = c.step_id
     WHERE c.run_id = %s AND c.state IN ('staged', 'loading')
       AND c.available_at <= clock_timestamp() AND (c.lease_until IS NULL OR c.lease_until < clock_timestamp())
       AND (s.extracted_at IS NOT NULL OR NOT s.read_before_load)
       AND s.wave <= (
           SELECT min(w.wave) FROM {STEP} w WHERE w.run_id = c.run_id
              AND (w.extracted_at IS NULL
                   OR EXISTS (SELECT 1 FROM {CHUNK} o WHERE o.run_id = w.run_id AND o.step_id = w.id
                                 AND o.state IN ('staged', 'loading'))))
     ORDER BY s.wave, c.id FOR UPDATE OF c SKIP LOCKED"""
# Whoever gives a piece back, well or ill, takes the lease off it; one that still has it was left by a dead holder.
TAKEN = ", state = 'loading', deaths = least(deaths + (lease_until IS NOT NULL)::int, 32767)"
RELINKING = f"""
    SELECT c.id FROM {CHUNK} c JOIN {STEP} s ON s.id = c.step_id
     WHERE c.run_id = %s AND c.state = 'loaded' AND c.deferred > 0 AND c.relinked_at IS NULL
       AND c.available_at <= clock_timestamp() AND (c.lease_until IS NULL OR c.lease_until < clock_timestamp())
       AND s.wave = (
           SELECT min(w.wave) FROM {STEP} w JOIN {CHUNK} o ON o.step_id = w.id
            WHERE o.run_id = c.run_id AND o.state = 'loaded' AND o.deferred > 0 AND o.relinked_at IS NULL)
     ORDER BY c.id FOR UPDATE OF c SKIP LOCKED"""
# What somebody may have sent and has not written down: a cancelled run is not left before the target was asked.
_BEGUN = f"SELECT id FROM {CHUNK} WHERE run_id = %s"
LOAD_BEGUN = "state = 'loading' AND intended_at IS NOT NULL"
RELINK_BEGUN = """state = 'loaded' AND deferred > 0 AND relinked_at IS NULL
    AND (lease_until IS NOT NULL OR available_at > loaded_at)"""
LOADING_BEGUN = f"{_BEGUN} AND {LOAD_BEGUN} AND {FREE} ORDER BY id FOR UPDATE SKIP LOCKED"
RELINKING_BEGUN = f"{_BEGUN} AND {RELINK_BEGUN} AND {FREE} ORDER BY id FOR UPDATE SKIP LOCKED"
RECONCILING = (
    f"SELECT id FROM {CHUNK} WHERE run_id = %s AND state = 'loaded' AND {FREE} ORDER BY id FOR UPDATE SKIP LOCKED"
)


@dataclass(frozen=True, slots=True)
class Left:
    """How far the run is: what is not done yet, whoever may hold it, and how much of it somebody holds."""

    cancelling: bool
    planned: bool
    unread: int
    reading: int
    unloaded: int
    loading: int
    unlinked: int
    unverified: int


@dataclass(frozen=True, slots=True)
class Begun:
    """What a run has begun to write and not recorded: whether some of it can be tried now, and its records."""

    free: bool
    records: int


def left(run_id: int) -> Left:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT (SELECT state = 'cancelling' FROM {RUN} WHERE id = %(run)s),
                       (SELECT planned_at IS NOT NULL FROM {RUN} WHERE id = %(run)s),
                       (SELECT count(*) FROM {STEP} WHERE run_id = %(run)s AND extracted_at IS NULL),
                       (SELECT count(*) FROM {STEP} WHERE run_id = %(run)s AND lease_until > clock_timestamp()),
                       count(*) FILTER (WHERE state IN ('staged', 'loading')),
                       count(*) FILTER (WHERE state = 'loading' AND lease_until > clock_timestamp()),
                       count(*) FILTER (WHERE state = 'loaded' AND deferred > 0 AND relinked_at IS NULL),
                       count(*) FILTER (WHERE state = 'loaded')
                  FROM {CHUNK} WHERE run_id = %(run)s""",
            {"run": run_id},
        )
        return Left(*cursor.fetchone())


def next_work(run_id: int) -> Work | None:
    """Claim the most useful free piece of the run, or None where others hold all there is.

    Loading goes before reading, since what is staged is one crash further from the target; but where others load and
    nobody reads, reading goes first, so that the source and the target are waited for at the same time. Of a run that
    is cancelled only what was begun is brought to its end.
    """
    todo = left(run_id)
    if todo.cancelling:
        return _begun_work(run_id)
    return _wanted_work(run_id, todo) if todo.planned else _claim(Task.PLAN, RUN, PLANNING, run_id)


def _begun_work(run_id: int) -> Work | None:
    return _claim(Task.LOAD, CHUNK, LOADING_BEGUN, run_id, assign=TAKEN) or _claim(
        Task.RELINK, CHUNK, RELINKING_BEGUN, run_id
    )


def _wanted_work(run_id: int, todo: Left) -> Work | None:
    only_loading = todo.loading and not todo.reading and todo.unloaded <= READ_AHEAD
    if todo.unread and only_loading and (reading := _claim(Task.EXTRACT, STEP, EXTRACTING, run_id)):
        return reading
    if todo.unread or todo.unloaded:
        return (_claim(Task.LOAD, CHUNK, LOADING, run_id, assign=TAKEN) if todo.unloaded else None) or _claim(
            Task.EXTRACT, STEP, EXTRACTING, run_id
        )
    if todo.unlinked:
        return _claim(Task.RELINK, CHUNK, RELINKING, run_id)
    if todo.unverified:
        return _claim(Task.RECONCILE, CHUNK, RECONCILING, run_id)
    return _claim(Task.FINISH, RUN, FINISHING, run_id)


def _claim(task: Task, table: str, candidates: str, run_id: int, *, assign: str = "") -> Work | None:
    lease = leases.claim(table, candidates, [run_id], assign=assign)
    return Work(task, lease) if lease else None


def try_begun_now(run_id: int) -> None:
    """Let what was begun, and waits for a time to try it again, be tried at once, in the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""UPDATE {CHUNK} SET available_at = clock_timestamp()
                 WHERE run_id = %s AND (({LOAD_BEGUN}) OR ({RELINK_BEGUN}))""",
            [run_id],
        )


def begun(run_id: int) -> Begun:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT coalesce(bool_or({FREE}), false), coalesce(sum(records), 0) FROM {CHUNK}
                 WHERE run_id = %s AND (({LOAD_BEGUN}) OR ({RELINK_BEGUN}))""",
            [run_id],
        )
        return Begun(*cursor.fetchone())


def held(run_id: int) -> int:
    """How many pieces of the run somebody is at work on now."""
    with connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join(
                f"SELECT count(*) FROM {table} WHERE {column} = %(run)s AND lease_until > clock_timestamp()"
                for table, column in ((RUN, "id"), (STEP, "run_id"), (CHUNK, "run_id"))
            ),
            {"run": run_id},
        )
        return sum(count for (count,) in cursor.fetchall())
