"""Runs read what was chosen, and a delta reads anew what was chosen newly."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import pytest

from connectors.errors import SettingsInvalid
from connectors.types import Capabilities, Condition, Operator
from orgs import services as orgs
from projects import services as projects
from projects.models import ProjectObject
from projects.selections import Mode, Selection
from projects.services import ProjectInvalid
from runs import ledger
from runs.choices import RunState
from runs.engine.session import Session
from tests import factories
from tests.fakes import FakeSource, World, reference, schema

pytestmark = pytest.mark.django_db
NARROWED: dict[str, tuple[Condition, ...]] = {}


@pytest.fixture
def filtering(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The fake source has filters, and remembers what it was told."""

    def narrow(self: FakeSource, entity: str, conditions: Sequence[Condition]) -> None:
        names = self.describe(entity).names
        for condition in conditions:
            if condition.field.partition(".")[0] not in names:
                raise SettingsInvalid(f"{entity} has no field {condition.field}.")
        NARROWED[entity] = tuple(conditions)

    monkeypatch.setattr(FakeSource, "narrow", narrow)
    monkeypatch.setattr(FakeSource, "capabilities", Capabilities(reads=True, counts=True, filters=True))
    yield
    NARROWED.clear()


@pytest.fixture
def objects(world: World) -> tuple[ProjectObject, ProjectObject]:
    world.add(schema("Rule", "Name"))
    world.add(schema("Point", "Name", reference("Rule__c", "Rule")))
    project = factories.project()
    return factories.project_object(project, "Rule"), factories.project_object(project, "Point")


def choose(chosen: ProjectObject, selection: Selection) -> None:
    with orgs.open_source(chosen.project.source) as source:
        projects.select_records(chosen, selection, source)


CHOSEN = Selection(Mode.RECORDS, ids=("R1", "R2"))
CHILDREN = Selection(Mode.CHILDREN, through="Rule__c", parent="Rule")


def test_a_session_reads_what_was_chosen(filtering: None, objects: tuple[ProjectObject, ProjectObject]) -> None:
    rule, point = objects
    choose(rule, CHOSEN)
    choose(point, CHILDREN)
    NARROWED.clear()
    with Session(factories.run(rule.project).pk) as session:
        assert session.source
    assert {
        "Rule": (Condition("Id", Operator.AMONG, ("R1", "R2")),),
        "Point": (Condition("Rule__c.Id", Operator.AMONG, ("R1", "R2"), ("Rule",)),),
    } == NARROWED


def test_what_does_not_fit_is_refused_and_nothing_is_stored(
    filtering: None, objects: tuple[ProjectObject, ProjectObject]
) -> None:
    rule, point = objects
    wrong = Selection(Mode.FILTER, (Condition("Nothing", Operator.BLANK),))
    with pytest.raises(ProjectInvalid, match="Rule has no field Nothing"):
        choose(rule, wrong)
    with pytest.raises(ProjectInvalid, match="at least one condition"):
        choose(rule, Selection(Mode.FILTER))
    ProjectObject.objects.filter(pk=rule.pk).update(enabled=False)
    with pytest.raises(ProjectInvalid, match="Rule, which is not among the objects"):
        choose(point, CHILDREN)
    assert set(ProjectObject.objects.values_list("selection__mode", flat=True)) == {None}


def test_a_source_without_filters_gives_all_or_nothing(objects: tuple[ProjectObject, ProjectObject]) -> None:
    with pytest.raises(ProjectInvalid, match="gives all records or none"):
        choose(objects[0], CHOSEN)
    choose(objects[0], Selection())


def test_records_are_not_chosen_under_a_run(filtering: None, objects: tuple[ProjectObject, ProjectObject]) -> None:
    factories.run(objects[0].project, state=RunState.RUNNING)
    with pytest.raises(ProjectInvalid, match="is not finished"):
        choose(objects[0], CHOSEN)


def test_after_a_new_choice_a_delta_reads_anew(filtering: None, objects: tuple[ProjectObject, ProjectObject]) -> None:
    rule, _ = objects
    moment = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    done = factories.run(rule.project, state=RunState.COMPLETED, finished_at=moment)
    factories.step(done, rule, watermark=moment, extracted_at=moment)
    assert ledger.watermark(rule.pk) == ledger.Mark(moment, "")
    choose(rule, CHOSEN)
    assert ledger.watermark(rule.pk) is None
    choose(rule, Selection())
    assert ledger.watermark(rule.pk) is None


def test_after_a_new_choice_of_parents_a_delta_reads_their_children_anew(
    filtering: None, objects: tuple[ProjectObject, ProjectObject]
) -> None:
    rule, point = objects
    moment = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    choose(rule, CHOSEN)
    choose(point, CHILDREN)
    done = factories.run(rule.project, state=RunState.COMPLETED, finished_at=moment)
    factories.step(done, point, watermark=moment, extracted_at=moment)
    choose(rule, CHOSEN)
    assert ledger.watermark(point.pk) == ledger.Mark(moment, "")
    choose(rule, Selection(Mode.RECORDS, ids=("R1", "R3")))
    assert ledger.watermark(point.pk) is None
    assert projects.selections_of(rule.project)["Point"] == CHILDREN
