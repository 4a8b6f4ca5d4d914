"""What a mapping is: rules as frozen data that travel as JSON.

A mapping has two halves, platform → universal model and universal model → target; a mirror and an
org-to-org move between like schemas have one. A rule computes one value from the record's fields as
the half before it left them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from projects.mapping.equality import EqualityRule


class Unknown(StrEnum):
    """What a value map does with a value it does not list."""

    REJECT = "reject"
    KEEP = "keep"
    BLANK = "blank"
    NOTE = "note"
    """The map's entry ``*``, or blank without one, with a note on the record; also where the map lists it blank. Where
    that entry is ``!`` the record is refused."""


ANY_OTHER = "*"
"""The entry of a value map that ``Unknown.NOTE`` takes for what has no value of its own."""
REFUSED = "!"
"""As the value of that entry: what has no value of its own is refused."""


@dataclass(frozen=True, slots=True)
class Field:
    """The record's own value."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """The same value for every record, in source-frame notation (text)."""

    value: str | None


@dataclass(frozen=True, slots=True)
class Default:
    """``of``, or ``otherwise`` where that is blank."""

    of: "Rule"
    otherwise: "Rule"


@dataclass(frozen=True, slots=True)
class Template:
    """Text with ``{field}`` places; blank where every named field is blank. ``{{`` writes a brace."""

    text: str


@dataclass(frozen=True, slots=True)
class Formula:
    """One SQL expression over the record's fields, in the subset the compiler admits."""

    sql: str


@dataclass(frozen=True, slots=True)
class Mapped:
    """``of`` looked up in a value map: inline ``entries``, or the project's map called ``name``.

    Look-up ignores case and outer blanks; blank stays blank.
    """

    of: "Rule"
    entries: Mapping[str, str | None] = field(default_factory=dict)
    name: str = ""
    unknown: Unknown = Unknown.REJECT


class Unresolved(StrEnum):
    """What becomes of a record whose parent is not in the target yet. But for ``REJECT`` it stays due, with the
    parent's status as its reason, and is completed by itself once the parent is there."""

    WAIT = "wait"
    """It is not written before."""
    BLANK = "blank"
    """It is written with the field blank. What happens unasked where the target does not require the field."""
    DROP = "drop"
    """It is written without the field, with a note."""
    KEEP = "keep"
    """It is written with the value as it came, with a note."""
    REJECT = "reject"


KEY = "#key"
"""As ``Reference.by``: the value is the parent's external id in the target."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The target id of the record that ``of`` names, among the records of ``entities``.

    ``entities`` are source entities; a polymorphic reference lists several. ``by`` says what ``of`` gives: the
    parent's source id (blank; the first entity that knows it wins, for ids of one platform do not collide), its
    external id (``KEY``), or the value of the target field ``by`` of the parent, like its name. ``unresolved`` is
    the policy for a parent that is not there; without one the record waits where the target requires the field, and
    is written with the field blank (``BLANK``) where it does not.

    It stands alone, or as the ``of`` of a target rule's ``Default``. In the first half it marks a universal field,
    and the target field that takes that field over becomes the reference.
    """

    of: "Rule"
    entities: tuple[str, ...]
    by: str = ""
    unresolved: Unresolved | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """A JSON object of the parts that are not blank; blank where all are."""

    parts: Mapping[str, "Rule"]


@dataclass(frozen=True, slots=True)
class Composed:
    """The values of other target fields, joined by colons, once their references are found; blank where one is.

    It is the key of records that carry no key of ours and are known by what they connect (a link, a membership).
    """

    fields: tuple[str, ...]


FORETOLD = "~"
"""What a target id begins with where a dry run only foretells the record; in a key its source id stands for it."""

Rule: TypeAlias = Field | Constant | Default | Template | Formula | Mapped | Reference | Address | Composed


@dataclass(frozen=True, slots=True)
class FieldRule:
    """Fill ``target`` (a universal or a target field) by ``rule``."""

    target: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class ObjectMapping:
    """How one source entity becomes one target entity.

    ``identity`` is the source field that identifies a record; ``part`` tells apart several target
    records made of one source record (blank for the usual one). ``key`` is the target field that
    carries our external id; one of the target rules must fill it. ``where`` keeps only records for
    which the formula over source fields is true; the others are skipped with that reason.
    ``where_universal`` does the same over the universal fields. ``universal`` names the middle object,
    blank where ``to_universal`` is empty and ``to_target`` reads the source fields directly. ``equality``
    gives for target fields the rules of reading back in place of those their types bring; blank for exactly.
    ``match`` are the target fields by which a record that is new to us is looked for in the target; ``unresolved``
    gives policies to references by their target field, over those of their rules.
    """

    source_entity: str
    target_entity: str
    identity: str
    key: str
    to_target: tuple[FieldRule, ...]
    to_universal: tuple[FieldRule, ...] = ()
    universal: str = ""
    part: str = ""
    where: Formula | None = None
    where_universal: Formula | None = None
    equality: Mapping[str, tuple[EqualityRule, ...]] = field(default_factory=dict)
    match: tuple[str, ...] = ()
    unresolved: Mapping[str, Unresolved] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Half:
    """One packaged half: ``origin`` (a platform's entity or a universal object) → ``result``.

    ``identity`` is the platform's id field in the first half and the target's key field in the second.
    """

    origin: str
    result: str
    identity: str
    rules: tuple[FieldRule, ...]
    where: Formula | None = None
