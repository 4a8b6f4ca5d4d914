"""A Salesforce org we are logged in to: its settings, its address, its API version, who it is."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote, urlsplit

from connectors.addresses import checked_base_url
from connectors.answers import Answer
from connectors.auth import (
    Client,
    ClientCredentialsGrant,
    Grant,
    JwtGrant,
    RefreshGrant,
    TokenAuth,
    TokenEndpoint,
    bearer,
)
from connectors.clients.salesforce_errors import DIALECT
from connectors.clients.salesforce_options import options_of
from connectors.clients.salesforce_pace import Pace
from connectors.contents import Reference
from connectors.context import Context, Secret
from connectors.errors import NotFound, SettingsInvalid
from connectors.http import Auth, HttpClient
from connectors.pagination import Batch, NextLink, batch_from, follow
from connectors.types import Cursor, Identity, JsonScalar, Setting, SettingKind

SYSTEM: Final = "Salesforce"
API_VERSION: Final = "66.0"

SETTINGS: Final = (
    Setting(
        "login_url",
        "Org address",
        SettingKind.URL,
        required=False,
        help="The org's My Domain address, https://acme.my.salesforce.com; a sandbox has its own.",
    ),
    Setting("sfdx_auth_url", "SFDX auth URL", SettingKind.LONG_TEXT, required=False, secret=True,
            help="What “sf org auth show-sfdx-auth-url --json” prints; replaces the four fields below."),
    Setting("client_id", "Client id", required=False, help="The consumer key of the connected or external client app."),
    Setting("client_secret", "Client secret", required=False, secret=True,
            help="Where the app asks for one. Without a refresh token, the app logs in as its own run-as user."),
    Setting("refresh_token", "Refresh token", required=False, secret=True,
            help="It works only with the client id that obtained it."),
    Setting("username", "User name", required=False,
            help="With a private key: the user to act as, whom an administrator has admitted to the app."),
    Setting("private_key", "Private key", SettingKind.LONG_TEXT, required=False, secret=True,
            help="The RSA key in PEM form whose certificate the app holds (JWT bearer)."),
    Setting("access_token", "Access token", required=False, secret=True,
            help="Ends after some hours and cannot be renewed: for a short look only."),
    Setting("api_version", "API version", required=False, default=API_VERSION, help="For instance 66.0."),
)  # fmt: skip

# Form: https://developer.salesforce.com/docs/atlas.en-us.sfdx_cli_reference.meta (org login sfdx-url)
_SFDX_URL: Final = re.compile(
    r"force://(?P<id>[A-Za-z0-9._-]+={0,2}):(?P<secret>[A-Za-z0-9._-]*={0,2}):"
    r"(?P<refresh>[A-Za-z0-9._-]+={0,2})@(?P<host>[A-Za-z0-9:._-]+)"
)
_SHARED_HOSTS: Final = frozenset({"login.salesforce.com", "test.salesforce.com"})
# Hosts of the user interface answer neither token nor API calls.
_UI_SUFFIXES: Final = ((".lightning.force.com", ".my.salesforce.com"), (".salesforce-setup.com", ".salesforce.com"))
_SHOWN_LIMITS: Final = (
    "DailyApiRequests", "DailyBulkApiBatches", "DailyBulkV2QueryJobs", "DataStorageMB", "FileStorageMB"
)  # fmt: skip
_ORGANIZATION: Final = "SELECT Id, Name, OrganizationType, IsSandbox, InstanceName FROM Organization"


class SalesforceSession:
    """Calls to one org. ``version`` is the API version of every path, ``options`` how records are written."""

    def __init__(self, context: Context) -> None:
        self.clock = context.clock
        self.journal = context.journal
        self.version = _version(context.text("api_version", API_VERSION))
        self.options = options_of(context)
        self.pace = Pace()
        self.tells_pictures = False
        """Whether rich texts are read with picture addresses."""
        self.pictures: dict[str, Reference] = {}
        """What is known of pictures, by Salesforce's reference to them."""
        self._endpoint: TokenEndpoint | None = None
        base_url, auth = self._login(context)
        self._auth = auth
        self.context, self.base_url = context, base_url
        self.http = HttpClient(context, base_url, system=SYSTEM, auth=auth, dialect=DIALECT)

    def close(self) -> None:
        self.http.close()
        if self._endpoint is not None:
            self._endpoint.close()

    def path(self, *parts: str, version: str = "") -> str:
        """A path below this org's versioned root, every part quoted."""
        quoted = "/".join(quote(part, safe="") for part in parts)
        return f"/services/data/v{version or self.version}/{quoted}"

    def query(self, soql: str, *, resource: str = "query") -> Answer:
        """The first page of a REST query; the resource ``queryAll`` includes deleted and archived records."""
        return self.http.get(self.path(resource), params={"q": soql})

    def connected(self) -> tuple[str, str]:
        """The ids of the organisation and of the user we are: the end of the identity address that the list of
        resources names."""
        identity = self.http.get(self.path("")).object().get("identity")
        organisation, _, user = str(identity or "").partition("/id/")[2].partition("/")
        return organisation, user

    @cached_property
    def organisation(self) -> str:
        """The id of the organisation, of 15 characters."""
        return self.connected()[0][:15]

    def access_token(self) -> tuple[str, Secret]:
        """The org's own address and a session there, for services that are not REST; asked for anew where the last
        one has ended."""
        self.connected()
        given = self._auth.credentials()
        token = given.headers["Authorization"].removeprefix("Bearer ")
        return given.base_url or self.base_url, Secret(token)

    def records(self, soql: str) -> Iterator[Mapping[str, Any]]:
        """All records of a REST query, page by page."""

        def fetch(link: Cursor | None) -> Batch:
            answer = self.query(soql) if link is None else self.http.get(str(link["link"]))
            return batch_from(answer, ("records",))

        for batch, _ in follow(NextLink(("nextRecordsUrl",)), fetch):
            yield from batch.records

    def identity(self) -> Identity:
        """Who the org is and what is left of its limits; raises SettingsInvalid for a version it lacks."""
        self._check_version()
        records = batch_from(self.query(_ORGANIZATION), ("records",)).records
        org: Mapping[str, Any] = records[0] if records else {}
        facts: dict[str, JsonScalar] = {
            "organisation id": org.get("Id"),
            "edition": org.get("OrganizationType"),
            "sandbox": bool(org.get("IsSandbox")),
            "instance": org.get("InstanceName"),
            "API version": self.version,
            **self._features(),
        }
        return Identity(account=str(org.get("Name") or org.get("Id") or SYSTEM), facts=facts, limits=self._limits())

    def _features(self) -> dict[str, JsonScalar]:
        """What the org has switched on, and whether the user may set audit fields: by what its Account looks like.
        Nothing where the user does not see accounts."""
        try:
            answer = self.http.get(self.path("sobjects", "Account", "describe"))
        except NotFound:
            return {}
        fields = {str(entry.get("name")): entry for entry in batch_from(answer, ("fields",)).records}
        return {
            "several currencies": "CurrencyIsoCode" in fields,
            "person accounts": "IsPersonAccount" in fields,
            "state and country picklists": "BillingStateCode" in fields,
            "may set audit fields": bool(fields.get("CreatedDate", {}).get("createable")),
        }

    def _limits(self) -> dict[str, tuple[int, int]]:
        limits = self.http.get(self.path("limits")).object()
        pairs = {name: _left_and_total(limits.get(name)) for name in _SHOWN_LIMITS}
        return {name: pair for name, pair in pairs.items() if pair is not None}

    def _check_version(self) -> None:
        offered = [str(entry.get("version")) for entry in batch_from(self.http.get("/services/data"), ()).records]
        if self.version not in offered:
            raise SettingsInvalid(
                f"The org does not offer API version {self.version}; it offers {', '.join(offered[-5:]) or 'none'}. "
                "Correct the version on the org's page."
            )

    def _login(self, context: Context) -> tuple[str, Auth]:
        """Base URL and credentials, from the first complete way the settings describe."""
        sfdx = context.secrets.get("sfdx_auth_url")
        if sfdx:
            base_url, grant = sfdx_login(sfdx)
            return base_url, self._token_auth(context, base_url, grant)
        base_url = api_host(context.require("login_url"))
        access = context.secrets.get("access_token")
        if access:
            if urlsplit(base_url).hostname in _SHARED_HOSTS:
                raise SettingsInvalid("With an access token, enter the org's own address instead of the log-in page's.")
            return base_url, bearer(access)
        return base_url, self._token_auth(context, base_url, _grant(context, base_url))

    def _token_auth(self, context: Context, base_url: str, grant: Grant) -> TokenAuth:
        self._endpoint = TokenEndpoint(context, f"{base_url}/services/oauth2/token", grant, system=SYSTEM)
        return TokenAuth(context, self._endpoint)


