"""Estimates of runs: the volumes and measured rates of this installation put into ``projects.estimate``, and what
a run really took beside them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from django.db import connection
from django.db.models import Count, Q

from connectors import registry
from connectors.base import Source
from orgs import services as orgs
from orgs.models import Org
from projects import services as projects
from projects.estimate import LEDGER_BYTES, Estimate, Range, Rates, System, Volume, estimate
from projects.models import FieldMapping, ObjectDefinition, Project, ProjectObject
from runs.choices import RunKind
from runs.forecast_models import RunEstimate
from runs.models import Run, Step

LEAST_RECORDS: Final = 200
"""Under so many the start and the end of a run outweigh its records."""
NEWEST: Final = 10
RECORD_BYTES: Final[Mapping[str, int]] = {"salesforce": 2_048}
"""What platforms count for a record whatever it holds.
https://help.salesforce.com/s/articleView?id=platform.overview_storage.htm"""


@dataclass(frozen=True, slots=True)
class Beside:
    """One figure as it was predicted and as it came out. ``real`` is None where it is not measured, or not yet."""

    name: str
    predicted: Range
    real: float | None

    @property
    def within(self) -> bool | None:
        return None if self.real is None else self.real in self.predicted


def foresee(project: Project, *, sampled: int = 0) -> Estimate:
    """What a load of the project would take; asks the source for its counts, and for so many records of each object
    to see how large they are. Raises connector errors."""
    objects = list(project.project_objects.filter(enabled=True))
    with orgs.open_source(project.source) as source:
        projects.narrow(project, source)
        counted = {chosen.pk: source.count(chosen.source_entity) for chosen in objects}
        texts = {chosen.pk: _text_each(source, chosen.source_entity, sampled) for chosen in objects if sampled}
    seen = _last_read(project, objects)
    records = {pk: seen.get(pk) if count is None else count for pk, count in counted.items()}
    return _estimate(project, objects, records, texts)


def _text_each(source: Source, entity: str, size: int) -> float | None:
    """Bytes of text of a sampled record; None where the entity has none."""
    frame = source.sample(entity, source.describe(entity).names, size=size)
    return (
        sum(int(frame[name].str.len_bytes().sum()) for name in frame.columns) / frame.height if frame.height else None
    )


def keep(run: Run) -> None:
    """Store what the run, just planned, is thought to take. Once: going on after a crash changes nothing."""
    steps = list(run.steps.select_related("object"))
    if RunEstimate.objects.filter(run=run).exists():
        return
    made = _estimate(run.project, [step.object for step in steps], {step.object_id: step.expected for step in steps})
    RunEstimate.objects.get_or_create(run=run, defaults={"body": made.as_json()})


def beside(run: Run) -> list[Beside]:
    """Predicted and real, figure by figure; empty where nothing was predicted."""
    stored = RunEstimate.objects.filter(run=run).first()
    if stored is None:
        return []
    predicted = Estimate.from_json(stored.body)
    ended = run.finished_at is not None and run.started_at is not None
    seconds = (run.finished_at - run.started_at).total_seconds() if run.finished_at and run.started_at else None
    read = sum(run.steps.values_list("read", flat=True))
    return [
        Beside("records", Range(predicted.records, predicted.records), read if ended else None),
        Beside("seconds", predicted.seconds, seconds),
        Beside("calls", predicted.calls, run.api_calls if ended else None),
        Beside("ours", predicted.ours, _ours(run, read) if ended else None),
        Beside("theirs", predicted.theirs, None),
    ]


def basis_of(run: Run) -> tuple[str, ...]:
    """The sentences under the run's estimate."""
    stored = RunEstimate.objects.filter(run=run).first()
    return Estimate.from_json(stored.body).basis if stored else ()


def _estimate(
    project: Project,
    objects: Sequence[ProjectObject],
    records: Mapping[int, int | None],
    texts: Mapping[int, float | None] = MappingProxyType({}),
) -> Estimate:
    fields, sizes = _fields(project, objects), _sizes([chosen.pk for chosen in objects])
    volumes = [
        Volume(
            str(chosen), records.get(chosen.pk), fields[chosen.pk], sizes.get(chosen.pk), text_each=texts.get(chosen.pk)
        )
        for chosen in objects
    ]
    return estimate(volumes, rates(project), _system(project.source, reads=True), _system(project.target, reads=False))


def rates(project: Project) -> Rates:
    """What loads took per record: those of the project itself, else those between the same platforms."""
    found = _measured(project, own=True) or _measured(project, own=False)
    return Rates(tuple(seconds for seconds, _ in found), tuple(calls for _, calls in found), len(found))


