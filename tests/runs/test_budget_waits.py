"""A run that its org's budget makes wait: the run's log names the org and says until when."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from connectors.types import Page
from orgs import budget_store
from orgs.allowance import Terms
from orgs.models import Org, OrgBudget
from projects.models import Project
from runs import services
from runs.engine import coordinator
from runs.engine.coordinator import Progress
from runs.models import RunEvent
from tests import factories
from tests.fakes import FakeSource, World, schema

pytestmark = pytest.mark.django_db(transaction=True)


class BudgetedSource(FakeSource):
    """A request of the budget for every page, as a platform with an API has it."""

    def read(self, entity: str, fields: Sequence[str], **options: Any) -> Iterator[Page]:
        with self.context.budget.request():
            yield from super().read(entity, fields, **options)


def test_the_log_names_the_org_whose_reserve_is_kept_and_until_when(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add(schema("Account", "Name"), {"Id": "A1", "Name": "Acme"})
    factories.project_object(project, "Account")
    monkeypatch.setattr("tests.fakes.FakeSource", BudgetedSource)
    Org.objects.filter(pk=project.source_id).update(name="Salesforce production")
    budget_store.create(project.source_id)
    state = {"quota_limit": 15_000, "quota_left": 3_000, "quota_credit": 3_000}
    now = budget_store.read(project.source_id, Terms()).now
    OrgBudget.objects.filter(pk=project.source_id).update(**state, quota_until=now + timedelta(hours=1))
    run = services.start_run(project)
    assert coordinator.advance(run.pk, stop=lambda: False) is Progress.IDLE
    wait = RunEvent.objects.get(run=run, level="wait")
    assert wait.message.startswith(
        "Salesforce production: 12,000 of 15,000 requests of today are used; "
        "the rest is kept for the customer's own users until "
    )
    assert wait.until is not None
    assert 3_500 < (wait.until - wait.at).total_seconds() <= 3_601
