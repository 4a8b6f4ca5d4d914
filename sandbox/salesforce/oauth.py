"""The pages of logging in: consent, the token endpoint, revocation and who-am-I.

https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_flows.htm
"""

import base64
import binascii
import hashlib
import html
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sandbox.salesforce.apps import App, Consented
from sandbox.salesforce.grants import Desk, TokenRefused
from sandbox.salesforce.org import Org
from sandbox.salesforce.store import Store


def token_answer(desk: Desk, base_url: str, form: Mapping[str, str], authorization: str | None) -> Response:
    """What ``POST /services/oauth2/token`` answers; ``authorization`` is the header, for Basic client credentials."""
    org = desk.org
    try:
        granted = desk.decide({**form, **_basic(authorization)}, base_url)
    except TokenRefused as refused:
        return _json({"error": refused.error, "error_description": refused.description}, 400)
    issued = str(int(time.time() * 1000))
    identity = f"{base_url}/id/{org.org_id}/{granted.user_id}"
    signature = hashlib.sha256((identity + issued + org.credentials.client_secret).encode()).digest()
    answer = {
        "access_token": org.new_token(granted.user_id),
        "signature": base64.b64encode(signature).decode(),
        "scope": " ".join(granted.scopes),
        "instance_url": base_url,
        "id": identity,
        "token_type": "Bearer",
        "issued_at": issued,
    }
    return _json(answer | ({"refresh_token": granted.refresh_token} if granted.refresh_token else {}))


def authorize(org: Org, request: Request) -> Response:
    """``GET /services/oauth2/authorize``: the vendor's page on which a person consents, or a refusal.

    A wrong client or return address is told to the person and never sent anywhere (RFC 6749 §4.1.2.1)."""
    asked = request.query_params
    app = org.apps.get(asked.get("client_id", ""))
    if app is None or not app.enabled:
        return _refusal("error=invalid_client_id&error_description=client identifier invalid")
    if not _returns_to(app, asked.get("redirect_uri", "")):
        return _refusal("error=redirect_uri_mismatch&error_description=redirect_uri must match configuration")
    if asked.get("response_type") != "code":
        return _refusal("error=unsupported_response_type&error_description=response type must be code")
    if app.needs_pkce and not asked.get("code_challenge"):
        return _refusal("error=invalid_request&error_description=missing required code challenge")
    return HTMLResponse(_CONSENT.format(app=html.escape(app.name or app.key), query=html.escape(str(asked))))


def consent(desk: Desk, form: Mapping[str, str]) -> Response:
    """``POST /services/oauth2/consent``: what the person pressed, sent back to the app with its state.

    The person is the administrator, or whom ``login_hint`` names: there is no page of logging in before."""
    org = desk.org
    asked = dict(parse_qsl(form.get("query", ""), keep_blank_values=True))
    app = org.apps.get(asked.get("client_id", ""))
    target = asked.get("redirect_uri", "")
    if app is None or not _returns_to(app, target):
        return _refusal("error=invalid_client_id&error_description=client identifier invalid")
    person = desk.active(asked["login_hint"]) if asked.get("login_hint") else org.user_id
    if person is None:
        return _refusal("error=access_denied&error_description=no active user has this name")
    told = {"state": asked["state"]} if "state" in asked else {}
    if form.get("answer") != "allow":
        told |= {"error": "access_denied", "error_description": "end-user denied authorization"}
    else:
        told["code"] = org.apps.new_code(Consented(app.key, target, asked.get("code_challenge", ""), person))
    return RedirectResponse(f"{target}?{urlencode(told)}", 302)


def revoke(org: Org, form: Mapping[str, str]) -> Response:
    """``POST /services/oauth2/revoke``: ends a session or a refresh token."""
    token = form.get("token", "")
    if org.holder(token):
        org.expire(token)
    elif not org.apps.revoke(token):
        return _json({"error": "unsupported_token_type", "error_description": "this token is not supported"}, 400)
    return Response(status_code=200)


def _returns_to(app: App, address: str) -> bool:
    """Whether the app may be returned to there; callbacks ending in ``/`` are beginnings, on any port."""
    bare = re.sub(r"^(https?://[^/:]+):\d+", r"\1", address)
    return any(address == known or (known.endswith("/") and bare.startswith(known)) for known in app.callbacks)


def _refusal(text: str) -> Response:
    return Response(text, 400, media_type="text/plain")


_CONSENT = """<!doctype html><html lang="en"><title>Allow access?</title><link rel="icon" href="data:,">
<h1>Allow access?</h1><p>{app} is asking to manage your data via APIs and to perform requests at any time.</p>
<form method="post" action="/services/oauth2/consent"><input type="hidden" name="query" value="{query}">
<button name="answer" value="deny">Deny</button> <button name="answer" value="allow">Allow</button></form></html>"""


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
    user = _user(org, store, request)
    if user is None:
        return Response("Bad_OAuth_Token", 403, media_type="text/plain")
    base = base_url(request)
    rest = f"{base}/services/data/v{{version}}/"
    answer = {
        "sub": f"{base}/id/{org.org_id}/{user['Id']}",
        "user_id": user["Id"],
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
    user = _user(org, store, request)
    if user is None:
        return Response(
            "Missing_OAuth_Token" if not bearer(request) else "Bad_OAuth_Token", 403, media_type="text/plain"
        )
    if request.path_params["org"][:15] != org.org_id[:15] or request.path_params["user"][:15] != user["Id"][:15]:
        return Response("Not_Found", 404, media_type="text/plain")
    base = base_url(request)
    rest = f"{base}/services/data/v{{version}}/"
    answer = {
        "id": f"{base}/id/{org.org_id}/{user['Id']}",
        "asserted_user": True,
        "user_id": user["Id"],
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


def _user(org: Org, store: Store, request: Request) -> dict[str, Any] | None:
    """The active user whose session the request comes with."""
    with store.read() as connection:
        row = connection.execute(
            'SELECT * FROM "User" WHERE "Id" = ? AND "IsActive"', (org.holder(bearer(request)) or "",)
        )
        names = [column[0] for column in row.description]
        found = row.fetchone()
    return None if found is None else dict(zip(names, found, strict=True))


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json;charset=UTF-8")
