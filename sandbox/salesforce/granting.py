"""What permission sets give the org's user while they are assigned: custom permissions, and access to fields.

https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_permissionset.htm
A field that was deployed is hidden from everybody until a permission set grants it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox.salesforce import records
from sandbox.salesforce.automation import Automation
from sandbox.salesforce.definitions import Definitions
from sandbox.salesforce.errors import ApiError

ASSIGNMENT: Final = "PermissionSetAssignment"
_ASSIGNED: Final = """
    SELECT p."Name" FROM "PermissionSet" p JOIN "PermissionSetAssignment" a ON a."PermissionSetId" = p."Id"
     WHERE a."AssigneeId" = ? AND a."IsDeleted" = 0 AND p."IsDeleted" = 0"""


@dataclass
class Grants:
    """``access`` is by permission set and field (``Object.Field``); ``deployed`` are the fields nobody sees by
    themselves."""

    definitions: Definitions
    access: dict[str, Mapping[str, str]] = field(default_factory=dict)
    permissions: dict[str, frozenset[str]] = field(default_factory=dict)
    deployed: set[str] = field(default_factory=set)

    @property
    def automation(self) -> Automation:
        return self.definitions.automation

    def give(self, name: str, content: Mapping[str, Any]) -> None:
        """What a permission set grants from now on, in place of what it granted before. Raises ValueError."""
        self.permissions[name] = frozenset(
            str(each["name"]) for each in entries(content, "customPermissions") if each.get("enabled") == "true"
        )
        self.access[name] = dict(self._fields(content))
        self._storeentries(name)
        self.refresh()

    def forget(self, name: str) -> None:
        self.permissions.pop(name, None)
        self.access.pop(name, None)
        self.refresh()

    def add_permission(self, name: str, label: str) -> None:
        """A custom permission of that developer name, where there is none."""
        subject = self.definitions.store.schema.require("CustomPermission")
        if not self._id_of("CustomPermission", "DeveloperName", name):
            row = {"DeveloperName": name, "MasterLabel": label}
            records.insert(self.definitions.store, subject, [row], self.definitions.org.user_id)

    def refresh(self) -> None:
        """Make the user's rights those of the permission sets assigned now."""
        held = self._assigned()
        granted = [self.permissions.get(name, frozenset()) for name in held]
        self.automation.granted = frozenset[str]().union(*granted)
        before = dict(self.definitions.access)
        for path in self.deployed:
            given = {self.access.get(name, {}).get(path, "none") for name in held}
            subject, _, name = path.partition(".")
            best = next((access for access in ("edit", "read") if access in given), "none")
            self.definitions.access[subject, name] = best
        if self.definitions.access != before:
            self.definitions.apply()

    def check_assignment(self, body: Mapping[str, Any]) -> None:
        """Raises ApiError where the user may not assign, or the assignment is there already."""
        self.check_right()
        store = self.definitions.store
        sql = (
            'SELECT "Id" FROM "PermissionSetAssignment" '
            'WHERE "AssigneeId" = ? AND "PermissionSetId" = ? AND "IsDeleted" = 0'
        )
        with store.read() as connection:
            found = connection.execute(sql, (body.get("AssigneeId"), body.get("PermissionSetId"))).fetchone()
        if found is not None:
            message = f"duplicate value found: AssigneeId duplicates value on record with id: {found[0][:15]}"
            raise ApiError(400, "DUPLICATE_VALUE", message)

    def check_right(self) -> None:
        """Raises ApiError where the user may not assign permission sets."""
        if not self.definitions.org.settings.assign_permissions:
            code = "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"
            raise ApiError(400, code, "insufficient access rights on cross-reference id")

    def is_assigned(self, name: str) -> bool:
        """Whether the user has the permission set now."""
        return name in self._assigned()

    def _assigned(self) -> list[str]:
        with self.definitions.store.read() as connection:
            rows = connection.execute(_ASSIGNED, (self.definitions.org.user_id,)).fetchall()
        return [str(name) for (name,) in rows]

    def _fields(self, content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for entry in entries(content, "fieldPermissions"):
            subject, _, name = str(entry.get("field")).partition(".")
            known = self.definitions.whole.get(subject)
            if known is None or known.field(name) is None:
                raise ValueError(f"no CustomField named {subject}.{name} found")
            readable, editable = entry.get("readable") == "true", entry.get("editable") == "true"
            yield f"{subject}.{name}", "edit" if editable else "read" if readable else "none"

    def _storeentries(self, name: str) -> None:
        """The rows of SetupEntityAccess that say which custom permissions the set has."""
        store, user = self.definitions.store, self.definitions.org.user_id
        parent, subject = self._id_of("PermissionSet", "Name", name), store.schema.require("SetupEntityAccess")
        with store.write() as connection:
            connection.execute('DELETE FROM "SetupEntityAccess" WHERE "ParentId" = ?', (parent,))
        for each in sorted(self.permissions[name]):
            permission = self._id_of("CustomPermission", "DeveloperName", each)
            if not permission:
                raise ValueError(f"no CustomPermission named {each} found")
            row = {"ParentId": parent, "SetupEntityId": permission, "SetupEntityType": "CustomPermission"}
            records.insert(store, subject, [row], user)

    def _id_of(self, subject: str, column: str, value: str) -> str:
        sql = f'SELECT "Id" FROM "{subject}" WHERE "{column}" = ? AND "IsDeleted" = 0'  # noqa: S608 - schema names
        with self.definitions.store.read() as connection:
            found = connection.execute(sql, (value,)).fetchone()
        return str(found[0]) if found else ""


def entries(content: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = content.get(name) or []
    return found if isinstance(found, list) else [found]
