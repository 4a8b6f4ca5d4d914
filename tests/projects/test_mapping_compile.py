"""What the compiler refuses, all of it at once and in sentences."""

from dataclasses import replace

import pytest

from connectors.types import FieldInfo, FieldType
from projects.mapping.compiler import MappingInvalid, compile_mapping
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
)
from tests.projects.mappings import KEY, compiled, frame, mapping, schema

X = FieldInfo("x")
SOURCE = schema("Thing", "Id", "A")


@pytest.mark.parametrize(
    ("rule", "info", "told"),
    [
        (Field("Nope"), X, "“x”: The source entity “Thing” has no field “Nope”."),
        (Template("no place"), X, "names no field"),
        (Template("{A"), X, "lone brace"),
        (Template("{A} {}"), X, "empty place"),
        (Template("{Nope}"), X, "no field “Nope”"),
        (Formula("Nope"), X, "“Nope”"),
        (Formula("read_csv('x')"), X, "not admitted"),
        (Formula("A + 1"), X, "CAST it"),
        (Mapped(Field("A"), name="missing"), X, "no value map “missing”"),
        (Mapped(Field("A"), {"a": "1"}, name="known"), X, "keep one of them"),
        (Mapped(Field("A")), X, "lists no values"),
        (Mapped(Field("A"), {"a": "1", " A": "2"}), X, "“a” with two different values"),
        (Address({}), X, "no parts"),
        (Address({"city": Reference(Field("A"), ("T",))}), X, "cannot be part of another rule"),
        (Reference(Field("A"), ()), X, "no entity to look in"),
        (Reference(Field("A"), ("T", "")), X, "no entity to look in"),
        (Reference(Field("A"), ("T,U",)), X, "comma"),
        (Default(Default(Reference(Field("A"), ("T",)), Constant("1")), Constant("2")), X, "part of another rule"),
        (Field("A"), FieldInfo("x", FieldType.REFERENCE), "Use a reference rule"),
        (Field("A"), FieldInfo("x", writable=False), "computes this field itself"),
        (Field("A"), FieldInfo("x", FieldType.BINARY), "type binary"),
        (Constant("many"), FieldInfo("x", FieldType.INTEGER), "The constant does not fit. “many” is not a number."),
        (Constant("long"), FieldInfo("x", length=3), "longer than the 3 characters"),
    ],
)
def test_each_fault_of_a_rule_is_told_with_its_field(rule: Rule, info: FieldInfo, told: str) -> None:
    with pytest.raises(MappingInvalid) as caught:
        compiled({"x": rule}, info, sources=("A",), value_maps={"known": {"a": "b"}})
    assert told in caught.value.message
    assert [problem.field for problem in caught.value.problems] == ["x"]


def problems_of(changed: ObjectMapping, *targets: FieldInfo) -> list[str]:
    with pytest.raises(MappingInvalid) as caught:
        compile_mapping(changed, SOURCE, schema("things", KEY, *targets))
    return [str(problem) for problem in caught.value.problems]


def test_everything_wrong_is_told_at_once() -> None:
    wrong = replace(mapping({"x": Field("Nope"), "y": Field("A")}), identity="Uid", where=Formula("A"))
    assert problems_of(wrong, X, FieldInfo("must", required=True)) == [
        "The identity “Uid” is no field of Thing.",
        "“must”: The target requires a value and no rule fills it.",
        "“y”: The target things has no such field.",
        "“x”: The source entity “Thing” has no field “Nope”.",
        "The condition of the mapping cannot be used. The condition must be true or false, for example a comparison.",
    ]


def test_the_key_must_be_filled_and_no_field_twice() -> None:
    twice = replace(mapping({}), to_target=(FieldRule("x", Field("A")), FieldRule("x", Constant("a"))))
    assert problems_of(twice, X) == [
        "“key”: It is the key of the target and no rule fills it.",
        "“x”: Several rules fill it; keep one.",
        "“key”: The target requires a value and no rule fills it.",
    ]


def test_the_first_half_is_checked_against_the_universal_model() -> None:
    halves = replace(
        mapping({"x": Template("{owner}"), "y": Field("website")}),
        universal="account",
        to_universal=(
            FieldRule("colour", Field("A")),
            FieldRule("owner", Reference(Field("A"), ("User",))),
            FieldRule("name", Default(Field("A"), Reference(Field("A"), ("User",)))),
        ),
        to_target=(FieldRule("key", Field("name")), FieldRule("x", Template("{owner}")), FieldRule("y", Field("fax"))),
    )
    told = problems_of(halves, X, FieldInfo("y"))
    assert "“colour”: The universal object “account” has no such field." in told
    assert any("only a plain field rule" in problem for problem in told)
    assert any("“fax”" in problem for problem in told)
    assert any("cannot be part of another rule" in problem for problem in told)
    assert "There is no universal object “boat”." in problems_of(replace(mapping({}), universal="boat"))
    assert "The mapping has a first half but names no universal object." in problems_of(
        replace(mapping({}), to_universal=(FieldRule("name", Field("A")),))
    )
    assert "The mapping has a universal condition but names no universal object." in problems_of(
        replace(mapping({}), where_universal=Formula("A = 'x'"))
    )


def test_only_what_is_used_is_read_in_the_order_of_the_source() -> None:
    made = compiled({"x": Template("{C}{A}")}, X, where="C <> 'no'")
    assert made.source_fields == ("Id", "A", "C")
    assert made.references == ()
    assert made.parents(frame(A=["a"], C=["c"])) == {}
