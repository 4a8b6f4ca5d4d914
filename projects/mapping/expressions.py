"""From a rule to a Polars expression over a frame of text columns, where null is the only blank.

An expression never fails on a value. What can go wrong with a value (a value map that does not list
it, a cast in a formula that fails) comes beside the expression as a fault to look for.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import polars as pl

from projects.mapping import formula, json_text
from projects.mapping.conversion import Severity
from projects.mapping.problems import RuleInvalid
from projects.mapping.specification import (
    ANY_OTHER,
    REFUSED,
    Address,
    Composed,
    Constant,
    Default,
    Field,
    Formula,
    Mapped,
    Reference,
    Rule,
    Template,
    Unknown,
)

_PLACE = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class RuleFault:
    """``when`` is true for a record whose ``value`` the rule cannot work with; ``message`` is the
    sentence for staff, with ``{}`` in the place of the value."""

    rule: str
    when: pl.Expr
    value: pl.Expr
    message: str
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule as an expression of type String; ``fields`` are the columns it reads. ``is_json`` says that
    it writes canonical JSON."""

    expr: pl.Expr
    fields: frozenset[str] = frozenset()
    faults: tuple[RuleFault, ...] = ()
    is_json: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """What a rule may name: the record's ``fields`` (``origin`` says whose they are), those of them that
    hold a ``references`` value, and the project's value maps."""

    origin: str
    fields: frozenset[str]
    references: frozenset[str]
    value_maps: Mapping[str, Mapping[str, str | None]]


def compile_rule(rule: Rule, scope: Scope) -> Compiled:  # noqa: PLR0911 - one return per kind of rule
    """The rule as an expression; raises RuleInvalid with one sentence on what it cannot do."""
    match rule:
        case Field(name):
            return Compiled(_column(name, scope), frozenset({name}))
        case Constant(value):
            return Compiled(pl.lit(value or None, dtype=pl.String))
        case Default(of, otherwise):
            return _default(of, otherwise, scope)
        case Template(text):
            return _template(text, scope)
        case Formula(sql):
            return _formula(sql, scope)
        case Mapped():
            return _mapped(rule, scope)
        case Address(parts):
            return _address(parts, scope)
        case Composed():
            raise RuleInvalid("A composed value stands alone, as the key of the target; it cannot be part of a rule.")
        case Reference():
            raise RuleInvalid(
                "A reference stands alone or inside a default of a target field; it cannot be part of another rule."
            )


def compile_condition(condition: Formula, scope: Scope) -> Compiled:
    """The formula as a Boolean expression, null where it cannot be told; raises RuleInvalid."""
    parsed = formula.parse(condition.sql, scope.fields)
    _check_fields(parsed.fields, scope)
    schema = dict.fromkeys(parsed.fields, pl.String())
    if pl.DataFrame(schema=schema).lazy().select(parsed.expr.alias("x")).collect_schema()["x"] != pl.Boolean:
        raise RuleInvalid("The condition must be true or false, for example a comparison.")
    return Compiled(parsed.expr, parsed.fields, _cast_faults(parsed))


def blank_as_null(expr: pl.Expr) -> pl.Expr:
    return pl.when(expr != "").then(expr)


def _column(name: str, scope: Scope) -> pl.Expr:
    _check_fields({name}, scope)
    return pl.col(name)


def _check_fields(names: frozenset[str] | set[str], scope: Scope) -> None:
    for name in sorted(names):
        if name in scope.references:
            raise RuleInvalid(f"“{name}” is a reference, which only a plain field rule can take over.")
        if name not in scope.fields:
            raise RuleInvalid(f"{scope.origin} has no field “{name}”.")


def _default(of: Rule, otherwise: Rule, scope: Scope) -> Compiled:
    first, second = compile_rule(of, scope), compile_rule(otherwise, scope)
    blank = first.expr.is_null()
    late = tuple(replace(fault, when=blank & fault.when) for fault in second.faults)
    return Compiled(pl.coalesce(first.expr, second.expr), first.fields | second.fields, first.faults + late)


def _template(text: str, scope: Scope) -> Compiled:
    pieces = list(_pieces(text))
    names = frozenset(piece for is_field, piece in pieces if is_field)
    if not names:
        raise RuleInvalid(f"The template “{text}” names no field; use a constant for a fixed text.")
    columns = {name: _column(name, scope) for name in sorted(names)}
    parts = [columns[piece].fill_null("") if is_field else pl.lit(piece) for is_field, piece in pieces]
    some = pl.any_horizontal(column.is_not_null() for column in columns.values())
    return Compiled(pl.when(some).then(pl.concat_str(parts)), names)


def template_fields(text: str) -> frozenset[str]:
    """The fields a template names; raises RuleInvalid for a malformed one."""
    return frozenset(piece for is_field, piece in _pieces(text) if is_field)


