"""Setting an org up once: what is made, what connects afterwards, and that nothing is left where a step fails."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from connectors.clients.salesforce_package import AppKind
from connectors.clients.salesforce_session import audience_of
from connectors.clients.salesforce_setup import Administrator, Provisioned, provision
from connectors.context import LOOPBACK, Context, Network, Secret
from connectors.errors import (
    AuthenticationFailed,
    ConnectorError,
    FatalError,
    PermissionMissing,
    SettingsInvalid,
)
from connectors.sources.salesforce import SalesforceSource
from connectors.testing import VirtualClock
from sandbox.salesforce.running import Running, running_simulator

NAME = "Migration_Factory_1"


@pytest.fixture
def org() -> Iterator[Running]:
    with running_simulator() as running:
        yield running


@pytest.fixture
def context() -> Context:
    return Context(name="Acme", clock=VirtualClock(datetime.now(UTC)), network=Network(allowed_networks=LOOPBACK))


def by_password(org: Running, password: str = "") -> Administrator:
    ready = org.ready
    return Administrator(ready.url, username=ready.username, password=Secret(password or ready.password))


def by_session(org: Running) -> Administrator:
    return Administrator(org.ready.url, session=Secret(org.ready.access_token))


def made(context: Context, administrator: Administrator, **options: Any) -> Provisioned:
    return provision(
        context, administrator, name=NAME, label="Migration Factory", contact_email="a@b.example", **options
    )


def left_behind(org: Running) -> list[str]:
    """Permission sets in the org, and whether an app of ours would be asked for its proof."""
    answer = httpx.get(
        f"{org.url}/services/data/v66.0/query",
        params={"q": "SELECT Name FROM PermissionSet"},
        headers={"Authorization": f"Bearer {org.ready.access_token}"},
        trust_env=False,
    )
    return [record["Name"] for record in answer.json()["records"]]


@pytest.mark.parametrize("kind", list(AppKind))
@pytest.mark.parametrize("given", [by_password, by_session], ids=["password", "session"])
def test_an_app_of_its_own_connects_without_the_administrator(
    org: Running, context: Context, kind: AppKind, given: Any
) -> None:
    org.control.change_settings(connected_apps=1, app_delay=3)
    steps: list[str] = []
    found = made(context, given(org), kind=kind, tell=steps.append)
    assert found.is_known
    assert len(steps) == 6
    org.control.expire_tokens()
    settings = {"login_url": found.login_url, "client_id": found.client_id, "username": found.username}
    secrets = {"private_key": found.key_pair.private_key}
    with SalesforceSource(Context(settings=settings, secrets=secrets, network=context.network)) as source:
        assert source.check().account == "Sandbox Industries"


def test_by_sfdx_auth_url(context: Context) -> None:
    with running_simulator(tls=True) as org:
        network = Network(allowed_networks=LOOPBACK, ca_file=org.ready.ca_file)
        administrator = Administrator(sfdx_auth_url=Secret(org.ready.sfdx_auth_url))
        found = made(Context(clock=VirtualClock(datetime.now(UTC)), network=network), administrator)
    assert found.is_known


def test_an_app_that_stays_unknown_is_kept_and_said_so(org: Running, context: Context) -> None:
    org.control.change_settings(app_delay=1_000)
    assert not made(context, by_session(org)).is_known
    assert left_behind(org) == [f"{NAME}_Access"]


def test_an_interrupted_try_is_replaced(org: Running, context: Context) -> None:
    first = made(context, by_session(org))
    second = made(context, by_session(org))
    assert first.client_id != second.client_id
    assert left_behind(org) == [f"{NAME}_Access"]


@pytest.mark.parametrize(
    ("settings", "kind", "refusal"),
    [
        ({"failing_tests": 1}, AppKind.EXTERNAL, (SettingsInvalid, r"Apex tests .* fail \(CustomerTest1.loads\)")),
        ({"setup_access": 0}, AppKind.EXTERNAL, (PermissionMissing, "does not let this user change its set-up")),
        ({}, AppKind.CONNECTED, (SettingsInvalid, "contact Salesforce Customer Support. You can make the app by hand")),
        ({"soap_login": 0}, AppKind.EXTERNAL, (PermissionMissing, "switched off in this org. Use an administrator's")),
    ],
)
def test_a_refused_set_up_leaves_nothing(
    org: Running,
    context: Context,
    settings: dict[str, int],
    kind: AppKind,
    refusal: tuple[type[ConnectorError], str],
) -> None:
    org.control.change_settings(**settings)
    with pytest.raises(refusal[0], match=refusal[1]):
        made(context, by_password(org), kind=kind)
    assert left_behind(org) == []


def test_a_wrong_password_is_one_sentence_without_it(org: Running, context: Context) -> None:
    with pytest.raises(AuthenticationFailed, match="does not accept this user name with this password") as refused:
        made(context, by_password(org, "Top-Secret-9"))
    assert "Top-Secret-9" not in f"{refused.value} {refused.value.detail}"


def test_without_any_credentials(org: Running, context: Context) -> None:
    with pytest.raises(SettingsInvalid, match="needs an administrator's SFDX auth URL"):
        made(context, Administrator(org.ready.url))


def test_what_cannot_be_removed_is_named(org: Running, context: Context) -> None:
    """The assignment fails, and from then on so does the service that would take everything back."""

    def tell(step: str) -> None:
        if step.startswith("Admitting"):
            org.control.fault("server_error", path="/services/data/.*/PermissionSetAssignment", method="POST")
            org.control.fault("unavailable", path="/services/Soap/m/.*")

    with pytest.raises(FatalError, match=f"delete the app {NAME} and the permission set {NAME}_Access"):
        made(context, by_session(org), tell=tell)


@pytest.mark.parametrize(
    ("address", "audience"),
    [
        ("https://acme.my.salesforce.com", "https://login.salesforce.com"),
        ("https://acme--uat.sandbox.my.salesforce.com", "https://test.salesforce.com"),
        ("https://acme.scratch.my.salesforce.com", "https://test.salesforce.com"),
        ("https://test.salesforce.com", "https://test.salesforce.com"),
        ("https://test.salesforce.com.evil.example", "https://login.salesforce.com"),
    ],
)
def test_the_audience_is_the_log_in_host_of_the_orgs_kind(address: str, audience: str) -> None:
    assert audience_of(address) == audience
