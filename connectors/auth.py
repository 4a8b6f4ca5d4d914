"""Ways to prove who we are: fixed credentials, and OAuth 2 tokens that all workers share.

A token is obtained through ``context.tokens``, which lets one worker at a time renew it; a rotated refresh
token is stored with it. Every refusal of a token endpoint becomes one sentence for staff.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from connectors.answers import Answer, Dialect, Rule
from connectors.context import Context, Secret, Token, Unlimited
from connectors.errors import (
    AuthenticationFailed,
    ConnectorError,
    ContractChanged,
    RateLimited,
    SettingsInvalid,
    Unavailable,
)
from connectors.http import Credentials, HttpClient

EARLY: Final = timedelta(seconds=60)  # a token this close to its end is renewed before use


class FixedHeader:
    """Credentials that never change: one header. A refusal is final."""

    def __init__(self, name: str, value: Secret) -> None:
        self._credentials = Credentials({name: value.reveal()})
        self._value = value

    def credentials(self) -> Credentials:
        return self._credentials

    def renewed(self, stale: Credentials) -> Credentials | None:
        del stale
        return None

    def secrets(self) -> tuple[Secret, ...]:
        return (self._value,)


def api_key(key: Secret, *, header: str, prefix: str = "") -> FixedHeader:
    """An API key in a header of the vendor's choice, behind ``prefix`` where it wants one."""
    return FixedHeader(header, Secret(prefix + key.reveal()))


def bearer(token: Secret) -> FixedHeader:
    """A long-lived access token (RFC 6750)."""
    return api_key(token, header="Authorization", prefix="Bearer ")


def basic(user: str, password: Secret) -> FixedHeader:
    """User name and password (RFC 7617); raises SettingsInvalid for a colon in the name."""
    if ":" in user:
        raise SettingsInvalid("A user name must not contain a colon. Correct it on the org's page.")
    pair = base64.b64encode(f"{user}:{password.reveal()}".encode()).decode()
    return FixedHeader("Authorization", Secret(f"Basic {pair}"))


class Grant(Protocol):
    """How a token is asked for."""

    @property
    def repeatable(self) -> bool:
        """Whether asking twice does no harm."""

    def form(self, current: Token | None, now: datetime) -> Mapping[str, str]:
        """The fields of the token request."""


@dataclass(frozen=True, slots=True)
class Client:
    """The application we present ourselves as; a public client has no secret."""

    id: str
    secret: Secret | None = None

    def form(self) -> dict[str, str]:
        found = {"client_id": self.id}
        if self.secret:
            found["client_secret"] = self.secret.reveal()
        return found


@dataclass(frozen=True, slots=True)
class RefreshGrant:
    """A refresh token (RFC 6749 §6); the stored one where the vendor has rotated ours.

    Never repeated blindly: with rotation, the first try may have used the token up."""

    client: Client
    refresh_token: Secret
    repeatable: bool = False

    def form(self, current: Token | None, now: datetime) -> Mapping[str, str]:
        del now
        present = (current and current.refresh) or self.refresh_token
        return {"grant_type": "refresh_token", "refresh_token": present.reveal(), **self.client.form()}


@dataclass(frozen=True, slots=True)
class ClientCredentialsGrant:
    """The application itself (RFC 6749 §4.4), acting as the user the vendor has on file for it."""

    client: Client
    scope: str = ""
    repeatable: bool = True

    def form(self, current: Token | None, now: datetime) -> Mapping[str, str]:
        del current, now
        scope = {"scope": self.scope} if self.scope else {}
        return {"grant_type": "client_credentials", **self.client.form(), **scope}


