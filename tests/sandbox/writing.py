"""An object with every rule a write can break, and short ways to write it."""

import csv
import io
from typing import Any

from tests.sandbox.client import Client

PAY_CODE: dict[str, Any] = {
    "fullName": "Pay_Code__c",
    "label": "Pay Code",
    "pluralLabel": "Pay Codes",
    "nameField": {"type": "AutoNumber", "label": "Number", "displayFormat": "PC-{0000}"},
    "fields": [
        {"fullName": "Key__c", "label": "Key", "type": "Text", "length": 20, "externalId": True, "unique": True},
        {"fullName": "Legacy__c", "label": "Legacy", "type": "Text", "length": 20, "externalId": True},
        {"fullName": "Title__c", "label": "Title", "type": "Text", "length": 10, "required": True},
        {"fullName": "Rate__c", "label": "Rate", "type": "Number", "precision": 6, "scale": 2},
        {"fullName": "From__c", "label": "From", "type": "Date"},
        {"fullName": "Until__c", "label": "Until", "type": "Date"},
        {"fullName": "Seen__c", "label": "Seen", "type": "DateTime"},
        {"fullName": "Mail__c", "label": "Mail", "type": "Email"},
        {"fullName": "Live__c", "label": "Live", "type": "Checkbox", "defaultValue": "true"},
        {
            "fullName": "Status__c",
            "label": "Status",
            "type": "Picklist",
            "valueSet": {
                "restricted": True,
                "valueSetDefinition": {
                    "value": [
                        {"fullName": "Draft", "default": True},
                        {"fullName": "Ready", "default": False},
                        {"fullName": "Old", "default": False, "isActive": False},
                    ]
                },
            },
        },
        {
            "fullName": "Days__c",
            "label": "Days",
            "type": "MultiselectPicklist",
            "valueSet": {
                "restricted": True,
                "valueSetDefinition": {"value": [{"fullName": "Mon"}, {"fullName": "Tue"}]},
            },
        },
        {"fullName": "Account__c", "label": "Account", "type": "Lookup", "referenceTo": "Account"},
        {"fullName": "Parent__c", "label": "Parent", "type": "Lookup", "referenceTo": "Pay_Code__c"},
    ],
}
DETAIL: dict[str, Any] = {
    "fullName": "Detail__c",
    "label": "Detail",
    "pluralLabel": "Details",
    "sharingModel": "ControlledByParent",
    "fields": [
        {"fullName": "Code__c", "label": "Code", "type": "MasterDetail", "referenceTo": "Pay_Code__c"},
        {"fullName": "Key__c", "label": "Key", "type": "Text", "length": 20, "externalId": True, "unique": True},
    ],
}


def define(client: Client) -> None:
    client.control.define(PAY_CODE, DETAIL)


def create(client: Client, name: str = "Pay_Code__c", **values: object) -> str:
    """The id of a new record that must go in."""
    answer = client.ask(f"/sobjects/{name}", "POST", json=values)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def refusal(client: Client, name: str = "Pay_Code__c", **values: object) -> tuple[str, str, list[str]]:
    """Code, message and fields with which a new record is refused."""
    answer = client.ask(f"/sobjects/{name}", "POST", json=values)
    assert answer.status_code == 400, answer.text
    (entry,) = answer.json()
    return entry["errorCode"], entry["message"], entry.get("fields", [])


def fetch(client: Client, key: str, name: str = "Pay_Code__c") -> dict[str, Any]:
    return dict(client.ask(f"/sobjects/{name}/{key}").raise_for_status().json())


def collection(client: Client, method: str, records: list[dict[str, Any]], path: str = "", **rest: object) -> list[Any]:
    """The answers of a collection call; records without a type are pay codes."""
    typed = [{"attributes": {"type": "Pay_Code__c"}, **each} for each in records]
    answer = client.ask(f"/composite/sobjects{path}", method, json={"records": typed, **rest})
    assert answer.status_code == 200, answer.text
    return list(answer.json())


def codes(answers: list[dict[str, Any]]) -> list[str]:
    """The error code of each answer of a collection, empty where it is good."""
    return [each["errors"][0]["statusCode"] if each["errors"] else "" for each in answers]


def job(client: Client, operation: str, text: str, **options: object) -> str:
    """An ingest job, brought to its end; its id."""
    body = {"object": "Pay_Code__c", "operation": operation, "contentType": "CSV", "lineEnding": "LF", **options}
    made = client.ask("/jobs/ingest", "POST", json=body).raise_for_status().json()
    put = client.ask("/" + made["contentUrl"], "PUT", content=text.encode(), headers={"Content-Type": "text/csv"})
    assert (put.status_code, put.content) == (201, b"")
    client.ask(f"/jobs/ingest/{made['id']}", "PATCH", json={"state": "UploadComplete"}).raise_for_status()
    finish(client, made["id"])
    return str(made["id"])


def finish(client: Client, key: str) -> dict[str, Any]:
    """The description of a job once it has ended."""
    for _ in range(5_000):
        found = dict(client.ask(f"/jobs/ingest/{key}").raise_for_status().json())
        if found["state"] in ("JobComplete", "Failed", "Aborted"):
            return found
    raise AssertionError(f"the job stayed {found['state']}")


def results(client: Client, key: str, kind: str, delimiter: str = ",") -> list[dict[str, str]]:
    text = client.ask(f"/jobs/ingest/{key}/{kind}").raise_for_status().text
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))


def row_errors(client: Client, key: str, by: str = "Key__c") -> dict[str, str]:
    """What each refused row of a job was refused for, by the value of a column."""
    return {each[by]: each["sf__Error"] for each in results(client, key, "failedResults")}
