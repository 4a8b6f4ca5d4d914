"""Bulk API 2.0 ingest jobs."""

import pytest

from sandbox.salesforce.ids import record_id
from tests.sandbox.client import Client
from tests.sandbox.writing import create, define, fetch, finish, job, results, row_errors


@pytest.fixture(autouse=True)
def pay_codes(client: Client) -> None:
    define(client)


def opened(client: Client, operation: str = "insert", **options: object) -> str:
    body = {"object": "Pay_Code__c", "operation": operation, **options}
    return str(client.ask("/jobs/ingest", "POST", json=body).raise_for_status().json()["id"])


def put(client: Client, key: str, text: str) -> int:
    headers = {"Content-Type": "text/csv"}
    return client.ask(f"/jobs/ingest/{key}/batches", "PUT", content=text.encode(), headers=headers).status_code


def to_state(client: Client, key: str, state: str) -> dict[str, object]:
    return dict(client.ask(f"/jobs/ingest/{key}", "PATCH", json={"state": state}).raise_for_status().json())


def numbered(count: int, *, start: int = 0) -> str:
    return "Key__c,Title__c\n" + "".join(f"K{row},t{row}\n" for row in range(start, start + count))


def test_a_job_goes_through_its_states(client: Client) -> None:
    client.control.change_settings(bulk_polls=2)
    body = {"object": "Pay_Code__c", "operation": "upsert", "externalIdFieldName": "key__c", "contentType": "CSV"}
    made = client.ask("/jobs/ingest", "POST", json=body).json()
    assert (made["state"], made["object"], made["externalIdFieldName"]) == ("Open", "Pay_Code__c", "Key__c")
    assert (made["apiVersion"], made["lineEnding"], made["columnDelimiter"]) == (66.0, "LF", "COMMA")
    assert made["contentUrl"] == f"services/data/v66.0/jobs/ingest/{made['id']}/batches"
    assert client.ask(f"/jobs/ingest/{made['id']}").json()["state"] == "Open"
    assert put(client, made["id"], numbered(3)) == 201
    assert client.values("SELECT Id FROM Pay_Code__c") == []
    assert to_state(client, made["id"], "UploadComplete")["state"] == "UploadComplete"
    assert client.error(f"/jobs/ingest/{made['id']}/successfulResults")[:2] == (400, "INVALIDJOBSTATE")
    assert [client.ask(f"/jobs/ingest/{made['id']}").json()["state"] for _ in range(2)] == ["InProgress"] * 2
    done = finish(client, made["id"])
    assert (done["state"], done["jobType"]) == ("JobComplete", "V2Ingest")
    assert (done["numberRecordsProcessed"], done["numberRecordsFailed"], done["retries"]) == (3, 0, 0)
    assert client.error(f"/jobs/ingest/{made['id']}", "PATCH", json={"state": "Aborted"})[1] == "INVALIDJOBSTATE"


def test_results_carry_the_input_in_another_order(client: Client) -> None:
    key = job(client, "insert", numbered(300) + "BAD,this is far too long\n")
    good = results(client, key, "successfulResults")
    assert list(good[0]) == ["sf__Id", "sf__Created", "Key__c", "Title__c"]
    names = [each["Key__c"] for each in good]
    assert names != sorted(names, key=lambda name: int(name[1:]))
    assert sorted(names) == sorted(f"K{row}" for row in range(300))
    stored = {each["Key__c"]: each["Id"] for each in client.query("SELECT Id, Key__c FROM Pay_Code__c")["records"]}
    assert {each["Key__c"]: each["sf__Id"] for each in good} == stored
    assert {each["sf__Created"] for each in good} == {"true"}
    (bad,) = results(client, key, "failedResults")
    message = "STRING_TOO_LONG:Title: data value too large: this is far too long (max length=10):Title__c --"
    assert bad == {"sf__Id": "", "sf__Error": message, "Key__c": "BAD", "Title__c": "this is far too long"}
    described = client.ask(f"/jobs/ingest/{key}").json()
    assert (described["numberRecordsProcessed"], described["numberRecordsFailed"]) == (301, 1)
    assert results(client, key, "unprocessedrecords") == results(client, key, "unprocessedRecords") == []
    raw = client.ask(f"/jobs/ingest/{key}/failedResults").text
    assert raw.startswith('"sf__Id","sf__Error","Key__c","Title__c"\n"",')


