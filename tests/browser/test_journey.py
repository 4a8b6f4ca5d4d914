"""What a person does on a first day: log in, start a run, watch it finish, open a record that failed."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from pytest_django.live_server_helper import LiveServer
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.wait import WebDriverWait

from projects.models import Project
from runs import drivers, services
from runs.choices import RunState
from runs.engine import coordinator
from runs.models import Run
from tests import factories
from tests.fakes import WORLDS, World
from tests.runs.screens import accounts, done

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PATIENCE = 15


@pytest.fixture
def project(transactional_db: None, world: World) -> Project:
    """Five accounts to move: the second is refused, the fifth waits for a parent that never comes."""
    made = factories.project(name="Move of " + "a_long_name_" * 6)
    accounts(world, made)
    return made


def log_in(browser: Chrome, live_server: LiveServer) -> None:
    User.objects.create_superuser("ann", password="a good password")
    browser.get(f"{live_server.url}/admin/login/")
    browser.find_element(By.NAME, "username").send_keys("ann")
    browser.find_element(By.NAME, "password").send_keys("a good password" + Keys.ENTER)
    wait(browser, lambda: "Overview" in browser.title)


def wait(browser: Chrome, for_what: object) -> None:
    """A page may change under the question; it is asked again then."""
    patience = WebDriverWait(browser, PATIENCE, poll_frequency=0.1, ignored_exceptions=[WebDriverException])
    patience.until(lambda _: for_what())  # type: ignore[operator]


def press(browser: Chrome, text: str) -> None:
    """Press the link or button with that text and wait for the page it leads to."""
    found = browser.find_element(By.XPATH, f"//main//*[self::a or self::button][normalize-space()='{text}']")
    found.click()
    # In the middle of the change the browser says of the old node neither that it is there nor that it is stale.
    patience = WebDriverWait(browser, PATIENCE, ignored_exceptions=[WebDriverException])
    patience.until(staleness_of(found))


def content(browser: Chrome) -> str:
    return browser.find_element(By.ID, "content").text


def test_start_a_run_watch_it_finish_and_open_a_failed_record(
    browser: Chrome, live_server: LiveServer, project: Project
) -> None:
    log_in(browser, live_server)
    assert "Start the first run" in content(browser)
    press(browser, "Open projects")
    browser.find_element(By.PARTIAL_LINK_TEXT, "Move of").click()
    press(browser, "Start run…")
    press(browser, "Start run of 1 object")
    run = Run.objects.get()
    assert "No worker host has ever run" in content(browser)

    coordinator.advance(run.pk, stop=lambda: True)  # one piece of work: the plan
    wait(browser, lambda: "Running" in content(browser))
    wait(browser, lambda: "account" in content(browser).partition("Objects")[2])
    drivers.drive_here(run.pk)
    wait(browser, lambda: "Completed with record errors" in content(browser))
    assert "100 %" in content(browser)
    assert "completed with record errors" in browser.find_element(By.ID, "run-announcement").get_attribute(
        "textContent"
    )  # type: ignore[operator]
    live = browser.find_element(By.ID, "run-progress")
    assert live.get_attribute("hx-trigger") is None

    browser.find_element(By.CSS_SELECTOR, "a[href*='state=rejected']").click()
    wait(browser, lambda: "1 record" in content(browser))
    browser.find_element(By.LINK_TEXT, "A1").click()
    wait(browser, lambda: "Names must not end in 1." in content(browser))
    assert "Account 1" in content(browser)


def test_a_run_is_rolled_back_and_a_record_tried_again(
    browser: Chrome, live_server: LiveServer, project: Project
) -> None:
    run = done(project)
    world = WORLDS["world"]
    next(row for row in world.rows["account"].values() if row["name"] == "Account 3")["name"] = "Changed by hand"
    log_in(browser, live_server)
    browser.get(live_server.url + reverse("admin:runs_run_change", args=[run.pk]))
    press(browser, "Roll back…")
    assert "Would be deleted" in content(browser)
    press(browser, f"Roll back {run}")
    undoing = Run.objects.get(undoes=run)
    wait(browser, lambda: f"Rollback of {run}" in content(browser))
    drivers.drive_here(undoing.pk)
    wait(browser, lambda: "Completed with record errors" in content(browser))
    assert "Taken back" in content(browser)
    assert [row["name"] for row in world.rows["account"].values()] == ["Changed by hand"]

    browser.find_element(By.CSS_SELECTOR, "a[href*='state=conflict']").click()
    wait(browser, lambda: "1 record" in content(browser))
    browser.find_element(By.LINK_TEXT, "A3").click()
    wait(browser, lambda: "we wrote Account 3, the target holds Changed by hand" in content(browser))

    world.refuse = lambda *_: None
    place = reverse("records:page", args=[project.pk, run.steps.get().object_id])
    browser.get(f"{live_server.url}{place}?id=A1")
    press(browser, "Try again")
    wait(browser, lambda: "Retry of record A1" in content(browser))
    drivers.drive_here(Run.objects.latest("pk").pk)
    wait(browser, lambda: "All 1 records are in the target" in content(browser))


def test_the_target_is_asked_without_leaving_the_page(
    browser: Chrome, live_server: LiveServer, project: Project
) -> None:
    run = done(project)
    log_in(browser, live_server)
    place = reverse("records:page", args=[project.pk, run.steps.get().object_id])
    browser.get(f"{live_server.url}{place}?id=A3")
    assert "differs" not in content(browser)
    (row,) = (row for row in WORLDS["world"].rows["account"].values() if row["name"] == "Account 3")
    row["name"] = "Changed by hand"
    browser.find_element(By.XPATH, "//button[starts-with(normalize-space(), 'Ask ')]").click()
    wait(browser, lambda: "Changed by hand" in content(browser))
    assert "differs" in content(browser)


def test_the_focus_stays_on_a_button_while_figures_change(
    browser: Chrome, live_server: LiveServer, project: Project
) -> None:
    run = factories.run(project, state=RunState.RUNNING)
    log_in(browser, live_server)
    browser.get(live_server.url + reverse("admin:runs_run_change", args=[run.pk]))
    pause = browser.find_element(By.ID, "run-pause")
    browser.execute_script("arguments[0].focus()", pause)
    factories.step(run, project.project_objects.get(), read=3, expected=9)
    WebDriverWait(browser, PATIENCE).until(staleness_of(pause))
    wait(browser, lambda: browser.switch_to.active_element.get_attribute("id") == "run-pause")


FAULTS = """
const faults = [];
const names = (e) => (e.textContent.trim() || e.getAttribute('aria-label') || e.title || '').trim();
const shown = (e) => e.offsetParent !== null;
if (document.querySelectorAll('main').length !== 1) faults.push('not one main');
if ([...document.querySelectorAll('h1')].filter(shown).length !== 1) faults.push('not one h1');
if (!document.documentElement.lang) faults.push('no language');
for (const e of document.querySelectorAll('main th:not([scope])')) faults.push('th without scope: ' + names(e));
for (const e of document.querySelectorAll('main table:not(:has(caption))')) faults.push('table without caption');
for (const e of document.querySelectorAll('a, button'))
    if (shown(e) && !names(e)) faults.push('no name: ' + e.outerHTML);
