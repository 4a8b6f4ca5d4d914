"""Two schemas compared: every kind of difference, and what must hold of any two."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.types import EntityInfo, EntitySchema, FieldInfo, FieldType, RecordType
from projects.differences import CONVERSIONS, Kind, Verdict, compare, compare_all
from tests.fakes import reference, schema

PICK = FieldType.PICKLIST


def field(kind: FieldType = FieldType.TEXT, **rest: Any) -> FieldInfo:
    return FieldInfo("Field", kind, **rest)


def one(here: FieldInfo, there: FieldInfo) -> tuple[Kind, Verdict] | None:
    found = compare(schema("X", here), schema("X", there)).differences
    assert len(found) <= 1, found
    return (found[0].kind, found[0].verdict) if found else None


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        (field(length=80), field(length=80), None),
        (field(length=80), field(length=20), (Kind.LENGTH, Verdict.LOSS)),
        (field(), field(length=20), (Kind.LENGTH, Verdict.LOSS)),
        (field(length=20), field(), None),
        (field(FieldType.INTEGER), field(FieldType.DECIMAL), (Kind.TYPE, Verdict.COMPATIBLE)),
        (field(FieldType.DATETIME), field(FieldType.DATE), (Kind.TYPE, Verdict.LOSS)),
        (field(FieldType.DATE), field(FieldType.BOOLEAN), (Kind.TYPE, Verdict.NOT_COMPATIBLE)),
        (field(FieldType.BINARY), field(FieldType.BINARY), (Kind.TYPE, Verdict.NOT_COMPATIBLE)),
        (
            field(FieldType.DECIMAL, precision=9, scale=2),
            field(FieldType.DECIMAL, precision=7, scale=2),
            (Kind.DIGITS, Verdict.LOSS),
        ),
        (
            field(FieldType.DECIMAL, precision=9, scale=4),
            field(FieldType.DECIMAL, precision=9, scale=2),
            (Kind.DIGITS, Verdict.LOSS),
        ),
        (
            field(PICK, choices=("a", "b")),
            field(PICK, choices=("A", "c"), restricted=True),
            (Kind.PICKLIST, Verdict.LOSS),
        ),
        (field(PICK, choices=("a", "b")), field(PICK, choices=("a",)), (Kind.PICKLIST, Verdict.COMPATIBLE)),
        (field(PICK, choices=("a",)), field(PICK, choices=("a", "b"), restricted=True), None),
        (field(required=False), field(required=True), (Kind.REQUIRED, Verdict.LOSS)),
        (field(), field(writable=False), (Kind.READ_ONLY, Verdict.LOSS)),
        (field(writable=False), field(FieldType.DATE), None),
        (reference("Field", "A", "B"), reference("Field", "A"), (Kind.REFERENCE, Verdict.LOSS)),
        (reference("Field", "A"), reference("Field", "B"), (Kind.REFERENCE, Verdict.NOT_COMPATIBLE)),
        (reference("Field", "ns__A__c"), reference("Field", "A__c"), None),
    ],
)
def test_kinds_of_difference(here: FieldInfo, there: FieldInfo, expected: tuple[Kind, Verdict] | None) -> None:
    assert one(here, there) == expected


def test_a_text_into_a_restricted_picklist_may_be_refused() -> None:
    found = compare(schema("X", field()), schema("X", field(PICK, choices=("a",), restricted=True)))
    assert [each.kind for each in found.differences] == [Kind.TYPE, Kind.PICKLIST]
    assert found.verdict is Verdict.LOSS


def test_a_missing_field_is_a_loss_and_a_missing_object_does_not_go() -> None:
    found = compare(schema("X", "Name", "Only"), schema("X", "Name"))
    assert (found.verdict, found.reasons) == (
        Verdict.LOSS,
        ("Only does not exist in the target; its values stay behind.",),
    )
    gone = compare(schema("X", "Name"), None)
    assert (gone.verdict, gone.target, gone.reasons) == (
        Verdict.NOT_COMPATIBLE,
        "",
        ("X (X) does not exist in the target.",),
    )


def test_a_required_field_that_nothing_fills_blocks_the_object() -> None:
    must = FieldInfo("Must", FieldType.BOOLEAN, required=True)
    for source in (schema("X", "Name"), schema("X", "Name", FieldInfo("Must", FieldType.DATE))):
        found = compare(source, schema("X", "Name", must))
        assert found.verdict is Verdict.NOT_COMPATIBLE
        assert "Must is required in the target, and the source has nothing to fill it with." in found.reasons


def test_record_types_are_compared_by_name() -> None:
    source = replace(schema("X", "Name"), record_types=(RecordType("1", "A"), RecordType("2", "B", "Bees")))
    found = compare(source, replace(schema("X", "Name"), record_types=(RecordType("7", "ns__a"),)))
    assert found.reasons == ("The record type Bees does not exist in the target; records of it are refused.",)


def test_objects_find_their_twins_across_namespaces_and_become_json() -> None:
    found = compare_all([schema("ns__A__c", "ns__F__c"), schema("B", "F")], {"A__c": schema("A__c", "F__c")})
    assert [(each.source, each.target, each.verdict) for each in found] == [
        ("ns__A__c", "A__c", Verdict.COMPATIBLE),
        ("B", "", Verdict.NOT_COMPATIBLE),
    ]
    assert found[1].as_json() == {
        "source": "B",
        "target": None,
        "fields": 2,
        "verdict": "not compatible",
        "differences": [
            {
                "field": None,
                "kind": "missing object",
                "verdict": "not compatible",
                "reason": "B (B) does not exist in the target.",
            }
        ],
    }


def test_every_pair_of_types_has_a_verdict_that_its_sentence_agrees_with() -> None:
    for here in FieldType:
        for there in FieldType:
            found = compare(schema("X", field(here)), schema("X", field(there))).differences
            if here is not there:
                assert found
                lost = CONVERSIONS.get((here, there))
                expected = {None: Verdict.NOT_COMPATIBLE, "": Verdict.COMPATIBLE}.get(lost, Verdict.LOSS)
                assert found[0].verdict is expected


# --- What holds of any two schemas ----------------------------------------------------------------------------
FIELDS = st.builds(
    FieldInfo,
    name=st.sampled_from(["A", "B", "C__c", "ns__C__c", "D"]),
    type=st.sampled_from(list(FieldType)),
    length=st.none() | st.integers(1, 300),
    precision=st.none() | st.integers(3, 18),
    scale=st.none() | st.integers(0, 3),
    required=st.booleans(),
    writable=st.booleans(),
    choices=st.lists(st.sampled_from(["a", "b", "c"]), unique=True).map(tuple),
    restricted=st.booleans(),
    references=st.lists(st.sampled_from(["P", "Q"]), unique=True).map(tuple),
)
SCHEMAS = st.lists(FIELDS, unique_by=lambda info: info.name).map(
    lambda infos: EntitySchema(EntityInfo("X", "X", "A"), tuple(infos))
)


@given(SCHEMAS, SCHEMAS)
def test_every_difference_is_a_sentence_that_names_its_field(here: EntitySchema, there: EntitySchema) -> None:
    found = compare(here, there)
    for each in found.differences:
        assert each.reason.endswith(".")
        assert each.field in each.reason
        assert each.field in here.names or each.field in there.names
    losses = [each for each in found.differences if each.verdict is not Verdict.COMPATIBLE]
    assert (found.verdict is Verdict.COMPATIBLE) == (not losses)
    assert len(found.reasons) == len(losses)


@given(SCHEMAS)
def test_a_schema_is_compatible_with_itself_but_for_files(here: EntitySchema) -> None:
    plain = replace(here, fields=tuple(info for info in here.fields if info.type is not FieldType.BINARY))
    assert compare(plain, plain).verdict is Verdict.COMPATIBLE


@given(SCHEMAS, SCHEMAS, st.data())
def test_a_target_that_can_less_is_never_judged_better(
    here: EntitySchema, there: EntitySchema, data: st.DataObject
) -> None:
    """Take away an optional field, its writability, or make it required: the verdict never improves."""
    optional = [info for info in there.fields if not info.required]
    if not optional:
        return
    victim = data.draw(st.sampled_from(optional))
    harsher: list[FieldInfo | None] = [None, replace(victim, writable=False)]
    if victim.writable:
        harsher.append(replace(victim, required=True))
    instead = data.draw(st.sampled_from(harsher))
    kept = tuple(found for info in there.fields if (found := instead if info is victim else info) is not None)
    before, after = compare(here, there), compare(here, replace(there, fields=kept))
    if instead is None and any(name != victim.name and name in there.names for name in ("C__c", "ns__C__c")):
        return  # another field takes the victim's place as the twin
    assert after.verdict.weight >= before.verdict.weight


def test_an_org_without_currencies_is_said_to_lose_them() -> None:
    here, there = schema("Account", FieldInfo("CurrencyIsoCode", PICK, choices=("EUR", "USD"))), schema("Account")
    [told] = compare(here, there).differences
    assert (told.kind, told.verdict) == (Kind.MISSING_FIELD, Verdict.LOSS)
    assert "lose their currency" in told.reason
