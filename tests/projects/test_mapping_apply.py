"""What becomes of records: rules at work, references, findings, and that no record is ever lost."""

import json
from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import InputInvalid
from connectors.types import FieldInfo, FieldType
from projects.mapping.compiler import compile_mapping
from projects.mapping.specification import (
    Address,
    Constant,
    Default,
    Field,
    FieldRule,
    Formula,
    Mapped,
    ObjectMapping,
    Reference,
    Rule,
    Template,
    Unknown,
)
from projects.mapping.transformed import FINDINGS, RECORD_ID, RECORD_PART, SKIPPED, UNRESOLVED
from tests.projects.mappings import KEY, compiled, field, frame, id_map, ids, schema

TEXT = FieldInfo("x")


def values_of(rule: Rule, **columns: Sequence[str | None]) -> list[object]:
    result = compiled({"x": rule}, TEXT).apply(frame(**columns), {})
    assert not result.findings.height
    return result.rows["x"].to_list()


def test_blank_text_counts_as_null_everywhere() -> None:
    assert values_of(Field("A"), A=["", None, "a"]) == [None, None, "a"]
    assert values_of(Default(Field("A"), Constant("none")), A=["", "a"]) == ["none", "a"]
    assert values_of(Formula("COALESCE(A, B)"), A=[""], B=["b"]) == ["b"]
    assert values_of(Formula("TRIM(A)"), A=["  "]) == [None]
    assert values_of(Constant(""), A=["a"]) == [None]


def test_a_template_is_blank_only_where_all_its_fields_are() -> None:
    rule = Template("{{{A}}} {B}")
    assert values_of(rule, A=["a", None, None], B=["b", "b", None]) == ["{a} b", "{} b", None]


def test_a_value_map_ignores_case_and_outer_blanks() -> None:
    entries = {"Hot": "h", " COLD ": "c", "gone": None}
    rule = Mapped(Field("A"), entries)
    assert values_of(rule, A=["hot", " HOT", "cold", "Gone", None, "  "]) == ["h", "h", "c", None, None, None]
    assert values_of(Mapped(Field("A"), entries, unknown=Unknown.KEEP), A=["New", "gone"]) == ["New", None]
    assert values_of(Mapped(Field("A"), entries, unknown=Unknown.BLANK), A=["New", "hot"]) == [None, "h"]


def test_an_unlisted_value_is_a_finding_that_names_the_map() -> None:
    rule = Mapped(Field("A"), name="ratings")
    mapping = compiled({"x": rule}, FieldInfo("x", required=True), value_maps={"ratings": {"hot": "h"}})
    result = mapping.apply(frame(A=["hot", "tepid"]), {})
    assert result.rows["x"].to_list() == ["h"]
    (found,) = result.findings.to_dicts()
    assert (found["source_id"], found["field"], found["value"], found["rule"]) == ("1", "x", "tepid", "unknown_value")
    assert found["message"] == "“tepid” is not listed in the value map “ratings”. Add it there, or correct the value."


def test_a_fault_in_the_unused_side_of_a_default_does_not_count() -> None:
    rule = Default(Field("A"), Mapped(Field("B"), {"b": "1"}))
    result = compiled({"x": rule}, TEXT).apply(frame(A=["a", None], B=["zzz", "zzz"]), {})
    assert ids(result.rows) == ["0"]
    assert result.rejected["source_id"].to_list() == ["1"]


texts = st.none() | st.text(max_size=6)


@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=6))
def test_an_address_is_canonical_json_of_its_parts(parts: list[tuple[str | None, str | None, str | None]]) -> None:
    rule = Address({"street": Field("A"), "city": Field("B"), "a {}b": Field("C")})
    columns = {name: [part[position] for part in parts] for position, name in enumerate("ABC")}
    result = compiled({"x": rule}, field(FieldType.JSON)).apply(frame(**columns), {})
    out = dict(zip(ids(result.rows), result.rows["x"], strict=True))
    for number, (street, city, other) in enumerate(parts):
        filled = {name: value for name, value in (("a {}b", other), ("city", city), ("street", street)) if value}
        if any("\x00" in value for value in filled.values()):
            assert str(number) in result.rejected["source_id"]
        else:
            expected = json.dumps(filled, ensure_ascii=False, separators=(",", ":")) if filled else None
            assert out[str(number)] == expected


OWNER = FieldInfo("x", FieldType.REFERENCE)
NEEDED = FieldInfo("x", FieldType.REFERENCE, required=True)


