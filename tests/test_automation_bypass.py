"""The automation of a simulated org stands aside while runs write to it, and never longer, whoever dies or refuses."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse

from connectors.errors import SettingsInvalid
from migration_factory.rehearsal import erase, make_org, salesforce_reach
from orgs import bypass as switches
from orgs import services as orgs
from orgs.models import AutomationBypass, Customer, Org, Role
from projects import services as projects
from projects.models import Project
from runs import bypass, drivers, services
from runs.bypass import Released
from runs.choices import EventLevel, RunState
from runs.crash_points import CrashPoint
from runs.dry_runs import start_dry_run
from runs.engine import coordinator
from runs.engine.coordinator import Progress
from runs.engine.work import next_work
from runs.models import Chunk, Run, RunEvent, TrackedRecord
from runs.services import start_run
from sandbox.salesforce.running import Running
from tests.connectors.payroll_org import KEY, RULE, payroll_org, records_of
from tests.faults.mortal import Life, live
from tests.runs.screens import signed_in, text

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

PERMISSION = "Skip_Rules"
GUARDED = 'NOT($Permission.Skip_Rules) && BEGINS(Name, "Rule")'


@dataclass(frozen=True)
class Moving:
    """Twelve rules to be brought to an org whose validation rule refuses all of them, unless it stands aside."""

    source: Running
    target: Running
    from_org: Org
    to_org: Org
    project: Project


@pytest.fixture
def moving(tmp_path: Path, settings: Any) -> Iterator[Moving]:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    for name in "ab":
        (tmp_path / name).mkdir()
    with payroll_org(tmp_path / "a") as source, payroll_org(tmp_path / "b") as target:
        source.control.upsert(RULE, [{"Name": f"Rule {number}"} for number in range(12)])
        target.control.add_rule(RULE, name="Guard", formula=GUARDED, message="Ask the owner of rules.")
        customer = Customer.objects.create(name="Bypassing", slug="bypassing")
        from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
        to_org = make_org(customer, "Target", Role.TARGET, salesforce_reach(target.ready))
        to_org = orgs.save_settings(to_org, {**to_org.settings, "bypass_permission": PERMISSION}, {})
        yield Moving(source, target, from_org, to_org, project_between(from_org, to_org, "Move"))
        AutomationBypass.objects.all().delete()
        erase(customer)


def project_between(from_org: Org, to_org: Org, name: str) -> Project:
    project = projects.create_project(from_org.customer, name, source=from_org, target=to_org)
    with orgs.open_source(from_org) as reader, orgs.open_target(to_org) as writer:
        projects.adopt_like(project, reader, writer, [RULE], key=KEY)
    return project


@pytest.fixture
def ready(moving: Moving) -> Moving:
    assert len(switches.prepare(moving.to_org)) == 2
    return moving


def assigned(org: Running) -> int:
    """Permission sets of ours that the user has now, as the org itself says."""
    return len(records_of(org, "PermissionSetAssignment", "Id"))


def stepped(run: Run, until: Callable[[], bool]) -> None:
    """Drive the run piece by piece until that holds."""
    for _ in range(50):
        if until():
            return
        assert coordinator.advance(run.pk, stop=lambda: True) is Progress.BUSY
    raise AssertionError("the run never came so far")


def driven(run: Run) -> Run:
    drivers.drive_here(run.pk)
    return Run.objects.get(pk=run.pk)


def loaded(run: Run) -> Callable[[], bool]:
    return lambda: Chunk.objects.filter(run=run, state="loaded").exists()


def said(run: Run) -> list[str]:
    return [each.message for each in RunEvent.objects.filter(run=run).order_by("pk")]


# --- A run ----------------------------------------------------------------------------------------------------
def test_it_is_on_while_a_run_writes_and_off_after_it(ready: Moving) -> None:
    run = start_run(ready.project)
    assert assigned(ready.target) == 0
    stepped(run, loaded(run))
    assert assigned(ready.target) == 1
    assert AutomationBypass.objects.get().state == AutomationBypass.State.ON
    assert driven(run).state == RunState.COMPLETED
    assert len(records_of(ready.target, RULE, "Id")) == 12
    assert assigned(ready.target) == 0
    assert not AutomationBypass.objects.exists()
    told = [each for each in said(run) if "bypass" in each]
    assert "what asks for $Permission.Skip_Rules stands aside" in told[0]
    assert told[1:] == ["The automation bypass is off again."]
    # Off again means that the rule is asked again.
    ready.source.control.upsert(RULE, [{"Name": "Rule 13"}])
    orgs.save_settings(ready.to_org, {**ready.to_org.settings, "bypass_permission": ""}, {})
    again = driven(start_run(ready.project))
    assert again.state == RunState.COMPLETED_WITH_ERRORS
    assert TrackedRecord.objects.filter(project=ready.project, state="rejected").count() == 1


def test_a_dry_run_meets_the_automation_that_the_load_will_meet(ready: Moving) -> None:
    run = driven(start_dry_run(ready.project))
    assert run.state == RunState.COMPLETED, run.reason
    assert records_of(ready.target, RULE, "Id") == []
    assert assigned(ready.target) == 0


def test_a_rollback_has_it_too(ready: Moving) -> None:
    driven(start_run(ready.project))
    ready.target.control.add_rule(
        RULE, name="Keep", formula="NOT($Permission.Skip_Rules)", message="No.", on=["delete"]
    )
    undone = driven(services.start_rollback(Run.objects.get()))
    assert undone.state == RunState.COMPLETED, undone.reason
    assert records_of(ready.target, RULE, "Id") == []
    assert assigned(ready.target) == 0


def test_a_run_stops_where_it_was_not_prepared(moving: Moving) -> None:
    run = driven(start_run(moving.project))
    assert run.state == RunState.FAILED
    assert "The automation bypass is not ready" in run.reason
    assert "Press “Prepare” on the org's page" in run.reason
    assert records_of(moving.target, RULE, "Id") == []
    assert not AutomationBypass.objects.exists()


def test_it_is_off_while_a_run_is_paused(ready: Moving) -> None:
    run = start_run(ready.project)
    stepped(run, loaded(run))
    services.pause_run(run)
    drivers.drive_here(run.pk)
    assert Run.objects.get(pk=run.pk).state == RunState.PAUSED
    assert assigned(ready.target) == 0
    ready.source.control.upsert(RULE, [{"Name": "Rule late"}])
    services.resume_run(run)
    assert driven(run).state == RunState.COMPLETED
    assert assigned(ready.target) == 0


def test_it_is_off_after_a_run_that_was_cancelled_or_failed(ready: Moving) -> None:
    run = start_run(ready.project)
    stepped(run, loaded(run))
    services.cancel_run(run)
    assert driven(run).state == RunState.CANCELLED
    assert assigned(ready.target) == 0
    ready.source.control.upsert(RULE, [{"Name": "Rule late"}])
    failed = start_run(ready.project)
    stepped(failed, lambda: Run.objects.get(pk=failed.pk).planned_at is not None)
    ready.target.control.set_access(RULE, KEY, "none")
    assert driven(failed).state == RunState.FAILED
    assert any("bypass is on" in each for each in said(failed))
    assert assigned(ready.target) == 0
    assert not AutomationBypass.objects.exists()


def test_two_runs_share_it_and_the_last_one_takes_it_off(ready: Moving) -> None:
    other = project_between(ready.from_org, ready.to_org, "Second")
    first, second = start_run(ready.project), start_run(other)
    stepped(first, loaded(first))
    stepped(second, loaded(second))
    assert assigned(ready.target) == 1
    driven(first)
    assert assigned(ready.target) == 1, "the second run still writes"
    assert bypass.let_go(ready.to_org) is Released.NEEDED
    driven(second)
    assert assigned(ready.target) == 0
    assert sum("is on:" in each for each in said(first) + said(second)) == 1


# --- Whoever dies ---------------------------------------------------------------------------------------------
def killed(run: Run, point: CrashPoint) -> None:
    place = {name: connection.settings_dict[name] for name in ("NAME", "USER", "HOST", "PORT", "PASSWORD")}
    assert live(Life(place, run.pk, point)) == -signal.SIGKILL, f"nobody came to {point}"


def time_passes() -> None:
    """Whatever a dead worker held is free, and what was tried is tried again."""
    with connection.cursor() as cursor:
        for table in ("runs_run", "runs_step", "runs_chunk", "runs_driver", "orgs_automationbypass"):
            cursor.execute(f"UPDATE {table} SET lease_until = clock_timestamp() - interval '1 s'")
        cursor.execute("UPDATE runs_driver SET called_at = NULL")
        cursor.execute("UPDATE orgs_automationbypass SET tried_at = NULL")


@pytest.mark.parametrize("point", [CrashPoint.BYPASS_INTENDED, CrashPoint.BYPASS_SWITCHED])
def test_a_worker_that_dies_never_makes_it_forgotten(ready: Moving, point: CrashPoint) -> None:
    run = start_run(ready.project, drivers=1)
    killed(run, point)
    assert AutomationBypass.objects.exists(), "it was not written down before the org was asked"
    time_passes()
    assert list(bypass.tend()) == [], "the run still needs it"
    # Nobody comes back to the run: it is cancelled, and the next look at the orgs takes it off.
    services.cancel_run(run)
    coordinator.settle(run.pk)
    assert bypass.any_left()
    answered = StringIO()
    call_command("check_orgs", stdout=answered)
    assert "had stayed on; it is off again" in answered.getvalue()
    assert assigned(ready.target) == 0
    assert not AutomationBypass.objects.exists()


@pytest.mark.parametrize("point", [CrashPoint.BYPASS_INTENDED, CrashPoint.BYPASS_SWITCHED, CrashPoint.BYPASS_TAKEN_OFF])
def test_another_worker_goes_on_where_one_died_switching(ready: Moving, point: CrashPoint) -> None:
    run = start_run(ready.project, drivers=1)
    killed(run, point)
    time_passes()
    assert driven(run).state == RunState.COMPLETED
    assert len(records_of(ready.target, RULE, "Id")) == 12
    assert assigned(ready.target) == 0
    assert not AutomationBypass.objects.exists()


@pytest.mark.parametrize("point", [CrashPoint.LOAD_INTENDED, CrashPoint.LOAD_SENT, CrashPoint.RECORD_IN_TRANSACTION])
def test_a_worker_that_dies_writing_leaves_it_on_until_another_has_ended_the_run(
    ready: Moving, point: CrashPoint
) -> None:
    run = start_run(ready.project, drivers=1)
    killed(run, point)
    assert assigned(ready.target) == 1, "whoever takes the run over needs it"
    time_passes()
    assert bypass.let_go(ready.to_org) is Released.NEEDED
    assert driven(run).state == RunState.COMPLETED
    assert len(records_of(ready.target, RULE, "Id")) == 12
    assert assigned(ready.target) == 0
    assert not AutomationBypass.objects.exists()


@pytest.mark.parametrize("way", ["resumed", "cancelled"])
def test_the_alarm_is_raised_where_a_run_died_and_it_cannot_be_taken_off_afterwards(ready: Moving, way: str) -> None:
    run = start_run(ready.project, drivers=1)
    killed(run, CrashPoint.LOAD_SENT)
    time_passes()
    ready.target.control.change_settings(assign_permissions=0)
    if way == "cancelled":
        services.cancel_run(run)
    ended = driven(run)
    assert ended.state == (RunState.COMPLETED if way == "resumed" else RunState.CANCELLED)
    assert assigned(ready.target) == 1
    [alarm] = RunEvent.objects.filter(run=run, level=EventLevel.ERROR)
    assert "stayed on since" in alarm.message
    staff = signed_in("orgs.view_org", "orgs.change_org", "runs.view_run")
    assert "The automation bypass stayed on since" in text(staff, reverse("admin:index"))
    time_passes()
    with pytest.raises(CommandError, match="stayed on"):
        call_command("check_orgs", stdout=StringIO())
    ready.target.control.change_settings(assign_permissions=1)
    time_passes()
    call_command("check_orgs", stdout=StringIO())
    assert assigned(ready.target) == 0
    assert not AutomationBypass.objects.exists()


def test_it_stays_on_for_what_a_cancelled_run_had_begun_and_is_off_after_that(ready: Moving) -> None:
    """Its worker died, a person cancels it, and the worker that is to ask what became of the records dies, too."""
    run = start_run(ready.project, drivers=1)
    killed(run, CrashPoint.LOAD_INTENDED)
    time_passes()
    services.cancel_run(run)
    while coordinator.settle(run.pk):
        assert next_work(run.pk), "what was begun is held by one more worker, which is never heard of again"
    assert Run.objects.get(pk=run.pk).state == RunState.CANCELLING
    assert assigned(ready.target) == 1
    assert not bypass.any_left(), "somebody may still write"
    time_passes()
    driven(run)
    assert Run.objects.get(pk=run.pk).state == RunState.CANCELLED
    assert assigned(ready.target) == 0


# --- Where it cannot be taken off ------------------------------------------------------------------------------
def test_one_that_stays_on_is_an_alarm_until_it_is_off(ready: Moving) -> None:
    run = start_run(ready.project)
    stepped(run, loaded(run))
    ready.target.control.change_settings(assign_permissions=0)
    assert driven(run).state == RunState.COMPLETED
    assert assigned(ready.target) == 1
    [alarm] = RunEvent.objects.filter(run=run, level=EventLevel.ERROR)
    assert "stayed on since" in alarm.message
    assert "needs “Assign Permission Sets”" in alarm.message
    staff = signed_in("orgs.view_org", "orgs.change_org", "runs.view_run")
    for page in (reverse("admin:orgs_org_change", args=[ready.to_org.pk]), reverse("admin:index")):
        assert "The automation bypass stayed on since" in text(staff, page)

    assert not bypass.any_left(), "it was tried just now"
    time_passes()
    assert bypass.any_left()
    answered = StringIO()
    with pytest.raises(CommandError, match="stayed on"):
        call_command("check_orgs", stdout=answered)
    assert "needs “Assign Permission Sets”" in answered.getvalue()
    assert RunEvent.objects.filter(run=run, level=EventLevel.ERROR).count() == 1, "the same alarm is told once"

    ready.target.control.change_settings(assign_permissions=1)
    time_passes()
    call_command("check_orgs", stdout=StringIO())
    assert assigned(ready.target) == 0
    assert not AutomationBypass.objects.exists()
    assert "stayed on since" not in text(staff, reverse("admin:index"))


def test_a_person_may_say_that_it_is_off(ready: Moving) -> None:
    run = start_run(ready.project)
    stepped(run, loaded(run))
    ready.target.control.change_settings(assign_permissions=0)
    driven(run)
    address = reverse("admin:orgs_org_forget_bypass", args=[ready.to_org.pk])
    assert signed_in("orgs.view_org").post(address).status_code == 403
    assert signed_in("orgs.view_org", "orgs.change_org").post(address).status_code == 302
    assert not AutomationBypass.objects.exists()


def test_one_that_nobody_knows_of_is_found_in_the_org(ready: Moving) -> None:
    with orgs.open_target(ready.to_org) as target:
        found = target.bypass(switches.name_of(ready.to_org))
        assert found is not None
        target.switch_bypass(found, on=True)
    assert bypass.look(ready.to_org) is Released.OFF
    assert assigned(ready.target) == 0
    assert bypass.look(ready.to_org) is Released.NOTHING


def test_credentials_for_another_org_do_not_pretend_that_it_is_off(ready: Moving) -> None:
    run = start_run(ready.project)
    stepped(run, loaded(run))
    row = AutomationBypass.objects.get()
    AutomationBypass.objects.update(switch={**row.switch, "organisation": "00D000000000999AAA"})
    services.cancel_run(run)
    driven(run)
    assert "these credentials lead to" in AutomationBypass.objects.get().alarm
    # And no run may write as if it were on for its own user.
    later = driven(start_run(ready.project))
    assert later.state == RunState.FAILED
    assert "stayed on since" in later.reason


# --- Preparing it ---------------------------------------------------------------------------------------------
def test_it_is_prepared_from_the_page_once(moving: Moving) -> None:
    staff = signed_in("orgs.view_org", "orgs.change_org")
    page = reverse("admin:orgs_org_change", args=[moving.to_org.pk])
    assert "Only automation that asks for $Permission.Skip_Rules stands aside" in text(staff, page)
    address = reverse("admin:orgs_org_prepare_bypass", args=[moving.to_org.pk])
    assert signed_in("orgs.view_org").post(address).status_code == 403
    answer = staff.post(address, follow=True).content.decode()
    assert "Nothing of the org asks for it yet" in answer
    assert "is ready: nothing had to be made" in staff.post(address, follow=True).content.decode()


def test_a_refused_preparation_says_the_way_by_hand(moving: Moving) -> None:
    moving.target.control.change_settings(setup_access=0)
    with pytest.raises(Exception, match="You can make it by hand in Setup") as refused:
        switches.prepare(moving.to_org)
    assert switches.name_of(moving.to_org) in str(refused.value)
    orgs.save_settings(moving.to_org, {**moving.to_org.settings, "bypass_permission": "$Permission.X"}, {})
    with pytest.raises(SettingsInvalid, match="is not the API name of a custom permission"):
        switches.prepare(Org.objects.get(pk=moving.to_org.pk))
