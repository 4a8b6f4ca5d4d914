"""A mapping that gained or lost a field since we wrote: what we wrote is compared as we wrote it then."""

from collections.abc import Callable

import pytest

from connectors import registry
from connectors.types import EntityInfo, EntitySchema
from projects.models import OnConflict, OnDelete, Project
from runs import services
from runs.choices import ConflictState, RecordState, RunState
from runs.engine import wrote
from runs.models import Chunk, Conflict, Run
from tests import factories
from tests.fakes import World, failing, reference, schema
from tests.runs.test_delta import at
from tests.runs.test_engine import drive, totals, tracked

INFO = EntityInfo("Account", "Account", "Id", updated_field="Changed")


@pytest.fixture
def moving(world: World, project: Project, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(registry, "SOURCES", {"fake": "tests.runs.test_delta:ChangingSource"})
    mapped(world, "Name", "Phone", "Changed")
    world.records["Account"] = [
        {"Id": f"A{n}", "Name": f"Name {n}", "Phone": f"{n}", "Mail": f"m{n}@x", "Changed": at(8)} for n in range(4)
    ]
    factories.project_object(project, "Account")
    drive(services.start_run(project))
    return world


def mapped(world: World, *fields: str) -> None:
    """What the source has, and so a mirror maps, from now on."""
    world.schemas["Account"] = EntitySchema(INFO, schema("Account", *fields).fields)


def held(world: World, number: int) -> dict[str, str | None]:
    return {
        name: value for name, value in world.rows["account"][f"A{number}"].items() if name in ("name", "phone", "mail")
    }


def change(world: World, number: int, **values: str) -> None:
    world.records["Account"][number].update(Changed=at(20), **values)


def asked(project: Project) -> dict[str, tuple[str | None, str | None, str | None]]:
    found = Conflict.objects.filter(project=project, state=ConflictState.OPEN)
    return {f"{each.source_id}.{each.field}": (each.base, each.ours, each.theirs) for each in found}


def test_a_field_that_the_mapping_gained_makes_no_edit_of_our_own_rows(moving: World, project: Project) -> None:
    mapped(moving, "Name", "Phone", "Mail", "Changed")
    change(moving, 1, Name="New name")
    delta = drive(services.start_delta(project))
    assert (delta.state, asked(project)) == (RunState.COMPLETED, {})
    assert held(moving, 1) == {"name": "New name", "phone": "1", "mail": "m1@x"}
    assert totals(delta) == {"read": 4, "updated": 4}
    assert totals(drive(services.start_run(project))) == {"read": 4, "unchanged": 4}
    assert asked(project) == {}
    assert [held(moving, n)["mail"] for n in range(4)] == ["m0@x", "m1@x", "m2@x", "m3@x"]


def test_our_own_rows_are_told_without_opening_what_earlier_runs_carried(
    moving: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    monkeypatch.setattr(wrote, "_proven", lambda _then, chunk, _asked: opened.append(chunk.pk))
    mapped(moving, "Name", "Phone", "Mail", "Changed")
    assert totals(drive(services.start_run(project)))["updated"] == 4
    assert opened == []


def test_an_edit_is_told_from_the_gained_field_and_taken_back_with_the_rest(moving: World, project: Project) -> None:
    mapped(moving, "Name", "Phone", "Mail", "Changed")
    for number, phone in ((1, "by hand"), (2, "by hand")):
        moving.rows["account"][f"A{number}"]["phone"] = phone
        change(moving, number, Name="New name")
    change(moving, 2, Phone="changed")
    delta = drive(services.start_delta(project))
    assert held(moving, 1) == {"name": "New name", "phone": "by hand", "mail": "m1@x"}, "the edit was kept"
    assert asked(project) == {"A2.phone": ("2", "changed", "by hand")}, "and only the field that both changed is asked"
    assert held(moving, 2) == {"name": "Name 2", "phone": "by hand"}
    undone = drive(services.start_rollback(delta))
    assert undone.state == RunState.COMPLETED, undone.reason
    assert held(moving, 1) == {"name": "Name 1", "phone": "by hand", "mail": None}


def test_a_field_that_the_mapping_lost_makes_no_edit_either(moving: World, project: Project) -> None:
    mapped(moving, "Name", "Changed")
    moving.rows["account"]["A2"]["name"] = "by hand"
    for number in (1, 2):
        change(moving, number, Name="New name")
    drive(services.start_delta(project))
    assert asked(project) == {"A2.name": ("Name 2", "New name", "by hand")}
    assert held(moving, 1) == {"name": "New name", "phone": "1"}


def test_a_chain_of_mappings_is_followed_to_the_one_that_wrote(moving: World, project: Project) -> None:
    """A1 was written by the first mapping, A2 by the second; the third has another field more."""
    mapped(moving, "Name", "Phone", "Mail", "Changed")
    change(moving, 2, Name="Second")
    drive(services.start_delta(project))
    mapped(moving, "Name", "Phone", "Mail", "More", "Changed")
    for row in moving.records["Account"]:
        row["More"] = "more"
    moving.rows["account"]["A3"]["phone"] = "by hand"
    loaded = drive(services.start_run(project))
    assert (totals(loaded), asked(project)) == ({"read": 4, "updated": 4}, {})
    assert [moving.rows["account"][f"A{n}"]["more"] for n in range(4)] == ["more"] * 4
    assert held(moving, 3)["phone"] == "by hand", "the edit of what the first mapping wrote was kept"


@pytest.mark.parametrize("start", [services.start_run, services.start_delta])
def test_a_record_that_waited_is_not_edited_when_its_mapping_gained_a_field(
    world: World, project: Project, start: Callable[[Project], Run]
) -> None:
    world.add(schema("Account", "Name"), {"Id": "A0", "Name": "Parent"})
    world.add(schema("Contact", "Name", reference("AccountId", "Account")))
    world.records["Contact"] = [
        {"Id": f"C{n}", "Name": f"C {n}", "AccountId": "A1", "Mail": f"c{n}@x"} for n in range(2)
    ]
    for entity in ("Account", "Contact"):
        factories.project_object(project, entity)
    assert totals(drive(services.start_run(project))) == {"read": 3, "created": 1, "deferred": 2}
    assert world.rows["contact"]["C0"]["accountid"] is None, "it was written without its parent, and waits"
    world.records["Account"].append({"Id": "A1", "Name": "Late"})
    world.schemas["Contact"] = schema("Contact", "Name", reference("AccountId", "Account"), "Mail")
    run = drive(start(project))
    assert (run.state, asked(project)) == (RunState.COMPLETED, {}), run.reason
    assert {record.state for record in tracked(project, "Contact").values()} == {RecordState.LOADED}
    parent = world.rows["account"]["A1"]["target_id"]
    rows = world.rows["contact"]
    assert [(rows[name]["name"], rows[name]["accountid"], rows[name]["mail"]) for name in ("C0", "C1")] == [
        ("C 0", parent, "c0@x"),
        ("C 1", parent, "c1@x"),
    ]


@pytest.mark.parametrize("fields", [("Name", "Phone", "Mail", "Changed"), ("Name", "Changed")], ids=["gained", "lost"])
def test_a_deletion_is_mirrored_under_a_changed_mapping_but_for_edits(
    moving: World, project: Project, fields: tuple[str, ...]
) -> None:
    project.project_objects.update(on_delete=OnDelete.MIRROR, on_conflict=OnConflict.ASK)
    project.delete_stop_percent = 100
    project.save()
    mapped(moving, *fields)
    moving.rows["account"]["A2"]["name"] = "by hand"
    del moving.records["Account"][1:3]
    delta = drive(services.start_delta(project))
    assert sorted(moving.rows["account"]) == ["A0", "A2", "A3"], delta.reason
    assert list(asked(project)) == ["A2."]


def test_what_cannot_be_proven_is_asked(moving: World, project: Project) -> None:
    """Its contents are gone and the hash does not tell: the field may have been edited or not."""
    mapped(moving, "Name", "Changed")
    change(moving, 1, Name="New name")
    Chunk.objects.filter(run=Run.objects.earliest("pk")).update(month=None)
    drive(services.start_delta(project))
    assert asked(project).keys() >= {"A1.name"}


def test_interrupted_deltas_under_a_changed_mapping_ask_nothing(moving: World, project: Project) -> None:
    mapped(moving, "Name", "Phone", "Mail", "Changed")
    change(moving, 1, Name="New name")
    moving.after_write = failing(1, RuntimeError("gone"))
    run = drive(services.start_delta(project))
    services.resume_run(run)
    assert drive(run).state == RunState.COMPLETED
    assert asked(project) == {}


def test_an_edit_of_a_record_that_was_written_while_it_waited_is_told_from_its_new_parent(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What we wrote had no parent; made again today it has one. Only what a person changed is theirs."""
    monkeypatch.setattr(registry, "SOURCES", {"fake": "tests.runs.test_delta:ChangingSource"})
    region = EntityInfo("Region", "Region", "Id", updated_field="Changed")
    world.schemas["Region"] = EntitySchema(region, schema("Region", "Name", "Changed").fields)
    fields = schema("Account", "Name", "Phone", "Changed", reference("RegionId", "Region")).fields
    world.schemas["Account"] = EntitySchema(INFO, fields)
    child: dict[str, str | None] = {"Id": "A0", "Name": "Child", "Phone": "0", "RegionId": "R1", "Changed": at(8)}
    world.records["Account"] = [child]
    for entity in ("Region", "Account"):
        factories.project_object(project, entity)
    assert totals(drive(services.start_run(project))) == {"read": 1, "deferred": 1}
    world.rows["account"]["A0"]["phone"] = "by hand"
    child.update(Name="Changed", Changed=at(20))
    world.records["Region"].append({"Id": "R1", "Name": "North", "Changed": at(20)})
    drive(services.start_delta(project))
    assert asked(project) == {}
    row = world.rows["account"]["A0"]
    assert (row["name"], row["phone"]) == ("Changed", "by hand"), "each side's change, where only it made one"
    assert row["regionid"] is not None
