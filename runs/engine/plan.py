"""Plan: describe both sides, make what a mirror lacks, check every mapping, and lay out steps in waves."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import orjson
from django.db import transaction

from connectors.errors import SettingsInvalid
from connectors.types import ID_MAP, EntitySchema, FieldInfo, FieldType
from projects import services as projects
from projects.definitions import schema_to_json
from projects.mapping import codec
from projects.mapping.compiled import CompiledMapping
from projects.mapping.compiler import compile_mapping
from projects.mapping.specification import ObjectMapping
from projects.models import ProjectObject
from projects.ordering import Node, plan_order
from runs import events, leases, ledger
from runs.choices import RunKind
from runs.crash_points import CrashPoint, reached
from runs.engine import deletions
from runs.engine.session import Session
from runs.leases import Lease
from runs.ledger import Mark
from runs.models import Run, Step

OVERLAP = timedelta(minutes=10)
"""How far before its watermark a delta reads."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One object of the run as it will be done."""

    object: ProjectObject
    mapping: ObjectMapping
    source: EntitySchema
    target: EntitySchema
    compiled: CompiledMapping


class NothingToDo(Exception):
    """The project moves no object."""


def plan(session: Session, lease: Lease) -> None:
    """Write the run's steps. Raises MappingInvalid, OrderImpossible, NothingToDo, connector errors, LeaseLost."""
    objects = list(session.run.project.project_objects.filter(enabled=True).select_related("project"))
    if not objects:
        raise NothingToDo("The project has no enabled object: choose what to move, then start again.")
    sources = {chosen.pk: _describe_source(session, chosen, objects) for chosen in objects}
    people = projects.refresh_people(session.run.project, session.source, session.target)
    changes = session.make_room(rooms(objects, sources)) if session.run.project.mirror else ()
    planned = [_check(session, chosen, sources[chosen.pk]) for chosen in objects]
    waves = _waves(planned)
    planned.sort(key=lambda item: (waves[item.object.pk], item.object.position, item.object.pk))
    marks = [_mark(session, item) for item in planned]
    expected = [_expected(session, item, mark) for item, mark in zip(planned, marks, strict=True)]
    reached(CrashPoint.PLAN_DESCRIBED)
    with transaction.atomic():
        leases.settle(lease, "planned_at = clock_timestamp(), mapping_digest = %s", [_digest(planned)])
        reached(CrashPoint.PLAN_IN_TRANSACTION)
        ledger.ensure_partition(session.run.project_id)
        steps = [
            _step(session.run, item, position, waves[item.object.pk], expected=count, mark=mark)
            for position, (item, mark, count) in enumerate(zip(planned, marks, expected, strict=True))
        ]
        followed = deletions.steps_after(session, steps) if session.run.kind == RunKind.DELTA else []
        Step.objects.bulk_create([*steps, *followed])
        for said in (*changes, *people, *_noted(planned)):
            events.tell(session.run.pk, said)
        events.tell(session.run.pk, f"Planned {len(planned)} objects in {len(set(waves.values()))} waves.")
    reached(CrashPoint.PLAN_WRITTEN)


def _noted(planned: Sequence[Planned]) -> Iterator[str]:
    """What the source has to say of the values of fields that are moved, and what follows without an external id."""
    for item in planned:
        if item.mapping.key == ID_MAP:
            yield projects.without_external_id(item.target.entity.name)
        for field in item.source.fields:
            if field.note and field.name in item.compiled.source_fields:
                yield f"{item.mapping.source_entity}: {field.note}"


def _describe_source(session: Session, chosen: ProjectObject, objects: Sequence[ProjectObject]) -> EntitySchema:
    schema = projects.describe(session.run.project.source, chosen.source_entity, session.source)
    if not session.run.project.mirror:
        return schema
    moved = {other.source_entity for other in objects}
    return EntitySchema(
        schema.entity, tuple(_within(field, moved) for field in schema.fields if field.type is not FieldType.CONTENT)
    )


def _within(field: FieldInfo, moved: set[str]) -> FieldInfo:
    """The field as a mirror of only the ``moved`` entities can hold it: other references stay plain text."""
    references = tuple(entity for entity in field.references if entity in moved)
    if field.type == FieldType.REFERENCE and len(references) != 1:
        return replace(field, type=FieldType.TEXT, references=())
    return replace(field, references=references)


