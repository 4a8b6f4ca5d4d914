"""In-memory connectors with a contract: a world of source records and target rows, and faults on demand."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol

import polars as pl

from connectors.base import Source, Target
from connectors.errors import ConnectorError, SettingsInvalid
from connectors.types import (
    RESULT_SCHEMA,
    Asking,
    Capabilities,
    Cursor,
    EntityInfo,
    EntitySchema,
    FieldInfo,
    FieldType,
    Identity,
    Outcome,
    Page,
    Setting,
    WriteResult,
)

Row = dict[str, Any]


def schema(entity: str, *fields: str | FieldInfo, id_field: str = "Id") -> EntitySchema:
    """A schema of text fields; give a FieldInfo for anything else. The id field comes first."""
    infos = [item if isinstance(item, FieldInfo) else FieldInfo(item) for item in fields]
    if id_field not in {info.name for info in infos}:
        infos.insert(0, FieldInfo(id_field))
    return EntitySchema(EntityInfo(entity, entity, id_field), tuple(infos))


def reference(name: str, *entities: str, required: bool = False) -> FieldInfo:
    return FieldInfo(name, FieldType.REFERENCE, references=entities, required=required)


@dataclass
class World:
    """What the fake systems hold. ``before_write`` and ``after_write`` may raise, to play a lost request or answer;
    ``spoil`` changes an answer on its way. ``heard`` are the idempotency keys of the writes; ``target`` is the
    connector that wrote last."""

    schemas: dict[str, EntitySchema] = field(default_factory=dict)
    records: dict[str, list[dict[str, str | None]]] = field(default_factory=lambda: defaultdict(list))
    target_schemas: dict[str, EntitySchema] = field(default_factory=dict)
    rows: dict[str, dict[str, Row]] = field(default_factory=lambda: defaultdict(dict))
    page_size: int = 3
    refuse: Callable[[str, Row], str | None] = lambda *_: None
    before_read: Callable[[str, int], None] = lambda *_: None
    before_write: Callable[[str], None] = lambda *_: None
    after_write: Callable[[str], None] = lambda *_: None
    spoil: Callable[[pl.DataFrame], pl.DataFrame] = lambda answer: answer
    code: str = "refused"
    heard: list[str] = field(default_factory=list)
    finds: list[tuple[str, int]] = field(default_factory=list)
    before_adopt: Callable[[str], None] = lambda *_: None
    after_adopt: Callable[[str], None] = lambda *_: None
    writes: list[tuple[str, int]] = field(default_factory=list)
    ignores_case: bool = False
    next_id: int = 1
    target: Any = None

    def add(self, entity: EntitySchema, *records: Mapping[str, str | None]) -> None:
        name = entity.entity.name
        self.schemas[name] = entity
        for record in records:
            self.records[name].append({info.name: record.get(info.name) for info in entity.fields})


WORLDS: dict[str, World] = {}
FAKE_SOURCES = {"fake": "tests.fakes:FakeSource"}
FAKE_TARGETS = {"fake": "tests.fakes:FakeTarget"}


class Connect(Protocol):
    """Have the registry know these connectors, and no others, until the test ends (fixture ``only_connectors``)."""

    def __call__(self, sources: Mapping[str, str], targets: Mapping[str, str] = FAKE_TARGETS) -> None: ...


class Fake:
    """What the fake source and target share."""

    slug: ClassVar[str] = "fake"
    label: ClassVar[str] = "Fake"
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("world", "World", required=False),
        Setting("password", "Password", secret=True, required=False),
    )
    context: Any

    @property
    def world(self) -> World:
        return WORLDS[self.context.settings.get("world", "world")]

    def check(self) -> Identity:
        return Identity("Fake")


class FakeSource(Fake, Source):
    capabilities = Capabilities(reads=True, counts=True)

    def entities(self) -> tuple[EntityInfo, ...]:
        return tuple(known.entity for _, known in sorted(self.world.schemas.items()))

    def describe(self, entity: str) -> EntitySchema:
        if entity not in self.world.schemas:
            raise SettingsInvalid(f"There is no entity “{entity}”.")
        return self.world.schemas[entity]

    def count(self, entity: str, *, since: datetime | None = None) -> int | None:
        return len(self.world.records[entity])

    def read(
        self, entity: str, fields: Sequence[str], *, since: datetime | None = None, cursor: Cursor | None = None
    ) -> Iterator[Page]:
        offset = int(str(cursor["offset"])) if cursor else 0
        records = self.world.records[entity]
        columns = dict.fromkeys(fields, pl.String)
        while True:
            self.world.before_read(entity, offset)
            page = records[offset : offset + self.world.page_size]
            offset += len(page)
            frame = pl.DataFrame([{name: row[name] for name in fields} for row in page], schema=columns)
            ended = offset >= len(records)
            yield Page(frame, None if ended else {"offset": offset})
            if ended:
                return


class FakeTarget(Fake, Target):
    capabilities = Capabilities(writes=True, creates_schema=True, asked_by=Asking.KEY_LOOKUP, finds=True)

    def entities(self) -> tuple[EntityInfo, ...]:
        return tuple(known.entity for _, known in sorted(self.world.target_schemas.items()))

    def describe(self, entity: str) -> EntitySchema:
        if entity not in self.world.target_schemas:
            raise SettingsInvalid(f"There is no entity “{entity}”.")
        return self.world.target_schemas[entity]

    def write(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        self.world.target = self
        self.world.before_write(entity)
        self.world.heard.append(self.context.journal.key)
        self.world.writes.append((entity, frame.height))
        results = [self._put(entity, row, key) for row in frame.iter_rows(named=True)]
        self.world.after_write(entity)
        answer = pl.DataFrame(results, schema=RESULT_SCHEMA, orient="row")
        return WriteResult(self.world.spoil(answer))

    def _put(self, entity: str, row: Row, key: str) -> tuple[str | None, ...]:
        held, name = self.world.rows[entity], str(row[key])
        refusal = self.world.refuse(entity, row)
        if refusal:
            return (name, None, Outcome.REJECTED, self.world.code, "", refusal)
        if name not in held:
            held[name] = {"target_id": str(self.world.next_id), **row}
            self.world.next_id += 1
            return (name, held[name]["target_id"], Outcome.CREATED, None, None, None)
        if all(held[name].get(column) == value for column, value in row.items()):
            return (name, held[name]["target_id"], Outcome.UNCHANGED, None, None, None)
        held[name].update(row)
        return (name, held[name]["target_id"], Outcome.UPDATED, None, None, None)

    def fetch(self, entity: str, *, key: str, keys: Sequence[str], fields: Sequence[str]) -> pl.DataFrame:
        """By the record's id where ``key`` is the entity's id field, else under our keys."""
        held = self.world.rows[entity]
        if key == self.describe(entity).entity.id_field:
            held = {row["target_id"]: row for row in held.values()}
        names = [name for name in fields if name != "key"]
        rows = [
            {"target_id": held[k]["target_id"], "key": k, **{n: held[k].get(n) for n in names}}
            for k in keys
            if k in held
        ]
        return pl.DataFrame(rows, schema=dict.fromkeys(["target_id", "key", *names], pl.String))

    def find(self, entity: str, match: pl.DataFrame, *, key: str) -> pl.DataFrame:
        self.world.finds.append((entity, match.height))
        hits = [
            {**asked, "target_id": row["target_id"], "key": row.get(key)}
            for asked in match.iter_rows(named=True)
            for row in self.world.rows[entity].values()
            if all(self._spelled(row.get(name)) == self._spelled(value) for name, value in asked.items())
        ]
        return pl.DataFrame(hits, schema={**match.schema, "target_id": pl.String, "key": pl.String})

    def _spelled(self, value: Any) -> Any:
        return value.lower() if self.world.ignores_case and isinstance(value, str) else value

    def adopt(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        self.world.before_adopt(entity)
        results = [
            self._give(entity, str(one), name, key) for one, name in frame.select("target_id", "key").iter_rows()
        ]
        self.world.after_adopt(entity)
        return WriteResult.checked(pl.DataFrame(results, schema=RESULT_SCHEMA, orient="row"), frame["target_id"])

    def _give(self, entity: str, target_id: str, name: str | None, key: str) -> tuple[str | None, ...]:
        held = self.world.rows[entity]
        place = next((place for place, row in held.items() if row["target_id"] == target_id), None)
        if place is None or (name is not None and held[place].get(key) not in (None, name)):
            return (target_id, None, Outcome.REJECTED, "not_adopted", key, "It is gone, or somebody else's.")
        if held[place].get(key) == name:
            return (target_id, target_id, Outcome.UNCHANGED, None, None, None)
        row = held.pop(place)
        held[name or f"without key {target_id}"] = {**row, key: name}
        return (target_id, target_id, Outcome.UPDATED, None, None, None)

    def count(self, entity: str, *, key: str, prefix: str) -> int | None:
        return sum(name.startswith(prefix) for name in self.world.rows[entity])

    def keys(self, entity: str, *, key: str, prefix: str) -> Iterator[pl.Series]:
        yield pl.Series([name for name in self.world.rows[entity] if name.startswith(prefix)], dtype=pl.String)

    def delete(self, entity: str, target_ids: Sequence[str]) -> WriteResult:
        held = self.world.rows[entity]
        gone = {row["target_id"]: name for name, row in held.items() if row["target_id"] in set(target_ids)}
        for name in gone.values():
            del held[name]
        rows = [
            (each, each, Outcome.DELETED if each in gone else Outcome.UNCHANGED, None, None, None)
            for each in target_ids
        ]
        schema = ["key", "target_id", "outcome", "code", "fields", "message"]
        return WriteResult.checked(
            pl.DataFrame(rows, schema=schema, orient="row"), pl.Series(target_ids, dtype=pl.String)
        )

    def ensure_entity(self, schema: EntitySchema, *, key: str) -> tuple[str, ...]:
        name, known = schema.entity.name, self.world.target_schemas
        fields = tuple(FieldInfo(info.name.lower(), info.type, references=info.references) for info in schema.fields)
        if name in known:
            added = tuple(info for info in fields if info.name not in {there.name for there in known[name].fields})
            known[name] = EntitySchema(known[name].entity, (*known[name].fields, *added))
            return tuple(f"Added {info.name} to {name}." for info in added)
        known[name] = EntitySchema(
            EntityInfo(name, name, "target_id"), (FieldInfo(key, required=True), *(f for f in fields if f.name != key))
        )
        return (f"Created {name}.",)


def failing(times: int, error: ConnectorError | Exception) -> Callable[..., None]:
    """A hook that raises the first ``times`` times it is called."""
    left = iter([error] * times)

    def hook(*_: Any) -> None:
        for found in left:
            raise found

    return hook
