"""How far a run is: one aggregate over its chunks, and what follows from it for a bar, a rate and a time left.

Cheap enough to be asked every two seconds by every viewer: the sums are over chunks (thousands), never
over records (millions), and times are the database's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django.db import connection
from django.db.models.functions import Now

from runs.choices import OPEN, OUTCOMES, UNDOINGS, RunKind, RunState, outcomes_of
from runs.models import Run, RunEvent, WorkerHost

PASSES = 3
"""A record is done once it was read, loaded and verified."""
SHORT_WINDOW = 60.0
LONG_WINDOW = 300.0
"""Seconds over which the pace is measured."""
LEAST_EVIDENCE = 5.0
"""Seconds of work under which no pace is named: it would jump about."""
HOST_SILENT_SECONDS = 60
COUNTED = tuple(dict.fromkeys((OUTCOMES[0], *UNDOINGS, *OUTCOMES)))
"""Every count of a chunk; a run shows those of its kind."""


RARE = {RunKind.ROLLBACK: "created", RunKind.DELTA: "deleted"}
"""An outcome of a kind of run that is shown only where some record has it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a bar: how many records, and how wide in percent."""

    name: str
    count: int
    percent: float


@dataclass(frozen=True, slots=True)
class ObjectProgress:
    """One object of a run. ``loaded``, ``verified`` and ``set_aside`` count the records of such chunks."""

    step_id: int
    object_id: int
    source: str
    target: str
    expected: int | None
    extracted: bool
    read: int
    loaded: int
    verified: int
    set_aside: int
    counts: tuple[tuple[str, int], ...]
    compared_records: int
    compared_fields: int
    missing: int
    mismatches: int
    extra: int | None

    @property
    def total(self) -> int | None:
        """How many records there are in all, as far as is known now."""
        if self.extracted:
            return self.read
        return None if self.expected is None else max(self.expected, self.read)

    @property
    def passes(self) -> int:
        return self.read + self.loaded + self.verified

    @property
    def done(self) -> bool:
        return self.extracted and self.verified >= self.read

    @property
    def unknown(self) -> bool:
        """Being read, from a source that gives no count: a bar would promise an end."""
        return self.total is None and bool(self.read)

    @property
    def started(self) -> bool:
        return bool(self.read) or self.extracted

    @property
    def phase(self) -> str:
        if self.done:
            return "done"
        if self.extracted and self.loaded + self.set_aside >= self.read:
            return "verifying" if self.verified else "loaded"
        if self.extracted:
            return "loading"
        return "reading" if self.started else "waiting"

    @property
    def segments(self) -> list[Segment]:
        """The bar: outcomes in their colours, then what was read and waits to be loaded."""
        accounted = sum(count for _, count in self.counts)
        return _segments([*self.counts, ("waiting", max(0, self.read - accounted))], self.total)


@dataclass(frozen=True, slots=True)
class Pace:
    """Passes and loaded records within the last minute and the last five, with the seconds they took."""

    passes: tuple[int, int] = (0, 0)
    loaded: int = 0
    seconds: tuple[float, float] = (0.0, 0.0)

    @property
    def moves(self) -> bool:
        """Whether anybody, a worker or a command, did something within the last minute."""
        return self.passes[0] > 0

    @property
    def per_second(self) -> float | None:
        """Records loaded per second over the last minute."""
        return self.loaded / self.seconds[0] if self.seconds[0] >= LEAST_EVIDENCE else None

    def range_for(self, passes: int) -> tuple[float, float] | None:
        """Seconds that so many passes may take, from and to; None where too little is known."""
        speeds = [
            done / seconds
            for done, seconds in zip(self.passes, self.seconds, strict=True)
            if done and seconds >= LEAST_EVIDENCE
        ]
        return (passes / max(speeds) * 0.9, passes / min(speeds) * 1.3) if speeds else None


@dataclass(frozen=True)
class RunProgress:
    """A run as its page shows it."""

    run: Run
    objects: tuple[ObjectProgress, ...]
    pace: Pace
    asked_at: datetime

    @cached_property
    def read(self) -> int:
        return sum(item.read for item in self.objects)

    @cached_property
    def loaded(self) -> int:
        return sum(item.loaded for item in self.objects)

    @cached_property
    def verified(self) -> int:
        return sum(item.verified for item in self.objects)

    @cached_property
    def total(self) -> int | None:
        """All records, or None while one object's number is not known."""
        totals = [item.total for item in self.objects]
        known = [total for total in totals if total is not None]
        return sum(known) if known and len(known) == len(totals) else None

    @cached_property
    def outcomes(self) -> list[tuple[str, int]]:
        """What became of the records, in the words of the run's kind."""
        counted = [
            (name, sum(item.counts[place][1] for item in self.objects))
            for place, name in enumerate(outcomes_of(self.run.kind))
        ]
        rare = RARE.get(RunKind(self.run.kind), "")
        return [(name, number) for name, number in counted if number or name != rare]

    @property
    def seen_outcomes(self) -> list[str]:
        """The outcomes that some record has, for columns."""
        return [name for name, number in self.outcomes if number]

    @property
    def segments(self) -> list[Segment]:
        accounted = sum(count for _, count in self.outcomes)
        return _segments([*self.outcomes, ("waiting", max(0, self.read - accounted))], self.total)

    @property
    def percent(self) -> int | None:
        """0–100, rounded down so that 100 means done; None where it cannot be told yet."""
        if self.run.state in {RunState.COMPLETED, RunState.COMPLETED_WITH_ERRORS}:
            return 100
        if not self.total:
            return None
        return min(99, 100 * (self.read + self.loaded + self.verified) // (PASSES * self.total))

    @property
    def seconds_left(self) -> tuple[float, float] | None:
        """From and to; None where the run does not move or too little is known."""
        if self.run.state != RunState.RUNNING or not self.total:
            return None
        return self.pace.range_for(max(0, PASSES * self.total - self.read - self.loaded - self.verified))

    @property
    def seconds_taken(self) -> float | None:
        if self.run.started_at is None:
            return None
        return ((self.run.finished_at or self.asked_at) - self.run.started_at).total_seconds()

    @property
    def reconciled(self) -> dict[str, int | None]:
        """Figures of reading back; ``extra`` is None while nobody counted."""
        extras = [item.extra for item in self.objects if item.extra is not None]
        sums = {
            name: sum(getattr(item, name) for item in self.objects)
            for name in ("compared_records", "compared_fields", "missing", "mismatches")
        }
        return {**sums, "extra": sum(extras) if extras else None}

    @property
    def sentence(self) -> str:
        """Where the run stands and why, for staff."""
        if self.run.state == RunState.QUEUED:
            return _queued()
        if self.run.state == RunState.RUNNING:
            return _doing(self.objects, undoing=self.run.kind == RunKind.ROLLBACK)
        return self.run.reason


def progress_of(run: Run) -> RunProgress:
    """The run's progress now; two queries whatever its size (three while it is queued)."""
    with connection.cursor() as cursor:
        cursor.execute(_BY_OBJECT, [run.pk])
        objects = tuple(_object(row, outcomes_of(run.kind)) for row in cursor.fetchall())
        cursor.execute(_PACE, [run.pk])
        *pace, asked_at = cursor.fetchone()
    short, long, loaded, short_seconds, long_seconds = pace
    seconds = (min(SHORT_WINDOW, float(short_seconds or 0)), min(LONG_WINDOW, float(long_seconds or 0)))
    return RunProgress(run, objects, Pace((int(short), int(long)), int(loaded), seconds), asked_at)


def waits(run: Run) -> list[RunEvent]:
    """What the run waits for now, each with the time it ends; only where it is open."""
    if run.state not in OPEN:
        return []
    return list(RunEvent.objects.filter(run=run, level="wait", until__gt=Now())[:5])


def host_is_up() -> bool:
    """Whether some worker host gave a sign of life lately."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT EXISTS (SELECT FROM runs_workerhost
                               WHERE seen_at > clock_timestamp() - make_interval(secs => %s))""",
            [HOST_SILENT_SECONDS],
        )
        return bool(cursor.fetchone()[0])


