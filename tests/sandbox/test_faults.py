"""The fault knobs: each kind strikes as said, as often as said."""

import json

import httpx
import pytest

from sandbox.salesforce.faults import Fault, Faults, Kind
from tests.sandbox.client import Client
from tests.sandbox.writing import finish


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("rate_limited", 429, "REQUEST_LIMIT_EXCEEDED"),
        ("api_limit", 403, "REQUEST_LIMIT_EXCEEDED"),
        ("unavailable", 503, "SERVER_UNAVAILABLE"),
        ("server_error", 500, "UNKNOWN_EXCEPTION"),
        ("not_in_bulk", 400, "INVALIDENTITY"),
    ],
)
def test_error_answers_a_given_number_of_times(client: Client, kind: str, status: int, code: str) -> None:
    client.control.fault(kind, path="/limits", after=1, times=2)
    assert [client.ask("/limits").status_code for _ in range(4)] == [200, status, status, 200]
    client.control.fault(kind, path="/limits", times=1)
    assert client.error("/limits")[:2] == (status, code)
    assert [rule["struck"] for rule in client.control.faults()] == [2, 1]


def test_retry_after_only_where_asked(client: Client) -> None:
    client.control.fault("unavailable", times=1, retry_after=7)
    client.control.fault("unavailable", times=1)
    assert [client.ask("/limits").headers.get("retry-after") for _ in range(2)] == ["7", None]


@pytest.mark.parametrize(("body", "start"), [("html", "<html>"), ("empty", "")])
def test_gateways_answer_without_json(client: Client, body: str, start: str) -> None:
    client.control.fault("unavailable", body=body)
    answer = client.ask("/limits")
    assert answer.status_code == 503
    assert answer.text.startswith(start)
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_a_dropped_connection_before_nothing_was_done(client: Client) -> None:
    client.control.fault("drop_before", method="POST", times=1)
    with pytest.raises(httpx.TransportError):
        client.ask("/jobs/query", "POST", json={"operation": "query", "query": "SELECT Id FROM Lead"})
    assert client.ask("/jobs/query").json()["records"] == []


def test_a_dropped_connection_after_the_work_was_done(client: Client) -> None:
    client.control.fault("drop_after", method="POST", times=1)
    with pytest.raises(httpx.TransportError):
        client.ask("/jobs/query", "POST", json={"operation": "query", "query": "SELECT Id FROM Lead"})
    assert len(client.ask("/jobs/query").json()["records"]) == 1


def test_a_lost_answer_leaves_the_record_written(client: Client) -> None:
    client.control.fault("drop_after", path="/composite/sobjects", times=1)
    body = {"records": [{"attributes": {"type": "Account"}, "Name": "Written all the same"}]}
    with pytest.raises(httpx.TransportError):
        client.ask("/composite/sobjects", "POST", json=body)
    assert len(client.values("SELECT Id FROM Account WHERE Name = 'Written all the same'")) == 1


@pytest.mark.parametrize("kind", ["unavailable", "api_limit", "drop_before", "expire_token"])
def test_a_write_that_fails_before_it_is_looked_at_leaves_nothing(client: Client, kind: str) -> None:
    client.control.fault(kind, path="/sobjects/Account", method="POST", times=1)
    try:
        assert client.ask("/sobjects/Account", "POST", json={"Name": "Not written"}).status_code in (401, 403, 503)
    except httpx.TransportError:
        assert kind == "drop_before"
    grant = {"grant_type": "client_credentials", "client_id": client.ready.client_id}
    answer = client.http.post("/services/oauth2/token", data={**grant, "client_secret": client.ready.client_secret})
    client.token = answer.json()["access_token"]
    assert client.values("SELECT Id FROM Account WHERE Name = 'Not written'") == []


