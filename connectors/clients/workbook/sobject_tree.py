"""Salesforce sObject trees: JSON records that point at each other by ``@Ref``, and their plan files.

Format: https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobject_tree.htm
Plans: https://developer.salesforce.com/docs/atlas.en-us.sfdx_dev.meta/sfdx_dev/sfdx_dev_test_data_plans.htm

A record's id is its ``referenceId``, as are references to it (without the ``@``). A reference to a record
that is not at hand stays as it is written, so that the engine records it as unresolved.
"""

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import polars as pl

from connectors.clients.workbook.limits import (
    MAX_COLUMNS,
    MAX_JSON_BYTES,
    MAX_JSON_TOTAL_BYTES,
    MAX_NUMBER_DIGITS,
    MIB,
)
from connectors.clients.workbook.metadata import ObjectMetadata
from connectors.context import FileStore
from connectors.errors import InputInvalid

ID_FIELD = "referenceId"
_REFERENCE = re.compile(r"@\w+")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TreeEntity:
    """All records of one sObject type: a source frame, which of its columns point at which types, and
    which are JSON strings (so that ``"94066"`` is not taken for a number)."""

    name: str
    frame: pl.DataFrame
    references: Mapping[str, tuple[str, ...]]
    texts: frozenset[str]


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file of records, and how its plan says to read it."""

    name: str
    records: list[Any]
    sobject: str | None = None
    resolves: bool = True


@dataclass(frozen=True, slots=True)
class Trees:
    """What the JSON files of a store are: ``planned`` are folders ruled by a plan, ``ignored`` the files
    that are neither records nor plans, or that their folder's plans do not name."""

    files: tuple[TreeFile, ...]
    planned: frozenset[str]
    ignored: tuple[str, ...]


def find(files: FileStore, names: Iterable[str]) -> Trees:
    """The tree files among the JSON files ``names``, in the order they are to be read, each once.

    Raises InputInvalid for broken JSON and for a plan naming a file that is not there.
    """
    parsed = _parsed_all(files, list(names))
    plans = {name: content for name, content in parsed.items() if _is_plan(content)}
    planned = frozenset(posixpath.dirname(name) for name in plans)
    found = _planned_files(plans, parsed)
    for name, content in parsed.items():
        if posixpath.dirname(name) not in planned and _is_tree(content):
            found[name] = TreeFile(name, content["records"])
    ignored = tuple(name for name in parsed if name not in found and name not in plans)
    return Trees(tuple(found.values()), planned, ignored)


def entities(trees: Trees, metadata: Mapping[str, ObjectMetadata]) -> dict[str, TreeEntity]:
    """sObject type → its records, nested child records among them, with references resolved.

    Raises InputInvalid where a record has no type or reference id, or shares its reference id.
    """
    builder = _Builder(metadata)
    for file in trees.files:
        for place, record in enumerate(file.records, start=1):
            builder.add(record, file, f"{file.name}, record {place}")
    return builder.finish()


def _parsed_all(files: FileStore, names: list[str]) -> dict[str, Any]:
    total = 0
    for name in names:
        size = files.size(name)
        total += size
        if size > MAX_JSON_BYTES or total > MAX_JSON_TOTAL_BYTES:
            limit = MAX_JSON_BYTES if size > MAX_JSON_BYTES else MAX_JSON_TOTAL_BYTES
            raise InputInvalid(
                f"{name}: more than {limit // MIB} MiB of JSON cannot be read. Export the records as CSV instead."
            )
    return {name: _parsed(files, name) for name in names}


def _parsed(files: FileStore, name: str) -> Any:
    with files.open(name) as file:
        content = file.read(MAX_JSON_BYTES + 1)
    if not content.strip():
        raise InputInvalid(f"{name} is empty. Export it again, or remove it.")
    try:
        return json.loads(content, parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_unique_keys)
    except RecursionError as error:
        raise InputInvalid(f"{name} nests its values too deeply to be records. Remove it.") from error
    except ValueError as error:  # broken JSON, text that is not UTF-8, integers of thousands of digits
        raise InputInvalid(
            f"{name} is not valid JSON ({error}). Is the file complete? Export it again, or remove it."
        ) from error


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> Json:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"a record has “{twice[:100]}” twice")
    return record


def _is_plan(content: Any) -> bool:
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(step, dict) and "sobject" in step and "files" in step for step in content)
    )


def _is_tree(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("records"), list)


def _planned_files(plans: Mapping[str, list[Json]], parsed: Mapping[str, Any]) -> dict[str, TreeFile]:
    """Every file the plans name, once, where it is named first; one plan that resolves its references is enough."""
    found: dict[str, TreeFile] = {}
    for plan, step, name in _named_files(plans):
        if not _is_tree(parsed.get(name)):
            state = "holds no records" if name in parsed else "is not there"
            raise InputInvalid(f"The plan {plan} names “{name}”, which {state}. Add the file or correct the plan.")
        sobject = str(step["sobject"])
        earlier = found.get(name)
        if earlier and earlier.sobject != sobject:
            raise InputInvalid(f"Plans name “{name}” as {earlier.sobject} and, in {plan}, as {sobject}. Correct one.")
        resolves = step.get("resolveRefs") is True or (earlier is not None and earlier.resolves)
        found[name] = TreeFile(name, parsed[name]["records"], sobject, resolves)
    return found


