"""From an empty form to a connected Salesforce org, in a real browser, by every way: how many clicks, fields, seconds.

The browser fills in at once what takes a person a while. A person's time is reckoned from what there is to do, by the
operators of the keystroke-level model (Card, Moran and Newell, 1980), and the machine's time is added as it was.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from django.urls import reverse
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from orgs import connecting
from orgs.connecting import Entered
from orgs.models import Org, OrgStatus
from sandbox.salesforce.running import Running, running_simulator
from tests.browser.test_journey import content, log_in, press, wait
from tests.orgs import fakes

log = logging.getLogger(__name__)
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
THINK, POINT, PRESS, REACH, TYPE = 1.35, 1.1, 0.2, 0.4, 0.28
"""Seconds to decide what comes next, to move to it, to click, to move a hand to the keyboard, to type a character."""
READ_A_PAGE = 5.0
MOST_CLICKS = 7
MOST_SECONDS = 120
TYPED = ("name", "contact_email")
"""What a person makes up and types; everything else is pasted from where it was sent."""


@dataclass
class Person:
    """Counts what a person chooses, presses and fills in."""

    browser: Chrome
    clicks: int = 0
    fields: int = 0
    seconds: float = 0.0
    since: float = field(default_factory=time.monotonic)

    def click(self) -> None:
        self.clicks += 1
        self.seconds += THINK + POINT + PRESS

    def press(self, text: str) -> None:
        self.click()
        press(self.browser, text)

    def follow(self, text: str) -> None:
        self.click()
        self.seconds += READ_A_PAGE
        self.browser.find_element(By.XPATH, f"//main//a[contains(., '{text}')]").click()
        wait(self.browser, lambda: self.browser.find_elements(By.NAME, "customer"))

    def choose(self, name: str, label: str) -> None:
        self.click()
        self.seconds += POINT + PRESS
        Select(self.browser.find_element(By.NAME, name)).select_by_visible_text(label)

    def fill(self, **values: str) -> None:
        for name, value in values.items():
            place = self.browser.find_element(By.NAME, name.replace("__", "-"))
            if place.tag_name == "textarea":  # a key of many lines, which typing would send as key strokes
                self.browser.execute_script("arguments[0].value = arguments[1]", place, value)
            else:
                place.clear()
                place.send_keys(value)
            self.fields += 1
            keys = len(value) if name in TYPED else 2
            self.seconds += THINK + POINT + PRESS + REACH + keys * TYPE
            if name not in TYPED:  # the other window: find it, mark what is there, copy it
                self.seconds += 2 * (THINK + POINT + PRESS) + 2 * TYPE

    @property
    def needed(self) -> float:
        return self.seconds + time.monotonic() - self.since


@pytest.fixture
def simulated(settings: Settings) -> Iterator[Running]:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    fakes.make_customer()
    with running_simulator() as running:
        yield running


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


def connected(person: Person, way: str) -> None:
    wait(person.browser, lambda: "Connected to Acme production as Sandbox Industries" in person.browser.page_source)
    needed = person.needed
    counted = (way, person.clicks, person.fields, person.seconds, needed - person.seconds)
    log.info("%s: %d clicks, %d fields; %.0f s of a person, %.0f s of machines", *counted)
    assert Org.objects.get(name="Acme production").status == OrgStatus.ACTIVE
    assert "Developer Edition" in content(person.browser)
    assert person.clicks <= MOST_CLICKS
    assert needed < MOST_SECONDS


def test_by_automatic_set_up(browser: Chrome, live_server: LiveServer, simulated: Running) -> None:
    person = started(browser, live_server, "Set up automatically")
    person.fill(
        setting__login_url=simulated.url,
        setting__admin_username=simulated.ready.username,
        secret__admin_password=simulated.ready.password,
        contact_email="ann@factory.example",
    )
    person.press("Set up and connect")
    connected(person, "set-up")


def test_by_consent(browser: Chrome, live_server: LiveServer, simulated: Running) -> None:
    person = started(browser, live_server, "Log in with Salesforce")
    person.fill(
        setting__login_url=simulated.url,
        setting__client_id=simulated.ready.client_id,
        secret__client_secret=simulated.ready.client_secret,
    )
    person.press("Continue to log in")
    wait(browser, lambda: "Allow access?" in browser.title)
    person.click()
    browser.find_element(By.XPATH, "//button[@value='allow']").click()
    connected(person, "consent")


def test_by_sfdx_auth_url(browser: Chrome, live_server: LiveServer, settings: Settings) -> None:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    fakes.make_customer()
    with running_simulator(tls=True) as simulated:  # such a URL always means https
        settings.MF_CA_FILE = simulated.ready.ca_file
        person = started(browser, live_server, "SFDX auth URL")
        person.fill(secret__sfdx_auth_url=simulated.ready.sfdx_auth_url)
        person.press("Connect")
        connected(person, "sfdx")


def test_by_key_and_certificate(browser: Chrome, live_server: LiveServer, simulated: Running) -> None:
    """With the app and key that an automatic set-up made before."""
    made = fakes.make_org(
        "Before", platform="salesforce", role="both", settings={"login_url": simulated.url}, secrets={}
    )
    once = Entered({"admin_username": simulated.ready.username}, {"admin_password": simulated.ready.password})
    made = connecting.set_up(made, once, contact_email="ann@factory.example")
    person = started(browser, live_server, "Existing app, key and certificate")
    person.fill(
        setting__login_url=simulated.url,
        setting__client_id=made.settings["client_id"],
        setting__username=made.settings["username"],
        secret__private_key=made.open_secrets()["private_key"],
    )
    person.press("Connect")
    connected(person, "key")


def test_by_id_and_secret(browser: Chrome, live_server: LiveServer, simulated: Running) -> None:
    person = started(browser, live_server, "Existing app, id and secret")
    person.fill(
        setting__login_url=simulated.url,
        setting__client_id=simulated.ready.client_id,
        secret__client_secret=simulated.ready.client_secret,
    )
    person.press("Connect")
    connected(person, "secret")


def test_by_access_token(browser: Chrome, live_server: LiveServer, simulated: Running) -> None:
    person = started(browser, live_server, "Access token")
    person.fill(setting__login_url=simulated.url, secret__access_token=simulated.ready.access_token)
    person.press("Connect")
    connected(person, "token")