def _object(row: tuple[object, ...], names: tuple[str, ...]) -> ObjectProgress:
    step_id, object_id, source, target, expected, extracted, read, extra, *sums = row
    numbers = [int(str(value)) for value in sums]
    loaded, verified, set_aside = numbers[:3]
    records, fields, missing, mismatches = numbers[-4:]
    counted = dict(zip(COUNTED, numbers[3:-4], strict=True))
    return ObjectProgress(
        step_id=int(str(step_id)),
        object_id=int(str(object_id)),
        source=str(source),
        target=str(target),
        expected=None if expected is None else int(str(expected)),
        extracted=bool(extracted),
        read=int(str(read)),
        loaded=loaded,
        verified=verified,
        set_aside=set_aside,
        counts=tuple((name, counted[name]) for name in names),
        compared_records=records,
        compared_fields=fields,
        missing=missing,
        mismatches=mismatches,
        extra=None if extra is None else int(str(extra)),
    )


def _segments(counts: list[tuple[str, int]], total: int | None) -> list[Segment]:
    whole = total or sum(count for _, count in counts)
    return [Segment(name, count, round(100 * count / whole, 3)) for name, count in counts if count]


def _queued() -> str:
    if host_is_up():
        return "Waits for a free worker."
    count = WorkerHost.objects.count()
    told = "No worker host has ever run" if not count else "No worker host has given a sign of life for a minute"
    return f"{told}; start one with “manage.py run_workers”, then this run begins by itself."


