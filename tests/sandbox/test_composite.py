"""Several requests in one: composite, graph and tree."""

from typing import Any

import pytest

from tests.sandbox.client import DATA, Client
from tests.sandbox.writing import create, define, fetch


@pytest.fixture(autouse=True)
def pay_codes(client: Client) -> None:
    define(client)


def request(name: str, method: str, path: str, body: object = None) -> dict[str, Any]:
    return {"referenceId": name, "method": method, "url": DATA + path, **({"body": body} if body is not None else {})}


def composite(client: Client, *requests: dict[str, Any], every: bool = False) -> list[dict[str, Any]]:
    answer = client.ask("/composite", "POST", json={"allOrNone": every, "compositeRequest": list(requests)})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["compositeResponse"])


def test_later_requests_use_what_earlier_ones_brought(client: Client) -> None:
    answers = composite(
        client,
        request("a", "POST", "/sobjects/Account", {"Name": "Harbour"}),
        request("p", "POST", "/sobjects/Pay_Code__c", {"Title__c": "t", "Account__c": "@{a.id}"}),
        request("q", "GET", "/query?q=SELECT+Name+FROM+Account+WHERE+Id+%3D+'@{a.id}'"),
        request("r", "PATCH", "/sobjects/Pay_Code__c/@{p.id}", {"Title__c": "@{q.records[0].Name}"}),
        request("u", "PATCH", "/sobjects/Pay_Code__c/Key__c/K-1", {"Title__c": "by key"}),
    )
    assert [(each["referenceId"], each["httpStatusCode"]) for each in answers] == [
        ("a", 201), ("p", 201), ("q", 200), ("r", 204), ("u", 201),
    ]  # fmt: skip
    made = fetch(client, answers[1]["body"]["id"])
    assert (made["Account__c"], made["Title__c"]) == (answers[0]["body"]["id"], "Harbour")
    assert answers[3]["body"] is None


def test_without_all_or_none_the_rest_goes_on(client: Client) -> None:
    bad, after, lost = composite(
        client,
        request("bad", "POST", "/sobjects/Pay_Code__c", {"Title__c": None}),
        request("after", "POST", "/sobjects/Pay_Code__c", {"Title__c": "t"}),
        request("lost", "PATCH", "/sobjects/Pay_Code__c/@{bad.id}", {}),
    )
    assert (bad["httpStatusCode"], bad["body"][0]["errorCode"]) == (400, "REQUIRED_FIELD_MISSING")
    assert after["httpStatusCode"] == 201
    assert (lost["httpStatusCode"], lost["body"][0]["errorCode"]) == (400, "PROCESSING_HALTED")
    assert "No value for bad.id" in lost["body"][0]["message"]


def test_all_or_none_takes_back_everything_and_names_the_guilty(client: Client) -> None:
    answers = composite(
        client,
        request("a", "POST", "/sobjects/Pay_Code__c", {"Title__c": "t"}),
        request("c", "POST", "/composite/sobjects", {"records": [{"attributes": {"type": "Account"}, "Name": "new"}]}),
        request("b", "POST", "/sobjects/Pay_Code__c", {"Title__c": None}),
        request("d", "POST", "/sobjects/Pay_Code__c", {"Title__c": "t"}),
        every=True,
    )
    assert [each["body"][0]["errorCode"] for each in answers] == [
        "PROCESSING_HALTED", "PROCESSING_HALTED", "REQUIRED_FIELD_MISSING", "PROCESSING_HALTED",
    ]  # fmt: skip
    assert client.values("SELECT Id FROM Pay_Code__c") == []
    assert client.values("SELECT Id FROM Account WHERE Name = 'new'") == []


@pytest.mark.parametrize(
    ("requests", "code"),
    [
        ([], "JSON_PARSER_ERROR"),
        ([{"method": "GET"}], "JSON_PARSER_ERROR"),
        ([request("a", "GET", "/limits"), request("a", "GET", "/limits")], "INVALID_INPUT"),
        ([request(f"r{n}", "GET", "/limits") for n in range(26)], "LIMIT_EXCEEDED"),
        ([request(f"r{n}", "GET", "/query?q=SELECT+Id+FROM+User") for n in range(6)], "LIMIT_EXCEEDED"),
    ],
)
def test_composites_that_are_refused_whole(client: Client, requests: list[dict[str, Any]], code: str) -> None:
    assert client.error("/composite", "POST", json={"compositeRequest": requests})[:2] == (400, code)


def test_jobs_and_unknown_resources_inside_are_refused(client: Client) -> None:
    body = {"object": "Account", "operation": "insert"}
    job, nothing = composite(
        client, request("j", "POST", "/jobs/ingest", body), request("n", "GET", "/sobjects/Nope__c/describe")
    )
    assert (job["httpStatusCode"], nothing["httpStatusCode"]) == (400, 404)
    assert client.ask("/jobs/ingest").json()["records"] == []


