"""Salesforce sObject trees as a source: plans, references, metadata, and files that are wrong."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from connectors.clients.workbook import metadata, sobject_tree, tables
from connectors.context import Context
from connectors.errors import InputInvalid
from connectors.files import FolderFiles
from connectors.sources.workbook import WorkbookSource
from connectors.types import FieldType

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "salesforce"


def source(folder: Path) -> WorkbookSource:
    return WorkbookSource(Context(files=FolderFiles(folder)))


def record(kind: str, reference: str, **fields: Any) -> dict[str, Any]:
    return {"attributes": {"type": kind, "referenceId": reference}, **fields}


def given_files(folder: Path, files: Mapping[str, Any]) -> WorkbookSource:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return source(folder)


def frame(reader: WorkbookSource, entity: str) -> pl.DataFrame:
    return pl.concat(page.frame for page in reader.read(entity, reader.describe(entity).names))


def refusal(folder: Path, files: Mapping[str, Any]) -> str:
    with pytest.raises(InputInvalid) as caught:
        given_files(folder, files).check()
    return str(caught.value)


def public_data(name: str) -> WorkbookSource:
    if not (DATA / name).is_dir():
        pytest.skip(f"the public data set {name} is not beside the repository")
    return source(DATA / name)


def test_easy_spaces_has_its_180_records_with_references_that_point_right() -> None:
    reader = public_data("easy-spaces")
    frames = {info.name: frame(reader, info.name) for info in reader.entities()}
    assert {name: found.height for name, found in frames.items()} == {
        "Account": 12,
        "Contact": 12,
        "Lead": 11,
        "Market__c": 11,
        "Reservation__c": 2,
        "Space__c": 132,
    }
    assert all(reader.count(name) == found.height for name, found in frames.items())
    for name, found in frames.items():
        for info in reader.describe(name).fields:
            values = set(found[info.name].drop_nulls())
            if info.references and values:
                (target,) = info.references
                assert values <= set(frames[target]["referenceId"]), f"{name}.{info.name}"
    assert frames["Space__c"]["Market__c"].null_count() == 0
    assert frames["Reservation__c"]["Contact__c"].to_list() == ["ContactRef1", "ContactRef3"]


def test_easy_spaces_is_described_by_its_metadata() -> None:
    reader = public_data("easy-spaces")
    assert reader.describe("Space__c").entity.label == "Space"
    market = reader.describe("Space__c").field("Market__c")
    assert (market.type, market.references, market.required) == (FieldType.REFERENCE, ("Market__c",), True)
    category = reader.describe("Space__c").field("Category__c")
    assert (category.type, category.restricted, category.choices[1]) == (FieldType.PICKLIST, True, "Café")
    rate = reader.describe("Space__c").field("Predicted_Booking_Rate__c")
    assert (rate.type, rate.precision, rate.scale) == (FieldType.DECIMAL, 18, 2)
    assert reader.describe("Contact").field("AccountId").references == ("Account",)
    assert reader.describe("Lead").field("PostalCode").type is FieldType.TEXT, "a JSON string of digits is text"


def test_easy_spaces_leaves_the_flat_twins_aside() -> None:
    ignored = str(public_data("easy-spaces").check().facts["files without records"]).split(", ")
    assert ignored == [f"data/{name}_Data.csv" for name in ("Contact", "Lead", "Market", "Space")]


def test_ebikes_has_its_23_records() -> None:
    reader = public_data("ebikes")
    assert {info.name: reader.count(info.name) for info in reader.entities()} == {
        "Account": 3,
        "Product_Family__c": 4,
        "Product__c": 16,
    }


def test_plans_give_the_order_and_every_file_counts_once(tmp_path: Path) -> None:
    reader = given_files(
        tmp_path,
        {
            "a-plan.json": [{"sobject": "A", "files": ["2.json", "1.json"]}],
            "b-plan.json": [{"sobject": "A", "files": ["1.json", "2.json"], "resolveRefs": True}],
            "1.json": {"records": [record("A", "r1")]},
            "2.json": {"records": [record("A", "r2", Other__c="@r1")]},
            "3.json": {"records": [record("A", "not named by a plan")]},
            "A.csv": "id\n1\n",
            "other/B.csv": "id\n1\n",
        },
    )
    assert frame(reader, "A").rows() == [("r2", "r1"), ("r1", None)]
    assert [info.name for info in reader.entities()] == ["A", "B"]
    assert reader.check().facts["files without records"] == "3.json, A.csv"


def test_references_are_resolved_only_where_the_plan_says_so(tmp_path: Path) -> None:
    reader = given_files(
        tmp_path,
        {
            "plan.json": [{"sobject": "A", "files": ["a.json"]}],
            "a.json": {"records": [record("A", "r1"), record("A", "r2", Nick="@r1")]},
        },
    )
    assert frame(reader, "A")["Nick"].to_list() == [None, "@r1"]
    assert reader.describe("A").field("Nick").type is FieldType.TEXT


def test_unknown_references_stay_as_they_are(tmp_path: Path) -> None:
    people = [record("P", "p1", Boss="@p2"), record("P", "p2", Boss="@gone"), record("P", "p3", Boss="@a b")]
    reader = given_files(tmp_path, {"p.json": {"records": people}})
    assert frame(reader, "P")["Boss"].to_list() == ["p2", "@gone", "@a b"]
    assert reader.describe("P").field("Boss").references == ("P",)


def test_children_become_records_of_their_own(tmp_path: Path) -> None:
    tree = record(
        "Account",
        "a1",
        Contacts={"records": [record("Contact", "c1", Tasks={"records": [record("Task", "t1", Subject="Call")]})]},
        ChildAccounts={"records": [record("Account", "a2")]},
        Spaces__r={"records": [record("Space__c", "s1")]},
        Markets__r={"records": [record("Market__c", "m1", Stalls__r={"records": [record("Stall__c", "l1")]})]},
    )
    lookup = (
        '<CustomField xmlns="http://soap.sforce.com/2006/04/metadata"><fullName>Owner__c</fullName>'
        "<type>Lookup</type><referenceTo>Account</referenceTo><relationshipName>Spaces</relationshipName></CustomField>"
    )
    reader = given_files(
        tmp_path, {"t.json": {"records": [tree]}, "objects/Space__c/fields/Owner__c.field-meta.xml": lookup}
    )
    assert frame(reader, "Contact").to_dicts() == [{"referenceId": "c1", "AccountId": "a1"}]
    assert frame(reader, "Task").to_dicts() == [{"referenceId": "t1", "Subject": "Call", "WhoId": "c1"}]
    assert frame(reader, "Account")["ParentId"].to_list() == [None, "a1"]
    assert frame(reader, "Space__c").to_dicts() == [{"referenceId": "s1", "Owner__c": "a1"}]
    assert frame(reader, "Stall__c").to_dicts() == [{"referenceId": "l1", "Market__c": "m1"}]
    assert reader.describe("Contact").field("AccountId").references == ("Account",)


def test_values_keep_their_notation(tmp_path: Path) -> None:
    text = (
        '{"records": [{"attributes": {"type": "A", "referenceId": "r"}, "flag": true, "whole": 7, "money": 12.10,'
        ' "big": 12345678901234567890123, "power": 1.5e3, "blank": "", "none": null, "formula": "=1+1",'
        ' "address": {"city": "Köln", "lat": 1.5}, "list": ["a", null]}]}'
    )
    reader = given_files(tmp_path, {"a.json": text})
    assert frame(reader, "A").to_dicts() == [
        {
            "referenceId": "r",
            "flag": "true",
            "whole": "7",
            "money": "12.10",
            "big": "12345678901234567890123",
            "power": "1500",
            "blank": None,
            "none": None,
            "formula": "=1+1",
            "address": '{"city": "Köln", "lat": 1.5}',
            "list": '["a", null]',
        }
    ]
    types = {info.name: info.type for info in reader.describe("A").fields}
    assert (types["flag"], types["whole"], types["money"]) == (FieldType.BOOLEAN, FieldType.INTEGER, FieldType.DECIMAL)


def test_pages_resume_by_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PAGE_RECORDS", 2)
    reader = given_files(tmp_path, {"a.json": {"records": [record("A", f"r{number}") for number in range(4)]}})
    pages = list(reader.read("A", ["referenceId"]))
    assert [page.frame["referenceId"].to_list() for page in pages] == [["r0", "r1"], ["r2", "r3"]]
    assert pages[-1].cursor is None
    (rest,) = source(tmp_path).read("A", ["referenceId"], cursor=pages[0].cursor)
    assert rest.frame.equals(pages[1].frame)
    given_files(tmp_path, {"b.json": {"records": [record("A", "r9")]}})
    with pytest.raises(InputInvalid, match="have changed since reading began"):
        list(source(tmp_path).read("A", ["referenceId"], cursor=pages[0].cursor))


GOOD = {"records": [record("A", "r1")]}


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"a.json": '{"records": [{"attri'}, r"a\.json is not valid JSON .* Is the file complete\?"),
        ({"a.json": "  "}, r"a\.json is empty"),
        ({"a.json": '{"records": [], "x": NaN}'}, "NaN is no JSON number"),
        ({"a.json": '{"records": [], "x": 1, "x": 2}'}, "has “x” twice"),
        ({"a.json": '{"records": ' + "[" * 100_000 + "]" * 100_000 + "}"}, "nests its values too deeply"),
        ({"a.json": '{"records": [' + "1" * 5_000 + "]}"}, "is not valid JSON"),
        ({"a.json": {"records": ["text"]}}, r"a\.json, record 1 has no “attributes”"),
        ({"a.json": {"records": [{"attributes": {"type": "A"}}]}}, "record 1: its attributes have no “referenceId”"),
        ({"a.json": {"records": [{"attributes": {"referenceId": "r"}}]}}, "attributes have no “type”"),
        ({"a.json": GOOD, "b.json": GOOD}, r"b\.json, record 1: the reference id “r1” is taken already, by a\.json"),
        ({"a.json": {"records": [record("A", "r", referenceId="x")]}}, "“referenceId” is named like the record's own"),
        (
            {"a.json": {"records": [record("A", "r", B={"records": [record("B", "s", AId="x")]})]}},
            "“AId” is named like the pointer to its parent",
        ),
        (
            {"a.json": '{"records": [{"attributes": {"type": "A", "referenceId": "r"}, "x": 1e999999}]}'},
            "field x: a number of more than 400 digits",
        ),
        ({"a.json": {"records": [record("A", "r", **{f"f{n}": 1 for n in range(1_600)})]}}, "more than 1,600 fields"),
        ({"p.json": [{"sobject": "A", "files": ["a.json"]}]}, r"plan p\.json names “a\.json”, which is not there"),
        ({"p.json": [{"sobject": "A", "files": ["../a.json"]}]}, r"“\.\./a\.json”, which is not there"),
        ({"p.json": [{"sobject": "A", "files": "a.json"}]}, "must be a list of file names"),
        ({"p.json": [{"sobject": "A", "files": ["a.json"]}], "a.json": {}}, "which holds no records"),
        ({"p.json": [{"sobject": "B", "files": ["a.json"]}], "a.json": GOOD}, "is a A, but the plan says B"),
        (
            {
                "p.json": [{"sobject": "A", "files": ["a.json"]}],
                "q.json": [{"sobject": "B", "files": ["a.json"]}],
                "a.json": GOOD,
            },
            r"as A and, in q\.json, as B",
        ),
        ({"objects/A/X.field-meta.xml": "<a>", "a.json": GOOD}, "is not readable as Salesforce metadata"),
        (
            {"objects/A/X.field-meta.xml": '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "a.json": GOOD},
            "is not readable as Salesforce metadata",
        ),
    ],
)
def test_wrong_files_are_refused_in_one_sentence(tmp_path: Path, files: Mapping[str, Any], sentence: str) -> None:
    assert re.search(sentence, refusal(tmp_path, files))


def test_sizes_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sobject_tree, "MAX_JSON_BYTES", 1_000)
    monkeypatch.setattr(sobject_tree, "MAX_JSON_TOTAL_BYTES", 1_500)
    big = {"records": [record("A", f"r{number}") for number in range(15)]}
    assert "a.json: more than" in refusal(tmp_path, {"a.json": {**big, "x": "x" * 1_000}})
    assert "b.json: more than" in refusal(tmp_path, {"a.json": big, "b.json": big})


def test_metadata_files_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "MAX_METADATA_BYTES", 10)
    assert "that is no Salesforce metadata" in refusal(tmp_path, {"objects/A/X.field-meta.xml": "<a>" + " " * 20})


def test_metadata_describes_a_csv_of_the_same_name(tmp_path: Path) -> None:
    def field(name: str, kind: str, more: str = "") -> str:
        space = 'xmlns="http://soap.sforce.com/2006/04/metadata"'
        return f"<CustomField {space}><fullName>{name}</fullName><type>{kind}</type>{more}</CustomField>"

    reader = given_files(
        tmp_path,
        {
            "Space__c.csv": "Id,Code__c,Size__c\n1,x,2\n",
            "objects/Space__c/Space__c.object-meta.xml": '<CustomObject xmlns="http://soap.sforce.com/2006/04/metadata">'
            "<label>Space</label><nameField><type>AutoNumber</type></nameField></CustomObject>",
            "objects/Space__c/fields/Code__c.field-meta.xml": field(
                "Code__c",
                "Text",
                "<length>20</length><required>true</required><unique>true</unique><externalId>true</externalId>",
            ),
            "objects/Space__c/fields/Size__c.field-meta.xml": field(
                "Size__c",
                "Number",
                "<precision>5</precision><scale>0</scale><required>true</required><defaultValue>1</defaultValue>",
            ),
            "objects/Space__c/fields/Open__c.field-meta.xml": field("Open__c", "Checkbox", "<formula>true</formula>"),
        },
    )
    schema = reader.describe("Space__c")
    assert (schema.entity.label, schema.names) == ("Space", ("Id", "Code__c", "Size__c", "Name", "Open__c"))
    code, size, name, opened = (schema.field(each) for each in ("Code__c", "Size__c", "Name", "Open__c"))
    assert (code.length, code.required, code.unique, code.external_id) == (20, True, True, True)
    assert (size.type, size.precision, size.scale, size.required) == (FieldType.DECIMAL, 5, 0, False)
    assert (name.writable, name.required) == (False, False)
    assert (opened.type, opened.writable) == (FieldType.BOOLEAN, False)
    assert frame(reader, "Space__c").rows() == [("1", "x", "2", None, None)]
