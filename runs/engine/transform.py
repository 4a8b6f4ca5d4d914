"""Transform: a chunk's source frame through the compiled mapping, with its references looked up in the id map."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import polars as pl

from projects.mapping.equality import canonical
from projects.mapping.row_hash import row_hash
from projects.mapping.transformed import RECORD_ID, RECORD_PART, Transformed
from runs.engine.session import Bench


@dataclass(frozen=True, slots=True)
class Mapped:
    """A transformed chunk, its identities apart from its content.

    ``records`` has a row per writable record: ``source_id``, ``part``, ``key``, ``hash`` (32 hex digits)
    and ``place``, its row in ``content``, which has the target fields. ``waiting`` has the first three
    for records that cannot be written before their parent is there.
    """

    transformed: Transformed
    records: pl.DataFrame
    content: pl.DataFrame
    waiting: pl.DataFrame

    def content_of(self, records: pl.DataFrame) -> pl.DataFrame:
        """The target fields of these ``records``, in their order."""
        place = records["place"]
        return self.content if place.equals(self.records["place"]) else self.content[place]


def transform(bench: Bench, frame: pl.DataFrame, *, unknown: Collection[str] = ()) -> Mapped:
    """What the mapping makes of the frame now: references resolve against the id map as it stands, but for those of
    the look-ups that are to count as ``unknown``."""
    parents = {name: values for name, values in bench.compiled.parents(frame).items() if name not in unknown}
    transformed = bench.compiled.apply(frame, _id_map(bench, parents))
    rows = transformed.rows
    return Mapped(
        transformed,
        _identities(bench, rows)
        .with_columns(row_hash(canonical(rows, bench.rules)).alias("hash"))
        .with_row_index("place"),
        rows.select(bench.compiled.target_fields),
        _identities(bench, transformed.waiting),
    )


def _identities(bench: Bench, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        pl.col(RECORD_ID).alias("source_id"),
        pl.col(RECORD_PART).alias("part"),
        pl.col(bench.mapping.key).cast(pl.String).alias("key"),
    )


def _id_map(bench: Bench, parents: Mapping[str, pl.Series]) -> dict[str, pl.DataFrame]:
    lookups = bench.compiled.lookups
    return {
        name: bench.finder.find(lookups[name], values)
        if lookups[name].by
        else bench.id_map(bench.parents.get(name, ()), values)
        for name, values in parents.items()
    }