def _pieces(text: str) -> Iterator[tuple[bool, str]]:
    """The template as (is a field, name or literal text)."""
    position = 0
    for match in _PLACE.finditer(text):
        if match.start() > position:
            yield False, text[position : match.start()]
        position = match.end()
        if match["name"]:
            yield True, match["name"]
        elif match.group() in {"{{", "}}"}:
            yield False, match.group()[0]
        else:
            raise RuleInvalid(f"The template “{text}” has a lone brace or an empty place; write {{{{ for a brace.")
    if position < len(text):
        yield False, text[position:]


def _formula(sql: str, scope: Scope) -> Compiled:
    parsed = formula.parse(sql, scope.fields)
    _check_fields(parsed.fields, scope)
    return Compiled(blank_as_null(parsed.expr.cast(pl.String)), parsed.fields, _cast_faults(parsed))


def _cast_faults(parsed: formula.ParsedFormula) -> tuple[RuleFault, ...]:
    message = "“{}” does not convert in the formula. Correct the value, or write TRY_CAST to leave it blank."
    return tuple(RuleFault("formula_cast", cast.failed, cast.value, message) for cast in parsed.casts)


def _mapped(rule: Mapped, scope: Scope) -> Compiled:
    of = compile_rule(rule.of, scope)
    keys, values = _entries(rule, scope)
    looked_up = _normal(of.expr)
    found = looked_up.replace_strict(keys, values, default=None, return_dtype=pl.String)
    listed = looked_up.is_in(keys.implode())
    match rule.unknown:
        case Unknown.KEEP:
            return Compiled(pl.when(listed).then(found).otherwise(of.expr), of.fields, of.faults)
        case Unknown.BLANK:
            return Compiled(found, of.fields, of.faults)
        case Unknown.NOTE:
            return _with_note(rule, of, found, other=dict(zip(keys, values, strict=True)).get(ANY_OTHER))
        case Unknown.REJECT:
            where = f"the value map “{rule.name}”" if rule.name else "the value map of this field"
            message = f"“{{}}” is not listed in {where}. Add it there, or correct the value."
            # Blank text inside a value counts as blank, as everywhere in a look-up.
            unknown = RuleFault("unknown_value", (looked_up != "") & ~listed, of.expr, message)
            return Compiled(found, of.fields, (*of.faults, unknown))


def _with_note(rule: Mapped, of: Compiled, found: pl.Expr, *, other: str | None) -> Compiled:
    is_filled = _normal(of.expr) != ""
    lacks = is_filled & found.is_null()
    if other == REFUSED:
        message = f"“{{}}” has no value in the value map “{rule.name}”. Add it there, or choose who stands in."
        refused = RuleFault("no_counterpart", lacks, of.expr, message)
        return Compiled(pl.when(is_filled).then(found), of.fields, (*of.faults, refused))
    instead = f"the entry “{ANY_OTHER}” stands in" if other else "the field stays as it is"
    message = f"“{{}}” has no value in the value map “{rule.name}”; {instead}."
    note = RuleFault("no_counterpart", lacks, of.expr, message, Severity.NOTE)
    value = pl.when(is_filled).then(pl.coalesce(found, pl.lit(other, dtype=pl.String)))
    return Compiled(value, of.fields, (*of.faults, note))


def _entries(rule: Mapped, scope: Scope) -> tuple[pl.Series, pl.Series]:
    """The map's normalised keys and their values; blank values are null."""
    if rule.name and rule.entries:
        raise RuleInvalid(f"The rule names the value map “{rule.name}” and lists entries of its own; keep one of them.")
    if rule.name and rule.name not in scope.value_maps:
        raise RuleInvalid(f"There is no value map “{rule.name}” in this project.")
    entries = scope.value_maps[rule.name] if rule.name else rule.entries
    if not entries and rule.unknown is not Unknown.NOTE:
        raise RuleInvalid("The value map lists no values.")
    table = pl.DataFrame(
        {"key": list(entries), "value": [value or None for value in entries.values()]},
        schema={"key": pl.String, "value": pl.String},
    ).with_columns(_normal(pl.col("key")))
    table = table.unique(maintain_order=True)
    doubled = table.filter(pl.col("key").is_duplicated())["key"]
    if len(doubled):
        raise RuleInvalid(
            f"The value map lists “{doubled[0]}” with two different values; case and outer blanks do not count."
        )
    return table["key"], table["value"]


def _normal(expr: pl.Expr) -> pl.Expr:
    return expr.str.strip_chars().str.to_lowercase()


def _address(parts: Mapping[str, Rule], scope: Scope) -> Compiled:
    if not parts:
        raise RuleInvalid("The address lists no parts.")
    compiled = {name: compile_rule(part, scope) for name, part in parts.items()}
    fields = frozenset().union(*(part.fields for part in compiled.values()))
    faults = tuple(fault for part in compiled.values() for fault in part.faults)
    written = json_text.object_of_texts({name: part.expr for name, part in compiled.items()})
    return Compiled(written, fields, faults, is_json=True)
