"""From an empty form to a connected Salesforce org, in a real browser: how many clicks, how much time."""

import time
from collections.abc import Iterator

import pytest
from django.urls import reverse
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from orgs.models import Org, OrgStatus
from sandbox.salesforce.running import Running, running_simulator
from tests.browser.test_journey import content, log_in, press, wait
from tests.orgs.fakes import make_customer

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
MOST_CLICKS = 7
MOST_SECONDS = 60


@pytest.fixture
def simulated(settings: Settings) -> Iterator[Running]:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    make_customer()
    with running_simulator() as running:
        yield running


class Person:
    """Counts what a person presses and chooses."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser
        self.clicks = 0

    def press(self, text: str) -> None:
        self.clicks += 1
        press(self.browser, text)

    def follow(self, text: str) -> None:
        self.clicks += 1
        self.browser.find_element(By.XPATH, f"//main//a[contains(., '{text}')]").click()
        wait(self.browser, lambda: text in self.browser.title)

    def choose(self, name: str, label: str) -> None:
        self.clicks += 1
        Select(self.browser.find_element(By.NAME, name)).select_by_visible_text(label)

    def fill(self, **values: str) -> None:
        for name, value in values.items():
            field = self.browser.find_element(By.NAME, name.replace("__", "-"))
            field.clear()
            field.send_keys(value)


def started(browser: Chrome, live_server: LiveServer, way: str) -> Person:
    """The form of that way, of an empty org."""
    log_in(browser, live_server)
    browser.get(live_server.url + reverse("admin:orgs_org_add"))
    person = Person(browser)
    person.choose("platform", "Salesforce")
    person.choose("role", "Source and target")
    person.press("Continue")
    person.follow(way)
    person.choose("customer", "Acme")
    person.fill(name="Acme production")
    return person


def connected(person: Person, browser: Chrome, since: float) -> None:
    wait(browser, lambda: "Connected to Acme production as Sandbox Industries" in browser.page_source)
    assert Org.objects.get().status == OrgStatus.ACTIVE
    assert "Developer Edition" in content(browser)
    assert person.clicks <= MOST_CLICKS
    assert time.monotonic() - since < MOST_SECONDS


def test_by_automatic_set_up(browser: Chrome, live_server: LiveServer, simulated: Running) -> None:
    since = time.monotonic()
    person = started(browser, live_server, "Set up automatically")
    person.fill(
        setting__login_url=simulated.url,
        setting__admin_username=simulated.ready.username,
        secret__admin_password=simulated.ready.password,
        contact_email="ann@factory.example",
    )
    person.press("Set up and connect")
    connected(person, browser, since)


def test_by_consent(browser: Chrome, live_server: LiveServer, simulated: Running) -> None:
    since = time.monotonic()
    person = started(browser, live_server, "Log in with Salesforce")
    person.fill(
        setting__login_url=simulated.url,
        setting__client_id=simulated.ready.client_id,
        secret__client_secret=simulated.ready.client_secret,
    )
    person.press("Continue to log in")
    wait(browser, lambda: "Allow access?" in browser.title)
    person.clicks += 1
    browser.find_element(By.XPATH, "//button[@value='allow']").click()
    connected(person, browser, since)
