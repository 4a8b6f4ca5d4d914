"""The ways to connect a Salesforce org, from a person's consent to an app made for the purpose."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Final

from connectors.auth import Client, CodeGrant, Consent, TokenEndpoint, start_consent
from connectors.clients.salesforce_package import AppKind
from connectors.clients.salesforce_session import SYSTEM, api_host
from connectors.context import Context, MemoryTokens, Secret
from connectors.errors import SettingsInvalid
from connectors.types import Connection, Flow, Setting, SettingKind, Way

SCOPES: Final = "api refresh_token"
KNOWN_SOON: Final = (
    "The app was made, but Salesforce does not know it everywhere yet. Check the connection in ten minutes."
)

_ADMINISTRATOR: Final = (
    Setting("admin_sfdx_url", "Administrator's SFDX auth URL", SettingKind.LONG_TEXT, required=False, secret=True,
            help="What “sf org auth show-sfdx-auth-url --json” prints. Or fill in one of the next two:"),
    Setting("admin_session", "Administrator's access token", required=False, secret=True,
            help="For instance what “sf org auth show-access-token” prints."),
    Setting("admin_username", "Administrator's user name", required=False,
            help="Only for orgs that still allow log-in by user name and password."),
    Setting("admin_password", "Password and security token", required=False, secret=True,
            help="The security token goes right behind the password."),
    Setting("app_kind", "Kind of app", SettingKind.CHOICE, default=AppKind.EXTERNAL.value,
            choices=((AppKind.EXTERNAL.value, "External client app"), (AppKind.CONNECTED.value, "Connected app")),
            help="Connected apps can be made only in orgs where Salesforce has allowed them again."),
)  # fmt: skip

WAYS: Final = (
    Way(
        "set-up",
        "Set up automatically",
        "An administrator's credentials are used once, to make an app and a permission set in the org, and forgotten.",
        ("login_url",),
        flow=Flow.SET_UP,
        one_time=_ADMINISTRATOR,
    ),
    Way(
        "consent",
        "Log in with Salesforce",
        "You log in to the org in the browser and allow access. Needs the client id of an app that returns here.",
        ("login_url", "client_id", "client_secret"),
        ("login_url", "client_id"),
        flow=Flow.CONSENT,
    ),
    Way(
        "sfdx",
        "SFDX auth URL",
        "Somebody is logged in to the org with Salesforce's command line and sends you what it prints.",
        ("login_url", "sfdx_auth_url"),
        ("sfdx_auth_url",),
    ),
    Way(
        "key",
        "Existing app, key and certificate",
        "The org has an app that holds a certificate (JWT bearer), and you have the private key.",
        ("login_url", "client_id", "username", "private_key"),
        ("login_url", "client_id", "username", "private_key"),
    ),
    Way(
        "secret",
        "Existing app, id and secret",
        "The org has an app with a run-as user (client credentials), and you have its id and secret.",
        ("login_url", "client_id", "client_secret"),
        ("login_url", "client_id", "client_secret"),
    ),
    Way(
        "token",
        "Access token",
        "For a short look: the token ends after some hours and cannot be renewed.",
        ("login_url", "access_token"),
        ("login_url", "access_token"),
    ),
)


class SalesforceWays:
    """What source and target share of connecting."""

    ways: ClassVar[tuple[Way, ...]] = WAYS

    @classmethod
    def start_consent(cls, context: Context, redirect_uri: str) -> Consent:
        """The org's own log-in page, asked to log in anew: a person may be logged in to another org."""
        return start_consent(
            f"{api_host(context.require('login_url'))}/services/oauth2/authorize",
            client_id=context.require("client_id"),
            redirect_uri=redirect_uri,
            scope=SCOPES,
            extra={"prompt": "login"},
        )

    @classmethod
    def end_consent(cls, context: Context, *, code: Secret, verifier: Secret, redirect_uri: str) -> Connection:
        """A refresh token for the org that the person logged in to, which may be another than they came from.

        Raises SettingsInvalid where the app gives no refresh token."""
        base_url = api_host(context.require("login_url"))
        client = Client(context.require("client_id"), context.secrets.get("client_secret"))
        grant = CodeGrant(client, code, verifier, redirect_uri)
        unshared = replace(context, tokens=MemoryTokens())
        endpoint = TokenEndpoint(unshared, f"{base_url}/services/oauth2/token", grant, system=SYSTEM)
        try:
            token = endpoint(None)
        finally:
            endpoint.close()
        if token.refresh is None:
            raise SettingsInvalid(
                "Salesforce let us in for some hours only: the app gives no refresh token. Add the scope "
                "“refresh_token” to the app, then connect again."
            )
        settings = {"login_url": token.instance_url or base_url, "client_id": client.id}
        kept = {"client_secret": client.secret} if client.secret else {}
        return Connection(settings, {"refresh_token": token.refresh, **kept})

    @classmethod
    def set_up(cls, context: Context, *, name: str, contact_email: str, tell: Callable[[str], None]) -> Connection:
        """An app that holds our certificate, and a permission set that admits to it."""
        # Imported here: making keys and deploying take tools that no worker needs.
        from connectors.clients.salesforce_setup import Administrator, provision  # noqa: PLC0415

        nothing = Secret("")
        administrator = Administrator(
            login_url=context.text("login_url"),
            sfdx_auth_url=context.secrets.get("admin_sfdx_url", nothing),
            session=context.secrets.get("admin_session", nothing),
            username=context.text("admin_username"),
            password=context.secrets.get("admin_password", nothing),
        )
        made = provision(
            context,
            administrator,
            name=name,
            label="Migration Factory",
            contact_email=contact_email,
            kind=AppKind(context.text("app_kind", AppKind.EXTERNAL.value)),
            tell=tell,
        )
        settings = {"login_url": made.login_url, "client_id": made.client_id, "username": made.username}
        return Connection(settings, {"private_key": made.key_pair.private_key}, "" if made.is_known else KNOWN_SOON)
