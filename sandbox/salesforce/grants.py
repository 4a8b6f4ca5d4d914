"""Deciding token requests: which app and user a grant stands for, or the words with which the platform refuses it.

https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_flows.htm
"""

import base64
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_pem_x509_certificate

from sandbox.salesforce.apps import PLATFORM_CLI, App
from sandbox.salesforce.org import Org
from sandbox.salesforce.store import Store

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXPIRED = "invalid_grant", "expired access/refresh token"
AUDIENCES = frozenset({"https://login.salesforce.com", "https://test.salesforce.com"})


class TokenRefused(Exception):
    """A token request the platform answers with 400 and ``{"error", "error_description"}``."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


@dataclass(frozen=True, slots=True)
class Granted:
    """Who is let in. ``refresh_token`` is what the answer gives, blank where it gives none."""

    user_id: str
    scopes: tuple[str, ...]
    refresh_token: str = ""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where token requests of one org are decided."""

    org: Org
    store: Store

    def decide(self, form: Mapping[str, str], base_url: str) -> Granted:
        """Who the form lets in. Raises TokenRefused."""
        grants: Mapping[str, Callable[[Mapping[str, str], str], Granted]] = {
            "client_credentials": self._client_credentials,
            "refresh_token": self._refresh,
            "password": self._password,
            "authorization_code": self._code,
            JWT_BEARER: self._jwt,
        }
        decide = grants.get(form.get("grant_type", ""))
        if decide is None:
            raise TokenRefused("unsupported_grant_type", "grant type not supported")
        granted = decide(form, base_url)
        if self.active(granted.user_id) is None:
            raise TokenRefused("invalid_grant", "inactive user")
        return granted

    def active(self, named: str) -> str | None:
        """The id of the active user of that id or user name."""
        sql = 'SELECT "Id" FROM "User" WHERE ("Id" = ? OR lower("Username") = lower(?)) AND "IsActive"'
        with self.store.read() as connection:
            found = connection.execute(sql, (named, named)).fetchone()
        return str(found[0]) if found else None

    def by_password(self, username: str, password: str) -> str | None:
        """The id of the active user of that name with that password, security token included."""
        user_id = self.active(username)
        return user_id if user_id is not None and self.org.is_password(user_id, password) else None

    def _client_credentials(self, form: Mapping[str, str], base_url: str) -> Granted:
        del base_url
        app = self._app(form)
        self._check_secret(app, form)
        if not app.runs_as:
            raise TokenRefused("invalid_grant", "no client credentials user enabled")
        return Granted(app.runs_as, ("api",))

    def _refresh(self, form: Mapping[str, str], base_url: str) -> Granted:
        """The CLI's client needs no secret; a refresh token is only good for the client that got it."""
        del base_url
        app = self._app(form)
        if app.key != PLATFORM_CLI and not app.secret_optional:
            self._check_secret(app, form)
        token = form.get("refresh_token", "")
        holder = self.org.apps.holder(token)
        if holder is None or holder[0] != app.key:
            raise TokenRefused(*EXPIRED)
        if not app.rotates:
            return Granted(holder[1], app.scopes)
        self.org.apps.revoke(token)
        return Granted(holder[1], app.scopes, self.org.apps.new_refresh_token(app.key, holder[1]))

    def _password(self, form: Mapping[str, str], base_url: str) -> Granted:
        del base_url
        self._check_secret(self._app(form), form)
        user_id = self.by_password(form.get("username", ""), form.get("password", ""))
        if user_id is None:
            raise TokenRefused("invalid_grant", "authentication failure")
        return Granted(user_id, ("api",))

    def _code(self, form: Mapping[str, str], base_url: str) -> Granted:
        """The exchange of a consent's code, with the proof of RFC 7636 where a challenge was sent."""
        del base_url
        app = self._app(form)
        consented = self.org.apps.redeem(form.get("code", ""))
        if consented is None or consented.key != app.key:
            raise TokenRefused("invalid_grant", "expired authorization code")
        if consented.redirect_uri != form.get("redirect_uri"):
            raise TokenRefused("redirect_uri_mismatch", "redirect_uri must match configuration")
        if not app.secret_optional:
            self._check_secret(app, form)
        _check_verifier(consented.challenge, form.get("code_verifier", ""))
        keeps = "refresh_token" in app.scopes
        token = self.org.apps.new_refresh_token(app.key, consented.user_id) if keeps else ""
        return Granted(consented.user_id, app.scopes, token)

    def _jwt(self, form: Mapping[str, str], base_url: str) -> Granted:
        """An assertion signed with the key of the app's certificate, for a user admitted beforehand."""
        header, claims, signed, signature = _parts(form.get("assertion", ""))
        app = self._app({"client_id": str(claims.get("iss", ""))})
        if not app.certificate or header.get("alg") != "RS256" or not _is_signed(app, signed, signature):
            raise TokenRefused("invalid_grant", "invalid assertion")
        if claims.get("aud") not in {*AUDIENCES, base_url}:
            raise TokenRefused("invalid_grant", "audience is invalid")
        if _seconds(claims.get("exp")) <= time.time():
            raise TokenRefused("invalid_grant", "assertion expired")
        user_id = self._admitted(app, str(claims.get("sub", "")))
        return Granted(user_id, tuple(scope for scope in app.scopes if scope != "refresh_token"))

    def _app(self, form: Mapping[str, str]) -> App:
        app = self.org.apps.asked(form.get("client_id", ""))
        if app is None:
            raise TokenRefused("invalid_client_id", "client identifier invalid")
        return app

    def _check_secret(self, app: App, form: Mapping[str, str]) -> None:
        if not app.secret or form.get("client_secret") != app.secret:
            raise TokenRefused("invalid_client", "invalid client credentials")

    def _admitted(self, app: App, username: str) -> str:
        """The id of the active user, where an administrator has admitted them to the app."""
        with self.store.read() as connection:
            user = connection.execute(
                'SELECT u."Id", u."IsActive", p."Name" FROM "User" u LEFT JOIN "Profile" p ON p."Id" = u."ProfileId" '
                'WHERE lower(u."Username") = lower(?)',
                (username,),
            ).fetchone()
            if user is None or not user[1]:
                raise TokenRefused("invalid_grant", "user hasn't approved this consumer")
            assigned = connection.execute(
                'SELECT "PermissionSetId" FROM "PermissionSetAssignment" WHERE "AssigneeId" = ? AND "IsDeleted" = 0',
                (user[0],),
            ).fetchall()
        held = {row[0] for row in assigned}
        if app.preauthorised and not (held & app.permission_sets or user[2] in app.profiles):
            raise TokenRefused("invalid_app_access", "user is not admin approved to access this app")
        if not app.preauthorised:
            raise TokenRefused("invalid_grant", "user hasn't approved this consumer")
        return str(user[0])


