"""Files of a simulated Salesforce org as any client would make and read them: for tests of moving files."""

import hashlib
from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from sandbox.salesforce.running import Running

DATA = "/services/data/v66.0"
KEY = "External_Id__c"


def add_key(org: Running, *objects: str) -> None:
    """Give objects of the org a unique external id."""
    field = {"fullName": KEY, "label": "External Id", "type": "Text", "length": 60, "externalId": True, "unique": True}
    org.control.define(*({"fullName": name, "fields": [field]} for name in objects))


def client_of(org: Running) -> httpx.Client:
    headers = {"Authorization": f"Bearer {org.ready.access_token}"}
    return httpx.Client(base_url=org.url, headers=headers, trust_env=False, verify=False)  # noqa: S501 - plain http


def upload(org: Running, body: bytes, *, into: str = "ContentVersion", **members: Any) -> str:
    """The id of a record with this body, sent in parts."""
    blob = "VersionData" if into == "ContentVersion" else "Body"
    parts = {
        "entity_content": (None, orjson.dumps(members), "application/json"),
        blob: ("x", body, "application/octet-stream"),
    }
    with client_of(org) as client:
        answer = client.post(f"{DATA}/sobjects/{into}", files=parts)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def rows(org: Running, soql: str) -> list[dict[str, Any]]:
    with client_of(org) as client:
        answer = client.get(f"{DATA}/query", params={"q": soql})
    assert answer.status_code == 200, answer.text
    return [{name: value for name, value in row.items() if name != "attributes"} for row in answer.json()["records"]]


def body_of(org: Running, version: str) -> bytes:
    with client_of(org) as client:
        return client.get(f"{DATA}/sobjects/ContentVersion/{version}/VersionData").raise_for_status().content


def document_of(org: Running, version: str) -> str:
    [row] = rows(org, f"SELECT ContentDocumentId FROM ContentVersion WHERE Id = '{version}'")
    return str(row["ContentDocumentId"])


def link(org: Running, document: str, parent: str, **members: str) -> str:
    body = {"ContentDocumentId": document, "LinkedEntityId": parent, "ShareType": "V", **members}
    with client_of(org) as client:
        answer = client.post(f"{DATA}/sobjects/ContentDocumentLink", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def contents(org: Running) -> Mapping[str, list[tuple[str, str]]]:
    """Document title → number and MD5 of each of its versions, read back byte by byte."""
    found: dict[str, list[tuple[str, str]]] = {}
    text = "SELECT Id, Title, VersionNumber, ContentDocumentId FROM ContentVersion"
    documents = {row["Id"]: row["Title"] for row in rows(org, "SELECT Id, Title FROM ContentDocument")}
    for row in rows(org, text):
        digest = hashlib.md5(body_of(org, row["Id"]), usedforsecurity=False).hexdigest()
        found.setdefault(documents[row["ContentDocumentId"]], []).append((row["VersionNumber"], digest))
    return {title: sorted(versions) for title, versions in found.items()}


def links(org: Running, parents: str = "Account") -> list[tuple[str, str, str]]:
    """Title of the document, name of the parent and share type of each link to records of the object."""
    documents = {row["Id"]: row["Title"] for row in rows(org, "SELECT Id, Title FROM ContentDocument")}
    named = {row["Id"]: row["Name"] for row in rows(org, f"SELECT Id, Name FROM {parents}")}
    if not documents:
        return []
    among = ", ".join(f"'{each}'" for each in documents)
    text = f"SELECT ContentDocumentId, LinkedEntityId, ShareType FROM ContentDocumentLink WHERE ContentDocumentId IN ({among})"  # noqa: E501 - SOQL
    return sorted(
        (documents[row["ContentDocumentId"]], named[row["LinkedEntityId"]], row["ShareType"])
        for row in rows(org, text)
        if row["LinkedEntityId"] in named
    )
