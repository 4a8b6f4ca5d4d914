"""The words connectors speak in: settings, capabilities, schemas, pages and write results.

Records travel in Polars frames. A *source frame* holds text only: every column is ``pl.String``, with
null for "absent or blank", ``true``/``false`` for booleans, plain decimal notation for numbers,
ISO 8601 for dates and times (UTC with a trailing ``Z`` where the platform knows the zone) and JSON
text for nested values. Conversion to the target's types happens in one place, the mapping, so that a
value that will not convert is a finding about one record and never a crash of a page.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

import polars as pl

from connectors.context import Secret
from connectors.errors import ContractChanged

JsonScalar: TypeAlias = bool | int | float | str | None
Cursor: TypeAlias = Mapping[str, JsonScalar]
"""Where reading continues. Written by a source, stored by the engine as JSON, read back by the same
source; nobody else looks inside."""


class SettingKind(StrEnum):
    TEXT = "text"
    URL = "url"
    NUMBER = "number"
    FLAG = "flag"
    CHOICE = "choice"
    LONG_TEXT = "long_text"


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing a person fills in to connect a system; forms and redaction are made from it.

    ``secret`` settings are stored sealed, are never shown again and are masked in every text that
    leaves the process.
    """

    name: str
    label: str
    kind: SettingKind = SettingKind.TEXT
    required: bool = True
    secret: bool = False
    help: str = ""
    default: str = ""
    choices: tuple[tuple[str, str], ...] = ()


class Alteration(StrEnum):
    """What a target does to values it accepts without telling; reading back then shows another spelling."""

    CUTS_TO_SECONDS = "cuts_to_seconds"
    BLANKS_TO_NULL = "blanks_to_null"
    TRIMS_TEXT = "trims_text"
    FOLDS_CASE = "folds_case"


class Asking(StrEnum):
    """How a target can be asked what became of records whose answer was lost, before they are sent again.

    ``KEY_LOOKUP``: ``fetch`` tells at once, and for certain, what a write left behind. ``JOB_RESULTS``: the target
    notes its vendor's jobs in ``context.journal`` and asks them itself at the next write. ``NONE`` leaves a person to
    decide: a run needs a recorded consent.
    """

    NONE = "none"
    JOB_RESULTS = "job_results"
    KEY_LOOKUP = "key_lookup"
    BOTH = "both"

    @property
    def by_key(self) -> bool:
        return self in (Asking.KEY_LOOKUP, Asking.BOTH)

    @property
    def by_job(self) -> bool:
        return self in (Asking.JOB_RESULTS, Asking.BOTH)


class Flow(StrEnum):
    """How a way to connect goes: a form, the platform's own consent page, or a set-up that makes what is needed."""

    FORM = "form"
    CONSENT = "consent"
    SET_UP = "set_up"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to connect a platform that has several.

    ``help`` says in a sentence for whom it is and what they need. ``settings`` names the connector's settings it
    fills in, ``required`` those of them it cannot do without; every other setting is cleared. ``one_time`` are asked
    for and never stored.
    """

    slug: str
    label: str
    help: str
    settings: tuple[str, ...]
    required: tuple[str, ...] = ()
    flow: Flow = Flow.FORM
    one_time: tuple[Setting, ...] = ()


@dataclass(frozen=True, slots=True)
class Connection:
    """What a consent or a set-up ended in: the settings and secrets that connect from now on. ``note`` is a sentence
    about what is still to come."""

    settings: Mapping[str, str]
    secrets: Mapping[str, Secret]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a connector can do, as data, so that a run is checked before it starts.

    ``asked_by`` says how a target can be asked after a lost answer; ``finds`` that it looks records up by any fields
    (``Target.find``) and lets a found one be taken over (``Target.adopt``); ``lock_codes`` are the codes of
    rejections that mean that a record, or its parent, was locked by somebody else at that moment; ``locks_parents``
    says that writing a record locks the records it points at, so that it is sent beside its siblings.
    ``page_size`` is in records. ``bulk_above`` is how many records a source reads one page after the
    other; more come through its vendor's interface for many (0: it has none). ``requests_per_second`` and
    ``concurrency`` are safe defaults for the rate budget where the vendor publishes no better figure (0 means no limit
    of its own). ``writers`` is how many
    workers a run has places for where it writes here. ``files`` says
    that it works on files a person uploads, ``filters`` that ``Source.narrow`` is understood,
    ``reads_ids`` that ``Source.read_ids`` is, ``lists_owners`` that ``owners`` is, ``contents`` that
    ``Source.content`` is, ``pictures`` that ``Source.tell_pictures`` is, and that a target takes and gives rich texts
    with picture addresses, ``makes_keys`` that ``Target.make_key`` is, ``tells_editors`` that
    ``Target.changed_by_others`` is, ``imagines`` that
    ``Target.imagine`` is. ``bypassed_by`` is the setting in which people name what the system's automation
    asks for before it stands aside (``Target.bypass``); blank where it cannot be asked to. ``alters`` lists what the
    target changes in values by itself; where it ``keeps_references`` no reference can point at nothing.
    """

    reads: bool = False
    writes: bool = False
    counts: bool = False
    delta: bool = False
    deletes: bool = False
    creates_schema: bool = False
    makes_keys: bool = False
    tells_editors: bool = False
    bypassed_by: str = ""
    rehearses: bool = False
    imagines: bool = False
    transactional: bool = False
    files: bool = False
    filters: bool = False
    reads_ids: bool = False
    lists_owners: bool = False
    contents: bool = False
    id_map: bool = False
    pictures: bool = False
    asked_by: Asking = Asking.NONE
    finds: bool = False
    lock_codes: frozenset[str] = frozenset()
    locks_parents: bool = False
    page_size: int = 2_000
    bulk_above: int = 0
    requests_per_second: float = 0
    concurrency: int = 0
    writers: int = 4
    alters: frozenset[Alteration] = frozenset()
    keeps_references: bool = False


