"""Whose session it is, and what that user may: objects, fields and custom permissions, by profile and permission sets.

An administrator may everything, and sees what the org's own administrator sees. A standard user may read and write all
records and fields but no set-up; an integration user starts with nothing. Permission sets add objects and fields.
https://developer.salesforce.com/docs/atlas.en-us.securityImplGuide.meta/securityImplGuide/security_data_access.htm
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sandbox.salesforce.definitions import Definitions
from sandbox.salesforce.granting import Grants, entries
from sandbox.salesforce.schema import Field, Schema, SObject

ADMINISTRATOR: Final = "System Administrator"
INTEGRATION: Final = "Minimum Access - API Only Integrations"
ALL: Final = frozenset({"read", "create", "edit", "delete"})
READ: Final = frozenset({"read"})
SETUP: Final = frozenset(
    {
        "CustomPermission", "Group", "Organization", "PermissionSet", "PermissionSetAssignment", "Profile",
        "QueueSobject", "RecordType", "SetupEntityAccess", "User", "UserRole",
    }
)  # fmt: skip
_OBJECT_RIGHTS: Final = {"allowRead": "read", "allowCreate": "create", "allowEdit": "edit", "allowDelete": "delete"}
_EVERY_OBJECT: Final = {"ViewAllData": READ, "ModifyAllData": ALL}
_RANK: Final = ("none", "read", "edit")
_USER: Final = """
    SELECT u."IsActive", p."Name" FROM "User" u LEFT JOIN "Profile" p ON p."Id" = u."ProfileId" WHERE u."Id" = ?"""
_SETS: Final = """
    SELECT DISTINCT p."Name" FROM "PermissionSet" p JOIN "PermissionSetAssignment" a ON a."PermissionSetId" = p."Id"
     WHERE a."AssigneeId" = ? AND a."IsDeleted" = 0 AND p."IsDeleted" = 0 ORDER BY 1"""


@dataclass(frozen=True, slots=True)
class User:
    """A user as a request finds them; ``sets`` are the names of their permission sets."""

    id: str
    profile: str
    sets: tuple[str, ...]

    @property
    def administers(self) -> bool:
        return self.profile == ADMINISTRATOR


@dataclass(frozen=True, slots=True)
class _View:
    """What a user sees, of which state of the org, and since when."""

    state: object
    schema: Schema
    since: datetime


@dataclass
class Rights:
    """``content`` gives a permission set by name, as it was deployed."""

    definitions: Definitions
    grants: Grants
    content: Callable[[str], Mapping[str, Any] | None]
    _views: dict[str, _View] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def user(self, user_id: str) -> User | None:
        """None where there is no such user, or none who may still come in."""
        with self.definitions.store.read() as connection:
            found = connection.execute(_USER, (user_id,)).fetchone()
            if found is None or not found[0]:
                return None
            sets = connection.execute(_SETS, (user_id,)).fetchall()
        return User(user_id, str(found[1]), tuple(str(name) for (name,) in sets))

    def seen_by(self, user: User) -> tuple[Schema, datetime]:
        """The schema as the user sees it, and when it last changed for them."""
        definitions, contents = self.definitions, self._contents(user)
        state = (
            user, contents, definitions.whole, dict(definitions.access), dict(definitions.profiles),
            frozenset(self.grants.deployed), definitions.org.settings.audit_fields,
        )  # fmt: skip
        with self._lock:
            known = self._views.get(user.id)
            if known is None or known.state != state:
                seen = (self._object(each, user, contents) for each in definitions.whole)
                since = max(datetime.now(UTC).replace(microsecond=0), definitions.store.schema_changed)
                if known is not None:
                    # The platform tells whole seconds; two changes in one must still be told apart.
                    since = max(since, known.since + timedelta(seconds=1))
                known = _View(state, Schema(each for each in seen if each is not None), since)
                self._views[user.id] = known
        return known.schema, known.since

    def permissions(self, user: User) -> frozenset[str]:
        """The custom permissions the user's permission sets give."""
        return frozenset[str]().union(*(self.grants.permissions.get(name, ()) for name in user.sets))

    def has(self, user: User, *names: str) -> bool:
        """Whether the user has one of these user permissions (``ModifyAllData``)."""
        return user.administers or not self._user_permissions(self._contents(user)).isdisjoint(names)

    def _contents(self, user: User) -> list[Mapping[str, Any]]:
        return [content for name in user.sets if (content := self.content(name)) is not None]

    def _user_permissions(self, contents: list[Mapping[str, Any]]) -> set[str]:
        given = (each for content in contents for each in entries(content, "userPermissions"))
        return {str(each.get("name")) for each in given if each.get("enabled") == "true"}

    def _object(self, subject: SObject, user: User, contents: list[Mapping[str, Any]]) -> SObject | None:
        allowed = self._allowed(subject, user, contents)
        if "read" not in allowed:
            return None
        seen = self.definitions.seen(subject, lambda each: self._access(subject, each, user, contents))
        return replace(
            seen,
            createable=seen.createable and "create" in allowed,
            changeable=seen.may_change and "edit" in allowed,
            deletable=seen.deletable and "delete" in allowed,
        )

    def _allowed(self, subject: SObject, user: User, contents: list[Mapping[str, Any]]) -> frozenset[str]:
        if user.administers:
            return ALL
        if subject.name in SETUP:
            return ALL if "ManageUsers" in self._user_permissions(contents) else READ
        if user.profile != INTEGRATION:
            return ALL
        allowed = {right for name in self._user_permissions(contents) for right in _EVERY_OBJECT.get(name, ())}
        for content in contents:
            for each in entries(content, "objectPermissions"):
                if each.get("object") == subject.name:
                    allowed |= {right for name, right in _OBJECT_RIGHTS.items() if each.get(name) == "true"}
        return frozenset(allowed)

    def _access(self, subject: SObject, each: Field, user: User, contents: list[Mapping[str, Any]]) -> str:
        """``none``, ``read`` or ``edit``: what the profile gives, or a permission set where it gives more."""
        if not each.permissionable:
            return "edit"
        path = f"{subject.name}.{each.name}"
        capped = self.definitions.access.get((subject.name, each.name), "edit")
        if path in self.grants.deployed:
            capped, base = "edit", "none"
        else:
            base = "none" if user.profile == INTEGRATION else "edit"
        base = self.definitions.profiles.get((user.profile, subject.name, each.name), base)
        asked = {path, f"{subject.name}.{each.compound}"}
        granted = [
            _granted(entry)
            for content in contents
            for entry in entries(content, "fieldPermissions")
            if entry.get("field") in asked
        ]
        return min(max([base, *granted], key=_RANK.index), capped, key=_RANK.index)


def _granted(entry: Mapping[str, Any]) -> str:
    if entry.get("editable") == "true":
        return "edit"
    return "read" if entry.get("readable") == "true" else "none"
