"""A process that drives runs and may be told to die at a crash point: forked from one that has Django ready.

Starting Python and Django anew for each of some sixty deaths would take minutes; a fork server takes milliseconds
and has never touched Polars, whose threads would not survive a fork.
"""

import datetime as dt
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

import django
import polars as pl
from django.apps import apps
from django.conf import settings
from django.db import connection

if not apps.ready:  # in the fork server
    django.setup()

from connectors.clients.workbook import tables
from projects.models import Project
from runs import crash_points, drivers, services
from runs.choices import ACTIVE
from runs.engine import coordinator, deletions, load
from runs.engine.session import Bench
from runs.engine.transform import Mapped, transform
from runs.models import Driver, Run

PATIENCE = 60
POLL_SECONDS = 0.05
HOST = "mortal"
_MOMENT = dt.datetime
ENOUGH = 3
DELETIONS = 2
"""To a chunk of what is gone from the source."""


@dataclass(frozen=True)
class Life:
    """How a process finds its database, how large its pages are, and where it dies (blank: nowhere)."""

    database: dict[str, Any]
    run_id: int
    crash: str = ""
    page: int = 40
    clock_hours: int = 0
    """How far this process's clock is off."""
    host: str = HOST
    poison: str = ""
    """The source record at whose loading it dies, however often it is tried."""
    overtaken: str = ""
    """The crash point at whose first visit somebody else takes the work over and finishes the run."""


def live(life: Life) -> int | None:
    """Drive the run in a process of its own; its exit code, -9 where it was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=lived, args=[life])
    process.start()
    process.join(PATIENCE)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"the run did not end within {PATIENCE} s")
    return process.exitcode


def lived(life: Life) -> None:
    """What the process does."""
    connection.settings_dict.update(life.database)
    settings.DEBUG = settings.MF_LOCAL_FOLDERS = True
    settings.MF_CRASH = life.crash
    # To come to the places between two calls, a call is over after one piece; else it goes on to the end.
    settings.MF_TIME_BOX_SECONDS = 0 if life.crash.startswith("drive.") else PATIENCE
    settings.WORKER_HOST = life.host
    tables.PAGE_RECORDS = life.page
    deletions.CHUNK_RECORDS = DELETIONS
    if life.poison:
        _be_poisoned(life.poison)
    if life.clock_hours:
        _shift_clock(life.clock_hours * 3600)
    if life.overtaken:
        _be_overtaken(life)
    while Run.objects.filter(pk=life.run_id, state__in=ACTIVE).exists():
        drivers.fill_places(life.host, hands=1)
        for place in Driver.objects.filter(run=life.run_id, owner=life.host):
            drivers.drive(place.pk)
        time.sleep(POLL_SECONDS)


def _shift_clock(seconds: int) -> None:
    """Every wall clock that Python code of ours can read; ``monotonic`` has no hour to be off."""
    right = time.time

    class Shifted(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]  # a plain moment, off by some hours
            return _MOMENT.now(tz) + dt.timedelta(seconds=seconds)

    time.time = lambda: right() + seconds
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").split(".")[0] in {"runs", "orgs", "projects", "connectors", "django"}:
            for name, value in list(vars(module).items()):
                if value is _MOMENT:
                    setattr(module, name, Shifted)


def _be_poisoned(record: str) -> None:
    """Whoever transforms it is gone, as where it takes all of the memory; three tries of a piece are enough then."""

    def deadly(bench: Bench, frame: pl.DataFrame) -> Mapped:
        if record in frame[bench.mapping.identity]:
            os.kill(os.getpid(), signal.SIGKILL)
        return transform(bench, frame)

    vars(load)["transform"] = deadly
    vars(coordinator)["MAX_ATTEMPTS"] = ENOUGH


def _be_overtaken(life: Life) -> None:
    """At the point, the lease ends and another process drives the run to its end before this one goes on."""

    def overtake(point: str) -> None:
        if point != life.overtaken or not settings.MF_CRASH:
            return
        settings.MF_CRASH = ""
        with connection.cursor() as cursor:
            for table in ("runs_chunk", "runs_driver"):
                cursor.execute(
                    f"UPDATE {table} SET lease_until = clock_timestamp() - interval '1 s' WHERE lease_until IS NOT NULL"
                )
            cursor.execute("UPDATE runs_driver SET called_at = NULL")
        other = Life(life.database, life.run_id, page=life.page, host="other")
        # A child of ours that has used Polars must not be forked: it is asked of the fork server like any other.
        assert live(other) == 0

    settings.MF_CRASH = "armed"
    crash_points._die_if_asked = overtake


def press_start(database: dict[str, Any], project_id: int, barrier: Barrier, said: "Queue[str]") -> None:
    """Start a run of the project at the same moment as somebody else, and say what came of it."""
    connection.settings_dict.update(database)
    project = Project.objects.get(pk=project_id)
    barrier.wait(PATIENCE)
    try:
        said.put(f"started {services.start_run(project).pk}")
    except services.RunRefused as refused:
        said.put(str(refused))


def let_leases_end() -> None:
    """The time that a dead worker's work waits for another passes here at once."""
    with connection.cursor() as cursor:
        for table in ("runs_run", "runs_step", "runs_chunk", "runs_driver"):
            cursor.execute(
                f"UPDATE {table} SET lease_until = clock_timestamp() - interval '1 s' WHERE lease_until IS NOT NULL"
            )
        cursor.execute("UPDATE runs_driver SET called_at = NULL")
