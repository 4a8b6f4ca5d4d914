"""What an org's administrator changes while it runs: objects, fields, record types, rules, and who may see a field."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sandbox.salesforce import fields as f
from sandbox.salesforce import records
from sandbox.salesforce.automation import EVENTS, Automation, rule
from sandbox.salesforce.formula import Unsupported
from sandbox.salesforce.metadata import Node, custom_object, field_of, finished, read_node
from sandbox.salesforce.org import Org
from sandbox.salesforce.schema import Field, RecordType, Schema, SObject
from sandbox.salesforce.store import Store

ACCESS = ("none", "read", "edit")
_AUDITED = frozenset(
    (
        "Account", "Attachment", "CampaignMember", "Case", "CaseComment", "Contact", "ContentVersion", "Contract",
        "EmailMessage", "Event", "Lead", "Opportunity", "Quote", "Task", "WorkOrder",
    )
)  # fmt: skip


@dataclass
class Definitions:
    """The whole schema of an org; the store's is what its administrator sees of it, and ``rights`` says what others do.
    ``access`` is by object and field, for everybody; ``profiles`` by profile, object and field."""

    store: Store
    org: Org
    automation: Automation
    whole: Schema = field(init=False)
    access: dict[tuple[str, str], str] = field(default_factory=dict)
    profiles: dict[tuple[str, str, str], str] = field(default_factory=dict)
    skipped_rules: dict[str, str] = field(default_factory=dict)
    """Validation rules of a data set that this sandbox does not understand, with the reason."""

    def __post_init__(self) -> None:
        self.whole = self.store.schema

    def define(self, given: Mapping[str, object]) -> str:
        """Add an object, or fields, record types and rules to one that is there; returns its name.

        ``given`` has the vendor's metadata names: fullName, label, nameField, fields, recordTypes, validationRules.
        Raises ValueError saying what is wrong.
        """
        node = Node.of(given)
        name = node.text("fullName")
        base = self.whole.get(name)
        if base is None and not name.endswith("__c"):
            raise ValueError(f"{name or '(no fullName)'} is no standard object here, and a custom one ends in __c")
        subject = base or custom_object(node, name, self.whole)
        added = [field_of(each, each.text("fullName")) for each in node.all("fields")]
        self.put(subject.with_fields(added))
        self._add_record_types(subject.name, node.all("recordTypes"))
        for each in node.all("validationRules"):
            self._add_rule(subject.name, each)
        return subject.name

    def read_folder(self, folder: Path) -> None:
        """Record types and validation rules from metadata files; the objects themselves are there already."""
        for path in sorted(each for each in folder.iterdir() if each.is_dir()):
            self._add_record_types(path.name, [read_node(each) for each in sorted(path.rglob("*.recordType-meta.xml"))])
            for each in sorted(path.rglob("*.validationRule-meta.xml")):
                try:
                    self._add_rule(path.name, read_node(each))
                except Unsupported as reason:
                    self.skipped_rules[f"{path.name}.{each.name.partition('.')[0]}"] = str(reason)

    def set_access(self, name: str, field_name: str, access: str, profile: str = "") -> None:
        """Hide a field (none), let it be read only (read) or give it back (edit), for everybody or for the users of one
        profile, to whom permission sets may still give it. Raises ValueError."""
        subject = self.whole.get(name)
        found = subject.field(field_name) if subject else None
        if subject is None or found is None or access not in ACCESS:
            raise ValueError(f"{name}.{field_name} is no field here, or {access} is none of {', '.join(ACCESS)}")
        if profile:
            self.profiles[profile, subject.name, found.name] = access
            return
        self.access[subject.name, found.name] = access
        self.apply()

    def apply(self) -> None:
        """Make the store show what the user may see now."""
        self.store.change_schema(
            Schema(
                self.seen(subject, lambda each, name=subject.name: self.access.get((name, each.name), "edit"))  # type: ignore[misc]  # the default binds the loop's name
                for subject in self.whole
            )
        )

    def add_rule(self, name: str, given: Mapping[str, object]) -> None:
        """A rule of a control request: name, formula or ``where`` (field → value), message, code, field, on, active,
        alert. Raises ValueError."""
        subject = self._subject(name)
        known = {"name", "formula", "where", "message", "code", "field", "on", "active", "alert"}
        events = given.get("on", ["insert", "update"])
        if not set(given) <= known or not isinstance(events, list) or not set(events) <= set(EVENTS):
            raise ValueError(f"a rule has the keys {sorted(known)}, and `on` lists some of {', '.join(EVENTS)}")
        text = str(given.get("formula") or _conditions(given.get("where")))
        said = str(given.get("name", "Rule"))
        code = str(given.get("code", "FIELD_CUSTOM_VALIDATION_EXCEPTION"))
        field_name = str(given["field"]) if given.get("field") else None
        message = str(given.get("message", said))
        active, alert = bool(given.get("active", True)), bool(given.get("alert"))
        words = {"message": message, "code": code, "field": field_name}
        made = rule(subject, said, text, **words, events=tuple(events), active=active, alert=alert)
        self.automation.add(made)

    def _add_rule(self, name: str, node: Node) -> None:
        given = {
            "name": node.text("fullName"),
            "formula": node.text("errorConditionFormula"),
            "message": node.text("errorMessage"),
            "field": node.text("errorDisplayField"),
            "active": node.flag("active"),
        }
        self.add_rule(name, given)

    def _add_record_types(self, name: str, nodes: Iterable[Node]) -> None:
        given = [
            (each.text("fullName"), each.text("label"), each.text("active", "true") == "true", each.flag("default"))
            for each in nodes
        ]
        if not given:
            return
        subject = self._subject(name)
        rows = [
            {"Name": label or developer, "DeveloperName": developer, "SobjectType": name, "IsActive": active}
            for developer, label, active, _ in given
        ]
        keys = records.insert(self.store, self.store.schema.require("RecordType"), rows, self.org.user_id)
        made = [
            RecordType(key, label or developer, developer, active=active, default=default)
            for key, (developer, label, active, default) in zip(keys, given, strict=True)
        ]
        every = (*subject.record_types, *made)
        self.put(replace(subject.with_fields([_record_type_field(every)]), record_types=every))

    def _subject(self, name: str) -> SObject:
        found = self.whole.get(name)
        if found is None:
            raise ValueError(f"there is no object {name}")
        return found

    def put(self, subject: SObject) -> None:
        """Add an object, or put it in place of the one of its name."""
        self.whole = finished(self.whole.changed(subject))
        self.apply()

    def seen(self, subject: SObject, access: Callable[[Field], str]) -> SObject:
        """The object with those of its fields that ``access`` (``none``, ``read`` or ``edit``) lets be seen."""
        audited = bool(self.org.settings.audit_fields) and (subject.custom or subject.name in _AUDITED)
        changed: list[Field] = []
        for each in subject.fields:
            given = access(each)
            if given == "none":
                continue
            readable = replace(each, createable=False, updateable=False) if given == "read" else each
            changed.append(
                replace(readable, createable=True) if audited and each.name in records.AUDIT_FIELDS else readable
            )
        return replace(subject, fields=tuple(changed))


def _record_type_field(types: Iterable[RecordType]) -> Field:
    default = next((each.id for each in types if each.default), None)
    made = f.reference("RecordTypeId", "Record Type ID", "RecordType", relationship="RecordType")
    return replace(made, defaulted=True, default=default)


def _conditions(where: object) -> str:
    """A formula that holds for records with these values."""
    if not isinstance(where, Mapping) or not where:
        raise Unsupported("a rule needs a formula, or values by field in `where`")
    return " && ".join(f"{name} = {_literal(value)}" for name, value in where.items())


def _literal(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value).upper() if value is not None else "NULL"
    if isinstance(value, (int, float)):
        return str(value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
