"""Waiving what is due: by whom and why, what it means for runs, and taking it back."""

import pytest

from projects.models import Project
from runs import services, waivers
from runs.choices import RecordState, RunState
from runs.ledger import Scope
from runs.models import TrackedRecord, Waiver
from runs.services import RunRefused
from tests import factories
from tests.fakes import World, reference, schema
from tests.runs.test_engine import drive, totals, tracked


@pytest.fixture
def refused(world: World, project: Project) -> World:
    world.add(schema("Account", "Name"), *({"Id": f"A{n}", "Name": f"{n}"} for n in range(5)))
    factories.project_object(project, "Account")
    world.refuse = lambda _, row: "No." if row["name"] in {"1", "2"} else None
    drive(services.start_run(project))
    return world


def test_a_waived_record_is_due_no_more(refused: World, project: Project) -> None:
    person = factories.user()
    assert waivers.waive(project, Scope(source_ids=("A1",)), user=person, reason=" A test\naccount. ") == 1
    record = tracked(project, "Account")["A1"]
    assert (record.state, record.code) == (RecordState.WAIVED, "refused")
    assert record.reason == f"Waived by {person.username}: A test account."
    assert totals(drive(services.start_retry(project)))["read"] == 1
    waiver = Waiver.objects.get()
    assert (waiver.by, waiver.was_state, waiver.was_reason) == (person, "rejected", "No.")


def test_waiving_a_whole_cause_and_taking_it_back(refused: World, project: Project) -> None:
    person = factories.user()
    assert waivers.waive(project, Scope(codes=("refused",)), user=person, reason="Tests") == 2
    with pytest.raises(RunRefused, match="Nothing is due"):
        services.start_retry(project)
    assert waivers.unwaive(project, Scope(codes=("refused",))) == 2
    record = tracked(project, "Account")["A1"]
    assert (record.state, record.reason) == (RecordState.REJECTED, "No.")
    assert not Waiver.objects.exists()
    assert totals(drive(services.start_retry(project)))["rejected"] == 2


def test_a_waived_record_that_is_refused_again_stays_waived_and_one_that_lands_is_loaded(
    refused: World, project: Project
) -> None:
    waivers.waive(project, Scope(), user=factories.user(), reason="Tests")
    refused.refuse = lambda _, row: "Still no." if row["name"] == "1" else None
    drive(services.start_run(project))
    states = {name: record.state for name, record in tracked(project, "Account").items()}
    assert states["A1"] == RecordState.WAIVED
    assert states["A2"] == RecordState.LOADED
    # Every record has exactly one state: the states add up to what was read.
    assert TrackedRecord.objects.filter(project=project).count() == 5


@pytest.mark.parametrize("reason", ["", " \n ", "x" * 1001])
def test_a_waiver_needs_a_reason_of_fair_length(refused: World, project: Project, reason: str) -> None:
    with pytest.raises(RunRefused, match="reason"):
        waivers.waive(project, Scope(), user=factories.user(), reason=reason)
    assert not Waiver.objects.exists()


def test_only_what_is_due_is_waived_and_only_in_its_project(refused: World, project: Project) -> None:
    with pytest.raises(RunRefused, match="Nothing to waive"):
        waivers.waive(project, Scope(source_ids=("A0",)), user=factories.user(), reason="x")
    with pytest.raises(RunRefused, match="Nothing to waive"):
        waivers.waive(factories.project(), Scope(), user=factories.user(), reason="x")
    with pytest.raises(RunRefused, match="No record of that choice is waived"):
        waivers.unwaive(project, Scope())


@pytest.mark.parametrize("policy", ["blank", "wait"])
def test_a_waived_record_that_comes_again_and_waits_for_a_parent(world: World, project: Project, policy: str) -> None:
    """Where the target has it by then it is linked by itself once the parent is there; else it stays waived."""
    world.add(schema("Account", "Name"), {"Id": "A1", "Name": "no"}, {"Id": "A2", "Name": "yes"})
    contacts = schema("Contact", "Name", reference("AccountId", "Account"))
    world.add(contacts, {"Id": "C1", "Name": "no", "AccountId": "A2"})
    factories.project_object(project, "Account")
    factories.project_object(project, "Contact", unresolved={"accountid": policy})
    world.refuse = lambda _, row: "No." if row["name"] == "no" else None
    drive(services.start_run(project))
    waivers.waive(project, Scope(source_ids=("C1",)), user=factories.user(), reason="Tests")
    world.records["Contact"][0].update(Name="mended", AccountId="A1")
    run = drive(services.start_run(project))
    assert run.state == RunState.COMPLETED_WITH_ERRORS, run.reason
    assert totals(run) == {"read": 3, "rejected": 1, "deferred": 1, "unchanged": 1}
    assert tracked(project, "Contact")["C1"].state == (RecordState.WAIVED if policy == "wait" else RecordState.DEFERRED)
    world.refuse = lambda *_: None
    drive(services.start_run(project))
    assert tracked(project, "Contact")["C1"].state == RecordState.LOADED
    ids = {row["target_id"]: key for key, row in world.rows["account"].items()}
    assert ids[world.rows["contact"]["C1"]["accountid"]] == "A1"
