"""Object definitions from metadata files in source format (``X.object-meta.xml``, ``F.field-meta.xml``).

https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta/customfield.htm
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

from defusedxml.ElementTree import parse

from sandbox.salesforce import fields as f
from sandbox.salesforce.ids import ALPHABET
from sandbox.salesforce.schema import Field, PicklistValue, Rollup, Schema, SObject
from sandbox.salesforce.standard import companion_objects

_NAMESPACE = "{http://soap.sforce.com/2006/04/metadata}"
_ROLLUPS = frozenset(("count", "sum", "min", "max"))
Make = Callable[[str, str, "Node"], Field]


class Node:
    """An XML element of metadata with reading by plain names."""

    def __init__(self, element: Element) -> None:
        self.element = element

    def text(self, path: str, default: str = "") -> str:
        found = self.element.find("/".join(_NAMESPACE + step for step in path.split("/")))
        return (found.text or "").strip() if found is not None else default

    def flag(self, path: str) -> bool:
        return self.text(path) == "true"

    def number(self, path: str, default: int = 0) -> int:
        return int(self.text(path) or default)

    def all(self, path: str) -> "list[Node]":
        return [Node(each) for each in self.element.findall("/".join(_NAMESPACE + step for step in path.split("/")))]

    @classmethod
    def of(cls, content: object, tag: str = "root") -> "Node":
        """Metadata written as JSON with the vendor's names: lists are repeated elements."""
        element = Element(_NAMESPACE + tag)
        if isinstance(content, Mapping):
            for name, value in content.items():
                element.extend(cls.of(each, name).element for each in (value if isinstance(value, list) else [value]))
        elif isinstance(content, bool):
            element.text = str(content).lower()
        elif content is not None:
            element.text = str(content)
        return cls(element)


def read_node(file: Path) -> Node:
    """The root of a metadata file."""
    root = parse(file).getroot()
    if root is None:
        raise ValueError(f"{file} holds no element")
    return Node(root)


def read_objects(schema: Schema, folder: Path) -> Schema:
    """``schema`` with the objects of ``folder/<Object>/`` added and their fields merged onto standard objects.

    Fields may lie beside the object's file or, as in a project's source format, in a folder ``fields`` below.
    """
    objects = {each.name: each for each in schema}
    for path in sorted(each for each in folder.iterdir() if each.is_dir()):
        base = schema.get(path.name) or custom_object(_object_node(path), path.name, objects.values())
        added = [field_of(read_node(each), each.name) for each in sorted(path.rglob("*.field-meta.xml"))]
        objects[base.name] = base.with_fields(added)
    return finished(objects.values())


def _object_node(path: Path) -> "Node":
    file = path / f"{path.name}.object-meta.xml"
    if not file.is_file():
        raise ValueError(
            f"{path} adds fields to {path.name}, which is neither a standard object here nor defined by {file.name}"
        )
    return read_node(file)


def finished(objects: Iterable[SObject]) -> Schema:
    """The schema of these objects with what one definition needs of another's worked out."""
    made = Schema(objects)
    evaluated = [each.with_fields(_evaluated(made, each)) for each in made]
    companions = [other for each in evaluated if each.custom for other in companion_objects(each)]
    return Schema([*_with_activities(evaluated), *companions])


def _free_prefix(taken: Iterable[SObject]) -> str:
    """The next key prefix of custom objects: a00, a01, …"""
    used = {each.prefix for each in taken}
    return next(prefix for one in ALPHABET for two in ALPHABET if (prefix := f"a{one}{two}") not in used)


def custom_object(node: "Node", full_name: str, taken: Iterable[SObject]) -> SObject:
    """A custom object without its custom fields; its key prefix is one that none of ``taken`` has."""
    name_type = node.text("nameField/type", "Text")
    name = replace(f.text("Name", node.text("nameField/label", "Name"), 80), name_field=True, id_lookup=True)
    if name_type == "AutoNumber":
        pattern = node.text("nameField/displayFormat", "{0}")
        name = replace(f.read_only(name), nillable=False, defaulted=True, auto_number=pattern)
    controlled = node.text("sharingModel") == "ControlledByParent"
    head = (f.record_id("Record ID"), *(() if controlled else (f.owner("Group", "User"),)), f.deleted(), name)
    return SObject(
        name=full_name,
        label=node.text("label", full_name),
        plural=node.text("pluralLabel", full_name),
        prefix=_free_prefix(taken),
        fields=(*head, *f.audit()),
        custom=True,
        activities=node.flag("enableActivities"),
        bulk=node.text("enableBulkApi", "true") == "true",
    )


