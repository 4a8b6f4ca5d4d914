"""Edits made in the target since we wrote: field by field, by policy, or by a person's decision."""

import pytest

from connectors.errors import Unavailable
from connectors.types import EntityInfo, EntitySchema
from projects.models import OnConflict, Project
from runs import conflicts, services
from runs.choices import ConflictState, RecordState, RunState
from runs.models import Conflict, Finding
from tests import factories
from tests.fakes import World, failing, reference, schema
from tests.runs.test_delta import at
from tests.runs.test_engine import drive, totals, tracked


@pytest.fixture
def moving(world: World, project: Project, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("connectors.registry.SOURCES", {"fake": "tests.runs.test_delta:ChangingSource"})
    info = EntityInfo("Account", "Account", "Id", updated_field="Changed")
    fields = schema("Account", "Name", "Phone", "City", "Changed").fields
    rows = ({"Id": f"A{n}", "Name": f"Name {n}", "Phone": f"{n}", "City": "Berlin", "Changed": at(8)} for n in range(4))
    world.add(EntitySchema(info, fields), *rows)
    factories.project_object(project, "Account")
    drive(services.start_run(project))
    return world


def change(world: World, number: int, hour: int = 20, **values: str) -> None:
    world.records["Account"][number].update(Changed=at(hour), **values)


def row(world: World, number: int) -> tuple[str, str, str]:
    held = world.rows["account"][f"A{number}"]
    return held["name"], held["phone"], held["city"]


def open_fields(project: Project) -> dict[str, tuple[str | None, str | None, str | None]]:
    found = Conflict.objects.filter(project=project, state=ConflictState.OPEN)
    return {each.field: (each.base, each.ours, each.theirs) for each in found}


def test_each_side_keeps_what_it_alone_changed(moving: World, project: Project) -> None:
    moving.rows["account"]["A1"]["phone"] = "by hand"
    change(moving, 1, Name="New name")
    run = drive(services.start_delta(project))
    assert row(moving, 1) == ("New name", "by hand", "Berlin")
    assert run.state == RunState.COMPLETED, run.reason
    assert tracked(project, "Account")["A1"].state == RecordState.LOADED
    # Again and again: the kept edit stays one, and a later change of that field is a question.
    change(moving, 1, 21, City="Bonn")
    drive(services.start_delta(project))
    assert row(moving, 1) == ("New name", "by hand", "Bonn")
    change(moving, 1, 22, Phone="new phone", City="Ulm")
    assert totals(drive(services.start_delta(project)))["conflicts"] == 1
    assert open_fields(project) == {"phone": ("1", "new phone", "by hand")}
    assert row(moving, 1) == ("New name", "by hand", "Bonn")


def test_records_that_come_in_another_order_are_compared_each_with_its_own(moving: World, project: Project) -> None:
    """All records of the chunk that wrote them, so that nothing of what it wrote is left out on the way."""
    for number in range(3):
        moving.rows["account"][f"A{number}"]["phone"] = "by hand"
        change(moving, number, Name="New name")
    moving.records["Account"].reverse()
    drive(services.start_delta(project))
    assert not open_fields(project)
    assert {row(moving, number) for number in range(3)} == {("New name", "by hand", "Berlin")}


def test_a_full_load_does_not_take_a_kept_edit_back_either(moving: World, project: Project) -> None:
    moving.rows["account"]["A1"]["phone"] = "by hand"
    change(moving, 1, Name="New name")
    drive(services.start_delta(project))
    assert totals(drive(services.start_run(project))) == {"read": 4, "unchanged": 4}
    assert row(moving, 1) == ("New name", "by hand", "Berlin")


def test_both_sides_changing_a_field_to_the_same_value_is_no_conflict(moving: World, project: Project) -> None:
    moving.rows["account"]["A1"]["phone"] = "same"
    change(moving, 1, Phone="same", Name="New name")
    assert drive(services.start_delta(project)).state == RunState.COMPLETED
    assert row(moving, 1) == ("New name", "same", "Berlin")
    assert not open_fields(project)


@pytest.mark.parametrize(("policy", "phone"), [(OnConflict.SOURCE, "source"), (OnConflict.TARGET, "hand")])
def test_the_policy_of_a_field_outweighs_that_of_its_object(
    moving: World, project: Project, policy: str, phone: str
) -> None:
    project.project_objects.update(field_policies={"phone": policy})
    moving.rows["account"]["A1"].update(phone="hand")
    change(moving, 1, Phone="source", Name="New name")
    drive(services.start_delta(project))
    assert row(moving, 1) == ("New name", phone, "Berlin")
    moving.rows["account"]["A2"].update(phone="hand", city="hand")
    change(moving, 2, Phone="source", City="source")
    drive(services.start_delta(project))
    assert row(moving, 2) == ("Name 2", "hand", "hand")
    assert open_fields(project) == {"city": ("Berlin", "source", "hand")}


def conflicted(moving: World, project: Project) -> None:
    for number in (1, 2):
        moving.rows["account"][f"A{number}"].update(phone="hand", city="hand")
        change(moving, number, Phone="source", City="source", Name="New name")
    assert totals(drive(services.start_delta(project)))["conflicts"] == 2


def test_decisions_are_applied_by_the_next_delta(moving: World, project: Project) -> None:
    conflicted(moving, project)
    person = factories.user()
    assert conflicts.decide(project, "source", user=person, field="phone") == 2
    # A record with an open question waits for its last answer.
    drive(services.start_delta(project))
    assert row(moving, 1) == ("Name 1", "hand", "hand")
    assert conflicts.decide(project, "target", user=person, source_ids=["A1"]) == 1
    assert totals(drive(services.start_delta(project))) == {"read": 2, "updated": 1, "conflicts": 1}
    assert row(moving, 1) == ("New name", "source", "hand")
    assert row(moving, 2) == ("Name 2", "hand", "hand")
    assert tracked(project, "Account")["A1"].state == RecordState.LOADED
    kept = Conflict.objects.get(source_id="A1", field="city")
    assert (kept.state, kept.decision, kept.decided_by) == (ConflictState.APPLIED, "target", person)


def test_or_by_a_run_that_only_applies_them(moving: World, project: Project) -> None:
    conflicted(moving, project)
    with pytest.raises(services.RunRefused, match="Nothing is decided"):
        conflicts.start_applying(project)
    conflicts.decide(project, "source", user=factories.user())
    run = drive(conflicts.start_applying(project))
    assert totals(run) == {"read": 2, "updated": 2}
    assert row(moving, 1) == row(moving, 2) == ("New name", "source", "source")
    assert run.state == RunState.COMPLETED, run.reason


def test_a_decision_holds_only_for_the_values_it_was_made_about(moving: World, project: Project) -> None:
    conflicted(moving, project)
    conflicts.decide(project, "source", user=factories.user())
    moving.rows["account"]["A1"]["phone"] = "hand again"
    drive(services.start_delta(project))
    assert row(moving, 1) == ("Name 1", "hand again", "hand")
    assert open_fields(project) == {"phone": ("1", "source", "hand again")}
    assert row(moving, 2) == ("New name", "source", "source")


def test_a_decision_may_be_taken_back_until_it_is_applied(moving: World, project: Project) -> None:
    conflicted(moving, project)
    conflicts.decide(project, "source", user=factories.user())
    assert conflicts.reopen(project) == 4
    drive(services.start_delta(project))
    assert row(moving, 1) == ("Name 1", "hand", "hand")
    assert len(open_fields(project)) == 2


@pytest.mark.parametrize("moment", ["before_write", "after_write"])
def test_an_interrupted_merge_ends_the_same(moving: World, project: Project, moment: str) -> None:
    moving.rows["account"]["A1"]["phone"] = "by hand"
    change(moving, 1, Name="New name")
    setattr(moving, moment, failing(3, Unavailable("The target did not answer.")))
    run = drive(services.start_delta(project))
    assert row(moving, 1) == ("New name", "by hand", "Berlin")
    assert run.state == RunState.COMPLETED, run.reason
    assert not Finding.objects.filter(run=run).exists()


def test_what_we_wrote_is_unknown_once_its_contents_are_gone(
    moving: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then every field that differs is a question: better asked once too often than overwritten."""
    monkeypatch.setattr("runs.engine.wrote._proven", lambda *_: None)
    moving.rows["account"]["A1"]["phone"] = "by hand"
    change(moving, 1, Name="New name")
    drive(services.start_delta(project))
    assert row(moving, 1) == ("Name 1", "by hand", "Berlin")
    asked = {each.field: each.base_known for each in Conflict.objects.all()}
    assert asked == dict.fromkeys(("name", "phone", "changed"), False)


def test_a_rollback_restores_what_was_there_and_spares_later_edits(moving: World, project: Project) -> None:
    for number in (1, 2):
        moving.rows["account"][f"A{number}"]["phone"] = "by hand"
        change(moving, number, Name="New name")
    undone = drive(services.start_delta(project))
    moving.rows["account"]["A2"]["city"] = "later"
    drive(services.start_rollback(undone))
    assert row(moving, 1) == ("Name 1", "by hand", "Berlin")
    assert row(moving, 2) == ("New name", "by hand", "later")
    assert Finding.objects.get(rule="edited").field == "city"


def test_a_kept_edit_survives_the_linking_of_a_late_parent(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.registry.SOURCES", {"fake": "tests.runs.test_delta:ChangingSource"})
    info = EntityInfo("Account", "Account", "Id", updated_field="Changed")
    fields = schema("Account", "Name", "Phone", reference("ParentId", "Account"), "Changed").fields
    one = {"Id": "A1", "Name": "One", "Phone": "1", "Changed": at(8)}
    world.add(EntitySchema(info, fields), one)
    factories.project_object(project, "Account")
    drive(services.start_run(project))
    world.rows["account"]["A1"]["phone"] = "by hand"
    world.records["Account"][0].update(ParentId="A2", Name="New", Changed=at(20))
    world.records["Account"].append({"Id": "A2", "Name": "Two", "Phone": "2", "ParentId": None, "Changed": at(21)})
    run = drive(services.start_delta(project))
    held = world.rows["account"]["A1"]
    parent = world.rows["account"]["A2"]["target_id"]
    assert (held["name"], held["phone"], held["parentid"]) == ("New", "by hand", parent)
    assert run.state == RunState.COMPLETED, run.reason
