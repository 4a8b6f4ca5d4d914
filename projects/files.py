"""How files move between two Salesforce orgs: which objects go together, and where their mapping differs from that of
like records.

A version of a file travels under the key ``document:number``, so that the target finds the document its versions made;
a document is found by its latest version and never created; a link is known by the two records it connects. Classic
attachments become files of one version. Pure.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from connectors.types import EntitySchema, FieldInfo
from projects.mapping.specification import (
    Composed,
    Field,
    FieldRule,
    Formula,
    ObjectMapping,
    Reference,
    Rule,
    Template,
    Unresolved,
)

VERSION: Final = "ContentVersion"
DOCUMENT: Final = "ContentDocument"
LINK: Final = "ContentDocumentLink"
ATTACHMENT: Final = "Attachment"
KINDS: Final = frozenset((VERSION, DOCUMENT, LINK, ATTACHMENT))
_COMPANIONS: Final = (DOCUMENT, LINK)
_OF_ATTACHMENTS: Final[Mapping[str, str]] = {
    "Title": "Name",
    "PathOnClient": "Name",
    "VersionData": "Body",
    "FirstPublishLocationId": "ParentId",
}
"""Field of a version → field of an attachment that fills it."""
_SET_BY_THE_ORG: Final = frozenset({"ContentDocumentId", "FirstPublishLocationId"})
"""Fields of a version that say where it belongs; its key and its links say so in the target."""
_LATEST: Final = "LatestPublishedVersionId"
_PARENT: Final = "LinkedEntityId"
_PARENT_TYPE: Final = "LinkedEntityType"


def has_own_key(target: EntitySchema) -> bool:
    """Whether the entity is one of files, whose versions, documents and links find each other by their keys."""
    return target.entity.name in (VERSION, *_COMPANIONS)


def together(entities: Sequence[str], present: Collection[str]) -> list[str]:
    """The entities, and those that files among them cannot do without."""
    wanted = [name for name in _COMPANIONS if name in present] if VERSION in entities else []
    return list(dict.fromkeys([*entities, *wanted]))


def twin_of(name: str, among: Iterable[str]) -> str | None:
    """What an entity of files becomes in the target where that is not the entity of its name."""
    return VERSION if name == ATTACHMENT and VERSION in set(among) else None


def in_terms_of(source: EntitySchema, target: EntitySchema) -> EntitySchema:
    """The source's schema with the target's names for fields that mean the same."""
    if (source.entity.name, target.entity.name) != (ATTACHMENT, VERSION):
        return source
    own = {info.name: info for info in source.fields}
    renamed = [replace(own[old], name=new) for new, old in _OF_ATTACHMENTS.items() if old in own]
    others = [info for info in source.fields if info.name not in set(_OF_ATTACHMENTS.values())]
    return replace(source, fields=(*others, *renamed))


def finished(mapping: ObjectMapping, source: EntitySchema, moved: Collection[str]) -> ObjectMapping:
    """The mapping derived from like schemas as the objects of files need it; any other as it came. ``moved`` are the
    source entities that move along."""
    match mapping.source_entity:
        case "ContentVersion":
            return _of_versions(mapping)
        case "ContentDocument":
            return _of_documents(mapping)
        case "ContentDocumentLink":
            return _of_links(mapping, source, moved)
        case "Attachment" if mapping.target_entity == VERSION:
            rules = tuple(_from_attachment(rule) for rule in mapping.to_target)
            # A file without its parent would lie where nobody looks for it.
            waits = {rule.target: Unresolved.WAIT for rule in rules if rule.target == "FirstPublishLocationId"}
            return replace(mapping, to_target=rules, unresolved={**mapping.unresolved, **waits})
        case _:
            return mapping


def _of_versions(mapping: ObjectMapping) -> ObjectMapping:
    kept = tuple(rule for rule in mapping.to_target if rule.target not in {mapping.key, *_SET_BY_THE_ORG})
    key = FieldRule(mapping.key, Template("{ContentDocumentId}:{VersionNumber}"))
    return replace(mapping, to_target=(key, *kept))


def _of_documents(mapping: ObjectMapping) -> ObjectMapping:
    latest = Reference(Field(_LATEST), (VERSION,), unresolved=Unresolved.WAIT)
    return replace(
        mapping, to_target=(FieldRule(mapping.key, Field(mapping.identity)), FieldRule(_LATEST, latest))
    )  # fmt: skip


def _of_links(mapping: ObjectMapping, source: EntitySchema, moved: Collection[str]) -> ObjectMapping:
    linked = next((info for info in source.fields if info.name == _PARENT), FieldInfo(_PARENT))
    parents = tuple(name for name in linked.references if name in moved)
    kept = [rule for rule in mapping.to_target if rule.target not in {mapping.key, _PARENT}]
    rules = (
        FieldRule(mapping.key, Composed(("ContentDocumentId", _PARENT))),
        *([FieldRule(_PARENT, Reference(Field(_PARENT), parents, unresolved=Unresolved.WAIT))] if parents else []),
        *kept,
    )
    named = ", ".join(f"'{name}'" for name in parents) or "''"
    return replace(mapping, to_target=rules, where=Formula(f"{_PARENT_TYPE} IN ({named})"))


def _from_attachment(rule: FieldRule) -> FieldRule:
    return replace(rule, rule=_renamed(rule.rule))


def _renamed(rule: Rule) -> Rule:
    match rule:
        case Field(name):
            return Field(_OF_ATTACHMENTS.get(name, name))
        case Reference(of):
            return replace(rule, of=_renamed(of))
        case _:
            return rule
