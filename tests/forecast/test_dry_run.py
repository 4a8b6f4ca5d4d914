"""Trying a load out: the same path, predictions instead of an id map, and nothing that stays."""

from dataclasses import replace
from typing import Any, ClassVar

import polars as pl
import pytest

from connectors.base import Target
from connectors.errors import Unavailable
from connectors.types import EntitySchema, Outcome, WriteResult
from projects.models import Project
from runs import services
from runs.choices import RunKind, RunState
from runs.dry_runs import start_dry_run
from runs.engine.dry_run import DryRunSession
from runs.engine.rehearsing import CannotRehearse, Rehearsing
from runs.forecast_models import Prediction
from runs.models import Chunk, Finding, Run, RunEvent, TrackedRecord
from runs.services import RunRefused
from tests import factories
from tests.fakes import FakeTarget, World, failing, reference, schema
from tests.runs.test_engine import ACCOUNTS, drive, family, totals

DEALS = schema("Deal", "Name", reference("AccountId", "Account", required=True))


class TrialTarget(FakeTarget):
    """A target that rehearses, refusing a blank parent as a database with such a rule would."""

    capabilities = replace(FakeTarget.capabilities, rehearses=True, transactional=True)

    def rehearse(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        held, next_id = {name: dict(row) for name, row in self.world.rows[entity].items()}, self.world.next_id
        REHEARSED.append((entity, frame))
        try:
            results = [self._put(entity, row, key) for row in frame.iter_rows(named=True)]
        finally:
            self.world.rows[entity], self.world.next_id = held, next_id
        columns = ["key", "target_id", "outcome", "code", "fields", "message"]
        return WriteResult.checked(pl.DataFrame(results, schema=columns, orient="row"), frame[key])

    def _put(self, entity: str, row: dict[str, Any], key: str) -> tuple[str | None, ...]:
        if entity == "deal" and row.get("accountid") is None:
            return (str(row[key]), None, Outcome.REJECTED, "not_null", "accountid", "A deal needs its account.")
        return super()._put(entity, row, key)


REHEARSED: list[tuple[str, pl.DataFrame]] = []


@pytest.fixture(autouse=True)
def trial(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.registry.TARGETS", {"fake": "tests.forecast.test_dry_run:TrialTarget"})
    REHEARSED.clear()


def with_tables(world: World, project: Project) -> None:
    """What a mirror's first load would create: its tables, empty."""
    target = FakeTarget(_ContextOf())  # type: ignore[arg-type]  # only its settings are read
    for chosen in project.project_objects.all():
        known = world.schemas[chosen.source_entity]
        renamed = schema(chosen.target_entity, *known.fields)
        target.ensure_entity(renamed, key=chosen.key)


class _ContextOf:
    settings: ClassVar[dict[str, str]] = {}


def predicted(run: Run) -> dict[str, tuple[str, str]]:
    return {each.source_id: (each.outcome, each.code) for each in Prediction.objects.filter(run=run)}


def test_everything_is_read_and_tried_and_nothing_stays(world: World, project: Project) -> None:
    family(world, project)
    with_tables(world, project)
    world.refuse = lambda _entity, row: "No Name like that." if row.get("name") == "C 1" else None
    run = drive(start_dry_run(project))
    assert run.state == RunState.COMPLETED_WITH_ERRORS
    assert run.reason == ("9 records were tried out: a load would create 8 and update 0, refuse 1. Nothing was kept.")
    assert totals(run) == {"read": 9, "created": 8, "rejected": 1}
    assert predicted(run)["C1"] == ("rejected", "refused")
    assert Finding.objects.get(run=run).message == "No Name like that."
    assert not TrackedRecord.objects.filter(project=project).exists()
    assert not any(world.rows.values())
    assert world.writes == []


def test_a_load_that_follows_does_what_was_predicted(world: World, project: Project) -> None:
    family(world, project)
    with_tables(world, project)
    world.refuse = lambda _entity, row: "No." if row.get("name") in {"C 1", "Account 2"} else None
    tried = drive(start_dry_run(project))
    loaded = drive(services.start_run(project))
    assert totals(tried) == totals(loaded)
    real = {each.source_id: each.state for each in TrackedRecord.objects.filter(project=project)}
    words = {"created": "loaded", "deferred": "deferred", "rejected": "rejected"}
    assert {name: words[outcome] for name, (outcome, _) in predicted(tried).items()} == real


def test_references_to_parents_that_are_not_there_yet_are_left_out_and_told(world: World, project: Project) -> None:
    family(world, project)
    with_tables(world, project)
    run = drive(start_dry_run(project))
    without = {each.source_id: each.without for each in Prediction.objects.filter(run=run)}
    assert without == {f"A{n}": "parentid" if n < 3 else "" for n in range(4)} | {
        f"C{n}": "accountid" for n in range(5)
    }
    told = RunEvent.objects.filter(run=run).values_list("message", flat=True)
    assert "Contact → contact: 5 records were rehearsed without accountid: its parent does not exist yet." in told


def test_a_record_that_is_there_stands_in_for_a_required_parent(world: World, project: Project) -> None:
    world.add(ACCOUNTS, {"Id": "A0", "Name": "First"})
    world.add(DEALS, {"Id": "D0", "Name": "Deal", "AccountId": "A0"}, {"Id": "D1", "Name": "Late", "AccountId": "A1"})
    for entity in ("Account", "Deal"):
        factories.project_object(project, entity)
    drive(services.start_run(project))
    world.records["Account"].append({"Id": "A1", "Name": "Second", "ParentId": None})
    run = drive(start_dry_run(project))
    assert predicted(run) == {
        "A0": ("unchanged", ""), "A1": ("created", ""), "D0": ("unchanged", ""), "D1": ("created", "")
    }  # fmt: skip
    assert Prediction.objects.get(run=run, source_id="D1").without == "accountid"
    [(_, sent)] = [each for each in REHEARSED if each[0] == "deal"]
    assert sent["accountid"].to_list() == [world.rows["account"]["A0"]["target_id"]]


@pytest.mark.parametrize("declared", [True, False])
def test_without_anybody_to_stand_in_the_mapping_alone_predicts(
    world: World, project: Project, *, declared: bool
) -> None:
    world.add(ACCOUNTS, {"Id": "A0", "Name": "First"})
    world.add(DEALS, {"Id": "D0", "Name": "Deal", "AccountId": "A0"})
    for entity in ("Account", "Deal"):
        factories.project_object(project, entity)
    with_tables(world, project)
    if declared:  # else the refusal itself tells, and counts for nothing
        deal = world.target_schemas["deal"]
        info = replace(deal.field("accountid"), required=True)
        others = tuple(field for field in deal.fields if field.name != "accountid")
        world.target_schemas["deal"] = EntitySchema(deal.entity, (*others, info))
    run = drive(start_dry_run(project))
    assert predicted(run)["D0"] == ("created", "")
    assert Prediction.objects.get(run=run, source_id="D0").without == "*"


def test_waiting_for_a_parent_that_is_refused_is_predicted(world: World, project: Project) -> None:
    family(world, project, accounts=3, contacts=3)
    with_tables(world, project)
    world.refuse = lambda _entity, row: "No." if row.get("name") == "Account 2" else None
    run = drive(start_dry_run(project))
    found = predicted(run)
    assert found["A2"] == ("rejected", "refused")
    assert found["C2"] == found["A1"] == ("deferred", "waiting")
    assert Prediction.objects.get(run=run, source_id="C2").reason.endswith("A2, which was rejected.")
    assert found["A0"] == ("created", "")


def test_what_changed_and_what_did_not_since_a_load(world: World, project: Project) -> None:
    family(world, project)
    drive(services.start_run(project))
    world.records["Contact"][2]["Name"] = "Renamed"
    before = {each.source_id: (each.state, each.hash, each.chunks) for each in TrackedRecord.objects.all()}
    writes = list(world.writes)
    run = drive(start_dry_run(project))
    assert totals(run) == {"read": 9, "updated": 1, "unchanged": 8}
    assert predicted(run)["C2"] == ("updated", "")
    assert {each.source_id: (each.state, each.hash, each.chunks) for each in TrackedRecord.objects.all()} == before
    assert world.writes == writes
    assert world.rows["contact"]["C2"]["name"] == "C 2"


def test_an_edit_in_the_target_is_predicted_to_be_kept(world: World, project: Project) -> None:
    family(world, project)
    drive(services.start_run(project))
    world.records["Contact"][2]["Name"] = "Renamed"
    world.rows["contact"]["C2"]["name"] = "Edited by hand"
    assert predicted(drive(start_dry_run(project)))["C2"][0] == "conflicts"


def test_the_first_records_of_each_object(world: World, project: Project) -> None:
    family(world, project, accounts=7, contacts=8)
    with_tables(world, project)
    run = drive(start_dry_run(project, most=4))
    assert totals(run) == {"read": 8, "created": 8}
    assert set(predicted(run)) == {f"{kind}{n}" for kind in "AC" for n in range(4)}
    assert [step.expected for step in run.steps.all()] == [4, 4]


def test_a_share_is_the_same_records_every_time(world: World, project: Project) -> None:
    family(world, project, accounts=60, contacts=60)
    with_tables(world, project)
    first, second = (predicted(drive(start_dry_run(project, share=25))) for _ in range(2))
    assert first == second
    assert 10 <= len(first) <= 50
    assert {outcome for outcome, _ in first.values()} == {"created"}


def test_a_target_that_rehearses_slowly_is_shown_a_sample(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add(schema("Account", "Name"), *({"Id": f"A{n}", "Name": f"Account {n}"} for n in range(40)))
    world.page_size = 10
    factories.project_object(project, "Account")
    with_tables(world, project)
    monkeypatch.setattr(TrialTarget, "capabilities", replace(FakeTarget.capabilities, rehearses=True))
    monkeypatch.setattr("runs.engine.dry_run.SAMPLE", 8)
    run = drive(start_dry_run(project))
    assert totals(run) == {"read": 40, "created": 40}
    assert sum(frame.height for _, frame in REHEARSED) == 8
    assert Prediction.objects.filter(run=run, without="*").count() == 32


def test_a_target_that_cannot_rehearse_is_only_asked(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    family(world, project)
    drive(services.start_run(project))
    TrackedRecord.objects.all().delete()
    world.rows["contact"]["C0"]["name"] = "Other"
    monkeypatch.setattr(TrialTarget, "capabilities", FakeTarget.capabilities)
    run = drive(start_dry_run(project))
    found = predicted(run)
    assert found["C0"] == ("updated", "")
    assert REHEARSED == []


def test_a_missing_table_is_one_sentence_and_is_not_created(world: World, project: Project) -> None:
    family(world, project)
    run = drive(start_dry_run(project))
    assert run.state == RunState.FAILED
    assert run.reason.startswith("The target has no account yet, and a dry run creates nothing.")
    assert world.target_schemas == {}


@pytest.mark.parametrize("hook", ["before_read", "before_write"])
def test_an_interrupted_dry_run_goes_on(world: World, project: Project, hook: str, monkeypatch: Any) -> None:
    family(world, project)
    with_tables(world, project)
    lost = failing(2, Unavailable("The target did not answer."))
    if hook == "before_read":
        world.before_read = lost
    else:
        plain = TrialTarget.rehearse
        monkeypatch.setattr(TrialTarget, "rehearse", lambda *a, **k: (lost(), plain(*a, **k))[1])
    run = drive(start_dry_run(project))
    assert totals(run) == {"read": 9, "created": 9}
    assert len(predicted(run)) == 9


def test_no_way_leads_to_the_real_target(world: World, project: Project) -> None:
    family(world, project)
    with_tables(world, project)
    run = start_dry_run(project)
    with DryRunSession(run.pk) as session:
        assert isinstance(session.target, Rehearsing)
        with pytest.raises(CannotRehearse, match="deletes nothing"):
            session.target.delete("account", ["1"])
        public = {name for name in dir(Target) if not name.startswith("_")}
        inherited = {name for name in public if name in vars(Target) and name not in vars(Rehearsing)}
        # What Rehearsing does not answer itself must not reach a system.
        assert inherited <= {"rehearse"}
        with pytest.raises(NotImplementedError):
            session.target.rehearse("account", pl.DataFrame({"key": ["x"]}), key="key")


def test_it_leaves_nothing_behind_when_the_project_goes(world: World, project: Project) -> None:
    family(world, project)
    with_tables(world, project)
    run = drive(start_dry_run(project))
    assert Prediction.objects.filter(run=run).exists()
    assert Chunk.objects.filter(run=run, state="verified").exists()
    services.erase_project(project)
    assert not Prediction.objects.filter(run=run).exists()


@pytest.mark.parametrize("limit", [{"most": 0}, {"share": 0}, {"share": 101}, {"most": 5, "share": 5}])
def test_a_limit_that_makes_no_sense_is_refused(project: Project, limit: dict[str, Any]) -> None:
    with pytest.raises(RunRefused):
        start_dry_run(project, **limit)
    assert not Run.objects.filter(kind=RunKind.DRY_RUN).exists()