def field_of(node: "Node", where: str) -> Field:
    """One custom field; raises ValueError naming the file (or request) where its type is unknown."""
    name, kind = node.text("fullName"), node.text("type")
    if node.text("formula"):
        return _formula(name, node)
    make = _TYPES.get(kind)
    if make is None:
        raise ValueError(f"{where} is of the type {kind or '(none)'}, which this sandbox does not simulate")
    made = make(name, node.text("label", name), node)
    made = replace(
        made,
        custom=True,
        external_id=node.flag("externalId"),
        unique=node.flag("unique"),
        id_lookup=made.id_lookup or node.flag("externalId"),
        case_sensitive=node.flag("caseSensitive"),
        help=node.text("inlineHelpText") or None,
    )
    if node.flag("required") and made.type != "boolean":
        made = f.required(made)
    return _with_default(made, node)


def _with_default(field: Field, node: Node) -> Field:
    """A literal default; a default that is a formula is left out, as this sandbox evaluates none."""
    chosen = next((each.value for each in field.values if each.default), None)
    if chosen is not None:
        return replace(field, default=chosen, defaulted=not field.nillable)
    raw = node.text("defaultValue")
    if field.type == "boolean":
        return replace(field, default=raw == "true")
    if field.type in ("double", "currency", "percent") and re.fullmatch(r"-?\d+(\.\d+)?", raw):
        return replace(field, default=float(raw))
    quoted = re.fullmatch(r"[\"']([^\"'&]*)[\"']", raw)
    return replace(field, default=quoted.group(1)) if quoted else field


def _number(kind: str) -> Make:
    def make(name: str, label: str, node: Node) -> Field:
        return Field(name, kind, label, precision=node.number("precision", 18), scale=node.number("scale"))

    return make


def _text(kind: str, length: int = 255) -> Make:
    def make(name: str, label: str, node: Node) -> Field:
        return Field(name, kind, label, length=node.number("length", length), id_lookup=kind == "email")

    return make


def _long_text(name: str, label: str, node: Node) -> Field:
    return replace(f.text_area(name, label, node.number("length", 32_768)), filterable=False)


def _rich_text(name: str, label: str, node: Node) -> Field:
    return replace(_long_text(name, label, node), extra="richtextarea")


def _picklist(kind: str) -> Make:
    def make(name: str, label: str, node: Node) -> Field:
        length = 255 if kind == "picklist" else 4_099
        values = tuple(
            PicklistValue(
                each.text("fullName"), each.text("label"), each.text("isActive", "true") == "true", each.flag("default")
            )
            for each in node.all("valueSet/valueSetDefinition/value")
        )
        return Field(name, kind, label, length=length, values=values, restricted=node.flag("valueSet/restricted"))

    return make


def _lookup(name: str, label: str, node: Node) -> Field:
    relation = name.removesuffix("__c") + "__r"
    children = node.text("relationshipName")
    made = f.reference(
        name, label, node.text("referenceTo"), relationship=relation, children=f"{children}__r" if children else None
    )
    return replace(
        made,
        cascade_delete=node.text("deleteConstraint") == "Cascade",
        restricted_delete=node.text("deleteConstraint") == "Restrict",
    )


def _master_detail(name: str, label: str, node: Node) -> Field:
    return replace(
        f.required(_lookup(name, label, node)),
        relationship_order=node.number("relationshipOrder"),
        cascade_delete=True,
        updateable=node.flag("reparentableMasterDetail"),
        write_requires_master_read=node.flag("writeRequiresMasterRead"),
    )


