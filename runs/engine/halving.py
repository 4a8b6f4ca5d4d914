"""Halving: find the record that kills whoever loads its chunk, so that all the others get to the target.

A worker that dies says nothing; its chunk is claimed again with one death more (``Chunk.deaths``). After a few of
them the chunk is parted in two, and so are its parts, until the record stands alone and is set aside by itself.
"""

import polars as pl

from runs import events, ledger, payload
from runs.choices import EventLevel
from runs.engine.journal import idempotency_key
from runs.engine.session import Session
from runs.leases import Lease
from runs.models import Chunk

DEATHS = 3
"""Holders of a chunk that left without a word before it is parted; its parts begin with one."""


def halved(session: Session, lease: Lease) -> bool:
    """Part the chunk where it has killed its holders; true where it was parted, and the lease is gone.

    Records of one id stay together. What is known of the target from before, and that an earlier try may have sent
    the records, both parts keep. Raises LeaseLost.
    """
    chunk = Chunk.objects.get(pk=lease.id)
    if chunk.deaths < DEATHS:
        return False
    frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    identity = _identity(session, chunk, frame)
    ids = frame[identity].unique(maintain_order=True)
    if len(ids) < 2:
        return False
    first = pl.col(identity).is_in(ids[: len(ids) // 2].implode(), nulls_equal=True)
    parts = [_part(frame.filter(first)), _part(frame.filter(~first))]
    ledger.part(lease, parts)
    entity = session.bench(chunk.step_id).mapping.source_entity
    events.tell(
        session.run.pk,
        f"{chunk.deaths} workers ended while they loaded chunk {chunk.pk}: its {frame.height:,} records of {entity} "
        "are loaded in two parts, to find the one that ends them.",
        level=EventLevel.WARNING,
        step_id=chunk.step_id,
    )
    return True


def _identity(session: Session, chunk: Chunk, frame: pl.DataFrame) -> str:
    """The column with the records' ids: a rollback's records come from the ledger."""
    name = session.bench(chunk.step_id).mapping.identity
    return name if name in frame.columns else "source_id"


def _part(frame: pl.DataFrame) -> ledger.Part:
    sealed = payload.pack(frame, purpose=payload.PAYLOAD)
    return ledger.Part(frame.height, sealed, idempotency_key(sealed, phase="load"))


def blamed(session: Session, lease: Lease) -> str:
    """The record that a chunk which is set aside consists of, for its sentence; blank where there are several."""
    chunk = Chunk.objects.get(pk=lease.id)
    if not chunk.deaths or chunk.records > 1:
        return ""
    mapping = session.bench(chunk.step_id).mapping
    frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    name = frame[_identity(session, chunk, frame)][0]
    return f"record {name} of {mapping.source_entity}, whose loading ended every worker that tried it,"
