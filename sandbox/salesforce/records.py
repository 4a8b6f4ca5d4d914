"""Making, changing and deleting single records with the platform's own side effects (defaults, names, stamps).

For data sets and control requests; generated data is written as whole columns by ``generate``.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sandbox.salesforce import ids
from sandbox.salesforce.schema import NUMBER_TYPES, Field, SObject
from sandbox.salesforce.soql import utc_text
from sandbox.salesforce.store import Store, now

_AUTO_NUMBER = re.compile(r"\{(0+|YYYY|YY|MM|DD)\}")
AUDIT_FIELDS = ("CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById")
Record = Mapping[str, object]


def insert(store: Store, subject: SObject, records: Sequence[Record], user_id: str) -> list[str]:
    """Add records; returns their ids in order. A given ``Id`` is kept. Raises ValueError on an unknown field."""
    store.take(subject, [str(record["Id"]) for record in records if record.get("Id")])
    fresh = iter(store.new_ids(subject, sum(1 for record in records if not record.get("Id"))))
    moment = now()
    rows: list[dict[str, object]] = []
    for number, record in enumerate(records, store.reserve_auto_number(subject, len(records))):
        row = stored_values(subject, record)
        row.setdefault("Id", None)
        row["Id"] = row["Id"] or next(fresh)
        rows.append(_completed(subject, row, user_id, moment, number))
    columns = [
        "Id",
        "IsDeleted",
        *(each.name for each in subject.fields if each.stored and each.name not in ("Id", "IsDeleted")),
    ]
    store.insert(subject, columns, ([row.get(column, _empty(column)) for column in columns] for row in rows))
    return [str(row["Id"]) for row in rows]


def update(store: Store, subject: SObject, record_id: str, changes: Record, user_id: str) -> bool:
    """Change fields of one record and move its stamps; false where it does not exist. Raises ValueError."""
    values = stored_values(subject, changes)
    values.pop("Id", None)
    touched = {"LastModifiedDate": now(), "LastModifiedById": user_id, "SystemModstamp": now()}
    values = {**{name: value for name, value in touched.items() if subject.field(name)}, **values}
    if "FirstName" in values or "LastName" in values or "Salutation" in values:
        values = _renamed(store, subject, record_id, values)
    assignments = ", ".join(f'"{name}" = ?' for name in values)
    with store.write() as connection:
        sql = f'UPDATE "{subject.name}" SET {assignments} WHERE "Id" = ?'  # noqa: S608 - schema names
        return connection.execute(sql, (*values.values(), ids.normalised(record_id))).rowcount == 1


def delete(store: Store, subject: SObject, record_ids: Sequence[str]) -> int:
    """Put records into the bin; returns how many were not there already."""
    moment = now()
    changes = '"IsDeleted" = 1, "_DeletedAt" = ?' + (
        ', "SystemModstamp" = ?' if subject.field("SystemModstamp") else ""
    )
    stamps = (moment, moment) if subject.field("SystemModstamp") else (moment,)
    sql = f'UPDATE "{subject.name}" SET {changes} WHERE "Id" = ? AND "IsDeleted" = 0'  # noqa: S608 - schema names
    with store.write() as connection:
        return sum(connection.execute(sql, (*stamps, ids.normalised(each))).rowcount for each in record_ids)


def dump(store: Store, subject: SObject) -> list[dict[str, object]]:
    """Every record outside the bin with all columns as they are stored, by ``Id``."""
    with store.read() as connection:
        sql = f'SELECT * FROM "{subject.name}" WHERE "IsDeleted" = 0 ORDER BY "Id"'  # noqa: S608 - a schema name
        found = connection.execute(sql)
        names = [each[0] for each in found.description]
        return [
            {name: value for name, value in zip(names, row, strict=True) if not name.startswith("_")} for row in found
        ]


def exists(store: Store, subject: SObject, record_id: str) -> bool:
    with store.read() as connection:
        sql = f'SELECT 1 FROM "{subject.name}" WHERE "Id" = ?'  # noqa: S608 - a schema name
        return connection.execute(sql, (ids.normalised(record_id),)).fetchone() is not None


def stored_values(subject: SObject, record: Record) -> dict[str, object]:
    """A record's given fields as they are stored; raises ValueError naming a field that cannot be."""
    values: dict[str, object] = {}
    for name, value in record.items():
        if name == "attributes":
            continue
        found = subject.field(name)
        if found is None or not found.stored:
            raise ValueError(f"{subject.name} has no field {name} that can hold a value")
        try:
            values[found.name] = _stored(found, value)
        except (TypeError, ValueError) as wrong:
            raise ValueError(
                f"{subject.name}.{found.name} cannot hold {value!r}: it is of type {found.type}"
            ) from wrong
    return values


