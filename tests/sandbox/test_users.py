"""Sessions act as their user: who they are, what they may see and write, and what they leave behind."""

from typing import Any

import httpx
import pytest

from tests.sandbox.client import Client
from tests.sandbox.writing import PAY_CODE, finish

METADATA = "http://soap.sforce.com/2006/04/metadata"
STANDARD, INTEGRATION = "Standard User", "Minimum Access - API Only Integrations"


def user(client: Client, profile: str, **values: object) -> dict[str, Any]:
    """A new user with a session."""
    (profile_id,) = client.values(f"SELECT Id FROM Profile WHERE Name = '{profile}'")
    name = f"u{len(client.values('SELECT Id FROM User'))}@sandbox.example"
    given = {
        "Username": name, "LastName": "Other", "Alias": "other", "Email": name, "ProfileId": profile_id,
        "IsActive": True,
        "TimeZoneSidKey": "Europe/London", "LocaleSidKey": "en_GB", "LanguageLocaleKey": "en_US",
        "EmailEncodingKey": "UTF-8", **values,
    }  # fmt: skip
    (user_id,) = client.control.upsert("User", [given])
    return {"name": name, **client.control.log_in(user_id)}


def acting(client: Client, session: dict[str, Any]) -> Client:
    other = Client(client.running, client.http)
    other.token = session["access_token"]
    return other


def envelope(call: str, namespace: str, token: str = "") -> str:
    return (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" '
        f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns="{namespace}">'
        f"<e:Header><SessionHeader><sessionId>{token}</sessionId></SessionHeader></e:Header>"
        f"<e:Body>{call}</e:Body></e:Envelope>"
    )


def metadata(client: Client, call: str) -> httpx.Response:
    return client.http.post("/services/Soap/m/66.0", content=envelope(call, METADATA, client.token))


def permission_set(client: Client, name: str, **content: object) -> str:
    """Create a permission set by the Metadata API; its id."""
    inner = "".join(_element(key, value) for key, value in {"fullName": name, "label": name, **content}.items())
    told = metadata(client, f'<upsertMetadata><metadata xsi:type="PermissionSet">{inner}</metadata></upsertMetadata>')
    assert "<success>true</success>" in told.text, told.text
    (found,) = client.values(f"SELECT Id FROM PermissionSet WHERE Name = '{name}'")
    return str(found)


def _element(name: str, value: object) -> str:
    if isinstance(value, list):
        return "".join(_element(name, each) for each in value)
    inner = "".join(_element(*each) for each in value.items()) if isinstance(value, dict) else str(value)
    return f"<{name}>{inner}</{name}>"


def assign(client: Client, session: dict[str, Any], set_id: str) -> None:
    body = {"AssigneeId": session["user_id"], "PermissionSetId": set_id}
    assert client.ask("/sobjects/PermissionSetAssignment", "POST", json=body).status_code == 201


def names(client: Client, subject: str) -> set[str]:
    return {each["name"] for each in client.ask(f"/sobjects/{subject}/describe").raise_for_status().json()["fields"]}


def test_a_session_says_who_it_is_and_signs_what_it_writes(client: Client) -> None:
    session = user(client, STANDARD)
    other = acting(client, session)
    told = client.http.get("/services/oauth2/userinfo", headers={"Authorization": f"Bearer {other.token}"}).json()
    assert (told["user_id"], told["preferred_username"]) == (session["user_id"], session["name"])
    identity = other.ask("").json()["identity"]
    assert identity.endswith(session["user_id"])
    assert (
        client.http.get(identity, headers={"Authorization": f"Bearer {other.token}"}).json()["user_id"]
        == session["user_id"]
    )
    assert client.http.get(identity, headers={"Authorization": f"Bearer {client.token}"}).status_code == 404
    made = other.ask("/sobjects/Account", "POST", json={"Name": "Theirs"}).json()["id"]
    record = client.ask(f"/sobjects/Account/{made}").json()
    assert {record[each] for each in ("OwnerId", "CreatedById", "LastModifiedById")} == {session["user_id"]}
    client.ask(f"/sobjects/Account/{made}", "PATCH", json={"Name": "Ours"})
    record = client.ask(f"/sobjects/Account/{made}").json()
    assert (record["CreatedById"], record["LastModifiedById"]) == (session["user_id"], client.ready.user_id)


