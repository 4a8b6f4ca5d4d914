"""What one worker holds open while it drives a run: the two connectors, and the compiled mapping of each step."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

import polars as pl
from django.db.models import F

from connectors import registry
from connectors.base import Source, Target
from connectors.types import ID_MAP, Alteration, EntitySchema, FieldType
from orgs import services as orgs
from projects.definitions import schema_from_json
from projects.mapping import codec
from projects.mapping.compiled import CompiledMapping
from projects.mapping.compiler import compile_mapping
from projects.mapping.equality import EqualityRule, rules_for
from projects.mapping.keys import key_prefix
from projects.mapping.specification import ObjectMapping
from projects.models import OnConflict
from projects.services import describe, narrow, value_maps
from runs import ledger
from runs.engine import parents
from runs.engine.id_map import ProjectIdMap
from runs.engine.journal import ChunkJournal
from runs.engine.parents import Parents
from runs.heartbeat import Heartbeat, WaitingClock
from runs.leases import Lease
from runs.ledger import Place
from runs.models import Run, Step


@dataclass(frozen=True)
class Bench:
    """One step's tools: its mapping, compiled against the schemas the run started with."""

    place: Place
    mapping: ObjectMapping
    compiled: CompiledMapping
    parents: Mapping[str, tuple[int, ...]]
    """Source entity → ids of the project objects whose id map resolves references to it."""
    keeps_edits: bool
    """Whether an edit that somebody made in the target outweighs a change of the source."""
    finder: Parents
    """Finds parents that are not named by their source ids."""
    id_field: str
    """The target's own field for the id of a record."""
    alterations: frozenset[Alteration] = frozenset()
    """What the target does to values by itself."""

    def id_map(self, object_ids: Sequence[int], source_ids: pl.Series) -> pl.DataFrame:
        """As ``ledger.id_map``, of this project."""
        return ledger.id_map(self.place.project_id, object_ids, source_ids)

    def standing(self, object_ids: Sequence[int], source_ids: pl.Series) -> Mapping[str, str]:
        """As ``ledger.standing``, of this project."""
        return ledger.standing(self.place.project_id, object_ids, source_ids)

    @property
    def entity(self) -> str:
        return self.mapping.target_entity

    @property
    def keyless(self) -> bool:
        """Whether the target carries no key of ours, so that its records are known by the id map alone."""
        return self.mapping.key == ID_MAP

    @property
    def other_fields(self) -> tuple[str, ...]:
        """The target fields without the key."""
        return tuple(name for name in self.compiled.target_fields if name != self.mapping.key)

    @cached_property
    def content_schema(self) -> pl.Schema:
        """The types in which the mapping gives the target fields."""
        empty = pl.DataFrame(schema=dict.fromkeys(self.compiled.source_fields, pl.String))
        return self.compiled.apply(empty, {}).rows.select(self.compiled.target_fields).schema

    @cached_property
    def rules(self) -> Mapping[str, tuple[EqualityRule, ...]]:
        """Target field → the rules by which a value read back may equal it beside exactly."""
        chosen = self.mapping.equality
        return {
            field.name: chosen.get(field.name, rules_for(field.info, self.alterations))
            for field in self.compiled.fields
        }

    @property
    def json_fields(self) -> frozenset[str]:
        return frozenset(field.name for field in self.compiled.fields if field.info.type is FieldType.JSON)

    @property
    def key_prefix(self) -> str:
        return key_prefix(self.mapping)


@dataclass(frozen=True, slots=True)
class SourceContents:
    """The ``connectors.context.Contents`` of the records that are moved: their source, opened when it is asked."""

    source: Callable[[], Source]

    def read(self, at: str, into: BinaryIO) -> None:
        self.source().content(at, into)


class Session(AbstractContextManager["Session"]):
    """Opened lazily, closed together; counts the requests it caused into the run.

    ``place`` is the worker's place at the run, kept with the lease of what it works on."""

    def __init__(self, run_id: int, place: Lease | None = None) -> None:
        self.run = Run.objects.select_related("project__source", "project__target", "undoes").get(pk=run_id)
        self._stack = ExitStack()
        self.heartbeat = Heartbeat(place)
        self._stack.callback(self.heartbeat.close)
        self.clock = WaitingClock(self.heartbeat)
        self._benches: dict[int, Bench] = {}
        self.journal = ChunkJournal(run_id)
        self.id_map = ProjectIdMap(self.run.project_id, lambda: self.heartbeat.held)
        self.rematched: set[int] = set()
        """Steps whose waiting records' match keys this worker has registered."""

    @cached_property
    def source(self) -> Source:
        source = self._stack.enter_context(orgs.open_source(self.run.project.source, clock=self.clock))
        narrow(self.run.project, source)
        return source

    @cached_property
    def target(self) -> Target:
        contents = SourceContents(lambda: self.source)
        opened = orgs.open_target(
            self.run.project.target, journal=self.journal, id_map=self.id_map, clock=self.clock, contents=contents
        )
        return self._stack.enter_context(opened)

    def make_room(self, wanted: Sequence[tuple[EntitySchema, str]]) -> tuple[str, ...]:
        """Create what the target lacks of these entities, each with its key; one sentence per change."""
        return tuple(change for schema, key in wanted for change in self.target.ensure_entity(schema, key=key))

    def describe_target(self, entity: str) -> EntitySchema:
        """The target's entity as it is now, kept as our definition of it."""
        return describe(self.run.project.target, entity, self.target)

    def bench(self, step_id: int) -> Bench:
        if step_id not in self._benches:
            self._benches[step_id] = self._set_up(Step.objects.select_related("object").get(pk=step_id))
        return self._benches[step_id]

    def _set_up(self, step: Step) -> Bench:
        mapping = codec.decode(step.mapping)
        target_schema = schema_from_json(step.target_schema)
        compiled = compile_mapping(mapping, schema_from_json(step.source_schema), target_schema, self._value_maps)
        place = Place(self.run.project_id, step.object_id, self.run.pk, step.pk, mapping.part)
        keeps_edits = step.object.on_conflict != OnConflict.SOURCE
        altered = registry.target_class(self.run.project.target.platform).capabilities.alters
        finder, id_field = Parents(lambda: self.target, self._places_by_entity), target_schema.entity.id_field
        return Bench(place, mapping, compiled, self._objects_by_entity, keeps_edits, finder, id_field, altered)

    @cached_property
    def _value_maps(self) -> Mapping[str, Mapping[str, str | None]]:
        return value_maps(self.run.project)

    @cached_property
    def _objects_by_entity(self) -> Mapping[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for pk, entity in self.run.project.project_objects.values_list("pk", "source_entity"):
            found[entity] = (*found.get(entity, ()), pk)
        return found

    @cached_property
    def _places_by_entity(self) -> Mapping[str, tuple[parents.Place, ...]]:
        found: dict[str, tuple[parents.Place, ...]] = {}
        for entity, there, key in self.run.project.project_objects.values_list(
            "source_entity", "target_entity", "key"
        ).order_by("pk"):
            place = parents.Place(there, key)
            found[entity] = (*found.get(entity, ()), *(() if place in found.get(entity, ()) else (place,)))
        return found

    def __exit__(self, *error: object) -> None:
        opened = [self.__dict__[name] for name in ("source", "target") if name in self.__dict__]
        calls = sum(connector.calls for connector in opened)
        self._stack.close()
        if calls:
            Run.objects.filter(pk=self.run.pk).update(api_calls=F("api_calls") + calls)