def _stored(field: Field, value: object) -> object:
    if value is None or value == "":
        return 0 if field.type == "boolean" else None
    if field.type == "boolean":
        return int(value in (True, "true", "True", 1))
    if field.type == "int":
        return int(str(value))
    if field.type in NUMBER_TYPES:
        return float(str(value))
    if field.type == "datetime":
        return utc_text(str(value))
    return ids.normalised(str(value)) if field.type in ("id", "reference") else str(value)


def _completed(subject: SObject, row: dict[str, object], user_id: str, moment: str, number: int) -> dict[str, object]:
    """The row with what the platform fills in by itself."""
    for each in subject.fields:
        if each.default is not None and row.get(each.name) is None:
            row[each.name] = _stored(each, each.default)
        if each.auto_number and row.get(each.name) is None:
            row[each.name] = auto_number(each.auto_number, number)
    automatic = {
        "OwnerId": user_id, "CreatedById": user_id, "LastModifiedById": user_id, "CreatedDate": moment,
        "LastModifiedDate": row.get("CreatedDate") or moment, "SystemModstamp": row.get("LastModifiedDate") or moment,
    }  # fmt: skip
    for name, value in automatic.items():
        if subject.field(name) and row.get(name) is None:
            row[name] = value
    if subject.field("LastName") and row.get("Name") is None:
        row["Name"] = full_name(row)
    return row


def _renamed(store: Store, subject: SObject, record_id: str, values: dict[str, object]) -> dict[str, object]:
    with store.read() as connection:
        sql = f'SELECT "FirstName", "LastName" FROM "{subject.name}" WHERE "Id" = ?'  # noqa: S608 - a schema name
        found = connection.execute(sql, (ids.normalised(record_id),)).fetchone() or (None, None)
    parts = {"FirstName": found[0], "LastName": found[1], **values}
    return {**values, "Name": full_name(parts)}


def full_name(row: Mapping[str, object]) -> str | None:
    """First and last name in one; the salutation is not part of ``Name``."""
    return " ".join(str(row[part]) for part in ("FirstName", "LastName") if row.get(part)) or None


def auto_number(pattern: str, number: int) -> str:
    """``INV-{0000}`` with 7 → ``INV-0007``; date parts are today's in UTC."""
    today = datetime.now(UTC)
    dates = {"YYYY": f"{today:%Y}", "YY": f"{today:%y}", "MM": f"{today:%m}", "DD": f"{today:%d}"}
    return _AUTO_NUMBER.sub(lambda match: dates.get(match.group(1)) or str(number).zfill(len(match.group(1))), pattern)


def auto_number_parts(pattern: str) -> tuple[str, int, str]:
    """What stands before and after the number of today's auto-numbers, and how many digits it has at least."""
    before, after = auto_number(re.sub(r"\{0+\}", "\0", pattern, count=1), 0).split("\0")
    found = re.search(r"\{(0+)\}", pattern)
    return before, len(found.group(1)) if found else 0, after


def _empty(column: str) -> object:
    return 0 if column == "IsDeleted" else None
