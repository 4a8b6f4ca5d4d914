"""Parents and children: who points at whom, in the source's terms and in what the target holds."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from projects.mapping.compiled import ReferenceUse
from projects.models import ProjectObject
from runs import ledger
from runs.engine.session import Bench, Session

CHILDREN_SCHEMA = {"field": pl.String, "parent": pl.String, "in_source": pl.Int64, "in_target": pl.Int64}
ORPHAN_SCHEMA = dict.fromkeys(("key", "field", "value", "rule", "message"), pl.String)
GONE = "orphan_gone"
UNTRACKED = "orphan_untracked"
SAID = {
    GONE: "points at a record that is not in the target any more.",
    UNTRACKED: "points at a record that was not migrated.",
}


@dataclass(frozen=True, slots=True)
class Family:
    """``children`` (``CHILDREN_SCHEMA``): how many of a chunk's records point at each parent, named by its source
    id; None where nothing points anywhere. ``orphans`` (``ORPHAN_SCHEMA``): references that lead nowhere."""

    children: pl.DataFrame | None
    orphans: pl.DataFrame


def family(
    session: Session, bench: Bench, *, wanted: pl.DataFrame, expected: pl.DataFrame, held: pl.DataFrame
) -> Family:
    """Count the children of each parent.

    ``wanted`` has ``source_id`` and per reference field the source id of the parent, of every record that is to
    be moved; ``expected`` and ``held`` have ``key`` and the target fields, as demanded and as read back.
    Raises connector errors.
    """
    counts, orphans = [], [pl.DataFrame(schema=ORPHAN_SCHEMA)]
    for use in bench.compiled.references:
        if use.field == bench.mapping.key:
            continue
        owners = _owners(bench, use, held[use.field])
        pointing = held.select("key", pl.col(use.field).cast(pl.String).alias("value")).drop_nulls()
        named = pointing.join(owners, left_on="value", right_on="target_id", how="left")
        counts.append(_counted(use.field, wanted[use.field], named["source_id"]))
        demanded = expected.select("key", pl.col(use.field).cast(pl.String).alias("demanded"))
        orphans.append(_orphans(session, use.field, named.join(demanded, on="key", how="left")))
    return Family(pl.concat(counts) if counts else None, pl.concat(orphans))


def _owners(bench: Bench, use: ReferenceUse, target_ids: pl.Series) -> pl.DataFrame:
    """The tracked records, of the objects the reference may point at, that have these target ids."""
    objects = sorted({pk for name in use.entities for pk in bench.parents.get(name, ())})
    ids = target_ids.cast(pl.String).drop_nulls().unique()
    return ledger.owners(bench.place.project_id, objects, ids).rename({"key": "parent_key"})


def _counted(field: str, in_source: pl.Series, in_target: pl.Series) -> pl.DataFrame:
    sides = [
        side.alias("parent").drop_nulls().value_counts(name=name)
        for side, name in ((in_source, "in_source"), (in_target, "in_target"))
    ]
    both = sides[0].join(sides[1], on="parent", how="full", coalesce=True)
    return both.select(
        pl.lit(field).alias("field"),
        "parent",
        *(pl.col(name).fill_null(0).cast(pl.Int64) for name in ("in_source", "in_target")),
    )


def _orphans(session: Session, field: str, named: pl.DataFrame) -> pl.DataFrame:
    """A reference that the mapping itself fills with a fixed id (a default owner) is none."""
    untracked = named.filter(pl.col("source_id").is_null() & pl.col("value").ne_missing(pl.col("demanded")))
    tracked = named.filter(pl.col("source_id").is_not_null())
    gone = tracked.filter(~pl.col("value").is_in(_present(session, tracked).implode()))
    return pl.concat([_told(gone, field, GONE), _told(untracked, field, UNTRACKED)])


def _present(session: Session, tracked: pl.DataFrame) -> pl.Series:
    """Those of the parents' target ids that the target still has, found by the parents' keys."""
    if session.target.capabilities.keeps_references:
        return tracked["value"]
    found = [pl.Series(dtype=pl.String)]
    objects: Mapping[int, ProjectObject] = ProjectObject.objects.in_bulk(tracked["object"].unique().to_list())
    for number, parents in tracked.partition_by("object", as_dict=True).items():
        chosen = objects[int(str(number[0]))]
        keys = parents["parent_key"].drop_nulls().unique().to_list()
        rows = session.target.fetch(chosen.target_entity, key=chosen.key, keys=keys, fields=())
        found.append(rows["target_id"])
    return pl.concat(found)


def _told(rows: pl.DataFrame, field: str, rule: str) -> pl.DataFrame:
    return rows.select(
        "key",
        pl.lit(field).alias("field"),
        "value",
        pl.lit(rule).alias("rule"),
        pl.format("{} {}", pl.lit(field), pl.lit(SAID[rule])).alias("message"),
    )
