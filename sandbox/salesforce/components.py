"""Metadata components an org holds: external client apps with their satellites, connected apps, permission sets.

Types and fields: https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta/meta_types_list.htm
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox.salesforce import records
from sandbox.salesforce.apps import App
from sandbox.salesforce.granting import Grants
from sandbox.salesforce.metadata import Node, field_of
from sandbox.salesforce.org import Org
from sandbox.salesforce.store import Store

Content = Mapping[str, Any]
"""Elements by name; a repeated one is a list, a nested one a mapping."""

APP: Final = "ExternalClientApplication"
OAUTH: Final = "ExtlClntAppOauthSettings"
GLOBAL: Final = "ExtlClntAppGlobalOauthSettings"
OAUTH_POLICY: Final = "ExtlClntAppOauthConfigurablePolicies"
POLICY: Final = "ExtlClntAppConfigurablePolicies"
CONNECTED: Final = "ConnectedApp"
PERMISSION_SET: Final = "PermissionSet"
CUSTOM_PERMISSION: Final = "CustomPermission"
CUSTOM_OBJECT: Final = "CustomObject"
CUSTOM_FIELD: Final = "CustomField"

FOLDERS: Final[Mapping[str, tuple[str, str]]] = {
    CUSTOM_PERMISSION: ("customPermissions", ".customPermission"),
    CUSTOM_OBJECT: ("objects", ".object"),
    PERMISSION_SET: ("permissionsets", ".permissionset"),
    APP: ("externalClientApps", ".eca"),
    OAUTH: ("extlClntAppOauthSettings", ".ecaOauth"),
    GLOBAL: ("extlClntAppGlobalOauthSets", ".ecaGlblOauth"),
    OAUTH_POLICY: ("extlClntAppOauthPolicies", ".ecaOauthPlcy"),
    POLICY: ("extlClntAppPolicies", ".ecaPlcy"),
    CONNECTED: ("connectedApps", ".connectedApp"),
}
"""Type → folder and suffix of its files in a package, in the order in which a deployment takes them."""

_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    APP: ("label", "contactEmail", "distributionState"),
    OAUTH: ("label", "externalClientApplication", "commaSeparatedOauthScopes"),
    GLOBAL: ("label", "externalClientApplication", "callbackUrl"),
    OAUTH_POLICY: ("label", "externalClientApplication", "permittedUsersPolicyType"),
    POLICY: ("label", "externalClientApplication", "isEnabled"),
    CONNECTED: ("label", "contactEmail"),
    PERMISSION_SET: ("label",),
    CUSTOM_PERMISSION: ("label",),
    CUSTOM_OBJECT: (),
    CUSTOM_FIELD: ("label", "type"),
}
_SCOPES: Final[Mapping[str, str]] = {"Api": "api", "RefreshToken": "refresh_token", "Web": "web", "Full": "full"}


class ComponentRefused(Exception):
    """Why a component cannot be as it was sent: the vendor's status code and sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass
