"""Finding records: lists by keyset, counts with a cap, and look-up by any id a person may hold.

Nothing here grows with the number of records: no OFFSET, no full count; a search that would read far
is stopped by the database and told so.
"""

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl
from django.db import OperationalError, connection, transaction
from django.db.models import Q

from orgs.sealing import SealBroken
from orgs.visibility import Viewer, VisibleQuerySet
from projects.models import Project, ProjectObject
from runs import payload
from runs.choices import DUE, OPEN, ChunkState, RecordState, RunKind
from runs.models import Chunk, ContentsDropped, TrackedRecord

PAGE_SIZE = 50
COUNT_CAP = 10_000
MOST_FOUND = 50
MOST_STAGED = 50
"""Staged chunks that a look-up opens; each takes some milliseconds."""
PATIENCE_MS = 5_000
CODES_FROM = 10_000
"""Records among which the causes offered as a filter are gathered."""

LANDED = "landed"
IN_TARGET = (RecordState.LOADED, RecordState.UNCHANGED)
STATES: Mapping[str, str] = {
    LANDED: "In the target",
    **{state.value: str(state.label) for state in RecordState if state not in IN_TARGET},
}
"""What a list can be narrowed to. Loaded and unchanged are one choice: both are where they belong."""

Key = tuple[int, str, str]
"""Object id, source id, part: where a list stands."""


class TooSlow(Exception):
    """The database was stopped while it searched; narrow the search."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records of a project: those of ``objects`` (ids, ascending), in a state of ``STATES``, with a cause."""

    project_id: int
    objects: tuple[int, ...]
    state: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class RecordPage:
    """``newer`` and ``older`` are tokens of the pages before and after; blank where there is none."""

    records: list[TrackedRecord]
    previous: str
    next: str


@dataclass(frozen=True, slots=True)
class Pending:
    """A record that waits in a chunk: it was read, and nothing has become of it yet."""

    chunk: Chunk
    source_id: str


@contextmanager
def patience() -> Iterator[None]:
    """Stop queries that take more than ``PATIENCE_MS``; raises TooSlow."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(PATIENCE_MS)])
            yield
    except OperationalError as error:
        if "statement timeout" in str(error):
            raise TooSlow from error
        raise


# --- Lists ----------------------------------------------------------------------------------------------------
def page_of(viewer: Viewer, wanted: Wanted, *, after: str = "", before: str = "") -> RecordPage:
    """One page in the order of object and source id; ``after`` or ``before`` is a token of another page."""
    edge = _decode(after or before)
    backward = bool(before) and edge is not None
    found = _beyond(viewer, wanted, edge, PAGE_SIZE + 1, backward=backward)
    more = len(found) > PAGE_SIZE
    rows = found[:PAGE_SIZE]
    if backward:
        rows.reverse()
    if not rows:
        return RecordPage([], "", "")
    first, last = _encode(rows[0]), _encode(rows[-1])
    if backward:
        return RecordPage(rows, first if more else "", last)
    return RecordPage(rows, first if edge else "", last if more else "")


def counted(viewer: Viewer, wanted: Wanted) -> str:
    """How many there are, as text; counting stops at ``COUNT_CAP``."""
    number = narrowed(viewer, wanted).filter(object__in=wanted.objects)[: COUNT_CAP + 1].count()
    return f"{number:,}" if number <= COUNT_CAP else f"{COUNT_CAP:,}+"


def codes(viewer: Viewer, wanted: Wanted) -> list[str]:
    """The causes among the records that are not in the target, for a choice."""
    if not wanted.objects:
        return []
    troubled = _troubled(viewer, wanted).filter(object__in=wanted.objects).values("code")[:CODES_FROM]
    with connection.cursor() as cursor:
        sql, parameters = troubled.query.sql_with_params()
        cursor.execute(f"SELECT DISTINCT code FROM ({sql}) troubled ORDER BY code", parameters)  # noqa: S608  Django's own SQL
        return [code for (code,) in cursor.fetchall() if code]


def any_due(viewer: Viewer, wanted: Wanted) -> bool:
    """Whether some of the wanted records still have to get to the target."""
    due = narrowed(viewer, wanted).filter(object__in=wanted.objects, state__in=DUE)
    return due.exclude(state__in=IN_TARGET).exists()


def narrowed(viewer: Viewer, wanted: Wanted) -> VisibleQuerySet[TrackedRecord]:
    """The wanted records of all the project's objects, unordered. The conditions are worded as the indexes are."""
    if wanted.state == LANDED:
        rows = _visible(viewer, wanted).filter(state__in=IN_TARGET)
    elif wanted.state in STATES:
        rows = _visible(viewer, wanted).filter(state=wanted.state)
    elif wanted.code:
        rows = _troubled(viewer, wanted)
    else:
        rows = _visible(viewer, wanted)
    return rows.filter(code=wanted.code) if wanted.code else rows


def _visible(viewer: Viewer, wanted: Wanted) -> VisibleQuerySet[TrackedRecord]:
    return TrackedRecord.objects.visible_to(viewer).filter(project=wanted.project_id)