def test_update_by_id_leaves_empty_cells_and_clears_what_is_not_available(client: Client) -> None:
    one = create(client, Title__c="a", Rate__c=1, Legacy__c="x")
    two = create(client, Title__c="b", Rate__c=2, Legacy__c="y")
    missing = record_id("a00", 999)
    key = job(client, "update", f"Id,Title__c,Rate__c\n{one},,#N/A\n{two[:15]},B,3\n{missing},C,4\n,D,5\n{two},#N/A,\n")
    errors = {each["Title__c"]: each["sf__Error"] for each in results(client, key, "failedResults")}
    assert errors == {
        "B": f"DUPLICATE_VALUE:duplicate id specified: {two}:Id --",
        "#N/A": f"DUPLICATE_VALUE:duplicate id specified: {two}:Id --",
        "C": "INVALID_CROSS_REFERENCE_KEY:invalid cross reference id:--",
        "D": "MISSING_ARGUMENT:Id not specified in an update call:Id --",
    }
    after = fetch(client, one)
    assert (after["Title__c"], after["Rate__c"], after["Legacy__c"]) == ("a", None, "x")
    assert fetch(client, two)["Title__c"] == "b"
    key = job(client, "update", f"Id,Title__c\n{two},#N/A\n")
    (bad,) = results(client, key, "failedResults")
    assert bad["sf__Id"] == two
    assert bad["sf__Error"] == "REQUIRED_FIELD_MISSING:Required fields are missing: [Title__c]:Title__c --"


def test_upsert_makes_and_changes(client: Client) -> None:
    old = create(client, Title__c="old", Key__c="A", Rate__c=7)
    key = job(client, "upsert", "Key__c,Title__c\na,new\nB,made\n", externalIdFieldName="Key__c")
    made = {each["Key__c"]: (each["sf__Created"], each["sf__Id"]) for each in results(client, key, "successfulResults")}
    assert made["a"] == ("false", old)
    assert made["B"][0] == "true"
    assert (fetch(client, old)["Title__c"], fetch(client, old)["Rate__c"]) == ("new", 7.0)
    with_id = job(client, "upsert", f"Id,Key__c,Title__c\n,a,new\n{old},B,made\n", externalIdFieldName="Key__c")
    assert row_errors(client, with_id) == {
        "B": "INVALID_FIELD:The Id field should not be specified in the sobject data.:Id --"
    }
    again = job(client, "upsert", "Key__c,Title__c\na,new\nB,made\n", externalIdFieldName="Key__c")
    assert {each["sf__Created"] for each in results(client, again, "successfulResults")} == {"false"}


def test_a_key_that_comes_again_in_a_later_chunk_changes_what_the_first_made(client: Client) -> None:
    text = "Key__c,Title__c\nA,first\n" + "".join(f"K{row},x\n" for row in range(250)) + "a,second\n"
    key = job(client, "upsert", text, externalIdFieldName="Key__c")
    assert client.ask(f"/jobs/ingest/{key}").json()["numberRecordsFailed"] == 0
    assert client.values("SELECT Title__c FROM Pay_Code__c WHERE Key__c = 'A'", "Title__c") == ["second"]
    within = job(client, "upsert", "Key__c,Title__c\nZ,first\nz,second\n", externalIdFieldName="Key__c")
    assert row_errors(client, within) == {
        each: f"DUPLICATE_VALUE:Duplicate external id specified: {each}:Key__c --" for each in "Zz"
    }


