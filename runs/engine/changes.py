"""Changes: what a delta reads of one object: what changed in the source, then what is still due from before."""

from collections.abc import Callable, Iterator

import polars as pl

from runs import events, ledger, payload
from runs.choices import EventLevel, RecordState, StepTask
from runs.engine import deletions
from runs.engine import load as load_step
from runs.engine import reconcile as reconcile_step
from runs.engine import relink as relink_step
from runs.engine.extract import pages
from runs.engine.session import Bench, Session
from runs.leases import Lease
from runs.ledger import Scope
from runs.models import Chunk, Step

DUE = "due"
CHANGES = "changes"
"""The two parts of a delta's cursor; each has a cursor of its own below."""
GONE_STATES = (RecordState.GONE, RecordState.DELETED)


def gather(session: Session, lease: Lease, *, stop: Callable[[], bool]) -> bool:
    """Stage what a delta brings, or the deletions it follows; true where all of the step is staged.

    Raises connector errors and LeaseLost; what was staged stays staged.
    """
    step = Step.objects.get(pk=lease.id)
    if step.task == StepTask.DELETE:
        return deletions.gather(session, lease, step, stop=stop)
    if step.cursor is None or CHANGES in step.cursor:
        if not _changes(session, lease, step, stop):
            return False
        step.refresh_from_db()
    return _due(session, lease, step, stop)


def _changes(session: Session, lease: Lease, step: Step, stop: Callable[[], bool]) -> bool:
    """The source's pages without what people took back by choice, each committed with the cursor after it; true where
    the entity ended."""
    after = step.cursor[CHANGES] if step.cursor else None
    bench = session.bench(step.pk)
    identity = pl.col(bench.mapping.identity)
    for page, watermark in pages(session, step, after):
        ended = page.cursor is None
        out = ledger.taken_out(bench.place, page.frame[bench.mapping.identity].drop_nulls())
        frame = page.frame.filter(~identity.is_in(out.implode()).fill_null(value=False)) if len(out) else page.frame
        ledger.stage(lease, frame, {DUE: 0} if ended else {CHANGES: page.cursor}, watermark=watermark)
        if len(out):
            _tell_left_out(session, bench, step, len(out))
        if ended:
            return True
        if stop():
            break
    return False


def _tell_left_out(session: Session, bench: Bench, step: Step, number: int) -> None:
    events.tell(
        session.run.pk,
        f"{number:,} records of {bench.mapping.source_entity} were read that had been taken back by choice; they stay "
        "out. A retry of what was taken back brings them, and so does a load.",
        step_id=step.pk,
    )


def _look_for_the_mark(session: Session, bench: Bench, step: Step) -> None:
    """Tell where the record at which reading began did not come again. Reading overlaps what was read before, so
    that it must; else the source may have gone back to an earlier state, which no time of change tells."""
    if not step.since_id or any(step.since_id in ids for ids in _ids_read(bench, step)):
        return
    mark = pl.Series([step.since_id])
    if ledger.known(bench.place, mark)["state"].is_in(GONE_STATES).any() or len(ledger.taken_out(bench.place, mark)):
        return
    events.tell(
        session.run.pk,
        f"The record {step.since_id} of {bench.mapping.source_entity}, the latest change read before, did not come "
        "again. It was deleted or is chosen no more; or the source was set back, say from a backup. If it was set "
        "back, start a load, which reads everything.",
        level=EventLevel.WARNING,
        step_id=step.pk,
    )


def _due(session: Session, lease: Lease, step: Step, stop: Callable[[], bool]) -> bool:
    """What was refused, waits, or was decided, from the source records that earlier runs staged. A record that
    this delta has just read is brought as it is now, and not as it was."""
    bench = session.bench(step.pk)
    after = int((step.cursor or {})[DUE])
    if not after:
        _look_for_the_mark(session, bench, step)
    due = ledger.due(bench.place, Scope(), after_chunk=after)
    if due.height:
        due = due.filter(~pl.col("source_id").is_in(_read_now(bench, step).implode()))
    for chunk_id in due["chunk"].unique(maintain_order=True):
        frame = _staged(session, bench, chunk_id, due.filter(pl.col("chunk") == chunk_id)["source_id"])
        ledger.stage(lease, frame, {DUE: chunk_id})
        if stop():
            return False
    ledger.stage(lease, pl.DataFrame(schema={bench.mapping.identity: pl.String}), None)
    return True


def _read_now(bench: Bench, step: Step) -> pl.Series:
    """The ids that this step has staged already."""
    identity = bench.mapping.identity
    return pl.concat([*_ids_read(bench, step), pl.Series(identity, [], pl.String)]).drop_nulls()


def _ids_read(bench: Bench, step: Step) -> Iterator[pl.Series]:
    """The same, chunk by chunk."""
    for pk in Chunk.objects.filter(step=step).values_list("pk", flat=True):
        yield payload.unpack(Chunk.objects.get(pk=pk).payload, purpose=payload.PAYLOAD)[bench.mapping.identity]


def _staged(session: Session, bench: Bench, chunk_id: int, source_ids: pl.Series) -> pl.DataFrame:
    """The source records as they were staged; none where the mapping has since come to read another field:
    they stay due, and the run's log says what to do."""
    chunk = Chunk.objects.get(pk=chunk_id)
    frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    identity = bench.mapping.identity
    missing = [name for name in bench.compiled.source_fields if name not in frame.columns]
    if missing:
        events.tell(
            session.run.pk,
            f"{len(source_ids):,} records of {bench.mapping.source_entity} stay due: the mapping now reads "
            f"{', '.join(missing)}, which was not read when they were staged. Start a load, which reads them again.",
            level=EventLevel.WARNING,
            step_id=bench.place.step_id,
        )
        return frame.select(pl.lit(None, pl.String).alias(identity)).clear()
    chosen = frame.filter(pl.col(identity).is_in(source_ids.implode()))
    return chosen.select(bench.compiled.source_fields).unique(identity, keep="last", maintain_order=True)


# --- What each task means for a delta: bringing records, or following deletions ---------------------------------
def load(session: Session, lease: Lease) -> None:
    """As ``load.load``, or as ``deletions.follow``. Raises connector errors and LeaseLost."""
    (deletions.follow if _deletes(lease) else load_step.load)(session, lease)


def relink(session: Session, lease: Lease) -> None:
    (deletions.delete_again if _deletes(lease) else relink_step.relink)(session, lease)


def reconcile(session: Session, lease: Lease) -> None:
    (deletions.prove if _deletes(lease) else reconcile_step.reconcile)(session, lease)


def _deletes(lease: Lease) -> bool:
    return Chunk.objects.filter(pk=lease.id, step__task=StepTask.DELETE).exists()