def _measured(project: Project, *, own: bool) -> list[tuple[float, float]]:
    """Seconds and calls per record of the newest loads, longest waits included."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT extract(epoch FROM r.finished_at - r.started_at) / s.read, r.api_calls::float / s.read
                 FROM runs_run r
                 JOIN projects_project p ON p.id = r.project_id
                 JOIN orgs_org source ON source.id = p.source_id
                 JOIN orgs_org target ON target.id = p.target_id
                CROSS JOIN LATERAL (SELECT sum(read) AS read FROM runs_step WHERE run_id = r.id) s
                WHERE r.kind = %s AND r.state IN ('completed', 'completed_with_errors') AND s.read >= %s
                  AND (r.project_id = %s OR NOT %s) AND source.platform = %s AND target.platform = %s
                ORDER BY r.id DESC LIMIT %s""",
            [
                RunKind.LOAD, LEAST_RECORDS, project.pk, own, project.source.platform, project.target.platform, NEWEST
            ],
        )  # fmt: skip
        return [(float(seconds), float(calls)) for seconds, calls in cursor.fetchall()]


def _sizes(object_ids: Sequence[int]) -> dict[int, float]:
    """Object id → bytes per record with us, over the newest run that read the object; absent where none did."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT newest.object_id,
                      sum(octet_length(d.payload) + coalesce(octet_length(d.before), 0))::float / sum(c.records)
                 FROM (SELECT DISTINCT ON (s.object_id) s.object_id, s.id, r.project_id
                         FROM runs_step s JOIN runs_run r ON r.id = s.run_id
                        WHERE s.object_id = ANY(%s) AND r.kind IN ('load', 'dry_run') AND s.read > 0
                        ORDER BY s.object_id, s.id DESC) newest
                 JOIN runs_chunk c ON c.step_id = newest.id
                 JOIN runs_chunkcontent d
                   ON d.project_id = newest.project_id AND d.month = c.month AND d.chunk_id = c.id
                GROUP BY newest.object_id""",
            [list(object_ids)],
        )
        return dict(cursor.fetchall())


def _last_read(project: Project, objects: Sequence[ProjectObject]) -> dict[int, int]:
    """Object id → how many records the newest finished load read; absent where none did."""
    steps = Step.objects.filter(run__project=project, run__kind=RunKind.LOAD, object__in=objects)
    done = steps.filter(extracted_at__isnull=False).order_by("object_id", "-pk").distinct("object_id")
    return dict(done.values_list("object_id", "read"))


def _fields(project: Project, objects: Sequence[ProjectObject]) -> dict[int, int]:
    """Object id → how many fields move: the mapping's, or those of the described entity; ten where nobody knows."""
    counted = ProjectObject.objects.filter(pk__in=[chosen.pk for chosen in objects]).annotate(
        rules=Count("fields", filter=Q(fields__half=FieldMapping.Half.TARGET))
    )
    rules = dict(counted.values_list("pk", "rules"))
    described = {
        known.entity: len(known.schema.get("fields", ()))
        for known in ObjectDefinition.objects.filter(
            org=project.source, entity__in=[chosen.source_entity for chosen in objects]
        )
    }
    return {chosen.pk: rules.get(chosen.pk) or described.get(chosen.source_entity) or 10 for chosen in objects}


def _system(org: Org, *, reads: bool) -> System:
    kind = registry.source_class(org.platform) if reads else registry.target_class(org.platform)
    able, reading = kind.capabilities, orgs.budget_of(org)
    terms, quota = reading.terms, reading.state.quota_limit
    days = [limit for limit in (terms.per_day, quota - terms.floor(quota) if quota else 0) if limit]
    return System(
        org.name,
        by_requests=bool(able.requests_per_second or able.concurrency),
        page_size=able.page_size,
        per_second=terms.requests / terms.window if terms.requests else 0,
        per_day=min(days, default=0),
        bytes_per_record=RECORD_BYTES.get(org.platform),
    )


def _ours(run: Run, read: int) -> float:
    """Bytes in our database: the contents of the run's chunks, and about what its tracked records take."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT coalesce(sum(octet_length(d.payload) + coalesce(octet_length(d.before), 0)), 0)
                 FROM runs_chunk c JOIN runs_chunkcontent d
                   ON d.project_id = %s AND d.month = c.month AND d.chunk_id = c.id
                WHERE c.run_id = %s""",
            [run.project_id, run.pk],
        )
        contents = int(cursor.fetchone()[0])
    return contents + read * (LEDGER_BYTES.low + LEDGER_BYTES.high) / 2
