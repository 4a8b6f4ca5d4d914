"""What every page has around it: the policy for browsers, and the menu."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from orgs.models import Role
from runs.templatetags.screens import breakable
from tests import factories
from tests.runs.screens import signed_in

pytestmark = pytest.mark.django_db


def policy(client: Client, address: str) -> dict[str, set[str]]:
    sent = client.get(address).headers["Content-Security-Policy"]
    parts = [each.split() for each in sent.split(";")]
    return {name: set(values) for name, *values in parts}


@pytest.mark.parametrize("address", ["/admin/login/", "/admin/", "/admin/nothing-here/"])
def test_every_answer_forbids_inline_scripts_and_strangers(address: str) -> None:
    found = policy(signed_in(superuser=True) if "login" not in address else Client(), address)
    assert found["default-src"] == found["base-uri"] == found["frame-ancestors"] == {"'none'"}
    assert found["script-src"] == {"'self'", "'unsafe-eval'"}
    assert found["style-src"] == found["form-action"] == found["connect-src"] == {"'self'"}
    allowed = {value for values in found.values() for value in values}
    assert allowed == {"'none'", "'self'", "'unsafe-eval'", "'unsafe-inline'", "data:"}
    assert {name for name, values in found.items() if "'unsafe-inline'" in values} == {"style-src-attr"}


def test_pages_hold_no_inline_script_or_style_sheet() -> None:
    client = signed_in(superuser=True)
    for name in ("index", "orgs_org_changelist", "projects_project_changelist", "runs_run_changelist"):
        page = client.get(reverse(f"admin:{name}")).content.decode()
        assert "<style" not in page, name
        assert page.count("<script") == page.count("<script src="), name


def test_only_the_form_that_leads_to_a_consent_page_may_lead_away() -> None:
    client = signed_in(superuser=True)
    address = f"{reverse('admin:orgs_org_add')}?platform=salesforce&role={Role.BOTH}&way="
    ways = {way: policy(client, address + way)["form-action"] for way in ("", "consent", "key")}
    assert ways == {
        "": {"'self'"}, "consent": {"'self'", "https:", "http://127.0.0.1:*"}, "key": {"'self'"}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("page", "arguments", "item"),
    [
        ("admin:index", [], "Overview"),
        ("admin:runs_run_changelist", [], "Runs"),
        ("admin:runs_deltaschedule", ["project"], "Projects"),
        ("admin:runs_conflict_list", ["project"], "Projects"),
        ("admin:runs_run_start", ["project"], "Projects"),
        ("admin:projects_fieldmapping_changelist", [], "Projects"),
        ("records:list", ["project"], "Records"),
    ],
)
def test_the_menu_marks_what_a_page_is_about(page: str, arguments: list[str], item: str) -> None:
    made = factories.project()
    shown = signed_in(superuser=True).get(reverse(page, args=[made.pk for _ in arguments])).content.decode()
    marked = re.findall(r'aria-current="page".*?</span>\s*<span>(\w+)</span>', shown, re.DOTALL)
    assert marked == [item]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("tc9_et__Leave_Rule__c", "tc9_<wbr>et__<wbr>Leave_<wbr>Rule__c"),
        ("<b>_name", "&lt;b&gt;_<wbr>name"),
        ("Account", "Account"),
        ("", ""),
    ],
)
def test_a_technical_name_breaks_after_its_underscores(name: str, shown: str) -> None:
    assert breakable(name) == shown