def test_references_resolve_through_the_id_maps_in_order() -> None:
    mapping = compiled({"x": Reference(Field("A"), ("User", "Group"))}, OWNER)
    page = frame(A=["u1", "g1", None, "u9"])
    assert mapping.parents(page).keys() == {"User", "Group"}
    assert set(mapping.parents(page)["Group"]) == {"u1", "g1", "u9"}
    result = mapping.apply(page, {"User": id_map(u1="11"), "Group": id_map(g1="22", u1="99")})
    assert result.rows["x"].to_list() == ["11", "22", None, None]
    assert result.unresolved.to_dicts() == [
        {
            "source_id": "3",
            "part": "",
            "field": "x",
            "entities": "User,Group",
            "by": "",
            "parent_id": "u9",
            "waits": False,
        }
    ]


def test_a_required_reference_keeps_its_record_waiting() -> None:
    mapping = compiled({"x": Reference(Field("A"), ("User",))}, NEEDED)
    result = mapping.apply(frame(A=["u1", None, "u2"]), {"User": id_map(u2="22")})
    assert ids(result.rows) == ["2"]
    assert result.waiting.select(RECORD_ID, "key", "x").rows() == [("0", "0", None)]
    assert result.findings.select("source_id", "rule").rows() == [("1", "required_missing")]


def test_a_default_fills_a_blank_parent_but_not_an_unknown_one() -> None:
    rule = Default(Reference(Field("A"), ("User",)), Constant("7"))
    result = compiled({"x": rule}, OWNER).apply(frame(A=["u1", None, "u2"]), {"User": id_map(u1="11")})
    assert result.rows["x"].to_list() == ["11", "7", None]
    assert result.unresolved["source_id"].to_list() == ["2"]


def test_a_reference_is_converted_to_the_column_it_fills() -> None:
    info = FieldInfo("x", FieldType.INTEGER)
    result = compiled({"x": Reference(Field("A"), ("User",))}, info).apply(frame(A=["u1"]), {"User": id_map(u1="11")})
    assert result.rows["x"].to_list() == [11]


def test_an_id_map_that_lists_an_id_twice_is_refused() -> None:
    doubled = pl.concat([id_map(u1="11"), id_map(u1="12")])
    with pytest.raises(ValueError, match="id map of User lists a source id twice"):
        compiled({"x": Reference(Field("A"), ("User",))}, OWNER).apply(frame(A=["u1"]), {"User": doubled})


def test_repeated_records_keep_the_last_and_blank_identities_are_told_with_their_place() -> None:
    result = compiled({"x": Field("A")}, TEXT).apply(frame(Id=["1", None, "1", "", "b\x00d"], A=list("abcde")), {})
    assert result.rows.select(RECORD_ID, "x").rows() == [("1", "c")]
    assert result.skipped.height == 1
    assert "last one counts" in result.skipped["reason"][0]
    assert result.findings.select("source_id", "field", "value", "rule").rows() == [
        (None, "Id", "row 2 of the page", "blank_identity"),
        (None, "Id", "row 4 of the page", "blank_identity"),
        (None, "Id", "row 5 of the page", "blank_identity"),
    ]


def test_a_condition_skips_with_its_own_words_and_a_failing_cast_in_it_is_told() -> None:
    mapping = compiled({"x": Field("A")}, TEXT, where="CAST(B AS INT) > 5")
    result = mapping.apply(frame(A=list("abcd"), B=["6", "5", None, "many"]), {})
    assert ids(result.rows) == ["0"]
    assert result.skipped["source_id"].to_list() == ["1", "2"]
    assert "CAST(B AS INT) > 5" in result.skipped["reason"][0]
    assert result.findings.select("source_id", "value", "rule").rows() == [("3", "many", "formula_cast")]


def test_notes_do_not_keep_a_record_out_and_errors_come_one_per_field() -> None:
    amount = FieldInfo("amount", FieldType.DECIMAL, precision=6, scale=1)
    mapping = compiled({"amount": Field("A"), "x": Field("B")}, amount, FieldInfo("x", length=2))
    result = mapping.apply(frame(A=["1.25", "no"], B=["ok", "y" * 300]), {})
    assert ids(result.rows) == ["0"]
    assert result.findings.select("source_id", "field", "rule", "severity").rows() == [
        ("0", "amount", "rounded", "note"),
        ("1", "amount", "not_a_number", "error"),
        ("1", "x", "too_long", "error"),
    ]
    assert result.findings["value"].str.len_chars().to_list() == [4, 2, 200]
    assert all(message.endswith(".") and len(message) < 200 for message in result.findings["message"])


