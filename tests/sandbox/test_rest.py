"""The REST resources: paging, locators, deleted and updated records, versions, sessions, limits."""

from datetime import UTC, datetime, timedelta

import pytest

from sandbox.salesforce.versions import label
from tests.sandbox.client import DATA, Client


def test_versions_need_no_session(reader: Client) -> None:
    found = reader.http.get("/services/data").json()
    assert found[0]["version"] == "31.0"
    assert found[-1] == {"label": "Winter '27", "url": "/services/data/v68.0", "version": "68.0"}


@pytest.mark.parametrize(
    ("number", "name"), [(65, "Winter '26"), (66, "Spring '26"), (67, "Summer '26"), (59, "Winter '24")]
)
def test_versions_are_named_after_their_release(number: int, name: str) -> None:
    assert label(number) == name


@pytest.mark.parametrize(
    ("version", "status", "code"), [("20.0", 410, "GONE"), ("99.0", 404, "NOT_FOUND"), ("x", 404, "NOT_FOUND")]
)
def test_other_versions_are_refused(reader: Client, version: str, status: int, code: str) -> None:
    assert reader.error(f"/services/data/v{version}/limits")[:2] == (status, code)


def test_every_record_comes_once_over_pages(reader: Client) -> None:
    total = reader.ready.records["Contact"]
    page = reader.query("SELECT Id, AccountId FROM Contact")
    assert (page["totalSize"], page["done"], len(page["records"])) == (total, False, 2_000)
    seen = [record["Id"] for record in page["records"]]
    while not page["done"]:
        assert page["nextRecordsUrl"].startswith(f"{DATA}/query/0r8")
        page = reader.ask(page["nextRecordsUrl"]).json()
        seen += [record["Id"] for record in page["records"]]
    assert "nextRecordsUrl" not in page
    assert len(seen) == len(set(seen)) == total


@pytest.mark.parametrize(("asked", "given"), [(200, 200), (777, 777), (10, 200), (9_999, 2_000)])
def test_the_page_size_header_is_kept_within_bounds(reader: Client, asked: int, given: int) -> None:
    page = reader.query("SELECT Id FROM Contact ORDER BY Id", headers={"Sforce-Query-Options": f"batchSize={asked}"})
    following = reader.ask(page["nextRecordsUrl"]).json()
    assert len(page["records"]) == given
    assert page["records"][-1]["Id"] < following["records"][0]["Id"]


def test_pages_may_be_asked_again_and_expire(client: Client) -> None:
    client.control.upsert("Account", [{"Name": f"More {number}"} for number in range(250)])
    page = client.query("SELECT Id FROM Account", headers={"Sforce-Query-Options": "batchSize=200"})
    first = client.ask(page["nextRecordsUrl"]).json()
    assert client.ask(page["nextRecordsUrl"]).json() == first
    client.control.expire_cursors()
    assert client.error(page["nextRecordsUrl"]) == (400, "INVALID_QUERY_LOCATOR", "invalid query locator")


def test_records_carry_attributes_and_parents(reader: Client) -> None:
    soql = "SELECT Id, Name, Owner.Name, Account.Name, Account.Owner.Id, BillingAddress FROM Contact LIMIT 1"
    assert reader.refused(soql)[0] == "INVALID_FIELD"  # the address is the account's
    (record,) = reader.query(soql.replace("BillingAddress", "MailingAddress") + "")["records"]
    assert list(record) == ["attributes", "Id", "Name", "Owner", "Account", "MailingAddress"]
    assert record["attributes"] == {"type": "Contact", "url": f"{DATA}/sobjects/Contact/{record['Id']}"}
    assert record["Owner"]["attributes"]["type"] == "User"
    assert record["Account"]["Owner"]["attributes"]["url"].endswith(record["Account"]["Owner"]["Id"])


