"""Plain factories of schemas, rules and frames for the mapping's tests."""

from collections.abc import Mapping, Sequence

import polars as pl

from connectors.types import EntityInfo, EntitySchema, FieldInfo, FieldType
from projects.mapping.compiler import CompiledMapping, compile_mapping
from projects.mapping.specification import Field, FieldRule, Formula, ObjectMapping, Rule
from projects.mapping.transformed import RECORD_ID

KEY = FieldInfo("key", required=True)


def schema(name: str, *fields: FieldInfo | str, id_field: str = "Id") -> EntitySchema:
    infos = tuple(FieldInfo(field) if isinstance(field, str) else field for field in fields)
    return EntitySchema(EntityInfo(name, name, id_field), infos)


def mapping(rules: Mapping[str, Rule], *, where: str | None = None, part: str = "") -> ObjectMapping:
    """Thing → things, keyed by the source's Id, with these rules."""
    to_target = (FieldRule("key", Field("Id")), *(FieldRule(name, rule) for name, rule in rules.items()))
    return ObjectMapping(
        source_entity="Thing",
        target_entity="things",
        identity="Id",
        key="key",
        to_target=to_target,
        part=part,
        where=Formula(where) if where else None,
    )


def compiled(
    rules: Mapping[str, Rule],
    *targets: FieldInfo,
    sources: Sequence[str] = ("A", "B", "C"),
    where: str | None = None,
    value_maps: Mapping[str, Mapping[str, str | None]] | None = None,
) -> CompiledMapping:
    source = schema("Thing", "Id", *sources)
    return compile_mapping(mapping(rules, where=where), source, schema("things", KEY, *targets), value_maps)


def frame(**columns: Sequence[str | None]) -> pl.DataFrame:
    """A source frame; records are called 0, 1, 2 … unless ``Id`` is given."""
    length = len(next(iter(columns.values())))
    ids: dict[str, Sequence[str | None]] = {"Id": [str(number) for number in range(length)]}
    data = ids | columns
    return pl.DataFrame(data, schema=dict.fromkeys(data, pl.String))


def converted(info: FieldInfo, *values: str | None) -> tuple[list[object], list[tuple[str, str]]]:
    """What a field rule makes of the values: those that come out by record, and findings as (record, rule)."""
    result = compiled({info.name: Field("A")}, info).apply(frame(A=values), {})
    out = dict(zip(result.rows[RECORD_ID], result.rows[info.name].to_list(), strict=True))
    found = result.findings.select("source_id", "rule").rows()
    return [out.get(str(number), "—") for number in range(len(values))], found


def field(kind: FieldType, **more: object) -> FieldInfo:
    return FieldInfo("x", kind, **more)  # type: ignore[arg-type]  # the caller names FieldInfo's own arguments


def id_map(**pairs: str) -> pl.DataFrame:
    return pl.DataFrame(
        {"source_id": list(pairs), "target_id": list(pairs.values())},
        schema={"source_id": pl.String, "target_id": pl.String},
    )


def ids(rows: pl.DataFrame) -> list[str]:
    """Whose rows these are, in order."""
    return rows[RECORD_ID].to_list()
