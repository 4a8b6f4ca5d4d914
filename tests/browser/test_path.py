"""An operator moves payroll configuration between two simulated orgs, in four steps and without any mapping."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from pytest_django.live_server_helper import LiveServer
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from migration_factory.rehearsal import make_org, salesforce_reach
from orgs.models import Role
from projects.models import Project
from runs import drivers
from runs.models import Run
from sandbox.salesforce import payroll
from sandbox.salesforce.payroll import Names, Size
from sandbox.salesforce.running import Running, running_simulator
from tests import factories
from tests.browser.test_journey import FAULTS, content, press, wait

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
OPERATOR = (
    "orgs.view_customer", "orgs.view_org", "projects.view_project", "projects.add_project", "projects.change_project",
    "projects.view_objectdefinition", "runs.view_run", "runs.control_run",
)  # fmt: skip
SIZE = Size(pay_codes=20, leave_rules=4, loadings=3, classifications=3, minimums=5, rules=6, breakpoints=24, bad=2)


@pytest.fixture(scope="module")
def orgs() -> Iterator[tuple[Running, Running]]:
    with running_simulator() as source, running_simulator() as target:
        payroll.install(source, Names())
        payroll.fill(source, Names(), SIZE)
        payroll.install(target, Names(namespaced=False))
        target.control.add_rule("Interpretation_Rule__c", name="Named", where={"Name": "x"}, message="Not x.")
        yield source, target


@pytest.fixture
def connected(orgs: tuple[Running, Running], transactional_db: None, settings: Any) -> None:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    customer = factories.customer(name="Acme " + "with a long name " * 3)
    make_org(customer, "Production", Role.SOURCE, salesforce_reach(orgs[0].ready))
    make_org(customer, "Sandbox", Role.TARGET, salesforce_reach(orgs[1].ready))


def log_in(browser: Chrome, live_server: LiveServer) -> None:
    operator = User.objects.create_user("olga", password="a good password", is_staff=True)
    for name in OPERATOR:
        app, codename = name.split(".")
        operator.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    browser.get(f"{live_server.url}/admin/login/")
    browser.find_element(By.NAME, "username").send_keys("olga")
    browser.find_element(By.NAME, "password").send_keys("a good password" + Keys.ENTER)
    wait(browser, lambda: "Overview" in browser.title)


def choose(browser: Chrome, name: str) -> None:
    browser.find_element(By.XPATH, f"//label[.//*[normalize-space()='{name}']]//input").click()


def test_four_steps_from_source_to_run(browser: Chrome, live_server: LiveServer, connected: None) -> None:
    log_in(browser, live_server)
    browser.get(live_server.url + reverse("admin:projects_project_changelist"))
    press(browser, "Move records…")
    choose(browser, "Production")
    press(browser, "Check and continue")
    choose(browser, "Sandbox")
    press(browser, "Check and continue")
    project = Project.objects.get()
    assert "Payroll and time configuration" in content(browser)
    assert content(browser).count("Compatible") >= 8
    press(browser, "Save choice")
    assert project.project_objects.filter(enabled=True).count() == 8

    points = browser.find_element(By.XPATH, "//tr[.//input[@value='tc9_et__Interpretation_Breakpoint__c']]")
    points.find_element(By.PARTIAL_LINK_TEXT, "Change").click()
    wait(browser, lambda: "Records of" in browser.title)
    browser.find_element(By.XPATH, "//label[contains(., 'Children of the chosen parents')]/input").click()
    press(browser, "Save")
    assert "Those whose tc9_et__" in content(browser)
    press(browser, "Save and review")
    assert "Production to Sandbox" in content(browser)
    assert "validation rule Named" in content(browser)
    press(browser, "Start run")
    run = Run.objects.get()
    drivers.drive_here(run.pk)
    browser.refresh()
    wait(browser, lambda: "Completed with record errors" in content(browser))
    assert Project.objects.get().blueprint == "payroll-and-time"


@pytest.mark.parametrize("width", [1280, 375])
def test_pages_of_the_path_can_be_used_by_everybody(
    browser: Chrome, live_server: LiveServer, connected: None, width: int
) -> None:
    log_in(browser, live_server)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.get(live_server.url + reverse("admin:projects_path_source"))
    choose(browser, "Production")
    press(browser, "Check and continue")
    choose(browser, "Sandbox")
    press(browser, "Check and continue")
    press(browser, "Save choice")
    project = Project.objects.get()
    held = reverse("admin:projects_org_contents", args=[project.source_id])
    chosen = project.project_objects.order_by("-position")[0]
    pages = [
        reverse("admin:projects_path_source"),
        reverse("admin:projects_path_target", args=[project.source_id]),
        reverse("admin:projects_path_records", args=[project.pk]),
        reverse("admin:projects_path_select", args=[project.pk, chosen.pk]),
        reverse("admin:projects_path_review", args=[project.pk]),
        reverse("admin:projects_project_differences", args=[project.pk]),
        held,
        f"{held}tc9_et__Interpretation_Breakpoint__c/",
    ]
    found = {}
    for page in pages:
        browser.get(live_server.url + page)
        if faults := browser.execute_script(FAULTS):
            found[page] = faults
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert not found
