"""One simulated org: who may come in, its tokens, what was called and how much of the daily allowance is used."""

import itertools
import re
import secrets
import threading
from collections import Counter
from dataclasses import dataclass, field

from sandbox.salesforce import ids
from sandbox.salesforce.apps import PLATFORM_CLI, App, Apps

CALLBACKS = ("http://localhost/", "http://127.0.0.1/")
"""Return addresses of the customer's own app: below these, on any port."""
_VARIABLE = re.compile(r"/[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?(?:-\d+)?(?=/|$)")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client needs to get in. ``refresh_token`` belongs to ``PlatformCLI``, ``app_refresh_token`` to
    ``client_id``. ``password`` is sent with ``security_token`` behind it."""

    client_id: str
    client_secret: str
    refresh_token: str
    app_refresh_token: str
    username: str = "admin@sandbox.example"
    password: str = "Sandbox-2026"  # noqa: S105 - a made-up account of a local simulator
    security_token: str = "tOkEn123"  # noqa: S105


def new_credentials() -> Credentials:
    return Credentials(
        client_id="3MVG9" + secrets.token_hex(24),
        client_secret=secrets.token_hex(32).upper(),
        refresh_token="5Aep861" + secrets.token_urlsafe(40),
        app_refresh_token="5Aep861" + secrets.token_urlsafe(40),
    )


@dataclass(slots=True)
class Settings:
    """What control requests may change; switches are 0 or 1.

    ``query_page`` is the most rows a page of a query has, whatever the client asks for, as the platform does with wide
    rows. ``bulk_polls`` is how often a bulk job is seen unfinished; an ingest job stops after ``bulk_hold`` batches and
    waits until that is -1 again. ``upload_bytes`` is the most one upload may hold, ``file_bytes`` one file.
    ``person_accounts`` cannot be taken back once it is 1. ``app_delay`` is how many token
    requests a new app refuses as not known yet, ``deploy_polls`` how often a deployment is seen unfinished,
    ``failing_tests`` how many Apex tests fail in it. ``connected_apps`` lets connected apps be made, as only older
    orgs do; ``setup_access`` is the administrator's right to make apps at all, ``assign_permissions`` to assign
    permission sets; ``soap_login`` the old log-in.
    """

    api_limit: int = 100_000
    query_page: int = 2_000
    bulk_polls: int = 1
    bulk_page: int = 50_000
    bulk_batch: int = 10_000
    bulk_batches: int = 15_000
    bulk_hold: int = -1
    jobs_page: int = 1_000
    upload_bytes: int = 100_000_000
    file_bytes: int = 2_147_483_648
    audit_fields: int = 0
    hard_delete: int = 0
    row_locks: int = 0
    person_accounts: int = 0
    app_delay: int = 0
    deploy_polls: int = 1
    failing_tests: int = 0
    connected_apps: int = 0
    setup_access: int = 1
    assign_permissions: int = 1
    soap_login: int = 1


@dataclass
class Org:
    """The state around the records. Thread-safe. ``number`` tells the orgs of one process apart, from 0."""

    credentials: Credentials = field(default_factory=new_credentials)
    number: int = 0
    settings: Settings = field(default_factory=Settings)
    used: int = 0
    bulk_jobs: int = 0
    batches: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    apps: Apps = field(default_factory=Apps)
    _tokens: dict[str, str] = field(default_factory=dict)
    _passwords: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @property
    def first(self) -> int:
        """Before the number of this org's first record of any object."""
        return self.number * ids.ORG_SPAN

    @property
    def org_id(self) -> str:
        return ids.record_id("00D", self.first + 1)

    @property
    def user_id(self) -> str:
        """The administrator's."""
        return ids.record_id("005", self.first + 1)

    def __post_init__(self) -> None:
        """Every org knows the vendor's command line, and here an app of the customer's own."""
        given = self.credentials
        own = App(given.client_id, "Sandbox_App", given.client_secret, CALLBACKS, runs_as=self.user_id)
        for app, token in ((App(PLATFORM_CLI), given.refresh_token), (own, given.app_refresh_token)):
            self.apps.put(app)
            self.apps.admit(token, app.key, self.user_id)
        self._passwords[self.user_id] = given.password + given.security_token

    def new_token(self, user_id: str) -> str:
        """A session of that user."""
        token = f"{self.org_id[:15]}!AQ{secrets.token_urlsafe(60)}"
        with self._lock:
            self._tokens[token] = user_id
        return token

    def holder(self, token: str) -> str | None:
        """The id of the user whose session it is."""
        return self._tokens.get(token)

    def set_password(self, user_id: str, password: str) -> None:
        """``password`` with the security token behind it."""
        with self._lock:
            self._passwords[user_id] = password

    def is_password(self, user_id: str, password: str) -> bool:
        return bool(password) and self._passwords.get(user_id) == password

    def expire(self, token: str | None = None) -> None:
        """Make one access token, or every one, invalid."""
        with self._lock:
            self._tokens = {} if token is None else {each: who for each, who in self._tokens.items() if each != token}

    def count(self, method: str, path: str) -> None:
        """Note a call, by method and path with ids and locators written as ``{id}``."""
        with self._lock:
            self.calls[f"{method} {_VARIABLE.sub('/{id}', path)}"] += 1

    def use(self) -> bool:
        """Take one API request from the day's allowance; false where none is left."""
        with self._lock:
            if self.used >= self.settings.api_limit:
                return False
            self.used += 1
            return True

    def usage(self) -> str:
        return f"api-usage={self.used}/{self.settings.api_limit}"

    def reset_calls(self) -> None:
        with self._lock:
            self.calls = Counter()