def _troubled(viewer: Viewer, wanted: Wanted) -> VisibleQuerySet[TrackedRecord]:
    return _visible(viewer, wanted).filter(state__in=[state for state in RecordState if state not in IN_TARGET])


def _beyond(viewer: Viewer, wanted: Wanted, edge: Key | None, limit: int, *, backward: bool) -> list[TrackedRecord]:
    """Object by object, so that each query is one walk along an index."""
    order = ("-source_id", "-part") if backward else ("source_id", "part")
    rows: list[TrackedRecord] = []
    for object_id in sorted(wanted.objects, reverse=backward):
        place = _side(object_id, edge, backward=backward)
        if place is not None:
            query = narrowed(viewer, wanted).filter(place, object=object_id).order_by(*order)
            rows.extend(query[: limit - len(rows)])
        if len(rows) >= limit:
            break
    return rows


def _side(object_id: int, edge: Key | None, *, backward: bool) -> Q | None:
    """What of this object lies beyond the edge: all (an empty Q), a part, or None."""
    if edge is None:
        return Q()
    if object_id != edge[0]:
        return Q() if (object_id < edge[0]) == backward else None
    # The first condition bounds the walk along either index, the second is exact where ids are equal. (One
    # comparison of rows would be exact alone, but makes the planner guess wrong about the index to take.)
    _, source_id, part = edge
    if backward:
        return Q(source_id__lte=source_id) & (Q(source_id__lt=source_id) | Q(part__lt=part))
    return Q(source_id__gte=source_id) & (Q(source_id__gt=source_id) | Q(part__gt=part))


def _encode(record: TrackedRecord) -> str:
    place = json.dumps([record.object_id, record.source_id, record.part], ensure_ascii=False, separators=(",", ":"))
    return urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _decode(token: str) -> Key | None:
    """None for no token, and for one that we did not make: the list then starts at its beginning."""
    try:
        place = json.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, binascii.Error):
        return None
    match place:
        case [int(object_id), str(source_id), str(part)] if "\0" not in source_id + part:
            return object_id, source_id, part
    return None


# --- Look-up --------------------------------------------------------------------------------------------------
def find(viewer: Viewer, text: str, projects: Sequence[Project]) -> list[TrackedRecord]:
    """Records of these projects whose source id, target id or external key is ``text``; at most ``MOST_FOUND``.

    External keys have no index of their own; they are found where they end in the source id, as ours do.
    """
    text = text.strip()
    ids = [project.pk for project in projects]
    if not text or "\0" in text or not ids:
        return []
    with patience(), connection.cursor() as cursor:
        cursor.execute(_FIND, {"projects": ids, "ids": _possible_ids(text), "text": text, "most": MOST_FOUND})
        keys = cursor.fetchall()
    visible = TrackedRecord.objects.visible_to(viewer)
    return [record for key in keys for record in visible.filter(pk=key)]


_FIND = """
SELECT r.project_id, r.object_id, r.source_id, r.part
  FROM projects_projectobject o
  JOIN runs_trackedrecord r ON r.project_id = o.project_id AND r.object_id = o.id AND r.source_id = ANY(%(ids)s)
 WHERE o.project_id = ANY(%(projects)s) AND (r.source_id = %(text)s OR r.key = %(text)s)
UNION
SELECT r.project_id, r.object_id, r.source_id, r.part
  FROM runs_trackedrecord r WHERE r.target_id = %(text)s AND r.project_id = ANY(%(projects)s)
 ORDER BY 1, 2, 3, 4 LIMIT %(most)s
"""


def _possible_ids(text: str) -> list[str]:
    """The text, and what follows each colon in it: keys are ``platform:id`` or ``platform:entity:id``."""
    ends = [place + 1 for place, character in enumerate(text) if character == ":"]
    return [text, *(text[end:] for end in ends[:5] if text[end:])]


def find_pending(viewer: Viewer, text: str, projects: Sequence[Project]) -> list[Pending]:
    """The record among the chunks of open runs that nothing has become of yet; ``MOST_STAGED`` of them are opened.

    Rollbacks bring nothing: their records have rows.
    """
    waiting = Chunk.objects.visible_to(viewer).filter(
        run__project__in=projects, run__state__in=OPEN, state__in=(ChunkState.STAGED, ChunkState.LOADING)
    )
    found = []
    waiting = waiting.exclude(run__kind=RunKind.ROLLBACK)
    for chunk in waiting.select_related("step", "run").defer(None).order_by("run", "id")[:MOST_STAGED]:
        try:
            frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
        except (SealBroken, ContentsDropped):
            continue
        identity = chunk.step.mapping["identity"]
        here = frame.filter(pl.col(identity).is_in(_possible_ids(text.strip())))
        found += [Pending(chunk, source_id) for source_id in here[identity].unique().to_list()]
    return found


def objects_of(project: Project) -> dict[int, ProjectObject]:
    """The project's objects by id, in the order of lists."""
    return {chosen.pk: chosen for chosen in project.project_objects.order_by("pk")}
