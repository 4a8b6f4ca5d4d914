"""The two contracts every connector keeps: Source reads, Target writes.

A connector holds no try/except for control of the run, no sleep, no retry loop, no thread, no log call
and no environment access: it raises the errors of ``connectors.errors`` and the engine decides.
``connectors.testing`` holds the suite that checks these contracts; third parties run it too.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import BinaryIO, ClassVar, Self

import polars as pl

from connectors.auth import Consent
from connectors.context import Context, Secret
from connectors.types import (
    Bypass,
    Capabilities,
    Condition,
    Connection,
    Cursor,
    Deletion,
    EntityInfo,
    EntitySchema,
    Identity,
    Inventory,
    Owner,
    Page,
    Setting,
    Way,
    WriteResult,
)

MOST_IDS = 200
"""Ids in one ``Source.read_ids``: what fits into a platform's address."""


class Connector(ABC):
    """What sources and targets share. Use as a context manager: leaving it closes the connector and gives
    back what it took of the rate budget; ``close`` frees connections."""

    slug: ClassVar[str]
    label: ClassVar[str]
    settings: ClassVar[tuple[Setting, ...]] = ()
    capabilities: ClassVar[Capabilities]
    ways: ClassVar[tuple[Way, ...]] = ()
    """Ways to connect, the recommended one first; none where one form with all settings is all there is."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @abstractmethod
    def check(self) -> Identity:
        """The cheapest call that proves the credentials work; raises FatalError subclasses."""

    @abstractmethod
    def entities(self) -> tuple[EntityInfo, ...]:
        """What can be read or written, sorted by name."""

    @abstractmethod
    def describe(self, entity: str) -> EntitySchema:
        """The entity's fields; raises SettingsInvalid naming the entity where there is none."""

    def describe_if_changed(self, entity: str, stamp: str) -> tuple[EntitySchema | None, str]:
        """The schema with the platform's mark of its state; no schema where ``stamp``, an earlier such mark, still
        holds. A platform without such marks describes anew and gives a blank one."""
        del stamp
        return self.describe(entity), ""

    def inventory(self, entities: Sequence[str]) -> Inventory:
        """How many records these entities hold and which automation acts on them, as far as it can be had in a
        few requests."""
        del entities
        return Inventory()

    def owners(self) -> tuple[Owner, ...]:
        """Who may own records, active or not; only where the capabilities say ``lists_owners``."""
        return ()

    @classmethod
    def start_consent(cls, context: Context, redirect_uri: str) -> Consent:
        """Where to send a person for consent; only where a way's flow is CONSENT."""
        raise NotImplementedError(f"{cls.slug} asks for no consent")  # a caller's bug, not a state

    @classmethod
    def end_consent(cls, context: Context, *, code: Secret, verifier: Secret, redirect_uri: str) -> Connection:
        """Exchange the code the person came back with; raises AuthenticationFailed and the other connector errors."""
        raise NotImplementedError(f"{cls.slug} asks for no consent")  # a caller's bug, not a state

    @classmethod
    def set_up(cls, context: Context, *, name: str, contact_email: str, tell: Callable[[str], None]) -> Connection:
        """Make in the system what connects from now on, as something called ``name``; only where a way's flow is
        SET_UP. The context has the way's one-time settings; they are used and not kept. ``tell`` hears of each step
        as it begins. Raises connector errors; nothing half made is left, or the sentence says what."""
        raise NotImplementedError(f"{cls.slug} is not set up by us")  # a caller's bug, not a state

    @property
    def calls(self) -> int:
        """Requests sent to the platform so far; 0 where its interface knows no requests."""
        return 0

    def close(self) -> None:
        """Free what the connector holds. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            self.close()
        finally:
            self.context.budget.close()


class Source(Connector):
    """A system we read from."""

    def count(self, entity: str, *, since: datetime | None = None) -> int | None:
        """How many records ``read`` would yield, or None where the platform cannot say cheaply."""
        return None

    @abstractmethod
    def read(
        self,
        entity: str,
        fields: Sequence[str],
        *,
        since: datetime | None = None,
        cursor: Cursor | None = None,
    ) -> Iterator[Page]:
        """Yield the entity's records as pages (see ``Page``).

        The entity's id field must be among ``fields``. Resuming with a page's cursor, in a new process,
        yields what follows that page. ``since`` (aware) keeps records updated at or after it, and
        those without a time. Reading an entity without records yields one empty page whose cursor is None.
        Only the platform's own end signal ends reading; an empty page in the middle does not.
        """

    def sample(self, entity: str, fields: Sequence[str], *, size: int) -> pl.DataFrame:
        """A few records of the entity, as ``read`` would give them, for people to look at."""
        return next(iter(self.read(entity, fields))).frame.head(size)

    def narrow(self, entity: str, conditions: Sequence[Condition]) -> None:
        """From now on ``count`` and ``read`` give only records of the entity for which all conditions hold; only
        where ``capabilities.filters``. Raises SettingsInvalid for a condition that does not fit the entity."""
        raise NotImplementedError(f"{self.slug} declares no filters")  # a caller's bug, not a state

    def narrow_files(self, chosen: Mapping[str, Sequence[Condition]]) -> None:
        """From now on ``read`` gives only files that lie at records of these entities for which all conditions hold;
        only where ``capabilities.filters`` and ``capabilities.contents``. Raises SettingsInvalid as ``narrow`` does."""
        raise NotImplementedError(f"{self.slug} declares no filters of files")  # a caller's bug, not a state

    def tell_pictures(self) -> None:
        """From now on rich texts show pictures by picture addresses (``connectors.pictures``), whose places ``content``
        takes; only where ``capabilities.pictures``."""
        raise NotImplementedError(f"{self.slug} declares no pictures")  # a caller's bug, not a state

    def read_ids(self, entity: str, fields: Sequence[str], ids: Sequence[str]) -> pl.DataFrame:
        """Those of the records that exist, as a source frame; only where ``capabilities.reads_ids``.

        ``ids`` are values of the entity's id field, at most ``MOST_IDS`` at a time; order is not promised."""
        raise NotImplementedError(f"{self.slug} declares no reading by id")  # a caller's bug, not a state

    def content(self, at: str, into: BinaryIO) -> None:
        """Write the contents that a content reference names by its ``at`` into a seekable file, at its position; only
        where ``capabilities.contents``. Raises NotFound where they are gone."""
        raise NotImplementedError(f"{self.slug} declares no contents of files")  # a caller's bug, not a state

    def deleted(self, entity: str, *, since: datetime) -> Iterator[Deletion]:
        """Records deleted at or after ``since``; only where ``capabilities.deletes``."""
        raise NotImplementedError(f"{self.slug} declares no deletions")  # a caller's bug, not a state


