"""References: by id, key and name, to several entities, to oneself, in cycles; and what becomes of those left open."""

from collections.abc import Mapping
from typing import Any

import pytest

from projects.mapping.specification import KEY, Field, FieldRule, ObjectMapping, Reference, Rule, Unresolved
from projects.models import Project
from projects.services import save_mapping
from runs import services
from runs.choices import RecordState, RunState
from runs.ledger import Scope
from runs.models import Finding, Run
from tests import factories
from tests.fakes import World, reference, schema
from tests.runs.test_engine import drive, totals, tracked

ACCOUNTS = schema("Account", "Name")
CONTACTS = schema("Contact", "Name", reference("AccountId", "Account"))
LATE = "accountid waits for Account A1, which was rejected."


def refuse(world: World, *names: str) -> None:
    world.refuse = lambda _, row: "No." if row.get("name") in names else None


def two_accounts(world: World, project: Project, policy: str | None = None, **given: Any) -> None:
    """Two accounts, of which the target refuses the second, and a contact of each."""
    world.add(ACCOUNTS, {"Id": "A0", "Name": "Acme"}, {"Id": "A1", "Name": "Late"})
    world.add(CONTACTS, *({"Id": f"C{n}", "Name": f"C {n}", "AccountId": f"A{n}"} for n in range(2)))
    factories.project_object(project, "Account")
    factories.project_object(project, "Contact", unresolved={"accountid": policy} if policy else {}, **given)
    refuse(world, "Late")


def notes(run: Run) -> list[tuple[str, str]]:
    return list(Finding.objects.filter(run=run, severity="note").values_list("source_id", "rule"))


# --- policies -------------------------------------------------------------------------------------------------


def test_a_record_that_waits_is_not_written_before_its_parent(world: World, project: Project) -> None:
    two_accounts(world, project, "wait")
    run = drive(services.start_run(project))
    assert totals(run) == {"read": 4, "created": 2, "rejected": 1, "deferred": 1}
    assert list(world.rows["contact"]) == ["C0"]
    assert (tracked(project, "Contact")["C1"].state, tracked(project, "Contact")["C1"].reason) == ("deferred", LATE)


def test_a_dropped_field_leaves_a_note_and_the_parents_status(world: World, project: Project) -> None:
    two_accounts(world, project, "drop")
    run = drive(services.start_run(project))
    assert world.rows["contact"]["C1"]["accountid"] is None
    assert notes(run) == [("C1", "reference_dropped")]
    assert (tracked(project, "Contact")["C1"].state, tracked(project, "Contact")["C1"].reason) == ("deferred", LATE)


def test_a_kept_value_is_the_sources_own(world: World, project: Project) -> None:
    two_accounts(world, project, "keep")
    run = drive(services.start_run(project))
    assert world.rows["contact"]["C1"]["accountid"] == "A1"
    assert notes(run) == [("C1", "reference_kept")]
    assert (tracked(project, "Contact")["C1"].state, tracked(project, "Contact")["C1"].reason) == ("deferred", LATE)


def test_a_rejected_record_says_where_its_parent_stands(world: World, project: Project) -> None:
    two_accounts(world, project, "reject")
    run = drive(services.start_run(project))
    assert totals(run) == {"read": 4, "created": 2, "rejected": 2}
    record = tracked(project, "Contact")["C1"]
    assert (record.state, record.code) == ("rejected", "unresolved_reference")
    assert record.reason == "accountid: It points at Account A1, which was rejected."


def test_without_a_policy_the_field_stays_blank_and_the_record_waits(world: World, project: Project) -> None:
    two_accounts(world, project)
    run = drive(services.start_run(project))
    assert world.rows["contact"]["C1"]["accountid"] is None
    assert notes(run) == []
    assert tracked(project, "Contact")["C1"].reason == LATE


def test_a_policy_for_what_is_no_reference_stops_the_run(world: World, project: Project) -> None:
    two_accounts(world, project, None)
    project.project_objects.filter(source_entity="Contact").update(unresolved={"name": "wait"})
    run = drive(services.start_run(project))
    assert run.state == RunState.FAILED
    assert "It has a policy for parents that are not there, and is no reference." in run.reason


# --- the parent comes later -----------------------------------------------------------------------------------

POLICIES = pytest.mark.parametrize("policy", [None, "wait", "drop", "keep"])


def complete(world: World, project: Project, run: Run) -> None:
    assert world.rows["contact"]["C1"]["accountid"] == world.rows["account"]["A1"]["target_id"]
    assert tracked(project, "Contact")["C1"].state == RecordState.LOADED
    assert run.state == RunState.COMPLETED
    assert notes(run) == []


