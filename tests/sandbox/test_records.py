"""Writing single records by REST, and the rules that refuse them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from sandbox.salesforce.ids import number_of, record_id
from tests.sandbox.client import DATA, Client
from tests.sandbox.writing import create, define, fetch, refusal


@pytest.fixture(autouse=True)
def pay_codes(client: Client) -> None:
    define(client)


def test_a_record_is_made_read_changed_and_deleted(client: Client) -> None:
    answer = client.ask("/sobjects/Pay_Code__c", "POST", json={"Title__c": "Base", "Rate__c": 12.345, "Key__c": "A"})
    key = answer.json()["id"]
    assert (answer.status_code, answer.json()) == (201, {"id": key, "success": True, "errors": []})
    made = fetch(client, key)
    assert (made["Rate__c"], made["Live__c"], made["Status__c"], made["Name"]) == (12.35, True, "Draft", "PC-0001")
    assert (made["OwnerId"], made["CreatedById"]) == (client.ready.user_id,) * 2
    changed = client.ask(f"/sobjects/Pay_Code__c/{key[:15]}", "PATCH", json={"Rate__c": None, "live__C": False})
    assert (changed.status_code, changed.content) == (204, b"")
    after = fetch(client, key)
    assert (after["Rate__c"], after["Live__c"], after["Title__c"]) == (None, False, "Base")
    assert client.ask(f"/sobjects/Pay_Code__c/{key}", "DELETE").status_code == 204
    assert client.error(f"/sobjects/Pay_Code__c/{key}") == (404, "ENTITY_IS_DELETED", "entity is deleted")
    assert client.error(f"/sobjects/Pay_Code__c/{key}", "DELETE")[:2] == (404, "ENTITY_IS_DELETED")
    assert client.error(f"/sobjects/Pay_Code__c/{key}", "PATCH", json={})[:2] == (404, "ENTITY_IS_DELETED")
    assert client.values("SELECT Id FROM Pay_Code__c WHERE IsDeleted = true", resource="queryAll") == [key]


def test_a_write_moves_the_stamps_and_leaves_the_creation(client: Client) -> None:
    old = {"CreatedDate": "2020-01-01T00:00:00Z", "LastModifiedDate": "2020-01-02T00:00:00Z", "Title__c": "x"}
    (key,) = client.control.upsert("Pay_Code__c", [{**old, "SystemModstamp": "2020-01-02T00:00:00Z"}])
    before = datetime.now(UTC) - timedelta(seconds=2)
    client.ask(f"/sobjects/Pay_Code__c/{key}", "PATCH", json={"Title__c": "y"})
    after = fetch(client, key)
    assert after["CreatedDate"] == "2020-01-01T00:00:00.000+0000"
    assert after["LastModifiedDate"] == after["SystemModstamp"]
    assert datetime.fromisoformat(after["SystemModstamp"]) >= before


@pytest.mark.parametrize(
    ("values", "code", "message", "fields"),
    [
        ({"Title__c": None}, "REQUIRED_FIELD_MISSING", "Required fields are missing: [Title__c]", ["Title__c"]),
        (
            {"Title__c": "x" * 11},
            "STRING_TOO_LONG",
            "Title: data value too large: xxxxxxxxxxx (max length=10)",
            ["Title__c"],
        ),
        (
            {"Status__c": "Nope"},
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "Status: bad value for restricted picklist field: Nope",
            ["Status__c"],
        ),
        (
            {"Status__c": "Old"},
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "Status: bad value for restricted picklist field: Old",
            ["Status__c"],
        ),
        (
            {"Days__c": "Mon;Sun"},
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "Days: bad value for restricted picklist field: Mon;Sun",
            ["Days__c"],
        ),
        (
            {"Rate__c": 10_000},
            "NUMBER_OUTSIDE_VALID_RANGE",
            "Rate: value outside of valid range on numeric field: 10000.0",
            ["Rate__c"],
        ),
        ({"From__c": "4000-12-31"}, "DATE_OUT_OF_RANGE", "From: invalid date: 4000-12-31", ["From__c"]),
        ({"Mail__c": "nobody@"}, "INVALID_EMAIL_ADDRESS", "Mail: invalid email address: nobody@", ["Mail__c"]),
        ({"Account__c": record_id("001", 999_999)}, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", []),
        (
            {"Account__c": record_id("003", 1)},
            "FIELD_INTEGRITY_EXCEPTION",
            f"Account: id value of incorrect type: {record_id('003', 1)}",
            ["Account__c"],
        ),
        ({"Account__c": "nonsense"}, "MALFORMED_ID", "Account: id value of incorrect type: nonsense", ["Account__c"]),
        ({"Live__c": None}, "INVALID_TYPE_ON_FIELD_IN_RECORD", "Live: value not of required type: ", ["Live__c"]),
        ({"Id": "a00"}, "INVALID_FIELD_FOR_INSERT_UPDATE", "cannot specify Id in an insert call", ["Id"]),
        ({"Nope__c": 1}, "INVALID_FIELD", "No such column 'Nope__c' on sobject of type Pay_Code__c", []),
        (
            {"Parent__r": {"Legacy__c": "z"}},
            "INVALID_FIELD",
            "Foreign key external ID: z not found for field Legacy__c in entity Pay_Code__c",
            [],
        ),
        (
            {"Parent__r": {"Title__c": "z"}},
            "INVALID_FIELD",
            "Field name provided, Title__c does not match an External ID for Pay_Code__c",
            [],
        ),
    ],
)
def test_what_a_record_is_refused_for(
    client: Client, values: dict[str, Any], code: str, message: str, fields: list[str]
) -> None:
    assert refusal(client, **{"Title__c": "t", **values}) == (code, message, fields)
    assert client.values("SELECT Id FROM Pay_Code__c") == []


def test_several_missing_fields_are_named_at_once(client: Client) -> None:
    code, message, fields = refusal(client, "Opportunity", Amount=1)
    assert (code, fields) == ("REQUIRED_FIELD_MISSING", ["Name", "StageName", "CloseDate"])
    assert message == "Required fields are missing: [Name, StageName, CloseDate]"


@pytest.mark.parametrize("values", [{"Rate__c": "many"}, {"From__c": "31/12/2026"}, {"Live__c": "maybe"}])
def test_a_value_of_the_wrong_type_is_no_json_for_the_platform(client: Client, values: dict[str, object]) -> None:
    status, code, message = client.error("/sobjects/Pay_Code__c", "POST", json={"Title__c": "t", **values})
    assert (status, code) == (400, "JSON_PARSER_ERROR")
    assert message.startswith("Cannot deserialize instance of ")


def test_read_only_fields_are_refused_by_name(client: Client) -> None:
    code, message, fields = refusal(client, Title__c="t", Name="x", CreatedDate="2020-01-01T00:00:00Z")
    assert (code, sorted(fields)) == ("INVALID_FIELD_FOR_INSERT_UPDATE", ["CreatedDate", "Name"])
    assert message.startswith("Unable to create/update fields: ")
    key = create(client, "Task", Subject="Call")
    assert client.error(f"/sobjects/Task/{key}", "PATCH", json={"TaskSubtype": "Call"})[1] == (
        "INVALID_FIELD_FOR_INSERT_UPDATE"
    )


def test_unique_values_name_the_record_that_has_them(client: Client) -> None:
    key = create(client, Title__c="a", Key__c="One")
    message = f"duplicate value found: Key__c duplicates value on record with id: {key[:15]}"
    assert refusal(client, Title__c="b", Key__c="ONE") == ("DUPLICATE_VALUE", message, [])
    client.ask(f"/sobjects/Pay_Code__c/{key}", "PATCH", json={"Key__c": "One"}).raise_for_status()
    client.ask(f"/sobjects/Pay_Code__c/{key}", "DELETE").raise_for_status()
    create(client, Title__c="b", Key__c="One")


def test_an_inactive_owner_is_refused(client: Client) -> None:
    user = client.values(f"SELECT Id FROM User WHERE Id != '{client.ready.user_id}'")[0]
    client.control.upsert("User", [{"Id": user, "IsActive": False}])
    message = f"operation performed with inactive user [{user}] as owner of pay code"
    assert refusal(client, Title__c="x", OwnerId=user) == ("INACTIVE_OWNER_OR_USER", message, [])


def test_a_deleted_parent_is_refused_and_look_ups_to_it_are_emptied(client: Client) -> None:
    account = create(client, "Account", Name="Gone")
    key = create(client, Title__c="x", Account__c=account)
    client.ask(f"/sobjects/Account/{account}", "DELETE").raise_for_status()
    assert fetch(client, key)["Account__c"] is None
    assert refusal(client, Title__c="x", Account__c=account)[:2] == ("ENTITY_IS_DELETED", "entity is deleted")


def test_details_go_with_their_master(client: Client) -> None:
    master = create(client, Title__c="x")
    detail = create(client, "Detail__c", Name="d", Code__c=master)
    assert refusal(client, "Detail__c", Name="d")[0] == "REQUIRED_FIELD_MISSING"
    client.ask(f"/sobjects/Pay_Code__c/{master}", "DELETE").raise_for_status()
    assert client.error(f"/sobjects/Detail__c/{detail}")[1] == "ENTITY_IS_DELETED"


def test_a_parent_may_be_named_by_its_external_id(client: Client) -> None:
    parent = create(client, Title__c="p", Key__c="P-1")
    child = create(client, Title__c="c", Parent__r={"Key__c": "p-1"})
    assert fetch(client, child)["Parent__c"] == parent
    lead = create(client, "Lead", LastName="L", Company="C", Email="l@example.com")
    task = create(client, "Task", Who={"attributes": {"type": "Lead"}, "Email": "l@example.com"})
    assert fetch(client, task, "Task")["WhoId"] == lead
    assert refusal(client, "Task", Who={"Email": "l@example.com"})[0] == "INVALID_FIELD"


def test_a_person_is_named_by_first_and_last_name(client: Client) -> None:
    key = create(client, "Contact", FirstName="Ada", LastName="Byron")
    client.ask(f"/sobjects/Contact/{key}", "PATCH", json={"LastName": "Lovelace"}).raise_for_status()
    assert fetch(client, key, "Contact")["Name"] == "Ada Lovelace"


def test_upsert_by_external_id(client: Client) -> None:
    path = f"/sobjects/Pay_Code__c/Key__c/{quote('A/1 ü', safe='')}"
    made = client.ask(path, "PATCH", json={"Title__c": "a"})
    key = made.json()["id"]
    assert (made.status_code, made.json()) == (201, {"id": key, "success": True, "errors": [], "created": True})
    again = client.ask(path, "PATCH", json={"Title__c": "b"})
    assert (again.status_code, again.json()) == (200, {"id": key, "success": True, "errors": [], "created": False})
    assert client.ask(path).json()["Title__c"] == "b"
    assert fetch(client, key)["Key__c"] == "A/1 ü"
    old = client.ask(path.replace("/sobjects", "/services/data/v45.0/sobjects"), "PATCH", json={})
    assert old.status_code == 204
    assert client.ask(path, "DELETE").status_code == 204
    assert client.error(path)[:2] == (404, "NOT_FOUND")


def test_upsert_that_may_only_update(client: Client) -> None:
    path = "/sobjects/Pay_Code__c/Key__c/A"
    assert client.error(f"{path}?updateOnly=true", "PATCH", json={"Title__c": "a"})[:2] == (404, "NOT_FOUND")
    key = create(client, Title__c="a", Key__c="A")
    assert client.ask(f"{path}?updateOnly=true", "PATCH", json={"Title__c": "b"}).json()["id"] == key


def test_an_external_id_of_several_records_is_300(client: Client) -> None:
    found = [create(client, Title__c="t", Legacy__c="same") for _ in range(2)]
    answer = client.ask("/sobjects/Pay_Code__c/Legacy__c/same", "PATCH", json={"Title__c": "u"})
    assert answer.status_code == 300
    assert answer.json() == [f"{DATA}/sobjects/Pay_Code__c/{key}" for key in found]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("Key__c/A", {"Key__c": "A", "Title__c": "t"}, 400, "INVALID_FIELD"),
        ("Key__c/A", {"Id": "a00", "Title__c": "t"}, 400, "INVALID_FIELD"),
        ("Title__c/A", {}, 404, "NOT_FOUND"),
        ("Nope__c/A", {}, 404, "NOT_FOUND"),
        ("Id/" + record_id("a00", 77), {}, 404, "NOT_FOUND"),
    ],
)
def test_upserts_that_are_refused(client: Client, path: str, body: dict[str, str], status: int, code: str) -> None:
    assert client.error(f"/sobjects/Pay_Code__c/{path}", "PATCH", json=body)[:2] == (status, code)


def test_records_that_are_not_there_and_objects_that_take_none(client: Client) -> None:
    missing = f"/sobjects/Pay_Code__c/{record_id('a00', 77)}"
    assert client.error(missing, "PATCH", json={})[:2] == (404, "NOT_FOUND")
    assert client.error(missing, "DELETE")[:2] == (404, "NOT_FOUND")
    assert client.error("/sobjects/Organization", "POST", json={})[:2] == (400, "INVALID_TYPE_FOR_OPERATION")
    assert client.error("/sobjects/Nope__c", "POST", json={})[:2] == (404, "NOT_FOUND")
    assert client.error("/sobjects/Account", "POST", content=b"{")[1] == "JSON_PARSER_ERROR"
    assert client.error("/sobjects/Account", "POST", content=b"[]")[1] == "JSON_PARSER_ERROR"


def test_an_id_that_came_from_outside_is_given_to_no_other_record(client: Client) -> None:
    (first,) = client.control.upsert("Pay_Code__c", [{"Title__c": "First"}])
    number = number_of(first)
    assert number is not None
    given = record_id(first[:3], number + 1)
    assert client.control.upsert("Pay_Code__c", [{"Id": given, "Title__c": "Given"}]) == [given]
    (next_one,) = client.control.upsert("Pay_Code__c", [{"Title__c": "Next"}])
    assert next_one == record_id(first[:3], number + 2)
