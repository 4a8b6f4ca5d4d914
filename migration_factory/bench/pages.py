"""How long people wait for a page of a project with ten million tracked records; filled by SQL, then looked at."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from statistics import median
from uuid import uuid4

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from migration_factory.bench.engine import BenchFailed
from migration_factory.bench.trial import Figure, Size
from migration_factory.rehearsal import Reach, erase, make_org
from orgs.models import Customer, Role
from projects import services as projects
from projects.models import Project, ProjectObject
from runs import ledger, previews
from runs.models import Run, Step

TIMES_THE_ROWS = 10
OBJECTS = 5
CHUNK_ROWS = 10_000
TROUBLED_EACH = 100
"""Every so many-th record was rejected, with a finding."""
LOOKS = 5
PREVIEW = "what a rollback of the run would do"
PREVIEW_BOUND_MS = 2_000.0
"""It reads all of the project's tracked records once."""
BOUND_MS = 500.0
"""What every page has to keep: the median of its looks but the first, which warms the cache."""


def measure(size: Size) -> list[Figure]:
    """Raises BenchFailed where a page is not served. Takes about a minute and 350 MB for a million records."""
    records = size.rows * TIMES_THE_ROWS // OBJECTS // CHUNK_ROWS * CHUNK_ROWS
    with _filled(max(records, CHUNK_ROWS)) as run, _viewer() as viewer:
        size.tell(f"filled {records * OBJECTS:,} tracked records")
        looks: dict[str, Callable[[], object]] = {
            name: partial(_visit, viewer, address) for name, address in _addresses(run).items()
        }
        looks[PREVIEW] = partial(previews.preview, run)
        bounds = {PREVIEW: PREVIEW_BOUND_MS}
        return [
            Figure(name, _milliseconds(look), "ms", at_most=bounds.get(name, BOUND_MS)) for name, look in looks.items()
        ]