def test_graphs_succeed_or_fail_each_for_itself(client: Client) -> None:
    good = [request("a", "POST", "/sobjects/Pay_Code__c", {"Title__c": "g"})]
    bad = [
        request("a", "POST", "/sobjects/Pay_Code__c", {"Title__c": "b"}),
        request("b", "POST", "/sobjects/Pay_Code__c", {"Parent__c": "@{a.id}"}),
    ]
    graphs = [{"graphId": "1", "compositeRequest": good}, {"graphId": "2", "compositeRequest": bad}]
    one, two = client.ask("/composite/graph", "POST", json={"graphs": graphs}).json()["graphs"]
    assert (one["graphId"], one["isSuccessful"], two["isSuccessful"]) == ("1", True, False)
    codes = [each["body"][0]["errorCode"] for each in two["graphResponse"]["compositeResponse"]]
    assert codes == ["PROCESSING_HALTED", "REQUIRED_FIELD_MISSING"]
    assert client.values("SELECT Title__c FROM Pay_Code__c", "Title__c") == ["g"]


def test_graphs_stop_after_fourteen_failures(client: Client) -> None:
    bad = [request("a", "POST", "/sobjects/Pay_Code__c", {})]
    graphs = [{"graphId": str(number), "compositeRequest": bad} for number in range(15)]
    found = client.ask("/composite/graph", "POST", json={"graphs": graphs}).json()["graphs"]
    codes = [each["graphResponse"]["compositeResponse"][0]["body"][0]["errorCode"] for each in found]
    assert codes == ["REQUIRED_FIELD_MISSING"] * 14 + ["PROCESSING_HALTED"]
    assert client.error("/composite/graph", "POST", json={"graphs": graphs * 6})[1] == "LIMIT_EXCEEDED"
    many = [{"graphId": "x", "compositeRequest": [request(f"r{n}", "GET", "/limits") for n in range(501)]}]
    assert client.error("/composite/graph", "POST", json={"graphs": many})[1] == "LIMIT_EXCEEDED"


def tree(kind: str, reference: str, children: dict[str, list[dict[str, Any]]] | None = None, **values: object) -> Any:
    nested = {name: {"records": records} for name, records in (children or {}).items()}
    return {"attributes": {"type": kind, "referenceId": reference}, **values, **nested}


def test_a_tree_is_made_with_its_children(client: Client) -> None:
    contact = tree("Contact", "c1", LastName="Child")
    body = {"records": [tree("Account", "a1", {"Contacts": [contact]}, Name="Top"), tree("Account", "a2", Name="Two")]}
    answer = client.ask("/composite/tree/Account", "POST", json=body)
    assert answer.status_code == 201
    found = {each["referenceId"]: each["id"] for each in answer.json()["results"]}
    assert answer.json()["hasErrors"] is False
    assert fetch(client, found["c1"], "Contact")["AccountId"] == found["a1"]


def test_a_tree_with_one_bad_record_leaves_nothing(client: Client) -> None:
    bad = tree("Contact", "c1", FirstName="No last name")
    body = {"records": [tree("Account", "a1", {"Contacts": [bad]}, Name="Left out")]}
    answer = client.ask("/composite/tree/Account", "POST", json=body)
    assert (answer.status_code, answer.json()["hasErrors"]) == (400, True)
    (error,) = answer.json()["results"]
    assert (error["referenceId"], error["errors"][0]["statusCode"]) == ("c1", "REQUIRED_FIELD_MISSING")
    assert client.values("SELECT Id FROM Account WHERE Name = 'Left out'") == []


@pytest.mark.parametrize(
    ("records", "code"),
    [
        ([], "JSON_PARSER_ERROR"),
        ([{"Name": "x"}], "MISSING_ARGUMENT"),
        ([{"attributes": {"type": "Account"}, "Name": "x"}], "MISSING_ARGUMENT"),
        ([tree("Contact", "c", LastName="x")], "INVALID_TYPE"),
        ([tree("Account", "a", Name="x"), tree("Account", "a", Name="x")], "INVALID_INPUT"),
        ([tree("Account", "a", {"Nope": []}, Name="x")], "INVALID_FIELD"),
        ([tree("Account", f"a{n}", Name="x") for n in range(201)], "LIMIT_EXCEEDED"),
    ],
)
def test_trees_that_are_refused_whole(client: Client, records: list[Any], code: str) -> None:
    assert client.error("/composite/tree/Account", "POST", json={"records": records})[:2] == (400, code)


def test_a_tree_is_at_most_five_levels_deep(client: Client) -> None:
    record = tree("Account", "a6", Name="x")
    for level in range(5, 0, -1):
        record = tree("Account", f"a{level}", {"ChildAccounts": [record]}, Name="x")
    assert client.error("/composite/tree/Account", "POST", json={"records": [record]})[1] == "LIMIT_EXCEEDED"
    assert create(client, Title__c="still fine")
