"""The packaged scene: payroll and time configuration between two orgs, some of it bad from the start."""

import random
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from migration_factory.torment.scene import REFUSED, Entities, Entity, Field, Kind, Policy, Row, Rows
from sandbox.salesforce import payroll
from sandbox.salesforce.payroll import BREAKPOINT_LOOKUPS, BREAKPOINT_TYPES, PAY_CODE_LOOKUPS, Configuration, Names

BAD = 30
FROM, TO = Names(), Names(namespaced=False)
_KINDS = {
    "Number": Kind.NUMBER,
    "Percent": Kind.NUMBER,
    "Currency": Kind.NUMBER,
    "Checkbox": Kind.FLAG,
    "Lookup": Kind.REFERENCE,
    "MasterDetail": Kind.REFERENCE,
}
"""How the metadata's types are told in rows; all others as texts."""
Change = Callable[[random.Random, Row, Rows], Row]


def rows(made: Configuration, record_types: Mapping[str, str]) -> Rows:
    """A configuration as rows, under the ids that the source gave its records; ``record_types`` are names by id."""
    described = entities(made)
    return {
        name: {str(record["Id"]): _row(described[name], record, record_types) for record in made.records[name]}
        for name in described
    }


def _row(entity: Entity, record: Mapping[str, Any], record_types: Mapping[str, str]) -> Row:
    return {each.name: _value(each, record.get(each.name), record_types) for each in entity.fields}


def _value(field: Field, value: Any, record_types: Mapping[str, str]) -> str | None:
    match field.kind:
        case Kind.FLAG:
            return str(bool(value)).lower()
        case Kind.NUMBER if value is not None:
            return f"{Decimal(str(value)):.{field.digits}f}"
        case Kind.RECORD_TYPE:
            return record_types[value]
        case _:
            return None if value is None else str(value)


def entities(made: Configuration) -> Entities:
    """All eight, parents first; fields as the metadata has them, but for those that an org fills itself."""
    taken = {each.id: _code_of(made, each.id) for each in made.bad if each.trouble == payroll.TAKEN}
    there = dict(zip(FROM.objects, TO.objects, strict=True))
    parts = {each["fullName"]: each for each in payroll.metadata(FROM, external_id=False)}
    described = [_entity(name, there[name], parts[name], taken) for name in FROM.objects]
    return {each.name: each for each in described}


def _code_of(made: Configuration, key: str) -> str:
    return next(str(each[_PAY("Code")]) for each in made.records[FROM.pay_code] if each["Id"] == key)


def _entity(name: str, twin: str, metadata: Mapping[str, Any], taken: Mapping[str, str]) -> Entity:
    named = [Field("Name")] if metadata["nameField"]["type"] == "Text" else []
    typed = [Field("RecordTypeId", Kind.RECORD_TYPE)] if metadata.get("recordTypes") else []
    described = [_field(each) for each in metadata["fields"] if "formula" not in each]
    refusing, edited = _PEOPLE.get(name, ("", {}))
    return Entity(
        name,
        (*named, *typed, *described),
        new=_NEW.get(name, _none_new),
        touched=_TOUCHED.get(name, _as_it_was),
        spoilt=lambda chance, row: {**row, refusing: f"{REFUSED} {chance.randrange(10**9)}"} if refusing else row,
        mended=_mended(name, refusing),
        refused=_refuses_code(taken) if name == FROM.pay_code else _REFUSED.get(name, _refuses_nothing),
        flawed=_unsendable if name == FROM.breakpoint else lambda _: False,
        refusing=refusing,
        edited=edited,
        twin=twin,
        prefix=f"new {twin} ",
    )


def _field(metadata: Mapping[str, Any]) -> Field:
    name = str(metadata["fullName"])
    return Field(
        name,
        _KINDS.get(metadata["type"], Kind.TEXT),
        parent=metadata.get("referenceTo", ""),
        required=metadata["type"] == "MasterDetail",
        digits=int(metadata.get("scale", 2)),
        twin="__".join(name.split("__")[1:]),
    )


# --- What happens to records ----------------------------------------------------------------------------------------

_TIME, _PAY = FROM.time, FROM.payroll
_PEOPLE: Mapping[str, tuple[str, Mapping[str, Policy]]] = {
    FROM.pay_code: (_PAY("Code"), {"Name": Policy.SOURCE, _PAY("Rate"): Policy.ASK}),
    FROM.breakpoint: ("", {"Name": Policy.SOURCE, _TIME("End_Threshold"): Policy.TARGET}),
    FROM.rule: ("", {_TIME("Short_Description"): Policy.ASK}),
    FROM.classification: ("", {_TIME("Level"): Policy.TARGET}),
}
"""Which field the target has a rule about, and what people edit there."""


def _none_new(chance: random.Random, number: int, rows: Rows) -> Row:
    raise NotImplementedError("only pay codes and breakpoints come to be in a campaign")


def _pay_code(chance: random.Random, number: int, rows: Rows) -> Row:
    like = rows[FROM.pay_code][_any(chance, rows[FROM.pay_code])]
    return {
        **like,
        "Name": f"New pay code {number}",
        _PAY("Code"): f"NC{number:05}",
        _PAY("Rate"): f"{chance.randrange(1, 4)}.{chance.randrange(10**4):04}",
    }