def test_delete_and_hard_delete(client: Client) -> None:
    keys = [create(client, Title__c=str(number)) for number in range(3)]
    done = job(client, "delete", "Id\n" + "\n".join(keys[:2]) + "\n")
    assert {each["sf__Id"] for each in results(client, done, "successfulResults")} == set(keys[:2])
    again = job(client, "delete", f"Id\n{keys[0]}\n")
    assert results(client, again, "failedResults")[0]["sf__Error"] == "ENTITY_IS_DELETED:entity is deleted:--"
    body = {"object": "Pay_Code__c", "operation": "hardDelete"}
    assert client.error("/jobs/ingest", "POST", json=body)[:2] == (400, "FEATURENOTENABLED")
    client.control.change_settings(hard_delete=1)
    job(client, "hardDelete", f"Id\n{keys[2]}\n")
    assert keys[2] not in client.values("SELECT Id FROM Pay_Code__c", resource="queryAll")


def test_delimiters_line_endings_and_hostile_text(client: Client) -> None:
    text = 'Key__c|Mail__c|Title__c\r\nA||"a|""b""\n c"\r\nB|#N/A|#N/A\r\n'
    key = job(client, "insert", text, columnDelimiter="PIPE", lineEnding="CRLF")
    (good,) = results(client, key, "successfulResults", "|")
    assert good["Title__c"] == 'a|"b"\n c'
    assert fetch(client, good["sf__Id"])["Title__c"] == 'a|"b"\n c'
    assert results(client, key, "failedResults", "|")[0]["sf__Error"].startswith("REQUIRED_FIELD_MISSING:")
    raw = client.ask(f"/jobs/ingest/{key}/successfulResults").content
    assert raw.startswith(b'"sf__Id"|"sf__Created"|"Key__c"|"Mail__c"|"Title__c"\r\n')
    assert '"","a|""b""\n c"\r\n'.replace(",", "|") in raw.decode()


def test_parents_are_named_in_the_header(client: Client) -> None:
    parent = create(client, Title__c="p", Key__c="P")
    key = job(client, "insert", "Title__c,Key__c,Parent__r.Key__c\nc,C,p\nd,D,nobody\ne,E,\n")
    assert row_errors(client, key) == {
        "D": "INVALID_FIELD:Foreign key external ID: nobody not found for field Key__c in entity Pay_Code__c:--"
    }
    children = client.values(f"SELECT Key__c FROM Pay_Code__c WHERE Parent__c = '{parent}'", "Key__c")
    assert children == ["C"]
    lead = create(client, "Lead", LastName="L", Company="C", Email="l@example.com")
    key = job(client, "insert", "Subject,Lead:Who.Email\nCall,l@example.com\n", object="Task")
    assert fetch(client, results(client, key, "successfulResults")[0]["sf__Id"], "Task")["WhoId"] == lead


def test_values_of_the_wrong_type_fail_their_row(client: Client) -> None:
    text = "Key__c,Title__c,Rate__c,From__c,Seen__c,Live__c\n"
    text += "A,t,many,,,\nB,t,,31/12/2026,,\nC,t,,,yesterday,\nD,t,,,,perhaps\n"
    text += "E,t,1,2026-12-31,2026-01-01T10:00:00+02:00,TRUE\n"
    key = job(client, "insert", text)
    assert row_errors(client, key) == {
        "A": "INVALID_TYPE_ON_FIELD_IN_RECORD:Rate: value not of required type: many:Rate__c --",
        "B": "INVALID_TYPE_ON_FIELD_IN_RECORD:From: value not of required type: 31/12/2026:From__c --",
        "C": "INVALID_TYPE_ON_FIELD_IN_RECORD:Seen: value not of required type: yesterday:Seen__c --",
        "D": "INVALID_TYPE_ON_FIELD_IN_RECORD:Live: value not of required type: perhaps:Live__c --",
    }
    (good,) = client.query("SELECT Rate__c, From__c, Seen__c, Live__c FROM Pay_Code__c")["records"]
    assert (good["Rate__c"], good["From__c"], good["Live__c"]) == (1.0, "2026-12-31", True)
    assert good["Seen__c"] == "2026-01-01T08:00:00.000+0000"


