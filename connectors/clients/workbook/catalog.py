"""Which entities the files of a store hold."""

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from connectors.clients.workbook import guard, metadata, sobject_tree, xlsx
from connectors.clients.workbook.archive import ExpandedFiles
from connectors.clients.workbook.guard import Kind
from connectors.clients.workbook.metadata import ObjectMetadata
from connectors.clients.workbook.tables import DelimitedTable, Table, TreeTable
from connectors.clients.workbook.workspace import Workspace
from connectors.context import FileStore


@dataclass(frozen=True, slots=True)
class Choices:
    """What a person chose about all files: a text codec and an id column; blank means automatic."""

    codec: str = ""
    id_column: str = ""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Entity name → table, sorted; the object metadata found; and the files that hold no entity."""

    tables: Mapping[str, Table]
    metadata: Mapping[str, ObjectMetadata]
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """A table with the name it should have, and the longer one it gets where two want the same."""

    name: str
    full_name: str
    table: Table


def catalogue(given: FileStore, choices: Choices, workspace: Workspace) -> Catalog:
    """Look at every file once; raises InputInvalid for the first that is not what it claims to be.

    Zips are unpacked and workbooks converted in ``workspace``, where the tables read them from.
    """
    files = ExpandedFiles(given, workspace)
    names = files.names()
    kinds = {name: guard.kind_of(name) for name in names}
    objects = metadata.load(files, names)
    trees = sobject_tree.find(files, _checked(files, kinds, Kind.JSON))
    delimited = [name for name in _of(kinds, Kind.DELIMITED) if posixpath.dirname(name) not in trees.planned]
    found = [
        *(_Found(name, name, TreeTable(entity)) for name, entity in sobject_tree.entities(trees, objects).items()),
        *(_delimited(files, name, choices) for name in _checked_each(files, delimited, Kind.DELIMITED)),
        *(each for name in _checked(files, kinds, Kind.WORKBOOK) for each in _sheets(files, name, choices, workspace)),
    ]
    twins = [name for name in _of(kinds, Kind.DELIMITED) if name not in delimited]
    ignored = (*trees.ignored, *twins, *_of(kinds, Kind.OTHER))
    return Catalog(_named(found), objects, tuple(sorted(ignored)))


def _of(kinds: Mapping[str, Kind], kind: Kind) -> list[str]:
    return [name for name, found in kinds.items() if found is kind]


def _checked(files: FileStore, kinds: Mapping[str, Kind], kind: Kind) -> list[str]:
    return list(_checked_each(files, _of(kinds, kind), kind))


def _checked_each(files: FileStore, names: Iterable[str], kind: Kind) -> Iterator[str]:
    for name in names:
        guard.check_content(files, name, kind)
        yield name


def _delimited(files: FileStore, name: str, choices: Choices) -> _Found:
    table = DelimitedTable(
        partial(files.open, name),
        name,
        size=files.size(name),
        codec=choices.codec,
        id_column=choices.id_column,
    )
    return _Found(PurePosixPath(name).stem, name, table)


def _sheets(files: FileStore, name: str, choices: Choices, workspace: Workspace) -> Iterator[_Found]:
    with files.open(name) as file:
        found = xlsx.sheets(file, name, files.size(name), workspace)
    for sheet in found:
        table = DelimitedTable(
            partial(sheet.path.open, "rb"),
            f"{name}, sheet “{sheet.name}”",
            size=sheet.path.stat().st_size,
            codec="utf-8",
            id_column=choices.id_column,
        )
        yield _Found(sheet.name, f"{name}/{sheet.name}", table)


def _named(found: list[_Found]) -> dict[str, Table]:
    wanted = Counter(each.name for each in found)
    named = {each.name if wanted[each.name] == 1 else each.full_name: each.table for each in found}
    return dict(sorted(named.items()))
