"""How records of an object are written, found and deleted: as ever, or in the way of files and of persons.

``Records`` is the usual way. Contacts of person accounts come with their account (``Contacts``). Files have
three objects that are not written like others: versions carry contents (``Files``), documents come into being with
their first version (``Documents``), and links carry no key of ours (``Links``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import polars as pl

from connectors.answers import Answer
from connectors.clients import (
    salesforce_delete,
    salesforce_file_pages,
    salesforce_keyless,
    salesforce_lookup,
    salesforce_match,
    salesforce_persons,
    salesforce_rehearsal,
    salesforce_write,
)
from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_columns import long_ids, typed, wire
from connectors.clients.salesforce_file_pages import DOCUMENT, LINK, VERSION
from connectors.clients.salesforce_file_writing import FIELD, documents_of, file_writing
from connectors.clients.salesforce_keyless import KeylessWriting
from connectors.clients.salesforce_persons import AccountWriting, ContactWriting, knows_persons, persons_among
from connectors.clients.salesforce_refusals import sentence
from connectors.clients.salesforce_results import NOTHING, landed
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_sending import refused_by
from connectors.clients.salesforce_session import SalesforceSession
from connectors.clients.salesforce_write import Kind, Writing
from connectors.context import Contents
from connectors.errors import SettingsInvalid
from connectors.types import ID_MAP, ID_MAP_FIELD, RESULT_SCHEMA, FieldInfo, FieldType, Outcome
from connectors.values import empty_frame

FILE_KEY: Final = FieldInfo("FileKey", FieldType.TEXT, "File", length=200, unique=True, external_id=True)
"""A field of documents that is none of the platform's: what the keys of their versions begin with."""
LINK_KEY: Final = FieldInfo("FileAndParent", FieldType.TEXT, "File and parent", unique=True, external_id=True)
"""A field of links that is none of the platform's: ``ContentDocumentId:LinkedEntityId``, which no two links share."""
_TWO_IDS: Final = r"^[A-Za-z0-9]{18}:[A-Za-z0-9]{18}$"
_LATEST: Final = "LatestPublishedVersionId"
_PAIR: Final = ("ContentDocumentId", "LinkedEntityId")
_TOGETHER: Final = 60  # files in one query by their keys
_DOCUMENTS_TOGETHER: Final = 200
_SAID_MADE: Final = "A document comes into being with its first version, and none of its versions is in the org yet."


@dataclass(frozen=True, slots=True)
class Records:
    """The usual way. Frames and results are those of ``connectors.base.Target``."""

    session: SalesforceSession
    sobject: SObject
    kind: Kind = Writing

    @property
    def entity(self) -> str:
        return self.sobject.schema.entity.name

    def write(self, frame: pl.DataFrame, *, key: str) -> pl.DataFrame:
        return salesforce_write.write(self.session, self.sobject, frame, key=key, kind=self.kind)

    def rehearse(self, frame: pl.DataFrame, *, key: str) -> pl.DataFrame:
        return salesforce_rehearsal.rehearse(self.session, self.sobject, frame, key=key, kind=self.kind)

    def fetch(self, *, key: str, keys: Sequence[str], fields: Sequence[str]) -> pl.DataFrame:
        return salesforce_lookup.find(self.session, self.sobject, key=key, keys=keys, fields=fields)

    def came_along(self, target_ids: Sequence[str]) -> frozenset[str]:
        del target_ids
        return frozenset()

    def find(self, match: pl.DataFrame, *, key: str) -> pl.DataFrame:
        return salesforce_match.find(self.session, self.sobject, match, key=key)

    def adopt(self, frame: pl.DataFrame, *, key: str) -> pl.DataFrame:
        return salesforce_match.adopt(self.session, self.sobject, frame, key=key)

    def count(self, *, key: str, prefix: str) -> int | None:
        return salesforce_lookup.count(self.session, self.sobject, key=key, prefix=prefix)

    def keys(self, *, key: str, prefix: str) -> Iterator[pl.Series] | None:
        return salesforce_lookup.keys(self.session, self.sobject, key=key, prefix=prefix)

    def delete(self, target_ids: Sequence[str]) -> pl.DataFrame:
        return salesforce_delete.delete(self.session, self.sobject, target_ids)