def _named_files(plans: Mapping[str, list[Json]]) -> Iterator[tuple[str, Json, str]]:
    for plan, steps in plans.items():
        for step in steps:
            listed = step["files"]
            if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
                raise InputInvalid(f"The plan {plan}: “files” must be a list of file names. Correct the plan.")
            for name in listed:
                yield plan, step, posixpath.normpath(posixpath.join(posixpath.dirname(plan), name))


@dataclass(slots=True)
class _Records:
    rows: list[dict[str, str | None]] = field(default_factory=list)
    columns: dict[str, None] = field(default_factory=lambda: {ID_FIELD: None})
    pointers: list[tuple[dict[str, str | None], str]] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)

    def put(self, row: dict[str, str | None], name: str, value: str | None, where: str) -> None:
        if name in row:
            taken = "the record's own id" if name == ID_FIELD else "the pointer to its parent"
            raise InputInvalid(f"{where}: the field “{name}” is named like {taken}. Rename or remove it.")
        row[name] = value
        self.columns.setdefault(name)


class _Builder:
    """Collects records by type; resolves references once all records are known."""

    def __init__(self, metadata: Mapping[str, ObjectMetadata]) -> None:
        self._metadata = metadata
        self._types: dict[str, _Records] = {}
        self._owner: dict[str, tuple[str, str]] = {}

    def add(self, record: Any, file: TreeFile, where: str) -> None:
        kind, _ = _identity(record, where)
        if file.sobject is not None and kind != file.sobject:
            raise InputInvalid(f"{where}: the record is a {kind}, but the plan says {file.sobject}. Correct one.")
        self._add(record, file, where, parent=None)

    def _add(self, record: Any, file: TreeFile, where: str, parent: tuple[str, str, str] | None) -> None:
        kind, reference = _identity(record, where)
        if reference in self._owner:
            raise InputInvalid(
                f"{where}: the reference id “{reference}” is taken already, by {self._owner[reference][1]}. "
                "Reference ids must be unique over all files."
            )
        self._owner[reference] = (kind, where)
        found = self._types.setdefault(kind, _Records())
        row: dict[str, str | None] = {ID_FIELD: reference}
        found.rows.append(row)
        children = {name: value for name, value in record.items() if _is_tree(value)}
        for name, value in record.items():
            if name != "attributes" and name not in children:
                found.put(row, name, _as_text(value, f"{where}, field {name}"), where)
                if isinstance(value, str) and value:
                    found.texts.add(name)
                if file.resolves and isinstance(value, str) and _REFERENCE.fullmatch(value):
                    found.pointers.append((row, name))
        if parent:
            pointer = self._parent_field(kind, parent)
            found.put(row, pointer, "@" + parent[1], where)
            found.pointers.append((row, pointer))
        if len(found.columns) > MAX_COLUMNS:
            raise InputInvalid(f"{where}: {kind} has more than {MAX_COLUMNS:,} fields. Is this an sObject tree?")
        for name, nested in children.items():
            for place, child in enumerate(nested["records"], start=1):
                self._add(child, file, f"{where}, {name} {place}", parent=(kind, reference, name))

    def _parent_field(self, child: str, parent: tuple[str, str, str]) -> str:
        """The child's field that points at its parent.

        By metadata where it is there; else Salesforce's naming: tasks and events hang on WhoId (people)
        or WhatId, a record of the parent's own type on ParentId, others on ``AccountId`` or ``Market__c``.
        """
        kind, _, relationship = parent
        known = self._metadata.get(child)
        if known and (kind, relationship) in known.relationships:
            return known.relationships[(kind, relationship)]
        if child in ("Task", "Event"):
            return "WhoId" if kind in ("Contact", "Lead") else "WhatId"
        if child == kind:
            return "ParentId"
        return kind if kind.endswith("__c") else f"{kind}Id"

    def finish(self) -> dict[str, TreeEntity]:
        return {name: self._entity(name, found) for name, found in sorted(self._types.items())}

    def _entity(self, name: str, found: _Records) -> TreeEntity:
        targets: dict[str, dict[str, None]] = {}
        for row, column in found.pointers:
            reference = (row[column] or "").removeprefix("@")
            if owner := self._owner.get(reference):
                row[column] = reference
                targets.setdefault(column, {})[owner[0]] = None
        schema = dict.fromkeys(found.columns, pl.String)
        frame = pl.DataFrame(found.rows, schema=schema)
        return TreeEntity(
            name, frame, {column: tuple(kinds) for column, kinds in targets.items()}, frozenset(found.texts)
        )


def _identity(record: Any, where: str) -> tuple[str, str]:
    attributes = record.get("attributes") if isinstance(record, dict) else None
    if not isinstance(attributes, dict):
        raise InputInvalid(f"{where} has no “attributes”. Export the records with “sf data export tree”.")
    kind, reference = attributes.get("type"), attributes.get(ID_FIELD)
    for label, value in (("type", kind), (ID_FIELD, reference)):
        if not isinstance(value, str) or not value.strip():
            raise InputInvalid(f"{where}: its attributes have no “{label}”. Add it, or export the records again.")
    return str(kind), str(reference)


def _as_text(value: Any, where: str) -> str | None:
    """A JSON value in the notation of source frames."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        if abs(value.adjusted()) > MAX_NUMBER_DIGITS:
            raise InputInvalid(f"{where}: a number of more than {MAX_NUMBER_DIGITS} digits. Correct it.")
        return f"{value:f}"
    if isinstance(value, int):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=float)
