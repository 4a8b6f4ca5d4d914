"""Checks a mapping against the schemas of both sides and assembles what runs it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import polars as pl

from connectors.types import ID_MAP, ID_MAP_FIELD, EntitySchema, FieldInfo, FieldType
from projects import universal
from projects.mapping import findings
from projects.mapping.compiled import CompiledMapping, ReferenceUse, Stage, TargetField
from projects.mapping.conversion import canonical_json, conversion
from projects.mapping.expressions import Compiled, RuleFault, Scope, compile_condition, compile_rule
from projects.mapping.problems import MappingInvalid, Problem, RuleInvalid
from projects.mapping.row_hash import row_hash
from projects.mapping.specification import (
    Composed,
    Constant,
    Default,
    Field,
    FieldRule,
    Formula,
    ObjectMapping,
    Reference,
    Rule,
    Template,
    Unresolved,
)
from projects.mapping.transformed import Transformed

__all__ = ["CompiledMapping", "MappingInvalid", "ReferenceUse", "Transformed", "compile_mapping", "row_hash"]

ValueMaps = Mapping[str, Mapping[str, str | None]]


@dataclass(slots=True)
class _Job:
    """One compilation: what is given, and the problems found so far."""

    mapping: ObjectMapping
    source: EntitySchema
    target: EntitySchema
    value_maps: ValueMaps
    problems: list[Problem] = field(default_factory=list)

    def report(self, name: str, message: str) -> None:
        self.problems.append(Problem(name, message))

    def rule(self, name: str, rule: Rule, scope: Scope) -> Compiled | None:
        try:
            return compile_rule(rule, scope)
        except RuleInvalid as error:
            self.report(name, error.message)
            return None


@dataclass(frozen=True, slots=True)
class _First:
    """The first half, compiled: universal field → its text and, for references, how they are looked up."""

    fields: Mapping[str, Compiled]
    references: Mapping[str, Reference]


@dataclass(frozen=True, slots=True)
class _Split:
    """A target rule that is a reference: what names the parent, how it is looked up, the value for blank."""

    of: Rule
    reference: Reference
    otherwise: Rule | None = None


def compile_mapping(
    mapping: ObjectMapping,
    source: EntitySchema,
    target: EntitySchema,
    value_maps: ValueMaps | None = None,
) -> CompiledMapping:
    """The mapping, ready to run; raises MappingInvalid listing everything that is wrong with it."""
    if mapping.key == ID_MAP:
        target = replace(target, fields=(*target.fields, ID_MAP_FIELD))
    job = _Job(mapping, source, target, value_maps or {})
    _check_outline(job)
    first = _first_half(job)
    fields = _target_fields(job, first)
    _check_policies(job, fields)
    where = _condition(job, mapping.where, _source_scope(job))
    where_universal = _condition(job, mapping.where_universal, _middle_scope(job, first))
    if job.problems:
        raise MappingInvalid(f"{mapping.source_entity} → {mapping.target_entity}", job.problems)
    return _assembled(job, first, fields, where, where_universal)


def _check_outline(job: _Job) -> None:
    mapping, target = job.mapping, job.target
    if mapping.identity not in job.source.names:
        job.report("", f"The identity “{mapping.identity}” is no field of {job.source.entity.name}.")
    if mapping.universal and mapping.universal not in universal.OBJECTS:
        job.report("", f"There is no universal object “{mapping.universal}”.")
    if mapping.to_universal and not mapping.universal:
        job.report("", "The mapping has a first half but names no universal object.")
    if mapping.where_universal and not mapping.universal:
        job.report("", "The mapping has a universal condition but names no universal object.")
    filled = [rule.target for rule in mapping.to_target]
    if mapping.key not in filled:
        job.report(mapping.key, "It is the key of the target and no rule fills it.")
    for name in _doubled(filled):
        job.report(name, "Several rules fill it; keep one.")
    for name in _doubled(rule.target for rule in mapping.to_universal):
        job.report(name, "Several rules fill this universal field; keep one.")
    _check_id_map(job)
    _check_match(job, filled)
    for info in target.fields:
        if info.required and info.name not in filled:
            job.report(info.name, "The target requires a value and no rule fills it.")


def _check_id_map(job: _Job) -> None:
    mapping = job.mapping
    rule = next((each.rule for each in mapping.to_target if each.target == ID_MAP), None)
    if mapping.key == ID_MAP and (rule != Field(mapping.identity) or mapping.part):
        job.report(
            ID_MAP, "Our id map goes by the source's own id; fill it with the identity, in an object of one part."
        )


def _check_match(job: _Job, filled: list[str]) -> None:
    for name in job.mapping.match:
        if name not in filled:
            job.report(name, "Records are to be matched by it and no rule fills it.")
        if name == job.mapping.key:
            job.report(name, "It carries our external id; records that are new to us are matched by other fields.")


def _doubled(names: Iterable[str]) -> list[str]:
    listed = list(names)
    return sorted({name for name in listed if listed.count(name) > 1})


def _source_scope(job: _Job) -> Scope:
    return Scope(
        f"The source entity “{job.source.entity.name}”", frozenset(job.source.names), frozenset(), job.value_maps
    )


def _middle_scope(job: _Job, first: _First | None) -> Scope:
    """What the second half may read: universal fields that are filled, or the source's own."""
    if first is None:
        return _source_scope(job)
    origin = f"The first half of the mapping fills no universal field of {job.mapping.universal} so named: it"
    return Scope(origin, frozenset(first.fields), frozenset(first.references), job.value_maps)