class Target(Connector):
    """A system we write to.

    ``key`` names the frame column that identifies a record in the target (an external id). Keys in one
    frame are unique and not null: the engine sees to that.
    """

    @abstractmethod
    def write(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        """Create or update each row by ``key``; only the frame's columns are touched.

        Idempotent: writing the same frame twice leaves the target as writing it once, and the second
        result says ``unchanged``. A refused row never takes others with it.
        """

    @abstractmethod
    def fetch(self, entity: str, *, key: str, keys: Sequence[str], fields: Sequence[str]) -> pl.DataFrame:
        """The target's rows whose ``key`` is among ``keys``: before-images and read-back.

        Columns: ``target_id`` (String), ``key`` (String) and then ``fields`` in the target's own types as
        ``write`` takes them. Keys without a row are simply absent; order is not promised.
        """

    def settle(self, entity: str, keys: Sequence[str], *, key: str) -> None:
        """Find out what became of what earlier tries began for these keys, so that ``fetch`` tells of it; only where
        ``key`` is ``ID_MAP`` is there anything to find out. Raises FatalError where nobody can tell any more."""
        del entity, keys, key

    def came_along(self, entity: str, target_ids: Sequence[str]) -> frozenset[str]:
        """Those of the rows that came into being with a row of another entity and go when it goes, so that ``delete``
        leaves them to it: a file's document, the contact of a person account."""
        del entity, target_ids
        return frozenset()

    def find(self, entity: str, match: pl.DataFrame, *, key: str) -> pl.DataFrame:
        """The target's rows that agree with a row of ``match`` in all its columns, compared as the target compares;
        only where ``capabilities.finds``.

        ``match`` has target fields in the types ``write`` takes, without nulls. Columns of the answer: those of
        ``match``, spelled as they were asked for, then ``target_id`` and ``key`` (String; null where the row's field
        ``key`` is blank). One row per hit: none, one or several for a row of ``match``.
        """
        raise NotImplementedError(f"{self.slug} looks nothing up by fields")  # a caller's bug, not a state

    def adopt(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        """Give rows that exist our key, or take it from them; only where ``capabilities.finds``.

        ``frame`` has ``target_id`` and ``key`` (String; null clears the field ``key``), and nothing else is touched.
        The result's ``key`` is the target id. A row whose field is so already is ``unchanged``; one that is gone, or
        that carries another key and is to get ours, is rejected.
        """
        raise NotImplementedError(f"{self.slug} adopts nothing")  # a caller's bug, not a state

    def count(self, entity: str, *, key: str, prefix: str) -> int | None:
        """How many target rows have a ``key`` beginning with ``prefix`` (blank: any key), or None where the
        target cannot say cheaply. Reconciliation finds records there that nobody tracks."""
        return None

    def keys(self, entity: str, *, key: str, prefix: str) -> Iterator[pl.Series] | None:
        """The values of ``key`` (String, pages of some thousands, any order) that ``count`` counts, or None where
        the target cannot list them. Reconciliation names records with them that nobody tracks."""
        return None

    @abstractmethod
    def delete(self, entity: str, target_ids: Sequence[str]) -> WriteResult:
        """Delete by target id; the result's ``key`` is the target id. A row already gone is ``unchanged``."""

    def changed_by_others(self, entity: str, target_ids: Sequence[str], *, since: datetime) -> pl.Series:
        """Those of the rows (target ids) that a person other than the user we are changed last, after ``since``
        (aware), in whichever field; only where ``capabilities.tells_editors``. Rows that are gone are none."""
        raise NotImplementedError(f"{self.slug} does not tell who changed a row")  # a caller's bug, not a state

    def rehearse(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        """What ``write`` would answer, found by writing and taking back; only where
        ``capabilities.rehearses``."""
        raise NotImplementedError(f"{self.slug} declares no rehearsal")  # a caller's bug, not a state

    def make_key(self, entity: str) -> tuple[str, ...]:
        """Give the entity a field that can carry our external id, and us the right to fill it; only where
        ``capabilities.makes_keys``. One sentence per change, none where it is there. Raises connector errors; what was
        made before a step failed is gone on with by the next call, and the sentence says so."""
        raise NotImplementedError(f"{self.slug} makes no keys")  # a caller's bug, not a state

    def bypass(self, name: str) -> Bypass | None:
        """The switch called ``name`` by which automation stands aside, and whether it is on; None where the settings
        want none. Raises SettingsInvalid where it has not been prepared."""
        del name
        return None

    def switch_bypass(self, found: Bypass, *, on: bool) -> None:
        """Switch it, for the user and the organisation it was found for; what is so already is left. Raises
        connector errors, after which it may or may not be switched."""
        raise NotImplementedError(f"{self.slug} has no bypass")  # a caller's bug, not a state

    def prepare_bypass(self, name: str) -> tuple[str, ...]:
        """Make in the system what ``bypass`` looks for, as far as it is missing, switched off; one sentence per
        change. Raises connector errors; nothing half made is left."""
        raise NotImplementedError(f"{self.slug} has no bypass")  # a caller's bug, not a state

    def imagine(self, wanted: Sequence[tuple[EntitySchema, str]]) -> tuple[str, ...]:
        """Take these entities, each with its key, to be there as ``ensure_entity`` would leave them, and return what it
        would return. From then on this connector describes, fetches and rehearses them so; nothing is changed in the
        system, and nothing stays. Only where ``capabilities.imagines``."""
        raise NotImplementedError(f"{self.slug} imagines nothing")  # a caller's bug, not a state

    def ensure_entity(self, schema: EntitySchema, *, key: str) -> tuple[str, ...]:
        """Create the entity or its missing fields; returns one sentence per change made. Only where
        ``capabilities.creates_schema``."""
        raise NotImplementedError(f"{self.slug} creates no schema")  # a caller's bug, not a state