@pytest.mark.parametrize(
    ("operation", "text", "message"),
    [
        ("insert", "Nope__c\nx\n", "InvalidBatch : Field name not found : Nope__c"),
        ("insert", "Title__c,Nope__r.Key__c\nx,y\n", "InvalidBatch : Field name not found : Nope__r.Key__c"),
        (
            "insert",
            "Title__c,Account:Account__r.Id\nx,y\n",
            "InvalidBatch : type is not needed for non polymorphic foreign key references : Account:Account__r.Id",
        ),
        (
            "insert",
            "Title__c\r\nx\r\n",
            "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF",
        ),
        ("insert", "Title__c,Key__c\nx\n", "InvalidBatch : A row has another number of columns than the header"),
        ("insert", "Title__c,title__C\nx,y\n", "InvalidBatch : A column stands twice in the header"),
        ("insert", 'Title__c,Key__c\n"x" ,y\n', "InvalidBatch : Failed to parse CSV"),
        ("insert", "", "InvalidBatch : The upload has no header row"),
        ("insert", f"Title__c\n{'x' * 32_001}\n", "InvalidBatch : A value holds more than 32000 characters"),
        ("delete", "Id,Title__c\nx,y\n", "InvalidBatch : Delete batch must contain only ids"),
        ("update", "Title__c\nx\n", "InvalidBatch : Field name not found : Id"),
    ],
)
def test_uploads_that_fail_their_job(client: Client, operation: str, text: str, message: str) -> None:
    key = job(client, operation, text)
    found = client.ask(f"/jobs/ingest/{key}").json()
    assert (found["state"], found["numberRecordsProcessed"], found["numberRecordsFailed"]) == ("Failed", 0, 0)
    assert found["errorMessage"].startswith(message)
    assert client.values("SELECT Id FROM Pay_Code__c") == []


def test_a_second_upload_fails_the_job(client: Client) -> None:
    key = opened(client)
    assert [put(client, key, numbered(1)), put(client, key, numbered(1))] == [201, 201]
    to_state(client, key, "UploadComplete")
    assert "Found multiple contents for job" in str(finish(client, key)["errorMessage"])
    assert client.values("SELECT Id FROM Pay_Code__c") == []


def test_an_aborted_job_keeps_what_was_written_and_gives_back_the_rest(client: Client) -> None:
    client.control.change_settings(bulk_batch=10, bulk_hold=2)
    key = opened(client)
    put(client, key, numbered(50))
    to_state(client, key, "UploadComplete")
    while client.ask(f"/jobs/ingest/{key}").json()["numberRecordsProcessed"] < 20:
        pass
    assert to_state(client, key, "Aborted")["state"] == "Aborted"
    assert len(results(client, key, "successfulResults")) == 20
    assert [each["Key__c"] for each in results(client, key, "unprocessedrecords")] == [f"K{n}" for n in range(20, 50)]
    assert client.query("SELECT COUNT() FROM Pay_Code__c")["totalSize"] == 20


def test_a_job_that_is_aborted_while_open_writes_nothing(client: Client) -> None:
    key = opened(client)
    put(client, key, numbered(5))
    assert client.error(f"/jobs/ingest/{key}", "DELETE")[:2] == (400, "INVALIDJOBSTATE")
    to_state(client, key, "Aborted")
    assert client.ask(f"/jobs/ingest/{key}/batches", "PUT", content=b"x", headers={"Content-Type": "text/csv"}).is_error
    assert client.values("SELECT Id FROM Pay_Code__c") == []
    assert client.ask(f"/jobs/ingest/{key}", "DELETE").status_code == 204
    assert client.error(f"/jobs/ingest/{key}")[:2] == (404, "NOT_FOUND")


