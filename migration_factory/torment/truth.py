"""What a campaign's source holds: made and changed by chance, and written down as plain texts.

This is the reference that targets are held against. Nothing here asks the engine, a mapping or a connector.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path

Row = Mapping[str, str | None]
"""Field → value: numbers with two digits after the point, ``true`` or ``false``, ISO days, keys of other rows."""
Rows = Mapping[str, Mapping[str, Row]]
"""Entity → key → row."""

KEY = "Key__c"
"""The external id in targets that are an org."""


class Kind(StrEnum):
    TEXT = "Text"
    LONG_TEXT = "LongTextArea"
    NUMBER = "Number"
    FLAG = "Checkbox"
    DAY = "Date"
    REFERENCE = "Lookup"


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    kind: Kind = Kind.TEXT
    parent: str = ""
    """The entity that a reference points at."""


COMPANY, PERSON = "Company__c", "Person__c"
ENTITIES: Mapping[str, Sequence[Field]] = {
    COMPANY: (
        Field("Name"),
        Field("City__c"),
        Field("Code__c"),
        Field("Revenue__c", Kind.NUMBER),
        Field("Founded__c", Kind.DAY),
        Field("Parent__c", Kind.REFERENCE, COMPANY),
    ),
    PERSON: (
        Field("Name"),
        Field("Mail__c"),
        Field("Note__c", Kind.LONG_TEXT),
        Field("Rate__c", Kind.NUMBER),
        Field("Active__c", Kind.FLAG),
        Field("Company__c", Kind.REFERENCE, COMPANY),
        Field("Chief__c", Kind.REFERENCE, PERSON),
    ),
}
_CITIES = ("Köln", "São Paulo", "Åre", "Łódź", "東京", "x" * 120, None)
_NOTES = (None, "first\nsecond", '"quoted", and so on', "=1+1", "O’Hara & Söhne; 50% off", "#N/A no more")


def generated(chance: random.Random, records: int) -> dict[str, dict[str, Row]]:
    """So many rows, a tenth of them companies. Every company may belong to another, every person has a chief."""
    companies = max(2, records // 10)
    return {
        COMPANY: {f"C{n}": _company(chance, n, companies) for n in range(companies)},
        PERSON: {f"P{n}": _person(chance, n, companies, records - companies) for n in range(records - companies)},
    }


def _company(chance: random.Random, number: int, companies: int) -> Row:
    founded = date(1950, 1, 1) + timedelta(days=chance.randrange(25_000))
    return {
        "Name": f"Company {number}",
        "City__c": chance.choice(_CITIES),
        "Code__c": f"{chance.randrange(10**9):09}",
        "Revenue__c": _amount(chance, 10**9),
        "Founded__c": founded.isoformat() if chance.random() < 0.8 else None,
        "Parent__c": f"C{chance.randrange(companies)}" if chance.random() < 0.1 else None,
    }


def _person(chance: random.Random, number: int, companies: int, people: int) -> Row:
    return {
        "Name": f"Person {number}",
        "Mail__c": f"p{number}.{chance.randrange(10**6)}@example.com",
        "Note__c": chance.choice(_NOTES),
        "Rate__c": _amount(chance, 500),
        "Active__c": chance.choice(("true", "false")),
        "Company__c": f"C{chance.randrange(companies)}",
        "Chief__c": f"P{chance.randrange(people)}" if chance.random() < 0.05 else None,
    }


def _amount(chance: random.Random, limit: int) -> str:
    return f"{chance.randrange(limit)}.{chance.randrange(100):02}"


def changed(rows: Rows, chance: random.Random) -> dict[str, dict[str, Row]]:
    """The source later on: a few percent of both changed, some companies moved, new people come."""
    companies, people = dict(rows[COMPANY]), dict(rows[PERSON])
    for key in chance.sample(sorted(companies), max(1, len(companies) // 20)):
        city = chance.choice(_CITIES)
        companies[key] = {**companies[key], "City__c": city, "Revenue__c": _amount(chance, 10**9)}
    for key in chance.sample(sorted(people), max(1, len(people) // 15)):
        mail = f"new.{key}.{chance.randrange(10**6)}@example.com"
        firm, note = chance.choice(sorted(companies)), chance.choice(_NOTES)
        people[key] = {**people[key], "Mail__c": mail, "Company__c": firm, "Note__c": note}
    first = len(people)
    for number in range(first, first + max(1, first // 50)):
        people[f"P{number}"] = _person(chance, number, len(companies), first)
    return {COMPANY: companies, PERSON: people}


def differences(before: Rows, now: Rows) -> dict[str, dict[str, Row]]:
    """The rows of ``now`` that ``before`` has not, or has otherwise."""
    return {
        entity: {key: row for key, row in rows.items() if before.get(entity, {}).get(key) != row}
        for entity, rows in now.items()
    }


# --- As files --------------------------------------------------------------------------------------------------

_XMLNS = 'xmlns="http://soap.sforce.com/2006/04/metadata"'
_DETAILS: Mapping[Kind, str] = {
    Kind.TEXT: "<length>160</length>",
    Kind.LONG_TEXT: "<length>2000</length><visibleLines>3</visibleLines>",
    Kind.NUMBER: "<precision>18</precision><scale>2</scale>",
    Kind.FLAG: "<defaultValue>false</defaultValue>",
    Kind.DAY: "",
}
_EXTERNAL = "<length>40</length><externalId>true</externalId><unique>true</unique>"


def write_metadata(folder: Path, *, with_key: bool) -> None:
    """The objects' definitions in the platform's source format; ``with_key`` adds the external id of a target."""
    for entity, fields in ENTITIES.items():
        place = folder / "objects" / entity
        place.mkdir(parents=True)
        label = entity.removesuffix("__c")
        parts = {"label": label, "pluralLabel": f"{label}s", "sharingModel": "ReadWrite", "enableBulkApi": "true"}
        head = "".join(f"<{part}>{value}</{part}>" for part, value in parts.items())
        _write_xml(place / f"{entity}.object-meta.xml", f"<CustomObject {_XMLNS}>{head}</CustomObject>")
        bodies = {field.name: _definition(label, field) for field in fields if field.name != "Name"}
        if with_key:
            bodies[KEY] = f"<type>Text</type>{_EXTERNAL}"
        for name, body in bodies.items():
            head = f"<fullName>{name}</fullName><label>{name.removesuffix('__c')}</label>"
            _write_xml(place / f"{name}.field-meta.xml", f"<CustomField {_XMLNS}>{head}{body}</CustomField>")


def _definition(label: str, field: Field) -> str:
    if field.kind is Kind.REFERENCE:
        children = f"{label}{field.name.removesuffix('__c')}s"
        rest = f"<referenceTo>{field.parent}</referenceTo><relationshipName>{children}</relationshipName>"
    else:
        rest = _DETAILS[field.kind]
    return f"<type>{field.kind}</type>{rest}"


def _write_xml(file: Path, body: str) -> None:
    file.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n', encoding="utf-8")


def write_trees(folder: Path, rows: Rows) -> None:
    """The rows as sObject trees, a file per entity: the one kind of file that tells references from texts."""
    for entity, fields in ENTITIES.items():
        references = {field.name for field in fields if field.kind is Kind.REFERENCE}
        body = [
            {
                "attributes": {"type": entity, "referenceId": key},
                **{name: f"@{value}" if name in references else value for name, value in row.items() if value},
            }
            for key, row in rows[entity].items()
        ]
        (folder / f"{entity}.json").write_text(json.dumps({"records": body}), encoding="utf-8")
