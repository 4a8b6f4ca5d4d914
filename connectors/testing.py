"""The contract suite: what every connector is held to, ours and third parties', with pytest alone.

A connector's test module subclasses ``SourceContract`` or ``TargetContract`` (and, where it speaks HTTP,
``HttpContract`` as well), names the connector class and overrides the ``context`` fixture::

    class TestAcme(HttpContract, SourceContract):
        connector = AcmeSource
        entity = "customers"

        @pytest.fixture
        def context(self) -> Context:
            return Context(settings={...}, secrets={...}, network=Network(transport=MockTransport(answer)))

Pytest collects the inherited tests. A case that a connector's capabilities rule out is skipped with its
reason. ``docs/connectors.md`` is the guide.
"""
# ruff: noqa: S101 - a test suite asserts; every assertion carries its own sentence for third parties

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import polars as pl
import pytest

from connectors.base import Connector, Source, Target
from connectors.context import Context, MemoryTokens, Transport
from connectors.errors import (
    AuthenticationFailed,
    ConnectorError,
    ContractChanged,
    PermissionMissing,
    RateLimited,
    SettingsInvalid,
    Unavailable,
)
from connectors.transport import Request, Response, open_transport
from connectors.types import RESULT_SCHEMA, EntitySchema, FieldType, Page, SettingKind, WriteResult

NOTATION: dict[FieldType, str] = {
    FieldType.BOOLEAN: r"^(true|false)$",
    FieldType.INTEGER: r"^-?\d+$",
    FieldType.DECIMAL: r"^-?\d+(\.\d+)?$",
    FieldType.FLOAT: r"^-?\d+(\.\d+)?$",
    FieldType.DATE: r"^\d{4}-\d{2}-\d{2}$",
    FieldType.DATETIME: r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})?$",
}
SECRET_WORDS = ("password", "secret", "token", "api_key", "private_key", "passphrase", "credential")


class VirtualClock:
    """A clock whose sleep only moves its hand; ``slept`` lists the waits in seconds."""

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._now += timedelta(seconds=seconds)


