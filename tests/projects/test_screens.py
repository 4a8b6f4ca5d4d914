"""The pages of projects: making one, choosing objects, and the tables mapping experts take out and bring in."""

import csv
import io
import re
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client, override_settings
from django.urls import reverse

from connectors.errors import Unavailable
from projects.mapping import codec
from projects.mapping.specification import Field
from projects.models import FieldMapping, Project, ValueMap
from projects.tables import FieldMappingTable, ValueMapTable
from tests import factories
from tests.fakes import FakeSource, World, schema

pytestmark = pytest.mark.django_db
RULE = codec.encode_rule(Field("Name"))


@pytest.fixture
def boss() -> Client:
    client = Client()
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        client.force_login(factories.user(superuser=True))
    return client


def text(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return str(answer.content.decode())


def page_of(project: Project, name: str = "change") -> str:
    return reverse(f"admin:projects_project_{name}", args=[project.pk])


# --- Projects -------------------------------------------------------------------------------------------------
def entry(**changes: Any) -> dict[str, Any]:
    owner = factories.customer()
    source, target = factories.org(customer=owner, role="source"), factories.org(customer=owner, role="target")
    return {"name": "Move", "customer": owner.pk, "source": source.pk, "target": target.pk, **changes}


def test_a_project_is_made_and_its_page_names_the_next_step(boss: Client) -> None:
    answer = boss.post(reverse("admin:projects_project_add"), entry(mirror="on"), follow=True)
    project = Project.objects.get()
    assert project.mirror
    shown = answer.content.decode()
    assert "Choose its objects next." in shown
    assert "No objects yet" in shown
    assert "Start run" not in shown


def test_what_cannot_be_a_project_is_said_at_the_form(boss: Client) -> None:
    other = factories.org(role="source")
    address = reverse("admin:projects_project_add")
    shown = boss.post(address, entry(source=other.pk)).content.decode()
    assert "belongs to another customer" in shown
    assert "This field is required" in boss.post(address, entry(name="")).content.decode()
    both = entry()
    same = factories.org(role="both")
    assert boss.post(address, {**both, "source": same.pk, "target": same.pk}).status_code == 200
    boss.post(address, both)
    assert "has a project of that name" in boss.post(address, {**both, "name": "MOVE"}).content.decode()
    assert Project.objects.count() == 1


def test_the_list_shows_projects_and_no_way_to_delete_them_wholesale(boss: Client) -> None:
    project = factories.project()
    shown = text(boss, reverse("admin:projects_project_changelist"))
    assert project.name in shown
    assert "delete_selected" not in shown


def test_a_mirror_takes_over_the_chosen_entities(boss: Client, world: World) -> None:
    for name in ("Account", "Contact", "Case"):
        world.add(schema(name, "Name"))
    project = factories.project()
    shown = text(boss, page_of(project, "objects"))
    assert all(f'value="{name}"' in shown for name in ("Account", "Contact", "Case"))
    assert "Choose at least one" in boss.post(page_of(project, "objects")).content.decode()
    boss.post(page_of(project, "objects"), {"entity": ["Account", "Case"]})
    assert (
        "not an object of this project"
        in boss.post(page_of(project, "objects"), {"entity": ["Account"]}).content.decode()
    )
    assert [each.source_entity for each in project.project_objects.all()] == ["Account", "Case"]
    shown = text(boss, page_of(project, "objects"))
    assert 'value="Contact"' in shown
    assert 'value="Account"' not in shown
    assert "no entity “Nothing”" in boss.post(page_of(project, "objects"), {"entity": ["Nothing"]}).content.decode()


def test_a_source_out_of_reach_is_told(boss: Client, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: FakeSource) -> None:
        raise Unavailable("The source does not answer; try again later.")

    monkeypatch.setattr(FakeSource, "entities", fail)
    project = factories.project()
    assert "The source does not answer" in text(boss, page_of(project, "objects"))
    assert "could not be asked" in text(boss, page_of(project, "objects"))


def test_a_platform_without_packaged_mappings_says_so(boss: Client, world: World) -> None:
    project = factories.project(mirror=False)
    assert "No mapping is packaged" in text(boss, page_of(project, "objects"))
    shown = boss.post(page_of(project, "objects"), {"model": "product"}).content.decode()
    assert "is packaged" in shown


# --- Tables ---------------------------------------------------------------------------------------------------
def upload(rows: list[dict[str, Any]]) -> SimpleUploadedFile:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return SimpleUploadedFile("table.csv", buffer.getvalue().encode(), "text/csv")


def exported(client: Client, kind: str) -> list[dict[str, str]]:
    answer = client.post(reverse(f"admin:projects_{kind}_export"), {"format": "0", "resource": "0"})
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.content.decode())))


