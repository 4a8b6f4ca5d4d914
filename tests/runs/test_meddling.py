"""Somebody meddles while a run is on or between runs: other mappings, other keys, forged calls, an old ledger."""

import pickle
import queue
import threading
from base64 import b64encode
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import override_settings
from django.utils import timezone
from django_q import core_signing
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.pusher import pusher
from django_q.signing import PickleSerializer, SignedPackage

from orgs import services as orgs
from projects.models import Project
from runs import drivers, services
from runs.choices import RecordState, RunState
from runs.engine import coordinator
from runs.models import Driver, Run
from tests import factories
from tests.fakes import World
from tests.runs.test_engine import drive, family, totals, tracked

pytestmark = pytest.mark.django_db


def pieces(run: Run, number: int) -> None:
    """Somebody is at the run for so many pieces, and goes."""
    left = iter(range(number - 1))
    coordinator.advance(run.pk, stop=lambda: next(left, None) is None)


# --- The mapping changes while a run is on -------------------------------------------------------------------------


def test_a_run_goes_on_as_it_was_planned_whatever_becomes_of_the_mapping(world: World, project: Project) -> None:
    family(world, project)
    run = services.start_run(project)
    pieces(run, 3)
    project.project_objects.filter(source_entity="Contact").update(enabled=False)
    assert drive(run).state == RunState.COMPLETED
    assert totals(run) == {"read": 9, "created": 9}
    # The next one goes by what holds now.
    again = drive(services.start_run(project))
    assert totals(again) == {"read": 4, "unchanged": 4}


# --- Keys change while a run is on ---------------------------------------------------------------------------------


def test_a_run_goes_on_over_a_rotation_of_the_vaults_keys(world: World, project: Project) -> None:
    """What was staged under the old key is read with it, as long as it is among the known ones; or sealed anew."""
    family(world, project)
    run = services.start_run(project)
    pieces(run, 4)
    with override_settings(VAULT_KEYS={"new": b"2" * 32, **settings.VAULT_KEYS}):
        pieces(run, 2)
        assert orgs.rotate_vault().broken == 0
        assert drive(run).state == RunState.COMPLETED
    assert totals(run) == {"read": 9, "created": 9}


# --- Calls that nobody of ours made --------------------------------------------------------------------------------


class Evil:
    """Unpickled, it leaves a file behind."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_forged_and_broken_calls_are_dropped_unread_and_ours_are_delivered(world: World, tmp_path: Path) -> None:
    """By django-q2's own hand, which takes them from the queue: what is not signed with our key it does not open. A
    changed SECRET_KEY makes strangers of our own calls; they are dropped too, and made again after a while."""
    run = services.start_run(factories.project(), drivers=1)
    touched = tmp_path / "touched"
    forged = core_signing.dumps(
        {"func": "os.system", "args": (Evil(touched),)},
        key="another key",
        salt=Conf.PREFIX,
        serializer=PickleSerializer,
    )
    good = SignedPackage.dumps({"func": "runs.tasks.drive", "args": (1,)})
    payloads = ["", "no package", b64encode(pickle.dumps(Evil(touched))).decode(), forged, good[:-3], f"x{good}"]
    ago = timezone.now() - timedelta(minutes=1)
    for payload in payloads:
        OrmQ.objects.create(key="here", payload=payload, lock=ago)
    with override_settings(WORKER_HOST="here"):
        assert drivers.fill_places("here", hands=1) == 1
    delivered = delivered_to("here", calls=len(payloads) + 1)
    assert [call["args"] for call in delivered] == [(Driver.objects.get(run=run).pk,)]
    assert not touched.exists()
    assert OrmQ.objects.count() == 1, "the call that was delivered stays until it is answered for"


def delivered_to(host: str, *, calls: int) -> list[dict[str, Any]]:
    """What the cluster's pusher hands to its workers of so many calls."""
    handed: queue.Queue[dict[str, Any]] = queue.Queue()
    leave = threading.Event()
    leave.set()
    for _ in range(calls):
        pusher(handed, leave, ORM(list_key=host))
    return [handed.get_nowait() for _ in range(handed.qsize())]


# --- The ledger is older than the target ---------------------------------------------------------------------------


def test_a_ledger_from_before_the_targets_state_doubles_nothing_and_finds_its_records_again(
    world: World, project: Project
) -> None:
    """A backup of our database is restored that knows nothing of the last run; the target has what that run wrote."""
    family(world, project)
    first = drive(services.start_run(project))
    kept = dumped(project)
    world.records["Account"].append({"Id": "A9", "Name": "New", "ParentId": "A0"})
    world.records["Contact"][0]["Name"] = "Changed"
    drive(services.start_run(project))
    held = {entity: {key: dict(row) for key, row in rows.items()} for entity, rows in world.rows.items()}
    restored(project, kept, first)
    assert "A9" not in tracked(project, "Account")

    run = drive(services.start_run(project))
    assert run.state == RunState.COMPLETED, run.reason
    assert totals(run) == {"read": 10, "unchanged": 10}, "what the target has as it should be is not written again"
    assert {entity: dict(rows) for entity, rows in world.rows.items()} == held
    assert {record.state for record in tracked(project, "Account").values()} <= {
        RecordState.LOADED,
        RecordState.UNCHANGED,
    }
    assert tracked(project, "Account")["A9"].target_id == held["account"]["A9"]["target_id"]


def dumped(project: Project) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM runs_trackedrecord WHERE project_id = %s", [project.pk])
        return list(cursor.fetchall())


def restored(project: Project, kept: list[tuple[Any, ...]], last: Run) -> None:
    """The ledger as it was then: runs since are gone, and records stand where they stood."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM runs_trackedrecord WHERE project_id = %s", [project.pk])
        places = ", ".join(["%s"] * len(kept[0]))
        cursor.executemany(f"INSERT INTO runs_trackedrecord VALUES ({places})", kept)
    Run.objects.filter(project=project, pk__gt=last.pk).delete()