class FieldType(StrEnum):
    """The neutral types; a connector maps its platform's types onto these."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATE = "date"
    TIME = "time"
    DATETIME = "datetime"
    PICKLIST = "picklist"
    MULTIPICKLIST = "multipicklist"
    REFERENCE = "reference"
    JSON = "json"
    UUID = "uuid"
    BINARY = "binary"
    CONTENT = "content"
    """Contents of a file: frames carry a reference to them (``connectors.contents``), the bytes stay where they are."""


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field of an entity, as the platform describes it.

    ``length`` is in characters; ``precision`` counts all digits and ``scale`` those after the point.
    ``required`` means a new record must carry a value (no default exists). ``writable`` is false for
    what the system computes. ``choices`` are a picklist's stored values and ``restricted`` says that
    no others are accepted. ``references`` names the entities a reference may point at. ``rich`` texts are
    HTML that the platform may spell in its own way. ``ignores_case`` says that the system takes texts for equal that
    differ in capitals only, ``overwritten`` that what a new record brings lasts only until anybody writes it again.
    ``note`` is a sentence for staff about values that were looked at; blank where there is nothing to say.
    """

    name: str
    type: FieldType = FieldType.TEXT
    label: str = ""
    length: int | None = None
    precision: int | None = None
    scale: int | None = None
    required: bool = False
    writable: bool = True
    unique: bool = False
    external_id: bool = False
    choices: tuple[str, ...] = ()
    restricted: bool = False
    references: tuple[str, ...] = ()
    ignores_case: bool = False
    rich: bool = False
    overwritten: bool = False
    note: str = ""


ID_MAP = "(id map)"
"""As the key of an object: the target carries no key of ours, and ``context.id_map`` alone knows which record is
which. The values are the source's ids. No platform has a field of this name."""
ID_MAP_FIELD = FieldInfo(ID_MAP, FieldType.TEXT, "Our id map", unique=True, external_id=True)


@dataclass(frozen=True, slots=True)
class EntityInfo:
    """A platform's table-like thing. ``updated_field`` is null where deltas cannot be asked for."""

    name: str
    label: str
    id_field: str
    updated_field: str | None = None


@dataclass(frozen=True, slots=True)
class RecordType:
    """A kind of record within one entity. ``name`` is the same in every org, ``id`` is this org's own."""

    id: str
    name: str
    label: str = ""
    active: bool = True


@dataclass(frozen=True, slots=True)
class EntitySchema:
    """An entity with its fields, in the platform's order, and its record types where the platform has any."""

    entity: EntityInfo
    fields: tuple[FieldInfo, ...]
    record_types: tuple[RecordType, ...] = ()

    def field(self, name: str) -> FieldInfo:
        """The field of that name; raises KeyError where there is none."""
        for candidate in self.fields:
            if candidate.name == name:
                return candidate
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(candidate.name for candidate in self.fields)