def test_batches_beyond_the_days_allowance_appear_in_no_result(client: Client) -> None:
    client.control.change_settings(bulk_batch=10, bulk_batches=2)
    key = job(client, "insert", numbered(50))
    found = client.ask(f"/jobs/ingest/{key}").json()
    assert (found["state"], found["errorMessage"]) == ("Failed", "ExceededQuota : ApiBatchItems Limit exceeded.")
    assert len(results(client, key, "successfulResults")) == 20
    assert results(client, key, "unprocessedrecords") == results(client, key, "failedResults") == []
    assert client.ask("/limits").json()["DailyBulkApiBatches"] == {"Max": 2, "Remaining": 0}


def test_a_job_can_be_made_to_fail_half_way(client: Client) -> None:
    client.control.change_settings(bulk_batch=10, bulk_hold=1)
    key = opened(client)
    put(client, key, numbered(30))
    to_state(client, key, "UploadComplete")
    while client.ask(f"/jobs/ingest/{key}").json()["numberRecordsProcessed"] < 10:
        pass
    client.control.fail_job(key, "InternalServerError : gone")
    found = client.ask(f"/jobs/ingest/{key}").json()
    assert (found["state"], found["errorMessage"]) == ("Failed", "InternalServerError : gone")
    assert len(results(client, key, "unprocessedrecords")) == 20


def test_jobs_are_listed_in_pages(client: Client) -> None:
    client.control.change_settings(jobs_page=2)
    made = {opened(client) for _ in range(5)}
    page = client.ask("/jobs/ingest").json()
    seen = [each["id"] for each in page["records"]]
    while not page["done"]:
        page = client.ask(page["nextRecordsUrl"]).json()
        seen += [each["id"] for each in page["records"]]
    assert (len(seen), set(seen)) == (5, made)
    assert {"createdById", "createdDate", "object", "state", "operation"} <= set(page["records"][0])
    assert client.ask("/jobs/query").json()["records"] == []


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"operation": "merge"}, "INVALIDJOB", "Invalid operation"),
        ({"object": "Nope__c"}, "INVALIDJOB", "Unknown object"),
        ({"object": "Organization"}, "INVALIDENTITY", "not supported by the Bulk API"),
        ({"operation": "upsert"}, "INVALIDJOB", "does not match an External ID"),
        ({"operation": "upsert", "externalIdFieldName": "Title__c"}, "INVALIDJOB", "Title__c does not match"),
        ({"lineEnding": "CR"}, "INVALIDJOB", "unknown value"),
        ({"contentType": "XML"}, "INVALIDJOB", "unknown value"),
    ],
)
def test_jobs_that_are_refused(client: Client, change: dict[str, str], code: str, words: str) -> None:
    body = {"object": "Pay_Code__c", "operation": "insert", **change}
    status, said, message = client.error("/jobs/ingest", "POST", json=body)
    assert (status, said) == (400, code)
    assert words in message


def test_uploads_that_are_refused(client: Client) -> None:
    key = opened(client)
    path = f"/jobs/ingest/{key}/batches"
    assert client.error(path, "PUT", content=b"x", headers={"Content-Type": "text/plain"})[:2] == (
        415,
        "UNSUPPORTED_MEDIA_TYPE",
    )
    client.control.change_settings(upload_bytes=10)
    assert client.error(path, "PUT", content=b"x" * 11, headers={"Content-Type": "text/csv"})[1] == "LIMIT_EXCEEDED"
    old = f"/services/data/v65.0{path}"
    assert client.ask(old, "PUT", content=b"x", headers={"Content-Type": "text/csv"}).status_code == 409
    assert client.error(f"/jobs/ingest/{key}", "PATCH", json={"state": "JobComplete"})[1] == "INVALIDJOBSTATE"