for (const e of document.querySelectorAll('main input:not([type=hidden]), main select'))
    if (shown(e) && !e.labels.length && !e.getAttribute('aria-label')) faults.push('no label: ' + e.outerHTML);
const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push('id twice: ' + id);
if (document.documentElement.scrollWidth > document.documentElement.clientWidth + 1)
    faults.push('page scrolls sideways at ' + window.innerWidth);
return faults;
"""


@pytest.mark.parametrize("width", [1280, 375])
def test_pages_can_be_used_by_everybody(browser: Chrome, live_server: LiveServer, project: Project, width: int) -> None:
    """Landmarks, names, labels, scopes; and no page wider than the screen."""
    run = done(project)
    undone = services.start_rollback(run)
    drivers.drive_here(undone.pk)
    log_in(browser, live_server)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    record = reverse("records:page", args=[project.pk, run.steps.get().object_id])
    pages = [
        reverse("admin:index"),
        reverse("admin:runs_run_changelist"),
        reverse("admin:runs_run_change", args=[run.pk]),
        reverse("admin:runs_run_events", args=[run.pk]),
        reverse("admin:runs_workerhost_changelist"),
        reverse("admin:runs_run_start", args=[project.pk]),
        reverse("admin:runs_run_delta", args=[project.pk]),
        reverse("admin:runs_run_rollback", args=[run.pk]),
        reverse("admin:runs_run_change", args=[undone.pk]),
        reverse("admin:projects_project_change", args=[project.pk]),
        reverse("admin:projects_project_objects", args=[project.pk]),
        reverse("admin:projects_project_add"),
        reverse("records:list", args=[project.pk]),
        reverse("records:find") + "?q=nothing",
        f"{record}?id=A1",
        f"{record}?id=A3",
    ]
    found = {}
    for page in pages:
        browser.get(live_server.url + page)
        if faults := browser.execute_script(FAULTS):
            found[page] = faults
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert not found


def test_the_keyboard_reaches_the_content_and_the_menu(
    browser: Chrome, live_server: LiveServer, project: Project
) -> None:
    log_in(browser, live_server)
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    skip = browser.switch_to.active_element
    assert skip.text == "Skip to the content"
    skip.send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "content"
    user = browser.find_element(By.CSS_SELECTOR, "[aria-controls=user-menu]")
    user.send_keys(Keys.ENTER)
    wait(browser, lambda: browser.find_element(By.ID, "logout-form").is_displayed())
    assert user.get_attribute("aria-expanded") == "true"
    user.send_keys(Keys.ESCAPE)
    wait(browser, lambda: not browser.find_element(By.ID, "logout-form").is_displayed())
