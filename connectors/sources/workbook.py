"""Workbook: files people hand over, as a source.

CSV and TSV, Excel workbooks (.xlsx), Salesforce sObject trees (JSON) with their plans and object metadata,
and zips of these. Formats and limits: ``connectors.clients.workbook``. The quirk to know: files have no
change dates of records, so there are no deltas; the engine finds changes by hash.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import ClassVar

from connectors.base import Source
from connectors.clients.workbook.catalog import Catalog, Choices, catalogue
from connectors.clients.workbook.encoding import ENCODINGS
from connectors.clients.workbook.metadata import described
from connectors.clients.workbook.tables import PAGE_RECORDS, Table
from connectors.clients.workbook.workspace import Workspace
from connectors.context import Context
from connectors.errors import InputInvalid, SettingsInvalid
from connectors.types import (
    Capabilities,
    Cursor,
    EntityInfo,
    EntitySchema,
    Identity,
    Page,
    Setting,
    SettingKind,
)

_AUTOMATIC = "automatic"


class WorkbookSource(Source):
    slug: ClassVar[str] = "workbook"
    label: ClassVar[str] = "Workbook (CSV, Excel, Salesforce JSON)"
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting(
            "id_column",
            "Id column",
            required=False,
            help="The column that identifies a record, in every file that has it. "
            "Blank: a column named id, external_id or the like, else the row number.",
        ),
        Setting(
            "encoding",
            "Text encoding",
            kind=SettingKind.CHOICE,
            required=False,
            default=_AUTOMATIC,
            choices=((_AUTOMATIC, "Automatic"), *ENCODINGS),
            help="Of CSV and TSV files. Choose one only where names come out garbled.",
        ),
    )
    capabilities: ClassVar[Capabilities] = Capabilities(reads=True, counts=True, files=True, page_size=PAGE_RECORDS)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._workspace = Workspace()

    def close(self) -> None:
        self.__dict__.pop("_catalog", None)  # its tables point into the workspace
        self._workspace.close()

    @cached_property
    def _catalog(self) -> Catalog:
        codec = self.context.text("encoding", _AUTOMATIC)
        if codec not in dict(self.settings[1].choices):
            raise SettingsInvalid(f"The text encoding “{codec}” is not known. Choose one on the org's page.")
        return catalogue(
            self.context.files,
            Choices("" if codec == _AUTOMATIC else codec, self.context.text("id_column")),
            self._workspace,
        )

    def check(self) -> Identity:
        tables = self._catalog.tables
        if not tables:
            raise InputInvalid("There is no file with records. Add CSV, Excel (.xlsx), sObject tree JSON or zip files.")
        ids = {table.id_field for table in tables.values()}  # reads every header
        wanted = self.context.text("id_column")
        if wanted and wanted not in ids:
            raise SettingsInvalid(f"No file has the id column “{wanted}”. Correct it on the org's page, or clear it.")
        files = self.context.files
        names = files.names()
        return Identity(
            account=f"{len(names)} files, {len(tables)} entities",
            facts={
                "entities": ", ".join(tables),
                "files": len(names),
                "bytes": sum(files.size(name) for name in names),
                "files without records": ", ".join(self._catalog.ignored),
            },
        )

    def entities(self) -> tuple[EntityInfo, ...]:
        return tuple(self._info(name, table) for name, table in self._catalog.tables.items())

    def describe(self, entity: str) -> EntitySchema:
        table = self._table(entity)
        fields = described(table.fields(), self._catalog.metadata.get(entity))
        return EntitySchema(self._info(entity, table), fields)

    def count(self, entity: str, *, since: datetime | None = None) -> int | None:
        _refuse_delta(since)
        return self._table(entity).count()

    def read(
        self,
        entity: str,
        fields: Sequence[str],
        *,
        since: datetime | None = None,
        cursor: Cursor | None = None,
    ) -> Iterator[Page]:
        _refuse_delta(since)
        yield from self._table(entity).pages(fields, cursor)

    def _table(self, entity: str) -> Table:
        table = self._catalog.tables.get(entity)
        if table is None:
            known = ", ".join(list(self._catalog.tables)[:20])
            raise SettingsInvalid(f"The files hold no entity “{entity}”. They hold: {known or 'nothing'}.")
        return table

    def _info(self, name: str, table: Table) -> EntityInfo:
        known = self._catalog.metadata.get(name)
        return EntityInfo(name, (known.label if known else "") or name, table.id_field)


def _refuse_delta(since: datetime | None) -> None:
    if since is not None:
        raise SettingsInvalid(
            "Files do not tell when a record changed. Read them whole; unchanged records are skipped."
        )
