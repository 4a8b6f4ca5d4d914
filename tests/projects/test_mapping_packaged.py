"""The packaged halves: Salesforce to the product database, against the simulator's objects and the real SQL."""

import re
from pathlib import Path

import pytest

from connectors.types import EntityInfo, EntitySchema, FieldInfo, FieldType
from projects import universal
from projects.mapping import derive, library
from projects.mapping.compiler import CompiledMapping, compile_mapping
from projects.mapping.specification import Half
from projects.mapping.transformed import RECORD_ID
from sandbox.salesforce.standard import standard_schema
from tests.projects.mappings import frame, id_map

SQL = (Path(__file__).parents[2] / "sandbox" / "product.sql").read_text()
ENUMS = {
    name: tuple(re.findall(r"'([^']*)'", body))
    for name, body in re.findall(r"CREATE TYPE (\w+) AS ENUM\s*\((.*?)\);", SQL, re.DOTALL)
}
TYPES = {
    "bigint": FieldType.INTEGER,
    "integer": FieldType.INTEGER,
    "numeric": FieldType.DECIMAL,
    "boolean": FieldType.BOOLEAN,
    "date": FieldType.DATE,
    "timestamptz": FieldType.DATETIME,
    "jsonb": FieldType.JSON,
}
PAIRS = [
    (first, second)
    for first in library.platform_halves("salesforce")
    for second in library.target_halves("product")
    if first.result == second.origin
]


def column(line: str) -> FieldInfo | None:
    match = re.match(r"    ([a-z_]+) ([a-z_]+)(?:\((\d+)(?:, (\d+))?\))?(.*)", line)
    if match is None:
        return None
    name, kind, size, scale, rest = match.groups()
    ours = name not in {"id", "tenant_id", "created_at", "updated_at"}
    parent = re.search(r"REFERENCES (\w+)", rest)
    text = kind in {"varchar", "char"}
    return FieldInfo(
        name,
        FieldType.REFERENCE if parent else FieldType.PICKLIST if kind in ENUMS else TYPES.get(kind, FieldType.TEXT),
        length=int(size) if text else None,
        precision=int(size) if kind == "numeric" else None,
        scale=int(scale) if kind == "numeric" else None,
        required=ours and "NOT NULL" in rest and "DEFAULT" not in rest,
        writable=ours,
        choices=ENUMS.get(kind, ()),
        restricted=kind in ENUMS,
        references=(parent[1],) if parent else (),
    )


def table(name: str) -> EntitySchema:
    match = re.search(rf"CREATE TABLE {name} \((.*?)\n\);", SQL, re.DOTALL)
    assert match is not None
    columns = (column(line) for line in match[1].split("\n"))
    return EntitySchema(EntityInfo(name, name, "id"), tuple(info for info in columns if info is not None))


def salesforce(name: str) -> EntitySchema:
    fields = tuple(FieldInfo(field.name) for field in standard_schema().require(name).fields)
    return EntitySchema(EntityInfo(name, name, "Id"), fields)


def made(entity: str) -> CompiledMapping:
    first, second = next(pair for pair in PAIRS if pair[0].origin == entity)
    return compile_mapping(derive.compose(first, second), salesforce(entity), table(second.result))


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=[first.origin for first, _ in PAIRS])
def test_every_pair_compiles_against_both_schemas(first: Half, second: Half) -> None:
    compiled = made(first.origin)
    assert "external_id" in compiled.target_fields
    used = {entity for use in compiled.references for entity in use.entities}
    assert used <= {half.origin for half in library.platform_halves("salesforce")}


def test_every_universal_object_has_a_table_and_picklists_agree() -> None:
    halves = library.target_halves("product")
    assert [half.origin for half in halves] == list(universal.OBJECTS)
    for half in halves:
        columns = {info.name: info for info in table(half.result).fields}
        for info in universal.OBJECTS[half.origin].fields:
            if info.choices and columns[info.name].choices:
                assert info.choices == columns[info.name].choices


def test_unknown_names_have_nothing_packaged() -> None:
    assert library.platform_halves("abacus") == library.target_halves("abacus") == ()


def test_every_standard_picklist_value_is_mapped() -> None:
    for entity, name, column_name in (
        ("Account", "Type", "type"),
        ("Lead", "Status", "status"),
        ("Opportunity", "StageName", "stage"),
        ("Task", "Status", "status"),
        ("Task", "Priority", "priority"),
        ("Task", "CallType", "call_direction"),
        ("Task", "TaskSubtype", "kind"),
    ):
        field = standard_schema().require(entity).field(name)
        assert field is not None
        values = [choice.value for choice in field.values]
        compiled = made(entity)
        columns: dict[str, list[str | None]] = {each: ["1"] * len(values) for each in compiled.source_fields}
        columns |= {name: list(values), "Id": [str(number) for number in range(len(values))]}
        result = compiled.apply(frame(**columns), {})
        told = [found for found in result.findings.to_dicts() if found["field"] == column_name]
        assert not told, told


def test_an_account_and_a_task_come_out_as_the_product_wants_them() -> None:
    account, task = made("Account"), made("Task")
    blank: dict[str, list[str | None]] = {name: [None] for name in account.source_fields}
    page = frame(**blank | {"Id": ["001A"], "Name": ["Acme"], "BillingCity": ["Bern"], "OwnerId": ["005U"]})
    result = account.apply(page, {"User": id_map(**{"005U": "3"})})
    (row,) = result.rows.to_dicts()
    assert (row[RECORD_ID], row["external_id"], row["status"]) == ("001A", "salesforce:001A", "active")
    assert (row["billing_address"], row["owner_id"]) == ('{"city":"Bern"}', "3")

    ids = ["00T1", "00T2"]
    blank = {name: [None, None] for name in task.source_fields}
    page = frame(
        **blank
        | {"Id": list(ids), "WhoId": ["003C", "00QL"], "WhatId": ["006O", "500X"], "OwnerId": ["005U", "00GQ"]}
        | {"CallDurationInSeconds": ["61", None], "TaskSubtype": ["Call", None], "Status": ["Deferred", None]}
    )
    known = {
        "Contact": id_map(**{"003C": "1"}),
        "Opportunity": id_map(**{"006O": "2"}),
        "User": id_map(**{"005U": "3"}),
    }
    result = task.apply(page, known)
    rows = result.rows.select(
        "kind", "status", "duration_minutes", "contact_id", "lead_id", "opportunity_id", "owner_id"
    )
    assert rows.rows() == [("call", "open", 2, "1", None, "2", "3"), ("task", "open", None, None, None, None, None)]
    assert result.rows["subject"].to_list() == ["(no subject)", "(no subject)"]
    assert result.unresolved.select("source_id", "field", "parent_id").rows() == [("00T2", "lead_id", "00QL")]


def test_a_converted_lead_says_so_whatever_its_status_is_called() -> None:
    lead = made("Lead")
    blank: dict[str, list[str | None]] = {name: [None] for name in lead.source_fields}
    page = frame(
        **blank
        | {"Id": ["00Q1"], "LastName": ["L"], "Company": ["C"], "Status": ["Some other"], "IsConverted": ["true"]}
        | {"ConvertedDate": ["2026-11-01"]}
    )
    (row,) = lead.apply(page, {}).rows.to_dicts()
    assert row["status"] == "converted"
    assert row["converted_at"].isoformat() == "2026-11-01T00:00:00+00:00"
