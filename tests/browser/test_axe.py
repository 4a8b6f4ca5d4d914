"""axe-core over the main pages, light and dark: no fault of its levels “serious” and “critical”."""

from pathlib import Path
from typing import Any

import pytest
import selenium_axe_python
from django.urls import reverse
from pytest_django.live_server_helper import LiveServer
from selenium.webdriver import Chrome

from projects.models import Project
from runs.choices import RunState
from tests import factories
from tests.browser.test_journey import log_in, project  # noqa: F401 - a fixture
from tests.runs.screens import done

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
AXE = (Path(selenium_axe_python.__file__).parent / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
LOOK = """
const done = arguments[0];
const rules = {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']};
axe.run(document, {...rules, resultTypes: ['violations']}).then((found) => done(found.violations
    .filter((each) => ['serious', 'critical'].includes(each.impact))
    .map((each) => `${each.id}: ${each.nodes[0].html.slice(0, 200)} ${each.nodes[0].failureSummary}`)));
"""


def faults(browser: Chrome) -> list[str]:
    browser.execute_script(AXE)
    found: list[str] = browser.execute_async_script(LOOK)
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault(
    browser: Chrome,
    live_server: LiveServer,
    project: Project,  # noqa: F811 - the fixture
    theme: str,
) -> None:
    run = done(project)
    waiting = factories.run(project, state=RunState.PAUSED)
    login = f"{live_server.url}/admin/login/"
    browser.get(login)
    browser.execute_script("localStorage.setItem('adminTheme', JSON.stringify(arguments[0]))", theme)
    browser.get(login)
    found: dict[str, Any] = {login: faults(browser)}
    log_in(browser, live_server)
    record = reverse("records:page", args=[project.pk, run.steps.get().object_id])
    pages = [
        reverse("admin:index"),
        reverse("admin:orgs_org_changelist"),
        reverse("admin:orgs_org_add") + "?platform=salesforce&role=both&way=set-up",
        reverse("admin:orgs_org_change", args=[project.source_id]),
        reverse("admin:projects_project_changelist"),
        reverse("admin:projects_project_change", args=[project.pk]),
        reverse("admin:projects_path_source"),
        reverse("admin:runs_run_changelist"),
        reverse("admin:runs_run_change", args=[run.pk]),
        reverse("admin:runs_run_change", args=[waiting.pk]),
        reverse("admin:runs_run_evidence", args=[run.pk]),
        reverse("admin:runs_run_rollback", args=[run.pk]),
        reverse("admin:runs_deltaschedule", args=[project.pk]),
        reverse("admin:runs_conflict_list", args=[project.pk]),
        reverse("records:list", args=[project.pk]),
        f"{record}?id=A1",
    ]
    for page in pages if theme == "light" else pages[::2]:  # the colours are the same everywhere
        browser.get(live_server.url + page)
        assert browser.execute_script("return document.documentElement.classList.contains('dark')") == (theme == "dark")
        found[page] = faults(browser)
    assert not {page: each for page, each in found.items() if each}
