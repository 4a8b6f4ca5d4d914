"""Connecting a Salesforce org by each of its ways, through the pages, to a simulated org."""

import html
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from orgs.models import AppProvisioning, Org, OrgStatus
from orgs.services import check_org
from sandbox.salesforce.running import Running, running_simulator
from tests.orgs.fakes import make_customer, make_staff

pytestmark = pytest.mark.django_db
ADD = "/admin/orgs/org/add/?platform=salesforce&role=both"


@pytest.fixture
def org(settings: Settings) -> Iterator[Running]:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    with running_simulator() as running:
        yield running


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(make_staff("ann", "view_org", "add_org", "change_org", "view_customer"))
    return client


def entry(running: Running, **values: str) -> dict[str, object]:
    given = {"setting-login_url": running.url, "name": "Acme", "customer": make_customer().pk}
    return given | values


def said(client: Client, answer: Any) -> str:
    """The messages of the page a request ends on."""
    page = client.get(answer.headers["location"]).content.decode()
    return html.unescape(page)


def test_the_ways_are_offered_with_what_each_needs(staff: Client) -> None:
    page = html.unescape(staff.get(ADD).content.decode())
    for label in ("Set up automatically", "Log in with Salesforce", "SFDX auth URL", "Existing app, key and", "Access"):
        assert label in page
    form = staff.get(f"{ADD}&way=sfdx").content.decode()
    assert "secret-sfdx_auth_url" in form
    assert "secret-private_key" not in form


@pytest.mark.parametrize(
    ("way", "filled"),
    [
        ("token", lambda ready: {"secret-access_token": ready.access_token}),
        (
            "secret",
            lambda ready: {"setting-client_id": ready.client_id, "secret-client_secret": ready.client_secret},
        ),
    ],
)
def test_by_form(staff: Client, org: Running, way: str, filled: Any) -> None:
    answer = staff.post(f"{ADD}&way={way}", entry(org, **filled(org.ready)))
    assert "Connected to Acme as Sandbox Industries" in said(staff, answer)
    assert Org.objects.get().status == OrgStatus.ACTIVE


@pytest.mark.parametrize("shape", ["{}", '{{"sfdxAuthUrl": "{}"}}', '{{"result": {{"sfdxAuthUrl": "{}"}}}}'])
def test_by_sfdx_auth_url_in_each_shape(staff: Client, settings: Settings, shape: str) -> None:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    with running_simulator(tls=True) as running:
        settings.MF_CA_FILE = running.ready.ca_file
        pasted = shape.format(running.ready.sfdx_auth_url)
        given = {"name": "Acme", "customer": make_customer().pk, "secret-sfdx_auth_url": pasted}
        answer = staff.post(f"{ADD}&way=sfdx", given)
        assert "Connected to Acme as Sandbox Industries" in said(staff, answer)


def test_what_a_way_needs_is_required(staff: Client, org: Running) -> None:
    page = html.unescape(staff.post(f"{ADD}&way=key", entry(org)).content.decode())
    for label in ("Client id", "User name", "Private key"):
        assert f"“{label}” is required." in page
    assert not Org.objects.exists()


def consented(staff: Client, org: Running, *, press: str = "allow") -> tuple[Any, str]:
    """The answer of our return address, and that address with the query it was called with."""
    ready = org.ready
    filled = {"setting-client_id": ready.client_id, "secret-client_secret": ready.client_secret}
    sent = staff.post(f"{ADD}&way=consent", entry(org, **filled))
    assert sent.status_code == 302, sent.content.decode()
    asked = parse_qs(urlsplit(sent.headers["location"]).query)
    assert asked["code_challenge_method"] == ["S256"]
    page = httpx.get(sent.headers["location"], trust_env=False)
    form = {"query": page.url.query.decode(), "answer": press}
    back = httpx.post(f"{org.url}/services/oauth2/consent", data=form, trust_env=False).headers["location"]
    parts = urlsplit(back)
    return staff.get(f"{parts.path}?{parts.query}"), back


@pytest.fixture
def returning(settings: Settings) -> None:
    """The simulator's own app returns to localhost."""
    settings.ALLOWED_HOSTS = ["localhost", "testserver"]


def test_by_consent(client: Client, org: Running, returning: None) -> None:
    del returning
    client.defaults["HTTP_HOST"] = "localhost"
    client.force_login(make_staff("ann", "view_org", "add_org", "change_org", "view_customer"))
    answer, back = consented(client, org)
    assert "Connected to Acme as Sandbox Industries" in said(client, answer)
    stored = Org.objects.get()
    assert set(stored.open_secrets()) == {"refresh_token", "client_secret"}
    org.control.expire_tokens()
    assert check_org(stored).status == OrgStatus.ACTIVE
    again = urlsplit(back)
    assert client.get(f"{again.path}?{again.query}").status_code == 403  # a consent is good once