UNDOING_WORDS = {"reading": "gathering", "loading": "taking back", "loaded": "taken back"}


def _doing(objects: tuple[ObjectProgress, ...], *, undoing: bool) -> str:
    if not objects:
        return "Looking at both systems and working out what to do."
    phases = [item.phase for item in objects]
    words = UNDOING_WORDS if undoing else {}
    parts = [
        f"{words.get(phase, phase)} {phases.count(phase)}"
        for phase in ("reading", "loading", "verifying")
        if phases.count(phase)
    ]
    noun = "object" if len(objects) == 1 else "objects"
    if not parts:
        return _between(phases, noun, words)
    rest = [f"{phases.count(phase)} {words.get(phase, phase)}" for phase in ("loaded", "done") if phases.count(phase)]
    return f"{', '.join(parts).capitalize()} of {len(objects)} {noun}{'; ' if rest else ''}{', '.join(rest)}."


def _between(phases: list[str], noun: str, words: Mapping[str, str]) -> str:
    """Nothing is half done at this moment."""
    if "waiting" in phases:
        return "About to gather what was written." if words else "About to read."
    if "loaded" in phases:
        return f"All {len(phases)} {noun} {words.get('loaded', 'loaded')}; about to read them back."
    return f"All {len(phases)} {noun} done; finishing."


# Counting by state keeps the figures of a chunk that is being loaded again out of the bar.
_LOADED = "c.state IN ('loaded', 'verified')"
_BY_OBJECT = f"""
SELECT s.id, s.object_id,
       (s.mapping->>'source_entity') || CASE WHEN s.task = 'delete' THEN ' (deletions)' ELSE '' END,
       s.mapping->>'target_entity', s.expected,
       s.extracted_at IS NOT NULL, s.read, s.extra,
       coalesce(sum(c.records) FILTER (WHERE {_LOADED}), 0),
       coalesce(sum(c.records) FILTER (WHERE c.state = 'verified'), 0),
       coalesce(sum(c.records) FILTER (WHERE c.state = 'failed'), 0),
       {", ".join(f"coalesce(sum(c.{name}) FILTER (WHERE {_LOADED}), 0)" for name in COUNTED)},
       coalesce(sum(c.verified_records), 0), coalesce(sum(c.verified_fields), 0),
       coalesce(sum(c.missing), 0), coalesce(sum(c.mismatches), 0)
  FROM runs_step s LEFT JOIN runs_chunk c ON c.step_id = s.id
 WHERE s.run_id = %s GROUP BY s.id ORDER BY s.wave, s.position
"""  # noqa: S608  put together from this module's own literals

