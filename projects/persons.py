"""How person accounts move between two Salesforce orgs: the account brings its contact, and the contact its key.

The contact of a person is made with the account and can be written in no other way. Its external id is a field of the
account, too (``External_Id__pc``): filled with the source's contact id there, the contact is found under its key when
contacts are loaded, and whatever points at it finds it. Pure.
"""

from dataclasses import replace
from typing import Final

from connectors.types import EntitySchema
from projects.mapping.specification import Field, FieldRule, ObjectMapping, Unresolved
from projects.twins import bare

_FLAG: Final = "IsPersonAccount"
_CONTACT: Final = "PersonContactId"


def finished(
    mapping: ObjectMapping, source: EntitySchema, target: EntitySchema, *, keys: tuple[str, ...]
) -> ObjectMapping:
    """The mapping derived from like schemas as person accounts need it; any other as it came. ``keys`` are the names by
    which orgs know our external id, the likeliest first."""
    if _FLAG not in source.names:
        return mapping
    match mapping.source_entity:
        case "Account":
            key = _contact_key(target, keys)
            rules = tuple(rule for rule in mapping.to_target if rule.target != key)
            brought = (FieldRule(key, Field(_CONTACT)),) if key and _CONTACT in source.names else ()
            return replace(mapping, to_target=(*rules, *brought))
        case "Contact" if any(rule.target == "AccountId" for rule in mapping.to_target):
            # A person's contact whose account was refused must not be made as somebody's contact.
            return replace(mapping, unresolved={**mapping.unresolved, "AccountId": Unresolved.WAIT})
        case _:
            return mapping


def come_along(target: EntitySchema) -> bool:
    """Whether records of the entity may be halves of a person account, which find each other by their keys."""
    return _FLAG in target.names and target.entity.name in ("Account", "Contact")


def _contact_key(account: EntitySchema, keys: tuple[str, ...]) -> str:
    """The account's field that is its contact's external id; blank where it has none."""
    known = {bare(name) for name in keys}
    mirrored = [info.name for info in account.fields if info.writable and info.name.endswith("__pc")]
    return next((name for name in mirrored if bare(f"{name.removesuffix('__pc')}__c") in known), "")
