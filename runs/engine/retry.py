"""Retry: bring again what was rejected or still waits, from the source records as staged, or read anew."""

from collections.abc import Callable

import polars as pl

from connectors.base import MOST_IDS
from connectors.errors import InputInvalid
from projects.definitions import schema_from_json
from runs import events, ledger, payload
from runs.choices import EventLevel
from runs.engine.session import Bench, Session
from runs.leases import Lease
from runs.ledger import Scope
from runs.models import Chunk, ContentsDropped, Step


def gather(session: Session, lease: Lease, *, stop: Callable[[], bool]) -> bool:
    """Stage the due records of one object, a chunk for every earlier chunk that has some of them.

    True where all are staged. Raises InputInvalid where the mapping now reads a field that was not staged. Where the
    run's scope says so they are asked of the source again instead.
    """
    step = Step.objects.get(pk=lease.id)
    bench = session.bench(step.pk)
    if Scope.of(session.run.scope).reread:
        return _reread(session, lease, step, bench, stop)
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
    try:
        frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    except ContentsDropped as dropped:
        raise InputInvalid(
            f"The records of {bench.mapping.source_entity} that are due were kept until the project's retention time "
            "had passed. Try again by reading them from the source."
        ) from dropped
    missing = [name for name in bench.compiled.source_fields if name not in frame.columns]
    if missing:
        raise InputInvalid(
            f"The mapping of {bench.mapping.source_entity} now reads {', '.join(missing)}, which was not read when the "
            "records were staged. Try again by reading them from the source."
        )
    identity = bench.mapping.identity
    chosen = frame.filter(pl.col(identity).is_in(source_ids.implode()))
    return chosen.select(bench.compiled.source_fields).unique(identity, keep="last", maintain_order=True)


# --- Reading them anew ---------------------------------------------------------------------------------------------
def _reread(session: Session, lease: Lease, step: Step, bench: Bench, stop: Callable[[], bool]) -> bool:
    due = _due(session, step, bench, 0)["source_id"].unique().sort()
    by_id = session.source.capabilities.reads_ids
    entity = schema_from_json(step.source_schema).entity
    if by_id and bench.mapping.identity == entity.id_field:
        return _asked(session, lease, step, due, stop=stop)
    return _sifted(session, lease, step, due, stop=stop)


def _asked(session: Session, lease: Lease, step: Step, due: pl.Series, *, stop: Callable[[], bool]) -> bool:
    """Ask the source for just these records, so many at a time."""
    bench = session.bench(step.pk)
    after = str(step.cursor["after"]) if step.cursor else ""
    left = due.filter(due > after)
    fields = list(bench.compiled.source_fields)
    for start in range(0, len(left), MOST_IDS):
        ids = left[start : start + MOST_IDS]
        frame = session.source.read_ids(bench.mapping.source_entity, fields, ids.to_list())
        _tell_missing(session, step, bench, len(ids) - frame.height)
        ended = start + MOST_IDS >= len(left)
        ledger.stage(lease, frame, None if ended else {"after": ids[-1]})
        if ended:
            return True
        if stop():
            return False
    ledger.stage(lease, pl.DataFrame(schema={bench.mapping.identity: pl.String}), None)
    return True


def _sifted(session: Session, lease: Lease, step: Step, due: pl.Series, *, stop: Callable[[], bool]) -> bool:
    """Read everything and keep what is due: the source cannot be asked for single records."""
    bench = session.bench(step.pk)
    identity, entity = bench.mapping.identity, bench.mapping.source_entity
    if not len(due):
        ledger.stage(lease, pl.DataFrame(schema={identity: pl.String}), None)
        return True
    if step.cursor is None:
        Step.objects.filter(pk=step.pk).update(expected=len(due))
        events.tell(
            session.run.pk,
            f"{session.run.project.source} cannot be asked for single records: all of {entity} is read again, and "
            f"only the {len(due):,} that are due are brought.",
            step_id=step.pk,
        )
    for page in session.source.read(entity, list(bench.compiled.source_fields), cursor=step.cursor):
        found = page.frame.filter(pl.col(identity).is_in(due.implode()))
        ledger.stage(lease, found.unique(identity, keep="last", maintain_order=True), page.cursor)
        if page.cursor is None:
            step.refresh_from_db()
            _tell_missing(session, step, bench, (step.expected or 0) - step.read)
            return True
        if stop():
            break
    return False


def _tell_missing(session: Session, step: Step, bench: Bench, number: int) -> None:
    if number > 0:
        events.tell(
            session.run.pk,
            f"{number:,} records of {bench.mapping.source_entity} that are due are not in the source any more, or are "
            "hidden from us there; they stay due.",
            level=EventLevel.WARNING,
            step_id=step.pk,
        )