def test_polymorphic_parents_tell_their_type(reader: Client) -> None:
    soql = "SELECT WhoId, Who.Type, Who.Name, What.Name FROM Task WHERE WhoId != null"
    records = reader.query(soql)["records"]
    prefixes = {"Contact": "003", "Lead": "00Q"}
    known = [record for record in records if record["Who"]]  # a bad record may refer to nobody
    assert {record["Who"]["Type"] for record in known} == {"Contact", "Lead"}
    for record in known:
        assert record["WhoId"].startswith(prefixes[record["Who"]["Type"]])
        assert record["Who"]["attributes"]["type"] == record["Who"]["Type"]
    leads = reader.query("SELECT COUNT() FROM Task WHERE Who.Type = 'Lead'")["totalSize"]
    assert leads == sum(1 for record in known if record["Who"]["Type"] == "Lead")


def test_numbers_flags_and_moments_look_like_the_vendors(client: Client) -> None:
    deal = {"Name": "X", "StageName": "Prospecting", "CloseDate": "2026-02-01", "Amount": 1250}
    client.control.upsert("Opportunity", [{**deal, "CreatedDate": "2026-01-02T03:04:05+01:00"}])
    body = client.ask(
        "/query",
        params={"q": "SELECT Amount, IsWon, CloseDate, CreatedDate, NextStep FROM Opportunity WHERE Name = 'X'"},
    ).text
    assert '"Amount":1250.0,"IsWon":false,"CloseDate":"2026-02-01"' in body
    assert '"CreatedDate":"2026-01-02T02:04:05.000+0000","NextStep":null' in body


def test_deleted_records_leave_query_and_stay_in_query_all(client: Client) -> None:
    gone = client.values("SELECT Id FROM Contact ORDER BY Id LIMIT 3")
    before = client.query("SELECT COUNT() FROM Contact")["totalSize"]
    assert client.control.delete("Contact", gone) == 3
    assert client.query("SELECT COUNT() FROM Contact")["totalSize"] == before - 3
    assert client.values("SELECT Id FROM Contact WHERE IsDeleted = true ORDER BY Id", resource="queryAll") == gone
    assert client.error(f"/sobjects/Contact/{gone[0]}") == (404, "ENTITY_IS_DELETED", "entity is deleted")
    now = datetime.now(UTC)
    span = {"start": (now - timedelta(days=1)).isoformat(), "end": (now + timedelta(minutes=2)).isoformat()}
    feed = client.ask("/sobjects/Contact/deleted/", params=span).json()
    assert sorted(entry["id"] for entry in feed["deletedRecords"]) == gone
    assert set(feed) == {"deletedRecords", "earliestDateAvailable", "latestDateCovered"}


def test_an_edit_moves_the_stamp_and_is_among_the_updated(client: Client) -> None:
    key = client.values("SELECT Id FROM Lead ORDER BY Id LIMIT 1")[0]
    start = datetime.now(UTC)
    client.control.upsert("Lead", [{"Id": key, "LastName": "Changed", "FirstName": "Wholly"}])
    stamp = start.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert client.values(f"SELECT Name FROM Lead WHERE SystemModstamp >= {stamp}", "Name") == ["Wholly Changed"]
    span = {"start": (start - timedelta(minutes=5)).isoformat(), "end": (start + timedelta(minutes=2)).isoformat()}
    assert client.ask("/sobjects/Lead/updated", params=span).json()["ids"] == [key]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("", "2026-01-01T00:00:00Z"),
        ("nonsense", "x"),
        ("2001-01-01T00:00:00Z", "2099-01-01T00:00:00Z"),
        ("2099-01-02T00:00:00Z", "2099-01-01T00:00:00Z"),
    ],
)
def test_spans_that_make_no_sense_are_refused(reader: Client, start: str, end: str) -> None:
    status, code, _ = reader.error("/sobjects/Account/deleted/", params={"start": start, "end": end})
    assert (status, code) == (400, "INVALID_REPLICATION_DATE")


