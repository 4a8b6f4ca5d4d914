"""Mirrors, like schemas and composed halves."""

import pytest

from connectors.types import FieldInfo, FieldType
from projects.mapping import derive
from projects.mapping.compiler import MappingInvalid, compile_mapping
from projects.mapping.specification import (
    Address,
    Constant,
    Default,
    Field,
    FieldRule,
    Formula,
    Half,
    Mapped,
    Reference,
    Template,
)
from tests.projects.mappings import frame, id_map, schema

ACCOUNT = schema(
    "Account",
    "Id",
    "Name",
    FieldInfo("ParentId", FieldType.REFERENCE, references=("Account",)),
    FieldInfo("WhatId", FieldType.REFERENCE, references=("Account", "Contact")),
    FieldInfo("Photo", FieldType.BINARY),
)


def test_a_mirror_takes_every_field_to_its_lower_cased_twin() -> None:
    mapping = derive.mirror(ACCOUNT)
    assert (mapping.target_entity, mapping.identity, mapping.key) == ("account", "Id", "source_id")
    assert mapping.to_target == (
        FieldRule("source_id", Field("Id")),
        FieldRule("name", Field("Name")),
        FieldRule("parentid", Reference(Field("ParentId"), ("Account",))),
        FieldRule("whatid", Field("WhatId")),
    )


def test_a_mirror_compiles_and_runs_with_a_field_called_like_its_key() -> None:
    source = schema("Thing", "Id", "Name", "source_id", "id_", FieldInfo("ID2"))
    mapping = derive.mirror(source)
    columns = [rule.target for rule in mapping.to_target]
    assert columns == ["source_id", "name", "source_id_2", "id_", "id2"]
    made = compile_mapping(mapping, source, schema("thing", *columns))
    result = made.apply(frame(Name=["n"], source_id=["s"], id_=["i"], ID2=["2"]), {})
    assert result.rows.select(columns).rows() == [("0", "n", "s", "i", "2")]


def test_a_mirror_takes_the_columns_the_target_tells() -> None:
    mapping = derive.mirror(
        ACCOUNT, {"Id": "source_id", "Name": "name_7", "ParentId": "p", "WhatId": "w", "Photo": "f"}
    )
    assert [rule.target for rule in mapping.to_target] == ["source_id", "name_7", "p", "w"]


def test_like_schemas_map_by_name_and_tell_what_stays_behind() -> None:
    target = schema(
        "Account",
        FieldInfo("Ext__c", external_id=True),
        FieldInfo("Name", writable=False),
        FieldInfo("ParentId", FieldType.REFERENCE, references=("Account",)),
        FieldInfo("Photo", FieldType.BINARY),
    )
    likeness = derive.like(ACCOUNT, target, key="Ext__c")
    assert likeness.mapping.to_target == (
        FieldRule("Ext__c", Field("Id")),
        FieldRule("ParentId", Reference(Field("ParentId"), ("Account",))),
    )
    assert likeness.without_twin == ("WhatId",)
    assert likeness.cannot_be_filled == ("Name", "Photo")


FIRST = Half(
    "Org",
    "account",
    "Id",
    (FieldRule("external_id", Template("x:{Id}")), FieldRule("name", Field("Name")), FieldRule("fax", Field("Fax"))),
)
SECOND = Half(
    "account",
    "accounts",
    "external_id",
    (
        FieldRule("external_id", Field("external_id")),
        FieldRule("name", Template("{name} {website}")),
        FieldRule("phone", Field("phone")),
        FieldRule("status", Default(Mapped(Field("status"), {"active": "on"}), Constant("on"))),
        FieldRule("owner_id", Default(Field("owner"), Reference(Field("parent"), ("X",)))),
        FieldRule("home", Address({"city": Field("industry"), "fax": Field("fax")})),
        FieldRule("kind", Formula("COALESCE(type, rating)")),
        FieldRule("upper", Formula("UPPER(name)")),
        FieldRule("always", Constant("1")),
    ),
    where=Formula("name <> ''"),
)


def test_composing_drops_what_nobody_provides() -> None:
    mapping = derive.compose(FIRST, SECOND)
    assert (mapping.identity, mapping.key, mapping.universal) == ("Id", "external_id", "account")
    assert mapping.where_universal == Formula("name <> ''")
    assert mapping.to_target == (
        FieldRule("external_id", Field("external_id")),
        FieldRule("name", Template("{name} {website}")),
        FieldRule("status", Constant("on")),
        FieldRule("home", Address({"fax": Field("fax")})),
        FieldRule("upper", Formula("UPPER(name)")),
        FieldRule("always", Constant("1")),
    )
    # What a kept rule reads beside what is provided is blank.
    assert mapping.to_universal[-1] == FieldRule("website", Constant(None))


def test_composing_fits_the_first_half_to_the_fields_the_source_has() -> None:
    mapping = derive.compose(FIRST, SECOND, source=schema("Org", "Id", "Name"))
    assert [rule.target for rule in mapping.to_universal] == ["external_id", "name", "website"]
    assert "home" not in [rule.target for rule in mapping.to_target]


def test_a_required_field_whose_rule_was_dropped_is_told_when_compiled() -> None:
    mapping = derive.compose(FIRST, SECOND)
    names = [rule.target for rule in mapping.to_target]
    target = schema("accounts", *names, FieldInfo("phone", required=True))
    with pytest.raises(MappingInvalid, match="“phone”: The target requires a value and no rule fills it"):
        compile_mapping(mapping, schema("Org", "Id", "Name", "Fax"), target)


def test_halves_that_do_not_meet_are_refused() -> None:
    with pytest.raises(MappingInvalid, match="ends in “account” and the second starts from “contact”"):
        derive.compose(FIRST, Half("contact", "contacts", "external_id", ()))


def test_a_mirrored_reference_finds_its_parent() -> None:
    mapping = derive.mirror(ACCOUNT)
    target = schema("account", *(rule.target for rule in mapping.to_target))
    made = compile_mapping(mapping, ACCOUNT, target)
    page = frame(Name=["n"], ParentId=["p"], WhatId=["w"])
    assert made.apply(page, {"Account": id_map(p="5")}).rows["parentid"].to_list() == ["5"]