_PACE = """
WITH pass AS (
    SELECT c.records, p.kind, extract(epoch FROM clock_timestamp() - p.at) AS age
      FROM runs_chunk c,
           LATERAL (VALUES ('staged', c.staged_at), ('loaded', c.loaded_at), ('verified', c.verified_at)) p (kind, at)
     WHERE c.run_id = %s AND p.at > clock_timestamp() - interval '5 minutes')
SELECT coalesce(sum(records) FILTER (WHERE age <= 60), 0), coalesce(sum(records), 0),
       coalesce(sum(records) FILTER (WHERE age <= 60 AND kind = 'loaded'), 0),
       max(age) FILTER (WHERE age <= 60), max(age), clock_timestamp()
  FROM pass
"""


@dataclass(frozen=True, slots=True)
class Brief:
    """A run as a line of a list: how far, and what became of its records."""

    read: int = 0
    loaded: int = 0
    verified: int = 0
    total: int | None = None
    every_count: tuple[int, ...] = (0,) * len(COUNTED)

    @property
    def counts(self) -> dict[str, int]:
        return dict(zip(COUNTED, self.every_count, strict=True))

    @property
    def segments(self) -> list[Segment]:
        waiting = max(0, self.read - sum(self.every_count))
        return _segments([*self.counts.items(), ("waiting", waiting)], self.total)

    def percent(self, state: str) -> int | None:
        """As ``RunProgress.percent``."""
        if state in {RunState.COMPLETED, RunState.COMPLETED_WITH_ERRORS}:
            return 100
        if not self.total:
            return None
        return min(99, 100 * (self.read + self.loaded + self.verified) // (PASSES * self.total))


def briefly(runs: Sequence[Run]) -> dict[int, Brief]:
    """Run id → its line; one query for all of them."""
    with connection.cursor() as cursor:
        cursor.execute(_BRIEFLY, [[run.pk for run in runs]])
        rows = cursor.fetchall()
    found = {row[0]: Brief(int(row[1]), int(row[3]), int(row[4]), row[2] and int(row[2]), row[5]) for row in rows}
    return {run.pk: found.get(run.pk, Brief()) for run in runs}


_BRIEFLY = f"""
SELECT run.id, coalesce(steps.read, 0), steps.total, coalesce(chunks.loaded, 0), coalesce(chunks.verified, 0),
       ARRAY[{", ".join(f"coalesce(chunks.{name}, 0)" for name in COUNTED)}]
  FROM runs_run run,
       LATERAL (SELECT sum(s.read) AS read,
                       CASE WHEN bool_and(s.extracted_at IS NOT NULL OR s.expected IS NOT NULL) THEN
                            sum(CASE WHEN s.extracted_at IS NULL THEN greatest(s.expected, s.read) ELSE s.read END)
                       END AS total
                  FROM runs_step s WHERE s.run_id = run.id) steps,
       LATERAL (SELECT sum(c.records) FILTER (WHERE {_LOADED}) AS loaded,
                       sum(c.records) FILTER (WHERE c.state = 'verified') AS verified,
                       {", ".join(f"sum(c.{name}) FILTER (WHERE {_LOADED}) AS {name}" for name in COUNTED)}
                  FROM runs_chunk c WHERE c.run_id = run.id) chunks
 WHERE run.id = ANY(%s)
"""  # noqa: S608  put together from this module's own literals