def test_a_single_record(reader: Client) -> None:
    key = reader.values("SELECT Id FROM Account LIMIT 1")[0]
    whole = reader.ask(f"/sobjects/Account/{key}").json()
    assert whole["Id"] == key
    assert "BillingAddress" in whole
    part = reader.ask(f"/sobjects/Account/{key[:15]}", params={"fields": "Name,Industry"}).json()
    assert list(part) == ["attributes", "Name", "Industry"]
    assert reader.error("/sobjects/Account/001Hs0009999999IAA")[:2] == (404, "NOT_FOUND")
    assert reader.error(f"/sobjects/Account/{key}", params={"fields": "Nope"})[1] == "INVALID_FIELD"


def test_fields_all_is_every_field(reader: Client) -> None:
    (record,) = reader.query("SELECT FIELDS(ALL) FROM Product2 LIMIT 1")["records"]
    described = reader.ask("/sobjects/Product2/describe").json()["fields"]
    assert list(record)[1:] == [field["name"] for field in described]


def test_counts_leave_out_objects_without_rows(reader: Client) -> None:
    answer = reader.ask("/limits/recordCount", params={"sObjects": "Account,Case"}).json()
    assert answer == {"sObjects": [{"count": reader.ready.records["Account"], "name": "Account"}]}


def test_limits_count_what_was_used(client: Client) -> None:
    answer = client.ask("/limits/")
    limits = answer.json()
    assert answer.headers["sforce-limit-info"] == "api-usage=1/100000"
    assert limits["DailyApiRequests"] == {"Max": 100_000, "Remaining": 99_999}
    assert {"DataStorageMB", "FileStorageMB", "DailyBulkV2QueryJobs", "DailyBulkApiBatches"} <= set(limits)


def test_the_daily_limit_is_kept(client: Client) -> None:
    client.control.change_settings(api_limit=2)
    assert [client.ask("/limits").status_code for _ in range(2)] == [200, 200]
    assert client.error("/limits") == (403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")


@pytest.mark.parametrize("header", ["", "Bearer nonsense", "Bearer", "Basic abc"])
def test_no_good_session_is_refused(reader: Client, header: str) -> None:
    answer = reader.http.get(f"{DATA}/limits", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.json() == [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]


def test_wrong_methods_and_paths(reader: Client) -> None:
    status, code, message = reader.error("/limits", "PUT")
    assert (status, code) == (405, "METHOD_NOT_ALLOWED")
    assert "'PUT' not allowed" in message
    assert reader.error("/nowhere")[:2] == (404, "NOT_FOUND")


def test_a_request_head_beyond_16_kilobytes_is_too_long(reader: Client) -> None:
    soql = "SELECT Id FROM Account WHERE Name = '" + "x" * 16_384 + "'"
    assert reader.ask("/query", params={"q": soql}).status_code == 414


def test_calls_are_counted_by_resource(client: Client) -> None:
    client.query("SELECT Id FROM Account")
    client.query("SELECT Id FROM Lead")
    client.ask("/sobjects/Account/describe/")
    assert client.control.calls() == {f"GET {DATA}/query": 2, f"GET {DATA}/sobjects/Account/describe": 1}
    client.control.reset_calls()
    assert client.control.calls() == {}


@pytest.mark.parametrize(
    "records", [[{"Nope": 1}], [{"BillingAddress": "x"}], [{"NumberOfEmployees": "many"}], [{"CreatedDate": "then"}]]
)
def test_control_says_what_it_cannot_store(client: Client, records: list[dict[str, object]]) -> None:
    with pytest.raises(ValueError, match="Account"):
        client.control.upsert("Account", records)


def test_the_columns_of_a_result_are_told_instead_of_it(reader: Client) -> None:
    soql = "SELECT Id, Name, AnnualRevenue, Owner.Name FROM Account"
    found = reader.ask("/query", params={"q": soql, "columns": "true"}).json()
    assert "records" not in found
    kinds = {each["columnName"]: each["apexType"] for each in found["columnMetadata"]}
    assert kinds == {"Id": "Id", "Name": "String", "AnnualRevenue": "Double", "Owner": None}
    assert [each["columnName"] for each in found["columnMetadata"][-1]["joinColumns"]] == ["Name"]
    assert (found["entityName"], found["idSelected"], found["keyPrefix"]) == ("Account", True, "001")
