"""Transform: a chunk's source frame through the compiled mapping, with its references looked up in the id map."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from projects.mapping.compiler import Transformed, row_hash
from runs import ledger
from runs.engine.session import Bench


@dataclass(frozen=True, slots=True)
class Mapped:
    """A transformed chunk. ``hashed`` is ``Transformed.rows`` with a ``hash`` column (32 hex digits).

    ``waiting`` has the columns of ``rows``: records that cannot be written before their parent is there.
    """

    transformed: Transformed
    hashed: pl.DataFrame

    @property
    def waiting(self) -> pl.DataFrame:
        return self.transformed.waiting


def transform(bench: Bench, frame: pl.DataFrame) -> Mapped:
    """What the mapping makes of the frame now: references resolve against the id map as it stands."""
    transformed = bench.compiled.apply(frame, _id_map(bench, bench.compiled.parents(frame)))
    content = transformed.rows.select(bench.compiled.target_fields)
    return Mapped(transformed, transformed.rows.with_columns(row_hash(content).alias("hash")))


def _id_map(bench: Bench, parents: Mapping[str, pl.Series]) -> dict[str, pl.DataFrame]:
    return {
        entity: ledger.id_map(bench.place.project_id, bench.parents.get(entity, ()), ids)
        for entity, ids in parents.items()
    }