def _check_verifier(challenge: str, verifier: str) -> None:
    if not challenge:
        return
    if not verifier:
        raise TokenRefused("invalid_grant", "code verifier is missing")
    digest = hashlib.sha256(verifier.encode()).digest()
    if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != challenge:
        raise TokenRefused("invalid_request", "invalid code verifier")


def _parts(assertion: str) -> tuple[Mapping[str, Any], Mapping[str, Any], bytes, bytes]:
    """Header, claims, what is signed, and the signature of a compact JWT."""
    try:
        first, second, third = assertion.split(".")
        header, claims = orjson.loads(_decoded(first)), orjson.loads(_decoded(second))
        return header, claims, f"{first}.{second}".encode(), _decoded(third)
    except (ValueError, TypeError) as wrong:
        raise TokenRefused("invalid_grant", "invalid assertion") from wrong


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _is_signed(app: App, signed: bytes, signature: bytes) -> bool:
    key = load_pem_x509_certificate(app.certificate.encode()).public_key()
    if not isinstance(key, RSAPublicKey):
        return False
    try:
        key.verify(signature, signed, PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def _seconds(expiry: object) -> float:
    """The vendor's own command line sends milliseconds."""
    number = float(expiry) if isinstance(expiry, int | float) else 0.0
    return number / 1000 if number > 1e11 else number
