"""The token endpoint and who-am-I resources.

https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_flows.htm
"""

import base64
import binascii
import hashlib
import time
from collections.abc import Mapping

import orjson
from starlette.requests import Request
from starlette.responses import Response

from sandbox.salesforce.org import PLATFORM_CLI, Org
from sandbox.salesforce.store import Store

EXPIRED = "invalid_grant", "expired access/refresh token"


class TokenRefused(Exception):
    """A token request the platform answers with 400 and ``{"error", "error_description"}``."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


def token_answer(org: Org, base_url: str, form: Mapping[str, str], authorization: str | None) -> Response:
    """What ``POST /services/oauth2/token`` answers; ``authorization`` is the header, for Basic client credentials."""
    try:
        refresh_token = _grant(org, {**form, **_basic(authorization)})
    except TokenRefused as refused:
        return _json({"error": refused.error, "error_description": refused.description}, 400)
    issued = str(int(time.time() * 1000))
    identity = f"{base_url}/id/{org.org_id}/{org.user_id}"
    signature = hashlib.sha256((identity + issued + org.credentials.client_secret).encode()).digest()
    answer = {
        "access_token": org.new_token(),
        "signature": base64.b64encode(signature).decode(),
        "scope": "api refresh_token" if refresh_token else "api",
        "instance_url": base_url,
        "id": identity,
        "token_type": "Bearer",
        "issued_at": issued,
    }
    return _json(answer)


def _grant(org: Org, form: Mapping[str, str]) -> bool:
    """Check a token request; returns whether the session came from a refresh token. Raises TokenRefused."""
    match form.get("grant_type"):
        case "client_credentials":
            _check_client(org, form)
            return False
        case "refresh_token":
            _check_refresh(org, form)
            return True
        case "password":
            _check_client(org, form)
            _check_password(org, form)
            return False
        case None:
            raise TokenRefused("unsupported_grant_type", "grant type not supported")
        case _:
            raise TokenRefused("unsupported_grant_type", "grant type not supported")


def _check_client(org: Org, form: Mapping[str, str]) -> None:
    if form.get("client_id") != org.credentials.client_id:
        raise TokenRefused("invalid_client_id", "client identifier invalid")
    if form.get("client_secret") != org.credentials.client_secret:
        raise TokenRefused("invalid_client", "invalid client credentials")


def _check_refresh(org: Org, form: Mapping[str, str]) -> None:
    """The CLI's client needs no secret; a refresh token is only good for the client that got it."""
    client = form.get("client_id")
    if client == PLATFORM_CLI:
        expected = org.credentials.refresh_token
    else:
        _check_client(org, form)
        expected = org.credentials.app_refresh_token
    if form.get("refresh_token") != expected:
        raise TokenRefused(*EXPIRED)


def _check_password(org: Org, form: Mapping[str, str]) -> None:
    secret = org.credentials.password + org.credentials.security_token
    if (form.get("username"), form.get("password")) != (org.credentials.username, secret):
        raise TokenRefused("invalid_grant", "authentication failure")


def _basic(authorization: str | None) -> dict[str, str]:
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return {}
    try:
        client, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as wrong:
        raise TokenRefused("invalid_client", "invalid client credentials") from wrong
    return {"client_id": client, "client_secret": secret}


def userinfo(org: Org, store: Store, request: Request) -> Response:
    """``GET /services/oauth2/userinfo``: 403 and a plain word without a good token, as on the platform."""
    if not org.knows(bearer(request)):
        return Response("Bad_OAuth_Token", 403, media_type="text/plain")
    base = base_url(request)
    user = _user(org, store)
    rest = f"{base}/services/data/v{{version}}/"
    answer = {
        "sub": f"{base}/id/{org.org_id}/{org.user_id}",
        "user_id": org.user_id,
        "organization_id": org.org_id,
        "preferred_username": user["Username"],
        "nickname": user["Alias"],
        "name": user["Name"],
        "email": user["Email"],
        "email_verified": True,
        "zoneinfo": user["TimeZoneSidKey"],
        "user_type": "STANDARD",
        "active": True,
        "language": user["LanguageLocaleKey"],
        "locale": user["LocaleSidKey"],
        "urls": {"rest": rest, "sobjects": f"{rest}sobjects/", "query": f"{rest}query/"},
    }
    return _json(answer)


def identity(org: Org, store: Store, request: Request) -> Response:
    """``GET /id/<org>/<user>``, the address in a token answer's ``id``."""
    if not org.knows(bearer(request)):
        return Response(
            "Missing_OAuth_Token" if not bearer(request) else "Bad_OAuth_Token", 403, media_type="text/plain"
        )
    if request.path_params["org"][:15] != org.org_id[:15] or request.path_params["user"][:15] != org.user_id[:15]:
        return Response("Not_Found", 404, media_type="text/plain")
    base = base_url(request)
    user = _user(org, store)
    rest = f"{base}/services/data/v{{version}}/"
    answer = {
        "id": f"{base}/id/{org.org_id}/{org.user_id}",
        "asserted_user": True,
        "user_id": org.user_id,
        "organization_id": org.org_id,
        "username": user["Username"],
        "nick_name": user["Alias"],
        "display_name": user["Name"],
        "email": user["Email"],
        "email_verified": True,
        "active": True,
        "user_type": "STANDARD",
        "is_app_installed": True,
        "urls": {"rest": rest, "sobjects": f"{rest}sobjects/", "query": f"{rest}query/"},
    }
    return _json(answer)


def bearer(request: Request) -> str:
    """The access token of a request: ``Bearer`` or, as old clients write it, ``OAuth``."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() in ("bearer", "oauth") else ""


def base_url(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"


def _user(org: Org, store: Store) -> dict[str, object]:
    with store.read() as connection:
        row = connection.execute('SELECT * FROM "User" WHERE "Id" = ?', (org.user_id,))
        names = [column[0] for column in row.description]
        return dict(zip(names, row.fetchone(), strict=True))


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json;charset=UTF-8")
