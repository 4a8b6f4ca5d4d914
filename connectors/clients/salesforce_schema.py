"""Salesforce's describe in our words: which objects and fields can be read, and of what type they are.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_sobject_describe.htm
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from connectors.clients.salesforce_errors import NotModified
from connectors.clients.salesforce_session import SalesforceSession
from connectors.errors import NotFound, SettingsInvalid
from connectors.pagination import batch_from, value_at
from connectors.types import EntityInfo, EntitySchema, FieldInfo, FieldType, RecordType

TYPES: Final[Mapping[str, FieldType]] = {
    "reference": FieldType.REFERENCE,
    "boolean": FieldType.BOOLEAN,
    "int": FieldType.INTEGER,
    "long": FieldType.INTEGER,
    "double": FieldType.DECIMAL,
    "currency": FieldType.DECIMAL,
    "percent": FieldType.DECIMAL,
    "date": FieldType.DATE,
    "datetime": FieldType.DATETIME,
    "time": FieldType.TIME,
    "picklist": FieldType.PICKLIST,
    "multipicklist": FieldType.MULTIPICKLIST,
    "json": FieldType.JSON,
    "complexvalue": FieldType.JSON,
    "base64": FieldType.CONTENT,
}  # every other type is text: id, string, textarea, phone, url, email, combobox, encryptedstring…

# The Bulk API refuses these ("Selecting compound data not supported in Bulk Query"), and nothing is lost:
# an address or a location is read by its parts, which are fields of their own, and a blob is read as a file.
UNREADABLE_TYPES: Final = frozenset({"address", "location", "base64"})


@dataclass(frozen=True, slots=True)
class Blob:
    """The field of an object that holds the contents of a file, and the fields that tell of it. Without an ``md5`` the
    contents have to be read to be known: they may be changed in place."""

    field: str
    size: str
    md5: str = ""


BLOBS: Final[Mapping[str, Blob]] = {
    "ContentVersion": Blob("VersionData", "ContentSize", md5="Checksum"),
    "Attachment": Blob("Body", "BodyLength"),
}
"""Object → its blob. Other objects' blobs (static resources, logs, documents of classic folders) are not read."""

# Helpers of other objects, or not data of the org.
_SKIPPED_ENDINGS: Final = ("ChangeEvent", "Share", "History", "Feed", "Tag", "__mdt", "__e", "__x", "__b")
# These answer only to a filter on a parent, or only inside another query. (ContentDocumentLink is one of them, and is
# read document by document.)
_NOT_ALONE: Final = frozenset(
    "ActivityHistory AttachedContentDocument CombinedAttachment ContentFolderItem "  # noqa: SIM905
    "ContentFolderMember EntityParticle FieldDefinition IdeaComment NoteAndAttachment OpenActivity Vote".split()
)
MADE: Final = frozenset({"ContentDocument"})
"""Objects whose records nobody creates: they come into being with others and are found there."""
UPDATED_FIELDS: Final = ("SystemModstamp", "LastModifiedDate", "CreatedDate")


@dataclass(frozen=True, slots=True)
class SObject:
    """One described object. ``replicateable`` ones have a feed of deletions.

    The sets name fields: ``createable`` ones a new record may carry, ``updateable`` ones an existing record
    takes, ``mandatory`` ones are never blank, ``case_sensitive`` ones tell ``a`` from ``A``, ``masters`` are
    parents a record belongs to for good, ``filterable`` ones may stand in a condition. ``relationships`` name the
    parent behind a reference field; ``stamp`` is when the org last changed the object, in its own words.
    """

    schema: EntitySchema
    replicateable: bool
    has_recycle_bin: bool
    createable: frozenset[str] = frozenset()
    updateable: frozenset[str] = frozenset()
    mandatory: frozenset[str] = frozenset()
    case_sensitive: frozenset[str] = frozenset()
    masters: frozenset[str] = frozenset()
    filterable: frozenset[str] = frozenset()
    relationships: Mapping[str, str] = field(default_factory=dict)
    stamp: str = ""


def list_entities(session: SalesforceSession, *, writable: bool = False) -> tuple[EntityInfo, ...]:
    """The objects that can be read by themselves, or only those of them that also take new records; sorted by name."""
    answer = session.http.get(session.path("sobjects"))
    readable = [entry for entry in batch_from(answer, ("sobjects",)).records if _is_readable(entry)]
    found = [_listed(entry) for entry in readable if not writable or entry.get("createable") or entry["name"] in MADE]
    return tuple(sorted(found, key=lambda info: info.name))


def describe_if_changed(session: SalesforceSession, entity: str, stamp: str) -> SObject | None:
    """The object, or None where nothing about it changed since ``stamp`` (of an earlier description)."""
    try:
        return describe(session, entity, stamp=stamp)
    except NotModified:
        return None