@dataclass(frozen=True, slots=True)
class Keyless(Records):
    """Objects that carry no key of ours: the id map knows their records."""

    def fetch(self, *, key: str, keys: Sequence[str], fields: Sequence[str]) -> pl.DataFrame:
        if key != ID_MAP:
            return Records.fetch(self, key=key, keys=keys, fields=fields)
        return salesforce_keyless.fetch(self.session, self.sobject, keys, fields)

    def write(self, frame: pl.DataFrame, *, key: str) -> pl.DataFrame:
        self.settle(frame[key].to_list())
        return Records.write(self, frame, key=key)

    def settle(self, keys: Sequence[str]) -> None:
        salesforce_keyless.settle(self.session, self.entity, keys)

    def find(self, match: pl.DataFrame, *, key: str) -> pl.DataFrame:
        del key
        hits = Records.find(self, match, key="Id")
        keys = self.session.context.id_map.keys(self.entity, hits["target_id"].unique().to_list())
        known = pl.DataFrame(
            {"target_id": list(keys), "key": list(keys.values())}, schema=dict.fromkeys(_IDS, pl.String)
        )
        return hits.drop("key").join(known, on="target_id", how="left", maintain_order="left")

    def adopt(self, frame: pl.DataFrame, *, key: str) -> pl.DataFrame:
        """Nothing is sent: which record is whose, the id map alone knows. What is given back it has forgotten."""
        del key
        rows = frame.select(
            pl.col("target_id").alias("key"), pl.col("target_id").map_batches(long_ids, return_dtype=pl.String),
            pl.col("key").alias("value"),
        )  # fmt: skip
        there = salesforce_lookup.existing(self.session, self.sobject, rows["target_id"].to_list())
        known = self.session.context.id_map.keys(self.entity, rows["target_id"].to_list())
        held = pl.col("target_id").replace_strict(known, default=None, return_dtype=pl.String)
        looked = rows.with_columns(held.alias("held"), pl.col("target_id").is_in(there.implode()).alias("there"))
        given = pl.col("value").is_not_null()
        others = given & pl.col("held").is_not_null() & (pl.col("held") != pl.col("value"))
        fresh = looked.filter(pl.col("there") & given & pl.col("held").is_null())
        self.session.context.id_map.link(self.entity, dict(fresh.select("value", "target_id").iter_rows()))
        same = looked.filter(pl.col("there") & ~others).join(fresh, on="key", how="anti")
        return pl.concat(
            [
                _refused(looked.filter(~pl.col("there")), "not_adopted", _SAID_GONE),
                _refused(looked.filter(pl.col("there") & others), "not_adopted", _SAID_TAKEN),
                landed(fresh, pl.lit(Outcome.UPDATED)),
                landed(same, pl.lit(Outcome.UNCHANGED)),
            ]
        )

    def count(self, *, key: str, prefix: str) -> int | None:
        del key, prefix
        return None

    def keys(self, *, key: str, prefix: str) -> Iterator[pl.Series] | None:
        del key, prefix
        return None


_IDS: Final = ("target_id", "key")
_SAID_GONE: Final = "The record is gone from the org. Load it again to create it anew."
_SAID_TAKEN: Final = "The record in the org belongs to another source record meanwhile. Load it again."


def keyless(session: SalesforceSession, sobject: SObject) -> Keyless:
    """As ``way_of``, where nothing of the object carries a key of ours. Raises SettingsInvalid for objects that are
    written in a way of their own."""
    name = sobject.schema.entity.name
    own = name in {VERSION, DOCUMENT, LINK} or (
        name in {salesforce_persons.ACCOUNT, salesforce_persons.CONTACT} and knows_persons(sobject)
    )
    if own:
        raise SettingsInvalid(f"Records of {name} cannot be written without an external id; have one created.")
    schema = replace(sobject.schema, fields=(*sobject.schema.fields, ID_MAP_FIELD))
    widened = replace(
        sobject,
        schema=schema,
        createable=sobject.createable | {ID_MAP},
        case_sensitive=sobject.case_sensitive | {ID_MAP},
    )
    return Keyless(session, widened, KeylessWriting)