def _auto_number(name: str, label: str, node: Node) -> Field:
    made = f.read_only(f.text(name, label, 30))
    return replace(made, nillable=False, defaulted=True, auto_number=node.text("displayFormat", "{0}"))


def _summary(name: str, label: str, node: Node) -> Field:
    """A roll-up; one with filters is described but reads as null, since it is not worked out here."""
    child, foreign_key = node.text("summaryForeignKey").split(".")
    operation = node.text("summaryOperation")
    summed = node.text("summarizedField").partition(".")[2] or None
    made = f.read_only(f.double(name, label, 18, 0 if operation == "count" else 2))
    if operation not in _ROLLUPS or node.all("summaryFilterItems"):
        return replace(made, formula="")
    return replace(made, rollup=Rollup(child, foreign_key, operation, summed))


def _formula(name: str, node: Node) -> Field:
    kinds = {"Checkbox": "boolean", "Currency": "currency", "Date": "date", "DateTime": "datetime", "Number": "double",
             "Percent": "percent", "Text": "string", "Time": "time"}  # fmt: skip
    kind = kinds[node.text("type")]
    length = 1_300 if kind == "string" else 0
    number = kind in ("currency", "double", "percent")
    precision, scale = (node.number("precision", 18), node.number("scale")) if number else (0, 0)
    made = Field(name, kind, node.text("label", name), length=length, precision=precision, scale=scale)
    blank_is_zero = node.text("formulaTreatBlanksAs") == "BlankAsZero"
    return replace(f.read_only(made), custom=True, formula=node.text("formula"), blank_is_zero=blank_is_zero)


def _flag(name: str, label: str, _: Node) -> Field:
    return f.flag(name, label)


_TYPES: Mapping[str, Make] = {
    "Text": _text("string"),
    "TextArea": lambda name, label, _: f.text_area(name, label),
    "LongTextArea": _long_text,
    "Html": _rich_text,
    "EncryptedText": _text("encryptedstring", 175),
    "Email": _text("email", 80),
    "Phone": _text("phone", 40),
    "Url": _text("url", 255),
    "Number": _number("double"),
    "Currency": _number("currency"),
    "Percent": _number("percent"),
    "Date": lambda name, label, _: f.date(name, label),
    "DateTime": lambda name, label, _: f.datetime(name, label),
    "Time": lambda name, label, _: Field(name, "time", label),
    "Checkbox": _flag,
    "Picklist": _picklist("picklist"),
    "MultiselectPicklist": _picklist("multipicklist"),
    "Lookup": _lookup,
    "Hierarchy": _lookup,
    "MasterDetail": _master_detail,
    "AutoNumber": _auto_number,
    "Summary": _summary,
}


def _evaluated(schema: Schema, subject: SObject) -> list[Field]:
    """The object's fields that another object's definition completes: roll-ups take their field's type, formulas
    that only name another field take its value."""
    changed = [_typed_rollup(schema, each) for each in subject.fields if each.rollup and each.rollup.summed]
    trivial = [each for each in subject.fields if each.formula and subject.field(each.formula) is not None]
    for each in trivial:
        source = subject.field(each.formula or "")
        if source is not None and source.stored:
            changed.append(replace(each, expression=f'{{t}}."{source.name}"'))
    return changed


def _typed_rollup(schema: Schema, field: Field) -> Field:
    rollup = field.rollup
    child = schema.get(rollup.child) if rollup else None
    summed = child.field(rollup.summed) if child and rollup and rollup.summed else None
    if summed is None or rollup is None:
        raise ValueError(f"{field.name} sums up a field that is not there")
    return replace(field, type=summed.type, precision=18, scale=summed.scale)


def _with_activities(objects: list[SObject]) -> list[SObject]:
    """Custom objects that allow activities become targets of ``WhatId``."""
    extra = tuple(each.name for each in objects if each.custom and each.activities)
    found: list[SObject] = []
    for each in objects:
        what = each.field("WhatId")
        wider = [replace(what, reference_to=tuple(dict.fromkeys((*what.reference_to, *extra))))] if what else []
        found.append(each.with_fields(wider) if wider else each)
    return found
