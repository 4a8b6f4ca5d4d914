"""Runs act as the user that the org is connected as; what that user may not do is said in one sentence."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from migration_factory.rehearsal import Reach, erase, make_org, salesforce_reach
from orgs import services as orgs
from orgs.models import Customer, Role
from projects import services as projects
from projects.models import Project
from projects.readiness import target_checks
from runs import drivers, services
from runs.choices import RunState
from runs.engine import coordinator
from runs.models import Run
from sandbox.salesforce.running import Running
from tests.connectors.payroll_org import KEY, RULE, payroll_org, records_of

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
STANDARD, INTEGRATION = "Standard User", "Minimum Access - API Only Integrations"


@dataclass(frozen=True)
class Moving:
    """Rules to be brought by a user of the target that is no administrator."""

    target: Running
    project: Project
    user: str


def moving_as(tmp_path: Path, settings: Any, profile: str) -> Iterator[Moving]:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    for name in "ab":
        (tmp_path / name).mkdir()
    with payroll_org(tmp_path / "a") as source, payroll_org(tmp_path / "b") as target:
        source.control.upsert(RULE, [{"Name": f"Rule {number}", "Code__c": f"C{number}"} for number in range(3)])
        [of_profile] = [row["Id"] for row in target.control.dump("Profile") if row["Name"] == profile]
        made = {"Username": "mover@acme.com", "LastName": "Mover", "IsActive": True, "ProfileId": of_profile}
        [user] = target.control.upsert("User", [made])
        session = target.control.log_in(user)
        customer = Customer.objects.create(name="Users", slug="users")
        reach = Reach("salesforce", {"login_url": target.ready.url}, {"access_token": session["access_token"]})
        from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
        to_org = make_org(customer, "Target", Role.TARGET, reach)
        project = projects.create_project(customer, "Move", source=from_org, target=to_org)
        yield Moving(target, project, user)
        erase(customer)


@pytest.fixture
def standard(tmp_path: Path, settings: Any) -> Iterator[Moving]:
    yield from moving_as(tmp_path, settings, STANDARD)


@pytest.fixture
def integration(tmp_path: Path, settings: Any) -> Iterator[Moving]:
    yield from moving_as(tmp_path, settings, INTEGRATION)


def adopted(moving: Moving) -> None:
    with orgs.open_source(moving.project.source) as reader, orgs.open_target(moving.project.target) as writer:
        projects.adopt_like(moving.project, reader, writer, [RULE], key=KEY)


def driven(moving: Moving) -> Run:
    run = services.start_run(moving.project)
    drivers.drive_here(run.pk)
    return Run.objects.get(pk=run.pk)


def test_what_is_written_is_the_users(standard: Moving) -> None:
    adopted(standard)
    assert driven(standard).state == RunState.COMPLETED
    assert {row["CreatedById"] for row in records_of(standard.target, RULE, "CreatedById")} == {standard.user}


def test_a_field_that_the_user_may_not_fill_stops_the_run_in_one_sentence(standard: Moving) -> None:
    adopted(standard)
    for access in ("read", "none"):
        standard.target.control.set_access(RULE, "Code__c", access, STANDARD)
        run = driven(standard)
        assert run.state == RunState.FAILED
        assert run.reason.count("Code__c") == 1
        assert "incident" not in run.reason
        assert records_of(standard.target, RULE, "Id") == []
    standard.target.control.set_access(RULE, "Code__c", "edit", STANDARD)
    assert driven(standard).state == RunState.COMPLETED
    assert {row["Code__c"] for row in records_of(standard.target, RULE, "Code__c")} == {"C0", "C1", "C2"}


def test_a_right_that_is_taken_away_while_the_run_is_under_way_stops_it(standard: Moving) -> None:
    adopted(standard)
    run = services.start_run(standard.project)
    while Run.objects.get(pk=run.pk).planned_at is None:
        coordinator.advance(run.pk, stop=lambda: True)
    standard.target.control.set_access(RULE, "Code__c", "read", STANDARD)
    drivers.drive_here(run.pk)
    ended = Run.objects.get(pk=run.pk)
    assert ended.state == RunState.FAILED
    assert "does not let the migration user fill Code__c" in ended.reason
    assert "Give the permission set edit access" in ended.reason


def test_an_object_that_the_user_may_not_write_is_told_before_a_run_and_stops_it(integration: Moving) -> None:
    checks = target_checks(integration.project.target)
    assert (checks[-1].good, checks[-1].sentence) == (
        False,
        "The connecting user may write no object of Target; give its permission set the objects to move.",
    )
    with pytest.raises(projects.ProjectInvalid, match=f"has no {RULE}"):
        adopted(integration)


def test_a_user_that_lost_an_object_stops_the_run_in_one_sentence(standard: Moving) -> None:
    adopted(standard)
    [low] = [row["Id"] for row in standard.target.control.dump("Profile") if row["Name"] == INTEGRATION]
    standard.target.control.upsert("User", [{"Id": standard.user, "ProfileId": low}])
    run = driven(standard)
    assert run.state == RunState.FAILED
    assert RULE in run.reason
    assert "incident" not in run.reason
    assert records_of(standard.target, RULE, "Id") == []