@dataclass(frozen=True, slots=True)
class Contacts(Records):
    """Contacts of an org with person accounts: those of persons come and go with their account."""

    def came_along(self, target_ids: Sequence[str]) -> frozenset[str]:
        return persons_among(self.session, target_ids)

    def delete(self, target_ids: Sequence[str]) -> pl.DataFrame:
        ids = pl.DataFrame({"key": pl.Series(target_ids, dtype=pl.String).unique(maintain_order=True)})
        ids = ids.with_columns(long_ids(ids["key"]).alias("target_id"))
        persons = pl.col("target_id").is_in(list(persons_among(self.session, ids["target_id"].to_list())))
        others = salesforce_delete.delete(self.session, self.sobject, ids.filter(~persons)["key"].to_list())
        return pl.concat([landed(ids.filter(persons), pl.lit(Outcome.UNCHANGED)), others])


@dataclass(frozen=True, slots=True)
class Files(Records):
    """Versions of files, and the object of their documents."""

    documents: SObject = field(kw_only=True)

    def rehearse(self, frame: pl.DataFrame, *, key: str) -> pl.DataFrame:
        """With a few bytes in place of the contents, each version as a file by itself."""
        return salesforce_rehearsal.rehearse(
            self.session, self.sobject, frame, key=key, kind=self.kind, instead={FIELD: REHEARSED}
        )

    def delete(self, target_ids: Sequence[str]) -> pl.DataFrame:
        """With their documents. A document goes when all its versions go; of others no version goes, because the
        platform deletes no single version."""
        asked = pl.DataFrame({"key": pl.Series(target_ids, dtype=pl.String).unique(maintain_order=True)})
        asked = asked.with_columns(long_ids(asked["key"]).alias("target_id"))
        held = [_rows(self.session, ("Id", "ContentDocumentId"), "Id", part) for part in _parts(asked["target_id"])]
        named = asked.join(
            pl.concat([empty_frame(("Id", "ContentDocumentId")), *held]), left_on="target_id", right_on="Id"
        )
        gone = asked.join(named, on="key", how="anti")
        whole = named["ContentDocumentId"].unique()
        every = [_rows(self.session, ("Id", "ContentDocumentId"), "ContentDocumentId", part) for part in _parts(whole)]
        left = pl.concat([empty_frame(("Id", "ContentDocumentId")), *every]).filter(
            ~pl.col("Id").is_in(asked["target_id"].implode())
        )
        kept = pl.col("ContentDocumentId").is_in(left["ContentDocumentId"].implode())
        whole = whole.filter(~whole.is_in(left["ContentDocumentId"].implode()))
        answers = salesforce_delete.delete(self.session, self.documents, whole.to_list())
        told = named.filter(~kept).join(answers.rename({"key": "document"}).drop("target_id"),
                                        left_on="ContentDocumentId", right_on="document")  # fmt: skip
        said = "The file has other versions, which are not to be deleted; Salesforce deletes whole files only."
        return pl.concat(
            [
                landed(gone, pl.lit(Outcome.UNCHANGED)),
                told.with_columns(target_id="key").select(*RESULT_SCHEMA),
                _refused(named.filter(kept), "other_versions", said),
            ]
        )


REHEARSED: Final = "cmVoZWFyc2Fs"
"""The word rehearsal, in base64."""


def _parts(ids: pl.Series) -> Iterator[list[str]]:
    for start in range(0, len(ids), _DOCUMENTS_TOGETHER):
        yield ids.slice(start, _DOCUMENTS_TOGETHER).to_list()


def _rows(session: SalesforceSession, names: Sequence[str], by: str, values: list[str]) -> pl.DataFrame:
    rows = [
        {name: str(row.get(name) or "") for name in names}
        for row in session.records(soql.select(names, VERSION, [soql.among(by, list(values))]))
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String))