@dataclass(frozen=True, slots=True)
class JwtGrant:
    """An assertion signed RS256 with our key (RFC 7523 §2.1), minted anew for every request.

    ``key`` is a PEM private key, ``subject`` the user to act as, ``audience`` the vendor's own name."""

    issuer: str
    subject: str
    audience: str
    key: Secret
    lifetime: timedelta = timedelta(minutes=3)
    repeatable: bool = True

    def form(self, current: Token | None, now: datetime) -> Mapping[str, str]:
        """Raises SettingsInvalid where the key is not an RSA private key in PEM."""
        # Imported here, as in start_consent: many ways to prove who we are need none of it.
        from joserfc import jwt  # noqa: PLC0415
        from joserfc.errors import JoseError  # noqa: PLC0415
        from joserfc.jwk import RSAKey  # noqa: PLC0415

        del current
        claims = {
            "iss": self.issuer,
            "sub": self.subject,
            "aud": self.audience,
            "exp": int((now + self.lifetime).timestamp()),
        }
        try:
            key = RSAKey.import_key(self.key.reveal())
            assertion = jwt.encode({"alg": "RS256"}, claims, key)
        except (JoseError, ValueError, TypeError):
            raise SettingsInvalid(
                "The private key is not an RSA key in PEM form. Paste the whole file, from BEGIN to END."
            ) from None
        return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}


@dataclass(frozen=True, slots=True)
class CodeGrant:
    """The code a person's consent brought back (RFC 6749 §4.1.3, with PKCE); good for one exchange."""

    client: Client
    code: Secret
    verifier: Secret
    redirect_uri: str
    repeatable: bool = False

    def form(self, current: Token | None, now: datetime) -> Mapping[str, str]:
        del current, now
        return {
            "grant_type": "authorization_code",
            "code": self.code.reveal(),
            "code_verifier": self.verifier.reveal(),
            "redirect_uri": self.redirect_uri,
            **self.client.form(),
        }


@dataclass(frozen=True, slots=True)
class Consent:
    """A started consent: send the person to ``url``; keep ``state`` and ``verifier`` for their return."""

    url: str
    state: str
    verifier: Secret


def start_consent(
    endpoint: str, *, client_id: str, redirect_uri: str, scope: str, extra: Mapping[str, str] | None = None
) -> Consent:
    """The address of the vendor's consent page, with a fresh state and a PKCE challenge (RFC 7636, S256)."""
    from authlib.common.security import generate_token  # noqa: PLC0415
    from authlib.oauth2.rfc6749.parameters import prepare_grant_uri  # noqa: PLC0415
    from authlib.oauth2.rfc7636 import create_s256_code_challenge  # noqa: PLC0415

    state, verifier = generate_token(32), generate_token(64)
    url = prepare_grant_uri(
        endpoint,
        client_id=client_id,
        response_type="code",
        redirect_uri=redirect_uri,
        scope=scope,
        state=state,
        code_challenge=create_s256_code_challenge(verifier),
        code_challenge_method="S256",
        **(extra or {}),
    )
    return Consent(str(url), state, Secret(verifier))


class TokenEndpoint:
    """Where tokens are given out: a ``TokenRenewal`` for ``context.tokens``."""

    def __init__(self, context: Context, url: str, grant: Grant, *, system: str) -> None:
        self._context = context
        self._system = system
        self._grant = grant
        self._url = url
        # Outside the budget: vendors count their token service apart, and a renewal holds the org's row meanwhile.
        unbudgeted = replace(context, budget=Unlimited())
        self._client = HttpClient(unbudgeted, url, system=system, dialect=Dialect(read_error=oauth_error))

    def __call__(self, current: Token | None) -> Token:
        """A new token; raises AuthenticationFailed with what staff must do, or a RetryableError."""
        form = self._grant.form(current, self._context.clock.now())
        for name in form.keys() & {"refresh_token", "client_secret", "assertion", "code", "code_verifier"}:
            self._client.redact.add(Secret(form[name]))
        answer = self._client.send("POST", self._url, form=form, repeatable=self._grant.repeatable)
        return token_from(answer, now=self._context.clock.now(), previous=current)

    def close(self) -> None:
        self._client.close()


def token_from(answer: Answer, *, now: datetime, previous: Token | None) -> Token:
    """The token in an endpoint's answer (RFC 6749 §5.1), its refresh token carried over unless replaced.

    Raises ContractChanged where there is no access token in it."""
    body = answer.object()
    access = body.get("access_token")
    if not isinstance(access, str) or not access:
        # Not the answer's own detail: what stands in place of a token may be one under another name.
        raise ContractChanged(
            f"{answer.system} answered the request for a token without giving one.",
            detail=f"{answer.request} → {answer.status}, with the fields {', '.join(sorted(body))}",
        )
    refresh = body.get("refresh_token")
    return Token(
        access=Secret(access),
        instance_url=str(body.get("instance_url") or ""),
        refresh=Secret(str(refresh)) if refresh else previous.refresh if previous else None,
        expires_at=_expiry(body.get("expires_in"), now),
    )


