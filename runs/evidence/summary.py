"""What was proved of one object as a whole, put together once its chunks are read back: children, orphans, extras."""

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from runs import payload
from runs.engine.family import CHILDREN_SCHEMA, SAID
from runs.models import ChunkProof, Finding, Step, StepProof

NAMED = 1_000
"""Parents, orphans and extras that are listed; all are counted."""
BATCH = 50
"""Chunks whose children are held in memory at once."""


def prove_step(step: Step, extra_keys: Sequence[str]) -> None:
    """Keep the proof of the object as a whole, in the caller's transaction."""
    StepProof.objects.update_or_create(
        step=step,
        defaults={
            "children": children_of(step),
            "orphans": _orphans(step),
            "extras": {"count": step.extra, "keys": list(extra_keys)},
        },
    )


def children_of(step: Step) -> list[dict[str, Any]]:
    """Per reference field how many parents have how many children in the source and in the target, and the first
    ``NAMED`` parents for which the two differ."""
    counted = _counted(step)
    return [_told(str(name), rows) for (name,), rows in sorted(counted.partition_by("field", as_dict=True).items())]


def _counted(step: Step) -> pl.DataFrame:
    total = pl.DataFrame(schema=CHILDREN_SCHEMA)
    for batch in _batches(step):
        total = pl.concat([total, *batch]).group_by("field", "parent").agg(pl.col("in_source", "in_target").sum())
    return total


def _batches(step: Step) -> Iterator[list[pl.DataFrame]]:
    proofs = ChunkProof.objects.filter(step=step, children__isnull=False).order_by("chunk_id")
    batch: list[pl.DataFrame] = []
    for sealed in proofs.values_list("children", flat=True).iterator(chunk_size=BATCH):
        batch.append(payload.unpack(sealed or b"", purpose=payload.CHILDREN))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _told(field: str, rows: pl.DataFrame) -> dict[str, Any]:
    differing = rows.filter(pl.col("in_source") != pl.col("in_target")).sort("parent")
    return {
        "field": field,
        "parents": rows.height,
        "in_source": int(rows["in_source"].sum()),
        "in_target": int(rows["in_target"].sum()),
        "differing": differing.height,
        "named": differing.head(NAMED).select("parent", "in_source", "in_target").to_dicts(),
    }


def _orphans(step: Step) -> dict[str, Any]:
    verified = Finding.objects.filter(project=step.run.project_id, step=step, phase=Finding.Phase.VERIFY)
    found = verified.filter(rule__in=sorted(SAID)).order_by("pk")
    named = found.values("source_id", "part", "field", "value", "rule")[:NAMED]
    return {"count": found.count(), "named": list(named)}
