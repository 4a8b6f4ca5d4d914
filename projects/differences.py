"""What would be lost, or would not go at all, if records of one org were moved to another: two schemas compared.

Pure: what the orgs say of themselves comes in, sentences for staff come out. ``source`` is where records come from.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from connectors.types import EntitySchema, FieldInfo, FieldType
from projects.twins import RECORD_TYPE, bare, field_twins, missing_record_types, twin

SHOWN_VALUES = 5
"""So many values are named in a sentence; the others are counted."""


CURRENCY = "CurrencyIsoCode"
"""The field of a record's currency, in Salesforce orgs with several of them."""


class Verdict(StrEnum):
    COMPATIBLE = "compatible"
    LOSS = "compatible with loss"
    NOT_COMPATIBLE = "not compatible"

    @property
    def weight(self) -> int:
        return list(Verdict).index(self)


class Kind(StrEnum):
    MISSING_OBJECT = "missing object"
    MISSING_FIELD = "missing field"
    READ_ONLY = "read-only field"
    TYPE = "type"
    LENGTH = "length"
    DIGITS = "digits"
    PICKLIST = "picklist values"
    RECORD_TYPE = "record type"
    REQUIRED = "required field"
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. ``field`` is blank for the object itself; ``reason`` is one sentence."""

    field: str
    kind: Kind
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Compared:
    """One object of the source against its twin. ``target`` is blank where it has none.

    A field that is not compatible stays behind, which is a loss to the object; the object itself is not compatible
    where it is missing, or where no record could be made of it.
    """

    source: str
    label: str
    target: str
    fields: int
    differences: tuple[Difference, ...]
    blocked: bool = False

    @property
    def verdict(self) -> Verdict:
        if self.blocked:
            return Verdict.NOT_COMPATIBLE
        worst = max((each.verdict.weight for each in self.differences), default=0)
        return Verdict.LOSS if worst else Verdict.COMPATIBLE

    @property
    def reasons(self) -> tuple[str, ...]:
        """The sentences, the worst first."""
        ordered = sorted(self.differences, key=lambda each: -each.verdict.weight)
        return tuple(each.reason for each in ordered if each.verdict is not Verdict.COMPATIBLE)

    def as_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "target": self.target or None,
            "fields": self.fields,
            "verdict": self.verdict.value,
            "differences": [
                {"field": d.field or None, "kind": d.kind.value, "verdict": d.verdict.value, "reason": d.reason}
                for d in self.differences
            ],
        }


def compare(source: EntitySchema, target: EntitySchema | None) -> Compared:
    """One object against its twin, or against nothing."""
    name, label = source.entity.name, source.entity.label
    if target is None:
        missing = Difference(
            "", Kind.MISSING_OBJECT, Verdict.NOT_COMPATIBLE, f"{label} ({name}) does not exist in the target."
        )
        return Compared(name, label, "", len(source.fields), (missing,), blocked=True)
    twins = field_twins(source, target)
    unfilled = tuple(_unfilled(source, target, twins))
    found = (
        *(each for info in source.fields for each in _field_differences(info, target, twins.get(info.name))),
        *unfilled,
        *(
            Difference("RecordTypeId", Kind.RECORD_TYPE, Verdict.LOSS, _missing_type(kind.label or kind.name))
            for kind in missing_record_types(source, target)
        ),
    )
    blocked = any(each.verdict is Verdict.NOT_COMPATIBLE for each in unfilled)
    return Compared(name, label, target.entity.name, len(source.fields), found, blocked)


def compare_all(sources: Iterable[EntitySchema], targets: Mapping[str, EntitySchema]) -> tuple[Compared, ...]:
    """Every object against its twin among ``targets`` (by name)."""
    return tuple(compare(source, _twin_schema(source, targets)) for source in sources)


def _twin_schema(source: EntitySchema, targets: Mapping[str, EntitySchema]) -> EntitySchema | None:
    other = twin(source.entity.name, targets)
    return targets[other] if other is not None else None


def _missing_type(name: str) -> str:
    return f"The record type {name} does not exist in the target; records of it are refused."


# --- Fields ---------------------------------------------------------------------------------------------------
def _field_differences(info: FieldInfo, target: EntitySchema, other: str | None) -> Iterator[Difference]:
    if not info.writable or info.references == (RECORD_TYPE,):
        return  # what a system computes is computed again; record types are compared by name
    if other is None:
        lost = (
            "amounts keep their figures and lose their currency" if info.name == CURRENCY else "its values stay behind"
        )
        reason = f"{info.name} does not exist in the target; {lost}."
        yield Difference(info.name, Kind.MISSING_FIELD, Verdict.LOSS, reason)
        return
    there = target.field(other)
    if not there.writable:
        reason = f"{info.name} cannot be written in the target; its values stay behind."
        yield Difference(info.name, Kind.READ_ONLY, Verdict.LOSS, reason)
        return
    verdict, reason = _of_types(info, there)
    if reason:
        yield Difference(info.name, Kind.TYPE, verdict, reason)
    if verdict is not Verdict.NOT_COMPATIBLE:
        yield from _of_sizes(info, there)
        yield from _of_values(info, there)
        yield from _of_references(info, there)
    if there.required and not info.required:
        reason = f"{info.name} is required in the target; records without it are refused."
        yield Difference(info.name, Kind.REQUIRED, Verdict.LOSS, reason)


def _unfilled(source: EntitySchema, target: EntitySchema, twins: Mapping[str, str]) -> Iterator[Difference]:
    """Fields that every new record of the target needs, and that nothing of the source can fill."""
    fillable = {other for name, other in twins.items() if _can_fill(source.field(name), target.field(other))}
    for info in target.fields:
        if info.required and info.writable and info.name not in fillable:
            reason = f"{info.name} is required in the target, and the source has nothing to fill it with."
            yield Difference(info.name, Kind.REQUIRED, Verdict.NOT_COMPATIBLE, reason)


def _can_fill(info: FieldInfo, there: FieldInfo) -> bool:
    return _of_types(info, there)[0] is not Verdict.NOT_COMPATIBLE and not list(_of_references(info, there))


NUMBERS = (FieldType.INTEGER, FieldType.DECIMAL, FieldType.FLOAT)
TEXTS = (FieldType.TEXT, FieldType.PICKLIST, FieldType.MULTIPICKLIST, FieldType.UUID, FieldType.JSON)
FINE, PARSED = "", "values that are no {there} are refused"
CONVERSIONS: Mapping[tuple[FieldType, FieldType], str] = {
    **{(here, there): PARSED for here in TEXTS for there in (*NUMBERS, FieldType.BOOLEAN, FieldType.TIME)},
    **{(here, there): PARSED for here in TEXTS for there in (FieldType.DATE, FieldType.DATETIME)},
    **{(here, there): FINE for here in NUMBERS for there in (FieldType.DECIMAL, FieldType.FLOAT)},
    **{(here, FieldType.INTEGER): "fractions are refused" for here in (FieldType.DECIMAL, FieldType.FLOAT)},
    **{
        (here, FieldType.TEXT): FINE
        for here in FieldType
        if here not in (FieldType.BINARY, FieldType.CONTENT, FieldType.REFERENCE)
    },
    (FieldType.REFERENCE, FieldType.TEXT): "the source's ids arrive as text and lead nowhere",
    (FieldType.DATE, FieldType.DATETIME): FINE,
    (FieldType.DATETIME, FieldType.DATE): "the time of day is lost",
    (FieldType.TEXT, FieldType.PICKLIST): FINE,
    (FieldType.TEXT, FieldType.MULTIPICKLIST): FINE,
    (FieldType.PICKLIST, FieldType.MULTIPICKLIST): FINE,
    (FieldType.MULTIPICKLIST, FieldType.PICKLIST): "records with several values are refused",
}
"""(source type, target type) → what is lost; blank where nothing is. Other pairs do not go."""


def _of_types(info: FieldInfo, there: FieldInfo) -> tuple[Verdict, str]:
    if info.type is there.type and info.type is not FieldType.BINARY:
        return Verdict.COMPATIBLE, ""
    said = f"{info.name} is of the type {info.type.value} in the source and {there.type.value} in the target"
    lost = CONVERSIONS.get((info.type, there.type))
    if lost is None:
        return Verdict.NOT_COMPATIBLE, f"{said}, which cannot be converted; its values stay behind."
    if lost:
        return Verdict.LOSS, f"{said}: {lost.format(there=there.type.value)}."
    return Verdict.COMPATIBLE, f"{said}, which loses nothing."


def _of_sizes(info: FieldInfo, there: FieldInfo) -> Iterator[Difference]:
    if there.type in TEXTS and there.length is not None and info.type in TEXTS:
        longest = max(map(len, info.choices), default=0) if info.restricted else info.length
        if longest is None or longest > there.length:
            here = f"{longest:,}" if longest is not None else "any number of"
            reason = (
                f"{info.name} holds {here} characters in the source and {there.length:,} in the target; longer texts "
                "are refused."
            )
            yield Difference(info.name, Kind.LENGTH, Verdict.LOSS, reason)
    if info.type in NUMBERS and there.type in NUMBERS:
        yield from _of_digits(info, there)


def _of_digits(info: FieldInfo, there: FieldInfo) -> Iterator[Difference]:
    if info.precision is None or there.precision is None:
        return
    before, after = info.precision - (info.scale or 0), there.precision - (there.scale or 0)
    if before > after:
        reason = (
            f"{info.name} has {before} digits before the point in the source and {after} in the target; larger "
            "numbers are refused."
        )
        yield Difference(info.name, Kind.DIGITS, Verdict.LOSS, reason)
    if (info.scale or 0) > (there.scale or 0):
        reason = (
            f"{info.name} has {info.scale or 0} digits after the point in the source and {there.scale or 0} in the "
            "target; the others are lost."
        )
        yield Difference(info.name, Kind.DIGITS, Verdict.LOSS, reason)


def _of_values(info: FieldInfo, there: FieldInfo) -> Iterator[Difference]:
    if not there.choices or there.type not in (FieldType.PICKLIST, FieldType.MULTIPICKLIST):
        return
    known = {value.lower() for value in there.choices}
    missing = [value for value in info.choices if value.lower() not in known]
    open_ended = not info.restricted and there.restricted
    if not missing and not (open_ended and not info.choices):
        return
    listed = ", ".join(missing[:SHOWN_VALUES]) + (
        f" and {len(missing) - SHOWN_VALUES} more" if len(missing) > SHOWN_VALUES else ""
    )
    if not there.restricted:
        reason = f"{info.name} lacks {listed} in the target, which accepts other values, too."
        yield Difference(info.name, Kind.PICKLIST, Verdict.COMPATIBLE, reason)
    elif missing:
        reason = f"{info.name} lacks {listed} in the target; records with such a value are refused."
        yield Difference(info.name, Kind.PICKLIST, Verdict.LOSS, reason)
    else:
        reason = f"{info.name} takes any text in the source and only listed values in the target; others are refused."
        yield Difference(info.name, Kind.PICKLIST, Verdict.LOSS, reason)


def _of_references(info: FieldInfo, there: FieldInfo) -> Iterator[Difference]:
    if info.type is not FieldType.REFERENCE or there.type is not FieldType.REFERENCE or not there.references:
        return
    accepted = {bare(entity) for entity in there.references}
    strange = [entity for entity in info.references if bare(entity) not in accepted]
    if info.references and len(strange) == len(info.references):
        reason = (
            f"{info.name} points at {', '.join(info.references[:SHOWN_VALUES])} in the source and at "
            f"{', '.join(there.references[:SHOWN_VALUES])} in the target; it stays behind."
        )
        yield Difference(info.name, Kind.REFERENCE, Verdict.NOT_COMPATIBLE, reason)
    elif strange:
        reason = f"{info.name} cannot point at {', '.join(strange[:SHOWN_VALUES])} in the target; those are left blank."
        yield Difference(info.name, Kind.REFERENCE, Verdict.LOSS, reason)
