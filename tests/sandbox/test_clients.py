"""The simulator against clients nobody here wrote: simple-salesforce, and jsforce through node."""

import datetime as dt
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import (
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceMoreThanOneRecord,
    SalesforceResourceNotFound,
)

from sandbox.salesforce.running import Running, running_simulator

EXTERNAL = {
    "fullName": "Account",
    "fields": [
        {"fullName": "Ext__c", "label": "Ext", "type": "Text", "length": 20, "externalId": True, "unique": True},
        {"fullName": "Old__c", "label": "Old", "type": "Text", "length": 20, "externalId": True},
    ],
}
ROOT = Path(__file__).parents[2]
JSFORCE = "3.10.16"  # later ones want Node 22


@pytest.fixture(scope="module")
def secure_org() -> Iterator[Running]:
    """simple-salesforce insists on https."""
    with running_simulator(records=8_000, seed=6, bad=12, tls=True) as running:
        yield running


@pytest.fixture
def salesforce(secure_org: Running) -> Iterator[Any]:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = secure_org.ready.ca_file
        ready = secure_org.ready  # a session of its own for each test, as one of them ends its session
        grant = {"grant_type": "client_credentials", "client_id": ready.client_id, "client_secret": ready.client_secret}
        token = session.post(f"{secure_org.url}/services/oauth2/token", data=grant, timeout=30).json()["access_token"]
        yield Salesforce(session_id=token, instance_url=secure_org.url, version="66.0", session=session)


def test_simple_salesforce_queries(salesforce: Any, secure_org: Running) -> None:
    total = secure_org.ready.records["Contact"]
    found = salesforce.query_all("SELECT Id, Name, Account.Name FROM Contact")
    assert (found["totalSize"], len({each["Id"] for each in found["records"]})) == (total, total)
    assert salesforce.query("SELECT COUNT() FROM Contact")["totalSize"] == total
    assert len(list(salesforce.query_all_iter("SELECT Id FROM Contact", include_deleted=True))) == total
    one = salesforce.Contact.get(found["records"][0]["Id"])
    assert one["Name"] == found["records"][0]["Name"]


def test_simple_salesforce_describes(salesforce: Any) -> None:
    names = {each["name"] for each in salesforce.describe()["sobjects"]}
    assert {"Account", "Contact", "Task"} <= names
    assert "Email" in {each["name"] for each in salesforce.Contact.describe()["fields"]}


