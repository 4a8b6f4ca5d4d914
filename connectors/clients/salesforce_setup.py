"""The one-time set-up of an org: from an administrator's credentials to an application of its own, or nothing.

The credentials are used by this call and kept by nobody. What was made before a step failed is taken away again.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from connectors.auth import JwtGrant, TokenEndpoint, bearer
from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_app import (
    AppPlan,
    KeyPair,
    app_package,
    new_key_pair,
    permission_set_package,
    removal_package,
)
from connectors.clients.salesforce_errors import DIALECT
from connectors.clients.salesforce_metadata import Metadata
from connectors.clients.salesforce_package import AppKind
from connectors.clients.salesforce_session import SYSTEM, api_host, audience_of, sfdx_login
from connectors.clients.salesforce_soap import log_in
from connectors.context import Context, MemoryTokens, Secret
from connectors.errors import AuthenticationFailed, ConnectorError, FatalError, SettingsInvalid
from connectors.http import HttpClient
from connectors.pagination import batch_from

VERSION: Final = "66.0"
MANUAL: Final = (
    "You can make the app by hand: create an External Client App in the org's Setup, enable JWT with your certificate, "
    "admit its users by a permission set, and connect with “Existing app, key and certificate”."
)
KNOWN_AFTER: Final = 90.0
"""Seconds we wait for a new app to become known; the platform takes up to ten minutes."""
_WAITS: Final = (2.0, 3.0, 5.0, 10.0, 10.0, 15.0, 15.0, 15.0, 15.0)


@dataclass(frozen=True, slots=True)
class Administrator:
    """Credentials for one use: an SFDX auth URL, or a session, or user name and password (with security token)."""

    login_url: str = ""
    sfdx_auth_url: Secret = field(default_factory=lambda: Secret(""))
    session: Secret = field(default_factory=lambda: Secret(""))
    username: str = ""
    password: Secret = field(default_factory=lambda: Secret(""))


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What connects from now on: settings of the connector, and the private key. ``is_known`` says that the app has
    let us in already; a new one may need some minutes."""

    login_url: str
    client_id: str
    username: str
    key_pair: KeyPair
    plan: AppPlan
    is_known: bool


def provision(
    context: Context,
    administrator: Administrator,
    *,
    name: str,
    label: str,
    contact_email: str,
    kind: AppKind = AppKind.EXTERNAL,
    tell: Callable[[str], None] = lambda _step: None,
) -> Provisioned:
    """Make the app and the permission set, admit the administrator, and log in with the new key.

    ``tell`` hears of each step as it begins. What an earlier, interrupted call left under ``name`` is taken away
    first. Raises SettingsInvalid, AuthenticationFailed, PermissionMissing or a RetryableError with one sentence;
    nothing is left in the org then, or the sentence says what.
    """
    tell("Logging in as the administrator")
    base_url, session = _signed_in(context, administrator)
    pair = new_key_pair(label, context.clock.now())
    plan = AppPlan(kind, name, label, contact_email, pair.certificate)
    with _Site(context, base_url, session, plan, tell) as site:
        return site.made(pair)


