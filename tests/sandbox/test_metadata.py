"""The Metadata API and what it means for logging in, through simple-salesforce's metadata client."""

import base64
import datetime as dt
import hashlib
import io
import time
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import RSAKey
from simple_salesforce.login import SalesforceLogin
from simple_salesforce.metadata import SfdcMetadataApi

from tests.sandbox.client import Client

KEY = "3MVG9" + "k" * 40
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.fixture(scope="module")
def pair() -> tuple[str, str]:
    """A private key and its certificate, PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
def metadata(client: Client) -> Iterator[Any]:
    with requests.Session() as session:
        session.trust_env = False
        url = f"{client.ready.url}/services/Soap/m/63.0/"
        yield SfdcMetadataApi(session, client.token, client.ready.url, url, {}, "63.0")


def package(files: Mapping[str, str]) -> io.BytesIO:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for path, body in files.items():
            archive.writestr(path, body)
    return written


def element(kind: str, **content: str) -> str:
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in content.items())
    return f'<?xml version="1.0"?><{kind} xmlns="http://soap.sforce.com/2006/04/metadata">{inner}</{kind}>'


def app_files(certificate: str, *, key: str = KEY, permission_set: str = "Migration") -> dict[str, str]:
    parent = {"externalClientApplication": "Factory", "label": "Factory"}
    return {
        "externalClientApps/Factory.eca": element(
            "ExternalClientApplication", label="Factory", contactEmail="a@b.example", distributionState="Local"
        ),
        "extlClntAppOauthSettings/FactoryOAuth.ecaOauth": element(
            "ExtlClntAppOauthSettings", commaSeparatedOauthScopes="Api, RefreshToken", **parent
        ),
        "extlClntAppGlobalOauthSets/FactoryGlobal.ecaGlblOauth": element(
            "ExtlClntAppGlobalOauthSettings",
            callbackUrl="http://localhost/back",
            consumerKey=key,
            certificate=certificate,
            isConsumerSecretOptional="true",
            isPkceRequired="true",
            **parent,
        ),
        "extlClntAppOauthPolicies/Factory_plcy.ecaOauthPlcy": element(
            "ExtlClntAppOauthConfigurablePolicies",
            permittedUsersPolicyType="AdminApprovedPreAuthorized",
            commaSeparatedPermissionSet=permission_set,
            **parent,
        ),
        "permissionsets/Migration.permissionset": element("PermissionSet", label="Migration"),
    }


def deployed(metadata: Any, files: Mapping[str, str]) -> tuple[str, list[Mapping[str, str]], list[Mapping[str, str]]]:
    """Final state, component failures and test failures."""
    key, _ = metadata.deploy(package(files), False)
    state = "InProgress"
    while state == "InProgress":
        state, _, components, tests = metadata.check_deploy_status(key)
    return state, components["errors"], tests["errors"]


def assertion(private: str, client: Client, **claims: object) -> dict[str, str]:
    given = {
        "iss": KEY,
        "sub": client.ready.username,
        "aud": "https://test.salesforce.com",
        "exp": int(time.time()) + 180,
    }
    token = jwt.encode({"alg": "RS256"}, {**given, **claims}, RSAKey.import_key(private))
    return {"grant_type": JWT_BEARER, "assertion": token}


def answer(client: Client, form: Mapping[str, str]) -> Any:
    return client.http.post("/services/oauth2/token", data=form).json()


def assign(client: Client) -> None:
    found = client.ask("/query", params={"q": "SELECT Id FROM PermissionSet WHERE Name = 'Migration'"}).json()
    body = {"AssigneeId": client.ready.user_id, "PermissionSetId": found["records"][0]["Id"]}
    assert client.ask("/sobjects/PermissionSetAssignment", "POST", json=body).status_code == 201


def test_a_deployed_app_lets_an_admitted_user_in(client: Client, metadata: Any, pair: tuple[str, str]) -> None:
    private, certificate = pair
    assert deployed(metadata, app_files(certificate)) == ("Succeeded", [], [])
    assert answer(client, assertion(private, client))["error"] == "invalid_app_access"
    assign(client)
    client.token = answer(client, assertion(private, client))["access_token"]
    assert client.ask("/limits").status_code == 200


@pytest.mark.parametrize(
    ("claims", "description"),
    [
        ({"aud": "https://elsewhere.example"}, "audience is invalid"),
        ({"exp": 1}, "assertion expired"),
        ({"sub": "nobody@sandbox.example"}, "user hasn't approved this consumer"),
        ({"iss": "unknown"}, "client identifier invalid"),
    ],
)
def test_wrong_assertions(
    client: Client, metadata: Any, pair: tuple[str, str], claims: dict[str, object], description: str
) -> None:
    deployed(metadata, app_files(pair[1]))
    assign(client)
    assert answer(client, assertion(pair[0], client, **claims))["error_description"] == description


def test_an_assertion_by_another_key_is_refused(client: Client, metadata: Any, pair: tuple[str, str]) -> None:
    deployed(metadata, app_files(pair[1]))
    assign(client)
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert answer(client, assertion(other.decode(), client))["error_description"] == "invalid assertion"
    assert answer(client, {"grant_type": JWT_BEARER, "assertion": "no"})["error_description"] == "invalid assertion"


def test_a_new_app_needs_a_while(client: Client, metadata: Any, pair: tuple[str, str]) -> None:
    client.control.change_settings(app_delay=2)
    deployed(metadata, app_files(pair[1]))
    assign(client)
    asked = [answer(client, assertion(pair[0], client)).get("error", "") for _ in range(3)]
    assert asked == ["invalid_client_id", "invalid_client_id", ""]


def test_a_deployment_is_taken_whole_or_not_at_all(client: Client, metadata: Any, pair: tuple[str, str]) -> None:
    files = app_files(pair[1])
    files["permissionsets/Other.permissionset"] = element("PermissionSet", description="no label")
    state, failures, _ = deployed(metadata, files)
    assert (state, failures[0]["type"]) == ("Failed", "PermissionSet")
    assert "label" in failures[0]["message"]
    assert client.ask("/query", params={"q": "SELECT COUNT() FROM PermissionSet"}).json()["totalSize"] == 0
    assert answer(client, assertion(pair[0], client))["error"] == "invalid_client_id"


def test_failing_apex_tests_undo_a_deployment(client: Client, metadata: Any, pair: tuple[str, str]) -> None:
    client.control.change_settings(failing_tests=2)
    state, _, tests = deployed(metadata, app_files(pair[1]))
    assert (state, [each["method"] for each in tests]) == ("Failed", ["loads", "loads"])
    assert not metadata.list_metadata([{"type": "ExternalClientApplication"}])


def test_a_taken_consumer_key_fails(client: Client, metadata: Any, pair: tuple[str, str]) -> None:
    state, failures, _ = deployed(metadata, app_files(pair[1], key=client.ready.client_id))
    assert (state, failures[0]["message"]) == ("Failed", "This consumer key is already taken.")


def test_destructive_changes_remove_the_app(client: Client, metadata: Any, pair: tuple[str, str]) -> None:
    deployed(metadata, app_files(pair[1]))
    assign(client)
    gone = (
        '<Package xmlns="http://soap.sforce.com/2006/04/metadata"><types><members>Factory</members>'
        "<name>ExternalClientApplication</name></types><types><members>Migration</members>"
        "<name>PermissionSet</name></types></Package>"
    )
    state, failures, _ = deployed(metadata, {"destructiveChanges.xml": gone})
    assert (state, len(failures)) == ("Failed", 1), "somebody still has the permission set"
    where = "SELECT Id FROM PermissionSetAssignment WHERE PermissionSet.Name = 'Migration'"
    [assigned] = client.ask("/query", params={"q": where}).json()["records"]
    assert client.ask(f"/sobjects/PermissionSetAssignment/{assigned['Id']}", "DELETE").status_code == 204
    assert deployed(metadata, {"destructiveChanges.xml": gone})[0] == "Succeeded"
    assert answer(client, assertion(pair[0], client))["error"] == "invalid_client_id"


def test_components_one_by_one(metadata: Any) -> None:
    made = metadata.ExternalClientApplication(
        fullName="Solo", label="Solo", contactEmail="a@b.example", distributionState="Local"
    )
    metadata.ExternalClientApplication.create([made])
    assert metadata.ExternalClientApplication.read(["Solo"]).label == "Solo"
    with pytest.raises(Exception, match="DUPLICATE_DEVELOPER_NAME"):
        metadata.ExternalClientApplication.create([made])
    made.label = "Renamed"
    metadata.ExternalClientApplication.update([made])
    metadata.ExternalClientApplication.upsert([made])
    assert metadata.ExternalClientApplication.read(["Solo"]).label == "Renamed"
    metadata.ExternalClientApplication.delete(["Solo"])
    with pytest.raises(Exception, match="No ExternalClientApplication named: Solo found"):
        metadata.ExternalClientApplication.delete(["Solo"])


def test_connected_apps_only_where_they_are_allowed_again(client: Client, metadata: Any, pair: tuple[str, str]) -> None:
    config = metadata._client.get_type("ns0:ConnectedAppOauthConfig")(
        callbackUrl="http://localhost/back",
        consumerKey=KEY,
        certificate=pair[1],
        isAdminApproved=True,
        scopes=["Api", "RefreshToken"],
    )
    made = metadata.ConnectedApp(
        fullName="Old",
        label="Old",
        contactEmail="a@b.example",
        oauthConfig=config,
        profileName=["System Administrator"],
    )
    with pytest.raises(Exception, match="contact Salesforce Customer Support"):
        metadata.ConnectedApp.create([made])
    client.control.change_settings(connected_apps=1)
    metadata.ConnectedApp.create([made])
    assert "access_token" in answer(client, assertion(pair[0], client))


def test_without_the_right_nothing_can_be_made(client: Client, metadata: Any) -> None:
    client.control.change_settings(setup_access=0)
    with pytest.raises(Exception, match="INSUFFICIENT_ACCESS"):
        metadata.list_metadata([{"type": "PermissionSet"}])


class _Rewritten(requests.adapters.HTTPAdapter):
    """simple-salesforce's log-in hosts are hard-coded."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        request.url = self.url + urlsplit(request.url).path
        return super().send(request, *args, **options)


