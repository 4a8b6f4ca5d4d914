"""The operator's path in four steps, and the pages of what orgs hold and how they differ."""

import json
import re
from collections.abc import Sequence
from html import unescape
from urllib.parse import urljoin

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from connectors.errors import AuthenticationFailed, Unavailable
from connectors.types import Automation, AutomationKind, Capabilities, Condition, FieldInfo, Identity, Inventory
from orgs.models import Org
from projects import readiness
from projects.models import FieldMapping, Project
from runs.drivers import drive_here
from runs.services import start_run
from tests import factories
from tests.fakes import FakeSource, FakeTarget, World, reference, schema
from tests.runs.screens import signed_in, text

pytestmark = pytest.mark.django_db
KEY = FieldInfo("External_Id__c", external_id=True, unique=True)
OPERATOR = (
    "orgs.view_org", "orgs.view_customer", "projects.view_project", "projects.add_project", "projects.change_project",
    "projects.view_objectdefinition", "runs.view_run", "runs.control_run",
)  # fmt: skip
TRIGGER = Automation(AutomationKind.TRIGGER, "Rule", "Guard", active=True)


@pytest.fixture
def world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Rules and points that fit; a stray object that the target does not have."""
    world.add(schema("Rule", "Name"), *({"Id": f"R{n}", "Name": f"Rule {n}"} for n in range(3)))
    point = schema("Point", "Name", reference("Rule__c", "Rule"))
    world.add(point, {"Id": "P1", "Name": "Point", "Rule__c": "R1"})
    world.add(schema("Stray", "Name"), {"Id": "S1"})
    world.target_schemas = {"Rule": schema("Rule", "Name", KEY), "Point": schema("Point", *point.fields, KEY)}

    def inventory(_: object, entities: Sequence[str]) -> Inventory:
        return Inventory(dict.fromkeys(entities, 3), (TRIGGER,), ("The flows could not be read.",))

    def narrow(_: FakeSource, entity: str, conditions: Sequence[Condition]) -> None:
        assert entity or conditions

    monkeypatch.setattr(FakeSource, "inventory", inventory)
    monkeypatch.setattr(FakeTarget, "inventory", inventory)
    monkeypatch.setattr(FakeSource, "narrow", narrow)
    monkeypatch.setattr(FakeSource, "capabilities", Capabilities(reads=True, counts=True, filters=True))
    return world


@pytest.fixture
def operator() -> Client:
    return signed_in(*OPERATOR)


@pytest.fixture
def pair() -> tuple[Org, Org]:
    customer = factories.customer(name="Acme")
    return (
        factories.org(customer=customer, role="source", name="Old"),
        factories.org(customer=customer, role="target", name="New"),
    )


@pytest.fixture
def project(world: World, pair: tuple[Org, Org]) -> Project:
    return factories.project(customer=pair[0].customer, source=pair[0], target=pair[1], mirror=False, name="Move")


def at(name: str, *arguments: int) -> str:
    return reverse(f"admin:projects_{name}", args=arguments)


# --- Source and target ----------------------------------------------------------------------------------------
def test_the_first_two_steps_lead_to_a_project(operator: Client, world: World, pair: tuple[Org, Org]) -> None:
    source, target = pair
    stranger = factories.org(role="target", name="Stranger")
    shown = text(operator, at("path_source"))
    assert "Old" in shown
    assert "New" not in shown
    answer = operator.post(at("path_source"), {"org": source.pk})
    assert answer.headers["Location"] == at("path_target", source.pk)
    shown = text(operator, at("path_target", source.pk))
    assert "New" in shown
    assert stranger.name not in shown
    answer = operator.post(at("path_target", source.pk), {"org": target.pk, "name": ""})
    project = Project.objects.get()
    assert (project.name, project.source, project.target) == ("Old → New", source, target)
    assert answer.headers["Location"] == at("path_records", project.pk)
    again = operator.post(at("path_target", source.pk), {"org": target.pk, "name": "old → new"})
    assert "has a project called “old → new” already" in again.content.decode()
    assert Project.objects.count() == 1


def test_a_system_that_does_not_answer_stops_the_path_with_what_to_do(
    operator: Client, world: World, pair: tuple[Org, Org], monkeypatch: pytest.MonkeyPatch
) -> None:
    def expired(_: FakeSource) -> Identity:
        raise AuthenticationFailed("Salesforce no longer accepts our session: connect the org again.")

    monkeypatch.setattr(FakeSource, "check", expired)
    shown = operator.post(at("path_source"), {"org": pair[0].pk}).content.decode()
    assert "Connected: no" in shown
    assert "connect the org again. Correct the connection of Old, then try again." in shown
    assert reverse("admin:orgs_org_change", args=[pair[0].pk]) in shown


def test_a_user_who_may_read_or_write_nothing_is_told(world: World, pair: tuple[Org, Org]) -> None:
    world.schemas.clear()
    assert [check.good for check in readiness.source_checks(pair[0])] == [True, False]
    assert "may read no object of Old" in readiness.source_checks(pair[0])[1].sentence
    assert [check.good for check in readiness.target_checks(pair[1])] == [True, True]


def test_a_target_without_anything_to_write_is_fine_only_where_runs_make_room(
    world: World, pair: tuple[Org, Org], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.target_schemas.clear()
    assert all(check.good for check in readiness.target_checks(pair[1]))
    monkeypatch.setattr(FakeTarget, "capabilities", Capabilities(writes=True))
    assert "may write no object of New" in readiness.target_checks(pair[1])[1].sentence


# --- Objects and records --------------------------------------------------------------------------------------
def test_objects_are_shown_with_counts_chosen_and_judged(operator: Client, world: World, project: Project) -> None:
    page = at("path_records", project.pk)
    shown = text(operator, page)
    assert all(f'value="{name}"' in shown for name in ("Rule", "Point", "Stray"))
    answer = operator.post(page, {"entity": ["Rule", "Point"], "go_on": "1"})
    assert answer.headers["Location"] == at("path_review", project.pk)
    assert {each.source_entity for each in project.project_objects.filter(enabled=True)} == {"Rule", "Point"}
    assert "Compatible" in text(operator, page)
    operator.post(page, {"entity": ["Point"]})
    assert {each.source_entity for each in project.project_objects.filter(enabled=True)} == {"Point"}
    assert "Rule__c points at Rule, which is not moved along." in text(operator, page)


def test_what_cannot_move_is_said_and_nothing_changes(operator: Client, world: World, project: Project) -> None:
    page = at("path_records", project.pk)
    assert "New has no Stray; create it there" in operator.post(page, {"entity": ["Rule", "Stray"]}).content.decode()
    assert "Choose at least one object" in operator.post(page, {}).content.decode()
    world.target_schemas["Rule"] = schema("Rule", "Name")
    assert "no unique external-id field" in operator.post(page, {"entity": ["Rule"]}).content.decode()
    assert not project.project_objects.exists()
    factories.run(project)
    assert "is not finished" in operator.post(page, {"entity": ["Point"]}).content.decode()


def test_a_source_out_of_reach_is_told(
    operator: Client, world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: FakeSource) -> None:
        raise Unavailable("The source does not answer; try again later.")

    monkeypatch.setattr(FakeSource, "entities", fail)
    assert "The source does not answer" in text(operator, at("path_records", project.pk))


def test_records_are_chosen_by_filter_ids_and_parents(operator: Client, world: World, project: Project) -> None:
    operator.post(at("path_records", project.pk), {"entity": ["Rule", "Point"]})
    text(operator, at("path_records", project.pk))
    rule, point = project.project_objects.order_by("position")
    form = {"field": ["Name", ""], "operator": ["among", "equals"], "value": ["Rule 1, Rule 2", ""]}
    page = at("path_select", project.pk, rule.pk)
    answer = operator.post(page, {"mode": "filter", **form}, follow=True)
    assert "Name is one of “Rule 1”, “Rule 2”" in answer.content.decode()
    assert 'value="Rule 1, Rule 2"' in text(operator, page)
    operator.post(page, {"mode": "records", "ids": "R1\nhttps://x.example/R2", **form})
    rule.refresh_from_db()
    assert rule.selection == {"mode": "records", "ids": ["R1", "R2"]}
    operator.post(at("path_select", project.pk, point.pk), {"mode": "children", "parent": "Rule__c|Rule", **form})
    point.refresh_from_db()
    assert point.selection == {"mode": "children", "through": "Rule__c", "parent": "Rule"}
    assert "Children of the chosen parents" in text(operator, at("path_select", project.pk, point.pk))
    for wrong, said in (
        ({"mode": "nothing"}, "Choose which records move"),
        ({"mode": "records", "ids": " "}, "Enter the ids"),
        ({"mode": "filter", "field": ["Name"], "operator": ["sounds like"], "value": ["x"]}, "is no way to compare"),
    ):
        assert said in operator.post(page, {**form, **wrong}).content.decode()
    operator.post(page, {"mode": "filter", "field": ["Name"], "operator": ["blank"], "value": ["x"]})
    rule.refresh_from_db()
    assert rule.selection == {"mode": "filter", "conditions": [["Name", "blank", []]]}


def test_a_reference_to_several_objects_offers_each_that_moves(
    operator: Client, world: World, project: Project
) -> None:
    memos = schema("Memo", "Name", reference("About", "Rule", "Point"))
    world.add(memos)
    world.target_schemas["Memo"] = schema("Memo", *memos.fields, KEY)
    operator.post(at("path_records", project.pk), {"entity": ["Rule", "Memo"]})
    text(operator, at("path_records", project.pk))
    memo = project.project_objects.get(source_entity="Memo")
    page = text(operator, at("path_select", project.pk, memo.pk))
    assert 'value="About|Rule"' in page
    assert 'value="About|Point"' not in page


# --- Review ---------------------------------------------------------------------------------------------------
def test_the_review_counts_judges_samples_and_starts(operator: Client, world: World, project: Project) -> None:
    operator.post(at("path_records", project.pk), {"entity": ["Rule", "Point"]})
    shown = text(operator, at("path_review", project.pk))
    assert "4 records of 2 objects from Old to New" in shown
    assert "trigger Guard" in shown
    assert "The flows could not be read." in shown
    assert "Rule 2" in shown
    assert f'action="{reverse("admin:runs_run_start", args=[project.pk])}"' in shown
    operator.post(reverse("admin:runs_run_start", args=[project.pk]))
    assert "of this project is not finished" in text(operator, at("path_review", project.pk))


def test_a_review_without_objects_or_with_what_does_not_fit_cannot_start(
    operator: Client, world: World, project: Project
) -> None:
    start = reverse("admin:runs_run_start", args=[project.pk])
    shown = text(operator, at("path_review", project.pk))
    assert "No object is chosen yet" in shown
    assert start not in shown
    operator.post(at("path_records", project.pk), {"entity": ["Rule"]})
    must = FieldInfo("Must__c", required=True)
    world.target_schemas["Rule"] = schema("Rule", "Name", KEY, must)
    project.target.definitions.all().delete()
    shown = text(operator, at("path_review", project.pk))
    assert "Must__c is required in the target, and the source has nothing to fill it with." in shown
    assert start not in shown


def test_a_sample_record_with_a_problem_is_named(operator: Client, world: World, project: Project) -> None:
    world.target_schemas["Rule"] = schema("Rule", FieldInfo("Name", length=4), KEY)
    operator.post(at("path_records", project.pk), {"entity": ["Rule"]})
    assert "3 with problems" in text(operator, at("path_review", project.pk))


# --- What orgs hold, and differences --------------------------------------------------------------------------
def test_an_org_is_asked_what_it_holds(operator: Client, world: World, pair: tuple[Org, Org]) -> None:
    page = at("org_contents", pair[0].pk)
    assert "Not asked yet" in text(operator, page)
    operator.post(page)
    shown = text(operator, page)
    assert all(word in shown for word in ("Rule", "Point", "Guard", "The flows could not be read."))
    assert "Guard" in text(operator, page + "?q=nothing")
    shown = text(operator, page + "Point/")
    assert "Rule__c" in shown
    assert "→ Rule" in shown
    assert "There is no entity “Ghost”." in text(operator, page + "Ghost/")


def test_differences_are_a_page_and_json(operator: Client, world: World, project: Project) -> None:
    page = at("project_differences", project.pk)
    assert "No object is chosen yet" in text(operator, page)
    world.schemas["Rule"] = schema("Rule", "Name", "Only__c")
    operator.post(at("path_records", project.pk), {"entity": ["Rule", "Point"]})
    assert "Only__c does not exist in the target; its values stay behind." in text(operator, page)
    found = json.loads(operator.get(page + "?format=json").content)
    assert {each["source"]: each["verdict"] for each in found["objects"]} == {
        "Rule": "compatible with loss",
        "Point": "compatible",
    }


def test_differences_by_command(world: World, pair: tuple[Org, Org], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call_command("differences", "Old", str(pair[1].pk), "--json")
    assert ended.value.code == 1
    found = json.loads(capsys.readouterr().out)
    verdicts = {each["source"]: each["verdict"] for each in found["objects"]}
    assert verdicts == {"Rule": "compatible", "Point": "compatible", "Stray": "not compatible"}
    call_command("differences", "Old", "New", "--object", "Rule")
    assert capsys.readouterr().out == "Rule (Rule): compatible\n"
    with pytest.raises(CommandError, match="There is no org “Nowhere”"):
        call_command("differences", "Old", "Nowhere")
    with pytest.raises(CommandError, match="no entity “Ghost”"):
        call_command("differences", "Old", "New", "--object", "Ghost")


# --- Who may --------------------------------------------------------------------------------------------------
def test_operators_never_meet_a_mapping(operator: Client, world: World, project: Project) -> None:
    operator.post(at("path_records", project.pk), {"entity": ["Rule", "Point"]})
    for page in ("path_records", "path_review", "project_change", "project_differences"):
        shown = text(operator, at(page, project.pk))
        assert "fieldmapping" not in shown
        assert "External_Id__c" not in shown
    assert operator.get(reverse("admin:projects_fieldmapping_changelist")).status_code == 403


@pytest.mark.parametrize("page", ["path_source", "path_target", "path_records", "path_review", "project_differences"])
def test_pages_are_closed_without_their_permission(world: World, project: Project, page: str) -> None:
    arguments = {"path_source": (), "path_target": (project.source_id,)}.get(page, (project.pk,))
    assert signed_in("runs.view_run").get(at(page, *arguments)).status_code == 403


def test_what_one_may_not_see_is_not_there(world: World, project: Project) -> None:
    blind = signed_in("projects.add_project", "projects.change_project", "projects.view_objectdefinition")
    assert "No org can be read yet" in text(blind, at("path_source"))
    assert blind.get(at("path_target", project.source_id)).status_code == 404
    assert blind.get(at("path_records", project.pk)).status_code == 404
    assert blind.get(at("org_contents", project.source_id)).status_code == 404


# --- Who sees a mapping ---------------------------------------------------------------------------------------
MAPPING_MODELS = ("fieldmapping", "valuemap", "projectobject")


def linked(client: Client, start: str) -> dict[str, str]:
    """Every page that can be reached from ``start`` by links, address → text; none of them answers with an error.

    Of what a page shows differently by its query (filters, orders, records) one is as good as another.
    """
    waiting, found = {start.partition("?")[0]: start}, {}
    while waiting:
        path, address = waiting.popitem()
        answer = client.get(address)
        assert answer.status_code in {200, 302}, (address, answer.status_code)
        html = answer.headers.get("Content-Type", "").startswith("text/html")
        found[path] = answer.content.decode() if html else ""
        links = [unescape(each) for each in re.findall(r'(?:href|hx-get)="([^"#]+)"', found[path])]
        for each in (urljoin(address, link) for link in links):
            onward = each.partition("?")[0]
            if onward.startswith("/admin/") and not re.search(r"logout|evidence\.", onward) and onward not in found:
                waiting[onward] = each
    return found


def test_an_operator_meets_no_field_mapping_anywhere(world: World, project: Project) -> None:
    """All permissions but those of mapping experts: every page that can be reached, and the ones that cannot."""
    everything = Permission.objects.exclude(content_type__model__in=MAPPING_MODELS)
    names = [f"{each.content_type.app_label}.{each.codename}" for each in everything.select_related("content_type")]
    operator = signed_in(*names)
    operator.post(at("path_records", project.pk), {"entity": ["Rule", "Point"]})
    rules = FieldMapping.objects.filter(object__project=project)
    assert rules.count() > 2
    run = start_run(project)
    drive_here(run.pk)
    seen = linked(operator, reverse("admin:index"))
    assert {at("project_change", project.pk), at("path_review", project.pk)} <= seen.keys()
    assert {reverse("admin:runs_run_change", args=[run.pk]), reverse("records:list", args=[project.pk])} <= seen.keys()
    for address, shown in seen.items():
        assert not re.search("|".join(MAPPING_MODELS), address + shown), address
        assert not re.search(r"\b\d+ rules?\b", shown), address
    pages = [f"{model}_{page}" for model in MAPPING_MODELS for page in ("changelist", "add")]
    pages += [f"{model}_{page}" for model in MAPPING_MODELS[:2] for page in ("import", "export")]
    assert {operator.get(at(each)).status_code for each in pages} == {403}
    assert operator.get(at("fieldmapping_change", rules[0].pk)).status_code in {403, 404}
    expert = signed_in(*names, "projects.view_fieldmapping", "projects.view_valuemap")
    assert "fieldmapping" in text(expert, at("project_change", project.pk))