@pytest.mark.parametrize("kind", ["truncated", "cut"])
def test_a_spoilt_answer_to_a_write_tells_nothing(client: Client, kind: str) -> None:
    client.control.fault(kind, path="/sobjects/Account", method="POST", times=1)
    with pytest.raises((httpx.TransportError, json.JSONDecodeError)):
        client.ask("/sobjects/Account", "POST", json={"Name": "Written"}).json()
    assert len(client.values("SELECT Id FROM Account WHERE Name = 'Written'")) == 1


def test_an_upload_whose_answer_is_lost_is_there(client: Client) -> None:
    body = {"object": "Account", "operation": "insert"}
    key = client.ask("/jobs/ingest", "POST", json=body).json()["id"]
    client.control.fault("drop_after", path="/batches", times=1)
    client.control.fault("drop_after", path=f"/jobs/ingest/{key}", method="PATCH", times=1)
    content, headers = b"Name\nUploaded\n", {"Content-Type": "text/csv"}
    with pytest.raises(httpx.TransportError):
        client.ask(f"/jobs/ingest/{key}/batches", "PUT", content=content, headers=headers)
    assert client.ask(f"/jobs/ingest/{key}").json()["state"] == "Open"
    with pytest.raises(httpx.TransportError):
        client.ask(f"/jobs/ingest/{key}", "PATCH", json={"state": "UploadComplete"})
    assert finish(client, key)["numberRecordsProcessed"] == 1


def test_a_late_answer_comes_after_the_work(client: Client) -> None:
    client.control.fault("late", path="/sobjects/Account", latency_ms=80, times=1)
    with pytest.raises(httpx.ReadTimeout):
        client.ask("/sobjects/Account", "POST", json={"Name": "Late"}, timeout=0.05)
    # The work may take longer than the client's patience where the machine is busy.
    found = (client.values("SELECT Id FROM Account WHERE Name = 'Late'") for _ in range(1_000))
    assert len(next(each for each in found if each)) == 1
    client.control.fault("late", path="/limits", latency_ms=20, times=1)
    assert client.ask("/limits").json()["DailyApiRequests"]["Max"] == 100_000


def test_a_truncated_answer_looks_whole_and_is_not(client: Client) -> None:
    client.control.fault("truncated", path="/query", times=1)
    answer = client.ask("/query", params={"q": "SELECT Id FROM Contact"})
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_a_cut_answer_breaks_off(client: Client) -> None:
    client.control.fault("cut", path="/query", times=1)
    with pytest.raises(httpx.TransportError):
        client.ask("/query", params={"q": "SELECT Id FROM Contact"})
    assert client.query("SELECT Id FROM Contact")["done"] is True


def test_a_token_expires_after_so_many_calls(client: Client) -> None:
    client.control.fault("expire_token", after=2, times=1)
    assert [client.ask("/limits").status_code for _ in range(4)] == [200, 200, 401, 401]


def test_a_slow_answer_still_comes(client: Client) -> None:
    client.control.fault("slow", latency_ms=60, times=1)
    assert client.ask("/limits").elapsed.total_seconds() >= 0.06


def test_clearing_ends_every_fault(client: Client) -> None:
    client.control.fault("server_error")
    client.control.clear_faults()
    assert client.ask("/limits").status_code == 200


def test_chance_is_repeatable() -> None:
    def struck(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.add(Fault(Kind.UNAVAILABLE, probability=0.3))
        return [bool(faults.striking("GET", "/x")) for _ in range(500)]

    assert struck(1) == struck(1)
    assert struck(1) != struck(2)
    assert 100 < sum(struck(1)) < 200


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "earthquake"},
        {"kind": "slow", "speed": 1},
        {"kind": "slow", "path": "("},
        {"kind": "cut", "body": "xml"},
    ],
)
def test_rules_that_make_no_sense_are_refused(client: Client, rule: dict[str, object]) -> None:
    kind = str(rule.pop("kind"))
    with pytest.raises(ValueError, match="was refused"):
        client.control.fault(kind, **rule)
    assert client.control.faults() == []
