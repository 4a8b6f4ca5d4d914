"""A process that drives runs and may be told to die at a crash point: forked from one that has Django ready.

Starting Python and Django anew for each of some sixty deaths would take minutes; a fork server takes milliseconds
and has never touched Polars, whose threads would not survive a fork.
"""

import multiprocessing
from dataclasses import dataclass
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.db import connection

if not apps.ready:  # in the fork server
    django.setup()

from connectors.clients.workbook import tables
from runs import drivers
from runs.choices import ACTIVE
from runs.engine import deletions
from runs.models import Driver, Run

PATIENCE = 60
HOST = "mortal"
DELETIONS = 2
"""To a chunk of what is gone from the source."""


@dataclass(frozen=True)
class Life:
    """How a process finds its database, how large its pages are, and where it dies (blank: nowhere)."""

    database: dict[str, Any]
    run_id: int
    crash: str = ""
    page: int = 40


def live(life: Life) -> int | None:
    """Drive the run in a process of its own; its exit code, -9 where it was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_live, args=[life])
    process.start()
    process.join(PATIENCE)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"the run did not end within {PATIENCE} s")
    return process.exitcode


def _live(life: Life) -> None:
    connection.settings_dict.update(life.database)
    settings.DEBUG = settings.MF_LOCAL_FOLDERS = True
    settings.MF_CRASH = life.crash
    # To come to the places between two calls, a call is over after one piece; else it goes on to the end.
    settings.MF_TIME_BOX_SECONDS = 0 if life.crash.startswith("drive.") else PATIENCE
    settings.WORKER_HOST = HOST
    tables.PAGE_RECORDS = life.page
    deletions.CHUNK_RECORDS = DELETIONS
    while Run.objects.filter(pk=life.run_id, state__in=ACTIVE).exists():
        drivers.fill_places(HOST, hands=1)
        for place in Driver.objects.filter(run=life.run_id, owner=HOST):
            drivers.drive(place.pk)
