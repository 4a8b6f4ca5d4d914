"""Bulk API 2.0 query jobs."""

import csv
import io

import pytest

from tests.sandbox.client import DATA, Client

SOQL = "SELECT Id, Name, Description, Account.Name FROM Contact"


def rows(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))


def test_a_job_goes_through_its_states(client: Client) -> None:
    client.control.change_settings(bulk_polls=2)
    job = client.ask("/jobs/query", "POST", json={"operation": "query", "query": SOQL}).json()
    assert (job["state"], job["object"], job["contentType"], job["apiVersion"]) == (
        "UploadComplete",
        "Contact",
        "CSV",
        66.0,
    )
    assert job["id"].startswith("750")
    early = client.error(f"/jobs/query/{job['id']}/results")
    assert early[:2] == (400, "INVALIDJOBSTATE")
    assert [client.ask(f"/jobs/query/{job['id']}").json()["state"] for _ in range(2)] == ["InProgress"] * 2
    done = client.ask(f"/jobs/query/{client.job(SOQL)}").json()
    assert (done["state"], done["jobType"]) == ("JobComplete", "V2Query")
    assert done["numberRecordsProcessed"] == client.ready.records["Contact"]
    assert {each["id"] for each in client.ask("/jobs/query").json()["records"]} >= {job["id"], done["id"]}


def test_results_in_pages_are_what_rest_says(reader: Client) -> None:
    key = reader.job(f"{SOQL} ORDER BY Id")
    found: list[list[str]] = []
    locator = ""
    while locator != "null":
        answer = reader.ask(f"/jobs/query/{key}/results", params={"maxRecords": 1_000, "locator": locator})
        head, *page = rows(answer.text)
        assert head == ["Id", "Name", "Description", "Account.Name"]
        assert int(answer.headers["sforce-numberofrecords"]) == len(page)
        found += page
        locator = answer.headers["sforce-locator"]
    page_one = reader.query(f"{SOQL} ORDER BY Id")["records"]
    expected = [
        [each["Id"], each["Name"] or "", each["Description"] or "", (each["Account"] or {}).get("Name") or ""]
        for each in page_one
    ]
    assert found[: len(expected)] == expected
    assert len(found) == reader.ready.records["Contact"]


def test_every_value_is_quoted_and_the_last_line_ends(client: Client) -> None:
    client.control.upsert("Product2", [{"Name": 'He said "no",\nthen left', "IsActive": True}])
    key = client.job("SELECT Name, IsActive, ProductCode FROM Product2 WHERE IsActive = true AND ProductCode = null")
    answer = client.ask(f"/jobs/query/{key}/results")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text == '"Name","IsActive","ProductCode"\n"He said ""no"",\nthen left","true",""\n'
    assert answer.headers["sforce-locator"] == "null"


def test_delimiter_and_line_ending(client: Client) -> None:
    key = client.job("SELECT Id, Name FROM Account", columnDelimiter="PIPE", lineEnding="CRLF")
    text = client.ask(f"/jobs/query/{key}/results").content.decode()
    assert text.startswith('"Id"|"Name"\r\n')
    assert len(rows(text, "|")) == client.ready.records["Account"] + 1


def test_results_stay_as_they_were(client: Client) -> None:
    key = client.job("SELECT Id, Name FROM Account")
    before = client.ask(f"/jobs/query/{key}/results").text
    changed = rows(before)[1][0]
    client.control.upsert("Account", [{"Id": changed, "Name": "Another"}])
    client.control.delete("Account", [rows(before)[2][0]])
    assert client.ask(f"/jobs/query/{key}/results").text == before


def test_query_all_brings_the_deleted(client: Client) -> None:
    gone = client.values("SELECT Id FROM Lead LIMIT 2")
    client.control.delete("Lead", gone)
    key = client.job("SELECT Id FROM Lead WHERE IsDeleted = true", operation="queryAll")
    assert sorted(row[0] for row in rows(client.ask(f"/jobs/query/{key}/results").text)[1:]) == sorted(gone)


def test_an_empty_result_is_a_header(client: Client) -> None:
    answer = client.ask(f"/jobs/query/{client.job('SELECT Id FROM Case')}/results")
    assert (answer.text, answer.headers["sforce-numberofrecords"]) == ('"Id"\n', "0")
    assert answer.headers["sforce-locator"] == "null"