def brought_in(client: Client, kind: str, rows: list[dict[str, Any]], *, confirm: bool = True) -> str:
    """Bring the rows in; returns the preview."""
    preview = client.post(
        reverse(f"admin:projects_{kind}_import"), {"import_file": upload(rows), "format": "0", "resource": "0"}
    )
    if confirm and "confirm_form" in preview.context:
        client.post(reverse(f"admin:projects_{kind}_process_import"), preview.context["confirm_form"].initial)
    return str(preview.content.decode())


def test_value_maps_go_out_and_come_back_with_a_preview(boss: Client) -> None:
    kept = ValueMap.objects.create(project=factories.project(), name="status", entries={"New": "open"})
    rows = exported(boss, "valuemap")
    assert rows == [{"project": str(kept.project_id), "name": "status", "entries": '{"New": "open"}'}]
    rows[0]["entries"] = '{"New": "open", "Dead": null}'
    rows.append({"project": str(kept.project_id), "name": "second", "entries": '{"a": "b"}'})
    preview = brought_in(boss, "valuemap", rows, confirm=False)
    assert "Dead" in re.sub(r"</?ins[^>]*>", "", preview)
    kept.refresh_from_db()
    assert kept.entries == {"New": "open"}
    brought_in(boss, "valuemap", rows)
    kept.refresh_from_db()
    assert kept.entries == {"New": "open", "Dead": None}
    assert ValueMap.objects.filter(name="second").exists()


@pytest.mark.parametrize(
    ("entries", "said"), [("[1]", "JSON object"), ('{"a": 1}', "must be text"), ("{broken", "not JSON")]
)
def test_a_value_map_that_no_rule_could_use_is_refused(boss: Client, entries: str, said: str) -> None:
    row = {"project": str(factories.project().pk), "name": "status", "entries": entries}
    assert said in brought_in(boss, "valuemap", [row])
    assert not ValueMap.objects.exists()


def test_rules_go_out_and_come_back(boss: Client) -> None:
    chosen = factories.project_object(factories.project(mirror=False), "Account")
    kept = FieldMapping.objects.create(object=chosen, half="target", target="name", rule=RULE)
    (row,) = exported(boss, "fieldmapping")
    assert row["maps"] == str(chosen)
    row["rule"] = '{"rule": "constant", "value": "x"}'
    brought_in(boss, "fieldmapping", [row])
    kept.refresh_from_db()
    assert kept.rule == {"rule": "constant", "value": "x"}
    row["rule"] = '{"rule": "nonsense"}'
    assert "unknown kind" in brought_in(boss, "fieldmapping", [row])
    kept.refresh_from_db()
    assert kept.rule == {"rule": "constant", "value": "x"}


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "'quoted", "plain"])
def test_no_cell_is_a_formula_and_the_text_comes_back_whole(boss: Client, name: str) -> None:
    kept = ValueMap.objects.create(project=factories.project(), name=name, entries={})
    (row,) = exported(boss, "valuemap")
    assert row["name"][0] not in "=+-@"
    row["entries"] = '{"a": "b"}'
    brought_in(boss, "valuemap", [row])
    kept.refresh_from_db()
    assert (kept.name, kept.entries) == (name, {"a": "b"})
    assert ValueMap.objects.count() == 1


def test_only_what_a_person_may_see_goes_out_or_is_written_to() -> None:
    chosen = factories.project_object(factories.project(mirror=False), "Account")
    FieldMapping.objects.create(object=chosen, half="target", target="name", rule=RULE)
    outsider = factories.user("projects.change_fieldmapping")
    assert FieldMappingTable(viewer=outsider).export().dict == []
    assert ValueMapTable().export().dict == []


