"""What an org holds and how its entities are made, kept so that it need not be asked each time, and known to age.

Two caches: a definition of each entity that was looked at (``ObjectDefinition``), and one inventory of the org. A
definition is trusted for some hours; after that the platform is asked whether anything changed, which costs one small
request where the platform has marks for it. These functions change state, as those of ``projects.services`` do.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from connectors.base import Connector
from connectors.types import Automation, AutomationKind, EntitySchema
from orgs import services as orgs
from orgs.models import Org
from projects.definitions import schema_from_json, schema_to_json
from projects.models import ObjectDefinition, OrgInventory

TRUSTED = timedelta(hours=12)
"""For so long a definition is used without asking whether it still holds; a run always asks."""
STALE = timedelta(days=1)
"""An inventory older than this is shown as old."""


@dataclass(frozen=True, slots=True)
class Held:
    """One entity of an org. ``records`` is approximate, and None where the platform does not tell."""

    name: str
    label: str
    records: int | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """An org's inventory as it was last taken."""

    entities: tuple[Held, ...]
    automations: tuple[Automation, ...]
    unread: tuple[str, ...]
    taken_at: datetime

    @property
    def stale(self) -> bool:
        return timezone.now() - self.taken_at > STALE

    def automations_of(self, entity: str) -> tuple[Automation, ...]:
        return tuple(each for each in self.automations if each.entity == entity)

    def records_of(self, entity: str) -> int | None:
        return next((each.records for each in self.entities if each.name == entity), None)


def open_org(org: Org) -> Connector:
    """The org's connector for looking, the source where it has one; raises SettingsInvalid."""
    return orgs.open_source(org) if org.reads else orgs.open_target(org)


def take_inventory(org: Org, connector: Connector) -> Known:
    """Ask the org anew what it holds. Raises connector errors."""
    infos = connector.entities()
    found = connector.inventory([info.name for info in infos])
    content = {
        "entities": [[info.name, info.label, found.records.get(info.name)] for info in infos],
        "automations": [asdict(each) for each in found.automations],
        "unread": list(found.unread),
    }
    OrgInventory.objects.update_or_create(org=org, defaults={"content": content})
    return _known(OrgInventory.objects.get(org=org))


def inventory(org: Org) -> Known | None:
    """The inventory as it was last taken; None where nobody asked yet."""
    stored = OrgInventory.objects.filter(org=org).first()
    return _known(stored) if stored else None


def _known(stored: OrgInventory) -> Known:
    content = stored.content
    return Known(
        tuple(Held(*row) for row in content["entities"]),
        tuple(Automation(**{**each, "kind": AutomationKind(each["kind"])}) for each in content["automations"]),
        tuple(content["unread"]),
        stored.taken_at,
    )


def definition(org: Org, entity: str, connector: Connector, *, trusted: timedelta = TRUSTED) -> EntitySchema:
    """The entity's definition: as stored where it was confirmed within ``trusted``, else asked for again.

    Raises connector errors; SettingsInvalid where there is no such entity.
    """
    role = _role(connector)
    stored = ObjectDefinition.objects.filter(org=org, entity=entity).first()
    if stored is not None and not stored.stamp.startswith(role):
        stored = None
    if stored and stored.checked_at and timezone.now() - stored.checked_at < trusted:
        return schema_from_json(stored.schema)
    schema, stamp = connector.describe_if_changed(entity, stored.stamp.removeprefix(role) if stored else "")
    if schema is None and stored is not None:
        ObjectDefinition.objects.filter(pk=stored.pk).update(checked_at=Now())
        return schema_from_json(stored.schema)
    schema = schema or connector.describe(entity)
    keep(org, entity, schema, stamp=stamp, role=role)
    return schema


@transaction.atomic
def keep(org: Org, entity: str, schema: EntitySchema, *, stamp: str, role: str) -> None:
    """Store what was described just now. A source and a target see different fields as writable, so that a
    definition is good only for the role it was described in."""
    ObjectDefinition.objects.update_or_create(
        org=org,
        entity=entity,
        defaults={"schema": schema_to_json(schema), "stamp": f"{role}{stamp}", "checked_at": timezone.now()},
    )


def refresh(org: Org, connector: Connector, entities: Sequence[str] = ()) -> Known:
    """Take the inventory anew, and ask of these entities whether they changed, whatever their age."""
    for name in entities:
        definition(org, name, connector, trusted=timedelta(0))
    return take_inventory(org, connector)


def _role(connector: Connector) -> str:
    return "source:" if connector.capabilities.reads else "target:"
