"""Relink: bring the records that waited for a parent again, now that everything else is loaded."""

from dataclasses import fields

import polars as pl
from django.db import transaction

from runs import ledger, payload
from runs.choices import RecordState
from runs.crash_points import CrashPoint, reached
from runs.engine.journal import idempotency_key, jobs_of
from runs.engine.load import bring
from runs.engine.session import Session
from runs.leases import Lease
from runs.ledger import Counts
from runs.models import Chunk


def relink(session: Session, lease: Lease) -> None:
    """Write the references of a loaded chunk that could not be written before. Raises as ``load`` does."""
    chunk = Chunk.objects.defer(None).get(pk=lease.id)
    bench = session.bench(chunk.step_id)
    frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    identity = bench.mapping.identity
    known = ledger.known(bench.place, frame[identity].drop_nulls())
    waiting = known.filter(pl.col("state") == RecordState.DEFERRED)["source_id"]
    key = idempotency_key(chunk.payload, phase="relink")
    with session.journal.of(lease, key, jobs_of(chunk, key)):
        landing = bring(session, bench, lease, chunk, frame.filter(pl.col(identity).is_in(waiting.implode())), key=key)
    # A waived record that waits is counted, too, but is not tried again by itself.
    waived = max(0, chunk.deferred - len(waiting))
    earlier = {field.name: getattr(chunk, field.name) for field in fields(Counts)} | {"deferred": waived}
    total = {name: count + getattr(landing.counts, name) for name, count in earlier.items()}
    reached(CrashPoint.RELINK_SENT)
    with transaction.atomic():
        ledger.record(lease, bench.place, landing.outcomes, landing.findings, Counts(**total), relinked=waiting)
        if _arrived(known, landing.outcomes):
            ledger.relink_again(session.run.pk)
    reached(CrashPoint.RELINK_RECORDED)


def _arrived(known: pl.DataFrame, outcomes: pl.DataFrame) -> bool:
    """Whether a record has its place in the target now that had none before: others may have waited for it."""
    placed = known.filter(pl.col("target_id").is_not_null())["source_id"]
    landed = outcomes.filter(pl.col("target_id").is_not_null())["source_id"]
    return not landed.is_in(placed.implode()).all()