def _breakpoint(chance: random.Random, number: int, rows: Rows) -> Row:
    """Refers to a rule, to pay codes and to another breakpoint."""
    blank = dict.fromkeys(next(iter(rows[FROM.breakpoint].values())))
    return {
        **blank,
        "Name": f"New breakpoint {number}",
        _TIME("Interpretation_Rule"): _any(chance, rows[FROM.rule]),
        _TIME("Breakpoint_Type"): chance.choice(BREAKPOINT_TYPES),
        _TIME("Start_Threshold"): f"{chance.randrange(10)}.25",
        _TIME(chance.choice(BREAKPOINT_LOOKUPS)): _any(chance, rows[FROM.breakpoint]),
        _TIME(chance.choice(PAY_CODE_LOOKUPS)): _any(chance, rows[FROM.pay_code]),
    }


def _any(chance: random.Random, rows: Mapping[str, Row]) -> str:
    return chance.choice(sorted(rows))


_NEW: Mapping[str, Callable[[random.Random, int, Rows], Row]] = {
    FROM.pay_code: _pay_code,
    FROM.breakpoint: _breakpoint,
}
MAKES = tuple(_NEW)
"""Entities of which new records come to be."""


def _as_it_was(_: random.Random, row: Row, __: Rows) -> Row:
    return row


def _renamed(chance: random.Random, row: Row, _: Rows) -> Row:
    return {**row, _PAY("Description"): chance.choice((None, f"Edited {chance.randrange(10**4)}.\nSee the award."))}


def _moved(chance: random.Random, row: Row, rows: Rows) -> Row:
    """Another threshold, another pay code, and sometimes another breakpoint to refer to."""
    pay_code = _TIME(chance.choice(PAY_CODE_LOOKUPS[1:]))
    moved = {**row, pay_code: _any(chance, rows[FROM.pay_code])}
    if row[_TIME("Start_Threshold")] != _TOO_LARGE:
        moved[_TIME("Start_Threshold")] = f"{chance.randrange(10)}.{chance.randrange(100):02}"
    if chance.random() < 0.3:
        moved[_TIME("Secondary_Interpretation_Breakpoint")] = _any(chance, rows[FROM.breakpoint])
    return moved


def _reworded(chance: random.Random, row: Row, _: Rows) -> Row:
    return {**row, _TIME("Long_Description"): f"Reworded {chance.randrange(10**6)}. " * chance.randrange(1, 30)}


_TOUCHED: Mapping[str, Change] = {FROM.pay_code: _renamed, FROM.breakpoint: _moved, FROM.rule: _reworded}

# --- Bad from the start ---------------------------------------------------------------------------------------------

_TOO_LARGE = "9999999.00"


def _refuses_nothing(_: str, __: Row) -> bool:
    return False


def _refuses_code(taken: Mapping[str, str]) -> Callable[[str, Row], bool]:
    """A pay code without a code, with one that is too long, or with one that another has: ``taken`` by key."""

    def refuses(key: str, row: Row) -> bool:
        code = row[_PAY("Code")]
        return code is None or len(code) > _LONGEST_CODE or taken.get(key) == code

    return refuses


_LONGEST_CODE = 20
_REFUSED: Mapping[str, Callable[[str, Row], bool]] = {
    FROM.leave_rule: lambda _, row: row[_PAY("Effective_Date")] is None,
    FROM.minimum: lambda _, row: (row[_TIME("Effective_From")] or "2000").startswith("15"),
    FROM.loading: lambda _, row: (row[_TIME("Loading_Percent")] or "").startswith("-"),
}
"""Which of the rows no mapping and no target takes; those that name a parent that is nowhere wait for it."""


def _unsendable(row: Row) -> bool:
    return row[_TIME("Breakpoint_Type")] not in {None, *BREAKPOINT_TYPES} or row[_TIME("Start_Threshold")] == _TOO_LARGE


def _mended(name: str, refusing: str) -> Change:
    def mended(chance: random.Random, row: Row, rows: Rows) -> Row:
        better = dict(row)
        if name == FROM.pay_code and _wants_code(row[refusing], rows):
            better[refusing] = f"MC{chance.randrange(10**9)}"
        if name == FROM.loading and (row[_TIME("Loading_Percent")] or "").startswith("-"):
            better[_TIME("Loading_Percent")] = "10.00"
        if name == FROM.leave_rule:
            better[_PAY("Effective_Date")] = "2024-07-01"
        if name == FROM.minimum:
            better[_TIME("Effective_From")] = "2024-07-01"
        if name == FROM.breakpoint:
            better |= _mended_breakpoint(chance, row, rows)
        return better

    return mended


def _wants_code(code: str | None, rows: Rows) -> bool:
    if code is None or len(code) > _LONGEST_CODE or code.startswith(REFUSED):
        return True
    return sum(row[_PAY("Code")] == code for row in rows[FROM.pay_code].values()) > 1


def _mended_breakpoint(chance: random.Random, row: Row, rows: Rows) -> Row:
    better: dict[str, str | None] = {}
    if row[_TIME("Breakpoint_Type")] not in BREAKPOINT_TYPES:
        better[_TIME("Breakpoint_Type")] = chance.choice(BREAKPOINT_TYPES)
    if row[_TIME("Start_Threshold")] == _TOO_LARGE:
        better[_TIME("Start_Threshold")] = "5.00"
    for name, parent in ((_TIME("Pay_Code"), FROM.pay_code), (_TIME("Interpretation_Rule"), FROM.rule)):
        if row[name] not in rows[parent]:
            better[name] = _any(chance, rows[parent])
    return better
