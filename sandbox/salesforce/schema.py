"""Object definitions: what fields an object has and how they behave; describe, storage and SOQL read them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

TEXT_TYPES = frozenset(
    (
        "string", "textarea", "picklist", "multipicklist", "combobox", "email", "phone", "url", "encryptedstring", "id",
        "reference",
    )
)  # fmt: skip
NUMBER_TYPES = frozenset(("double", "currency", "percent"))


@dataclass(frozen=True, slots=True)
class PicklistValue:
    value: str
    label: str = ""
    active: bool = True
    default: bool = False


@dataclass(frozen=True, slots=True)
class Rollup:
    """A roll-up summary: ``operation`` (count, sum, min, max) over ``child.summed`` by ``child.foreign_key``."""

    child: str
    foreign_key: str
    operation: str
    summed: str | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One field. Lengths are in characters; ``precision`` counts all digits of a number, ``scale`` those after
    the point, ``digits`` those of an int. ``filterable`` is false for long text, as on the platform.

    A field is *computed* when it has ``rollup`` or ``expression``: its value is worked out at each read.
    ``formula`` without an ``expression`` is a formula this sandbox does not evaluate; such a field reads as null.
    """

    name: str
    type: str
    label: str
    length: int = 0
    precision: int = 0
    scale: int = 0
    digits: int = 0
    nillable: bool = True
    createable: bool = True
    updateable: bool = True
    defaulted: bool = False
    default: str | bool | float | None = None
    values: tuple[PicklistValue, ...] = ()
    restricted: bool = False
    reference_to: tuple[str, ...] = ()
    relationship: str | None = None
    relationship_order: int | None = None
    child_relationship: str | None = None
    cascade_delete: bool = False
    restricted_delete: bool = False
    write_requires_master_read: bool = False
    compound: str | None = None
    extra: str | None = None
    external_id: bool = False
    unique: bool = False
    case_sensitive: bool = False
    id_lookup: bool = False
    name_field: bool = False
    auto_number: str | None = None
    formula: str | None = None
    blank_is_zero: bool = False
    expression: str | None = None
    rollup: Rollup | None = None
    custom: bool = False
    filterable: bool = True
    help: str | None = None
    parts: tuple[tuple[str, str], ...] = ()
    """For an address: (key in JSON, field that holds it)."""

    @property
    def polymorphic(self) -> bool:
        return len(self.reference_to) > 1

    @property
    def calculated(self) -> bool:
        return self.formula is not None or self.rollup is not None

    @property
    def permissionable(self) -> bool:
        """Whether a user's access to it can be taken away; never for what every record must have."""
        optional = self.nillable and self.relationship_order is None
        return optional and (self.custom or self.createable or self.updateable or self.type == "address")

    @property
    def stored(self) -> bool:
        return self.type != "address" and not self.calculated


@dataclass(frozen=True, slots=True)
class RecordType:
    """A record type of an object; ``available`` says whether the user may choose it."""

    id: str
    name: str
    developer_name: str
    active: bool = True
    available: bool = True
    default: bool = False


@dataclass(frozen=True)
class SObject:
    """One object. ``fields`` keep the platform's order; look-ups by name ignore case, as SOQL does."""

    name: str
    label: str
    plural: str
    prefix: str | None
    fields: tuple[Field, ...]
    custom: bool = False
    createable: bool = True
    changeable: bool | None = None
    deletable: bool = True
    undeletable: bool = True
    mergeable: bool = False
    searchable: bool = True
    triggerable: bool = True
    layoutable: bool = True
    feed: bool = False
    activities: bool = False
    bulk: bool = True
    associate_type: str | None = None
    associate_parent: str | None = None
    record_types: tuple[RecordType, ...] = ()
    unique_together: tuple[str, ...] = ()
    """Fields that no two records have alike."""
    needs_filter: tuple[str, ...] = ()
    """A query must name one of these with = or IN."""
    by_name: Mapping[str, Field] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {each.name.lower(): each for each in self.fields})

    @property
    def may_change(self) -> bool:
        """Whether records may be updated: as ``changeable`` says, else where they may be created."""
        return self.createable if self.changeable is None else self.changeable

    def field(self, name: str) -> Field | None:
        return self.by_name.get(name.lower())

    def relationship(self, name: str) -> Field | None:
        """The reference field whose parent is called ``name`` in a path (``Owner``, ``Market__r``)."""
        wanted = name.lower()
        return next((each for each in self.fields if (each.relationship or "").lower() == wanted), None)

    @property
    def name_field(self) -> Field | None:
        return next((each for each in self.fields if each.name_field), None)

    def without(self, name: str) -> "SObject":
        """The object as a user sees it who may not see the field ``name``."""
        return replace(self, fields=tuple(each for each in self.fields if each.name != name))

    def with_fields(self, extra: Iterable[Field]) -> "SObject":
        """The object with ``extra`` added, replacing fields of the same name."""
        added = {each.name: each for each in extra}
        kept = tuple(each for each in self.fields if each.name not in added)
        return replace(self, fields=kept + tuple(added.values()))


class Schema:
    """All objects of an org, by name without regard to case."""

    def __init__(self, objects: Iterable[SObject]) -> None:
        self._by_name = {each.name.lower(): each for each in objects}

    def get(self, name: str) -> SObject | None:
        return self._by_name.get(name.lower())

    def __iter__(self) -> Iterator[SObject]:
        return iter(self._by_name.values())

    def require(self, name: str) -> SObject:
        """The object of that name; raises KeyError where there is none."""
        return self._by_name[name.lower()]

    def changed(self, *objects: SObject) -> "Schema":
        """A schema with ``objects`` added or in place of those of the same name."""
        return Schema({**self._by_name, **{each.name.lower(): each for each in objects}}.values())

    def by_prefix(self, prefix: str) -> SObject | None:
        return next((each for each in self if each.prefix == prefix), None)

    def children(self, parent: str) -> list[tuple[SObject, Field]]:
        """Every (child object, reference field) that may point at ``parent``, by child name."""
        found = [(child, each) for child in self for each in child.fields if parent in each.reference_to]
        return sorted(found, key=lambda pair: (pair[0].name, pair[1].name))
