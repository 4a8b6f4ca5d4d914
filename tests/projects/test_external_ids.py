"""A field for our external id, made in a simulated org because a person asked for it, and never otherwise."""

from collections.abc import Iterator
from io import StringIO
from typing import Any

import httpx
import pytest
from django.core.management import call_command
from django.urls import reverse

from connectors.errors import ConnectorError, FatalError, SettingsInvalid
from connectors.targets.salesforce import SalesforceTarget
from connectors.types import FieldInfo
from migration_factory.rehearsal import erase, make_org, salesforce_reach
from orgs import services as orgs
from orgs.models import Customer, Role
from projects import services
from projects.models import Project
from runs import drivers
from runs.choices import RunState
from runs.models import Run
from runs.services import start_run
from sandbox.salesforce.running import Running, running_simulator
from tests.connectors.payroll_org import context_of, records_of
from tests.fakes import schema
from tests.runs.screens import signed_in, text

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
OURS = "Migration_Factory_Id__c"
SHED = {"fullName": "Shed__c", "label": "Shed", "fields": [{"fullName": "Size__c", "label": "Size", "type": "Text"}]}
OPERATOR = ("projects.view_project", "projects.change_project", "orgs.view_org")


@pytest.fixture
def target(settings: Any) -> Iterator[Running]:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    with running_simulator() as running:
        running.control.define(SHED)
        yield running


@pytest.fixture
def move(target: Running) -> Iterator[Project]:
    with running_simulator() as source:
        source.control.define(SHED)
        source.control.upsert("Shed__c", [{"Name": f"Shed {number}"} for number in range(3)])
        customer = Customer.objects.create(name="Sheds", slug="sheds")
        from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
        to_org = make_org(customer, "Target", Role.TARGET, salesforce_reach(target.ready))
        yield services.create_project(customer, "Move", source=from_org, target=to_org)
        erase(customer)


def test_it_is_made_on_the_page_and_then_the_object_moves(move: Project, target: Running) -> None:
    page = reverse("admin:projects_path_records", args=[move.pk])
    key = reverse("admin:projects_path_key", args=[move.pk, "Shed__c"])
    operator, free = signed_in(*OPERATOR), signed_in(*OPERATOR, "projects.create_external_id")
    operator.post(page, {"entity": ["Shed__c"]})
    assert "Shed__c has no external id in the target" in text(operator, page)
    assert key not in text(operator, page)
    assert key in text(free, page)
    assert operator.get(key).status_code == operator.post(key).status_code == 403
    assert OURS not in described(target), "nothing is made by itself"
    assert "This changes the org's set-up, for everybody" in text(free, key)
    assert OURS not in described(target)
    answer = free.post(key, follow=True).content.decode()
    assert f"Made the field {OURS} of Shed__c" in answer
    field = described(target)[OURS]
    assert (field["externalId"], field["unique"], field["caseSensitive"], field["length"]) == (True, True, True, 255)
    assert "has an external id in Target already" in free.post(key, follow=True).content.decode()
    free.post(page, {"entity": ["Shed__c"]})
    run = start_run(move)
    drivers.drive_here(run.pk)
    assert Run.objects.get(pk=run.pk).state == RunState.COMPLETED
    assert {row[OURS] for row in records_of(target, "Shed__c", OURS)} == {row["Id"] for row in records_of_source(move)}


def records_of_source(move: Project) -> list[dict[str, object]]:
    with orgs.open_source(move.source) as source:
        frame = next(iter(source.read("Shed__c", ("Id",)))).frame
    return frame.to_dicts()


def test_the_command_makes_it_once(move: Project) -> None:
    for sentence in (f"Made the field {OURS} of Shed__c", "There is one already; nothing was made."):
        said = StringIO()
        call_command("create_external_id", str(move.pk), "Shed__c", stdout=said)
        assert sentence in said.getvalue()


def described(org: Running) -> dict[str, dict[str, Any]]:
    answer = httpx.get(
        f"{org.url}/services/data/v66.0/sobjects/Shed__c/describe",
        headers={"Authorization": f"Bearer {org.ready.access_token}"},
        trust_env=False,
    )
    return {field["name"]: field for field in answer.json()["fields"]}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"setup_access": 0}, "does not let this user change its set-up.*You can make it by hand: a text field"),
        ({"failing_tests": 1}, r"Apex tests .* fail \(CustomerTest1.loads\)"),
    ],
)
def test_a_refusal_is_one_sentence_and_leaves_nothing(target: Running, changes: dict[str, int], sentence: str) -> None:
    target.control.change_settings(**changes)
    with SalesforceTarget(context_of(target)) as opened, pytest.raises(ConnectorError, match=sentence):
        opened.make_key("Shed__c")
    assert OURS not in described(target)
    assert records_of(target, "PermissionSet", "Id") == []


def test_what_was_half_made_is_gone_on_with(target: Running) -> None:
    target.control.change_settings(assign_permissions=0)
    with SalesforceTarget(context_of(target)) as opened:
        with pytest.raises(FatalError, match=r"was made, but the connecting user cannot see it yet.*ask for it again"):
            opened.make_key("Shed__c")
        target.control.change_settings(assign_permissions=1)
        assert len(opened.make_key("Shed__c")) == 2
        assert opened.make_key("Shed__c") == ()


def test_a_field_of_that_name_which_is_no_key_is_left_alone(target: Running) -> None:
    target.control.define({**SHED, "fields": [{"fullName": OURS, "label": "Ours", "type": "Text", "length": 10}]})
    with SalesforceTarget(context_of(target)) as opened, pytest.raises(SettingsInvalid, match="not a unique external"):
        opened.make_key("Shed__c")


def test_a_key_of_the_customers_own_is_not_filled_with_our_ids() -> None:
    number = FieldInfo("Staff_No__c", external_id=True, unique=True)
    legacy = FieldInfo("Legacy__c", external_id=True, unique=True)
    ours = FieldInfo("pkg__External_Id__c", external_id=True, unique=True)
    source = schema("Person__c", "Name", number, FieldInfo("External_Id__c", external_id=True, unique=True))
    assert services.external_id(source, schema("Person__c", number)) == ""
    assert services.external_id(source, schema("Person__c", number), "Staff_No__c") == "Staff_No__c"
    assert services.external_id(source, schema("Person__c", number, legacy)) == "Legacy__c"
    assert services.external_id(source, schema("Person__c", legacy, ours)) == "pkg__External_Id__c"