def test_the_halves_meet_in_text_and_the_finding_names_the_target_field() -> None:
    target = schema(
        "accounts",
        FieldInfo("external_id", required=True),
        FieldInfo("name", length=5),
        FieldInfo("kind"),
        FieldInfo("revenue", FieldType.DECIMAL, precision=9, scale=0),
        FieldInfo("owner_id", FieldType.REFERENCE),
        FieldInfo("home", FieldType.JSON),
    )
    mapping = ObjectMapping(
        source_entity="Account",
        target_entity="accounts",
        identity="Id",
        key="external_id",
        universal="account",
        to_universal=(
            FieldRule("external_id", Template("sf:{Id}")),
            FieldRule("name", Field("Name")),
            FieldRule("type", Mapped(Field("Type"), {"C": "customer"})),
            FieldRule("annual_revenue", Field("Revenue")),
            FieldRule("owner", Reference(Field("OwnerId"), ("User",))),
            FieldRule("billing_address", Address({"city": Field("City")})),
            FieldRule("website", Field("NotRead")),
        ),
        to_target=(
            FieldRule("external_id", Field("external_id")),
            FieldRule("name", Field("name")),
            FieldRule("kind", Formula("UPPER(type)")),
            FieldRule("revenue", Field("annual_revenue")),
            FieldRule("owner_id", Default(Field("owner"), Constant("1"))),
            FieldRule("home", Field("billing_address")),
        ),
        where_universal=Formula("name <> 'drop'"),
        part="main",
    )
    source = schema("Account", "Id", "Name", "Type", "Revenue", "OwnerId", "City", "NotRead", "AlsoNot")
    made = compile_mapping(mapping, source, target)
    assert made.source_fields == ("Id", "Name", "Type", "Revenue", "OwnerId", "City")
    page = frame(
        Id=["1", "2", "3"],
        Name=["One", "Two", "drop"],
        Type=["c", "X", "c"],
        Revenue=["10.4", "1", "1"],
        OwnerId=["u1", None, None],
        City=["Bern", None, None],
    )
    result = made.apply(page, {"User": id_map(u1="11")})
    assert made.parents(page)["User"].to_list() == ["u1"]
    (row,) = result.rows.drop("revenue").to_dicts()
    assert row == {
        RECORD_ID: "1",
        RECORD_PART: "main",
        "external_id": "sf:1",
        "name": "One",
        "kind": "CUSTOMER",
        "owner_id": "11",
        "home": '{"city":"Bern"}',
    }
    assert result.findings.select("source_id", "part", "field", "rule").rows() == [
        ("2", "main", "kind", "unknown_value"),
        ("1", "main", "revenue", "rounded"),
    ]
    assert result.skipped.select("source_id", "part").rows() == [("3", "main")]


def test_an_empty_page_gives_empty_frames_of_the_same_shape() -> None:
    result = compiled({"x": Field("A")}, field(FieldType.DATETIME)).apply(frame(Id=[], A=[]), {})
    assert result.rows.schema["x"] == pl.Datetime("us", "UTC")
    assert (result.rows.height, result.waiting.height) == (0, 0)
    assert (result.findings.schema, result.unresolved.schema, result.skipped.schema) == (FINDINGS, UNRESOLVED, SKIPPED)


def test_a_formula_that_fails_on_a_value_stops_with_a_sentence() -> None:
    product = "CAST(A AS DECIMAL(19, 0)) * CAST(B AS DECIMAL(19, 0)) * CAST(C AS DECIMAL(19, 0))"
    mapping = compiled({"x": Formula(product)}, TEXT)
    nines = ["9" * 19]
    with pytest.raises(InputInvalid, match="Thing → things fails on a value"):
        mapping.apply(frame(A=nines, B=nines, C=nines), {})


rows = st.lists(
    st.tuples(
        st.none() | st.sampled_from(["", "1", "2", "3", "4", "5"]),
        st.sampled_from([None, "7", "x", "1.5"]),
        st.sampled_from([None, "u1", "u2", "zz"]),
        st.sampled_from([None, "keep", "drop"]),
    ),
    max_size=12,
)


@settings(max_examples=150)
@given(rows)
def test_every_record_ends_in_exactly_one_place(
    records: list[tuple[str | None, str | None, str | None, str | None]],
) -> None:
    targets = (FieldInfo("n", FieldType.INTEGER, required=True), NEEDED)
    rules: dict[str, Rule] = {"n": Field("A"), "x": Reference(Field("B"), ("User",))}
    mapping = compiled(rules, *targets, where="C <> 'drop'")
    columns = {name: [record[position] for record in records] for position, name in enumerate(("Id", "A", "B", "C"))}
    result = mapping.apply(frame(**columns), {"User": id_map(u1="11")})
    places = [result.rows[RECORD_ID], result.waiting[RECORD_ID]]
    places += [part["source_id"] for part in (result.skipped, result.rejected)]
    assert sum(len(place) for place in places) == len(records)
    given_ids = sorted(record[0] or "" for record in records)
    assert sorted(pl.concat(places).fill_null("").to_list()) == given_ids
    assert set(result.unresolved["source_id"]) == set(ids(result.waiting))
    settled = [set(ids(result.rows)), set(ids(result.waiting)), set(result.rejected["source_id"].drop_nulls())]
    assert sum(len(place) for place in settled) == len(set().union(*settled))


def test_the_key_is_part_of_the_rows() -> None:
    assert compiled({"x": Field("A")}, TEXT).target_fields == (KEY.name, "x")