class ConnectorContract:
    """What sources and targets share. Subclass one of the two below instead."""

    connector: ClassVar[type[Connector]]
    entity: ClassVar[str]

    @pytest.fixture
    def context(self) -> Context:
        """Settings, secrets and network under which ``check`` succeeds. Override it."""
        raise NotImplementedError(f"{type(self).__name__} must override the fixture “context”")

    def test_settings_have_names_and_labels(self) -> None:
        names = [setting.name for setting in self.connector.settings]
        assert len(names) == len(set(names)), f"two settings share a name: {names}"
        for setting in self.connector.settings:
            assert setting.label, f"the setting {setting.name} has no label"
            is_choice = setting.kind is SettingKind.CHOICE
            assert is_choice == bool(setting.choices), f"{setting.name}: choices belong to kind CHOICE, and only there"

    def test_secret_settings_are_flagged(self) -> None:
        for setting in self.connector.settings:
            looks_secret = setting.name.endswith(SECRET_WORDS)
            assert setting.secret or not looks_secret, f"the setting {setting.name} must say secret=True"
            assert not (setting.secret and setting.default), f"the secret {setting.name} must not have a default"

    def test_context_keeps_secrets_apart(self, context: Context) -> None:
        secret = {setting.name for setting in self.connector.settings if setting.secret}
        assert set(context.secrets) <= secret, "the context's secrets must be settings flagged secret"
        assert not set(context.settings) & secret, "a secret setting must come in context.secrets"

    def test_check_names_the_account(self, context: Context) -> None:
        with self.connector(context) as connector:
            identity = connector.check()
        assert identity.account.strip(), "check() must name the account staff will recognise"
        json.dumps([dict(identity.facts), {name: list(pair) for name, pair in identity.limits.items()}])
        for name, (left, total) in identity.limits.items():
            assert 0 <= left <= total, f"limit {name} must be (left, total), not ({left}, {total})"

    def test_entities_are_sorted_and_unique(self, context: Context) -> None:
        with self.connector(context) as connector:
            names = [info.name for info in connector.entities()]
        assert names == sorted(set(names)), "entities() must be sorted by name, each once"
        assert self.entity in names, f"entities() must list {self.entity}"

    def test_describe_covers_the_entity(self, context: Context) -> None:
        with self.connector(context) as connector:
            listed = next(info for info in connector.entities() if info.name == self.entity)
            schema = connector.describe(self.entity)
        assert schema.entity.name == self.entity, "describe() must describe what was asked"
        assert schema.entity.id_field == listed.id_field, "entities() and describe() must agree on the id field"
        assert len(schema.names) == len(set(schema.names)), "describe() must list each field once"
        assert schema.entity.id_field in schema.names, "describe() must contain the id field"
        updated = schema.entity.updated_field
        assert updated is None or updated in schema.names, f"describe() must contain the updated field {updated}"
        for info in schema.fields:
            if info.references:
                assert info.type is FieldType.REFERENCE, f"{info.name} names references, so its type is REFERENCE"

    def test_unknown_entity_is_named(self, context: Context) -> None:
        with self.connector(context) as connector, pytest.raises(SettingsInvalid) as caught:
            connector.describe("no_such_entity")
        assert "no_such_entity" in str(caught.value), "the error must name the entity that does not exist"

    def test_secrets_stay_out_of_sight(self, context: Context, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        with self.connector(context) as connector:
            identity = connector.check()
            connector.describe(self.entity)
            seen = [repr(connector), repr(connector.context), repr(identity), repr(vars(connector)), caplog.text]
        for name, secret in context.secrets.items():
            for text in seen:
                assert secret.reveal() not in text, f"the secret {name} shows in a repr or in the log"

    def test_close_may_be_called_twice(self, context: Context) -> None:
        connector = self.connector(context)
        connector.close()
        connector.close()


class SourceContract(ConnectorContract):
    """What every source promises. ``entity`` must have records in two pages or more; ``empty_entity`` must
    have none (None where the platform cannot have such a thing). Where the source declares deltas or
    deletions, ``since``/``since_ids`` and ``deleted_since``/``deleted_ids`` say what is expected; the
    ``context`` fixture may set them on ``self``, where the platform makes up the ids."""

    connector: ClassVar[type[Source]]
    empty_entity: ClassVar[str | None] = None
    since: datetime | None = None
    since_ids: frozenset[str] = frozenset()
    deleted_since: datetime | None = None
    deleted_ids: frozenset[str] = frozenset()

    def test_declares_that_it_reads(self) -> None:
        assert self.connector.capabilities.reads, "a source's capabilities say reads=True"
        assert self.connector.capabilities.page_size > 0, "page_size is a number of records"

    def test_pages_hold_the_asked_fields_as_text(self, context: Context) -> None:
        with self.connector(context) as source:
            fields = tuple(reversed(source.describe(self.entity).names))
            pages = list(source.read(self.entity, fields))
        for page in pages:
            assert tuple(page.frame.columns) == fields, "a page's columns are the asked fields, in the asked order"
            assert set(page.frame.dtypes) <= {pl.String}, "every column of a source frame is String"

    def test_every_record_comes_once_with_its_id(self, context: Context) -> None:
        with self.connector(context) as source:
            id_field = source.describe(self.entity).entity.id_field
            pages = list(source.read(self.entity, [id_field]))
            counted = source.count(self.entity)
        assert len(pages) > 1, f"give the suite an entity of at least two pages; {self.entity} had {len(pages)}"
        ids = _ids(pages)
        assert ids, f"give the suite an entity with records; {self.entity} had none"
        assert None not in ids, "a record without an id"
        assert len(ids) == len(set(ids)), "a record came twice"
        assert counted in (None, len(ids)), f"count() says {counted}, read() yields {len(ids)}"
        assert counted is not None or not self.connector.capabilities.counts, "capabilities.counts, but count() is None"

    def test_values_keep_the_notation(self, context: Context) -> None:
        with self.connector(context) as source:
            schema = source.describe(self.entity)
            pages = list(source.read(self.entity, schema.names))
        frame = pl.concat(page.frame for page in pages)
        for column in frame.get_columns():
            assert not (column == "").any(), f"{column.name}: a blank is null, never an empty text"
            pattern = NOTATION.get(schema.field(column.name).type)
            if pattern is not None:
                odd = column.filter(~column.str.contains(pattern))
                assert not len(odd), f"{column.name}: {odd[0]!r} is not the notation connectors.types describes"

    def test_only_the_last_page_ends_the_entity(self, context: Context) -> None:
        with self.connector(context) as source:
            pages = list(source.read(self.entity, [source.describe(self.entity).entity.id_field]))
        assert pages[-1].cursor is None, "the last page's cursor is None"
        assert all(page.cursor is not None for page in pages[:-1]), "a cursor of None in the middle"

    def test_reading_resumes_from_every_cursor(self, context: Context) -> None:
        with self.connector(context) as source:
            id_field = source.describe(self.entity).entity.id_field
            pages = list(source.read(self.entity, [id_field]))
        everything = set(_ids(pages))
        for position, page in enumerate(pages[:-1], start=1):
            stored = json.loads(json.dumps(dict(page.cursor or {})))
            with self.connector(context) as fresh:
                rest = _ids(fresh.read(self.entity, [id_field], cursor=stored))
            before = set(_ids(pages[:position]))
            assert set(rest) == everything - before, f"resuming after page {position} lost or repeated records"
            assert len(rest) == len(set(rest)), f"resuming after page {position} yields a record twice"

    def test_an_entity_without_records_is_one_empty_page(self, context: Context) -> None:
        if self.empty_entity is None:
            pytest.skip("this source has no entity without records (empty_entity is None)")
        with self.connector(context) as source:
            fields = source.describe(self.empty_entity).names
            pages = list(source.read(self.empty_entity, fields))
            counted = source.count(self.empty_entity)
        assert [page.frame.height for page in pages] == [0], "exactly one page, without rows"
        assert tuple(pages[0].frame.columns) == fields, "the empty page has the asked columns, too"
        assert set(pages[0].frame.dtypes) <= {pl.String}, "the empty page's columns are String, too"
        assert pages[0].cursor is None, "the empty page ends the entity"
        assert counted in (None, 0), f"count() says {counted}"

    def test_reading_an_unknown_entity_is_refused(self, context: Context) -> None:
        with self.connector(context) as source, pytest.raises(SettingsInvalid) as caught:
            list(source.read("no_such_entity", ["id"]))
        assert "no_such_entity" in str(caught.value), "the error must name the entity that does not exist"

    def test_since_keeps_what_changed(self, context: Context) -> None:
        if not self.connector.capabilities.delta:
            pytest.skip("this source declares no deltas")
        assert self.since is not None, "the source declares deltas: give the suite since and since_ids"
        with self.connector(context) as source:
            info = source.describe(self.entity).entity
            assert info.updated_field, "an entity that takes since has an updated_field"
            everything = set(_ids(source.read(self.entity, [info.id_field])))
            changed = _ids(source.read(self.entity, [info.id_field], since=self.since))
            counted = source.count(self.entity, since=self.since)
        assert set(changed) == self.since_ids, "since must keep exactly the records updated at or after it"
        assert self.since_ids < everything, "choose a since that leaves some records out"
        assert counted in (None, len(changed)), f"count(since) says {counted}, read yields {len(changed)}"

    def test_deletions_are_told(self, context: Context) -> None:
        if not self.connector.capabilities.deletes:
            pytest.skip("this source declares no deletions")
        assert self.deleted_since is not None, (
            "the source declares deletes: give the suite deleted_since and deleted_ids"
        )
        with self.connector(context) as source:
            told = list(source.deleted(self.entity, since=self.deleted_since))
        assert {deletion.source_id for deletion in told} == self.deleted_ids, "deleted() must tell exactly these"
        assert all(deletion.at is None or deletion.at.tzinfo for deletion in told), "a deletion's time is aware"


class TargetContract(ConnectorContract):
    """What every target promises. Override the fixtures ``context`` (the target holds none of the records),
    ``records`` (three or more good ones), ``changed`` (the same keys and columns, at least one value of the
    first record differs, all others equal) and ``refused`` (same columns, new keys, each row one the target
    must refuse)."""

    connector: ClassVar[type[Target]]
    key: ClassVar[str]

    @pytest.fixture
    def records(self) -> pl.DataFrame:
        raise NotImplementedError(f"{type(self).__name__} must override the fixture “records”")

    @pytest.fixture
    def changed(self) -> pl.DataFrame:
        raise NotImplementedError(f"{type(self).__name__} must override the fixture “changed”")

    @pytest.fixture
    def refused(self) -> pl.DataFrame:
        raise NotImplementedError(f"{type(self).__name__} must override the fixture “refused”")

    @pytest.fixture
    def new_entity(self) -> EntitySchema | None:
        """An entity the target does not have yet, with its key among the fields; only for targets that
        create schema."""
        return None

    def test_declares_that_it_writes(self) -> None:
        assert self.connector.capabilities.writes, "a target's capabilities say writes=True"

    def test_new_records_are_created(self, context: Context, records: pl.DataFrame) -> None:
        with self.connector(context) as target:
            result = self._write(target, records)
        assert _outcomes(result) == {"created": records.height}, "every new record is created"
        assert result.frame["target_id"].null_count() == 0, "a created record has a target id"
        assert result.frame["target_id"].n_unique() == records.height, "target ids are unique"

    def test_writing_again_changes_nothing(self, context: Context, records: pl.DataFrame) -> None:
        with self.connector(context) as target:
            first = self._write(target, records)
            again = self._write(target, records)
            found = self._fetch(target, records, records)
        assert _outcomes(again) == {"unchanged": records.height}, "an equal second write is unchanged"
        assert _ids_by_key(again) == _ids_by_key(first), "the second write answers the same target ids"
        assert found.height == records.height, "writing twice must not double a record"

    def test_only_the_changed_record_is_updated(
        self, context: Context, records: pl.DataFrame, changed: pl.DataFrame
    ) -> None:
        with self.connector(context) as target:
            self._write(target, records)
            result = self._write(target, changed)
            found = self._fetch(target, changed, changed)
        first_key = _text(changed[self.key])[0]
        updated = result.frame.filter(pl.col("outcome") == "updated")["key"].to_list()
        assert updated == [first_key], f"exactly the changed record ({first_key}) is updated, not {updated}"
        _same(found, changed, self.key)

    def test_fetch_returns_what_was_written(self, context: Context, records: pl.DataFrame) -> None:
        with self.connector(context) as target:
            written = self._write(target, records)
            found = self._fetch(target, records, records)
        _same(found, records, self.key)
        told = dict(zip(found["key"].to_list(), found["target_id"].to_list(), strict=True))
        assert told == _ids_by_key(written), "fetch() and write() must agree on target ids"

    def test_fetching_absent_keys_finds_nothing(self, context: Context, records: pl.DataFrame) -> None:
        with self.connector(context) as target:
            found = self._fetch(target, records, records)
        assert found.is_empty(), "the context fixture must give a target without the records"
        assert found.columns == ["target_id", "key", *_values(records, self.key)], (
            "an empty answer has its columns, too"
        )

    def test_a_refused_record_takes_no_other_with_it(
        self, context: Context, records: pl.DataFrame, refused: pl.DataFrame
    ) -> None:
        middle = records.height // 2
        mixed = pl.concat([records.head(middle), refused, records.tail(records.height - middle)])
        with self.connector(context) as target:
            result = self._write(target, mixed)
            found = self._fetch(target, mixed, records)
        rejected = result.frame.filter(pl.col("outcome") == "rejected")
        assert set(rejected["key"]) == set(_text(refused[self.key])), "exactly the refused records are rejected"
        assert rejected["target_id"].null_count() == rejected.height, "a rejected record has no target id"
        for column in ("code", "message"):
            assert rejected[column].null_count() == 0, f"a rejected record carries a {column}"
        _same(found, records, self.key)

    def test_writing_nothing_answers_nothing(self, context: Context, records: pl.DataFrame) -> None:
        with self.connector(context) as target:
            result = self._write(target, records.clear())
        assert result.frame.is_empty(), "no keys, no results"

    def test_writing_to_an_unknown_entity_is_refused(self, context: Context, records: pl.DataFrame) -> None:
        with self.connector(context) as target, pytest.raises(SettingsInvalid) as caught:
            target.write("no_such_entity", records, key=self.key)
        assert "no_such_entity" in str(caught.value), "the error must name the entity that does not exist"

    def test_deleting_twice_is_harmless(self, context: Context, records: pl.DataFrame) -> None:
        with self.connector(context) as target:
            ids = self._write(target, records).frame["target_id"].to_list()
            first = target.delete(self.entity, ids)
            second = target.delete(self.entity, ids)
            found = self._fetch(target, records, records)
        assert _outcomes(first) == {"deleted": len(ids)}, "delete() answers deleted, once per id"
        assert _outcomes(second) == {"unchanged": len(ids)}, "a row already gone is unchanged"
        assert set(first.frame["key"]) == set(ids) == set(second.frame["key"]), "a deletion's key is the target id"
        assert found.is_empty(), "the records are gone"

    def test_rehearsing_leaves_nothing_behind(
        self, context: Context, records: pl.DataFrame, refused: pl.DataFrame
    ) -> None:
        if not self.connector.capabilities.rehearses:
            pytest.skip("this target declares no rehearsal")
        mixed = pl.concat([records, refused])
        with self.connector(context) as target:
            rehearsed = target.rehearse(self.entity, mixed, key=self.key)
            left = self._fetch(target, mixed, records)
            real = self._write(target, mixed)
        assert left.is_empty(), "a rehearsal leaves nothing behind"
        assert _by_key(rehearsed, "outcome") == _by_key(real, "outcome"), "a rehearsal answers what write would"
        assert _by_key(rehearsed, "code") == _by_key(real, "code"), "a rehearsal gives the reasons write would"

    @pytest.fixture
    def match(self) -> tuple[str, ...]:
        """The fields, blank in none of ``records``, by which each of them is told from the others; override it where
        the target declares ``finds``."""
        return ()

    def test_records_are_found_by_any_fields(
        self, context: Context, records: pl.DataFrame, match: tuple[str, ...]
    ) -> None:
        self._skip_unless_it_finds(match)
        with self.connector(context) as target:
            nobody = target.find(self.entity, records.select(match), key=self.key)
            written = self._write(target, records)
            found = target.find(self.entity, records.select(match), key=self.key)
            none_asked = target.find(self.entity, records.select(match).clear(), key=self.key)
        assert nobody.is_empty(), "nothing is found before anything is written"
        assert found.columns == [*match, "target_id", "key"], "the asked columns, then target_id and key"
        assert none_asked.is_empty(), "nothing asked, nothing found"
        told = dict(zip(found["key"].to_list(), found["target_id"].to_list(), strict=True))
        assert told == _ids_by_key(written), "find() and write() must agree on keys and target ids"
        asked = records.select(pl.col(self.key).cast(pl.String).alias("key"), *match)
        assert found.drop("target_id").sort("key").equals(asked.select(*match, "key").sort("key")), (
            "values come as they were asked for"
        )

    def test_a_found_record_gets_our_key_and_gives_it_back(
        self, context: Context, records: pl.DataFrame, match: tuple[str, ...]
    ) -> None:
        self._skip_unless_it_finds(match)
        one = records.head(1)
        with self.connector(context) as target:
            ids = _ids_by_key(self._write(target, records))
            name = _text(one[self.key])[0]
            ours = pl.DataFrame({"target_id": [ids[name]], "key": [name]})
            nobody = ours.with_columns(key=pl.lit(None, pl.String))
            taken = target.adopt(self.entity, nobody, key=self.key)
            without = target.find(self.entity, one.select(match), key=self.key)
            gone = self._fetch(target, one, one)
            given = [target.adopt(self.entity, ours, key=self.key) for _ in range(2)]
            back = self._fetch(target, one, one)
            other = target.adopt(self.entity, ours.with_columns(key=pl.lit(f"{name}-2")), key=self.key)
            target.delete(self.entity, [str(ids[name])])
            late = target.adopt(self.entity, ours, key=self.key)
        assert _outcomes(taken) == {"updated": 1}, "a key can be taken away"
        assert without["key"].to_list() == [None], "a record without our key is found, and says so"
        assert gone.is_empty(), "nothing is left under the key"
        assert [_outcomes(result) for result in given] == [{"updated": 1}, {"unchanged": 1}], "giving twice is harmless"
        _same(back, one, self.key)
        assert _outcomes(other) == {"rejected": 1}, "a key is never taken from a record to give it another one"
        assert _outcomes(late) == {"rejected": 1}, "a record that is gone is not created"
        assert all(result.frame["key"].to_list() == [ids[name]] for result in (taken, other, late)), (
            "the result's key is the target id"
        )

    def _skip_unless_it_finds(self, match: tuple[str, ...]) -> None:
        if not self.connector.capabilities.finds:
            pytest.skip("this target looks nothing up by fields")
        assert match, "the target declares finds: override the fixture “match”"

    def test_schema_is_created_once(self, context: Context, new_entity: EntitySchema | None) -> None:
        if not self.connector.capabilities.creates_schema:
            pytest.skip("this target creates no schema")
        assert new_entity is not None, "the target creates schema: override the fixture “new_entity”"
        key = new_entity.entity.id_field
        with self.connector(context) as target:
            made = target.ensure_entity(new_entity, key=key)
            again = target.ensure_entity(new_entity, key=key)
            described = target.describe(new_entity.entity.name)
        assert made, "one sentence per change"
        assert again == (), "nothing is left to create the second time"
        assert set(new_entity.names) <= set(described.names), "every asked field exists afterwards"

    def _write(self, target: Target, frame: pl.DataFrame) -> WriteResult:
        """Write, and hold the result to: one row per input key, and nothing else."""
        result = target.write(self.entity, frame, key=self.key)
        assert tuple(result.frame.columns) == tuple(RESULT_SCHEMA), "a result has the columns of RESULT_SCHEMA"
        assert sorted(result.frame["key"].to_list()) == sorted(_text(frame[self.key])), "one result per key"
        return result

    def _fetch(self, target: Target, asked: pl.DataFrame, like: pl.DataFrame) -> pl.DataFrame:
        return target.fetch(self.entity, key=self.key, keys=_text(asked[self.key]), fields=_values(like, self.key))


class HttpContract(ConnectorContract):
    """What every connector on ``connectors.http`` promises when the network misbehaves. Beside a source or
    target contract; ``context.network`` must lead to a working platform (a transport or a simulator).

    ``unauthorized`` is the vendor's own answer to a dead token (status and body). Override the fixtures
    ``empty_middle_page`` (a context whose platform answers an empty page between full ones) and
    ``repeated_token`` (one whose platform repeats its paging token) where the platform pages by token.
    """

    unauthorized: ClassVar[tuple[int, bytes]] = (401, b'{"error": "unauthorized"}')

    @pytest.fixture
    def inner(self, context: Context) -> Iterator[Transport]:
        """What carries the requests that no fault answers."""
        if context.network.transport is not None:
            yield context.network.transport
            return
        transport = open_transport(context.network)
        yield transport
        transport.close()

    @pytest.fixture
    def empty_middle_page(self) -> Context | None:
        return None

    @pytest.fixture
    def repeated_token(self) -> Context | None:
        return None

    def test_a_dead_credential_is_told_as_such(self, context: Context, inner: Transport) -> None:
        status, body = self.unauthorized
        faults = Faults(context, inner, [lambda _: Response(status, content=body)] * 1_000)
        self._check_raises(faults.context(), AuthenticationFailed)

    def test_a_short_retry_after_is_waited_for(self, context: Context, inner: Transport) -> None:
        faults = Faults(context, inner, [lambda _: Response(429, headers={"Retry-After": "7"})])
        with self.connector(faults.context()) as connector:
            assert connector.check().account
        assert sum(faults.clock.slept) >= 7, f"Retry-After: 7 was not obeyed; waits were {faults.clock.slept}"

    def test_a_long_retry_after_is_told_not_slept(self, context: Context, inner: Transport) -> None:
        faults = Faults(context, inner, [lambda _: Response(429, headers={"Retry-After": "3600"})] * 1_000)
        error = self._check_raises(faults.context(), RateLimited)
        assert isinstance(error, RateLimited)
        assert error.retry_after >= 3600, f"the error must carry the wait, not {error.retry_after}"
        assert sum(faults.clock.slept) < 120, "an hour's wait belongs to the engine, not to a sleep"

    def test_an_outage_ends_in_unavailable(self, context: Context, inner: Transport) -> None:
        faults = Faults(context, inner, [lambda _: Response(503, content=b"<html>down</html>")] * 1_000)
        self._check_raises(faults.context(), Unavailable)
        assert faults.used < 20, f"{faults.used} requests were sent into an outage"

    def test_a_passing_outage_is_outlasted(self, context: Context, inner: Transport) -> None:
        faults = Faults(context, inner, [lambda _: Response(503)], method="GET")
        with self.connector(faults.context()) as connector:
            assert connector.check().account

    def test_an_html_answer_is_told(self, context: Context, inner: Transport) -> None:
        page = b"<!doctype html><title>Login</title>"
        faults = Faults(context, inner, [lambda _: Response(200, content=page)] * 1_000)
        self._check_raises(faults.context(), ContractChanged)

    def test_secrets_stay_out_of_errors(
        self, context: Context, inner: Transport, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The platform throws everything we sent back at us: headers, body, and every secret by name."""
        caplog.set_level(logging.DEBUG)
        secrets = {name: secret.reveal() for name, secret in context.secrets.items()}

        def echo(request: Request) -> Response:
            sent = [request.url, *request.headers.items(), request.read().decode(errors="replace")]
            return Response(400, text="\n".join(map(str, [*sent, *secrets.items()])))

        faults = Faults(context, inner, [echo] * 1_000)
        error = self._check_raises(faults.context(), ConnectorError)
        for name, value in secrets.items():
            for text in (str(error), error.detail, caplog.text):
                assert value not in text, f"the secret {name} shows in an error or in the log"

    def test_an_empty_middle_page_does_not_end_reading(
        self, context: Context, empty_middle_page: Context | None
    ) -> None:
        if empty_middle_page is None or not issubclass(self.connector, Source):
            pytest.skip("no fixture “empty_middle_page” for this connector")
        assert set(self._all_ids(empty_middle_page)) == set(self._all_ids(context)), "records after it were lost"

    def test_a_repeated_token_is_told(self, repeated_token: Context | None) -> None:
        if repeated_token is None or not issubclass(self.connector, Source):
            pytest.skip("no fixture “repeated_token” for this connector")
        with pytest.raises(ContractChanged):
            self._all_ids(repeated_token)

    def _all_ids(self, context: Context) -> list[str | None]:
        with self.connector(context) as source:
            assert isinstance(source, Source)
            id_field = source.describe(self.entity).entity.id_field
            return _ids(source.read(self.entity, [id_field]))

    def _check_raises(self, context: Context, kind: type[ConnectorError]) -> ConnectorError:
        with self.connector(context) as connector, pytest.raises(ConnectorError) as caught:
            connector.check()
        error = caught.value
        if kind is AuthenticationFailed and isinstance(error, PermissionMissing):
            pytest.fail("a dead credential is AuthenticationFailed, not PermissionMissing")
        assert isinstance(error, kind), f"expected {kind.__name__}, got {type(error).__name__}: {error}"
        assert str(error).strip(), "an error says one sentence to staff"
        return error


Fault = Callable[[Request], Response]


class Faults:
    """A transport that answers the first requests (of ``method``, where given) with scripted faults and
    passes all later ones on to the context's own transport. ``used`` counts the faults that happened."""

    def __init__(
        self, context: Context, inner: Transport, script: Sequence[Fault], *, method: str | None = None
    ) -> None:
        self._context = context
        self._script = script
        self._method = method
        self._inner = inner
        self.clock = VirtualClock()
        self.used = 0

    def context(self) -> Context:
        """The context with this transport, a virtual clock and no token remembered."""
        network = replace(self._context.network, transport=self)
        return replace(self._context, network=network, clock=self.clock, tokens=MemoryTokens())

    def handle_request(self, request: Request, /) -> Response:
        if self.used < len(self._script) and self._method in (None, request.method):
            self.used += 1
            return self._script[self.used - 1](request)
        answer: Response = self._inner.handle_request(request)
        return answer


def _ids(pages: Iterable[Page]) -> list[str | None]:
    """The ids of pages whose only column is the id."""
    return [value for page in pages for value in page.frame.to_series(0)]


def _text(keys: pl.Series) -> list[str]:
    return keys.cast(pl.String).to_list()


def _values(frame: pl.DataFrame, key: str) -> list[str]:
    return [name for name in frame.columns if name != key]


def _by_key(result: WriteResult, column: str) -> dict[str, str | None]:
    return dict(zip(result.frame["key"].to_list(), result.frame[column].to_list(), strict=True))


def _ids_by_key(result: WriteResult) -> dict[str, str | None]:
    return _by_key(result, "target_id")


def _outcomes(result: WriteResult) -> dict[str, int]:
    return dict(result.frame["outcome"].value_counts().iter_rows())


def _same(found: pl.DataFrame, written: pl.DataFrame, key: str) -> None:
    """What was read back equals what was written, record by record, in the written types."""
    assert sorted(found["key"].to_list()) == sorted(_text(written[key])), "fetch() must find exactly the written keys"
    expected = written.with_columns(pl.col(key).cast(pl.String).alias("key")).sort("key")
    actual = found.sort("key")
    for name in _values(written, key):
        column = actual[name].cast(written.schema[name])
        differs = column.ne_missing(expected[name])
        first = actual.filter(differs)["key"].head(1).to_list()
        assert not differs.any(), f"{name} of record {first} came back different"