class Operator(StrEnum):
    """How a condition compares; the values are what is stored. A text compares as the platform compares it."""

    EQUALS = "equals"
    DIFFERS = "differs"
    LESS = "less"
    LESS_OR_EQUAL = "less or equal"
    GREATER = "greater"
    GREATER_OR_EQUAL = "greater or equal"
    AMONG = "among"
    BEGINS = "begins with"
    BLANK = "blank"
    FILLED = "filled"


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold of a record for it to be read.

    ``field`` is a field's name, or a path over references to a parent's field: ``Rule__c.Status__c``.
    ``values`` are in source-frame notation: one for most operators, at least one for ``among``, none for
    ``blank`` and ``filled``. ``parents`` say, reference after reference of the path, to which entity's records each
    leads; a reference of which they say nothing must be able to lead to those of one entity only.
    """

    field: str
    operator: Operator
    values: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()


class AutomationKind(StrEnum):
    VALIDATION_RULE = "validation rule"
    FLOW = "flow"
    TRIGGER = "trigger"
    DUPLICATE_RULE = "duplicate rule"


@dataclass(frozen=True, slots=True)
class Automation:
    """Something in a system that acts on, or refuses, records that are written. ``entity`` is blank where the
    system does not tell which; ``detail`` is what it says to people."""

    kind: AutomationKind
    entity: str
    name: str
    active: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    """How much a system holds and what acts on it: approximate ``records`` by entity, ``automations``, and one
    sentence in ``unread`` for each part that the connecting user may not see."""

    records: Mapping[str, int] = field(default_factory=dict)
    automations: tuple[Automation, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are to a system, as its check found out.

    ``account`` is a name staff recognise (organisation, database); ``facts`` are what the org's page
    lists (version, edition, sandbox…); ``limits`` are name → (left, total).
    """

    account: str
    facts: Mapping[str, JsonScalar] = field(default_factory=dict)
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of what ``Source.read`` yields.

    ``frame`` is a source frame (all ``pl.String``) with exactly the asked fields as columns, in the
    asked order; it may have no rows. ``cursor`` continues *after* this page; None ends the entity.
    """

    frame: pl.DataFrame
    cursor: Cursor | None


@dataclass(frozen=True, slots=True)
class Deletion:
    """A record the platform says is gone. ``at`` is aware, or None where the platform does not tell."""

    source_id: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Bypass:
    """A switch of a system by which its own automation stands aside for the user we are.

    ``name`` is what people find it by, ``permission`` what the automation asks for; ``organisation``, ``user`` and
    ``grant`` are the system's ids of itself, of us, and of what is given to us and taken away again.
    """

    name: str
    permission: str
    organisation: str
    user: str
    grant: str
    is_on: bool = False


class OwnerKind(StrEnum):
    USER = "user"
    QUEUE = "queue"


@dataclass(frozen=True, slots=True)
class Owner:
    """Somebody who may own records of a system. ``handles`` are names that are likely the same in another system
    (log-in, federation id, e-mail; a queue's developer name), by place and the most telling first; ``connected`` marks
    the user we are. ``owns`` are the entities whose records alone they may own; None where that is not told."""

    id: str
    kind: OwnerKind
    name: str
    handles: tuple[str, ...] = ()
    active: bool = True
    connected: bool = False
    owns: frozenset[str] | None = None


class Outcome(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    REJECTED = "rejected"


RESULT_SCHEMA: Mapping[str, type[pl.DataType]] = {
    "key": pl.String,
    "target_id": pl.String,
    "outcome": pl.String,
    "code": pl.String,
    "fields": pl.String,
    "message": pl.String,
}


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of every record of one write, by key and never by position.

    ``frame`` has the columns of ``RESULT_SCHEMA``: ``key`` (the input's key as text), ``target_id``
    (null where rejected), ``outcome`` (an ``Outcome`` value); for rejected ones the target's own
    ``code``, the ``fields`` it named (comma separated) and a ``message`` for staff.
    """

    frame: pl.DataFrame

    @classmethod
    def checked(cls, frame: pl.DataFrame, keys: pl.Series) -> "WriteResult":
        """A result that answers each of ``keys`` exactly once; raises ContractChanged otherwise."""
        frame = frame.select(pl.col(name).cast(dtype) for name, dtype in RESULT_SCHEMA.items())
        asked, told = keys.cast(pl.String), frame["key"]
        if told.equals(asked) and told.is_unique().all():
            return cls(frame)
        missing = asked.filter(~asked.is_in(told.implode()))
        extra = told.filter(~told.is_in(asked.implode()))
        doubled = told.filter(told.is_duplicated()).unique()
        for what, found in (
            ("no result for", missing),
            ("results nobody asked for:", extra),
            ("several results for", doubled),
        ):
            if len(found):
                sample = ", ".join(found.head(5).to_list())
                raise ContractChanged(
                    f"The target gave {what} {len(found)} record(s), among them {sample}; nothing was recorded."
                )
        return cls(frame)
