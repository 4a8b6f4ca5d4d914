"""Canary secrets are planted, everything that can leak is run, and then looked for everywhere."""

import base64
import io
import logging
import pickle
from collections.abc import Iterator
from io import StringIO
from urllib.parse import quote, quote_plus

import pytest
from django.core import mail
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django_q.tasks import async_task
from pytest_django import Settings

from connectors.base import Connector
from connectors.context import Secret, Token
from connectors.errors import AuthenticationFailed, ConnectorError, PermissionMissing, Rejected, Unavailable
from connectors.types import Identity
from orgs import services
from orgs.models import Org
from orgs.services import add_file, check_org, open_source, rotate_vault, save_settings
from orgs.tokens import OrgTokens
from tests.orgs import fakes
from tests.orgs.fakes import SETTINGS, make_customer, make_org, make_staff

pytestmark = pytest.mark.django_db
PASSWORD = "c4nary p4ssword/+&=ü"
KEY = "-----BEGIN PRIVATE KEY-----\nc4narykeyline0ne\nc4narykeylinetw0\n-----END PRIVATE KEY-----\n"
ACCESS, REFRESH, FILE = "c4naryaccesstoken", "c4naryrefreshtoken", "c4narycellofacustomer"
NEEDLES = (PASSWORD, "c4narykeyline0ne", "c4narykeylinetw0", ACCESS, REFRESH, FILE)


def spellings(secret: str) -> set[str]:
    raw = secret.encode()
    encoded = {base64.b64encode(raw[cut:]).decode().rstrip("=")[:-1] for cut in range(3)}
    return {secret, quote(secret), quote_plus(secret), raw.hex(), secret.encode("unicode_escape").decode(), *encoded}


def leaks_in(text: str) -> list[str]:
    return sorted({found for needle in NEEDLES for found in spellings(needle) if found in text})