def test_bringing_in_needs_the_permission_to_change(boss: Client) -> None:
    client = Client()
    client.force_login(factories.user("projects.view_valuemap"))
    assert client.get(reverse("admin:projects_valuemap_changelist")).status_code == 200
    assert client.get(reverse("admin:projects_valuemap_import")).status_code == 403
    client.force_login(factories.user())
    assert client.get(reverse("admin:projects_valuemap_export")).status_code == 403


@pytest.mark.parametrize("kind", ["fieldmapping", "valuemap", "projectobject"])
def test_experts_edit_by_hand_and_nonsense_is_refused(boss: Client, kind: str) -> None:
    chosen = factories.project_object(factories.project(mirror=False), "Account")
    mapping = FieldMapping.objects.create(object=chosen, half="target", target="name", rule=RULE)
    value_map = ValueMap.objects.create(project=chosen.project, name="status", entries={})
    row, body, said = {
        "fieldmapping": (
            mapping,
            {"object": chosen.pk, "half": "target", "target": "name", "rule": '{"rule": 1}', "position": 0},
            "unknown kind",
        ),
        "valuemap": (value_map, {"project": chosen.project_id, "name": "status", "entries": "[1]"}, "JSON object"),
        "projectobject": (chosen, {"position": "x", "enabled": "on"}, "whole number"),
    }[kind]
    address = reverse(f"admin:projects_{kind}_change", args=[row.pk])
    assert text(boss, address)
    assert said in boss.post(address, body).content.decode()
    assert text(boss, reverse(f"admin:projects_{kind}_changelist"))


# --- An object's rules by field ------------------------------------------------------------------------------
def object_entry(**changes: str) -> dict[str, str]:
    return {"position": "0", "on_conflict": "ask", "on_delete": "ignore", "enabled": "on", **changes}


def test_an_objects_rules_are_written_one_per_line(boss: Client) -> None:
    chosen = factories.project_object(factories.project(mirror=False), "Account")
    address = reverse("admin:projects_projectobject_change", args=[chosen.pk])
    given = object_entry(
        field_policies="phone: target\n\n odd:name : source",
        match_fields="Email\r\nAccountId",
        unresolved="AccountId: wait",
        equality="Email: case, trailing_blanks\nNotes: exact",
    )
    assert boss.post(address, given).status_code == 302
    chosen.refresh_from_db()
    assert chosen.field_policies == {"phone": "target", "odd:name": "source"}
    assert chosen.match_fields == ["Email", "AccountId"]
    assert chosen.unresolved == {"AccountId": "wait"}
    assert chosen.equality == {"Email": ["case", "trailing_blanks"], "Notes": []}
    shown = text(boss, address)
    assert "phone: target\nodd:name: source</textarea>" in shown
    assert "Email: case, trailing_blanks\nNotes: exact</textarea>" in shown
    assert "{&quot;" not in shown
    emptied = dict.fromkeys(("field_policies", "match_fields", "unresolved", "equality"), "")
    assert boss.post(address, object_entry(**emptied)).status_code == 302
    chosen.refresh_from_db()
    assert (chosen.field_policies, chosen.match_fields, chosen.unresolved, chosen.equality) == ({}, [], {}, {})


@pytest.mark.parametrize(
    ("field", "written", "said"),
    [
        ("field_policies", "phone", "“phone”: write the field, a colon and one of ask, target, source."),
        ("field_policies", "phone: nobody", "“phone: nobody”: behind the field stands one of"),
        ("field_policies", "phone: ask\nphone: source", "“phone” stands there twice."),
        ("match_fields", "Email\nEmail", "A field stands there twice."),
        ("unresolved", "AccountId: hope", "one of wait, blank, drop, keep, reject."),
        ("equality", "Email: nearly", "unknown rule “nearly”"),
        ("equality", ": case", "write the field, a colon and rules parted by commas."),
    ],
)
def test_a_line_that_makes_no_sense_is_named_and_kept(boss: Client, field: str, written: str, said: str) -> None:
    chosen = factories.project_object(factories.project(mirror=False), "Account")
    answer = boss.post(
        reverse("admin:projects_projectobject_change", args=[chosen.pk]), object_entry(**{field: written})
    )
    shown = answer.content.decode()
    assert answer.status_code == 200
    assert said in shown
    assert f"{written}</textarea>" in shown
