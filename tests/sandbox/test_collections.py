"""sObject collections: up to 200 records in a call."""

from typing import Any

import pytest

from sandbox.salesforce.ids import record_id
from tests.sandbox.client import Client
from tests.sandbox.writing import codes, collection, create, define, fetch

ACCOUNT = {"attributes": {"type": "Account"}}


@pytest.fixture(autouse=True)
def pay_codes(client: Client) -> None:
    define(client)


def test_good_and_bad_records_are_answered_in_their_order(client: Client) -> None:
    records: list[dict[str, Any]] = [{"Title__c": "a"}, {"Title__c": None}, {"Nope__c": 1}, {"Title__c": "d"}]
    answers = collection(client, "POST", records)
    assert codes(answers) == ["", "REQUIRED_FIELD_MISSING", "INVALID_FIELD", ""]
    assert answers[1] == {
        "success": False,
        "errors": [
            {
                "statusCode": "REQUIRED_FIELD_MISSING",
                "message": "Required fields are missing: [Title__c]",
                "fields": ["Title__c"],
            }
        ],
    }
    assert [fetch(client, answers[row]["id"])["Title__c"] for row in (0, 3)] == ["a", "d"]
    assert answers[0] == {"id": answers[0]["id"], "success": True, "errors": []}


def test_all_or_none_takes_back_what_was_good(client: Client) -> None:
    answers = collection(client, "POST", [{"Title__c": "a"}, {"Title__c": None}], allOrNone=True)
    assert codes(answers) == ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "REQUIRED_FIELD_MISSING"]
    assert client.values("SELECT Id FROM Pay_Code__c") == []
    assert codes(collection(client, "POST", [{"Title__c": "a"}, {"Title__c": "b"}], allOrNone=True)) == ["", ""]


def test_a_collection_may_hold_several_objects(client: Client) -> None:
    records: list[dict[str, Any]] = [{"Title__c": "a"}, {**ACCOUNT, "Name": "b"}, {"Title__c": "c"}]
    answers = collection(client, "POST", records)
    assert [each["id"][:3] for each in answers] == ["a00", "001", "a00"]
    alternating = [{"Title__c": "x"} if number % 2 else {**ACCOUNT, "Name": "y"} for number in range(11)]
    body = {"records": [{"attributes": {"type": "Pay_Code__c"}, **each} for each in alternating]}
    status, code, message = client.error("/composite/sobjects", "POST", json=body)
    assert (status, code) == (400, "LIMIT_EXCEEDED")
    assert "10 chunks" in message


def test_200_records_and_not_one_more(client: Client) -> None:
    records = [{"attributes": {"type": "Pay_Code__c"}, "Title__c": str(number)} for number in range(201)]
    status, code, _ = client.error("/composite/sobjects", "POST", json={"records": records})
    assert (status, code) == (400, "EXCEEDED_ID_LIMIT")
    answers = collection(client, "POST", records[:200])
    titles = {each["Id"]: each["Title__c"] for each in client.query("SELECT Id, Title__c FROM Pay_Code__c")["records"]}
    assert [titles[each["id"]] for each in answers] == [str(number) for number in range(200)]


def test_update_by_id(client: Client) -> None:
    one, two = create(client, Title__c="a", Rate__c=1), create(client, Title__c="b", Rate__c=2)
    gone = create(client, Title__c="c")
    client.ask(f"/sobjects/Pay_Code__c/{gone}", "DELETE").raise_for_status()
    records: list[dict[str, Any]] = [
        {"id": one[:15], "Title__c": "A"},
        {"id": two, "Rate__c": None},
        {"id": gone, "Rate__c": 5},
        {"id": record_id("a00", 999), "Rate__c": 5},
        {"id": "x", "Rate__c": 5},
        {"Rate__c": 5},
    ]
    answers = collection(client, "PATCH", records)
    assert codes(answers) == [
        "", "", "ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "MALFORMED_ID", "MISSING_ARGUMENT",
    ]  # fmt: skip
    assert [fetch(client, key)[name] for key, name in ((one, "Title__c"), (one, "Rate__c"))] == ["A", 1.0]
    assert [fetch(client, key)[name] for key, name in ((two, "Title__c"), (two, "Rate__c"))] == ["b", None]


def test_the_same_id_twice_in_a_call_is_refused(client: Client) -> None:
    key = create(client, Title__c="a")
    answers = collection(client, "PATCH", [{"id": key, "Title__c": "b"}, {"id": key, "Title__c": "c"}])
    assert codes(answers) == ["DUPLICATE_VALUE"] * 2
    assert answers[0]["errors"][0]["message"] == f"duplicate id specified: {key}"


