"""Plain functions that make what tests need, with sensible defaults."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

import polars as pl
from django.contrib.auth.models import Permission, User

from orgs.models import Customer, Org, Role
from projects.definitions import schema_to_json
from projects.mapping import codec, derive
from projects.models import Project, ProjectObject
from runs import ledger, payload
from runs.choices import ChunkState, RunState
from runs.ledger import OUTCOME_COLUMNS
from runs.models import Chunk, Run, Step
from tests.fakes import schema

_numbers = itertools.count(1)


def user(*permissions: str, staff: bool = True, superuser: bool = False) -> User:
    """A person with permissions written ``app.codename``."""
    person = User.objects.create_user(
        username=f"user{next(_numbers)}", password="password", is_staff=staff, is_superuser=superuser
    )
    for name in permissions:
        app, codename = name.split(".")
        person.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return person


def customer(**given: Any) -> Customer:
    number = next(_numbers)
    return Customer.objects.create(**{"name": f"Customer {number}", "slug": f"customer-{number}", **given})


def org(**given: Any) -> Org:
    whose = given.pop("customer", None) or customer()
    return Org.objects.create(
        **{"customer": whose, "name": f"Org {next(_numbers)}", "platform": "fake", "role": Role.BOTH, **given}
    )


def project(**given: Any) -> Project:
    """A mirror of one fake org in another, unless told otherwise."""
    whose = given.pop("customer", None) or customer()
    defaults = {"customer": whose, "name": f"Project {next(_numbers)}", "mirror": True}
    source = given.pop("source", None) or org(customer=whose, role=Role.SOURCE)
    target = given.pop("target", None) or org(customer=whose, role=Role.TARGET)
    return Project.objects.create(**{**defaults, "source": source, "target": target, **given})


def project_object(of: Project, entity: str, **given: Any) -> ProjectObject:
    defaults = {
        "source_entity": entity,
        "target_entity": derive.mirror_entity(entity),
        "identity": "Id",
        "key": derive.MIRROR_KEY,
        "position": of.project_objects.count(),
    }
    return ProjectObject.objects.create(project=of, **{**defaults, **given})


def run(of: Project, **given: Any) -> Run:
    return Run.objects.create(project=of, **{"state": RunState.QUEUED, **given})


def step(of: Run, chosen: ProjectObject, fields: Sequence[str] = ("Id", "Name"), **given: Any) -> Step:
    source = schema(chosen.source_entity, *fields)
    defaults = {
        "position": of.steps.count(),
        "wave": 0,
        "mapping": codec.encode(derive.mirror(source)),
        "source_schema": schema_to_json(source),
        "target_schema": schema_to_json(schema(chosen.target_entity, *(name.lower() for name in fields))),
    }
    return Step.objects.create(run=of, object=chosen, **{**defaults, **given})


def chunk(of: Step, rows: Sequence[Mapping[str, str | None]], **given: Any) -> Chunk:
    """A chunk of source records; loaded ones say how they ended (``created=…``), which must add up."""
    frame = pl.DataFrame(list(rows))
    month = of.run.created_at.astimezone(UTC).date().replace(day=1)
    defaults = {
        "sequence": of.chunks.count(),
        "records": frame.height,
        "state": ChunkState.STAGED,
        "month": month,
    }
    made = Chunk.objects.create(project=of.run.project, run=of.run, step=of, **{**defaults, **given})
    ledger.keep(made.pk, made.project_id, month, payload.pack(frame, purpose=payload.PAYLOAD))
    return made


def track(of: Chunk, *records: Mapping[str, str | None]) -> None:
    """Put records into the ledger as if ``of`` had loaded them; each needs ``source_id`` and ``state``."""
    place = ledger.Place(of.run.project_id, of.step.object_id, of.run_id, of.step_id)
    ledger.ensure_partition(of.run.project_id)
    blank: dict[str, str | None] = {
        "part": "", "target_id": None, "key": None, "hash": None, "code": "", "reason": ""
    }  # fmt: skip
    rows = pl.DataFrame([{**blank, **record} for record in records], schema=dict.fromkeys(OUTCOME_COLUMNS, pl.String))
    ledger.track(place, of.pk, rows)


def match_key(of: Step, source_id: str, digits: str = "0" * 32) -> None:
    """Register a match key of one record as reading it does."""
    place = ledger.Place(of.run.project_id, of.object_id, of.run_id, of.pk)
    rows = pl.DataFrame({"source_id": [source_id], "part": [""], "match": [digits]})
    ledger.register_match_keys(place, of.chunks.order_by("pk").values_list("pk", flat=True)[0], rows)
