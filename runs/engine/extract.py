"""Extract: turn the pages of one source entity into chunks, each committed with the cursor after it."""

from collections.abc import Callable, Iterator
from datetime import datetime

import polars as pl

from connectors.types import Cursor, Page
from projects.definitions import schema_from_json
from runs import ledger
from runs.crash_points import CrashPoint, reached
from runs.engine.session import Session
from runs.leases import Lease
from runs.models import Step


def whole(page: Page) -> Page:
    return page


def extract(
    session: Session, lease: Lease, *, stop: Callable[[], bool], sample: Callable[[Page], Page] = whole
) -> bool:
    """Read on from the step's cursor until the entity or the slice ends; true where the entity ended.

    ``stop`` is asked after every page; of each ``sample`` is staged. Raises connector errors and LeaseLost; what was
    staged stays staged.
    """
    step = Step.objects.get(pk=lease.id)
    for read, watermark in pages(session, step, step.cursor):
        page = sample(read)
        ledger.stage(lease, page.frame, page.cursor, watermark=watermark)
        if page.cursor is None:
            return True
        if stop():
            break
    return False


def pages(session: Session, step: Step, cursor: Cursor | None) -> Iterator[tuple[Page, datetime | None]]:
    """What the step reads from its source after ``cursor``, each page with the latest change on it."""
    bench = session.bench(step.pk)
    updated = schema_from_json(step.source_schema).entity.updated_field
    fields = dict.fromkeys([*bench.compiled.source_fields, *([updated] if updated else [])])
    for page in session.source.read(bench.mapping.source_entity, list(fields), since=step.since, cursor=cursor):
        reached(CrashPoint.EXTRACT_READ)
        yield page, _latest(page.frame, updated)


def _latest(frame: pl.DataFrame, updated: str | None) -> datetime | None:
    """The latest change on the page; texts that are no times do not count."""
    if updated is None or not frame.height:
        return None
    times = frame[updated].str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    latest = times.max()
    return latest if isinstance(latest, datetime) else None
