"""Waiting: bring records that waited for a parent before this run, once this run has brought the parent.

A load reads everything anew and a delta looks through all that is due; a retry of a few chosen records brings their
children, too, by what stands here.
"""

from typing import Any

import polars as pl

from runs import leases, ledger, payload
from runs.choices import ChunkState, RunKind
from runs.engine.session import Bench, Session
from runs.engine.transform import transform
from runs.leases import Lease
from runs.ledger import Scope
from runs.models import Chunk

WAITING = "waiting"
"""The code of records that wait for a parent."""


def bring_waiting(session: Session, lease: Lease) -> bool:
    """Stage what can be completed now, in the steps of the run, and give the lease on the run back; false where
    there is nothing. What was staged counts as tried by this run, so that this comes to an end. Raises LeaseLost.
    """
    if session.run.kind != RunKind.RETRY or not _something_landed(session.run.pk):
        return False
    staged = False
    for step_id in session.run.steps.order_by("position").values_list("pk", flat=True):
        bench = session.bench(step_id)
        frames = [frame for frame in _resolvable(bench) if frame.height] if bench.compiled.references else []
        if frames:
            ledger.stage_more(lease, step_id, frames)
            staged = True
    if staged:
        leases.release(lease, attempts=0)
    return staged


def _something_landed(run_id: int) -> bool:
    """A run with chunks set aside is left as it is: what it could not finish it must not stage again."""
    chunks = Chunk.objects.filter(run_id=run_id)
    if chunks.filter(state=ChunkState.FAILED).exists():
        return False
    return chunks.exclude(created=0, updated=0).exists()


def _resolvable(bench: Bench) -> list[pl.DataFrame]:
    """The staged source records of one object whose parents are all there now, by the chunk that has them."""
    due = ledger.due(bench.place, Scope(codes=(WAITING,)), after_chunk=0)
    return [_complete(bench, chunk, ids["source_id"]) for (chunk,), ids in due.group_by("chunk", maintain_order=True)]


def _complete(bench: Bench, chunk_id: Any, source_ids: pl.Series) -> pl.DataFrame:
    chunk = Chunk.objects.get(pk=chunk_id)
    frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    identity = bench.mapping.identity
    if not set(bench.compiled.source_fields) <= set(frame.columns):
        return frame.clear()  # the mapping reads more now: only a load can bring these
    chosen = frame.filter(pl.col(identity).is_in(source_ids.implode())).select(bench.compiled.source_fields)
    chosen = chosen.unique(identity, keep="last", maintain_order=True)
    open_ones = transform(bench, chosen).transformed.unresolved["source_id"]
    return chosen.filter(~pl.col(identity).is_in(open_ones.implode()))
