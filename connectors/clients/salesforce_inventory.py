"""What an org holds and what acts on it: record counts, validation rules, triggers, flows, duplicate rules.

Counts: https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_record_count.htm
Rules and triggers: https://developer.salesforce.com/docs/atlas.en-us.api_tooling.meta/api_tooling/
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connectors.answers import Answer
from connectors.clients.salesforce_session import SalesforceSession
from connectors.errors import ContractChanged, NotFound, PermissionMissing, SettingsInvalid
from connectors.pagination import Batch, NextLink, batch_from, follow, value_at
from connectors.types import Automation, AutomationKind, Cursor, Inventory

NAMES_AT_ONCE: Final = 200  # names in one address; with 40 characters each that is half of what one may hold
_PAGES: Final = NextLink(("nextRecordsUrl",))


@dataclass(frozen=True, slots=True)
class _Question:
    """How one kind of automation is asked for, and how a row of the answer is read."""

    kind: AutomationKind
    resource: str
    soql: str
    read: Callable[[Mapping[str, Any]], Automation]


def _text(row: Mapping[str, Any], *path: str) -> str:
    found: Any = row
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return str(found or "")


_QUESTIONS: Final = (
    _Question(
        AutomationKind.VALIDATION_RULE,
        "tooling/query",
        "SELECT ValidationName, Active, ErrorMessage, EntityDefinition.QualifiedApiName FROM ValidationRule",
        lambda row: Automation(
            AutomationKind.VALIDATION_RULE,
            _text(row, "EntityDefinition", "QualifiedApiName"),
            _text(row, "ValidationName"),
            bool(row.get("Active")),
            _text(row, "ErrorMessage"),
        ),
    ),
    _Question(
        AutomationKind.TRIGGER,
        "tooling/query",
        "SELECT Name, TableEnumOrId, Status FROM ApexTrigger",
        lambda row: Automation(
            AutomationKind.TRIGGER, _text(row, "TableEnumOrId"), _text(row, "Name"), row.get("Status") == "Active"
        ),
    ),
    _Question(
        AutomationKind.FLOW,
        "query",
        "SELECT ApiName, Label, IsActive, TriggerObjectOrEvent.QualifiedApiName FROM FlowDefinitionView",
        lambda row: Automation(
            AutomationKind.FLOW,
            _text(row, "TriggerObjectOrEvent", "QualifiedApiName"),
            _text(row, "ApiName"),
            bool(row.get("IsActive")),
            _text(row, "Label"),
        ),
    ),
    _Question(
        AutomationKind.DUPLICATE_RULE,
        "query",
        "SELECT DeveloperName, MasterLabel, SobjectType, IsActive FROM DuplicateRule",
        lambda row: Automation(
            AutomationKind.DUPLICATE_RULE,
            _text(row, "SobjectType"),
            _text(row, "DeveloperName"),
            bool(row.get("IsActive")),
            _text(row, "MasterLabel"),
        ),
    ),
)


def take(session: SalesforceSession, entities: Sequence[str]) -> Inventory:
    """Counts of these objects, and all automation the connecting user may see."""
    found: list[Automation] = []
    unread: list[str] = []
    for question in _QUESTIONS:
        try:
            found += (question.read(row) for row in _rows(session, question))
        except (PermissionMissing, SettingsInvalid, NotFound, ContractChanged) as refused:
            unread.append(
                f"The {question.kind.value}s could not be read: {refused.message} They need “View Setup and "
                "Configuration”."
            )
    return Inventory(_counts(session, entities), tuple(found), tuple(unread))


def _rows(session: SalesforceSession, question: _Question) -> Iterator[Mapping[str, Any]]:
    def fetch(link: Cursor | None) -> Batch:
        if link is not None:
            return batch_from(session.http.get(str(link["link"])), ("records",))
        resource = session.path(*question.resource.split("/"))
        return batch_from(session.http.get(resource, params={"q": question.soql}), ("records",))

    for batch, _ in follow(_PAGES, fetch):
        yield from batch.records


def _counts(session: SalesforceSession, entities: Sequence[str]) -> dict[str, int]:
    """Approximate; an object that the answer leaves out has no records."""
    counts = dict.fromkeys(entities, 0)
    for start in range(0, len(entities), NAMES_AT_ONCE):
        names = ",".join(entities[start : start + NAMES_AT_ONCE])
        answer: Answer = session.http.get(session.path("limits", "recordCount"), params={"sObjects": names})
        for row in batch_from(answer, ("sObjects",)).records:
            counts[str(value_at(row, ("name",)))] = int(value_at(row, ("count",)))
    return counts
