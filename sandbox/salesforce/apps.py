"""The applications an org knows: how each may log in, whom it admits, and the consents, codes and tokens given out.

https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_flows.htm
"""

import secrets
import threading
from dataclasses import dataclass, field, replace

PLATFORM_CLI = "PlatformCLI"


@dataclass(frozen=True, slots=True)
class App:
    """One connected or external client app.

    ``certificate`` is PEM and admits assertions signed with its key. ``preauthorised`` says that only users with one
    of ``permission_sets`` (ids) or ``profiles`` (names) may use the app, without being asked; otherwise every user
    may, after consent. ``runs_as`` is the user of the client credentials flow. ``young`` is how many token requests
    are still refused as if the app had not spread through the platform.
    """

    key: str
    name: str = ""
    secret: str = ""
    callbacks: tuple[str, ...] = ()
    certificate: str = ""
    needs_pkce: bool = False
    secret_optional: bool = False
    rotates: bool = False
    preauthorised: bool = False
    permission_sets: frozenset[str] = frozenset()
    profiles: frozenset[str] = frozenset()
    runs_as: str = ""
    scopes: tuple[str, ...] = ("api", "refresh_token")
    enabled: bool = True
    young: int = 0


@dataclass(frozen=True, slots=True)
class Consented:
    """What a consent's code stands for, until it is exchanged."""

    key: str
    redirect_uri: str
    challenge: str
    user_id: str


@dataclass
class Apps:
    """All apps of one org by consumer key. Thread-safe."""

    _apps: dict[str, App] = field(default_factory=dict)
    _codes: dict[str, Consented] = field(default_factory=dict)
    _refresh: dict[str, tuple[str, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, app: App) -> None:
        with self._lock:
            self._apps[app.key] = app

    def remove(self, name: str) -> None:
        """Remove the app of that name; the tokens it was given are worth nothing from then on."""
        with self._lock:
            gone = {key for key, app in self._apps.items() if app.name == name}
            self._apps = {key: app for key, app in self._apps.items() if key not in gone}
            self._refresh = {token: holder for token, holder in self._refresh.items() if holder[0] not in gone}

    def get(self, key: str) -> App | None:
        return self._apps.get(key)

    def named(self, name: str) -> App | None:
        return next((app for app in self._apps.values() if app.name == name), None)

    def asked(self, key: str) -> App | None:
        """The app as a token request finds it: none while it is young, and a little older each time."""
        with self._lock:
            app = self._apps.get(key)
            if app is None or not app.enabled:
                return None
            if app.young:
                self._apps[key] = replace(app, young=app.young - 1)
                return None
            return app

    def new_code(self, consented: Consented) -> str:
        code = "aPrx" + secrets.token_urlsafe(48)
        with self._lock:
            self._codes[code] = consented
        return code

    def redeem(self, code: str) -> Consented | None:
        """What the code stands for; each is good once."""
        with self._lock:
            return self._codes.pop(code, None)

    def new_refresh_token(self, key: str, user_id: str) -> str:
        token = "5Aep861" + secrets.token_urlsafe(40)
        self.admit(token, key, user_id)
        return token

    def admit(self, token: str, key: str, user_id: str) -> None:
        """Let a refresh token of that app stand for the user."""
        with self._lock:
            self._refresh[token] = key, user_id

    def holder(self, token: str) -> tuple[str, str] | None:
        """Consumer key and user of a refresh token."""
        return self._refresh.get(token)

    def revoke(self, token: str) -> bool:
        with self._lock:
            return self._refresh.pop(token, None) is not None

    def revoke_all(self) -> None:
        with self._lock:
            self._refresh.clear()
