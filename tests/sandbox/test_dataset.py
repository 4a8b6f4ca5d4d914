"""Data set folders: metadata becomes describes, sObject trees become records that refer to each other."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.salesforce.metadata import read_objects
from sandbox.salesforce.running import running_simulator
from sandbox.salesforce.schema import Field
from sandbox.salesforce.standard import standard_schema
from tests.sandbox.client import Client

DATA_SETS = Path(__file__).parents[3] / "shared" / "data" / "salesforce"
NAMESPACE = 'xmlns="http://soap.sforce.com/2006/04/metadata"'


LOOKUP = """<type>Lookup</type><referenceTo>Contact</referenceTo><relationshipName>Xs</relationshipName>
            <deleteConstraint>Restrict</deleteConstraint>"""
MASTER = "<type>MasterDetail</type><referenceTo>Contact</referenceTo><relationshipOrder>0</relationshipOrder>"


def field_file(folder: Path, name: str, body: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = f"<CustomField {NAMESPACE}><fullName>{name}</fullName><label>{name}</label>{body}</CustomField>"
    (folder / f"{name}.field-meta.xml").write_text(text, encoding="utf-8")


def object_file(folder: Path, name: str, body: str = "") -> Path:
    (folder / name).mkdir(parents=True, exist_ok=True)
    text = f"<CustomObject {NAMESPACE}><label>{name}</label><pluralLabel>{name}s</pluralLabel>{body}</CustomObject>"
    (folder / name / f"{name}.object-meta.xml").write_text(text, encoding="utf-8")
    return folder / name


def read_field(tmp_path: Path, body: str) -> Field:
    field_file(tmp_path / "Account", "X__c", body)
    found = read_objects(standard_schema(), tmp_path).require("Account").field("X__c")
    assert found is not None
    assert found.custom
    return found


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        ("<type>Text</type><length>80</length><externalId>true</externalId><unique>true</unique>", "string",
         {"length": 80, "external_id": True, "unique": True, "id_lookup": True}),
        ("<type>Number</type><precision>9</precision><scale>3</scale><defaultValue>2</defaultValue>", "double",
         {"precision": 9, "scale": 3, "default": 2.0}),
        ("<type>Currency</type><precision>6</precision><scale>0</scale>", "currency", {"precision": 6, "scale": 0}),
        ("<type>Percent</type><precision>5</precision><scale>2</scale>", "percent", {"precision": 5}),
        ("<type>Checkbox</type><defaultValue>true</defaultValue>", "boolean", {"default": True, "nillable": False}),
        ("<type>LongTextArea</type><length>1000</length>", "textarea", {"length": 1000, "filterable": False}),
        ("<type>Html</type><length>5000</length>", "textarea", {"extra": "richtextarea"}),
        ("<type>TextArea</type>", "textarea", {"length": 255, "filterable": True}),
        ("<type>Date</type><required>true</required>", "date", {"nillable": False}),
        ("<type>DateTime</type>", "datetime", {}),
        ("<type>Time</type>", "time", {}),
        ("<type>Url</type>", "url", {"length": 255}),
        ("<type>Email</type>", "email", {"length": 80, "id_lookup": True}),
        ("<type>Phone</type>", "phone", {"length": 40}),
        ("<type>AutoNumber</type><displayFormat>A-{000}</displayFormat>", "string",
         {"auto_number": "A-{000}", "createable": False}),
        (LOOKUP, "reference",
         {"reference_to": ("Contact",), "relationship": "X__r", "child_relationship": "Xs__r",
          "restricted_delete": True}),
        (MASTER, "reference",
         {"relationship_order": 0, "cascade_delete": True, "nillable": False, "updateable": False}),
        ("<type>Text</type><formula>Name</formula>", "string", {"formula": "Name", "expression": '{t}."Name"'}),
        ("<type>Number</type><scale>1</scale><formula>AnnualRevenue * 2</formula>", "double",
         {"formula": "AnnualRevenue * 2", "expression": None, "createable": False}),
    ],
)  # fmt: skip
def test_field_metadata(tmp_path: Path, body: str, kind: str, expected: dict[str, Any]) -> None:
    found = read_field(tmp_path, body)
    assert found.type == kind
    assert {name: getattr(found, name) for name in expected} == expected


def test_picklists_keep_their_values_and_default(tmp_path: Path) -> None:
    values = "<value><fullName>a</fullName><default>false</default><label>A!</label></value>"
    values += "<value><fullName>b</fullName><default>true</default><label>B</label><isActive>false</isActive></value>"
    definition = f"<valueSetDefinition>{values}</valueSetDefinition>"
    found = read_field(tmp_path, f"<type>Picklist</type><valueSet><restricted>true</restricted>{definition}</valueSet>")
    assert [(each.value, each.label, each.active) for each in found.values] == [("a", "A!", True), ("b", "B", False)]
    assert (found.restricted, found.default) == (True, "b")


def test_what_metadata_cannot_be_read_is_named(tmp_path: Path) -> None:
    field_file(tmp_path / "Account", "X__c", "<type>Hologram</type>")
    with pytest.raises(ValueError, match=r"X__c\.field-meta\.xml is of the type Hologram"):
        read_objects(standard_schema(), tmp_path)
    field_file(tmp_path / "Nowhere__c", "Y__c", "<type>Text</type>")
    (tmp_path / "Account" / "X__c.field-meta.xml").unlink()
    with pytest.raises(ValueError, match="Nowhere__c, which is neither a standard object"):
        read_objects(standard_schema(), tmp_path)


def data_set(folder: Path, files: dict[str, Any]) -> Path:
    parent = object_file(folder / "objects", "Fleet__c", "<enableActivities>true</enableActivities>")
    child = object_file(
        folder / "objects",
        "Truck__c",
        "<nameField><type>AutoNumber</type><displayFormat>T-{000}</displayFormat></nameField>"
        "<sharingModel>ControlledByParent</sharingModel>",
    )
    field_file(child, "Fleet__c", "<type>MasterDetail</type><referenceTo>Fleet__c</referenceTo>"
               "<relationshipName>Trucks</relationshipName><relationshipOrder>0</relationshipOrder>")  # fmt: skip
    field_file(child, "Load__c", "<type>Number</type><precision>8</precision><scale>1</scale>")
    summary = "<summaryForeignKey>Truck__c.Fleet__c</summaryForeignKey><type>Summary</type>"
    summed = f"<summarizedField>Truck__c.Load__c</summarizedField><summaryOperation>sum</summaryOperation>{summary}"
    field_file(parent, "Load__c", summed)
    field_file(parent, "Trucks__c", f"<summaryOperation>count</summaryOperation>{summary}")
    filtered = "<summaryFilterItems><field>Truck__c.Load__c</field></summaryFilterItems>"
    field_file(parent, "Heavy__c", f"<summaryOperation>count</summaryOperation>{filtered}{summary}")
    (folder / "data").mkdir()
    for name, content in files.items():
        (folder / "data" / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def record(kind: str, reference: str, **values: Any) -> dict[str, Any]:
    return {"attributes": {"type": kind, "referenceId": reference}, **values}


TRUCKS = {"records": [record("Truck__c", "T1", Fleet__c="@F1", Load__c=2.5), record("Truck__c", "T2", Fleet__c="@F1")]}
FLEETS = {
    "records": [
        record("Fleet__c", "F1", Name="North"),
        record("Fleet__c", "F2", Name="South", Trucks__r={"records": [record("Truck__c", "T3", Load__c=7)]}),
    ]
}
PLAN = [{"sobject": "Truck__c", "resolveRefs": True, "files": ["Trucks.json"]}, {"sobject": "Fleet__c", "saveRefs": True, "files": ["Fleets.json"]}]  # fmt: skip  # noqa: E501
FILES = {"plan.json": PLAN, "plan2.json": PLAN[1:], "Trucks.json": TRUCKS, "Fleets.json": FLEETS}


def test_a_data_set_is_loaded_once_with_its_references(tmp_path: Path) -> None:
    with (
        running_simulator(data=data_set(tmp_path, FILES)) as running,
        httpx.Client(base_url=running.url, trust_env=False) as http,
    ):
        client = Client(running, http)
        fleets = client.query("SELECT Id, Name, Load__c, Trucks__c, Heavy__c, OwnerId FROM Fleet__c ORDER BY Name")
        north, south = fleets["records"]
        assert (north["Load__c"], north["Trucks__c"], south["Load__c"]) == (2.5, 2.0, 7.0)
        assert north["Heavy__c"] is None  # a filtered roll-up is not worked out, and nothing is made up
        trucks = client.query("SELECT Name, Fleet__c, Fleet__r.Name FROM Truck__c ORDER BY Name")["records"]
        assert [each["Name"] for each in trucks] == ["T-001", "T-002", "T-003"]
        assert [each["Fleet__r"]["Name"] for each in trucks] == ["North", "North", "South"]
        assert client.refused("SELECT OwnerId FROM Truck__c")[0] == "INVALID_FIELD"  # controlled by its parent
        describe = client.ask("/sobjects/Fleet__c/describe").json()
        fields = {each["name"]: each for each in describe["fields"]}
        assert (describe["custom"], describe["keyPrefix"]) == (True, north["Id"][:3])
        assert (fields["Load__c"]["calculated"], fields["Load__c"]["createable"]) == (True, False)
        assert "Trucks__r" in {each["relationshipName"] for each in describe["childRelationships"]}
        task = client.ask("/sobjects/Task/describe").json()["fields"]
        assert "Fleet__c" in next(each for each in task if each["name"] == "WhatId")["referenceTo"]
        client.control.delete("Truck__c", [client.values("SELECT Id FROM Truck__c WHERE Load__c = 7.0")[0]])
        assert client.values("SELECT Load__c FROM Fleet__c WHERE Name = 'South'", "Load__c") == [0.0]


def one_file(*records: dict[str, Any]) -> dict[str, Any]:
    return {"plan.json": [{"files": ["A.json"]}], "A.json": {"records": list(records)}}


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "holds no plan file"),
        ({"plan.json": [{"files": ["Gone.json"]}]}, r"plan\.json names the file Gone\.json, which is not in"),
        (one_file(record("Nope__c", "A")), "which this org does not have"),
        (one_file(record("Truck__c", "A", Fleet__c="@Z")), "no record is called that"),
        (one_file(record("Truck__c", "A", Nope=1)), "Truck__c has no field Nope"),
        (one_file(record("Fleet__c", "A", Cars={"records": []})), "no child relationship Cars"),
        (
            one_file(record("Fleet__c", "F"), record("Fleet__c", "F"), record("Truck__c", "T", Fleet__c="@F")),
            "2 records are called that",
        ),
    ],
)
def test_a_data_set_that_does_not_fit_is_refused_in_one_sentence(
    tmp_path: Path, files: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence), running_simulator(data=data_set(tmp_path, files)):
        pytest.fail("it should not have started")


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        (
            "easy-spaces",
            {"Account": 12, "Contact": 12, "Lead": 11, "Market__c": 11, "Space__c": 132, "Reservation__c": 2},
        ),
        ("ebikes", {"Account": 3, "Product_Family__c": 4, "Product__c": 16}),
    ],
)
def test_the_public_data_sets(name: str, counts: dict[str, int]) -> None:
    folder = DATA_SETS / name
    if not folder.is_dir():
        pytest.skip(f"the public data set {name} is not beside this repository ({DATA_SETS.name}/{name})")
    with running_simulator(data=folder) as running, httpx.Client(base_url=running.url, trust_env=False) as http:
        client = Client(running, http)
        assert counts.items() <= running.ready.records.items()
        parents = {"easy-spaces": ("Space__c", "Market__r"), "ebikes": ("Product__c", "Product_Family__r")}[name]
        records = client.query(f"SELECT {parents[1]}.Name FROM {parents[0]}")["records"]
        assert all(each[parents[1]]["Name"] for each in records)
