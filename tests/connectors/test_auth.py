"""Every way to log in: what is sent, what is kept, and which sentence a refusal becomes."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwt
from joserfc.jwk import RSAKey

from connectors.auth import (
    OAUTH_ERRORS,
    Client,
    ClientCredentialsGrant,
    CodeGrant,
    Grant,
    JwtGrant,
    RefreshGrant,
    TokenAuth,
    TokenEndpoint,
    api_key,
    basic,
    bearer,
    start_consent,
)
from connectors.context import Context, MemoryTokens, Secret, Token
from connectors.errors import AuthenticationFailed, ContractChanged, RateLimited, SettingsInvalid, Unavailable
from connectors.http import HttpClient
from connectors.testing import VirtualClock
from connectors.transport import Request, Response
from tests.connectors.scripted import Script, answer, context_for

TOKEN_URL = "https://login.acme.example/oauth2/token"
CLIENT = Client("app", Secret("app-secret"))
REFRESH = RefreshGrant(CLIENT, Secret("refresh-one"))
NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


def form_of(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.content.decode()).items()}


def ask(grant: Grant, *steps: Response, current: Token | None = None) -> tuple[Token, Script]:
    script = Script(*steps)
    endpoint = TokenEndpoint(context_for(script, clock=VirtualClock(NOW)), TOKEN_URL, grant, system="Acme")
    return endpoint(current), script


def logged_in(script: Script, *, tokens: MemoryTokens | None = None, clock: VirtualClock | None = None) -> HttpClient:
    context = context_for(script, tokens=tokens or MemoryTokens(), clock=clock or VirtualClock(NOW))
    return client_of(context)


def client_of(context: Context) -> HttpClient:
    endpoint = TokenEndpoint(context, TOKEN_URL, REFRESH, system="Acme")
    return HttpClient(context, "https://api.acme.example", system="Acme", auth=TokenAuth(context, endpoint))


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        (api_key(Secret("k1234"), header="X-Api-Key"), "x-api-key", "k1234"),
        (api_key(Secret("k1234"), header="Authorization", prefix="Token "), "authorization", "Token k1234"),
        (bearer(Secret("t1234")), "authorization", "Bearer t1234"),
        (basic("ann", Secret("p:ß")), "authorization", "Basic " + base64.b64encode("ann:p:ß".encode()).decode()),
    ],
)
def test_fixed_credentials_are_one_header(auth: object, header: str, value: str) -> None:
    script = Script(answer())
    HttpClient(context_for(script), "https://a.example", system="Acme", auth=auth).get("x")  # type: ignore[arg-type]
    assert script.requests[0].headers[header] == value


def test_a_colon_in_a_user_name_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="colon"):
        basic("a:b", Secret("x"))


def test_credentials_do_not_show_themselves() -> None:
    auth = bearer(Secret("very-secret"))
    assert "very-secret" not in repr(auth.credentials())
    assert "very-secret" not in repr(auth) + repr(vars(auth))


# --- grants --------------------------------------------------------------------------------------------------


def test_a_refresh_token_is_exchanged() -> None:
    token, script = ask(REFRESH, answer({"access_token": "a1", "instance_url": "https://i.example", "expires_in": 90}))
    assert script.asked == ["POST /oauth2/token"]
    assert form_of(script.requests[0]) == {
        "grant_type": "refresh_token", "refresh_token": "refresh-one", "client_id": "app", "client_secret": "app-secret"
    }  # fmt: skip
    assert token.access.reveal() == "a1"
    assert token.instance_url == "https://i.example"
    assert token.expires_at == NOW + timedelta(seconds=90)
    assert token.refresh is None


def test_a_public_client_sends_no_secret() -> None:
    _, script = ask(RefreshGrant(Client("PlatformCLI"), Secret("r")), answer({"access_token": "a1"}))
    assert "client_secret" not in form_of(script.requests[0])


def test_a_rotated_refresh_token_replaces_ours_and_survives_answers_without_one() -> None:
    first, _ = ask(REFRESH, answer({"access_token": "a1", "refresh_token": "refresh-two"}))
    second, script = ask(REFRESH, answer({"access_token": "a2"}), current=first)
    assert form_of(script.requests[0])["refresh_token"] == "refresh-two"
    assert second.refresh is not None
    assert second.refresh.reveal() == "refresh-two"


def test_a_lost_answer_to_a_refresh_is_not_repeated_blindly() -> None:
    with pytest.raises(Unavailable, match="not known"):
        ask(REFRESH, answer({}, 500))


def test_client_credentials_are_exchanged_and_may_be_repeated() -> None:
    grant = ClientCredentialsGrant(CLIENT, scope="api")
    token, script = ask(grant, answer({}, 503), answer({"access_token": "a1"}))
    assert token.access.reveal() == "a1"
    assert form_of(script.requests[1]) == {
        "grant_type": "client_credentials", "client_id": "app", "client_secret": "app-secret", "scope": "api"
    }  # fmt: skip


def test_a_jwt_is_signed_with_our_key() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    grant = JwtGrant("app", "ann@acme.example", "https://login.acme.example", Secret(_pem(private)))
    _, script = ask(grant, answer({"access_token": "a1"}))
    form = form_of(script.requests[0])
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    found = jwt.decode(form["assertion"], RSAKey.import_key(public), algorithms=["RS256"])
    assert found.claims == {
        "iss": "app", "sub": "ann@acme.example", "aud": "https://login.acme.example",
        "exp": int((NOW + timedelta(minutes=3)).timestamp()),
    }  # fmt: skip


@pytest.mark.parametrize("key", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"])
def test_a_key_that_is_none_is_told_without_repeating_it(key: str) -> None:
    with pytest.raises(SettingsInvalid, match="not an RSA key") as caught:
        ask(JwtGrant("app", "ann", "aud", Secret(key)))
    assert "AAAA" not in str(caught.value)


def test_a_key_of_another_kind_is_told() -> None:
    with pytest.raises(SettingsInvalid, match="not an RSA key"):
        ask(JwtGrant("app", "ann", "aud", Secret(_pem(ec.generate_private_key(ec.SECP256R1())))))


def test_consent_and_exchange_belong_together() -> None:
    consent = start_consent(
        "https://login.acme.example/authorize", client_id="app", redirect_uri="https://us.example/cb",
        scope="api refresh_token", extra={"prompt": "login"},
    )  # fmt: skip
    parts = urlsplit(consent.url)
    sent = {name: values[0] for name, values in parse_qs(parts.query).items()}
    challenge = base64.urlsafe_b64encode(hashlib.sha256(consent.verifier.reveal().encode()).digest()).rstrip(b"=")
    assert sent == {
        "response_type": "code", "client_id": "app", "redirect_uri": "https://us.example/cb", "prompt": "login",
        "scope": "api refresh_token", "state": consent.state, "code_challenge": challenge.decode(),
        "code_challenge_method": "S256",
    }  # fmt: skip
    assert 43 <= len(consent.verifier.reveal()) <= 128
    assert consent.verifier.reveal() not in repr(consent)

    grant = CodeGrant(CLIENT, Secret("code-1"), consent.verifier, "https://us.example/cb")
    _, script = ask(grant, answer({"access_token": "a1", "refresh_token": "r1"}))
    assert form_of(script.requests[0]) == {
        "grant_type": "authorization_code", "code": "code-1", "code_verifier": consent.verifier.reveal(),
        "redirect_uri": "https://us.example/cb", "client_id": "app", "client_secret": "app-secret",
    }  # fmt: skip


def test_two_consents_never_share_state_or_verifier() -> None:
    one, two = (
        start_consent("https://l.example", client_id="a", redirect_uri="https://u.example", scope="s") for _ in "12"
    )
    assert one.state != two.state
    assert one.verifier.reveal() != two.verifier.reveal()


# --- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(OAUTH_ERRORS))
@pytest.mark.parametrize("status", [400, 401])
def test_every_refusal_becomes_its_sentence(code: str, status: int) -> None:
    rule = OAUTH_ERRORS[code]
    body = {"error": code, "error_description": "in the vendor's words"}
    with pytest.raises(rule.error) as caught:
        ask(REFRESH, *[answer(body, status)] * 5)
    if not issubclass(rule.error, Unavailable):
        assert rule.sentence in str(caught.value)
    if rule.error is AuthenticationFailed:
        assert "in the vendor's words" in str(caught.value)


def test_an_unknown_refusal_is_named() -> None:
    with pytest.raises(AuthenticationFailed, match="unheard_of"):
        ask(REFRESH, answer({"error": "unheard_of"}, 400))


@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationFailed), (429, RateLimited), (503, Unavailable)])
def test_a_refusal_without_a_body_is_read_by_its_status(status: int, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        ask(REFRESH, *[Response(status, content=b"<html>no</html>", headers={"retry-after": "900"})] * 5)


@pytest.mark.parametrize("body", [{}, {"access_token": ""}, {"access_token": 5}, {"token": "very-secret"}])
def test_an_answer_without_a_token_is_told_without_showing_it(body: Mapping[str, object]) -> None:
    with pytest.raises(ContractChanged, match="without giving one") as caught:
        ask(REFRESH, answer(body))
    assert "very-secret" not in str(caught.value) + caught.value.detail


def test_no_secret_of_a_grant_shows_in_a_refusal() -> None:
    grant = CodeGrant(CLIENT, Secret("the-code"), Secret("the-verifier"), "https://us.example/cb")

    def echo(request: Request) -> Response:
        return answer({"error": "invalid_grant", "error_description": request.content.decode()}, 400)

    endpoint = TokenEndpoint(context_for(Script(echo)), TOKEN_URL, grant, system="Acme")
    with pytest.raises(AuthenticationFailed) as caught:
        endpoint(None)
    for hidden in ("the-code", "the-verifier", "app-secret"):
        assert hidden not in str(caught.value) + caught.value.detail


# --- one token for all ---------------------------------------------------------------------------------------


def test_a_token_is_obtained_once_and_shared() -> None:
    tokens = MemoryTokens()
    script = Script(answer({"access_token": "a1", "instance_url": "https://na1.acme.example"}), answer(), answer())
    logged_in(script, tokens=tokens).get("x")
    logged_in(script, tokens=tokens).get("y")
    assert script.asked == ["POST /oauth2/token", "GET /x", "GET /y"]
    assert script.requests[1].url.host == "na1.acme.example"
    assert script.requests[2].headers["authorization"] == "Bearer a1"


def test_a_refused_token_is_renewed_once() -> None:
    script = Script(
        answer({"access_token": "a1"}), answer({}, 401), answer({"access_token": "a2"}), answer({"ok": True})
    )
    assert logged_in(script).get("x").object() == {"ok": True}
    assert script.requests[3].headers["authorization"] == "Bearer a2"


def test_a_token_that_is_refused_twice_is_told() -> None:
    script = Script(answer({"access_token": "a1"}), answer({}, 401), answer({"access_token": "a2"}), answer({}, 401))
    with pytest.raises(AuthenticationFailed):
        logged_in(script).get("x")
    script.assert_played()


def test_a_refused_post_is_sent_again_with_the_new_token() -> None:
    script = Script(answer({"access_token": "a1"}), answer({}, 401), answer({"access_token": "a2"}), answer({"id": 1}))
    assert logged_in(script).send("POST", "x", json={}).object() == {"id": 1}


def test_a_worker_behind_takes_the_token_another_has_renewed() -> None:
    tokens = MemoryTokens()
    script = Script(
        answer({"access_token": "a1"}), answer(),  # the first worker logs in
        answer({}, 401), answer({"access_token": "a2"}), answer(),  # the second meets the dead token and renews
        answer({}, 401), answer({}),  # the first is refused as well, and takes the new one without asking for another
    )  # fmt: skip
    first, second = logged_in(script, tokens=tokens), logged_in(script, tokens=tokens)
    first.get("1")
    second.get("2")
    first.get("3")
    script.assert_played()
    assert script.requests[-1].headers["authorization"] == "Bearer a2"


def test_a_token_about_to_end_is_renewed_before_use() -> None:
    clock = VirtualClock(NOW)
    script = Script(
        answer({"access_token": "a1", "expires_in": 3600}), answer(), answer({"access_token": "a2"}), answer()
    )
    http = logged_in(script, clock=clock)
    http.get("x")
    clock.sleep(3550)
    http.get("y")
    assert script.requests[3].headers["authorization"] == "Bearer a2"


def test_a_token_shows_in_no_error() -> None:
    def echo(request: Request) -> Response:
        return Response(400, text=f"seen {request.headers['authorization'].removeprefix('Bearer ')}")

    script = Script(answer({"access_token": "zzz-access-token"}), echo)
    with pytest.raises(ContractChanged) as caught:
        logged_in(script).get("x")
    assert "zzz-access-token" not in caught.value.detail


def test_token_calls_do_not_count_as_api_calls() -> None:
    script = Script(answer({"access_token": "a1"}), answer())
    http = client_of(replace(context_for(script), tokens=MemoryTokens()))
    http.get("x")
    assert http.calls == 1


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