def sfdx_login(pasted: Secret) -> tuple[str, RefreshGrant]:
    """Base URL and grant of an SFDX auth URL, pasted bare or in the JSON the CLI prints around it.

    Raises SettingsInvalid where it is neither, without repeating what was pasted."""
    text = pasted.reveal().strip()
    if text.startswith("{"):
        text = _from_json(text)
    found = _SFDX_URL.fullmatch(text)
    if found is None:
        raise SettingsInvalid(
            "The SFDX auth URL must look like force://client id:secret:refresh token@host. "
            "Print it with “sf org auth show-sfdx-auth-url” and paste it whole."
        )
    client = Client(found["id"], Secret(found["secret"]) if found["secret"] else None)
    return api_host(f"https://{found['host']}"), RefreshGrant(client, Secret(found["refresh"]))


def api_host(url: str) -> str:
    """The address for API calls; a user-interface address is turned into its My Domain."""
    url = checked_base_url(url if "://" in url else f"https://{url}", system=SYSTEM)
    parts = urlsplit(url)
    host = parts.netloc
    for suffix, replacement in _UI_SUFFIXES:
        if host.endswith(suffix):
            host = host.removesuffix(suffix) + replacement
    return f"{parts.scheme}://{host}"


def _grant(context: Context, base_url: str) -> Grant:
    refresh, secret = context.secrets.get("refresh_token"), context.secrets.get("client_secret")
    client_id = context.text("client_id")
    if refresh and client_id:
        return RefreshGrant(Client(client_id, secret), refresh)
    key, username = context.secrets.get("private_key"), context.text("username")
    if client_id and key and username:
        return JwtGrant(client_id, username, audience_of(base_url), key)
    if client_id and secret:
        return ClientCredentialsGrant(Client(client_id, secret))
    raise SettingsInvalid(
        "Salesforce needs one of: an SFDX auth URL; a client id with a refresh token, with user name and private key, "
        "or with its secret; an access token. Enter it on the org's page."
    )