def _expiry(seconds: Any, now: datetime) -> datetime | None:
    try:
        return now + timedelta(seconds=float(seconds))
    except (TypeError, ValueError, OverflowError):
        return None  # Salesforce and others do not say; a 401 will


@dataclass
class TokenAuth:
    """Bearer tokens from a token endpoint, shared by all workers of an org."""

    context: Context
    endpoint: TokenEndpoint
    _used: Token | None = field(default=None, repr=False)

    def credentials(self) -> Credentials:
        # What this worker used last is good until it is refused; then the store knows whether a newer one exists.
        token = self._used or self.context.tokens.load()
        if token is None or self._is_ending(token):
            token = self.context.tokens.refresh(token, self.endpoint)
        return self._with(token)

    def renewed(self, stale: Credentials) -> Credentials | None:
        del stale
        return self._with(self.context.tokens.refresh(self._used, self.endpoint))

    def secrets(self) -> tuple[Secret, ...]:
        token = self._used
        return () if token is None else (token.access, *([token.refresh] if token.refresh else []))

    def _is_ending(self, token: Token) -> bool:
        return token.expires_at is not None and token.expires_at <= self.context.clock.now() + EARLY

    def _with(self, token: Token) -> Credentials:
        self._used = token
        return Credentials({"Authorization": f"Bearer {token.access.reveal()}"}, token.instance_url)


# RFC 6749 §5.2 and §4.1.2.1; the last rows are Salesforce's and Microsoft's additions.
OAUTH_ERRORS: Mapping[str, Rule] = {
    "invalid_grant": Rule(AuthenticationFailed, "no longer accepts this authorisation: connect the org again"),
    "invalid_client": Rule(AuthenticationFailed, "does not accept the client id or secret: check both"),
    "unauthorized_client": Rule(AuthenticationFailed, "does not let this application log in this way"),
    "access_denied": Rule(AuthenticationFailed, "was told not to let us in: have the consent given again"),
    "unsupported_grant_type": Rule(AuthenticationFailed, "does not offer this way to log in: choose another one"),
    "invalid_scope": Rule(AuthenticationFailed, "does not give this application the scopes we ask for"),
    "invalid_request": Rule(AuthenticationFailed, "did not understand the log-in: check the client id and the keys"),
    "redirect_uri_mismatch": Rule(AuthenticationFailed, "knows the application under another return address"),
    "server_error": Rule(Unavailable, "failed while logging us in"),
    "temporarily_unavailable": Rule(Unavailable, "cannot log anyone in at the moment"),
    "slow_down": Rule(RateLimited, "asked us to slow down"),
    "invalid_client_id": Rule(
        AuthenticationFailed, "does not know this client id; a new application needs some minutes to become known"
    ),
    "inactive_user": Rule(AuthenticationFailed, "says that the connecting user is inactive: use another one"),
    "inactive_org": Rule(AuthenticationFailed, "says that the org is locked, closed or suspended"),
    "interaction_required": Rule(AuthenticationFailed, "wants a person to log in again: connect the org again"),
}  # fmt: skip


def oauth_error(answer: Answer, now: datetime) -> ConnectorError | None:
    """The error a token endpoint's body names; an unknown code counts as refused credentials."""
    try:
        body = answer.object()
    except ContractChanged:
        return None
    code = body.get("error")
    if not isinstance(code, str):
        return None
    rule = OAUTH_ERRORS.get(code) or Rule(
        AuthenticationFailed, f"refused to log us in (“{code[:40]}”): connect the org again"
    )
    error = rule.build(answer, now)
    said = body.get("error_description")
    if not isinstance(said, str) or isinstance(error, RateLimited):
        return error
    return type(error)(f"{error.message} It says: “{answer.redact(said)[:200]}”.", detail=error.detail)
