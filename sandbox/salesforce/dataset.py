"""Loading a data set folder: sObject tree files in the order of their plan files, ``@Ref`` references resolved.

https://developer.salesforce.com/docs/atlas.en-us.sfdx_dev.meta/sfdx_dev/sfdx_dev_test_data_example.htm
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sandbox.salesforce import records
from sandbox.salesforce.org import Org
from sandbox.salesforce.schema import Schema, SObject
from sandbox.salesforce.store import Store


@dataclass(frozen=True, slots=True)
class _Found:
    """A record of a tree file with the id it will get; ``values`` still hold ``@Ref``."""

    subject: SObject
    id: str
    reference: str | None
    values: dict[str, Any]
    file: str


def load_dataset(store: Store, org: Org, folder: Path) -> dict[str, int]:
    """Load what the plan files under ``folder/data`` name, each file once; returns counts by object.

    References are resolved across all files, whatever the order, since a plan may rely on another having run.
    Raises ValueError naming file and cause where something does not fit.
    """
    found = [each for file in planned_files(folder / "data") for each in _records(store, file)]
    references: dict[str, list[str]] = {}
    by_object: dict[str, list[_Found]] = {}
    for each in found:
        if each.reference:
            references.setdefault(each.reference, []).append(each.id)
        by_object.setdefault(each.subject.name, []).append(each)
    for group in by_object.values():
        rows = [{**_resolved(each, references), "Id": each.id} for each in group]
        records.insert(store, group[0].subject, rows, org.user_id)
    return {name: len(group) for name, group in by_object.items()}


def planned_files(folder: Path) -> list[Path]:
    """The record files the plans in a folder name, each once, in the order of the plans (by file name)."""
    plans = [(path, content) for path in sorted(folder.glob("*.json")) if isinstance(content := _parsed(path), list)]
    if not plans:
        raise ValueError(
            f"{folder} holds no plan file (a JSON list of sobject and files), so nothing says what to load"
        )
    named: dict[Path, None] = {}
    for plan, steps in plans:
        for step in steps:
            for name in step.get("files", []):
                path = folder / name
                if not path.is_file():
                    raise ValueError(f"{plan.name} names the file {name}, which is not in {folder}")
                named[path] = None
    return list(named)


def _parsed(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as wrong:
        raise ValueError(f"{path.name} is not JSON: {wrong}") from wrong


def _records(store: Store, file: Path) -> Iterator[_Found]:
    """Every record of a tree file; those nested in another get a reference to it."""
    waiting: list[tuple[dict[str, Any], dict[str, str]]] = [(each, {}) for each in _parsed(file)["records"]]
    while waiting:
        record, parent = waiting.pop(0)
        attributes = record["attributes"]
        subject = store.schema.get(attributes["type"])
        if subject is None:
            raise ValueError(f"{file.name} holds records of {attributes['type']}, which this org does not have")
        nested = [name for name, value in record.items() if name != "attributes" and isinstance(value, dict)]
        for name in nested:
            link = {_link(store.schema, subject, name, file): f"@{attributes['referenceId']}"}
            waiting += [(child, link) for child in record[name]["records"]]
        values = {name: value for name, value in record.items() if name not in (*nested, "attributes")}
        fresh = store.new_ids(subject, 1)[0]
        yield _Found(subject, fresh, attributes.get("referenceId"), {**values, **parent}, file.name)


def _link(schema: Schema, parent: SObject, relationship: str, file: Path) -> str:
    """The field by which the children under ``relationship`` refer to ``parent``."""
    for _, field in schema.children(parent.name):
        if field.child_relationship == relationship:
            return field.name
    raise ValueError(f"{file.name}: {parent.name} has no child relationship {relationship}")


def _resolved(each: _Found, references: dict[str, list[str]]) -> dict[str, Any]:
    values = dict(each.values)
    for name, value in values.items():
        field = each.subject.field(name)
        if field is None or field.type != "reference" or not str(value).startswith("@"):
            continue
        targets = references.get(str(value)[1:], [])
        if len(targets) != 1:
            how = "no record is called that" if not targets else f"{len(targets)} records are called that"
            raise ValueError(f"{each.file}: {each.subject.name}.{name} refers to {value}, but {how}")
        values[name] = targets[0]
    return values
