"""Conflicts: what to write where a record changed in the source and was edited in the target since we wrote it."""

from dataclasses import dataclass

import polars as pl

from runs.choices import RecordState
from runs.engine.images import fingerprints
from runs.engine.session import Bench, Session
from runs.engine.transform import Mapped
from runs.ledger import FINDING_COLUMNS, OUTCOME_COLUMNS
from runs.models import Chunk

EDITED = "The record changed in the source, but somebody edited it in the target since we wrote it; the edit is kept."


@dataclass(frozen=True, slots=True)
class Weighed:
    """What is to be written, and what is not.

    ``records`` and ``content`` are those to send, row by row alike: identities as in ``Mapped.records``, and
    the target fields. ``held_back`` has the outcomes of the others, with their ``count``.
    """

    records: pl.DataFrame
    content: pl.DataFrame
    held_back: pl.DataFrame
    findings: pl.DataFrame


def weigh(
    session: Session,
    bench: Bench,
    mapped: Mapped,
    *,
    chunk: Chunk,
    fresh: pl.DataFrame,
    known: pl.DataFrame,
    before: pl.DataFrame,
) -> Weighed:
    """Compare what is to be written with the target's rows as they were ``before`` this chunk touched them."""
    del session
    edited = _edited(bench, chunk, fresh, known, before)
    free = fresh.join(edited, on="key", how="anti", maintain_order="left")
    return Weighed(
        free,
        mapped.content_of(free),
        _held_back(edited),
        pl.DataFrame(schema=dict.fromkeys(FINDING_COLUMNS, pl.String)),
    )


def _edited(bench: Bench, chunk: Chunk, fresh: pl.DataFrame, known: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """The records that somebody edited in the target since an earlier chunk wrote them, where edits are kept."""
    ours = known.filter(pl.col("hash").is_not_null() & (pl.col("touched_by") != chunk.pk)).select(
        "source_id", was="hash"
    )
    candidates = fresh.join(ours, on="source_id")
    if not candidates.height or not bench.keeps_edits:
        return fresh.clear()
    held = fingerprints(bench, before.join(candidates, on="key", how="semi"))
    return candidates.join(held, on="key").filter(pl.col("held") != pl.col("was")).select(fresh.columns)


def _held_back(records: pl.DataFrame) -> pl.DataFrame:
    nothing = pl.lit(None, pl.String)
    return records.select(
        "source_id",
        "part",
        pl.lit(str(RecordState.CONFLICT)).alias("state"),
        target_id=nothing,
        key=nothing,
        hash=nothing,
        code=pl.lit("edited"),
        reason=pl.lit(EDITED),
        count=pl.lit("conflicts"),
    ).select(*OUTCOME_COLUMNS, "count")