def test_upsert_says_what_was_made(client: Client) -> None:
    key = create(client, Title__c="a", Key__c="A")
    records = [{"Key__c": "a", "Title__c": "b"}, {"Key__c": "N", "Title__c": "n"}, {"Title__c": "x"}, {"Key__c": "M"}]
    answers = collection(client, "PATCH", records, "/Pay_Code__c/Key__c")
    assert codes(answers) == ["", "", "MISSING_ARGUMENT", "REQUIRED_FIELD_MISSING"]
    assert answers[0] == {"id": key, "success": True, "errors": [], "created": False}
    assert answers[1]["created"] is True
    assert fetch(client, key)["Title__c"] == "b"
    assert fetch(client, key)["Key__c"] == "A"


def test_upsert_by_id_and_by_a_key_of_several(client: Client) -> None:
    key = create(client, Title__c="a", Legacy__c="L")
    answers = collection(client, "PATCH", [{"Id": key, "Title__c": "b"}, {"Title__c": "new"}], "/Pay_Code__c/Id")
    assert [each["created"] for each in answers] == [False, True]
    create(client, Title__c="c", Legacy__c="L")
    (answer,) = collection(client, "PATCH", [{"Legacy__c": "l", "Title__c": "d"}], "/Pay_Code__c/Legacy__c")
    assert codes([answer]) == ["DUPLICATE_EXTERNAL_ID"]
    assert key in answer["errors"][0]["message"]


def test_the_same_key_twice_in_an_upsert_is_refused(client: Client) -> None:
    records = [{"Key__c": "A", "Title__c": "1"}, {"Key__c": "a", "Title__c": "2"}, {"Key__c": "B", "Title__c": "3"}]
    answers = collection(client, "PATCH", records, "/Pay_Code__c/Key__c")
    assert codes(answers) == ["DUPLICATE_VALUE", "DUPLICATE_VALUE", ""]
    assert answers[0]["errors"][0]["message"] == "Duplicate external id specified: A"


def test_a_unique_value_twice_in_an_insert_takes_the_first(client: Client) -> None:
    answers = collection(client, "POST", [{"Title__c": "1", "Key__c": "A"}, {"Title__c": "2", "Key__c": "a"}])
    assert codes(answers) == ["", "DUPLICATE_VALUE"]
    assert answers[1]["errors"][0]["message"].endswith(f"record with id: {answers[0]['id'][:15]}")


def test_delete_of_several_objects(client: Client) -> None:
    code, account = create(client, Title__c="a"), create(client, "Account", Name="b")
    path = f"/composite/sobjects?ids={code},{account},{record_id('001', 99_999)}"
    answers = client.ask(path, "DELETE").json()
    assert codes(answers) == ["", "", "INVALID_CROSS_REFERENCE_KEY"]
    kept = create(client, Title__c="k")
    answers = client.ask(f"/composite/sobjects?allOrNone=true&ids={kept},{code}", "DELETE").json()
    assert codes(answers) == ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "ENTITY_IS_DELETED"]
    assert fetch(client, kept)["IsDeleted"] is False


def test_retrieve_gives_null_for_what_is_not_there(client: Client) -> None:
    key = create(client, Title__c="a")
    body = {"ids": [record_id("a00", 999), key], "fields": ["Title__c"]}
    nothing, found = client.ask("/composite/sobjects/Pay_Code__c", "POST", json=body).json()
    assert (nothing, found["Title__c"]) == (None, "a")
    params = {"ids": key, "fields": "Id"}
    assert client.ask("/composite/sobjects/Pay_Code__c", params=params).json()[0]["Id"] == key


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"records": []}, "MISSING_ARGUMENT"),
        ({}, "JSON_PARSER_ERROR"),
        ({"records": [{"Name": "x"}]}, "MISSING_ARGUMENT"),
        ({"records": [{"attributes": {"type": "Nope"}, "Name": "x"}]}, "INVALID_TYPE"),
        ({"records": [{**ACCOUNT, "NumberOfEmployees": "many"}]}, "JSON_PARSER_ERROR"),
        ({"records": [{**ACCOUNT, "Name": ["x"]}]}, "JSON_PARSER_ERROR"),
    ],
)
def test_collections_that_are_refused_whole(client: Client, body: dict[str, object], code: str) -> None:
    assert client.error("/composite/sobjects", "POST", json=body)[:2] == (400, code)
