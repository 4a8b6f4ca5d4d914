"""An external id field of ours on an object that has none: made on request, with access for the user we are.

https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta/customfield.htm
A field that was deployed is hidden from everybody, administrators too, until a permission set or a profile shows it.
"""

from typing import Final

from connectors.clients import salesforce_assignments as assignments
from connectors.clients import salesforce_schema
from connectors.clients.salesforce_package import Component, Content, package, permission_set
from connectors.clients.salesforce_session import SalesforceSession
from connectors.errors import ConnectorError, PermissionMissing, SettingsInvalid, Unavailable

FIELD: Final = "Migration_Factory_Id__c"
LENGTH: Final = 255  # the most a unique text may have
_WAITS: Final = (1.0, 2.0, 5.0, 10.0, 15.0)  # seconds; a new field takes some until it is described
_BY_HAND: Final = (
    "You can make it by hand: a text field of {entity} with the API name {field}, length {length}, “External ID”, "
    "“Unique” and case sensitive, which the connecting user may edit."
)


def make(session: SalesforceSession, entity: str) -> tuple[str, ...]:
    """As ``Target.make_key``."""
    if _is_there(session, entity):
        return ()
    otherwise = _BY_HAND.format(entity=entity, field=FIELD, length=LENGTH)
    name = _permission_set(entity)
    base_url, token = session.access_token()
    from connectors.clients.salesforce_metadata import Metadata  # noqa: PLC0415  - see there

    metadata = Metadata(session.context, base_url, token)
    try:
        metadata.deploy(package([_field(entity), _access(entity, name)])).require("the field", otherwise=otherwise)
    except PermissionMissing as error:
        raise PermissionMissing(f"{error.message} {otherwise}", detail=error.detail) from None
    finally:
        metadata.close()
    _, user = session.connected()
    try:
        assignments.assign(session, assignments.permission_set_id(session, name), user, on=True)
    except ConnectorError as error:
        raise type(error)(
            f"The field {entity}.{FIELD} was made, but the connecting user cannot see it yet: {error.message} Then ask "
            f"for it again, or assign the permission set {name} to that user by hand.",
            detail=error.detail,
        ) from error
    for wait in _WAITS:
        if _is_there(session, entity):
            return (
                f"Made the field {FIELD} of {entity} (text, unique, external id).",
                f"Made the permission set {name}, which lets the connecting user fill it.",
            )
        session.clock.sleep(wait)
    raise Unavailable(
        f"The field {entity}.{FIELD} was made, but Salesforce does not show it yet. Ask again in a few minutes."
    )


def _is_there(session: SalesforceSession, entity: str) -> bool:
    """Raises SettingsInvalid where there is a field of that name which cannot carry our id."""
    described = salesforce_schema.describe(session, entity)
    found = next((info for info in described.schema.fields if info.name == FIELD), None)
    if found is None:
        return False
    if not (found.external_id and found.unique):
        raise SettingsInvalid(
            f"{entity} has a field {FIELD} that is not a unique external id. Make it one in the org's Setup, or delete "
            "it there, then ask again."
        )
    return found.name in described.createable


def _permission_set(entity: str) -> str:
    """A name of its own for each object: a deployment replaces all that a permission set grants."""
    return f"Migration_Factory_Id_{entity.removesuffix('__c').replace('__', '_')}"[:80].rstrip("_")


def _field(entity: str) -> Component:
    field: Content = {
        "fullName": FIELD,
        "caseSensitive": "true",
        "description": "Where Migration Factory finds its records again. Delete it when the move is over.",
        "externalId": "true",
        "label": "Migration Factory Id",
        "length": str(LENGTH),
        "type": "Text",
        "unique": "true",
    }
    return Component(f"objects/{entity}.object", "CustomObject", {"fields": field}, "CustomField", f"{entity}.{FIELD}")


def _access(entity: str, name: str) -> Component:
    grants: Content = {"fieldPermissions": {"editable": "true", "field": f"{entity}.{FIELD}", "readable": "true"}}
    return permission_set(name, f"Migration Factory id of {entity}"[:80], "Lets our user fill the id.", grants)
