"""The contract suite itself: it passes what keeps the contract, and catches every way of breaking it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import polars as pl
import pytest

from connectors.base import Source, Target
from connectors.context import Context, Network, Secret
from connectors.errors import SettingsInvalid
from connectors.http import HttpClient
from connectors.testing import HttpContract, SourceContract, TargetContract, VirtualClock
from connectors.transport import MockTransport, Request, Response
from connectors.types import (
    Capabilities,
    Cursor,
    Deletion,
    EntityInfo,
    EntitySchema,
    FieldInfo,
    FieldType,
    Identity,
    JsonScalar,
    Outcome,
    Page,
    Setting,
    WriteResult,
)

THINGS = EntitySchema(
    EntityInfo("things", "Things", "id", "changed"),
    (
        FieldInfo("id"), FieldInfo("flag", FieldType.BOOLEAN), FieldInfo("sum", FieldType.DECIMAL),
        FieldInfo("changed", FieldType.DATETIME), FieldInfo("note"),
    ),
)  # fmt: skip
ROWS = [
    {"id": str(n), "flag": "true", "sum": f"{n}.5", "changed": f"2026-01-0{n}T00:00:00Z", "note": None}
    for n in range(1, 6)
]
SINCE = datetime(2026, 1, 4, tzinfo=UTC)


class MemorySource(Source):
    """Five records in pages of two; the class attributes are where the faulty ones below differ."""

    slug = "memory"
    label = "Memory"
    settings: ClassVar[tuple[Setting, ...]] = (Setting("api_key", "API key", secret=True),)
    capabilities = Capabilities(reads=True, counts=True, delta=True, deletes=True, page_size=2)
    rows: ClassVar[list[dict[str, str | None]]] = ROWS

    def check(self) -> Identity:
        return Identity("Memory", {"version": 1}, {"calls": (1, 2)})

    def entities(self) -> tuple[EntityInfo, ...]:
        return (EntityInfo("nothing", "Nothing", "id", "changed"), THINGS.entity)

    def describe(self, entity: str) -> EntitySchema:
        if entity not in ("things", "nothing"):
            raise SettingsInvalid(f"There is no entity “{entity}”.")
        return replace(THINGS, entity=EntityInfo(entity, entity, "id", "changed"))

    def count(self, entity: str, *, since: datetime | None = None) -> int:
        return len(self._chosen(entity, since))

    def read(
        self, entity: str, fields: Sequence[str], *, since: datetime | None = None, cursor: Cursor | None = None
    ) -> Iterator[Page]:
        rows = self._chosen(entity, since)
        start = int(cursor["at"] or 0) if cursor else 0
        for at in range(start, max(len(rows), 1), 2):
            frame = pl.DataFrame(rows[at : at + 2], schema=dict.fromkeys(THINGS.names, pl.String)).select(fields)
            yield Page(frame, self._behind(at + 2, len(rows)))

    def _behind(self, at: int, total: int) -> dict[str, JsonScalar] | None:
        return {"at": at} if at < total else None

    def deleted(self, entity: str, *, since: datetime) -> Iterator[Deletion]:
        yield Deletion("99", since)

    def _chosen(self, entity: str, since: datetime | None) -> list[dict[str, str | None]]:
        self.describe(entity)
        floor = since.isoformat().replace("+00:00", "Z") if since else ""
        return [row for row in self.rows if entity == "things" and (row["changed"] or "") >= floor]


class TestMemorySource(SourceContract):
    connector = MemorySource
    entity = "things"
    empty_entity = "nothing"
    since = SINCE
    since_ids = frozenset({"4", "5"})
    deleted_since = SINCE
    deleted_ids = frozenset({"99"})

    @pytest.fixture
    def context(self) -> Context:
        return Context(secrets={"api_key": Secret("very-secret-key")})


class Unsorted(MemorySource):
    def entities(self) -> tuple[EntityInfo, ...]:
        return tuple(reversed(super().entities()))


class ForgetsTheCursor(MemorySource):
    def read(self, entity: str, fields: Sequence[str], **how: Any) -> Iterator[Page]:
        return super().read(entity, fields, since=how.get("since"))


class LosesTheLastPage(MemorySource):
    def _behind(self, at: int, total: int) -> dict[str, JsonScalar] | None:
        return {"at": at + 1} if at < total else None


class CountsWrong(MemorySource):
    def count(self, entity: str, *, since: datetime | None = None) -> int:
        return 7


class IgnoresSince(MemorySource):
    def _chosen(self, entity: str, since: datetime | None) -> list[dict[str, str | None]]:
        return super()._chosen(entity, None)


class Doubles(MemorySource):
    rows: ClassVar = [*ROWS, ROWS[0]]


class BlankText(MemorySource):
    rows: ClassVar = [{**row, "note": ""} for row in ROWS]


class PythonBooleans(MemorySource):
    rows: ClassVar = [{**row, "flag": "True"} for row in ROWS]


class Exponents(MemorySource):
    rows: ClassVar = [{**row, "sum": "1e5"} for row in ROWS]


class NativeTypes(MemorySource):
    def read(self, entity: str, fields: Sequence[str], **how: Any) -> Iterator[Page]:
        for page in super().read(entity, fields, **how):
            yield Page(page.frame.with_columns(pl.col("id").cast(pl.Int64)), page.cursor)


class OwnColumnOrder(MemorySource):
    def read(self, entity: str, fields: Sequence[str], **how: Any) -> Iterator[Page]:
        return super().read(entity, sorted(fields), **how)


class SilentWhenEmpty(MemorySource):
    def read(self, entity: str, fields: Sequence[str], **how: Any) -> Iterator[Page]:
        return (page for page in super().read(entity, fields, **how) if page.frame.height)


class UnnamedEntity(MemorySource):
    def describe(self, entity: str) -> EntitySchema:
        if entity not in ("things", "nothing"):
            raise SettingsInvalid("There is no such entity.")
        return super().describe(entity)


class OpenSecret(MemorySource):
    settings: ClassVar = (Setting("api_key", "API key"),)


class LeaksInRepr(MemorySource):
    def __repr__(self) -> str:
        return f"LeaksInRepr({self.context.secret('api_key').reveal()})"


class MoreLeftThanThereIs(MemorySource):
    def check(self) -> Identity:
        return Identity("Memory", {}, {"calls": (3, 2)})


@pytest.mark.parametrize(
    ("broken", "case", "words"),
    [
        (Unsorted, "test_entities_are_sorted_and_unique", "sorted by name"),
        (ForgetsTheCursor, "test_reading_resumes_from_every_cursor", "lost or repeated"),
        (LosesTheLastPage, "test_reading_resumes_from_every_cursor", "lost or repeated"),
        (CountsWrong, "test_every_record_comes_once_with_its_id", "count"),
        (IgnoresSince, "test_since_keeps_what_changed", "exactly the records"),
        (Doubles, "test_every_record_comes_once_with_its_id", "came twice"),
        (BlankText, "test_values_keep_the_notation", "a blank is null"),
        (PythonBooleans, "test_values_keep_the_notation", "'True' is not the notation"),
        (Exponents, "test_values_keep_the_notation", "'1e5' is not the notation"),
        (NativeTypes, "test_pages_hold_the_asked_fields_as_text", "is String"),
        (OwnColumnOrder, "test_pages_hold_the_asked_fields_as_text", "in the asked order"),
        (SilentWhenEmpty, "test_an_entity_without_records_is_one_empty_page", "exactly one page"),
        (UnnamedEntity, "test_unknown_entity_is_named", "must name the entity"),
        (OpenSecret, "test_secret_settings_are_flagged", "secret=True"),
        (MoreLeftThanThereIs, "test_check_names_the_account", "left, total"),
    ],
)
def test_a_broken_source_is_caught(broken: type[MemorySource], case: str, words: str) -> None:
    suite = TestMemorySource()
    suite.connector = broken  # type: ignore[misc]  # the suite is reused for many connectors here only
    arguments = [] if "settings" in case else [Context(secrets={"api_key": Secret("very-secret-key")})]
    with pytest.raises(AssertionError, match=words):
        getattr(suite, case)(*arguments)


def test_a_leaking_repr_is_caught(caplog: pytest.LogCaptureFixture) -> None:
    suite = TestMemorySource()
    suite.connector = LeaksInRepr  # type: ignore[misc]  # as above
    with pytest.raises(AssertionError, match="the secret api_key shows"):
        suite.test_secrets_stay_out_of_sight(Context(secrets={"api_key": Secret("very-secret-key")}), caplog)


# --- targets -------------------------------------------------------------------------------------------------


class MemoryTarget(Target):
    """A table of things by key; it refuses records without a name. ``Context.settings`` holds nothing."""

    slug = "memory"
    label = "Memory"
    capabilities = Capabilities(writes=True, rehearses=True, creates_schema=True)
    # The context is kept with its table: the id of one that is gone would be given to another.
    tables: ClassVar[dict[int, tuple[Context, dict[str, dict[str, Any]]]]] = {}

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        _, self._rows = self.tables.setdefault(id(context), (context, {}))
        self._made: set[str] = set()

    def check(self) -> Identity:
        return Identity("Memory")

    def entities(self) -> tuple[EntityInfo, ...]:
        return (EntityInfo("people", "People", "key"),)

    def describe(self, entity: str) -> EntitySchema:
        if entity not in {"people", *self._made}:
            raise SettingsInvalid(f"There is no entity “{entity}”.")
        return EntitySchema(EntityInfo(entity, entity, "key"), (FieldInfo("key"), FieldInfo("name"), FieldInfo("age")))

    def write(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        self.describe(entity)
        answers = [self._one(row, str(row[key])) for row in frame.iter_rows(named=True)]
        schema = ["key", "target_id", "outcome", "code", "fields", "message"]
        return WriteResult.checked(
            pl.DataFrame(answers, schema=dict.fromkeys(schema, pl.String), orient="row"), frame[key]
        )

    def _one(self, row: dict[str, Any], key: str) -> tuple[str | None, ...]:
        if row["name"] is None:
            return key, None, Outcome.REJECTED, "REQUIRED", "name", "A name is required."
        outcome = Outcome.CREATED if key not in self._rows else Outcome.UPDATED
        if self._rows.get(key) == row:
            outcome = Outcome.UNCHANGED
        self._rows[key] = row
        return key, f"T{key}", outcome, None, None, None

    def fetch(self, entity: str, *, key: str, keys: Sequence[str], fields: Sequence[str]) -> pl.DataFrame:
        found = [{"target_id": f"T{one}", "key": one, **self._rows[one]} for one in keys if one in self._rows]
        schema = {"target_id": pl.String, "key": pl.String, "name": pl.String, "age": pl.Int64}
        return pl.DataFrame(found, schema=schema).select("target_id", "key", *fields)

    def delete(self, entity: str, target_ids: Sequence[str]) -> WriteResult:
        answers = [
            (one, one, "deleted" if self._rows.pop(one[1:], None) else "unchanged", None, None, None)
            for one in target_ids
        ]
        schema = ["key", "target_id", "outcome", "code", "fields", "message"]
        return WriteResult(pl.DataFrame(answers, schema=dict.fromkeys(schema, pl.String), orient="row"))

    def rehearse(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        before = dict(self._rows)
        try:
            return self.write(entity, frame, key=key)
        finally:
            self._rows.clear()
            self._rows.update(before)

    def ensure_entity(self, schema: EntitySchema, *, key: str) -> tuple[str, ...]:
        if schema.entity.name in self._made:
            return ()
        self._made.add(schema.entity.name)
        return (f"Created {schema.entity.name}.",)


PEOPLE = pl.DataFrame({"key": ["a", "b", "c"], "name": ["Ann", "Bob", "Cy"], "age": [1, 2, None]})


class TestMemoryTarget(TargetContract):
    connector = MemoryTarget
    entity = "people"
    key = "key"

    @pytest.fixture
    def context(self) -> Context:
        return Context()

    @pytest.fixture
    def records(self) -> pl.DataFrame:
        return PEOPLE

    @pytest.fixture
    def changed(self) -> pl.DataFrame:
        return PEOPLE.with_columns(name=pl.when(pl.col("key") == "a").then(pl.lit("Anna")).otherwise("name"))

    @pytest.fixture
    def refused(self) -> pl.DataFrame:
        return PEOPLE.head(1).with_columns(key=pl.lit("z"), name=pl.lit(None, pl.String))

    @pytest.fixture
    def new_entity(self) -> EntitySchema:
        return EntitySchema(EntityInfo("pets", "Pets", "key"), (FieldInfo("key"), FieldInfo("name")))


class AlwaysUpdates(MemoryTarget):
    def _one(self, row: dict[str, Any], key: str) -> tuple[str | None, ...]:
        return tuple("updated" if value == "unchanged" else value for value in super()._one(row, key))


class Truncates(MemoryTarget):
    def _one(self, row: dict[str, Any], key: str) -> tuple[str | None, ...]:
        return super()._one({**row, "name": row["name"] and row["name"][:2]}, key)


class AllOrNothing(MemoryTarget):
    def write(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        result = super().write(entity, frame, key=key)
        if "rejected" in result.frame["outcome"]:
            self._rows.clear()
        return result


class RehearsesForReal(MemoryTarget):
    def rehearse(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        return self.write(entity, frame, key=key)


class DeletesTwice(MemoryTarget):
    def delete(self, entity: str, target_ids: Sequence[str]) -> WriteResult:
        return WriteResult(super().delete(entity, target_ids).frame.with_columns(outcome=pl.lit("deleted")))


GONE = PEOPLE.head(1).with_columns(key=pl.lit("z"), name=pl.lit(None, pl.String))


@pytest.mark.parametrize(
    ("broken", "case", "frames", "words"),
    [
        (AlwaysUpdates, "test_writing_again_changes_nothing", (PEOPLE,), "is unchanged"),
        (Truncates, "test_fetch_returns_what_was_written", (PEOPLE,), "came back different"),
        (AllOrNothing, "test_a_refused_record_takes_no_other_with_it", (PEOPLE, GONE), "exactly the written keys"),
        (RehearsesForReal, "test_rehearsing_leaves_nothing_behind", (PEOPLE, GONE), "leaves nothing"),
        (DeletesTwice, "test_deleting_twice_is_harmless", (PEOPLE,), "already gone"),
    ],
)
def test_a_broken_target_is_caught(
    broken: type[MemoryTarget], case: str, frames: tuple[pl.DataFrame, ...], words: str
) -> None:
    suite = TestMemoryTarget()
    suite.connector = broken  # type: ignore[misc]  # as above
    with pytest.raises(AssertionError, match=words):
        getattr(suite, case)(Context(), *frames)


# --- HTTP ----------------------------------------------------------------------------------------------------


def _platform(request: Request) -> Response:
    if request.headers.get("x-api-key") != "very-secret-key":
        return Response(401)
    return Response(200, json={"name": "Acme"})


class HttpSource(MemorySource):
    """The memory source with a check that goes over HTTP."""

    def check(self) -> Identity:
        with_key = {"X-Api-Key": self.context.secret("api_key").reveal()}
        http = HttpClient(self.context, "https://acme.example", system="Acme", headers=with_key)
        return Identity(str(http.get("me").object()["name"]))


class TestHttpSource(HttpContract, SourceContract):
    connector = HttpSource
    entity = "things"
    empty_entity = "nothing"
    since = SINCE
    since_ids = frozenset({"4", "5"})
    deleted_since = SINCE
    deleted_ids = frozenset({"99"})

    @pytest.fixture
    def context(self) -> Context:
        secrets = {"api_key": Secret("very-secret-key")}
        return Context(secrets=secrets, network=Network(transport=MockTransport(_platform)), clock=VirtualClock())


class OwnClient(HttpSource):
    """Goes around the shared client, as a careless connector might."""

    def check(self) -> Identity:
        transport = self.context.network.transport
        assert transport
        response = transport.handle_request(Request("GET", "https://acme.example/me"))
        response.read()
        if response.status_code != 200:
            raise SettingsInvalid(f"Acme says {response.text}")
        return Identity("Acme")


@pytest.mark.parametrize(
    "case",
    [
        "test_a_dead_credential_is_told_as_such",
        "test_a_long_retry_after_is_told_not_slept",
        "test_an_outage_ends_in_unavailable",
    ],
)
def test_a_connector_around_the_shared_client_is_caught(case: str) -> None:
    suite = TestHttpSource()
    suite.connector = OwnClient  # type: ignore[misc]  # as above
    transport = MockTransport(_platform)
    context = Context(secrets={"api_key": Secret("very-secret-key")}, network=Network(transport=transport))
    with pytest.raises(AssertionError, match="expected"):
        getattr(suite, case)(context, transport)