@dataclass(frozen=True, slots=True)
class Documents(Records):
    """Documents of files: found by what the keys of their versions begin with, never created. ``version_keys`` are the
    fields of versions that may carry our key."""

    version_keys: tuple[str, ...] = field(kw_only=True)

    def write(self, frame: pl.DataFrame, *, key: str) -> pl.DataFrame:
        """Nothing is sent: what a document is, its versions made it."""
        asked = pl.DataFrame({"key": frame[key].cast(pl.String)})
        held = self._held(asked["key"].to_list())
        there = asked.join(held, on="key")
        return pl.concat(
            [
                landed(there, pl.lit(Outcome.UNCHANGED)),
                _refused(asked.join(held, on="key", how="anti"), "no_version", _SAID_MADE),
            ]
        )

    def rehearse(self, frame: pl.DataFrame, *, key: str) -> pl.DataFrame:
        return landed(pl.DataFrame({"key": frame[key].cast(pl.String)}).with_columns(NOTHING.alias("target_id")),
                      pl.lit(Outcome.UNCHANGED))  # fmt: skip

    def fetch(self, *, key: str, keys: Sequence[str], fields: Sequence[str]) -> pl.DataFrame:
        """The version that is told as the latest is the one with our key, where several people add versions."""
        if key != FILE_KEY.name:
            return Records.fetch(self, key=key, keys=keys, fields=fields)
        held = self._held(keys)
        plain = [name for name in fields if name != FILE_KEY.name]
        rows = salesforce_lookup.find(
            self.session, self.sobject, key="Id", keys=held["target_id"].to_list(), fields=plain
        )
        return held.join(rows.drop("key"), on="target_id").with_columns(
            pl.col("key").alias(FILE_KEY.name)
        ).select("target_id", "key", *fields)  # fmt: skip

    def find(self, match: pl.DataFrame, *, key: str) -> pl.DataFrame:
        if match.columns != [FILE_KEY.name]:
            del key
            return Records.find(self, match, key="Id")
        held = self._held(match[FILE_KEY.name].to_list())
        return held.select(pl.col("key").alias(FILE_KEY.name), "target_id", "key")

    def count(self, *, key: str, prefix: str) -> int | None:
        del key, prefix
        return None

    def keys(self, *, key: str, prefix: str) -> Iterator[pl.Series] | None:
        del key, prefix
        return None

    def came_along(self, target_ids: Sequence[str]) -> frozenset[str]:
        return frozenset(target_ids)

    def delete(self, target_ids: Sequence[str]) -> pl.DataFrame:
        """Nothing is sent: a document goes with its versions."""
        ids = pl.DataFrame({"key": pl.Series(target_ids, dtype=pl.String).unique(maintain_order=True)})
        return landed(ids.with_columns(target_id="key"), pl.lit(Outcome.UNCHANGED))

    def _held(self, files: Sequence[str]) -> pl.DataFrame:
        found: dict[str, str] = {}
        named = list(dict.fromkeys(files))
        for key in self.version_keys:
            for start in range(0, len(named), _TOGETHER):
                found |= documents_of(self.session, key, named[start : start + _TOGETHER])
        spelled = {name.lower(): name for name in named}
        return pl.DataFrame(
            {"key": [spelled[file.lower()] for file in found], "target_id": list(found.values())},
            schema={"key": pl.String, "target_id": pl.String},
        )


