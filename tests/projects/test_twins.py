"""Which thing of one org is which of another."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.types import FieldInfo, RecordType
from projects import blueprints, services
from projects.blueprints.payroll import PAYROLL
from projects.mapping.specification import Field, Mapped, Reference, Unknown
from projects.twins import alike, bare, field_twins, missing_record_types, twin
from tests.fakes import reference, schema

KEY = FieldInfo("ns__External_Id__c", external_id=True, unique=True)
NAMES = st.lists(
    st.builds(
        lambda space, name: f"{space}{name}__c",
        st.sampled_from(["", "tc9_et__", "tc9_pr__"]),
        st.sampled_from(["Status", "Rule", "Pay_Code", "Überstunde"]),
    ),
    unique=True,
)


def test_a_namespace_makes_no_difference_and_a_relationship_is_no_namespace() -> None:
    assert bare("tc9_et__Status__c") == bare("Status__c") == "status__c"
    assert bare("Name") == "name"
    assert bare("Pay__Code") == "pay__code"


def test_the_same_name_wins_and_two_alike_are_nobodys_twin() -> None:
    assert twin("Status__c", ["a__Status__c", "Status__c"]) == "Status__c"
    assert twin("Status__c", ["a__Status__c", "b__Status__c"]) is None
    assert twin("a__Status__c", ["b__Status__c"]) == "b__Status__c"
    assert twin("Status__c", ["Name"]) is None


@given(NAMES, NAMES)
def test_every_field_has_at_most_one_twin_and_no_field_is_the_twin_of_two(here: list[str], there: list[str]) -> None:
    found = field_twins(schema("X", *here), schema("Y", *there))
    assert len(set(found.values())) == len(found)
    assert all(bare(name) == bare(other) for name, other in found.items())
    assert all(found[name] == name for name in here if name in there)


def test_fields_find_each_other_across_namespaces() -> None:
    source = schema("ns__Rule__c", "Name", reference("ns__Parent__c", "ns__Rule__c"), "ns__Only__c", "External_Id__c")
    target = schema("Rule__c", "Name", reference("Parent__c", "Rule__c"), KEY)
    like = alike(source, target, key=KEY.name)
    assert {rule.target: rule.rule for rule in like.mapping.to_target} == {
        KEY.name: Field("Id"),
        "Name": Field("Name"),
        "Parent__c": Reference(Field("ns__Parent__c"), ("ns__Rule__c",)),
    }
    assert (like.mapping.source_entity, like.mapping.target_entity) == ("ns__Rule__c", "Rule__c")
    assert like.without_twin == ("ns__Only__c",)


def test_record_types_are_matched_by_their_names() -> None:
    kind = reference("RecordTypeId", "RecordType")
    here = RecordType("1", "Master"), RecordType("2", "ns__Gone"), RecordType("3", "Off", active=False)
    there = RecordType("9", "ns__master"), RecordType("8", "Off", active=False)
    source = replace(schema("Rule__c", "Name", kind), record_types=here)
    target = replace(schema("Rule__c", "Name", kind, KEY), record_types=there)
    (rule,) = (each.rule for each in alike(source, target, key=KEY.name).mapping.to_target if each.target == kind.name)
    assert rule == Mapped(Field("RecordTypeId"), {"1": "9"}, unknown=Unknown.REJECT)
    assert [each.name for each in missing_record_types(source, target)] == ["ns__Gone"]
    plain = alike(replace(source, record_types=()), target, key=KEY.name)
    assert "RecordTypeId" not in [each.target for each in plain.mapping.to_target]


def test_a_blueprint_finds_its_objects_with_and_without_namespaces() -> None:
    names = ["Account", "tc9_pr__Pay_Code__c", "Leave_Rule__c", "tc9_et__Interpretation_Rule__c", "Pay_Code__c"]
    found = {each.object.name: each.entity for each in blueprints.offered(PAYROLL, names) if each.entity}
    assert found == {
        "Pay_Code__c": "tc9_pr__Pay_Code__c",
        "Leave_Rule__c": "Leave_Rule__c",
        "Interpretation_Rule__c": "tc9_et__Interpretation_Rule__c",
    }
    assert blueprints.fitting("salesforce", ["Account"]) == {}
    assert blueprints.fitting("hubspot", names) == {}
    assert list(blueprints.fitting("salesforce", names)) == ["payroll-and-time"]
    assert blueprints.by_slug("payroll-and-time") is PAYROLL
    assert blueprints.by_slug("nothing") is None


def test_every_blueprint_is_whole() -> None:
    for each in blueprints.BLUEPRINTS:
        assert each.version >= 1
        assert len({bare(item.name) for item in each.objects}) == len(each.objects)
        assert all(item.label and item.purpose for item in each.objects)


def test_the_parts_of_a_geolocation_are_no_namespaced_fields() -> None:
    assert twin("Site__Latitude__s", ["Home__Latitude__s"]) is None
    assert twin("Site__Latitude__s", ["tc9_et__Site__Latitude__s", "Home__Latitude__s"]) == "tc9_et__Site__Latitude__s"
    assert bare("tc9_et__Site__Longitude__s") == bare("Site__Longitude__s")


@pytest.mark.parametrize(
    ("fields", "chosen"),
    [
        (["tc9_edc__External_ID_Data_Creation__c", "External_Id__c"], "tc9_edc__External_ID_Data_Creation__c"),
        (["External_Id__c", "External_ID_Data_Creation__c"], "External_ID_Data_Creation__c"),
        (["Legacy__c", "External_Id__c"], "External_Id__c"),
        (["Legacy__c"], "Legacy__c"),
        ([], ""),
    ],
)
def test_the_external_id_of_an_org_is_found_whatever_package_brought_it(fields: list[str], chosen: str) -> None:
    """Each side has its own: with the helper package, with a copy of its field, or with one of the org's own."""
    carriers = (FieldInfo(name, external_id=True, unique=True) for name in fields)
    others = (
        FieldInfo("Not_Unique__c", external_id=True),
        FieldInfo("Read_Only__c", external_id=True, unique=True, writable=False),
    )
    target = schema("Rule__c", "Name", *others, *carriers)
    assert services.external_id(schema("ns__Rule__c", "Name"), target) == chosen