def test_a_consent_that_is_refused_or_forged(client: Client, org: Running, returning: None) -> None:
    del returning
    client.defaults["HTTP_HOST"] = "localhost"
    client.force_login(make_staff("ann", "view_org", "add_org", "change_org", "view_customer"))
    answer, _ = consented(client, org, press="deny")
    assert "the consent was refused (end-user denied authorization)" in said(client, answer)
    forged = client.get(reverse("admin:orgs_org_connected") + "?state=x&code=y")
    assert forged.status_code == 403


def set_up_entry(org: Running, **values: str) -> dict[str, object]:
    given = {
        "contact_email": "ann@factory.example",
        "setting-admin_username": org.ready.username,
        "secret-admin_password": org.ready.password,
        "setting-app_kind": "external",
    }
    return entry(org, **{**given, **values})


def dump() -> str:
    rows = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            with cursor.copy(f'COPY (SELECT * FROM "{table}") TO STDOUT') as copy:
                rows.append(b"".join(bytes(block) for block in copy).decode())
    return "\n".join(rows)


def test_a_set_up_connects_by_key_and_forgets_the_administrator(
    staff: Client, org: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = staff.post(f"{ADD}&way=set-up", set_up_entry(org))
        page = said(staff, answer)
    assert "Connected to Acme as Sandbox Industries" in page
    stored = Org.objects.get()
    assert set(stored.open_secrets()) == {"private_key"}
    assert set(stored.settings) >= {"client_id", "username", "login_url"}
    assert AppProvisioning.objects.get().state == AppProvisioning.State.DONE
    sessions = "".join(str(session.get_decoded()) for session in Session.objects.all())
    for place in (dump(), caplog.text, page, sessions):
        assert org.ready.password not in place
        assert stored.open_secrets()["private_key"][100:140] not in place
    org.control.expire_tokens()
    assert check_org(stored).status == OrgStatus.ACTIVE


def test_a_refused_set_up_says_so_and_can_be_tried_again(
    staff: Client, org: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = staff.post(f"{ADD}&way=set-up", set_up_entry(org, **{"secret-admin_password": "Wrong-c4nary"}))
        page = said(staff, answer)
    assert "does not accept this user name with this password" in page
    assert AppProvisioning.objects.get().state == AppProvisioning.State.FAILED
    assert "Wrong-c4nary" not in dump() + caplog.text + page
    stored = Org.objects.get()
    again = reverse("admin:orgs_org_connect", args=[stored.pk])
    filled = set_up_entry(org)
    answer = staff.post(f"{again}?way=set-up", filled)
    assert "Connected to Acme as Sandbox Industries" in said(staff, answer)


def test_connecting_in_another_way_clears_the_first(staff: Client, org: Running) -> None:
    staff.post(f"{ADD}&way=token", entry(org, **{"secret-access_token": org.ready.access_token}))
    stored = Org.objects.get()
    address = reverse("admin:orgs_org_connect", args=[stored.pk])
    assert "Set up automatically" in staff.get(address).content.decode()
    filled = {"setting-client_id": org.ready.client_id, "secret-client_secret": org.ready.client_secret}
    staff.post(f"{address}?way=secret", entry(org, **filled))
    stored.refresh_from_db()
    assert set(stored.open_secrets()) == {"client_secret"}
    assert stored.status == OrgStatus.ACTIVE


def test_a_failed_set_up_keeps_an_orgs_earlier_connection(staff: Client, org: Running) -> None:
    staff.post(f"{ADD}&way=token", entry(org, **{"secret-access_token": org.ready.access_token}))
    stored = Org.objects.get()
    org.control.change_settings(failing_tests=1)
    address = reverse("admin:orgs_org_connect", args=[stored.pk])
    answer = staff.post(f"{address}?way=set-up", set_up_entry(org))
    assert "Apex tests of the org fail" in said(staff, answer)
    assert check_org(Org.objects.get()).status == OrgStatus.ACTIVE


def test_only_who_may_change_an_org_connects_it(client: Client, org: Running) -> None:
    client.force_login(make_staff("bob", "view_org"))
    assert client.get(ADD).status_code == 403
    assert client.get(reverse("admin:orgs_org_connected")).status_code == 403
    del org
