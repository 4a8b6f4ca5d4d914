"""The plain scene: companies that may belong to one another, and people who work there and have chiefs."""

import json
import random
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

from migration_factory.torment.scene import REFUSED, Entities, Entity, Field, Kind, Policy, Row, Rows, visible

KEY = "Key__c"
"""The external id in targets that are an org."""
COMPANY, PERSON = "Company__c", "Person__c"
_CITIES = ("Köln", "São Paulo", "Åre", "Łódź", "東京", "x" * 120, None)
_NOTES = (None, "first\nsecond", '"quoted", and so on', "=1+1", "O’Hara & Söhne; 50% off", "#N/A no more")


def generated(chance: random.Random, records: int) -> dict[str, dict[str, Row]]:
    """So many rows, a tenth of them companies. Every company may belong to another, every person has a chief."""
    companies = max(2, records // 10)
    names: dict[str, dict[str, Row]] = {
        COMPANY: {f"C{n}": {} for n in range(companies)},
        PERSON: {f"P{n}": {} for n in range(records - companies)},
    }
    return {
        COMPANY: {f"C{n}": _company(chance, n, names) for n in range(companies)},
        PERSON: {f"P{n}": _person(chance, n, names) for n in range(records - companies)},
    }


def _company(chance: random.Random, number: int, rows: Rows) -> Row:
    founded = date(1950, 1, 1) + timedelta(days=chance.randrange(25_000))
    return {
        "Name": f"Company {number}",
        "City__c": chance.choice(_CITIES),
        "Code__c": f"{chance.randrange(10**9):09}",
        "Revenue__c": _amount(chance, 10**9),
        "Founded__c": founded.isoformat() if chance.random() < 0.8 else None,
        "Parent__c": _any(chance, rows[COMPANY]) if chance.random() < 0.1 else None,
    }


def _person(chance: random.Random, number: int, rows: Rows) -> Row:
    return {
        "Name": f"Person {number}",
        "Mail__c": f"p{number}.{chance.randrange(10**6)}@example.com",
        "Note__c": chance.choice(_NOTES),
        "Rate__c": _amount(chance, 500),
        "Active__c": chance.choice(("true", "false")),
        "Company__c": _any(chance, rows[COMPANY]),
        "Chief__c": _any(chance, rows[PERSON]) if chance.random() < 0.05 else None,
    }


def _any(chance: random.Random, rows: Mapping[str, Row]) -> str | None:
    return chance.choice(list(rows)) if rows else None


def _amount(chance: random.Random, limit: int) -> str:
    return f"{chance.randrange(limit)}.{chance.randrange(100):02}"


def _moved(chance: random.Random, row: Row, _: Rows) -> Row:
    return {**row, "City__c": chance.choice(_CITIES), "Revenue__c": _amount(chance, 10**9)}


def _hired(chance: random.Random, row: Row, rows: Rows) -> Row:
    refused = (row["Mail__c"] or "").startswith(REFUSED)
    mail = row["Mail__c"] if refused else f"new.{chance.randrange(10**6)}@example.com"
    return {**row, "Mail__c": mail, "Company__c": _any(chance, rows[COMPANY]), "Note__c": chance.choice(_NOTES)}


def _refuses_nothing(_: str, __: Row) -> bool:
    return False


def entities() -> Entities:
    company = Entity(
        COMPANY,
        (
            Field("Name"),
            Field("City__c"),
            Field("Code__c"),
            Field("Revenue__c", Kind.NUMBER),
            Field("Founded__c", Kind.DAY),
            Field("Parent__c", Kind.REFERENCE, COMPANY),
        ),
        new=_company,
        touched=_moved,
        spoilt=lambda chance, row: {**row, "Code__c": f"{REFUSED} {chance.randrange(10**6)}"},
        mended=lambda chance, row, _: {**row, "Code__c": f"{chance.randrange(10**9):09}"},
        refused=_refuses_nothing,
        refusing="Code__c",
        edited={"Name": Policy.SOURCE, "City__c": Policy.TARGET, "Revenue__c": Policy.ASK},
        mirrored=False,
        prefix="C",
    )
    person = Entity(
        PERSON,
        (
            Field("Name"),
            Field("Mail__c"),
            Field("Note__c", Kind.LONG_TEXT),
            Field("Rate__c", Kind.NUMBER),
            Field("Active__c", Kind.FLAG),
            Field("Company__c", Kind.REFERENCE, COMPANY),
            Field("Chief__c", Kind.REFERENCE, PERSON),
        ),
        new=_person,
        touched=_hired,
        spoilt=lambda chance, row: {**row, "Mail__c": f"{REFUSED} {chance.randrange(10**6)}"},
        mended=lambda chance, row, _: {**row, "Mail__c": f"mended.{chance.randrange(10**6)}@example.com"},
        refused=_refuses_nothing,
        refusing="Mail__c",
        edited={"Name": Policy.SOURCE, "Note__c": Policy.TARGET, "Rate__c": Policy.ASK},
        prefix="P",
    )
    return {each.name: each for each in (company, person)}


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
    for entity, described in entities().items():
        place = folder / "objects" / entity
        place.mkdir(parents=True)
        label = entity.removesuffix("__c")
        parts = {"label": label, "pluralLabel": f"{label}s", "sharingModel": "ReadWrite", "enableBulkApi": "true"}
        head = "".join(f"<{part}>{value}</{part}>" for part, value in parts.items())
        _write_xml(place / f"{entity}.object-meta.xml", f"<CustomObject {_XMLNS}>{head}</CustomObject>")
        bodies = {field.name: _definition(label, field) for field in described.fields if field.name != "Name"}
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
    for entity, described in entities().items():
        references = {field.name for field in described.references}
        body = [
            {
                "attributes": {"type": entity, "referenceId": key},
                **{name: f"@{value}" if name in references else value for name, value in visible(row).items() if value},
            }
            for key, row in rows[entity].items()
        ]
        (folder / f"{entity}.json").write_text(json.dumps({"records": body}), encoding="utf-8")