def test_a_bulk_job_acts_as_who_made_it(client: Client) -> None:
    session = user(client, STANDARD)
    other = acting(client, session)
    body = {"object": "Account", "operation": "insert", "contentType": "CSV", "lineEnding": "LF"}
    made = other.ask("/jobs/ingest", "POST", json=body).json()
    assert made["createdById"] == session["user_id"]
    other.ask("/" + made["contentUrl"], "PUT", content=b"Name\nIn bulk\n", headers={"Content-Type": "text/csv"})
    other.ask(f"/jobs/ingest/{made['id']}", "PATCH", json={"state": "UploadComplete"})
    assert finish(client, made["id"])["numberRecordsFailed"] == 0
    found = client.query("SELECT OwnerId, CreatedById FROM Account WHERE Name = 'In bulk'")["records"][0]
    assert (found["OwnerId"], found["CreatedById"]) == (session["user_id"], session["user_id"])


def test_every_way_in_leads_to_its_user(client: Client) -> None:
    session = user(client, STANDARD)
    forms = [
        {"grant_type": "refresh_token", "client_id": "PlatformCLI", "refresh_token": session["refresh_token"]},
        {"grant_type": "password", "client_id": client.ready.client_id, "client_secret": client.ready.client_secret,
         "username": session["name"], "password": session["password"]},
    ]  # fmt: skip
    for form in forms:
        assert client.http.post("/services/oauth2/token", data=form).json()["id"].endswith(session["user_id"])
    asked = {
        "client_id": client.ready.client_id,
        "redirect_uri": "http://localhost/back",
        "login_hint": session["name"],
    }
    query = "&".join(f"{key}={value}" for key, value in asked.items())
    sent = client.http.post("/services/oauth2/consent", data={"query": query, "answer": "allow"}).headers["location"]
    code = {**asked, "code": sent.partition("code=")[2], "client_secret": client.ready.client_secret}
    answer = client.http.post("/services/oauth2/token", data={**code, "grant_type": "authorization_code"}).json()
    assert answer["id"].endswith(session["user_id"])
    login = f"<login><username>{session['name']}</username><password>{session['password']}</password></login>"
    answer = client.http.post("/services/Soap/u/60.0", content=envelope(login, "urn:partner.soap.sforce.com"))
    assert f"<userId>{session['user_id']}</userId>" in answer.text
    client.control.upsert("User", [{"Id": session["user_id"], "IsActive": False}])
    assert acting(client, session).ask("/limits").status_code == 401
    refused = client.http.post("/services/oauth2/token", data=forms[0]).json()
    assert refused == {"error": "invalid_grant", "error_description": "inactive user"}


def test_field_security_is_by_profile_and_permission_set(client: Client) -> None:
    client.control.define(PAY_CODE)
    client.control.upsert("Pay_Code__c", [{"Title__c": "One", "Rate__c": 1.5, "Status__c": "Draft"}])
    session = user(client, STANDARD)
    other = acting(client, session)
    client.control.set_access("Pay_Code__c", "Rate__c", "none", profile=STANDARD)
    client.control.set_access("Pay_Code__c", "From__c", "read", profile=STANDARD)
    assert "Rate__c" not in names(other, "Pay_Code__c")
    assert "Rate__c" in names(client, "Pay_Code__c")
    code, message = other.refused("SELECT Rate__c FROM Pay_Code__c")
    assert (code, "No such column 'Rate__c'" in message) == ("INVALID_FIELD", True)
    assert "Rate__c" not in other.query("SELECT FIELDS(ALL) FROM Pay_Code__c LIMIT 1")["records"][0]
    assert other.refused("SELECT Id FROM Pay_Code__c WHERE Rate__c > 1")[0] == "INVALID_FIELD"
    assert other.error("/sobjects/Pay_Code__c", "POST", json={"Title__c": "x", "Rate__c": 2})[1] == "INVALID_FIELD"
    refused = other.error("/sobjects/Pay_Code__c", "POST", json={"Title__c": "x", "From__c": "2026-01-01"})
    assert refused[1] == "INVALID_FIELD_FOR_INSERT_UPDATE"
    job = {"operation": "query", "query": "SELECT Rate__c FROM Pay_Code__c"}
    assert other.error("/jobs/query", "POST", json=job)[1] == "INVALID_FIELD"
    stamp = other.ask("/sobjects/Pay_Code__c/describe").headers["last-modified"]
    granted = [{"field": "Pay_Code__c.Rate__c", "readable": "true", "editable": "false"}]
    assign(client, session, permission_set(client, "Rates", fieldPermissions=granted))
    again = other.ask("/sobjects/Pay_Code__c/describe", headers={"If-Modified-Since": stamp})
    rate = next(each for each in again.raise_for_status().json()["fields"] if each["name"] == "Rate__c")
    assert (rate["createable"], rate["updateable"]) == (False, False)
    assert other.values("SELECT Rate__c FROM Pay_Code__c", "Rate__c") == [1.5]
    assert other.error("/sobjects/Pay_Code__c", "POST", json={"Title__c": "x", "Rate__c": 2})[1] == (
        "INVALID_FIELD_FOR_INSERT_UPDATE"
    )


