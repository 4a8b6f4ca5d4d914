"""Parents: the target ids of records that others point at by external id or by name, looked up in the target."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from connectors.base import Target
from connectors.errors import SettingsInvalid
from projects.mapping.references import Lookup
from projects.mapping.specification import KEY

PARENT_SCHEMA = {"source_id": pl.String, "target_id": pl.String, "candidates": pl.String}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the records of a source entity are in the target: their entity there, and the field of our key."""

    entity: str
    key: str


@dataclass(frozen=True, slots=True)
class Parents:
    """Finds parents in the target. ``places`` are by source entity; an entity that is not moved has none and is
    taken for the name of a target entity, so that records can point at what was there before (users, record types)."""

    target: Callable[[], Target]
    places: Mapping[str, Sequence[Place]]

    def find(self, lookup: Lookup, names: pl.Series) -> pl.DataFrame:
        """``source_id`` (the name), ``target_id`` and ``candidates`` (``PARENT_SCHEMA``) of those that are there.

        A name that several records have gives no target id, and them as candidates. Raises what the target raises,
        and SettingsInvalid where it cannot be asked so.
        """
        if not len(names):
            return pl.DataFrame(schema=PARENT_SCHEMA)
        hits = [self._hits(place, lookup, names) for place in self._places(lookup)]
        found = pl.concat(hits).unique().sort("name", "target_id")
        each = found.group_by("name", maintain_order=True).agg("target_id")
        alone = pl.col("target_id").list.len() == 1
        return each.select(
            pl.col("name").alias("source_id"),
            pl.when(alone).then(pl.col("target_id").list.first()).alias("target_id"),
            pl.when(~alone).then(pl.col("target_id").list.join(", ")).alias("candidates"),
        )

    def _places(self, lookup: Lookup) -> Sequence[Place]:
        known = self.places.get(lookup.entity)
        if known:
            return known
        return (Place(lookup.entity, self.target().describe(lookup.entity).entity.id_field),)

    def _hits(self, place: Place, lookup: Lookup, names: pl.Series) -> pl.DataFrame:
        target = self.target()
        if lookup.by == KEY:
            held = target.fetch(place.entity, key=place.key, keys=names.to_list(), fields=())
            return held.select(pl.col("key").alias("name"), "target_id")
        if not target.capabilities.finds:
            raise SettingsInvalid(
                f"{target.label} cannot look up records of {place.entity} by {lookup.by}. Let the reference name its "
                "parent by the source's id or by its external id."
            )
        held = target.find(place.entity, pl.DataFrame({lookup.by: names}), key=place.key)
        return held.select(pl.col(lookup.by).alias("name"), "target_id")