@POLICIES
def test_children_resolve_when_a_load_brings_the_parent(world: World, project: Project, policy: str | None) -> None:
    two_accounts(world, project, policy)
    drive(services.start_run(project))
    refuse(world)
    complete(world, project, drive(services.start_run(project)))


@POLICIES
def test_children_resolve_when_a_retry_brings_the_parent(world: World, project: Project, policy: str | None) -> None:
    two_accounts(world, project, policy)
    drive(services.start_run(project))
    refuse(world)
    complete(world, project, drive(services.start_retry(project)))


@POLICIES
def test_children_resolve_by_themselves_when_only_the_parent_is_retried(
    world: World, project: Project, policy: str | None
) -> None:
    two_accounts(world, project, policy)
    drive(services.start_run(project))
    refuse(world)
    account = project.project_objects.get(source_entity="Account")
    complete(world, project, drive(services.start_retry(project, Scope(objects=(account.pk,)))))


def test_a_retry_that_brings_no_parent_leaves_the_children_alone(world: World, project: Project) -> None:
    two_accounts(world, project)
    drive(services.start_run(project))
    account = project.project_objects.get(source_entity="Account")
    world.writes.clear()
    run = drive(services.start_retry(project, Scope(objects=(account.pk,))))
    assert totals(run) == {"read": 1, "rejected": 1}
    assert world.writes == [("account", 1)]
    assert tracked(project, "Contact")["C1"].reason == LATE


# --- by key, by name ------------------------------------------------------------------------------------------


def rules(project: Project, entity: str, fields: Mapping[str, Rule], **given: Any) -> None:
    """An object by rules, keyed by the source's id in the field ``key``."""
    to_target = (FieldRule("key", Field("Id")), *(FieldRule(name, rule) for name, rule in fields.items()))
    mapping = ObjectMapping(entity, entity.lower(), "Id", "key", to_target, **given)
    save_mapping(project, mapping, project.project_objects.count())


def by_rules(world: World, how: Reference, **columns: str) -> Project:
    """Accounts, and one contact whose field ``Of`` names its account."""
    project = factories.project(mirror=False)
    world.target_schemas["account"] = schema("account", "key", "name", id_field="id")
    world.target_schemas["contact"] = schema("contact", "key", reference("account", "account"), id_field="id")
    world.add(ACCOUNTS, {"Id": "A0", "Name": "Acme"}, {"Id": "A1", "Name": "Beta"})
    world.add(schema("Contact", "Of"), {"Id": "C0", **columns})
    rules(project, "Account", {"name": Field("Name")})
    rules(project, "Contact", {"account": how})
    return project


def test_a_parent_is_found_by_its_external_id(world: World, db: None) -> None:
    project = by_rules(world, Reference(Field("Of"), ("Account",), by=KEY), Of="A1")
    assert drive(services.start_run(project)).state == RunState.COMPLETED
    assert world.rows["contact"]["C0"]["account"] == world.rows["account"]["A1"]["target_id"]


def test_a_parent_is_found_by_its_name_as_the_target_compares(world: World, db: None) -> None:
    world.ignores_case = True
    project = by_rules(world, Reference(Field("Of"), ("Account",), by="name"), Of="BETA")
    assert drive(services.start_run(project)).state == RunState.COMPLETED
    assert world.rows["contact"]["C0"]["account"] == world.rows["account"]["A1"]["target_id"]


def test_a_parent_that_was_there_before_is_found_by_its_name(world: World, db: None) -> None:
    project = by_rules(world, Reference(Field("Of"), ("Account",), by="name"), Of="Old hand")
    world.rows["account"]["old"] = {"target_id": "old-1", "key": None, "name": "Old hand"}
    drive(services.start_run(project))
    assert world.rows["contact"]["C0"]["account"] == "old-1"


def test_a_name_that_several_have_stops_the_record_with_the_candidates(world: World, db: None) -> None:
    project = by_rules(world, Reference(Field("Of"), ("Account",), by="name"), Of="Twin")
    for number in (1, 2):
        world.rows["account"][f"t{number}"] = {"target_id": f"twin-{number}", "key": None, "name": "Twin"}
    drive(services.start_run(project))
    record = tracked(project, "Contact")["C0"]
    assert (record.state, record.code) == ("rejected", "ambiguous_reference")
    assert record.reason == "account: Several records of Account answer to “Twin”: twin-1, twin-2."
    assert world.rows["contact"] == {}


@pytest.mark.parametrize("by", [KEY, "name"])
def test_a_name_nobody_has_is_unresolved_and_completed_once_somebody_has_it(world: World, db: None, by: str) -> None:
    how = Reference(Field("Of"), ("Account",), by=by, unresolved=Unresolved.WAIT)
    project = by_rules(world, how, Of="A9")
    drive(services.start_run(project))
    record = tracked(project, "Contact")["C0"]
    assert record.reason == "account waits for Account A9, which is not in the target."
    world.records["Account"].append({"Id": "A9", "Name": "A9"})
    assert drive(services.start_run(project)).state == RunState.COMPLETED
    assert world.rows["contact"]["C0"]["account"] == world.rows["account"]["A9"]["target_id"]