def test_simple_salesforce_bulk(salesforce: Any, secure_org: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simple_salesforce.bulk2.sleep", lambda _: None)
    pages = list(salesforce.bulk2.Contact.query("SELECT Id, Description FROM Contact", max_records=700))
    assert len(pages) == -(-secure_org.ready.records["Contact"] // 700)
    assert all(page.startswith('"Id","Description"\n') for page in pages)


def test_simple_salesforce_limits_and_feeds(salesforce: Any) -> None:
    assert salesforce.limits()["DailyApiRequests"]["Max"] == 100_000
    assert salesforce.api_usage["api-usage"].total == 100_000
    counts = salesforce.restful("limits/recordCount", params={"sObjects": "Contact"})
    assert counts["sObjects"][0]["name"] == "Contact"
    now = dt.datetime.now(dt.UTC)
    assert salesforce.Account.deleted(now - dt.timedelta(days=1), now)["deletedRecords"] == []
    assert salesforce.Account.updated(now - dt.timedelta(days=1), now)["ids"] == []


def test_simple_salesforce_knows_our_errors(salesforce: Any, secure_org: Running) -> None:
    with pytest.raises(SalesforceMalformedRequest, match="INVALID_FIELD"):
        salesforce.query("SELECT Nonsense FROM Account")
    secure_org.control.fault("expire_token", times=1)
    with pytest.raises(SalesforceExpiredSession):
        salesforce.query("SELECT Id FROM Account")


def test_simple_salesforce_writes_records(salesforce: Any) -> None:
    made = salesforce.Account.create({"Name": "By simple-salesforce", "NumberOfEmployees": 5})
    assert (made["success"], made["errors"]) == (True, [])
    assert salesforce.Account.update(made["id"], {"Name": "Renamed"}) == 204
    assert salesforce.Account.get(made["id"])["Name"] == "Renamed"
    assert salesforce.Account.delete(made["id"]) == 204
    with pytest.raises(SalesforceResourceNotFound, match="ENTITY_IS_DELETED"):
        salesforce.Account.get(made["id"])
    with pytest.raises(SalesforceMalformedRequest, match="REQUIRED_FIELD_MISSING"):
        salesforce.Contact.create({"FirstName": "Nobody"})


def test_simple_salesforce_upserts_by_external_id(salesforce: Any, secure_org: Running) -> None:
    secure_org.control.define(EXTERNAL)
    assert salesforce.Account.upsert("Ext__c/A-1", {"Name": "New"}) == 201
    assert salesforce.Account.upsert("Ext__c/A-1", {"Name": "Newer"}) == 200
    found = salesforce.Account.get_by_custom_id("Ext__c", "A-1")
    assert found["Name"] == "Newer"
    for name in ("One", "Two"):
        salesforce.Account.create({"Name": name, "Old__c": "same"})
    with pytest.raises(SalesforceMoreThanOneRecord):
        salesforce.Account.upsert("Old__c/same", {"Name": "x"})


def test_simple_salesforce_collections_and_composite(salesforce: Any) -> None:
    records = [{"attributes": {"type": "Lead"}, "LastName": "L", "Company": company} for company in ("C", None)]
    answers = salesforce.restful("composite/sobjects", method="POST", json={"records": records})
    assert [each["success"] for each in answers] == [True, False]
    inner = {"method": "GET", "url": f"/services/data/v66.0/sobjects/Lead/{answers[0]['id']}", "referenceId": "lead"}
    whole = salesforce.restful("composite", method="POST", json={"compositeRequest": [inner]})
    assert whole["compositeResponse"][0]["body"]["Company"] == "C"


HEADERS = (['"Ext__c","Name"'], ['"Name","Ext__c"'])  # the client takes the columns from a set


def test_simple_salesforce_bulk_ingest(salesforce: Any, secure_org: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simple_salesforce.bulk2.sleep", lambda _: None)
    secure_org.control.define(EXTERNAL)
    rows = [{"Ext__c": f"B-{number}", "Name": f"Bulk {number}"} for number in range(300)]
    (inserted,) = salesforce.bulk2.Account.insert(records=[*rows, {"Ext__c": "B-x", "Name": "y" * 300}])
    assert (inserted["numberRecordsProcessed"], inserted["numberRecordsFailed"]) == (301, 1)
    failed = salesforce.bulk2.Account.get_failed_records(inserted["job_id"])
    assert "STRING_TOO_LONG" in failed
    assert len(salesforce.bulk2.Account.get_successful_records(inserted["job_id"]).splitlines()) == 301
    assert salesforce.bulk2.Account.get_unprocessed_records(inserted["job_id"]).splitlines() in HEADERS
    (changed,) = salesforce.bulk2.Account.upsert(
        records=[{**row, "Name": "Changed"} for row in rows], external_id_field="Ext__c"
    )
    assert (changed["numberRecordsProcessed"], changed["numberRecordsFailed"]) == (300, 0)
    ids = [each["Id"] for each in salesforce.query_all("SELECT Id FROM Account WHERE Name = 'Changed'")["records"]]
    (gone,) = salesforce.bulk2.Account.delete(records=[{"Id": each} for each in ids])
    assert (gone["numberRecordsProcessed"], gone["numberRecordsFailed"]) == (300, 0)


@pytest.fixture(scope="session")
def jsforce() -> Path:
    """A node_modules folder with jsforce, installed once under ``var/``."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed, so jsforce cannot be driven")
    folder = ROOT / "var" / "node" / f"jsforce-{JSFORCE}"
    modules = folder / "node_modules"
    if not (modules / "jsforce" / "package.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        options = [
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--no-save",
            "--fetch-retries=0",
            "--fetch-timeout=20000",
        ]
        command = ["npm", "install", "--prefix", str(folder), *options, f"jsforce@{JSFORCE}"]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not install jsforce within three minutes")
        if ended.returncode:
            pytest.skip(f"npm could not install jsforce: {ended.stderr.strip()[-300:]}")
    return modules


@pytest.mark.node
def test_jsforce(jsforce: Path, shared_org: Running) -> None:
    command = ["node", str(Path(__file__).with_name("jsforce_check.cjs")), orjson.dumps(shared_org.ready).decode()]
    environment = {**os.environ, "NODE_PATH": str(jsforce)}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout)
    records = shared_org.ready.records
    assert {"Account", "Contact", "Task", "User"} <= set(seen["objects"])
    assert (seen["contacts"], seen["fetched"], seen["distinct"]) == (records["Contact"],) * 3
    assert set(seen["found"]) <= {"Retail", "Mining"}
    assert (seen["bulk"], seen["retrieved"]) == (records["Account"], True)
    assert seen["error"] == "INVALID_FIELD"
    assert seen["afterRefresh"] == records["Lead"]
    assert (seen["limits"], seen["limitInfo"]) == (100_000, 100_000)
    assert seen["user"] == shared_org.ready.username
    assert seen["organization"] == shared_org.ready.org_id


@pytest.mark.node
def test_jsforce_writes(jsforce: Path) -> None:
    with running_simulator(records=200) as running:
        running.control.define(EXTERNAL)
        script = Path(__file__).with_name("jsforce_writes.cjs")
        command = ["node", str(script), orjson.dumps(running.ready).decode()]
        environment = {**os.environ, "NODE_PATH": str(jsforce)}
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "single": [True, "Renamed", True, "ENTITY_IS_DELETED"],
        "many": [True, False, True],
        "error": "REQUIRED_FIELD_MISSING",
        "all": ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "REQUIRED_FIELD_MISSING"],
        "upsert": [True, False],
        "upsertMany": [False, True],
        "updated": [True, True],
        "destroyed": [True, True],
        "bulk": {"good": 500, "bad": ["STRING_TOO_LONG"], "left": 0},
        "cleared": None,
        "deleted": 500,
    }
