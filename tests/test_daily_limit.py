"""A run whose target has no API requests left for today waits, says until when, and goes on by itself."""

from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from migration_factory.rehearsal import erase, make_org, salesforce_reach
from orgs import services as orgs
from orgs.models import Customer, OrgBudget, Role
from projects import services as projects
from runs import drivers, services
from runs.choices import RunState
from runs.engine import coordinator
from runs.engine.coordinator import Progress
from runs.models import Run, RunEvent
from tests.connectors.payroll_org import KEY, RULE, payroll_org, records_of

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


def test_a_used_up_day_pauses_the_run_until_an_hour_that_is_shown(tmp_path: Path, settings: Any) -> None:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    for name in "ab":
        (tmp_path / name).mkdir()
    with payroll_org(tmp_path / "a") as source, payroll_org(tmp_path / "b") as target:
        source.control.upsert(RULE, [{"Name": f"Rule {number}"} for number in range(4)])
        customer = Customer.objects.create(name="Limited", slug="limited")
        from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
        to_org = make_org(customer, "Target", Role.TARGET, salesforce_reach(target.ready))
        project = projects.create_project(customer, "Move", source=from_org, target=to_org)
        with orgs.open_source(from_org) as reader, orgs.open_target(to_org) as writer:
            projects.adopt_like(project, reader, writer, [RULE], key=KEY)
        run = services.start_run(project)
        while Run.objects.get(pk=run.pk).planned_at is None:
            assert coordinator.advance(run.pk, stop=lambda: True) is Progress.BUSY
        target.control.fault("api_limit", path="/services/data/v66.0/")
        for _ in range(20):
            if coordinator.advance(run.pk, stop=lambda: True) is Progress.IDLE:
                break
        wait = RunEvent.objects.filter(run=run, level="wait").latest("pk")
        assert "no API requests left for today" in wait.message
        assert wait.until is not None
        assert 3_000 < (wait.until - wait.at).total_seconds() <= 3_601
        assert Run.objects.get(pk=run.pk).state == RunState.RUNNING
        assert records_of_quietly(target) == 0

        # The hour has passed.
        target.control.clear_faults()
        with connection.cursor() as cursor:
            cursor.execute("UPDATE runs_chunk SET available_at = clock_timestamp()")
            cursor.execute("UPDATE runs_step SET available_at = clock_timestamp()")
        OrgBudget.objects.update(paused_until=None)
        drivers.drive_here(run.pk)
        assert Run.objects.get(pk=run.pk).state == RunState.COMPLETED
        assert len(records_of(target, RULE, "Id")) == 4
        erase(customer)


def records_of_quietly(org: Any) -> int:
    """Without a request that the day no longer has."""
    return int(org.control.status()["records"].get(RULE, 0))
