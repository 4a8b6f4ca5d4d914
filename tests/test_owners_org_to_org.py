"""Owners between two simulated orgs: matched people keep their records, the others' go to the user we write as."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

from migration_factory.rehearsal import erase, make_org, salesforce_reach
from orgs import services as orgs
from orgs.models import Customer, Role
from projects import readiness
from projects import services as projects
from projects.readiness import Sides
from runs import drivers, services
from runs.choices import RunState
from runs.engine import coordinator
from runs.models import Finding, Run, RunEvent
from sandbox.salesforce.running import Running
from tests.connectors.payroll_org import KEY, RULE, payroll_org, records_of
from tests.runs.screens import signed_in, text

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def both(tmp_path: Path, settings: Any) -> Iterator[tuple[Running, Running]]:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with payroll_org(tmp_path / "a") as source, payroll_org(tmp_path / "b") as target:
        yield source, target


def person(org: Running, login: str, *, active: bool = True) -> str:
    name = login.partition("@")[0].title()
    [key] = org.control.upsert("User", [{"Username": login, "LastName": name, "Name": name, "IsActive": active}])
    return key


def test_owners_move_with_their_records(both: tuple[Running, Running]) -> None:
    source, target = both
    ann, bob, cy = (person(source, f"{name}@acme.com") for name in ("ann", "bob", "cy"))
    person(target, "zoe@acme.com")  # so that the ids of the two orgs differ
    there = person(target, "ann@acme.com.uat")
    person(target, "bob@acme.com.uat", active=False)
    [here] = source.control.upsert("Group", [{"Name": "Pay", "DeveloperName": "Payroll", "Type": "Queue"}])
    [queue] = target.control.upsert("Group", [{"Name": "Lohn", "DeveloperName": "Payroll", "Type": "Queue"}])
    for org, each in ((source, here), (target, queue)):
        org.control.upsert("QueueSobject", [{"QueueId": each, "SobjectType": RULE}])
    source.control.upsert(RULE, [{"Name": f"Of {each}", "OwnerId": each} for each in (ann, bob, cy, here)])

    customer = Customer.objects.create(name="Owners", slug="owners")
    from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
    to_org = make_org(customer, "Target", Role.TARGET, salesforce_reach(target.ready))
    project = projects.create_project(customer, "Move", source=from_org, target=to_org)
    with orgs.open_source(from_org) as reader, orgs.open_target(to_org) as writer:
        _, [left] = projects.adopt_like(project, reader, writer, [RULE], key=KEY)
        standing = readiness.owners_standing(Sides.of(project, reader, writer))
    assert not [each for each in left.sentences if each.startswith("OwnerId")]
    assert standing is not None
    assert set(standing.unmapped) == {"Bob", "Cy"}
    assert not standing.inactive

    run = services.start_run(project)
    drivers.drive_here(run.pk)
    assert Run.objects.get(pk=run.pk).state == RunState.COMPLETED
    me = target.ready.user_id
    owned = {row["Name"]: row["OwnerId"] for row in records_of(target, RULE, "Name", "OwnerId")}
    assert owned == {f"Of {ann}": there, f"Of {bob}": me, f"Of {cy}": me, f"Of {here}": queue}
    notes = Finding.objects.filter(rule="no_counterpart")
    assert notes.count() == 2

    # People have come since, in both orgs, and somebody decided: the next run looks again and keeps the decision.
    dee, new = person(source, "dee@acme.com"), person(target, "dee@acme.com")
    target.control.upsert("User", [{"Id": there, "IsActive": False}])
    owners = project.value_maps.get(name="owners")
    assert owners.entries[bob] is None
    owners.entries = {**owners.entries, bob: queue, cy: "", "*": "!"}
    owners.save()
    names = [("dee", dee), ("bob", bob), ("cy", cy), ("ann", ann)]
    source.control.upsert(RULE, [{"Name": f"Later of {name}", "OwnerId": owner} for name, owner in names])
    run = services.start_run(project)
    drivers.drive_here(run.pk)
    owned = {row["Name"]: row["OwnerId"] for row in records_of(target, RULE, "Name", "OwnerId")}
    assert owned["Later of dee"] == new
    assert owned["Later of bob"] == queue
    # Neither Cy, by decision, nor Ann, whose counterpart is not active any more, has one: the policy refuses them.
    assert not {"Later of cy", "Later of ann"} & owned.keys()
    refused = Finding.objects.filter(run=run, rule="no_counterpart", severity="error")
    assert {each.value for each in refused} == {cy, ann}
    told = "".join(RunEvent.objects.filter(run=run).values_list("message", flat=True))
    assert "people came or went" in told
    assert "are refused" in told
    erase(customer)


def test_a_queue_that_does_not_serve_the_object_is_told_before_anything_is_loaded(
    both: tuple[Running, Running],
) -> None:
    source, target = both
    [here] = source.control.upsert("Group", [{"Name": "Pay", "DeveloperName": "Payroll", "Type": "Queue"}])
    source.control.upsert("QueueSobject", [{"QueueId": here, "SobjectType": RULE}])
    [there] = target.control.upsert("Group", [{"Name": "Lohn", "DeveloperName": "Payroll", "Type": "Queue"}])
    target.control.upsert("QueueSobject", [{"QueueId": there, "SobjectType": "Case"}])
    source.control.upsert(RULE, [{"Name": "Of the queue", "OwnerId": here}])
    customer = Customer.objects.create(name="Queues", slug="queues")
    from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
    to_org = make_org(customer, "Target", Role.TARGET, salesforce_reach(target.ready))
    project = projects.create_project(customer, "Move", source=from_org, target=to_org)
    with orgs.open_source(from_org) as reader, orgs.open_target(to_org) as writer:
        projects.adopt_like(project, reader, writer, [RULE], key=KEY)
    told = f"The queue Lohn of the target does not serve {RULE}: add it to the queue there"
    staff = signed_in("projects.view_project", "projects.change_project", "orgs.view_org")
    assert told in text(staff, reverse("admin:projects_path_review", args=[project.pk]))
    run = services.start_run(project)
    while Run.objects.get(pk=run.pk).planned_at is None:
        coordinator.advance(run.pk, stop=lambda: True)
    assert told in "".join(RunEvent.objects.filter(run=run).values_list("message", flat=True))
    drivers.drive_here(run.pk)
    assert Run.objects.get(pk=run.pk).state == RunState.COMPLETED_WITH_ERRORS
    refused = Finding.objects.get(run=run, severity="error")
    assert refused.rule == "INVALID_OPERATION"
    assert "the queue that is to own the record does not serve its object" in refused.message
    # Mended there, a retry brings it, and nothing is told any more.
    target.control.upsert("QueueSobject", [{"QueueId": there, "SobjectType": RULE}])
    retried = services.start_retry(project)
    drivers.drive_here(retried.pk)
    assert Run.objects.get(pk=retried.pk).state == RunState.COMPLETED
    assert told not in "".join(RunEvent.objects.filter(run=retried).values_list("message", flat=True))
    assert [row["OwnerId"] for row in records_of(target, RULE, "OwnerId")] == [there]
    erase(customer)
