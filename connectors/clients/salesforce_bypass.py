"""Asking an org's automation to stand aside: a permission set with a custom permission, assigned to us for a while.

Only automation that asks for the permission stands aside: a validation rule with ``NOT($Permission.Name) && …``, a flow
whose entry condition asks for it, a trigger that calls ``FeatureManagement.checkPermission``. The permission set is
ours, grants nothing else, and is assigned to nobody but the user we are, and only while a run writes.
https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_permissionsetassignment.htm
"""

import re
from collections.abc import Sequence
from typing import Final

from connectors.clients import salesforce_assignments as assignments
from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_package import Component, package, permission_set
from connectors.clients.salesforce_session import SalesforceSession
from connectors.errors import PermissionMissing, SettingsInvalid
from connectors.types import Bypass

_PERMISSION: Final = re.compile(r"(?:(?P<namespace>[A-Za-z][A-Za-z0-9]*)__)?(?P<name>[A-Za-z](?:_?[A-Za-z0-9])*)")
_BY_HAND: Final = (
    "You can make it by hand in Setup: a permission set with the API name {name} that has the custom permission "
    "{permission} and nothing else, assigned to nobody."
)


def bypass(session: SalesforceSession, name: str) -> Bypass | None:
    """As ``Target.bypass``."""
    permission = session.options.bypass_permission
    if not permission:
        return None
    _parts(permission)
    organisation, user = session.connected()
    permission_set_id = assignments.permission_set_id(session, name)
    if not permission_set_id or not _grants(session, permission_set_id, permission):
        raise SettingsInvalid(
            f"The automation bypass is not ready: the org has no permission set {name} with the custom permission "
            f"{permission}. Press “Prepare” on the org's page, or take the permission out of its settings. "
            f"{_BY_HAND.format(name=name, permission=permission)}"
        )
    is_on = assignments.is_assigned(session, permission_set_id, user)
    return Bypass(name, permission, organisation, user, permission_set_id, is_on=is_on)


def switch(session: SalesforceSession, found: Bypass, *, on: bool) -> None:
    """As ``Target.switch_bypass``. After a lost answer the org is asked, so that each call may be repeated."""
    organisation, _ = session.connected()
    if organisation != found.organisation:
        raise SettingsInvalid(
            f"The automation bypass {found.name} was switched on in the organisation {found.organisation}, but these "
            f"credentials lead to {organisation}. Take its assignment away in the other one by hand, or connect "
            "that one again."
        )
    assignments.assign(session, found.grant, found.user, on=on)


def prepare(session: SalesforceSession, name: str) -> tuple[str, ...]:
    """As ``Target.prepare_bypass``."""
    permission = session.options.bypass_permission
    if not permission:
        raise SettingsInvalid("The org's settings name no custom permission that its automation asks for; enter it.")
    namespace, plain = _parts(permission)
    known = _custom_permissions(session, permission)
    if not known and namespace:
        raise SettingsInvalid(
            f"The org has no custom permission {permission}, and one with a namespace comes with its package only. "
            "Correct the name, or install the package."
        )
    permission_set_id = assignments.permission_set_id(session, name)
    if known and permission_set_id and _grants(session, permission_set_id, permission):
        return ()
    made = [] if known else [_permission(plain)]
    grants = {"customPermissions": {"enabled": "true", "name": permission}}
    said = "Assigned by Migration Factory to its own user while a run writes, and taken away after it."
    made.append(permission_set(name, "Migration Factory bypass", said, grants))
    base_url, token = session.access_token()
    from connectors.clients.salesforce_metadata import Metadata  # noqa: PLC0415  - see there

    metadata = Metadata(session.context, base_url, token)
    otherwise = _BY_HAND.format(name=name, permission=permission)
    try:
        metadata.deploy(package(made)).require("the automation bypass", otherwise=otherwise)
    except PermissionMissing as error:
        raise PermissionMissing(f"{error.message} {otherwise}", detail=error.detail) from None
    finally:
        metadata.close()
    told = (
        f"Made the custom permission {permission}. Nothing of the org asks for it yet: have its validation rules, "
        f"flows and triggers look at $Permission.{permission}."
    )
    return (*(() if known else (told,)), f"Made the permission set {name}, which grants {permission}.")


def _permission(name: str) -> Component:
    content = {
        "description": "Whoever has it is let past automation that asks for it.",
        "label": name.replace("_", " "),
    }
    return Component.whole("customPermissions", "customPermission", "CustomPermission", name, content)


def _parts(permission: str) -> tuple[str, str]:
    """Namespace (or blank) and name; raises SettingsInvalid where it is no name of a custom permission."""
    found = _PERMISSION.fullmatch(permission)
    if found is None:
        raise SettingsInvalid(
            f"“{permission[:40]}” is not the API name of a custom permission. Enter it as in $Permission.Name, without "
            "“$Permission.”."
        )
    return found["namespace"] or "", found["name"]


def _grants(session: SalesforceSession, permission_set_id: str, permission: str) -> bool:
    known = _custom_permissions(session, permission)
    wanted = [soql.condition("ParentId", "=", permission_set_id), soql.among("SetupEntityId", known)]
    return bool(known) and bool(assignments.ids(session, "SetupEntityAccess", wanted))


def _custom_permissions(session: SalesforceSession, permission: str) -> Sequence[str]:
    namespace, plain = _parts(permission)
    wanted = [soql.condition("DeveloperName", "=", plain), soql.condition("NamespacePrefix", "=", namespace or None)]
    return assignments.ids(session, "CustomPermission", wanted)
