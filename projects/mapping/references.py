"""References: which target id a parent's name stands for, and what becomes of records whose parent is not there.

Frames of records have ROW, SOURCE_ID and TEXT, which is what names the parent: its source id, its external id or the
value of one of its fields.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from projects.mapping.conversion import Severity
from projects.mapping.findings import ROW, SOURCE_ID, TEXT
from projects.mapping.specification import Unresolved
from projects.mapping.transformed import VALUE_CHARACTERS


@dataclass(frozen=True, slots=True)
class Lookup:
    """How parents are found: among the records of ``entity`` by ``by`` (see ``specification.Reference``)."""

    entity: str
    by: str = ""

    @property
    def name(self) -> str:
        """What a compiled mapping calls it: the entity where parents are named by their source ids."""
        return f"{self.entity}\x00{self.by}" if self.by else self.entity


def looked_up(
    parent: pl.Series, lookups: Sequence[Lookup], id_map: Mapping[str, pl.DataFrame]
) -> tuple[pl.Series, pl.Series]:
    """The target ids of parents, in order, and the candidates (text) where several records answer to a name.

    By source id the first look-up that knows one wins; a name that two entities know is shared.
    """
    nothing = pl.Series([None], dtype=pl.String).extend_constant(None, max(len(parent) - 1, 0)).head(len(parent))
    found, shared = nothing, nothing
    for lookup in lookups:
        if lookup.name not in id_map:
            continue
        known = _with_candidates(id_map[lookup.name])
        joined = pl.DataFrame({"id": parent}).join(known, on="id", how="left", maintain_order="left")
        if joined.height != len(parent):
            raise ValueError(f"the id map of {lookup.entity} lists a source id twice")
        if lookup.by:
            joined = _beside(joined, found)
        found = found.zip_with(found.is_not_null(), joined["target_id"])
        shared = shared.zip_with(shared.is_not_null(), joined["candidates"])
    return found.zip_with(shared.is_null(), nothing), shared


def _with_candidates(known: pl.DataFrame) -> pl.DataFrame:
    if "candidates" not in known.columns:
        known = known.with_columns(candidates=pl.lit(None, pl.String))
    return known.select(pl.col("source_id").alias("id"), "target_id", "candidates")


def _beside(joined: pl.DataFrame, found: pl.Series) -> pl.DataFrame:
    """With candidates where an earlier look-up found another record of that name."""
    both = found.is_not_null() & joined["target_id"].is_not_null()
    names = pl.concat_str(pl.lit(found), "target_id", separator=", ")
    return joined.with_columns(candidates=pl.when(pl.lit(both)).then(names).otherwise("candidates"))


def ambiguous(named: pl.DataFrame, shared: pl.Series, field: str, entities: Sequence[str]) -> pl.DataFrame:
    """Findings of the records whose parent's name several records have: none of them wins."""
    hit = named.with_columns(shared.alias("candidates")).filter(pl.col("candidates").is_not_null())
    sentence = pl.format("Several records of {} answer to “{}”: {}.", pl.lit(" or ".join(entities)), TEXT, "candidates")
    return _finding(hit, field, rule="ambiguous_reference", message=sentence, severity=Severity.ERROR)


_TOLD = {
    Unresolved.DROP: ("reference_dropped", "It is left blank until {} {} is in the target.", Severity.NOTE),
    Unresolved.KEEP: ("reference_kept", "It keeps the source's value until {} {} is in the target.", Severity.NOTE),
    Unresolved.REJECT: ("unresolved_reference", "It points at {} {}, which is not in the target.", Severity.ERROR),
}


def left_open(hit: pl.DataFrame, field: str, entities: Sequence[str], policy: Unresolved) -> pl.DataFrame | None:
    """Findings of the records whose parent is not there; None where the policy has nothing to tell of."""
    if policy not in _TOLD:
        return None
    rule, sentence, severity = _TOLD[policy]
    message = pl.format(sentence, pl.lit(" or ".join(entities)), TEXT)
    return _finding(hit, field, rule=rule, message=message, severity=severity)


def unresolved(hit: pl.DataFrame, field: str, lookups: Sequence[Lookup], policy: Unresolved) -> pl.DataFrame:
    """The records as ``Transformed.unresolved`` lists them, with their ROW."""
    return hit.select(
        ROW,
        pl.col(SOURCE_ID).alias("source_id"),
        pl.lit(field).alias("field"),
        pl.lit(",".join(lookup.entity for lookup in lookups)).alias("entities"),
        pl.lit(lookups[0].by).alias("by"),
        pl.col(TEXT).alias("parent_id"),
        pl.lit(policy is Unresolved.WAIT).alias("waits"),
    )


def _finding(hit: pl.DataFrame, field: str, *, rule: str, message: pl.Expr, severity: Severity) -> pl.DataFrame:
    return hit.select(
        ROW,
        pl.col(SOURCE_ID).alias("source_id"),
        pl.lit(field).alias("field"),
        pl.col(TEXT).str.slice(0, VALUE_CHARACTERS).alias("value"),
        pl.lit(rule).alias("rule"),
        message.alias("message"),
        pl.lit(severity.value).alias("severity"),
    )
