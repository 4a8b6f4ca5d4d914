"""The token endpoint: who gets in, and what the others are told."""

import base64
from typing import Any

import pytest

from tests.sandbox.client import Client


def token(reader: Client, **form: str) -> Any:
    return reader.http.post("/services/oauth2/token", data=form)


def app(reader: Client, **form: str) -> dict[str, str]:
    return {"client_id": reader.ready.client_id, "client_secret": reader.ready.client_secret, **form}


def test_client_credentials_give_a_session_that_works(reader: Client) -> None:
    answer = token(reader, **app(reader, grant_type="client_credentials")).json()
    assert answer["access_token"].startswith(reader.ready.org_id[:15] + "!")
    assert answer["instance_url"] == reader.ready.url
    assert answer["id"].endswith(f"/id/{reader.ready.org_id}/{reader.ready.user_id}")
    assert "expires_in" not in answer
    assert "refresh_token" not in answer
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    assert reader.http.get("/services/data/v66.0/limits", headers=headers).status_code == 200
    assert reader.http.get(answer["id"], headers=headers).json()["user_id"] == reader.ready.user_id


def test_client_credentials_in_the_basic_header(reader: Client) -> None:
    pair = base64.b64encode(f"{reader.ready.client_id}:{reader.ready.client_secret}".encode()).decode()
    form = {"grant_type": "client_credentials"}
    good = reader.http.post("/services/oauth2/token", data=form, headers={"Authorization": f"Basic {pair}"})
    bad = reader.http.post("/services/oauth2/token", data=form, headers={"Authorization": "Basic %%%"})
    assert (good.status_code, bad.status_code) == (200, 400)


def test_the_clis_refresh_token_needs_no_secret(reader: Client) -> None:
    scheme, rest = reader.ready.sfdx_auth_url.split("://")
    client, secret, other = rest.split(":", 2)
    refresh, host = other.split("@")
    assert (scheme, secret, f"http://{host}") == ("force", "", reader.ready.url)
    assert token(reader, grant_type="refresh_token", client_id=client, refresh_token=refresh).status_code == 200


def test_an_apps_refresh_token_needs_its_secret(reader: Client) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": reader.ready.app_refresh_token}
    assert token(reader, **app(reader, **form)).status_code == 200
    assert token(reader, **form, client_id=reader.ready.client_id).json()["error"] == "invalid_client"


def test_password_with_security_token(reader: Client) -> None:
    form = {"grant_type": "password", "username": reader.ready.username, "password": reader.ready.password}
    assert token(reader, **app(reader, **form)).status_code == 200


@pytest.mark.parametrize(
    ("form", "error", "description"),
    [
        ({"grant_type": "client_credentials", "client_secret": "no"}, "invalid_client", "invalid client credentials"),
        ({"grant_type": "client_credentials", "client_id": "no"}, "invalid_client_id", "client identifier invalid"),
        ({"grant_type": "refresh_token", "refresh_token": "no"}, "invalid_grant", "expired access/refresh token"),
        ({"grant_type": "refresh_token", "client_id": "PlatformCLI"}, "invalid_grant", "expired access/refresh token"),
        ({"grant_type": "password", "username": "x", "password": "y"}, "invalid_grant", "authentication failure"),
        ({"grant_type": "magic"}, "unsupported_grant_type", "grant type not supported"),
        ({}, "unsupported_grant_type", "grant type not supported"),
    ],
)
def test_refusals(reader: Client, form: dict[str, str], error: str, description: str) -> None:
    answer = token(reader, **app(reader, **form))
    assert answer.status_code == 400
    assert answer.json() == {"error": error, "error_description": description}


def test_a_refresh_token_is_only_good_for_its_client(reader: Client) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": reader.ready.app_refresh_token, "client_id": "PlatformCLI"}
    assert token(reader, **form).json()["error"] == "invalid_grant"


def test_userinfo(reader: Client) -> None:
    answer = reader.ask("/services/oauth2/userinfo").json()
    assert (answer["user_id"], answer["organization_id"]) == (reader.ready.user_id, reader.ready.org_id)
    assert answer["preferred_username"] == reader.ready.username
    refused = reader.http.get("/services/oauth2/userinfo")
    assert (refused.status_code, refused.text) == (403, "Bad_OAuth_Token")


def test_an_expired_session_is_replaced_by_a_new_token(client: Client) -> None:
    client.control.expire_tokens()
    assert client.error("/limits")[:2] == (401, "INVALID_SESSION_ID")
    client.token = token(client, **app(client, grant_type="client_credentials")).json()["access_token"]
    assert client.ask("/limits").status_code == 200
