"""The caches of what an org holds: when it is asked, when it is believed."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from connectors.context import Context
from connectors.errors import SettingsInvalid
from connectors.types import Automation, AutomationKind, EntitySchema, Inventory
from orgs.models import Org, Role
from projects import discovery
from projects.models import ObjectDefinition, OrgInventory
from tests import factories
from tests.fakes import WORLDS, FakeSource, FakeTarget, World, schema

pytestmark = pytest.mark.django_db
RULE = Automation(AutomationKind.FLOW, "Account", "Nightly", active=True)


@dataclass
class Marks:
    """The fake platform's marks, and how often it described something in full."""

    now: str = "Monday"
    described: int = 0
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def marks(world: World, monkeypatch: pytest.MonkeyPatch) -> Marks:
    kept = Marks()
    world.add(schema("Account", "Name"), {"Name": "A"})

    def describe_if_changed(self: FakeSource, entity: str, stamp: str) -> tuple[EntitySchema | None, str]:
        kept.asked.append(stamp)
        if stamp == kept.now:
            return None, stamp
        kept.described += 1
        return self.describe(entity), kept.now

    def inventory(_: FakeSource, entities: Any) -> Inventory:
        return Inventory(dict.fromkeys(entities, 7), (RULE,), ("The triggers could not be read.",))

    monkeypatch.setattr(FakeSource, "describe_if_changed", describe_if_changed)
    monkeypatch.setattr(FakeSource, "inventory", inventory)
    return kept


@pytest.fixture
def org() -> Org:
    return factories.org(role=Role.SOURCE)


def source() -> FakeSource:
    return FakeSource(Context())


def aged(org: Org, by: timedelta) -> None:
    ObjectDefinition.objects.filter(org=org).update(checked_at=timezone.now() - by)


def test_a_definition_is_asked_for_once_and_then_believed(marks: Marks, org: Org) -> None:
    first = discovery.definition(org, "Account", source())
    assert discovery.definition(org, "Account", source()) == first == WORLDS["world"].schemas["Account"]
    assert (marks.described, marks.asked) == (1, [""])


def test_an_old_definition_is_confirmed_by_its_mark(marks: Marks, org: Org) -> None:
    discovery.definition(org, "Account", source())
    aged(org, discovery.TRUSTED * 2)
    discovery.definition(org, "Account", source())
    assert (marks.described, marks.asked) == (1, ["", "Monday"])
    discovery.definition(org, "Account", source())
    assert len(marks.asked) == 2  # confirmed just now


def test_what_changed_in_the_org_is_described_again(marks: Marks, org: Org) -> None:
    discovery.definition(org, "Account", source())
    WORLDS["world"].schemas["Account"] = schema("Account", "Name", "New")
    marks.now = "Tuesday"
    assert discovery.definition(org, "Account", source()).names == ("Id", "Name")
    discovery.refresh(org, source(), ["Account"])
    assert discovery.definition(org, "Account", source()).names == ("Id", "Name", "New")
    assert marks.described == 2


def test_a_definition_of_a_source_is_not_one_of_a_target(marks: Marks, org: Org) -> None:
    discovery.definition(org, "Account", source())
    WORLDS["world"].target_schemas["Account"] = schema("Account", "Other")
    assert discovery.definition(org, "Account", FakeTarget(Context())).names == ("Id", "Other")


def test_an_entity_that_is_not_there_is_refused(marks: Marks, org: Org) -> None:
    with pytest.raises(SettingsInvalid, match="no entity “Ghost”"):
        discovery.definition(org, "Ghost", source())


def test_an_inventory_is_kept_and_known_to_age(marks: Marks, org: Org) -> None:
    assert discovery.inventory(org) is None
    taken = discovery.take_inventory(org, source())
    assert discovery.inventory(org) == taken
    assert taken.entities == (discovery.Held("Account", "Account", 7),)
    assert taken.automations_of("Account") == (RULE,)
    assert taken.automations_of("Contact") == ()
    assert (taken.records_of("Account"), taken.records_of("Contact")) == (7, None)
    assert taken.unread == ("The triggers could not be read.",)
    assert not taken.stale
    OrgInventory.objects.update(taken_at=timezone.now() - discovery.STALE * 2)
    found = discovery.inventory(org)
    assert found is not None
    assert found.stale
