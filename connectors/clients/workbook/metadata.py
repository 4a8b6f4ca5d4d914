"""Salesforce object metadata: what ``*.object-meta.xml`` and ``*.field-meta.xml`` files say of objects.

Format: https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta/customfield.htm
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from connectors.clients.workbook.limits import MAX_METADATA_BYTES, MIB
from connectors.context import FileStore
from connectors.errors import InputInvalid
from connectors.types import FieldInfo, FieldType

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element  # the type only: parsing is defusedxml's

_NAMESPACE = "{http://soap.sforce.com/2006/04/metadata}"
_FIELD_SUFFIX = ".field-meta.xml"
_OBJECT_SUFFIX = ".object-meta.xml"

_TYPES: Mapping[str, FieldType] = {
    "AutoNumber": FieldType.TEXT,
    "Checkbox": FieldType.BOOLEAN,
    "Currency": FieldType.DECIMAL,
    "Date": FieldType.DATE,
    "DateTime": FieldType.DATETIME,
    "ExternalLookup": FieldType.REFERENCE,
    "Hierarchy": FieldType.REFERENCE,
    "IndirectLookup": FieldType.REFERENCE,
    "Location": FieldType.JSON,
    "Lookup": FieldType.REFERENCE,
    "MasterDetail": FieldType.REFERENCE,
    "MetadataRelationship": FieldType.REFERENCE,
    "MultiselectPicklist": FieldType.MULTIPICKLIST,
    "Number": FieldType.DECIMAL,
    "Percent": FieldType.DECIMAL,
    "Picklist": FieldType.PICKLIST,
    "Summary": FieldType.DECIMAL,
    "Time": FieldType.TIME,
}
"""Salesforce type → ours; the others (Text, TextArea, Html, Email, Phone, Url…) are text."""

_LENGTHS: Mapping[str, int] = {"Email": 80, "Phone": 40, "TextArea": 255, "Url": 255}
"""Characters of the types whose metadata names no length
(https://help.salesforce.com/s/articleView?id=platform.custom_field_types.htm)."""

_NAME_LENGTH = 80  # characters of every object's Name field


@dataclass(slots=True)
class ObjectMetadata:
    """One object: its fields by API name, and the field behind each child relationship of a parent.

    ``relationships`` is keyed by (parent object, relationship name as records use it).
    """

    label: str = ""
    fields: dict[str, FieldInfo] = field(default_factory=dict)
    relationships: dict[tuple[str, str], str] = field(default_factory=dict)


def is_metadata(name: str) -> bool:
    return name.endswith((_FIELD_SUFFIX, _OBJECT_SUFFIX))


def load(files: FileStore, names: Iterable[str]) -> dict[str, ObjectMetadata]:
    """Object API name → metadata, from the metadata files among ``names``.

    The object is the folder the file is in (``objects/Space__c/Type__c.field-meta.xml``, with or without
    a ``fields`` folder between). Raises InputInvalid for a file that is no metadata.
    """
    objects: dict[str, ObjectMetadata] = {}
    for name in filter(is_metadata, names):
        folder = PurePosixPath(name).parent
        owner = folder.parent.name if folder.name == "fields" else folder.name
        found = objects.setdefault(owner, ObjectMetadata())
        root = _parsed(files, name)
        if name.endswith(_OBJECT_SUFFIX):
            found.label = _text(root, "label") or owner
            if (name_field := root.find(_NAMESPACE + "nameField")) is not None:
                found.fields["Name"] = _name_field(name_field)
        else:
            _add_field(found, root, PurePosixPath(name).name.removesuffix(_FIELD_SUFFIX))
    return objects


def described(inferred: Iterable[FieldInfo], known: ObjectMetadata | None) -> tuple[FieldInfo, ...]:
    """The fields found in the data, as the metadata describes them, and then the metadata's other ones."""
    fields = tuple(inferred)
    if known is None:
        return fields
    present = {info.name for info in fields}
    merged = [_merged(info, known.fields.get(info.name)) for info in fields]
    return (*merged, *(info for name, info in sorted(known.fields.items()) if name not in present))


def _merged(found: FieldInfo, known: FieldInfo | None) -> FieldInfo:
    """Metadata rules, but a field whose values are references to records at hand stays a reference."""
    if known is None:
        return found
    references = tuple(dict.fromkeys((*known.references, *found.references)))
    if found.references and known.type is not FieldType.REFERENCE:
        return replace(known, type=FieldType.REFERENCE, references=references, note=found.note)
    return replace(known, references=references, note=found.note)


def _parsed(files: FileStore, name: str) -> "Element":
    if files.size(name) > MAX_METADATA_BYTES:
        raise InputInvalid(f"{name} is larger than {MAX_METADATA_BYTES // MIB} MiB: that is no Salesforce metadata.")
    with files.open(name) as file:
        content = file.read(MAX_METADATA_BYTES)
    try:
        root: Element = fromstring(content, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise InputInvalid(
            f"{name} is not readable as Salesforce metadata. Retrieve it again, or remove it.", detail=str(error)
        ) from error
    return root


def _add_field(found: ObjectMetadata, root: "Element", file_name: str) -> None:
    name = _text(root, "fullName") or file_name
    found.fields[name] = _field(root, name)
    if relationship := _text(root, "relationshipName"):
        custom = relationship + ("__r" if name.endswith("__c") else "")
        for parent in _texts(root, "referenceTo"):
            found.relationships[(parent, custom)] = name


def _field(root: "Element", name: str) -> FieldInfo:
    kind = _text(root, "type")
    computed = root.find(_NAMESPACE + "formula") is not None or kind in ("AutoNumber", "Summary")
    required = _flag(root, "required") or kind == "MasterDetail"
    return FieldInfo(
        name,
        _TYPES.get(kind, FieldType.TEXT),
        label=_text(root, "label") or name,
        length=_number(root, "length") or _LENGTHS.get(kind),
        precision=_number(root, "precision"),
        scale=_number(root, "scale"),
        required=required and not computed and not _text(root, "defaultValue"),
        writable=not computed,
        unique=_flag(root, "unique"),
        external_id=_flag(root, "externalId"),
        choices=_choices(root),
        restricted=_text(root, "valueSet/restricted") == "true",
        references=_texts(root, "referenceTo"),
    )


def _name_field(root: "Element") -> FieldInfo:
    automatic = _text(root, "type") == "AutoNumber"
    return FieldInfo(
        "Name", label=_text(root, "label"), length=_NAME_LENGTH, required=not automatic, writable=not automatic
    )


def _choices(root: "Element") -> tuple[str, ...]:
    values = root.iterfind(_path("valueSet/valueSetDefinition/value"))
    return tuple(_text(value, "fullName") for value in values if _text(value, "isActive") != "false")


def _path(path: str) -> str:
    return "/".join(_NAMESPACE + part for part in path.split("/"))


def _text(root: "Element", path: str) -> str:
    return (root.findtext(_path(path)) or "").strip()


def _texts(root: "Element", path: str) -> tuple[str, ...]:
    return tuple((found.text or "").strip() for found in root.iterfind(_path(path)))


def _flag(root: "Element", path: str) -> bool:
    return _text(root, path) == "true"


def _number(root: "Element", path: str) -> int | None:
    text = _text(root, path)
    return int(text) if text.isdigit() else None
