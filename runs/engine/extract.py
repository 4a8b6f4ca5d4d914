"""Extract: turn the pages of one source entity into chunks, each committed with the cursor after it.

A platform's page may have a hundred records. A chunk costs as much as some thousands of them, so small pages are
joined until they fill one.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

import polars as pl
from django.conf import settings

from connectors.errors import ConnectorError
from connectors.types import Cursor, FieldType, Page
from projects.definitions import schema_from_json
from runs import ledger
from runs.crash_points import CrashPoint, reached
from runs.engine.session import Session
from runs.leases import Lease
from runs.ledger import Mark
from runs.models import Step

FILL_BYTES = 8 * 2**20
"""Of memory, at which a chunk is full however few records it has."""
FILL_SECONDS = 5.0
"""For so long a slow source's pages are joined; a crash reads no more than that again."""


def whole(page: Page) -> Page:
    return page


def extract(
    session: Session,
    lease: Lease,
    *,
    stop: Callable[[], bool],
    sample: Callable[[Page], Page] = whole,
    most: int | None = None,
) -> bool:
    """Read on from the step's cursor until the entity or the slice ends; true where the entity ended.

    ``stop`` is asked after every chunk; of each ``sample`` is staged, of which ``most`` records are wanted. Raises
    connector errors and LeaseLost; what was staged stays staged.
    """
    step = Step.objects.get(pk=lease.id)
    for read, watermark in pages(session, step, step.cursor, most=most):
        page = sample(read)
        ledger.stage(lease, page.frame, page.cursor, watermark=watermark)
        if page.cursor is None:
            return True
        if stop():
            break
    return False


def pages(
    session: Session, step: Step, cursor: Cursor | None, *, most: int | None = None
) -> Iterator[tuple[Page, Mark | None]]:
    """What the step reads from its source after ``cursor``, a chunk's worth at a time, each with its latest
    change. No more is joined than ``most`` records, where told."""
    bench = session.bench(step.pk)
    schema = schema_from_json(step.source_schema)
    updated = schema.entity.updated_field
    fields = dict.fromkeys([*bench.compiled.source_fields, *([updated] if updated else [])])
    found = session.source.read(bench.mapping.source_entity, list(fields), since=step.since, cursor=cursor)
    # Each record with contents may take as long as a chunk of others: the source's page is a chunk then.
    carries = any(info.type is FieldType.CONTENT and info.name in fields for info in schema.fields)
    fill = 1 if carries else settings.MF_CHUNK_RECORDS
    for page in joined(found, fill=fill if most is None else min(fill, most)):
        reached(CrashPoint.EXTRACT_READ)
        yield page, _latest(page.frame, updated, bench.mapping.identity)


def joined(pages: Iterable[Page], *, fill: int, steady: Callable[[], float] = time.monotonic) -> Iterator[Page]:
    """The pages, put together until they have ``fill`` records, ``FILL_BYTES`` or took ``FILL_SECONDS``.

    An empty page ends what is held: its cursor is a place (a platform's job) that must not be lost. So does an
    error, before it is raised: a source that gives a few pages an hour would else be read from the same place
    for ever.
    """
    held: list[Page] = []
    since = steady()
    try:
        for page in pages:
            held.append(page)
            if page.cursor is None or not page.frame.height or _full(held, fill) or steady() - since >= FILL_SECONDS:
                yield _one(held)
                held, since = [], steady()
    except ConnectorError:
        if held:
            yield _one(held)
        raise
    if held:
        yield _one(held)


def _full(held: Sequence[Page], fill: int) -> bool:
    records = sum(page.frame.height for page in held)
    return records >= fill or sum(page.frame.estimated_size() for page in held) >= FILL_BYTES


def _one(held: Sequence[Page]) -> Page:
    return held[0] if len(held) == 1 else Page(pl.concat(page.frame for page in held), held[-1].cursor)


def _latest(frame: pl.DataFrame, updated: str | None, identity: str) -> Mark | None:
    """The latest change on the page; texts that are no times do not count."""
    if updated is None or not frame.height:
        return None
    times = frame[updated].str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    latest = times.max()
    if not isinstance(latest, datetime):
        return None
    return Mark(latest, str(frame[identity].filter(times == latest).max() or ""))