def logged_in(client: Client, password: str, version: str = "59.0") -> tuple[str, str]:
    ready = client.ready
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", _Rewritten(ready.url))
        return SalesforceLogin(
            username=ready.username, password=password, security_token="", session=session, sf_version=version
        )


def test_soap_log_in(client: Client) -> None:
    client.token = logged_in(client, client.ready.password)[0]
    assert client.ask("/limits").status_code == 200
    with pytest.raises(Exception, match="INVALID_LOGIN"):
        logged_in(client, "wrong")
    with pytest.raises(Exception, match="INVALID_OPERATION"):
        logged_in(client, client.ready.password, "65.0")
    client.control.change_settings(soap_login=0)
    with pytest.raises(Exception, match="INVALID_OPERATION"):
        logged_in(client, client.ready.password)


def consent(client: Client, *, press: str = "allow", **asked: str) -> dict[str, str]:
    """What the app's return address is called with."""
    query = {"response_type": "code", "client_id": client.ready.client_id, "state": "s1", **asked}
    page = client.http.get("/services/oauth2/authorize", params=query)
    assert page.status_code == 200, page.text
    form = {"query": str(page.url.query.decode()), "answer": press}
    sent = client.http.post("/services/oauth2/consent", data=form)
    location = urlsplit(sent.headers["location"])
    assert location.geturl().startswith(asked["redirect_uri"])
    return {name: values[0] for name, values in parse_qs(location.query).items()}