def _addresses(run: Run) -> dict[str, str]:
    middle = run.project.project_objects.order_by("pk")[OBJECTS // 2]
    records = reverse("records:list", args=[run.project_id])
    find = reverse("records:find")
    token = f"{middle.pk}-{CHUNK_ROWS // 2:09}"
    return {
        "list of projects": reverse("admin:projects_project_changelist"),
        "page of the project": reverse("admin:projects_project_change", args=[run.project_id]),
        "list of runs": reverse("admin:runs_run_changelist"),
        "page of the run, with causes": reverse("admin:runs_run_change", args=[run.pk]),
        "poll of the run": reverse("admin:runs_run_progress", args=[run.pk]),
        "records": records,
        "records, one object": f"{records}?object={middle.pk}",
        "records, rejected": f"{records}?state=rejected",
        "records, rejected for one cause": f"{records}?state=rejected&code=too_long",
        "records, in the target": f"{records}?state=landed",
        "look-up by source id": f"{find}?q=S{token}",
        "look-up by target id": f"{find}?q=T{token}",
        "look-up by external id": f"{find}?q=bench:S{token}",
        "look-up of what is not there": f"{find}?q=nothing-of-that-name",
    }


def _milliseconds(look: Callable[[], object]) -> float:
    took = []
    for _ in range(LOOKS):
        started = time.perf_counter()
        look()
        took.append((time.perf_counter() - started) * 1_000)
    return median(took[1:])


def _visit(viewer: Client, address: str) -> None:
    answer = viewer.get(address, follow=True)
    if answer.status_code not in (200, 204):
        raise BenchFailed(f"{address} answered {answer.status_code}.")


@contextmanager
def _viewer() -> Iterator[Client]:
    person = User.objects.create_superuser(f"bench-{uuid4().hex[:10]}")
    try:
        client = Client(headers={"host": settings.ALLOWED_HOSTS[0] if settings.ALLOWED_HOSTS else "localhost"})
        client.force_login(person)
        yield client
    finally:
        person.delete()


@contextmanager
def _filled(each: int) -> Iterator[Run]:
    """A finished run of ``OBJECTS`` objects with ``each`` records; a hundredth of them rejected, with findings."""
    customer = Customer.objects.create(name="Benchmark", slug=f"benchmark-{uuid4().hex[:10]}")
    try:
        project = _project(customer)
        run = Run.objects.create(project=project, state="completed_with_errors", started_at=datetime.now(UTC))
        ledger.ensure_partition(project.pk)
        for position, chosen in enumerate(project.project_objects.order_by("pk")):
            _fill(run, chosen, position, each)
        Run.objects.filter(pk=run.pk).update(planned_at=datetime.now(UTC), finished_at=datetime.now(UTC))
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
        yield run
    finally:
        erase(customer)


def _project(customer: Customer) -> Project:
    source = make_org(customer, "Source", Role.SOURCE, Reach("workbook", folder=settings.BASE_DIR))
    known = {"host": "127.0.0.1", "port": "5432", "database": "none", "user": "none"}
    target = make_org(customer, "Target", Role.TARGET, Reach("postgresql", known, {"password": "none"}))
    project = projects.create_project(customer, "Benchmark", source=source, target=target, mirror=True)
    ProjectObject.objects.bulk_create(
        ProjectObject(
            project=project, source_entity=f"E{n}", target_entity=f"e{n}", key="mf_key", identity="Id", position=n
        )
        for n in range(OBJECTS)
    )
    return project


def _fill(run: Run, chosen: ProjectObject, position: int, each: int) -> None:
    mapping = {"source_entity": chosen.source_entity, "target_entity": chosen.target_entity, "identity": "Id"}
    nothing: dict[str, object] = {"entity": {}, "fields": []}
    step = Step.objects.create(
        run=run, object=chosen, position=position, wave=0, mapping=mapping, source_schema=nothing,
        target_schema=nothing, expected=each, read=each, started_at=datetime.now(UTC), extracted_at=datetime.now(UTC),
    )  # fmt: skip
    names = {
        "run": run.pk, "step": step.pk, "project": run.project_id, "object": chosen.pk, "each": each,
        "rows": CHUNK_ROWS, "troubled": TROUBLED_EACH,
    }  # fmt: skip
    with connection.cursor() as cursor:
        for statement in _FILL:
            cursor.execute(statement, names)


_FILL: Sequence[str] = (
    """INSERT INTO runs_chunk (run_id, step_id, project_id, month, intended_at, sequence, state, records, created,
                               rejected, loaded_at, verified_at, verified_records, verified_fields)
       SELECT %(run)s, %(step)s, %(project)s, date_trunc('month', now()), now(), n, 'verified', %(rows)s,
              %(rows)s - %(rows)s / %(troubled)s, %(rows)s / %(troubled)s, now(), now(), %(rows)s, %(rows)s * 20
         FROM generate_series(0, %(each)s / %(rows)s - 1) n""",
    """INSERT INTO runs_trackedrecord (project_id, object_id, source_id, part, state, target_id, key, hash, code,
                                       reason, run_id, chunks)
       SELECT %(project)s, %(object)s, name.id, '', CASE WHEN bad THEN 'rejected' ELSE 'loaded' END,
              CASE WHEN NOT bad THEN 'T' || substr(name.id, 2) END, 'bench:' || name.id, gen_random_uuid(),
              CASE WHEN bad THEN 'too_long' ELSE '' END, CASE WHEN bad THEN 'The name is too long.' ELSE '' END,
              %(run)s, ARRAY[c.id]
         FROM runs_chunk c, generate_series(c.sequence * %(rows)s, (c.sequence + 1) * %(rows)s - 1) n,
              LATERAL (SELECT 'S' || %(object)s || '-' || lpad(n::text, 9, '0') AS id,
                              n %% %(troubled)s = 0 AS bad) name
        WHERE c.step_id = %(step)s""",
    """INSERT INTO runs_finding (project_id, run_id, step_id, chunk_id, phase, severity, source_id, part, field, rule,
                                 message)
       SELECT %(project)s, %(run)s, %(step)s, chunks[1], 'load', 'error', source_id, '', 'Name', code, reason
         FROM runs_trackedrecord WHERE project_id = %(project)s AND object_id = %(object)s AND state = 'rejected'""",
)