def describe(session: SalesforceSession, entity: str, *, stamp: str = "") -> SObject:
    """The object's readable fields; raises SettingsInvalid where there is no such object, and NotModified where
    nothing about it changed since ``stamp``."""
    headers = {"If-Modified-Since": stamp} if stamp else None
    try:
        answer = session.http.get(session.path("sobjects", entity, "describe"), headers=headers)
    except NotFound as error:
        raise SettingsInvalid(
            f"Salesforce has no object “{entity}”, or hides it from the connecting user. "
            "Correct the name, or give the permission set the object.",
            detail=error.detail,
        ) from None
    entries = batch_from(answer, ("fields",)).records
    blob = BLOBS.get(entity)
    fields = tuple(_field(entry) for entry in entries if _is_read(entry, blob))
    names = {each.name for each in fields}
    updated = next((name for name in UPDATED_FIELDS if name in names), None)
    info = EntityInfo(str(answer.value("name")), str(answer.value("label")), id_field="Id", updated_field=updated)
    return SObject(
        EntitySchema(info, fields, _record_types(answer.object())),
        bool(answer.object().get("replicateable")),
        "IsDeleted" in names,
        createable=_named(entries, lambda entry: entry.get("createable")),
        updateable=_named(entries, lambda entry: entry.get("updateable")),
        mandatory=_named(entries, lambda entry: not entry.get("nillable", True)),
        case_sensitive=_named(entries, lambda entry: entry.get("caseSensitive")),
        masters=_named(entries, lambda entry: entry.get("relationshipOrder") is not None),
        filterable=_named(entries, lambda entry: entry.get("filterable", True)),
        relationships={str(e["name"]): str(e["relationshipName"]) for e in entries if e.get("relationshipName")},
        stamp=answer.header("last-modified"),
    )


def _is_read(entry: Mapping[str, Any], blob: Blob | None) -> bool:
    kind = value_at(entry, ("type",))
    return kind not in UNREADABLE_TYPES or (kind == "base64" and blob is not None and entry["name"] == blob.field)


def _record_types(answer: Mapping[str, Any]) -> tuple[RecordType, ...]:
    """The object's own record types; the master that every object has is none of them."""
    return tuple(
        RecordType(str(kind["recordTypeId"]), str(kind["developerName"]), str(kind["name"]), bool(kind.get("active")))
        for kind in answer.get("recordTypeInfos") or ()
        if not kind.get("master")
    )


def _named(entries: Sequence[Mapping[str, Any]], chosen: Callable[[Mapping[str, Any]], object]) -> frozenset[str]:
    return frozenset(str(entry["name"]) for entry in entries if chosen(entry))


def _is_readable(entry: Mapping[str, Any]) -> bool:
    name = str(value_at(entry, ("name",)))
    is_data = entry.get("queryable") and not entry.get("deprecatedAndHidden")
    return bool(is_data) and not name.endswith(_SKIPPED_ENDINGS) and name not in _NOT_ALONE


def _listed(entry: Mapping[str, Any]) -> EntityInfo:
    # The list names no fields; replicateable objects are the ones that carry SystemModstamp.
    updated = UPDATED_FIELDS[0] if entry.get("replicateable") else None
    return EntityInfo(str(entry["name"]), str(entry.get("label") or entry["name"]), "Id", updated)


def _field(entry: Mapping[str, Any]) -> FieldInfo:
    kind = TYPES.get(str(entry["type"]), FieldType.TEXT)
    is_number = kind in (FieldType.INTEGER, FieldType.DECIMAL)
    createable = bool(entry.get("createable"))
    return FieldInfo(
        name=str(value_at(entry, ("name",))),
        type=kind,
        label=str(entry.get("label") or entry["name"]),
        length=int(entry.get("length") or 0) or None,
        precision=int(entry.get("precision") or entry.get("digits") or 0) or None if is_number else None,
        scale=int(entry.get("scale") or 0) if is_number else None,
        required=createable and not entry.get("nillable", True) and not entry.get("defaultedOnCreate"),
        writable=createable or bool(entry.get("updateable")),
        unique=bool(entry.get("unique")),
        external_id=bool(entry.get("externalId")),
        choices=tuple(str(value["value"]) for value in entry.get("picklistValues") or () if value.get("active", True)),
        restricted=bool(entry.get("restrictedPicklist")),
        references=tuple(entry.get("referenceTo") or ()) if kind is FieldType.REFERENCE else (),
        rich=entry.get("extraTypeInfo") == "richtextarea",
        ignores_case=kind is FieldType.TEXT and not entry.get("caseSensitive"),
    )
