"""Writing versions of files: one request each, the body read from its source while it is sent.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/dome_sobject_insert_update_blob.htm

The key of a version is ``file:number``. Versions whose keys share what stands before the last colon are versions of one
document and are sent in the order of their numbers; a key without a colon is a document by itself. An insert with a
unique key may be sent again after a lost answer: it is refused the second time, and what the first made is found under
the key. Contents are never changed in place, so that a known version with other contents is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final
from uuid import uuid4

import orjson
import polars as pl

from connectors.answers import Answer
from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_columns import json_records
from connectors.clients.salesforce_file_pages import VERSION
from connectors.clients.salesforce_results import sent_mark
from connectors.clients.salesforce_schema import BLOBS, SObject
from connectors.clients.salesforce_sending import ANSWERS, Operation, no_answers, refused_by
from connectors.clients.salesforce_session import SalesforceSession
from connectors.clients.salesforce_write import REOPENED, Writing
from connectors.contents import Body, opened, read_reference
from connectors.context import Contents
from connectors.errors import ContractChanged, NotFound, Rejected
from connectors.http import Stream

LARGEST: Final = 2 * 1024**3  # bytes; a version may have 2 GB where it is sent in parts, which ours are
FIELD: Final = BLOBS[VERSION].field
_TOGETHER: Final = 60  # files whose documents are asked for in one query: their keys fill half an address
_DOCUMENT: Final = "ContentDocumentId"
Refusal = tuple[str, str, str]
"""Code, fields and words."""
_Answer = tuple[str, str | None, str | None, str | None, str | None]
"""Columns of ``ANSWERS``."""


@dataclass(frozen=True, slots=True)
class FileWriting(Writing):
    """New versions are inserted with their contents; of known ones the other fields are updated as ever."""

    contents: Contents

    @property
    def inserts(self) -> bool:
        return True

    def _carried(self, rows: pl.DataFrame, operation: Operation, number: int) -> pl.DataFrame:
        if operation is not Operation.INSERT:
            others = [name for name in self.names if name != FIELD]
            plain = Writing(self.session, self.sobject, self.key, others)
            return plain.carried(rows.drop(FIELD, sent_mark(FIELD), strict=False), operation, number)
        answers = (
            pl.DataFrame(list(self._inserted(rows)), schema=ANSWERS, orient="row") if rows.height else no_answers()
        )
        answers = self._checked(rows, answers)
        return answers.select(
            pl.col("ref").alias("key"), pl.col("target_id").alias("target_id·told"), "code", "fields", "said"
        )

    def _inserted(self, rows: pl.DataFrame) -> Iterator[_Answer]:
        """An answer for each row, file by file and version by version."""
        placed = rows.with_columns(
            pl.col("key").str.extract(r"^(.*):[^:]*$").fill_null(pl.col("key")).alias("·file"),
            pl.col("key").str.extract(r":(\d+)$").cast(pl.Int64, strict=False).alias("·number"),
        ).sort("·file", "·number", maintain_order=True)
        documents = self._documents(placed.filter(pl.col("key").str.contains(":", literal=True))["·file"].unique())
        for _, group in groupby(placed.iter_slices(1), key=lambda row: str(row["·file"][0])):
            versions = list(group)
            yield from self._one_file(versions, documents.get(str(versions[0]["·file"][0]), ""))

    def _one_file(self, versions: Sequence[pl.DataFrame], document: str) -> Iterator[_Answer]:
        """Answers of the versions of one file, in their order; ``document`` is blank where the org has none yet. None
        is sent behind one that was refused: it would take the other's place."""
        refused = False
        for place, row in enumerate(versions):
            key = str(row["key"][0])
            if refused:
                yield key, None, "earlier_version_missing", "", "An earlier version of the same file was refused."
                continue
            given = {_DOCUMENT: document} if document else {}
            made, why = self._one(row[FIELD][0] if FIELD in row.columns else None, {**given, **self._record(row)})
            refused = why is not None
            if why is not None and why[0] in REOPENED:
                yield key, None, *why
                return  # what becomes of it is seen in the next round, and of those behind it after that
            if made and not document and place + 1 < len(versions):
                document = self._document_of(made)
            yield key, made, *(why or (None, None, None))

    def _record(self, row: pl.DataFrame) -> dict[str, Any]:
        """The members of the new version, without its contents."""
        names = [name for name in self.names if name != FIELD]
        key = row.select(pl.col("key").alias(self.key))
        sent = row.select(pl.col(sent_mark(name)).alias(name) for name in names)
        [named] = json_records(key, key.select(pl.all().is_not_null()), self.sobject.schema)
        [members] = json_records(row.select(names), sent, self.sobject.schema) if names else [{}]
        return {**named, **{name: value for name, value in members.items() if value is not None}}

    def _one(self, at: str | None, record: Mapping[str, Any]) -> tuple[str | None, Refusal | None]:
        """The id of the version that was made, or why none was."""
        if at is None:
            return None, ("REQUIRED_FIELD_MISSING", FIELD, "The file has no contents.")
        reference = read_reference(at)
        if (reference.size or 0) > LARGEST:
            said = f"It has {reference.size:,} bytes; Salesforce takes {LARGEST:,}."
            return None, ("FILE_SIZE_LIMIT_EXCEEDED", FIELD, said)
        try:
            with opened(self.contents, reference) as body:
                answer = self._sent(record, body)
        except NotFound:
            return None, ("content_gone", FIELD, "The contents are not at the source any more.")
        except Rejected as differing:
            return None, (differing.code, FIELD, differing.message)
        return self._read(answer)

    def _sent(self, record: Mapping[str, Any], body: Body) -> Answer:
        stream, kind = _in_parts(orjson.dumps(record), body, name=str(record.get("PathOnClient") or "file"))
        # May be sent again: the key is unique, so that the second is refused where the first was carried out.
        headers = {**self.session.options.headers(VERSION, is_new=True), "Content-Type": kind}
        return self.session.http.send(
            "POST",
            self.session.path("sobjects", VERSION),
            content=stream,
            headers=headers,
            repeatable=True,
            accept={400},
        )

    def _read(self, answer: Answer) -> tuple[str | None, Refusal | None]:
        if answer.status < 300:
            return str(answer.value("id")), None
        return None, refused_by(self.session, answer)

    def _documents(self, files: pl.Series) -> dict[str, str]:
        """File → its document, of those of which the org holds a version."""
        found: dict[str, str] = {}
        for part in pl.DataFrame({"file": files}).iter_slices(_TOGETHER):
            found |= documents_of(self.session, self.key, part["file"].to_list())
        return found

    def _document_of(self, version: str) -> str:
        rows = list(self.session.records(soql.select([_DOCUMENT], VERSION, [soql.condition("Id", "=", version)])))
        if len(rows) != 1 or not rows[0].get(_DOCUMENT):
            raise ContractChanged(
                f"Salesforce made the version {version} of a file and does not say of which document."
            )
        return str(rows[0][_DOCUMENT])

    def _checked(self, rows: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
        """The answers, those of versions that hold other contents than were sent made refusals."""
        made = answers.filter(pl.col("target_id").is_not_null())
        wanted = dict(rows.select("key", FIELD).iter_rows()) if FIELD in rows.columns else {}
        odd: list[str] = []
        for part in made.iter_slices(200):
            where = [soql.among("Id", part["target_id"].to_list())]
            held = {str(row["Id"]): row for row in self.session.records(soql.select(_FACTS, VERSION, where))}
            odd += [key for key, made_id in part.select("ref", "target_id").iter_rows()
                    if not _agrees(wanted.get(key), held.get(made_id))]  # fmt: skip
        told = pl.col("ref").is_in(odd)
        said = "Salesforce holds other contents than were sent. Delete the file there and load it again."
        return answers.with_columns(
            target_id=pl.when(~told).then("target_id"),
            code=pl.when(told).then(pl.lit("content_differs")).otherwise("code"),
            fields=pl.when(told).then(pl.lit(FIELD)).otherwise("fields"),
            said=pl.when(told).then(pl.lit(said)).otherwise("said"),
        )


_FACTS: Final = ("Id", "ContentSize", "Checksum")


def _agrees(wanted: str | None, held: Mapping[str, Any] | None) -> bool:
    """Whether what was made is as large, and has the checksum, that the source told of it."""
    if wanted is None or held is None:
        return True
    reference = read_reference(wanted)
    sizes = reference.size in (None, held.get("ContentSize"))
    return sizes and (not reference.md5 or not held.get("Checksum") or reference.md5 == held["Checksum"])


def documents_of(session: SalesforceSession, key: str, files: Sequence[str]) -> dict[str, str]:
    """File → document, of those files of which the org holds a version under one of our keys."""
    if not files:
        return {}
    among = " OR ".join(soql.begins_with(key, f"{file}:") for file in files)
    text = soql.select([key, _DOCUMENT], VERSION, [f"({among})"])
    return {str(row[key]).rpartition(":")[0]: str(row[_DOCUMENT]) for row in session.records(text)}


def file_writing(
    session: SalesforceSession, sobject: SObject, key: str, names: list[str], contents: Contents
) -> FileWriting:
    """How to write versions of files. Contents count as set on creation, whatever the describe says."""
    fixed = replace(sobject, updateable=sobject.updateable - {FIELD, _DOCUMENT})
    return FileWriting(session, fixed, key, names, contents)


def _in_parts(record: bytes, body: Body, *, name: str) -> tuple[Stream, str]:
    """A body of two parts, and its content type."""
    boundary = uuid4().hex
    safe = name.encode("ascii", "replace").decode().translate({34: "_", 92: "_", 13: "_", 10: "_"})
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="entity_content"\r\n'
        "Content-Type: application/json\r\n\r\n"
    ).encode() + record + (
        f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="{FIELD}"; filename="{safe}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()  # fmt: skip
    tail = f"\r\n--{boundary}--\r\n".encode()

    def chunks() -> Iterator[bytes]:
        yield head
        yield from body.chunks()
        yield tail

    return Stream(len(head) + body.size + len(tail), chunks), f'multipart/form-data; boundary="{boundary}"'