def _first_half(job: _Job) -> _First | None:
    if not job.mapping.universal:
        return None
    known = universal.OBJECTS.get(job.mapping.universal)
    compiled: dict[str, Compiled] = {}
    references: dict[str, Reference] = {}
    for rule in job.mapping.to_universal:
        if known is not None and rule.target not in known.names:
            job.report(rule.target, f"The universal object “{job.mapping.universal}” has no such field.")
        body = rule.rule
        if isinstance(body, Reference):
            references[rule.target] = _checked(job, rule.target, body)
            body = body.of
        result = job.rule(rule.target, body, _source_scope(job))
        compiled[rule.target] = result or Compiled(pl.lit(None, dtype=pl.String))
    return _First(compiled, references)


def _checked(job: _Job, name: str, reference: Reference) -> Reference:
    if not reference.entities or not all(reference.entities):
        job.report(name, "The reference names no entity to look in.")
    if any("," in entity for entity in reference.entities):
        job.report(name, "The reference names an entity with a comma in its name.")
    return reference


def _target_fields(job: _Job, first: _First | None) -> list[TargetField]:
    by_name = {rule.target: rule for rule in job.mapping.to_target}
    for name in by_name:
        if name not in job.target.names:
            job.report(name, f"The target {job.target.entity.name} has no such field.")
    found = (_target_field(job, first, by_name[info.name], info) for info in job.target.fields if info.name in by_name)
    return [target for target in found if target is not None]


def _target_field(  # noqa: PLR0911 - one return per kind of rule
    job: _Job, first: _First | None, rule: FieldRule, info: FieldInfo
) -> TargetField | None:
    if not info.writable:
        job.report(info.name, "The target computes this field itself; no rule can fill it.")
        return None
    try:
        converted = conversion(info, of_rich=_takes_rich(job, first, rule.rule))
    except RuleInvalid as error:
        job.report(info.name, error.message)
        return None
    if isinstance(rule.rule, Composed):
        return _composed_field(job, rule.rule, info)
    split = _as_reference(rule.rule, first)
    if split is not None:
        return _reference_field(job, first, info, split)
    if info.type is FieldType.REFERENCE and isinstance(rule.rule, Field | Template):
        job.report(info.name, "It is a reference; the source's own value means nothing there. Use a reference rule.")
        return None
    text = job.rule(info.name, rule.rule, _middle_scope(job, first))
    if text is None:
        return None
    if info.type is FieldType.JSON and _writes_json(text, rule.rule, first):
        converted = canonical_json()
    found = TargetField(info, text, converted)
    if isinstance(rule.rule, Constant) and rule.rule.value:
        _check_constant(job, found)
    return found


def _takes_rich(job: _Job, first: _First | None, rule: Rule) -> bool:
    """Whether the rule takes over a rich text of the source."""
    if not isinstance(rule, Field):
        return False
    if first is not None:
        begun = {each.target: each.rule for each in job.mapping.to_universal}
        return _takes_rich(job, None, begun[rule.name]) if rule.name in begun else False
    return rule.name in job.source.names and job.source.field(rule.name).rich


def _composed_field(job: _Job, rule: Composed, info: FieldInfo) -> TargetField | None:
    others = {each.target for each in job.mapping.to_target if not isinstance(each.rule, Composed)}
    for name in rule.fields:
        if name not in others:
            job.report(info.name, f"It is composed of {name}, which no rule fills.")
    if not set(rule.fields) <= others:
        return None
    return TargetField(info, Compiled(pl.lit(None, pl.String)), conversion(info), composed_of=rule.fields)


def _writes_json(text: Compiled, rule: Rule, first: _First | None) -> bool:
    """Whether the text is canonical JSON by construction, so that it need not be read again."""
    taken_over = first is not None and isinstance(rule, Field) and first.fields[rule.name].is_json
    return text.is_json or taken_over


