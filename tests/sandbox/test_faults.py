"""The fault knobs: each kind strikes as said, as often as said."""

import json

import httpx
import pytest

from sandbox.salesforce.faults import Fault, Faults, Kind
from tests.sandbox.client import Client


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("rate_limited", 429, "REQUEST_LIMIT_EXCEEDED"),
        ("api_limit", 403, "REQUEST_LIMIT_EXCEEDED"),
        ("unavailable", 503, "SERVER_UNAVAILABLE"),
        ("server_error", 500, "UNKNOWN_EXCEPTION"),
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
