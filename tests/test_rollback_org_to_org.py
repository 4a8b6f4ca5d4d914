"""Taking back what was created in a simulated org spares what somebody has added to since, in whichever field."""

from pathlib import Path
from typing import Any

import pytest

from migration_factory.rehearsal import erase, make_org, salesforce_reach
from orgs import services as orgs
from orgs.models import Customer, Role
from projects import services as projects
from runs import drivers, services
from runs.choices import RunState
from runs.models import Run, TrackedRecord
from sandbox.salesforce.running import Running
from tests.connectors.payroll_org import KEY, RULE, payroll_org, records_of

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
EXTRA = {"fullName": RULE, "fields": [{"fullName": "Extra__c", "label": "Extra", "type": "Text", "length": 40}]}


def driven(run: Run) -> Run:
    drivers.drive_here(run.pk)
    return Run.objects.get(pk=run.pk)


def test_what_somebody_added_to_a_created_record_is_not_deleted_with_it(tmp_path: Path, settings: Any) -> None:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    for name in "ab":
        (tmp_path / name).mkdir()
    with payroll_org(tmp_path / "a") as source, payroll_org(tmp_path / "b") as target:
        target.control.define(EXTRA)
        source.control.upsert(RULE, [{"Name": f"Rule {number}"} for number in range(4)])
        customer = Customer.objects.create(name="Taken back", slug="taken-back")
        from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
        to_org = make_org(customer, "Target", Role.TARGET, salesforce_reach(target.ready))
        project = projects.create_project(customer, "Move", source=from_org, target=to_org)
        with orgs.open_source(from_org) as reader, orgs.open_target(to_org) as writer:
            projects.adopt_like(project, reader, writer, [RULE], key=KEY)
        run = driven(services.start_run(project))
        assert run.state == RunState.COMPLETED

        # A person, the platform's own automation, and we ourselves change a field that the mapping does not know.
        ids = {str(row["Name"]): str(row["Id"]) for row in records_of(target, RULE, "Name", "Id")}
        person, machine = users(target)
        for name, who in (("Rule 0", person), ("Rule 1", machine), ("Rule 2", target.ready.user_id)):
            target.control.upsert(RULE, [{"Id": ids[name], "Extra__c": "added", "LastModifiedById": who}])

        undone = driven(services.start_rollback(run))
        assert undone.state == RunState.COMPLETED_WITH_ERRORS, undone.reason
        assert [row["Name"] for row in records_of(target, RULE, "Name")] == ["Rule 0"]
        spared = TrackedRecord.objects.get(project=project, state="conflict")
        assert (spared.target_id, spared.code) == (ids["Rule 0"], "edited")
        assert "in fields that we did not write" in spared.reason
        erase(customer)


def users(org: Running) -> list[str]:
    person = {"Username": "zoe@acme.com", "LastName": "Zoe", "IsActive": True, "UserType": "Standard"}
    machine = {"Username": "auto@acme.com", "LastName": "Auto", "IsActive": True, "UserType": "AutomatedProcess"}
    return org.control.upsert("User", [person, machine])