def _as_reference(rule: Rule, first: _First | None) -> _Split | None:
    match rule:
        case Reference(of):
            return _Split(of, rule)
        case Field(name) if first is not None and name in first.references:
            return _Split(rule, first.references[name])
        case Default(of, otherwise):
            inner = _as_reference(of, first)
            if inner is not None and inner.otherwise is None:
                return _Split(inner.of, inner.reference, otherwise)
            return None
        case _:
            return None


def _check_policies(job: _Job, fields: list[TargetField]) -> None:
    references = {target.name for target in fields if target.entities}
    for name in job.mapping.unresolved:
        if name not in references:
            job.report(name, "It has a policy for parents that are not there, and is no reference.")


def _reference_field(job: _Job, first: _First | None, info: FieldInfo, split: _Split) -> TargetField | None:
    scope = _middle_scope(job, first)
    unrestricted = Scope(scope.origin, scope.fields, frozenset(), scope.value_maps)
    text = job.rule(info.name, split.of, unrestricted)
    otherwise = job.rule(info.name, split.otherwise, scope) if split.otherwise is not None else None
    reference = _checked(job, info.name, split.reference)
    if text is None:
        return None
    policy = _policy(job, info, reference)
    return TargetField(info, text, conversion(info), reference.entities, otherwise, reference.by, policy)


def _policy(job: _Job, info: FieldInfo, reference: Reference) -> Unresolved:
    """What becomes of a record whose parent is not there. A field that the target requires is never left blank,
    and a record is not looked for in the target by a parent that is not known."""
    asked = job.mapping.unresolved.get(info.name, reference.unresolved)
    if asked in (None, Unresolved.DROP) and (info.required or info.name in job.mapping.match):
        return Unresolved.WAIT
    return asked or Unresolved.BLANK


def _check_constant(job: _Job, target: TargetField) -> None:
    text = pl.DataFrame({findings.ROW: [0], findings.SOURCE_ID: [""]}).with_columns(
        target.text.expr.alias(findings.TEXT)
    )
    careful = text.with_columns(target.conversion.careful(pl.col(findings.TEXT)).alias(findings.VALUE))
    for message in findings.conversion_faults(careful, target.name, target.conversion)["message"].to_list():
        job.report(target.name, f"The constant does not fit. {message}")


def _condition(job: _Job, condition: Formula | None, scope: Scope) -> Compiled | None:
    if condition is None:
        return None
    try:
        return compile_condition(condition, scope)
    except RuleInvalid as error:
        job.report("", f"The condition of the mapping cannot be used. {error.message}")
        return None


def _assembled(
    job: _Job, first: _First | None, fields: list[TargetField], where: Compiled | None, where_universal: Compiled | None
) -> CompiledMapping:
    read = _read_by(fields, where_universal)
    target_faults = tuple((target.name, fault) for target in fields for fault in _faults_of(target))
    target_stage = Stage(where_universal, _sql(job.mapping.where_universal), target_faults)
    used = {name: first.fields[name] for name in sorted(read)} if first is not None else {}
    source_faults = tuple(
        (_first_user(name, fields), fault) for name, compiled in used.items() for fault in compiled.faults
    )
    needed = frozenset().union(*(compiled.fields for compiled in used.values())) if first is not None else read
    needed |= {job.mapping.identity} | (where.fields if where is not None else frozenset())
    return CompiledMapping(
        mapping=job.mapping,
        source_fields=tuple(name for name in job.source.names if name in needed),
        fields=tuple(fields),
        universal={name: compiled.expr for name, compiled in used.items()} if first is not None else None,
        source_stage=Stage(where, _sql(job.mapping.where), source_faults),
        target_stage=target_stage,
    )


def _sql(condition: Formula | None) -> str:
    return condition.sql if condition is not None else ""


def _read_by(fields: list[TargetField], where: Compiled | None) -> frozenset[str]:
    """The columns that the second half reads."""
    read = frozenset().union(*(target.text.fields for target in fields))
    read |= frozenset().union(*(target.otherwise.fields for target in fields if target.otherwise is not None))
    return read | (where.fields if where is not None else frozenset())


def _faults_of(target: TargetField) -> Iterable[RuleFault]:
    yield from target.text.faults
    if target.otherwise is not None:
        blank = target.text.expr.is_null()
        for fault in target.otherwise.faults:
            yield RuleFault(fault.rule, blank & fault.when, fault.value, fault.message)


def _first_user(universal_field: str, fields: list[TargetField]) -> str:
    """The target field that a universal field's finding is told for: the first one that reads it."""
    for target in fields:
        otherwise = target.otherwise.fields if target.otherwise is not None else frozenset()
        if universal_field in target.text.fields | otherwise:
            return target.name
    return universal_field