class Components:
    """The components by type and full name. What they mean for logging in is kept in ``org.apps``."""

    org: Org
    store: Store
    grants: Grants
    _held: dict[tuple[str, str], Content] = field(default_factory=dict)

    def get(self, kind: str, name: str) -> Content | None:
        return self._held.get((kind, name))

    def names(self, kind: str) -> list[str]:
        return sorted(name for held, name in self._held if held == kind)

    def put(self, kind: str, name: str, content: Content, *, fresh: bool = False) -> bool:
        """Create or replace; true where it was not there. ``fresh`` refuses what is there. Raises ComponentRefused."""
        if not self.org.settings.setup_access:
            raise ComponentRefused("INSUFFICIENT_ACCESS", "insufficient access rights on cross-reference id")
        if kind == CUSTOM_OBJECT:
            made = [self.put(CUSTOM_FIELD, f"{name}.{each.get('fullName')}", each) for each in _fields(content)]
            return True in made
        is_new = (kind, name) not in self._held and not (kind == CUSTOM_FIELD and self._has_field(name))
        if fresh and not is_new:
            raise ComponentRefused("DUPLICATE_DEVELOPER_NAME", f"The name {name} is already used.")
        self._check(kind, name, content, is_new=is_new)
        self._held[kind, name] = content
        if kind == PERMISSION_SET:
            self._store_permission_set(name, content, is_new=is_new)
        if kind == CUSTOM_PERMISSION:
            self.grants.add_permission(name, str(content["label"]))
        if kind == CUSTOM_FIELD:
            self._store_field(name, content, is_new=is_new)
        self._publish(_app_of(kind, name, content))
        return is_new

    def remove(self, kind: str, name: str) -> None:
        """Raises ComponentRefused where there is no such component. An app takes its satellites along."""
        if kind == PERMISSION_SET and self.grants.is_assigned(name):
            message = f"This permission set is assigned to users, so it cannot be deleted: {name}"
            raise ComponentRefused("DELETE_FAILED", message)
        content = self._held.pop((kind, name), None)
        if content is None:
            raise ComponentRefused("INVALID_CROSS_REFERENCE_KEY", f"No {kind} named: {name} found")
        if kind == PERMISSION_SET:
            subject = self.store.schema.require("PermissionSet")
            records.delete(self.store, subject, self._permission_set_ids([name]))
            self.grants.forget(name)
        if kind == APP:
            satellites = [key for key, held in self._held.items() if held.get("externalClientApplication") == name]
            for key in satellites:
                del self._held[key]
        self._publish(_app_of(kind, name, content))

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """Take everything back where the block raises."""
        before = dict(self._held)
        definitions, deployed = self.grants.definitions, set(self.grants.deployed)
        whole, access = definitions.whole, dict(definitions.access)
        given, permitted = dict(self.grants.access), dict(self.grants.permissions)
        try:
            with self.store.write():
                yield
        except BaseException:
            touched = {_app_of(kind, name, content) for (kind, name), content in [*self._held.items(), *before.items()]}
            self._held = before
            self.grants.deployed, self.grants.access, self.grants.permissions = deployed, given, permitted
            definitions.whole, definitions.access = whole, access
            definitions.apply()
            self.grants.refresh()
            for app in touched:
                self._publish(app)
            raise

    def _check(self, kind: str, name: str, content: Content, *, is_new: bool) -> None:
        if kind not in _REQUIRED:
            raise ComponentRefused("INVALID_TYPE", f"Unknown type: {kind}")
        missing = [each for each in _REQUIRED[kind] if not content.get(each)]
        if missing:
            raise ComponentRefused("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]")
        if kind == CONNECTED and is_new and not self.org.settings.connected_apps:
            raise ComponentRefused(
                "INSUFFICIENT_ACCESS",
                "You can’t create a connected app. To enable connected app creation, contact Salesforce Customer "
                "Support.",
            )
        parent = content.get("externalClientApplication")
        if parent is not None and self.get(APP, parent) is None:
            raise ComponentRefused("INVALID_CROSS_REFERENCE_KEY", f"no ExternalClientApplication named {parent} found")
        self._check_key(kind, name, content)

    def _check_key(self, kind: str, name: str, content: Content) -> None:
        key = _key(kind, content)
        holder = self.org.apps.get(key) if key else None
        if holder is not None and holder.name != _app_of(kind, name, content):
            raise ComponentRefused("DUPLICATE_VALUE", "This consumer key is already taken.")
        before = self.get(kind, name)
        if before is not None and _key(kind, before) and key != _key(kind, before):
            raise ComponentRefused("INVALID_INPUT", "The consumer key of an app cannot be changed.")

    def _publish(self, name: str) -> None:
        """Make the app known as its components now say, or forget it."""
        if not name:
            return
        made = self._connected(name) or self._external(name)
        known = self.org.apps.named(name)
        if made is None:
            self.org.apps.remove(name)
        else:
            young = known.young if known else self.org.settings.app_delay
            self.org.apps.put(App(**made, young=young))

    def _external(self, name: str) -> dict[str, Any] | None:
        satellites = {
            kind: content
            for (kind, _), content in self._held.items()
            if content.get("externalClientApplication") == name
        }
        shared = satellites.get(GLOBAL)
        if self.get(APP, name) is None or shared is None or not shared.get("consumerKey"):
            return None
        policy, switch = satellites.get(OAUTH_POLICY, {}), satellites.get(POLICY, {})
        scopes = satellites.get(OAUTH, {}).get("commaSeparatedOauthScopes", "")
        return {
            "key": shared["consumerKey"],
            "name": name,
            "secret": shared.get("consumerSecret", ""),
            "runs_as": self._runs_as(shared, "isClientCredentialsFlowEnabled", policy.get("clientCredentialsFlowUser")),
            "callbacks": tuple(str(shared["callbackUrl"]).split()),
            "certificate": shared.get("certificate", ""),
            "needs_pkce": _flag(shared, "isPkceRequired"),
            "secret_optional": _flag(shared, "isConsumerSecretOptional"),
            "rotates": _flag(shared, "isRefreshTokenRotationEnabled"),
            "preauthorised": policy.get("permittedUsersPolicyType") == "AdminApprovedPreAuthorized",
            "permission_sets": frozenset(self._permission_set_ids(_listed(policy.get("commaSeparatedPermissionSet")))),
            "profiles": frozenset(_listed(policy.get("commaSeparatedProfile"))),
            "scopes": tuple(_SCOPES.get(each, each.lower()) for each in _listed(scopes)),
            "enabled": not switch or (_flag(switch, "isEnabled") and _flag(switch, "isOauthPluginEnabled")),
        }

    def _connected(self, name: str) -> dict[str, Any] | None:
        content = self.get(CONNECTED, name)
        config = content.get("oauthConfig") if content else None
        if content is None or not isinstance(config, Mapping) or not config.get("consumerKey"):
            return None
        scopes = config.get("scopes", [])
        return {
            "key": config["consumerKey"],
            "name": name,
            "secret": config.get("consumerSecret", ""),
            "callbacks": tuple(str(config.get("callbackUrl", "")).split()),
            "certificate": config.get("certificate", ""),
            "needs_pkce": _flag(config, "isPkceRequired"),
            "runs_as": self._runs_as(config, "isClientCredentialEnabled", config.get("oauthClientCredentialUser")),
            "rotates": _flag(config, "isRefreshTokenRotationEnabled"),
            "secret_optional": _flag(config, "isSecretRequiredForRefreshToken", absent=True) is False,
            "preauthorised": _flag(config, "isAdminApproved"),
            "permission_sets": frozenset(self._permission_set_ids(_several(content.get("permissionSetName")))),
            "profiles": frozenset(_several(content.get("profileName"))),
            "scopes": tuple(_SCOPES.get(each, each.lower()) for each in _several(scopes)),
        }

    def _runs_as(self, content: Content, switch: str, username: Any) -> str:
        """The id of the user of the client credentials flow; blank where it is off."""
        if not _flag(content, switch) or not username:
            return ""
        with self.store.read() as connection:
            sql = 'SELECT "Id" FROM "User" WHERE lower("Username") = lower(?)'
            found = connection.execute(sql, (str(username),)).fetchone()
        return str(found[0]) if found else ""

    def _permission_set_ids(self, named: Sequence[str]) -> list[str]:
        """The ids of permission sets given by id or by name."""
        with self.store.read() as connection:
            rows = connection.execute('SELECT "Id", "Name" FROM "PermissionSet" WHERE "IsDeleted" = 0').fetchall()
        return [key for key, name in rows if key in named or key[:15] in named or name in named]

    def _store_permission_set(self, name: str, content: Content, *, is_new: bool) -> None:
        subject = self.store.schema.require("PermissionSet")
        values = {"Name": name, "Label": content["label"], "Description": content.get("description")}
        if is_new:
            records.insert(self.store, subject, [values], self.org.user_id)
        for key in [] if is_new else self._permission_set_ids([name]):
            records.update(self.store, subject, key, values, self.org.user_id)
        try:
            self.grants.give(name, content)
        except ValueError as wrong:
            raise ComponentRefused("INVALID_CROSS_REFERENCE_KEY", str(wrong)) from wrong

    def _has_field(self, path: str) -> bool:
        subject, _, name = path.partition(".")
        known = self.grants.definitions.whole.get(subject)
        return known is not None and known.field(name) is not None

    def _store_field(self, path: str, content: Content, *, is_new: bool) -> None:
        """A field of an object; one that is there takes the new definition. Nobody sees a new one by itself."""
        subject, _, name = path.partition(".")
        definitions = self.grants.definitions
        if definitions.whole.get(subject) is None:
            raise ComponentRefused("INVALID_CROSS_REFERENCE_KEY", f"no CustomObject named {subject} found")
        if not name.endswith("__c"):
            raise ComponentRefused("INVALID_FULL_NAME", f"{name}: a custom field's name ends in __c")
        before = definitions.whole.require(subject).field(name)
        made = field_of(Node.of({**content, "fullName": name}), path)
        if before is not None and before.type != made.type:
            raise ComponentRefused("FIELD_INTEGRITY_EXCEPTION", f"Cannot change type of {path} from {before.type}.")
        definitions.define({"fullName": subject, "fields": [{**content, "fullName": name}]})
        if is_new:
            self.grants.deployed.add(path)
            self.grants.refresh()


def _app_of(kind: str, name: str, content: Content) -> str:
    """The app a component belongs to, blank for one that belongs to none."""
    if kind in (APP, CONNECTED):
        return name
    return str(content.get("externalClientApplication", ""))


def _key(kind: str, content: Content) -> str:
    config = content.get("oauthConfig") if kind == CONNECTED else content
    return str(config.get("consumerKey") or "") if isinstance(config, Mapping) else ""


def _fields(content: Content) -> list[Content]:
    found = content.get("fields") or []
    return found if isinstance(found, list) else [found]


def _flag(content: Content, name: str, *, absent: bool = False) -> bool:
    return content[name] == "true" if name in content else absent


def _listed(text: Any) -> list[str]:
    return [each.strip() for each in str(text or "").split(",") if each.strip()]


def _several(value: Any) -> list[str]:
    return [str(each) for each in (value if isinstance(value, list) else [value] if value else [])]