def test_consent_with_proof_of_key(client: Client) -> None:
    back = "http://127.0.0.1:8765/back/"
    challenge = base64.urlsafe_b64encode(hashlib.sha256(b"v" * 50).digest()).rstrip(b"=").decode()
    returned = consent(client, redirect_uri=back, code_challenge=challenge, code_challenge_method="S256")
    assert returned["state"] == "s1"
    form = {
        "grant_type": "authorization_code",
        "client_id": client.ready.client_id,
        "client_secret": client.ready.client_secret,
        "redirect_uri": back,
        "code": returned["code"],
        "code_verifier": "v" * 50,
    }
    got = answer(client, form)
    assert got["scope"] == "api refresh_token"
    refreshed = {**form, "grant_type": "refresh_token", "refresh_token": got["refresh_token"]}
    assert "access_token" in answer(client, refreshed)
    assert answer(client, form)["error_description"] == "expired authorization code"
    for verifier, error in (("w" * 50, "invalid_request"), ("", "invalid_grant")):
        again = consent(client, redirect_uri=back, code_challenge=challenge)
        assert answer(client, {**form, "code": again["code"], "code_verifier": verifier})["error"] == error
    again = consent(client, redirect_uri=back)
    elsewhere = {**form, "code": again["code"], "redirect_uri": "http://127.0.0.1/other"}
    assert answer(client, elsewhere)["error"] == "redirect_uri_mismatch"


def test_consent_refused_and_misaddressed(client: Client) -> None:
    assert consent(client, redirect_uri="http://localhost/back", press="deny")["error"] == "access_denied"
    query = {"response_type": "code", "client_id": client.ready.client_id, "redirect_uri": "https://evil.example/"}
    assert "redirect_uri_mismatch" in client.http.get("/services/oauth2/authorize", params=query).text
    unknown = {**query, "client_id": "unknown"}
    assert "invalid_client_id" in client.http.get("/services/oauth2/authorize", params=unknown).text


def test_rotation_makes_every_refresh_token_good_once(client: Client, metadata: Any, pair: tuple[str, str]) -> None:
    files = app_files(pair[1])
    path = "extlClntAppGlobalOauthSets/FactoryGlobal.ecaGlblOauth"
    files[path] = files[path].replace(
        "</ExtlClnt", "<isRefreshTokenRotationEnabled>true</isRefreshTokenRotationEnabled></ExtlClnt"
    )
    deployed(metadata, files)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(b"v" * 50).digest()).rstrip(b"=").decode()
    back = "http://localhost/back"
    code = consent(client, client_id=KEY, redirect_uri=back, code_challenge=challenge)["code"]
    form = {"client_id": KEY, "code": code, "redirect_uri": back, "code_verifier": "v" * 50}
    first = answer(client, {"grant_type": "authorization_code", **form})["refresh_token"]
    renew = {"grant_type": "refresh_token", "client_id": KEY}
    second = answer(client, {**renew, "refresh_token": first})["refresh_token"]
    assert answer(client, {**renew, "refresh_token": first})["error"] == "invalid_grant"
    client.http.post("/services/oauth2/revoke", data={"token": second})
    assert answer(client, {**renew, "refresh_token": second})["error"] == "invalid_grant"
