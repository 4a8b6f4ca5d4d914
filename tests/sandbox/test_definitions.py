"""What an administrator changes: rules, record types, field access, audit fields, locks, metadata files."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.salesforce.running import running_simulator
from tests.sandbox.client import Client
from tests.sandbox.conftest import NO_TLS
from tests.sandbox.writing import codes, collection, create, define, fetch, finish, job, refusal, row_errors

XML = '<?xml version="1.0" encoding="UTF-8"?>\n<{0} xmlns="http://soap.sforce.com/2006/04/metadata">{1}</{0}>'


@pytest.fixture(autouse=True)
def pay_codes(client: Client) -> None:
    define(client)


def described(client: Client, name: str, field: str) -> dict[str, Any] | None:
    fields = client.ask(f"/sobjects/{name}/describe").json()["fields"]
    return next((each for each in fields if each["name"] == field), None)


def test_a_validation_rule_refuses_at_insert_and_update(client: Client) -> None:
    rule = {"name": "Order", "formula": "Until__c < From__c", "message": "Until before from", "field": "Until__c"}
    client.control.add_rule("Pay_Code__c", **rule)
    expected = ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "Until before from", ["Until__c"])
    assert refusal(client, Title__c="t", From__c="2026-02-01", Until__c="2026-01-01") == expected
    key = create(client, Title__c="t", From__c="2026-01-01", Until__c="2026-02-01")
    answers = collection(client, "PATCH", [{"id": key, "From__c": "2026-03-01"}])
    assert codes(answers) == ["FIELD_CUSTOM_VALIDATION_EXCEPTION"]
    client.control.remove_rules("Pay_Code__c", "Order")
    assert codes(collection(client, "PATCH", [{"id": key, "From__c": "2026-03-01"}])) == [""]


def test_an_automation_rejects_by_value_and_event(client: Client) -> None:
    key = create(client, Title__c="stay", Status__c="Ready")
    code = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"
    message = "PayCodeTrigger: execution of BeforeDelete caused by: System.NullPointerException"
    rule = {"where": {"Status__c": "Ready"}, "code": code, "message": message, "on": ["delete"]}
    client.control.add_rule("Pay_Code__c", name="Trigger", **rule)
    assert client.error(f"/sobjects/Pay_Code__c/{key}", "DELETE") == (400, code, message)
    done = job(client, "delete", f"Id\n{key}\n")
    assert row_errors(client, done, by="Id") == {key: f"{code}:{message}:--"}
    client.ask(f"/sobjects/Pay_Code__c/{key}", "PATCH", json={"Status__c": "Draft"}).raise_for_status()
    assert client.ask(f"/sobjects/Pay_Code__c/{key}", "DELETE").status_code == 204


def test_a_permission_bypasses_a_rule_that_asks_for_it(client: Client) -> None:
    client.control.add_rule("Account", name="No", formula="NOT($Permission.Bypass)", message="no")
    assert refusal(client, "Account", Name="x")[1] == "no"
    client.control.set_permissions("Bypass")
    create(client, "Account", Name="x")
    client.control.set_permissions()
    assert refusal(client, "Account", Name="x")[1] == "no"


def test_is_changed_compares_with_the_stored_record(client: Client) -> None:
    client.control.add_rule("Pay_Code__c", name="Fixed", formula="ISCHANGED(Status__c)", message="fixed")
    key = create(client, Title__c="t")
    assert codes(collection(client, "PATCH", [{"id": key, "Title__c": "u"}])) == [""]
    assert codes(collection(client, "PATCH", [{"id": key, "Status__c": "Ready"}])) == [
        "FIELD_CUSTOM_VALIDATION_EXCEPTION"
    ]


def test_locked_records_and_parents_are_refused(client: Client) -> None:
    master, other = create(client, Title__c="m"), create(client, Title__c="o")
    client.control.lock([master], refusals=2)
    records = [{"attributes": {"type": "Detail__c"}, "Name": "d", "Code__c": each} for each in (master, other)]
    answers = collection(client, "POST", records)
    assert codes(answers) == ["UNABLE_TO_LOCK_ROW", ""]
    message = f"unable to obtain exclusive access to this record or 200 records: {master}"
    assert answers[0]["errors"][0]["message"] == message
    assert client.control.locks() == {master: 1}
    assert codes(collection(client, "PATCH", [{"id": master, "Title__c": "n"}])) == ["UNABLE_TO_LOCK_ROW"]
    assert codes(collection(client, "PATCH", [{"id": master, "Title__c": "n"}])) == [""]
    client.control.lock([other])
    assert client.error(f"/sobjects/Pay_Code__c/{other}", "DELETE")[1] == "UNABLE_TO_LOCK_ROW"
    client.control.unlock()
    assert client.ask(f"/sobjects/Pay_Code__c/{other}", "DELETE").status_code == 204


def test_two_jobs_over_children_of_one_parent_get_in_each_others_way(client: Client) -> None:
    client.control.change_settings(row_locks=1, bulk_batch=2, bulk_hold=1)
    busy, free = create(client, Title__c="busy"), create(client, Title__c="free")
    text = f"Name,Key__c,Code__c\na,A,{busy}\nb,B,{busy}\nc,C,{busy}\n"
    first = client.ask("/jobs/ingest", "POST", json={"object": "Detail__c", "operation": "insert"}).json()["id"]
    headers = {"Content-Type": "text/csv"}
    client.ask(f"/jobs/ingest/{first}/batches", "PUT", content=text.encode(), headers=headers).raise_for_status()
    client.ask(f"/jobs/ingest/{first}", "PATCH", json={"state": "UploadComplete"}).raise_for_status()
    while client.ask(f"/jobs/ingest/{first}").json()["numberRecordsProcessed"] < 2:
        pass
    second = client.ask("/jobs/ingest", "POST", json={"object": "Detail__c", "operation": "insert"}).json()["id"]
    text = f"Name,Key__c,Code__c\nd,D,{busy}\ne,E,{free}\n"
    client.ask(f"/jobs/ingest/{second}/batches", "PUT", content=text.encode(), headers=headers).raise_for_status()
    client.ask(f"/jobs/ingest/{second}", "PATCH", json={"state": "UploadComplete"}).raise_for_status()
    while client.ask(f"/jobs/ingest/{second}").json()["numberRecordsProcessed"] < 2:
        pass
    client.control.change_settings(bulk_hold=-1)
    assert finish(client, first)["numberRecordsFailed"] == 0
    assert finish(client, second)["numberRecordsFailed"] == 1
    assert row_errors(client, second)["D"].startswith("UNABLE_TO_LOCK_ROW:unable to obtain exclusive access")
    assert codes(collection(client, "PATCH", [{"id": busy, "Title__c": "t"}])) == [""]


def test_a_hidden_field_is_gone_and_a_read_only_one_refused(client: Client) -> None:
    key = create(client, Title__c="t", Rate__c=5)
    client.control.set_access("Pay_Code__c", "Rate__c", "none")
    assert described(client, "Pay_Code__c", "Rate__c") is None
    assert client.refused("SELECT Rate__c FROM Pay_Code__c")[0] == "INVALID_FIELD"
    assert refusal(client, Title__c="t", Rate__c=1)[0] == "INVALID_FIELD"
    client.control.set_access("Pay_Code__c", "Rate__c", "read")
    found = described(client, "Pay_Code__c", "Rate__c")
    assert found is not None
    assert (found["createable"], found["updateable"]) == (False, False)
    assert refusal(client, Title__c="t", Rate__c=1)[0] == "INVALID_FIELD_FOR_INSERT_UPDATE"
    client.control.set_access("Pay_Code__c", "Rate__c", "edit")
    assert fetch(client, key)["Rate__c"] == 5.0


def test_audit_fields_are_writable_at_insert_once_switched_on(client: Client) -> None:
    made = {"CreatedDate": "2020-01-01T00:00:00Z", "LastModifiedDate": "2021-01-01T00:00:00.000Z", "Title__c": "t"}
    assert refusal(client, **made)[0] == "INVALID_FIELD_FOR_INSERT_UPDATE"
    client.control.change_settings(audit_fields=1)
    found = described(client, "Pay_Code__c", "CreatedDate")
    assert found is not None
    assert (found["createable"], found["updateable"]) == (True, False)
    key = create(client, **made)
    record = fetch(client, key)
    assert (record["CreatedDate"][:10], record["LastModifiedDate"][:10]) == ("2020-01-01", "2021-01-01")
    assert record["SystemModstamp"] > record["LastModifiedDate"]
    upsert = collection(client, "PATCH", [{**made, "Key__c": "A"}], "/Pay_Code__c/Key__c")
    assert codes(upsert) == ["INVALID_FIELD_FOR_INSERT_UPDATE"]
    change = collection(client, "PATCH", [{"id": key, "CreatedDate": "2019-01-01T00:00:00Z"}])
    assert codes(change) == ["INVALID_FIELD_FOR_INSERT_UPDATE"]


def test_record_types(client: Client) -> None:
    types = [{"fullName": "Master_Rule", "label": "Master Rule", "default": True}, {"fullName": "Old", "active": False}]
    client.control.define({"fullName": "Pay_Code__c", "recordTypes": types})
    infos = client.ask("/sobjects/Pay_Code__c/describe").json()["recordTypeInfos"]
    assert [each["developerName"] for each in infos] == ["Master_Rule", "Old", "Master"]
    assert [each["defaultRecordTypeMapping"] for each in infos] == [True, False, False]
    ids = {each["developerName"]: each["recordTypeId"] for each in infos}
    rows = client.query("SELECT Id, DeveloperName, IsActive FROM RecordType WHERE SobjectType = 'Pay_Code__c'")
    assert {each["DeveloperName"]: each["Id"] for each in rows["records"]} == {
        k: ids[k] for k in ("Master_Rule", "Old")
    }
    key = create(client, Title__c="t")
    assert fetch(client, key)["RecordTypeId"] == ids["Master_Rule"]
    message = f"Record Type ID: this ID value isn't valid for the user: {ids['Old']}"
    assert refusal(client, Title__c="t", RecordTypeId=ids["Old"]) == (
        "INVALID_CROSS_REFERENCE_KEY", message, ["RecordTypeId"],
    )  # fmt: skip
    soql = "SELECT RecordType.DeveloperName FROM Pay_Code__c"
    assert client.query(soql)["records"][0]["RecordType"]["DeveloperName"] == "Master_Rule"


def test_a_field_added_later_is_empty_in_old_records(client: Client) -> None:
    key = client.values("SELECT Id FROM Account LIMIT 1")[0]
    before = client.ask("/sobjects/Account/describe").headers["last-modified"]
    fields = [
        {"fullName": "Ext__c", "type": "Text", "length": 30, "externalId": True, "unique": True, "caseSensitive": True},
        {"fullName": "On__c", "type": "Checkbox", "defaultValue": "true"},
    ]
    client.control.define({"fullName": "Account", "fields": fields})
    again = client.ask("/sobjects/Account/describe", headers={"If-Modified-Since": before})
    assert again.status_code == 200
    record = fetch(client, key, "Account")
    assert (record["Ext__c"], record["On__c"]) == (None, True)
    for value in ("a", "A"):
        made = client.ask(f"/sobjects/Account/Ext__c/{value}", "PATCH", json={"Name": value})
        assert made.status_code == 201


@pytest.mark.parametrize(
    "given",
    [
        {"fullName": "Nope"},
        {},
        {"fullName": "X__c", "fields": [{"fullName": "A__c", "type": "Teapot"}]},
        {"fullName": "X__c", "validationRules": [{"fullName": "V", "errorConditionFormula": "VLOOKUP(1)"}]},
    ],
)
def test_definitions_that_make_no_sense_are_refused(client: Client, given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="was refused"):
        client.control.define(given)


@pytest.mark.parametrize(
    "rule", [{}, {"where": {}}, {"formula": "TRUE", "on": ["undelete"]}, {"formula": "TRUE", "colour": "red"}]
)
def test_rules_that_make_no_sense_are_refused(client: Client, rule: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="was refused"):
        client.control.add_rule("Account", **rule)
    with pytest.raises(ValueError, match="is no field here"):
        client.control.set_access("Account", "Nope", "none")


def test_metadata_files_bring_external_ids_record_types_and_rules(tmp_path: Path) -> None:
    folder = tmp_path / "objects" / "Rule__c"
    for sub in ("fields", "recordTypes", "validationRules"):
        (folder / sub).mkdir(parents=True)
    head = (
        "<label>Rule</label><pluralLabel>Rules</pluralLabel><nameField><label>Name</label><type>Text</type></nameField>"
    )
    (folder / "Rule__c.object-meta.xml").write_text(XML.format("CustomObject", head))
    field = "<fullName>Ext__c</fullName><externalId>true</externalId><label>Ext</label><length>9</length><type>Text</type><unique>true</unique>"  # noqa: E501
    (folder / "fields" / "Ext__c.field-meta.xml").write_text(XML.format("CustomField", field))
    kind = "<fullName>Standard</fullName><active>true</active><label>Standard</label>"
    (folder / "recordTypes" / "Standard.recordType-meta.xml").write_text(XML.format("RecordType", kind))
    rule = "<fullName>Named</fullName><active>true</active><errorConditionFormula>LEN(Name) &lt; 3</errorConditionFormula><errorMessage>Too short</errorMessage>"  # noqa: E501
    (folder / "validationRules" / "Named.validationRule-meta.xml").write_text(XML.format("ValidationRule", rule))
    strange = rule.replace("LEN(Name) &lt; 3", "VLOOKUP(Name)").replace("Named", "Strange")
    (folder / "validationRules" / "Strange.validationRule-meta.xml").write_text(XML.format("ValidationRule", strange))
    with (
        running_simulator(data=tmp_path) as running,
        httpx.Client(base_url=running.url, trust_env=False, verify=NO_TLS) as http,
    ):
        org = Client(running, http)
        found = described(org, "Rule__c", "Ext__c")
        assert found is not None
        assert (found["externalId"], found["unique"], found["idLookup"]) == (True, True, True)
        assert refusal(org, "Rule__c", Name="x")[:2] == ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "Too short")
        assert fetch(org, create(org, "Rule__c", Name="long enough"), "Rule__c")["RecordTypeId"] is None
        assert list(org.control.rules()["skipped"]) == ["Rule__c.Strange"]
        assert [each["developerName"] for each in org.ask("/sobjects/Rule__c/describe").json()["recordTypeInfos"]] == [
            "Standard", "Master",
        ]  # fmt: skip