@dataclass(frozen=True, slots=True)
class Links(Records):
    """Links of files to records: known by what they link, which no two share."""

    def write(self, frame: pl.DataFrame, *, key: str) -> pl.DataFrame:
        names = [name for name in frame.columns if name != key]
        rows = wire(frame, self.sobject.schema, names).with_columns(pl.col(key).cast(pl.String).alias("key"))
        held = self.fetch(key=key, keys=rows["key"].to_list(), fields=names)
        others = [name for name in names if name not in _PAIR]
        known = held.select("key", "target_id", *(pl.col(name).alias(f"{name}·held") for name in others))
        fresh = rows.join(held, on="key", how="anti").iter_slices(_DOCUMENTS_TOGETHER)
        made = [self._made(part, names, key) for part in fresh]
        return pl.concat([self._changed(rows.join(known, on="key"), others), *made])

    def _made(self, rows: pl.DataFrame, names: Sequence[str], key: str) -> pl.DataFrame:
        """Sent together; what is not there afterwards is sent by itself, so that each refusal names its link."""
        bodies = [_members(row, names) for row in rows.iter_rows(named=True)]
        records = [{"attributes": {"type": LINK}, **members} for members in bodies]
        path = self.session.path("composite", "sobjects")
        # May be sent again: no two links have the same ends.
        self.session.http.send(
            "POST", path, json={"allOrNone": False, "records": records}, repeatable=True, accept={400}
        )
        there = self.fetch(key=key, keys=rows["key"].to_list(), fields=())
        left = rows.join(there, on="key", how="anti")
        refusals = [self._by_itself(str(row["key"]), _members(row, names)) for row in left.iter_rows(named=True)]
        again = self.fetch(key=key, keys=left["key"].to_list(), fields=()) if left.height else there.clear()
        refused = [each for each in refusals if each is not None and each["key"] not in again["key"].to_list()]
        return pl.concat(
            [
                landed(pl.concat([there, again]), pl.lit(Outcome.CREATED)),
                pl.DataFrame(refused, schema=RESULT_SCHEMA),
            ]
        )

    def _by_itself(self, key: str, members: Mapping[str, Any]) -> dict[str, str | None] | None:
        answer = self.session.http.send(
            "POST", self.session.path("sobjects", LINK), json=members, repeatable=True, accept={400}
        )
        if answer.status < 300:
            return None
        return self._refusal(key, answer)

    def _refusal(self, key: str, answer: Answer) -> dict[str, str | None]:
        code, fields, said = refused_by(self.session, answer)
        return dict(zip(RESULT_SCHEMA, (key, None, Outcome.REJECTED, code, fields, sentence(code, said)), strict=True))

    def _changed(self, rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        """Results of links that are there: who sees them by which right may have changed."""
        differs = pl.any_horizontal(
            pl.lit(value=False),
            *(pl.col(name).is_not_null() & (pl.col(name) != pl.col(f"{name}·held")) for name in names),
        ).fill_null(value=False)
        results = [landed(rows.filter(~differs), pl.lit(Outcome.UNCHANGED))]
        for row in rows.filter(differs).iter_rows(named=True):
            path = self.session.path("sobjects", LINK, row["target_id"])
            body = {name: row[name] for name in names if row[name] is not None}
            answer = self.session.http.send("PATCH", path, json=body, repeatable=True, accept={400})
            if answer.status < 300:
                results.append(landed(rows.filter(pl.col("key") == row["key"]), pl.lit(Outcome.UPDATED)))
            else:
                results.append(pl.DataFrame([self._refusal(row["key"], answer)], schema=RESULT_SCHEMA))
        return pl.concat(results)

    def rehearse(self, frame: pl.DataFrame, *, key: str) -> pl.DataFrame:
        """By what is there: the ends of a link that is rehearsed seldom are."""
        keys = frame[key].cast(pl.String)
        held = self.fetch(key=key, keys=keys.to_list(), fields=())
        fresh = pl.DataFrame({"key": keys}).join(held, on="key", how="anti").with_columns(NOTHING.alias("target_id"))
        return pl.concat([landed(held, pl.lit(Outcome.UNCHANGED)), landed(fresh, pl.lit(Outcome.CREATED))])

    def fetch(self, *, key: str, keys: Sequence[str], fields: Sequence[str]) -> pl.DataFrame:
        asked = pl.DataFrame({"key": pl.Series(keys, dtype=pl.String).unique(maintain_order=True)})
        if key == LINK_KEY.name:
            asked = asked.filter(pl.col("key").str.contains(_TWO_IDS))  # a dry run asks for ends that are foretold
            parted = pl.col("key").str.split_exact(":", 1).struct
            asked = asked.with_columns(parted[0].alias(_PAIR[0]), parted[1].alias(_PAIR[1]))
            documents = asked[_PAIR[0]].drop_nulls().unique()
            found = [self._of(part, fields) for part in _parts(documents)]
            rows = pl.concat([self._nothing(fields), *found])
            rows = rows.join(asked, on=_PAIR, how="inner")
        else:
            held = salesforce_file_pages.links_by_id(
                self.session, self.sobject, self._columns(fields), asked["key"].to_list()
            )
            rows = held.with_columns(pl.col("Id").alias("key"))
        rows = rows.with_columns(pl.concat_str(_PAIR[0], pl.lit(":"), _PAIR[1]).alias(LINK_KEY.name))
        plain = [name for name in fields if name != LINK_KEY.name]
        return typed(rows, self.sobject.schema, plain).select(pl.col("Id").alias("target_id"), "key", *fields)

    def _columns(self, fields: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(["Id", *_PAIR, *(name for name in fields if name != LINK_KEY.name)]))

    def _nothing(self, fields: Sequence[str]) -> pl.DataFrame:
        return empty_frame(self._columns(fields))

    def _of(self, documents: list[str], fields: Sequence[str]) -> pl.DataFrame:
        return salesforce_file_pages.links_of(self.session, self.sobject, self._columns(fields), documents)

    def find(self, match: pl.DataFrame, *, key: str) -> pl.DataFrame:
        del key
        raise SettingsInvalid(f"Links of files are known by what they link; take the match key {match.columns} off.")

    def count(self, *, key: str, prefix: str) -> int | None:
        del key, prefix
        return None

    def keys(self, *, key: str, prefix: str) -> Iterator[pl.Series] | None:
        del key, prefix
        return None

    def delete(self, target_ids: Sequence[str]) -> pl.DataFrame:
        """One by one: no query takes their ids, so that nobody could ask in advance which are there."""
        results = [self._deleted(one) for one in dict.fromkeys(target_ids)]
        return pl.DataFrame(results, schema=RESULT_SCHEMA)

    def _deleted(self, one: str) -> dict[str, str | None]:
        told: dict[str, str | None] = {"key": one, "target_id": one, "code": None, "fields": None, "message": None}
        if not one.startswith(_PREFIX):
            return {**told, "outcome": Outcome.UNCHANGED}
        answer = self.session.http.send(
            "DELETE", self.session.path("sobjects", LINK, one), repeatable=True, accept={400, 404}
        )
        if answer.status == 404:
            return {**told, "outcome": Outcome.UNCHANGED}
        if answer.status < 300:
            return {**told, "outcome": Outcome.DELETED}
        return self._refusal(one, answer)


_PREFIX: Final = "06A"


def _members(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: row[name] for name in names if row[name] is not None}


def _refused(rows: pl.DataFrame, code: str, message: str) -> pl.DataFrame:
    return rows.select(
        "key",
        NOTHING.alias("target_id"),
        pl.lit(str(Outcome.REJECTED)).alias("outcome"),
        pl.lit(code).alias("code"),
        pl.lit("").alias("fields"),
        pl.lit(message).alias("message"),
    )


def with_own_fields(described: SObject) -> SObject:
    """The object as a target tells of it, with the fields by which records without a key of ours are known."""
    schema = described.schema
    match schema.entity.name:
        case salesforce_file_pages.DOCUMENT:
            # All that is filled is what finds the document.
            latest = replace(schema.field(_LATEST), required=True)
            others = tuple(replace(info, required=False) for info in schema.fields if info.name != _LATEST)
            schema = replace(schema, fields=(*others, latest, FILE_KEY))
            return replace(described, schema=schema, createable=frozenset({_LATEST, FILE_KEY.name}))
        case salesforce_file_pages.LINK:
            schema = replace(schema, fields=(*schema.fields, LINK_KEY))
            return replace(described, schema=schema, createable=described.createable | {LINK_KEY.name})
        case _:
            return described


Describe = Callable[[str], SObject]


def way_of(session: SalesforceSession, sobject: SObject, *, contents: Contents, describe: Describe) -> Records:
    """How records of the object are written, found and deleted. ``describe`` gives the objects it depends on."""
    match sobject.schema.entity.name:
        case salesforce_file_pages.VERSION:
            return Files(session, sobject, partial(file_writing, contents=contents), documents=describe(DOCUMENT))
        case salesforce_file_pages.DOCUMENT:
            fields = describe(VERSION).schema.fields
            keys = tuple(info.name for info in fields if info.external_id and info.unique)
            return Documents(session, sobject, version_keys=keys)
        case salesforce_file_pages.LINK:
            return Links(session, sobject)
        case salesforce_persons.ACCOUNT if knows_persons(sobject):
            return Records(session, sobject, AccountWriting)
        case salesforce_persons.CONTACT if knows_persons(sobject):
            return Contacts(session, sobject, ContactWriting)
        case _:
            return Records(session, sobject)