# --- shapes ---------------------------------------------------------------------------------------------------


def test_a_polymorphic_reference_takes_the_entity_that_knows_the_id(world: World, db: None) -> None:
    project = factories.project(mirror=False)
    for name in ("account", "lead"):
        world.target_schemas[name] = schema(name, "key", "name", id_field="id")
        world.add(schema(name.title(), "Name"), {"Id": f"{name[0].upper()}0", "Name": name})
        rules(project, name.title(), {"name": Field("Name")})
    world.target_schemas["task"] = schema("task", "key", reference("about", "account", "lead"), id_field="id")
    world.add(schema("Task", "WhatId"), {"Id": "T0", "WhatId": "A0"}, {"Id": "T1", "WhatId": "L0"}, {"Id": "T2"})
    rules(project, "Task", {"about": Reference(Field("WhatId"), ("Account", "Lead"))})
    assert drive(services.start_run(project)).state == RunState.COMPLETED
    assert [world.rows["task"][f"T{n}"]["about"] for n in range(3)] == [
        world.rows["account"]["A0"]["target_id"],
        world.rows["lead"]["L0"]["target_id"],
        None,
    ]


def test_a_junction_row_waits_for_both_of_its_parents(world: World, project: Project) -> None:
    world.add(ACCOUNTS, {"Id": "A0", "Name": "Acme"}, {"Id": "A1", "Name": "Late"})
    world.add(schema("Product", "Name"), {"Id": "P0", "Name": "Bolt"})
    links = schema("Link", reference("AccountId", "Account"), reference("ProductId", "Product"))
    world.add(links, *({"Id": f"L{n}", "AccountId": f"A{n}", "ProductId": "P0"} for n in range(2)))
    for entity in ("Link", "Account", "Product"):
        policies = {"accountid": "wait", "productid": "wait"} if entity == "Link" else {}
        factories.project_object(project, entity, unresolved=policies)
    refuse(world, "Late")
    drive(services.start_run(project))
    assert list(world.rows["link"]) == ["L0"]
    assert tracked(project, "Link")["L1"].reason == "accountid waits for Account A1, which was rejected."
    refuse(world)
    assert drive(services.start_retry(project)).state == RunState.COMPLETED
    assert list(world.rows["link"]) == ["L0", "L1"]


@pytest.mark.parametrize("policy", ["blank", "wait"])
@pytest.mark.parametrize("page_size", [2, 10])
def test_a_chain_within_one_object_resolves_to_its_end(
    world: World, project: Project, policy: str, page_size: int
) -> None:
    """Each account's parent comes after it, on the same page or on a later one."""
    world.page_size = page_size
    accounts = schema("Account", "Name", reference("ParentId", "Account"))
    world.add(accounts, *({"Id": f"A{n}", "Name": "x", "ParentId": f"A{n + 1}" if n < 5 else None} for n in range(6)))
    factories.project_object(project, "Account", unresolved={"parentid": policy})
    run = drive(services.start_run(project))
    assert (run.state, totals(run)) == (RunState.COMPLETED, {"read": 6, "created": 6})
    rows = world.rows["account"]
    assert [rows[f"A{n}"]["parentid"] for n in range(5)] == [rows[f"A{n + 1}"]["target_id"] for n in range(5)]


def test_a_cycle_of_two_objects_is_cut_and_closed(world: World, project: Project) -> None:
    world.add(schema("Account", reference("MainId", "Contact")), {"Id": "A0", "MainId": "C0"})
    world.add(schema("Contact", reference("AccountId", "Account")), {"Id": "C0", "AccountId": "A0"})
    for entity in ("Account", "Contact"):
        factories.project_object(project, entity)
    assert drive(services.start_run(project)).state == RunState.COMPLETED
    account, contact = world.rows["account"]["A0"], world.rows["contact"]["C0"]
    assert (account["mainid"], contact["accountid"]) == (contact["target_id"], account["target_id"])


def test_records_that_wait_for_each_other_are_told_and_not_lost(world: World, project: Project) -> None:
    accounts = schema("Account", reference("ParentId", "Account"))
    world.add(accounts, {"Id": "A0", "ParentId": "A1"}, {"Id": "A1", "ParentId": "A0"})
    factories.project_object(project, "Account", unresolved={"parentid": "wait"})
    run = drive(services.start_run(project))
    assert totals(run) == {"read": 2, "deferred": 2}
    assert tracked(project, "Account")["A0"].reason == "parentid waits for Account A1, which is not in the target yet."