def test_result_pages_cover_everything_in_parallel(client: Client) -> None:
    client.control.change_settings(bulk_page=5)
    key = client.job("SELECT Id FROM Contact")
    urls: list[str] = []
    answer = client.ask(f"/jobs/query/{key}/resultPages").json()
    while True:
        assert len(answer["resultPages"]) <= 5
        urls += [page["resultUrl"] for page in answer["resultPages"]]
        if answer["done"]:
            break
        answer = client.ask(answer["nextRecordsUrl"]).json()
    found = [row[0] for url in reversed(urls) for row in rows(client.ask(url).text)[1:]]
    assert sorted(found) == sorted(client.values("SELECT Id FROM Contact"))
    old = f"/services/data/v57.0/jobs/query/{key}/resultPages"
    assert client.error(old)[:2] == (404, "NOT_FOUND")


def test_results_are_served_under_the_creating_version_only(client: Client) -> None:
    key = client.job("SELECT Id FROM Lead")
    assert client.ask(f"/services/data/v65.0/jobs/query/{key}/results").status_code == 409


def test_abort_and_delete(client: Client) -> None:
    client.control.change_settings(bulk_polls=100)
    key = client.ask("/jobs/query", "POST", json={"operation": "query", "query": SOQL}).json()["id"]
    assert client.error(f"/jobs/query/{key}", "DELETE")[:2] == (400, "INVALIDJOBSTATE")
    assert client.error(f"/jobs/query/{key}", "PATCH", json={"state": "Open"})[1] == "INVALIDJOBSTATE"
    assert client.ask(f"/jobs/query/{key}", "PATCH", json={"state": "Aborted"}).json()["state"] == "Aborted"
    assert client.error(f"/jobs/query/{key}", "PATCH", json={"state": "Aborted"})[1] == "INVALIDJOBSTATE"
    assert client.ask(f"/jobs/query/{key}", "DELETE").status_code == 204
    assert client.error(f"/jobs/query/{key}")[:2] == (404, "NOT_FOUND")


def test_a_job_can_be_made_to_fail(client: Client) -> None:
    client.control.change_settings(bulk_polls=100)
    key = client.ask("/jobs/query", "POST", json={"operation": "query", "query": SOQL}).json()["id"]
    client.control.fail_job(key, "InternalServerError : Retry your query")
    job = client.ask(f"/jobs/query/{key}").json()
    assert (job["state"], job["errorMessage"]) == ("Failed", "InternalServerError : Retry your query")


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (
            {"query": "SELECT Id, BillingAddress FROM Account"},
            "API_ERROR",
            "Selecting compound data not supported in Bulk Query",
        ),
        ({"query": "SELECT COUNT() FROM Account"}, "API_ERROR", "not supported in Bulk Query"),
        ({"query": "SELECT Id FROM Account OFFSET 5"}, "API_ERROR", "OFFSET"),
        ({"query": "SELECT Id FROM Organization"}, "INVALIDENTITY", "is not supported by the Bulk API"),
        ({"query": "SELECT Nope FROM Account"}, "INVALID_FIELD", "No such column 'Nope'"),
        ({"query": ""}, "INVALIDJOB", "Query is required"),
        ({"query": SOQL, "operation": "insert"}, "INVALIDJOB", "insert"),
        ({"query": SOQL, "columnDelimiter": "X"}, "INVALIDJOB", "columnDelimiter"),
    ],
)
def test_jobs_that_are_refused(reader: Client, body: dict[str, str], code: str, words: str) -> None:
    status, said, message = reader.error("/jobs/query", "POST", json={"operation": "query", **body})
    assert (status, said) == (400, code)
    assert words in message


def test_broken_requests(reader: Client) -> None:
    assert reader.error("/jobs/query", "POST", content=b"{nope")[1] == "JSON_PARSER_ERROR"
    assert reader.error("/jobs/query", "POST", content=b"[]")[1] == "JSON_PARSER_ERROR"
    key = reader.job("SELECT Id FROM User")
    assert reader.error(f"/jobs/query/{key}/results?locator=foreign")[1] == "INVALID_QUERY_LOCATOR"
    assert reader.error(f"/jobs/query/{key}/results?maxRecords=none")[1] == "INVALIDJOB"


def test_results_are_compressed_for_who_accepts_it(reader: Client) -> None:
    key = reader.job(SOQL)
    zipped = reader.ask(f"/jobs/query/{key}/results", headers={"Accept-Encoding": "gzip"})
    plain = reader.ask(f"/jobs/query/{key}/results", headers={"Accept-Encoding": "identity"})
    assert (zipped.headers["content-encoding"], "content-encoding" in plain.headers) == ("gzip", False)
    assert zipped.text == plain.text
    assert DATA in str(plain.url)