def test_rules_and_defaults_hold_for_fields_the_user_does_not_see(client: Client) -> None:
    client.control.define(PAY_CODE)
    client.control.add_rule("Pay_Code__c", name="Live", formula='ISPICKVAL(Status__c, "Draft") && Title__c = "bad"')
    client.control.set_access("Pay_Code__c", "Status__c", "none", profile=STANDARD)
    other = acting(client, user(client, STANDARD))
    assert (
        other.error("/sobjects/Pay_Code__c", "POST", json={"Title__c": "bad"})[1] == "FIELD_CUSTOM_VALIDATION_EXCEPTION"
    )
    made = other.ask("/sobjects/Pay_Code__c", "POST", json={"Title__c": "good"}).json()["id"]
    assert client.ask(f"/sobjects/Pay_Code__c/{made}").json()["Status__c"] == "Draft"


def test_an_integration_user_sees_what_permission_sets_give(client: Client) -> None:
    client.control.define(PAY_CODE)
    session = user(client, INTEGRATION)
    other = acting(client, session)
    assert other.refused("SELECT Id FROM Account")[0] == "INVALID_TYPE"
    listed = {each["name"] for each in other.ask("/sobjects").json()["sobjects"]}
    assert ("User" in listed, "Account" in listed) == (True, False)
    objects = [{"object": "Pay_Code__c", "allowRead": "true", "allowCreate": "true"}]
    fields = [{"field": "Pay_Code__c.Rate__c", "readable": "true", "editable": "true"}]
    assign(client, session, permission_set(client, "Pay", objectPermissions=objects, fieldPermissions=fields))
    seen = names(other, "Pay_Code__c")
    assert {"Rate__c", "Title__c", "Name", "SystemModstamp"} <= seen
    assert not {"From__c", "Mail__c"} & seen
    made = other.ask("/sobjects/Pay_Code__c", "POST", json={"Title__c": "x", "Rate__c": 2})
    assert made.status_code == 201
    path = f"/sobjects/Pay_Code__c/{made.json()['id']}"
    assert other.error(path, "PATCH", json={"Rate__c": 3})[1] == "INVALID_TYPE_FOR_OPERATION"
    assert other.error(path, "DELETE")[1] == "INVALID_TYPE_FOR_OPERATION"


@pytest.mark.parametrize(("profile", "code"), [(STANDARD, "INSUFFICIENT_ACCESS"), ("System Administrator", "")])
def test_set_up_is_for_administrators(client: Client, profile: str, code: str) -> None:
    other = acting(client, user(client, profile))
    answer = metadata(other, "<listMetadata><queries><type>PermissionSet</type></queries></listMetadata>")
    assert (code in answer.text, answer.status_code) == (True, 500 if code else 200)
    body = {"AssigneeId": client.ready.user_id, "PermissionSetId": "0PS000000000000AAA"}
    refused = other.error("/sobjects/PermissionSetAssignment", "POST", json=body)[1]
    assert (refused == "INVALID_TYPE_FOR_OPERATION") == bool(code)


def test_custom_permissions_are_their_users_own(client: Client) -> None:
    client.control.add_rule("Account", name="Closed", formula='NOT($Permission.Bypass) && Name = "closed"')
    first, second = (user(client, STANDARD) for _ in range(2))
    bypass = '<metadata xsi:type="CustomPermission"><fullName>Bypass</fullName><label>Bypass</label></metadata>'
    assert "true" in metadata(client, f"<upsertMetadata>{bypass}</upsertMetadata>").text
    given = permission_set(client, "By", customPermissions=[{"enabled": "true", "name": "Bypass"}])
    assign(client, first, given)
    statuses = [
        acting(client, each).ask("/sobjects/Account", "POST", json={"Name": "closed"}).status_code
        for each in (first, second)
    ]
    assert statuses == [201, 400]
