"""Rules and mappings as JSON: nothing is lost on the way, and nothing wrong is taken."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projects.mapping.codec import MAX_DEPTH, decode, decode_equality, decode_rule, encode, encode_rule
from projects.mapping.compiler import MappingInvalid
from projects.mapping.equality import EqualityRule
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

texts = st.text(max_size=8)
leaves: st.SearchStrategy[Rule] = st.one_of(
    st.builds(Field, texts),
    st.builds(Constant, st.none() | texts),
    st.builds(Template, texts),
    st.builds(Formula, texts),
)
rules: st.SearchStrategy[Rule] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Default, inner, inner),
        st.builds(
            Mapped, inner, st.dictionaries(texts, st.none() | texts, max_size=3), texts, st.sampled_from(Unknown)
        ),
        st.builds(Reference, inner, st.lists(texts, max_size=3).map(tuple)),
        st.builds(Address, st.dictionaries(texts, inner, max_size=3)),
    ),
    max_leaves=6,
)
field_rules = st.lists(st.builds(FieldRule, texts, rules), max_size=3).map(tuple)
formulas = st.none() | st.builds(Formula, texts)
equality = st.dictionaries(texts, st.lists(st.sampled_from(EqualityRule), max_size=3).map(tuple), max_size=2)
mappings = st.builds(
    ObjectMapping, texts, texts, texts, texts, field_rules, field_rules, texts, texts, formulas, formulas, equality
)


@given(rules)
def test_a_rule_survives_json(rule: Rule) -> None:
    assert decode_rule(json.loads(json.dumps(encode_rule(rule)))) == rule


@given(mappings)
def test_a_mapping_survives_json(mapping: ObjectMapping) -> None:
    assert decode(json.loads(json.dumps(encode(mapping)))) == mapping


def test_the_json_of_a_rule_is_what_the_documentation_shows() -> None:
    assert encode_rule(Field("Name")) == {"rule": "field", "name": "Name"}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("Name", "rule must be an object"),
        ({"rule": "python", "code": "1"}, "unknown kind “python”"),
        ({"name": "Name"}, "unknown kind “None”"),
        ({"rule": ["field"], "name": "x"}, "unknown kind"),
        ({"rule": "field"}, "rule lacks name"),
        ({"rule": "field", "name": 3}, "rule.name must be text"),
        ({"rule": "field", "name": "x", "extra": 1}, "unknown key(s) extra"),
        ({"rule": "constant", "value": 5}, "rule.value must be text"),
        ({"rule": "default", "of": {"rule": "field", "name": "x"}, "otherwise": {"rule": "no"}}, "rule.otherwise"),
        ({"rule": "mapped", "of": {"rule": "field", "name": "x"}, "unknown": "guess"}, "must be one of reject"),
        ({"rule": "mapped", "of": {"rule": "field", "name": "x"}, "entries": {"a": 1}}, "neither text nor null"),
        ({"rule": "mapped", "of": {"rule": "field", "name": "x"}, "entries": []}, "object of value → value"),
        ({"rule": "reference", "of": {"rule": "field", "name": "x"}, "entities": "Account"}, "list of names"),
        ({"rule": "address", "parts": [1]}, "object of part → rule"),
    ],
)
def test_a_malformed_rule_is_refused_with_its_place(data: object, told: str) -> None:
    with pytest.raises(MappingInvalid) as caught:
        decode_rule(data)
    assert told in caught.value.message


def test_a_malformed_mapping_names_the_rule_that_is_wrong() -> None:
    body: dict[str, Any] = encode(ObjectMapping("a", "b", "i", "k", (FieldRule("x", Field("y")),)))
    body["to_target"][0]["rule"] = {"rule": "field"}
    with pytest.raises(MappingInvalid, match=r"to_target\[0\]\.rule lacks name"):
        decode(body)
    body["to_target"] = {}
    with pytest.raises(MappingInvalid, match="list of field rules"):
        decode(body)


def test_rules_nested_without_end_are_refused() -> None:
    rule: Rule = Field("x")
    for _ in range(MAX_DEPTH + 1):
        rule = Default(rule, Field("y"))
    with pytest.raises(MappingInvalid, match="deep"):
        decode_rule(encode_rule(rule))


@pytest.mark.parametrize(
    ("equality", "said"),
    [
        ([], "equality must be an object"),
        ({"Email": "case"}, "equality.Email must be a list of rules"),
        ({"Email": ["loosely"]}, "equality.Email has the unknown rule “loosely”"),
    ],
)
def test_rules_of_reading_back_are_checked(equality: Any, said: str) -> None:
    with pytest.raises(MappingInvalid, match=said):
        decode_equality(equality)
