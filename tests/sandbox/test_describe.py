"""Describe answers against the key sets of recorded real ones, and what a migration reads from them."""

from typing import Any

import pytest

from tests.sandbox.client import Client

GLOBAL_KEYS = frozenset(
    """
    name label labelPlural keyPrefix custom customSetting queryable createable updateable deletable undeletable
    triggerable searchable layoutable mergeable replicateable retrieveable deprecatedAndHidden feedEnabled mruEnabled
    hasSubtypes isSubtype isInterface associateEntityType associateParentEntity activateable deepCloneable urls
    """.split()  # noqa: SIM905 - read as the fact sheet lists them
)
FIELD_KEYS = frozenset(
    """
    aggregatable aiPredictionField autoNumber byteLength calculated calculatedFormula cascadeDelete caseSensitive
    compoundFieldName controllerName createable custom defaultValue defaultValueFormula defaultedOnCreate
    dependentPicklist deprecatedAndHidden digits displayLocationInDecimal encrypted externalId extraTypeInfo filterable
    filteredLookupInfo formulaTreatNullNumberAsZero groupable highScaleNumber htmlFormatted idLookup inlineHelpText
    label length mask maskType name nameField namePointing nillable permissionable picklistValues
    polymorphicForeignKey precision queryByDistance referenceTargetField referenceTo relationshipName
    relationshipOrder restrictedDelete restrictedPicklist scale searchPrefilterable soapType sortable type unique
    updateable writeRequiresMasterRead
    """.split()  # noqa: SIM905
)
OBJECTS = ("User", "Account", "Contact", "Lead", "Opportunity", "Product2", "Task", "Event", "Case", "Campaign")


def describe(reader: Client, name: str) -> dict[str, Any]:
    return dict(reader.ask(f"/sobjects/{name}/describe").json())


def fields(reader: Client, name: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in describe(reader, name)["fields"]}


def test_global_describe_has_the_vendors_keys(reader: Client) -> None:
    answer = reader.ask("/sobjects").json()
    assert (answer["encoding"], answer["maxBatchSize"]) == ("UTF-8", 200)
    assert set(OBJECTS) <= {each["name"] for each in answer["sobjects"]}
    assert all(set(each) == GLOBAL_KEYS for each in answer["sobjects"])


def test_companions_say_whose_they_are(reader: Client) -> None:
    found = {each["name"]: each for each in reader.ask("/sobjects").json()["sobjects"]}
    assert found["AccountHistory"]["associateParentEntity"] == "Account"
    assert found["AccountShare"]["associateEntityType"] == "Share"
    assert found["Account"]["associateParentEntity"] is None
    assert reader.query("SELECT COUNT() FROM AccountHistory")["totalSize"] == 0


@pytest.mark.parametrize("name", OBJECTS)
def test_every_field_has_every_key(reader: Client, name: str) -> None:
    answer = describe(reader, name)
    assert {"fields", "childRelationships", "recordTypeInfos", "supportedScopes", "namedLayoutInfos"} <= set(answer)
    assert all(set(each) == FIELD_KEYS for each in answer["fields"])
    assert {"Id", "SystemModstamp", "CreatedDate", "LastModifiedDate"} <= {each["name"] for each in answer["fields"]}


@pytest.mark.parametrize(
    ("name", "required"),
    [
        ("Opportunity", {"Name", "StageName", "CloseDate"}),
        ("Lead", {"LastName", "Company"}),
        ("Contact", {"LastName"}),
        ("Account", {"Name"}),
    ],
)
def test_required_on_create_is_what_the_platform_requires(reader: Client, name: str, required: set[str]) -> None:
    found = fields(reader, name).values()
    wanted = {
        each["name"] for each in found if each["createable"] and not each["nillable"] and not each["defaultedOnCreate"]
    }
    assert wanted == required


def test_references_say_what_they_point_at(reader: Client) -> None:
    task = fields(reader, "Task")
    assert task["WhoId"]["referenceTo"] == ["Contact", "Lead"]
    assert (task["WhoId"]["namePointing"], task["WhoId"]["polymorphicForeignKey"]) == (True, True)
    assert fields(reader, "Lead")["OwnerId"]["referenceTo"] == ["Group", "User"]
    assert fields(reader, "Account")["OwnerId"]["polymorphicForeignKey"] is False
    assert fields(reader, "Contact")["ReportsToId"]["referenceTo"] == ["Contact"]
    children = describe(reader, "Account")["childRelationships"]
    assert {"Contacts", "Opportunities", "ChildAccounts"} <= {each["relationshipName"] for each in children}


def test_compound_addresses_name_their_parts(reader: Client) -> None:
    account = fields(reader, "Account")
    assert (account["BillingAddress"]["type"], account["BillingAddress"]["createable"]) == ("address", False)
    assert account["BillingCity"]["compoundFieldName"] == "BillingAddress"
    assert (account["BillingCity"]["length"], account["BillingCity"]["byteLength"]) == (40, 120)


def test_describe_honours_if_modified_since(reader: Client) -> None:
    first = reader.ask("/sobjects/Account/describe")
    again = reader.ask("/sobjects/Account/describe", headers={"If-Modified-Since": first.headers["last-modified"]})
    older = {"If-Modified-Since": "Wed, 01 Jan 2020 00:00:00 GMT"}
    assert again.status_code == 304
    assert reader.ask("/sobjects/Account/describe", headers=older).status_code == 200


def test_an_unknown_object_is_not_found(reader: Client) -> None:
    assert reader.error("/sobjects/Nope/describe") == (404, "NOT_FOUND", "The requested resource does not exist")
