"""Orgs are checked by themselves: when due, one checker each, and not while they are being connected."""

import subprocess
import sys
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import Settings

from connectors.base import Connector
from connectors.errors import AuthenticationFailed
from connectors.types import Identity
from orgs import health
from orgs.models import Org, OrgStatus
from orgs.services import check_org
from runs.checkers import Checker
from tests.orgs import fakes
from tests.orgs.fakes import make_org

pytestmark = pytest.mark.django_db


def due(org: Org) -> Org:
    check_org(org)
    Org.objects.filter(pk=org.pk).update(next_check_at=Now())
    return org


def test_an_org_is_checked_when_due_and_then_not_again(monkeypatch: pytest.MonkeyPatch) -> None:
    org = due(make_org())

    def expire(_: Connector) -> Identity:
        raise AuthenticationFailed("Fake CRM no longer accepts this authorisation: connect the org again.")

    monkeypatch.setattr(fakes, "on_check", expire)
    assert health.any_due()
    said = StringIO()
    call_command("check_orgs", stdout=said)
    assert "connect the org again" in said.getvalue()
    org.refresh_from_db()
    assert org.status == OrgStatus.EXPIRED
    assert org.next_check_at > timezone.now()
    assert not health.any_due()
    assert health.check_next() is None


def test_an_org_nobody_has_checked_yet_is_left_to_the_person() -> None:
    make_org()
    assert not health.any_due()
    assert health.check_next() is None


def test_the_schedule_can_be_switched_off(settings: Settings) -> None:
    due(make_org())
    settings.MF_HEALTH_CHECK_MINUTES = 0
    assert not health.any_due()
    assert health.check_next() is None


class Started:
    """Stands for the processes that are started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commands: list[list[str]] = []
        self.running = True
        monkeypatch.setattr("runs.checkers.subprocess.Popen", self.start)

    def start(self, command: list[str], **_: Any) -> "Started":
        self.commands.append(command)
        return self

    def poll(self) -> int | None:
        return None if self.running else 0

    def kill(self) -> None:
        self.running = False

    def wait(self) -> None:
        return None


def test_one_process_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    started = Started(monkeypatch)
    checker = Checker()
    checker.tend(0.0)
    assert not started.commands  # nothing is due
    due(make_org())
    checker.tend(1.0)
    assert not started.commands  # it has just looked
    checker.tend(61.0)
    checker.tend(200.0)
    assert [command[-1] for command in started.commands] == ["check_orgs"]
    started.running = False
    checker.tend(300.0)
    assert len(started.commands) == 2
    checker.stop()
    assert not started.running


def test_the_command_runs_as_a_process() -> None:
    done = subprocess.run([sys.executable, "manage.py", "check_orgs", "--help"], capture_output=True, check=True)
    assert b"MF_HEALTH_CHECK_MINUTES" in done.stdout