def audience_of(base_url: str) -> str:
    """The audience of a JWT for an org: the log-in host of its kind.

    https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_jwt_flow.htm"""
    host = urlsplit(base_url).hostname or ""
    is_test = host == "test.salesforce.com" or host.endswith(
        (".sandbox.my.salesforce.com", ".scratch.my.salesforce.com")
    )
    return "https://test.salesforce.com" if is_test else "https://login.salesforce.com"


def _from_json(text: str) -> str:
    try:
        body = json.loads(text)
    except ValueError:
        return ""
    body = body.get("result", body)
    return str(body.get("sfdxAuthUrl", "")) if isinstance(body, dict) else ""


def _left_and_total(entry: Any) -> tuple[int, int] | None:
    """None where the org does not have this limit."""
    if not isinstance(entry, dict) or not isinstance(entry.get("Max"), int):
        return None
    total = entry["Max"]
    # Storage in use may exceed what was bought; then nothing is left, not less than nothing.
    return min(max(0, int(entry.get("Remaining") or 0)), total), total


def _version(text: str) -> str:
    text = text.strip().removeprefix("v")
    if not re.fullmatch(r"\d{2,3}(\.0)?", text):
        raise SettingsInvalid(f"“{text[:20]}” is not an API version. Enter one like {API_VERSION} on the org's page.")
    return text if text.endswith(".0") else f"{text}.0"
