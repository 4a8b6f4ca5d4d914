"""Retry: bring again what was rejected or still waits, from the staged source records of earlier runs."""

from collections.abc import Callable

import polars as pl

from connectors.errors import InputInvalid
from runs import ledger, payload
from runs.engine.session import Bench, Session
from runs.leases import Lease
from runs.ledger import Scope
from runs.models import Chunk, Step


def gather(session: Session, lease: Lease, *, stop: Callable[[], bool]) -> bool:
    """Stage the due records of one object, a chunk for every earlier chunk that has some of them.

    True where all are staged. Raises InputInvalid where the mapping now reads a field that was not staged.
    """
    step = Step.objects.get(pk=lease.id)
    bench = session.bench(step.pk)
    done = int(step.cursor["chunk"]) if step.cursor else 0
    due = _due(session, step, bench, done)
    chunks = due["chunk"].unique(maintain_order=True).to_list()
    if not chunks:
        ledger.stage(lease, pl.DataFrame(schema={bench.mapping.identity: pl.String}), None)
        return True
    for chunk_id in chunks:
        last = chunk_id == chunks[-1]
        frame = _staged(bench, chunk_id, due.filter(pl.col("chunk") == chunk_id)["source_id"])
        ledger.stage(lease, frame, None if last else {"chunk": chunk_id})
        if last:
            return True
        if stop():
            break
    return False


def _due(session: Session, step: Step, bench: Bench, done: int) -> pl.DataFrame:
    scope = Scope.of(session.run.scope)
    if scope.objects and step.object_id not in scope.objects:
        return pl.DataFrame(schema={"source_id": pl.String, "chunk": pl.Int64})
    return ledger.due(bench.place, scope, after_chunk=done)


def _staged(bench: Bench, chunk_id: int, source_ids: pl.Series) -> pl.DataFrame:
    """The source records of these ids; one that was repeated on its page counts as it came last."""
    chunk = Chunk.objects.defer(None).get(pk=chunk_id)
    frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    missing = [name for name in bench.compiled.source_fields if name not in frame.columns]
    if missing:
        raise InputInvalid(
            f"The mapping of {bench.mapping.source_entity} now reads {', '.join(missing)}, which was not read when the "
            "records were staged. Start a load, which reads them again."
        )
    identity = bench.mapping.identity
    chosen = frame.filter(pl.col(identity).is_in(source_ids.implode()))
    return chosen.select(bench.compiled.source_fields).unique(identity, keep="last", maintain_order=True)