def rooms(objects: Sequence[ProjectObject], sources: Mapping[int, EntitySchema]) -> list[tuple[EntitySchema, str]]:
    """The entities that a mirror needs, referenced ones first, each with the name of its key. ``sources`` has the
    source's entity by the id of the project's object."""
    tables = {chosen.source_entity: chosen.target_entity for chosen in objects}
    by_entity = {chosen.source_entity: chosen for chosen in objects}
    nodes = [
        Node(name, tuple((field.name, to, False) for field in sources[chosen.pk].fields for to in field.references))
        for name, chosen in by_entity.items()
    ]
    wanted = []
    for name in (name for wave in plan_order(nodes).waves for name in wave):
        source = sources[by_entity[name].pk]
        fields = tuple(
            replace(field, references=tuple(tables[to] for to in field.references)) for field in source.fields
        )
        wanted.append((EntitySchema(replace(source.entity, name=tables[name]), fields), by_entity[name].key))
    return wanted


def _check(session: Session, chosen: ProjectObject, source: EntitySchema) -> Planned:
    mapping = projects.object_mapping(chosen, source)
    if mapping.match and not session.target.capabilities.finds:
        raise SettingsInvalid(
            f"{session.run.project.target} cannot look records up by {', '.join(mapping.match)}; take the match key "
            f"off the object {chosen}."
        )
    if mapping.key == ID_MAP:
        _check_keyless(session, chosen)
    target = session.describe_target(mapping.target_entity)
    compiled = compile_mapping(mapping, source, target, projects.value_maps(session.run.project))
    return Planned(chosen, mapping, source, target, compiled)


def _check_keyless(session: Session, chosen: ProjectObject) -> None:
    """Raises SettingsInvalid where records that carry no key of ours could not be told apart, or not be found again."""
    project = session.run.project
    if not session.target.capabilities.id_map:
        raise SettingsInvalid(
            f"{project.target} cannot be asked what became of records that carry no external id; choose a field for "
            f"it in the object {chosen}."
        )
    same = project.project_objects.filter(enabled=True, key=ID_MAP, target_entity=chosen.target_entity)
    if same.exclude(pk=chosen.pk).exists():
        raise SettingsInvalid(
            f"Several objects bring records to {chosen.target_entity} without an external id, so that their ids may "
            "clash; choose a field for it in all but one of them."
        )


def _waves(planned: Sequence[Planned]) -> dict[int, int]:
    """Project object id → wave. A reference to an entity waits for every object made of that entity."""
    makers: dict[str, list[str]] = {}
    for item in planned:
        makers.setdefault(item.mapping.source_entity, []).append(str(item.object.pk))
    nodes = [
        Node(
            str(item.object.pk),
            tuple(
                (use.field, maker, use.required)
                for use in item.compiled.references
                for entity in use.entities
                for maker in makers.get(entity, ())
            ),
        )
        for item in planned
    ]
    return {int(name): number for number, wave in enumerate(plan_order(nodes).waves) for name in wave}


def _expected(session: Session, item: Planned, mark: Mark | None) -> int | None:
    """How many records will be read; a retry reads what is due, which its staging counts."""
    if session.run.kind == RunKind.RETRY:
        return None
    return session.source.count(item.mapping.source_entity, since=_since(mark))


def _digest(planned: Sequence[Planned]) -> str:
    stored = [codec.encode(item.mapping) for item in planned]
    return hashlib.sha256(orjson.dumps(stored, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _mark(session: Session, item: Planned) -> Mark | None:
    """The mark from which a delta reads on; None (everything) where the platform cannot be asked for changes."""
    if session.run.kind != RunKind.DELTA or not session.source.capabilities.delta:
        return None
    if item.source.entity.updated_field is None:
        return None
    return ledger.watermark(item.object.pk)


def _since(mark: Mark | None) -> datetime | None:
    """The overlap catches what was committed late under an earlier time; the hash drops what did not change."""
    return mark.at - OVERLAP if mark else None


def _step(run: Run, item: Planned, position: int, wave: int, *, expected: int | None, mark: Mark | None) -> Step:
    return Step(
        run=run,
        object=item.object,
        position=position,
        wave=wave,
        since=_since(mark),
        since_id=mark.id if mark else "",
        mapping=codec.encode(item.mapping),
        source_schema=schema_to_json(item.source),
        target_schema=schema_to_json(item.target),
        read_before_load=bool(item.mapping.match),
        expected=expected,
    )