class _Site(AbstractContextManager["_Site"]):
    """The org while it is set up, with an administrator's session."""

    def __init__(
        self, context: Context, base_url: str, session: Secret, plan: AppPlan, tell: Callable[[str], None]
    ) -> None:
        self._context, self._base_url, self._plan, self._tell = context, base_url, plan, tell
        self._metadata = Metadata(context, base_url, session)
        self._rest = HttpClient(context, base_url, system=SYSTEM, auth=bearer(session), dialect=DIALECT)

    def __exit__(self, *_: object) -> None:
        self._metadata.close()
        self._rest.close()

    def made(self, pair: KeyPair) -> Provisioned:
        user = self._rest.get("/services/oauth2/userinfo").object()
        username, user_id = str(user.get("preferred_username")), str(user.get("user_id"))
        self._tell("Looking for what an earlier try left behind")
        # A permission set that somebody has cannot be removed, and the app with it stays: one deployment, all or none.
        self._take_away_assignments()
        self._metadata.deploy(removal_package(self._plan))
        self._tell("Making the permission set")
        made = self._metadata.deploy(permission_set_package(self._plan))
        made.require("the permission set", otherwise=MANUAL)
        with self._taken_back():
            permission_set_id = self._permission_set_id()
            self._tell("Making the app")
            self._metadata.deploy(app_package(self._plan, permission_set_id)).require("the app", otherwise=MANUAL)
            self._tell("Admitting the user to the app")
            self._assign(user_id, permission_set_id)
        self._tell("Waiting until the app answers")
        is_known = _answers(self._context, self._base_url, self._plan, username, pair)
        return Provisioned(self._base_url, self._plan.consumer_key, username, pair, self._plan, is_known)

    def _permission_set_id(self) -> str:
        name = self._plan.permission_set
        query = soql.select(["Id"], "PermissionSet", [soql.condition("Name", "=", name)])
        answer = self._rest.get(f"/services/data/v{VERSION}/query", params={"q": query})
        found = batch_from(answer, ("records",)).records
        if not found:
            raise SettingsInvalid(f"The permission set {name} was made, but the user cannot see it. {MANUAL}")
        return str(found[0]["Id"])

    def _take_away_assignments(self) -> None:
        wanted = soql.condition("PermissionSet.Name", "=", self._plan.permission_set)
        query = soql.select(["Id"], "PermissionSetAssignment", [wanted])
        answer = self._rest.get(f"/services/data/v{VERSION}/query", params={"q": query})
        for row in batch_from(answer, ("records",)).records:
            path = f"/services/data/v{VERSION}/sobjects/PermissionSetAssignment/{row['Id']}"
            self._rest.send("DELETE", path, repeatable=True)

    def _assign(self, user_id: str, permission_set_id: str) -> None:
        body = {"AssigneeId": user_id, "PermissionSetId": permission_set_id}
        path = f"/services/data/v{VERSION}/sobjects/PermissionSetAssignment"
        self._rest.send("POST", path, json=body, repeatable=False)

    @contextmanager
    def _taken_back(self) -> Iterator[None]:
        """Remove app and permission set where the block fails; say so where even that fails."""
        try:
            yield
        except ConnectorError as error:
            if self._is_removed():
                raise
            raise FatalError(
                f"{error.message} What was made before could not be removed: delete the app {self._plan.name} and the "
                f"permission set {self._plan.permission_set} in the org's Setup, or start the set-up again.",
                detail=error.detail,
            ) from error

    def _is_removed(self) -> bool:
        try:
            self._take_away_assignments()
            return self._metadata.deploy(removal_package(self._plan)).succeeded
        except ConnectorError:
            return False


def _signed_in(context: Context, given: Administrator) -> tuple[str, Secret]:
    """Where the org is, and an administrator's session there."""
    if given.sfdx_auth_url:
        base_url, grant = sfdx_login(given.sfdx_auth_url)
        endpoint = TokenEndpoint(
            replace(context, tokens=MemoryTokens()), f"{base_url}/services/oauth2/token", grant, system=SYSTEM
        )
        try:
            token = endpoint(None)
        finally:
            endpoint.close()
        return token.instance_url or base_url, token.access
    base_url = api_host(given.login_url)
    if given.session:
        return base_url, given.session
    if given.username and given.password:
        return log_in(context, base_url, given.username, given.password)
    raise SettingsInvalid(
        "The set-up needs an administrator's SFDX auth URL, access token, or user name and password. Enter one of them."
    )


def _answers(context: Context, base_url: str, plan: AppPlan, username: str, pair: KeyPair) -> bool:
    """Whether the app lets us in within ``KNOWN_AFTER`` seconds; a refusal may only mean that it is not known yet."""
    grant = JwtGrant(plan.consumer_key, username, audience_of(base_url), pair.private_key)
    unshared = replace(context, tokens=MemoryTokens())
    endpoint = TokenEndpoint(unshared, f"{base_url}/services/oauth2/token", grant, system=SYSTEM)
    try:
        for wait in (*_WAITS, 0.0):
            if _lets_in(endpoint):
                return True
            context.clock.sleep(wait)
    finally:
        endpoint.close()
    return False


def _lets_in(endpoint: TokenEndpoint) -> bool:
    try:
        endpoint(None)
    except AuthenticationFailed:
        return False
    return True