def database_dump() -> str:
    """Every row of every table as COPY prints it (bytes in hex)."""
    dumped: list[str] = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            with cursor.copy(f'COPY (SELECT * FROM "{table}") TO STDOUT') as copy:
                rows = b"".join(bytes(block) for block in copy).decode()
                dumped.append(f"== {table}\n{rows}")
    return "\n".join(dumped)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Everything logged, SQL statements with their parameters among it."""
    connection.force_debug_cursor = True
    with caplog.at_level(logging.DEBUG):
        caplog.set_level(logging.DEBUG, "django.db.backends")
        yield caplog
    connection.force_debug_cursor = False


@pytest.fixture
def planted() -> Org:
    org = make_org(role="both", secrets={"password": PASSWORD, "private_key": KEY})
    token = Token(Secret(ACCESS), "https://eu.example", Secret(REFRESH))
    OrgTokens(org).refresh(None, lambda _: token)
    add_file(org, "a.csv", io.BytesIO(f"id\n{FILE}\n".encode()))
    return Org.objects.get(pk=org.pk)


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(make_staff("ann", "view_org", "add_org", "change_org", "delete_org", "view_customer"))
    client.raise_request_exception = False
    return client


def test_the_search_finds_what_is_there() -> None:
    org = make_org()
    Org.objects.filter(pk=org.pk).update(account=PASSWORD, status_reason=KEY)
    found = leaks_in(database_dump())
    assert PASSWORD in found
    assert "c4narykeyline0ne" in found
    assert leaks_in(ACCESS.encode().hex())
    assert leaks_in(base64.b64encode(b"x" + REFRESH.encode() + b"yz").decode())


def test_bulk_work_leaves_no_plain_text(planted: Org, logged: pytest.LogCaptureFixture) -> None:
    planted.seal_secrets({"password": PASSWORD, "private_key": KEY})
    Org.objects.bulk_update([planted], ["secrets", "token"])
    Org.objects.filter(pk=planted.pk).update(secrets=planted.secrets)
    second = Org(customer=planted.customer, name="Second", platform="fake", role="source")
    second.seal_secrets({"password": PASSWORD})
    Org.objects.bulk_create([second])
    save_settings(planted, SETTINGS, {"private_key": KEY + "\n"})
    rotate_vault()
    out = StringIO()
    call_command("dumpdata", stdout=out)
    call_command("vault_keys", stdout=out)
    assert leaks_in(out.getvalue()) == []
    assert leaks_in(database_dump()) == []
    assert "orgs_org" in logged.text
    assert leaks_in(logged.text) == []


def test_a_task_row_that_carries_an_org_holds_no_plain_text(planted: Org) -> None:
    async_task("orgs.services.check_org", planted, broker=None)
    assert "django_q_ormq" in database_dump()
    assert leaks_in(database_dump()) == []
    assert leaks_in(pickle.dumps(planted).decode("latin-1")) == []
    assert leaks_in(repr(vars(planted)) + repr(planted.secrets) + str(planted.token)) == []


def test_an_opened_connector_prints_and_pickles_no_plain_text(planted: Org) -> None:
    with open_source(planted) as source:
        assert source.context.secret("password").reveal() == PASSWORD
        assert leaks_in(repr(source.context)) == []
        with pytest.raises(TypeError):
            pickle.dumps(source.context.secrets)


@pytest.mark.parametrize("kind", [AuthenticationFailed, PermissionMissing, Unavailable, ConnectorError])
def test_errors_that_quote_secrets_are_stored_logged_and_shown_masked(
    kind: type[ConnectorError],
    planted: Org,
    staff: Client,
    logged: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(connector: Connector) -> Identity:
        revealed = [secret.reveal() for secret in connector.context.secrets.values()]
        stored = connector.context.tokens.load()
        revealed += [stored.access.reveal()] if stored else []
        raise kind(f"Refused: {revealed[0]} / {quote(revealed[0])} / {revealed[-1]}.", detail=f"sent {revealed}")

    monkeypatch.setattr(fakes, "on_check", fail)
    page = staff.post(reverse("admin:orgs_org_check", args=[planted.pk]), follow=True).content.decode()
    assert "Refused: ***" in page
    assert leaks_in(page) == []
    assert leaks_in(Org.objects.get(pk=planted.pk).status_reason) == []
    assert leaks_in(database_dump()) == []
    assert "Refused" in logged.text
    assert leaks_in(logged.text) == []


def test_record_errors_in_a_check_are_masked_too(planted: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connector: Connector) -> Identity:
        raise Rejected(f"{PASSWORD} was rejected", code="X")

    monkeypatch.setattr(fakes, "on_check", fail)
    assert check_org(planted).status_reason == "*** was rejected"


def test_no_page_shows_a_secret(planted: Org, staff: Client) -> None:
    names = ("change", "settings", "history", "delete")
    addresses = [reverse(f"admin:orgs_org_{name}", args=[planted.pk]) for name in names]
    for address in ("/admin/orgs/org/", "/admin/orgs/customer/", "/admin/", *addresses):
        answer = staff.get(address)
        assert answer.status_code == 200
        assert leaks_in(answer.content.decode()) == []


def posted(**changes: str) -> dict[str, object]:
    return {
        "customer": make_customer().pk,
        "name": "New",
        "setting-base_url": "https://fake.example",
        "setting-region": "eu",
        "secret-password": PASSWORD,
        "secret-private_key": KEY,
    } | changes


def test_what_was_typed_is_neither_shown_again_nor_stored_plain(
    planted: Org, staff: Client, logged: pytest.LogCaptureFixture
) -> None:
    add, edit = "/admin/orgs/org/add/?platform=fake&role=source", reverse("admin:orgs_org_settings", args=[planted.pk])
    for address in (add, edit):
        for changes in ({"setting-base_url": "wrong"}, {}):
            answer = staff.post(address, posted(name=f"New {address[-1]}", **changes), follow=True)
            assert answer.status_code == 200
            assert leaks_in(answer.content.decode()) == []
    assert Org.objects.count() == 2
    assert leaks_in(database_dump()) == []
    assert leaks_in(logged.text) == []


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checking and saving hit a bug while secrets are in local variables."""

    def crash(connector: Connector) -> Identity:
        opened = connector.context.secret("password").reveal()
        raise RuntimeError(f"a bug with {len(opened)} characters")

    def crash_on_saving(*args: object, **entered: object) -> Org:
        raise RuntimeError(f"a bug with {len(entered)} arguments")

    monkeypatch.setattr(fakes, "on_check", crash)
    monkeypatch.setattr(services, "submit_org", crash_on_saving)


@pytest.mark.usefixtures("crashing")
@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("page", ["add", "settings", "check"])
def test_exception_pages_and_mails_hold_nothing_that_was_typed_or_opened(
    planted: Org, staff: Client, settings: Settings, logged: pytest.LogCaptureFixture, *, debug: bool, page: str
) -> None:
    settings.DEBUG, settings.ADMINS = debug, [("Ann", "ann@example.com")]
    address = {
        "add": "/admin/orgs/org/add/?platform=fake&role=source",
        "settings": reverse("admin:orgs_org_settings", args=[planted.pk]),
        "check": reverse("admin:orgs_org_check", args=[planted.pk]),
    }[page]
    answer = staff.post(address, posted())
    sent = "".join(each.message().as_string() for each in mail.outbox)
    shown = answer.content.decode()
    assert answer.status_code == 500
    assert "a bug with" in (shown if debug else sent)
    assert leaks_in(shown) == []
    assert leaks_in(sent) == []
    assert leaks_in(logged.text) == []
    assert leaks_in(database_dump()) == []
