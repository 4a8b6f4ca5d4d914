"""A dry run beside the load that followed: what was foreseen, missed, imagined, and what changed in between."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projects.estimate import Estimate
from projects.models import Project
from runs import estimates, services
from runs.choices import RunState
from runs.dry_runs import start_dry_run
from runs.forecast_models import DryRun, RunEstimate
from runs.models import Run
from runs.scoring import Fate, Matched, Pairs, Score, score
from tests.fakes import FakeSource, World
from tests.forecast.test_dry_run import TrialTarget, trial, with_tables  # noqa: F401 - the fixture is used by its name
from tests.runs.test_engine import drive, family

FATES = st.sampled_from([Fate("created"), Fate("updated"), Fate("rejected", "too_long"), Fate("rejected", "unique")])
PAIRS = st.builds(Pairs, FATES, FATES, st.integers(1, 1_000), st.just(("a",)))


@given(st.lists(PAIRS, max_size=20))
def test_figures_add_up(pairs: list[Pairs]) -> None:
    [item] = score([Matched("Account", pairs)], same_mapping=True).objects
    wrong = sum(each.count for each in item.surprises)
    assert item.right + wrong == item.compared == sum(each.count for each in pairs)
    for cause in item.causes:
        assert 0 <= cause.hits <= min(cause.predicted, cause.real)
        assert cause.missed >= 0
        assert cause.imagined >= 0
    assert sum(cause.real for cause in item.causes) == sum(
        each.count for each in pairs if each.real.outcome == "rejected"
    )


@given(st.lists(PAIRS, max_size=8), st.booleans())
def test_a_stored_score_comes_back(pairs: list[Pairs], same: bool) -> None:
    made = score([Matched("Account", pairs, 1, 2, 3)], same_mapping=same)
    assert Score.from_json(orjson.loads(orjson.dumps(made.as_json()))) == made


def scored(run: Run) -> dict[str, Any]:
    stored = DryRun.objects.get(run=run).score
    assert stored is not None
    return {each["name"]: each for each in stored["objects"]}


def test_a_dry_run_that_foresaw_everything(world: World, project: Project) -> None:
    family(world, project)
    with_tables(world, project)
    world.refuse = lambda _entity, row: "No." if row.get("name") == "C 1" else None
    tried = drive(start_dry_run(project))
    loaded = drive(services.start_run(project))
    stored = DryRun.objects.get(run=tried)
    assert stored.load == loaded
    assert stored.score is not None
    assert (stored.score["accuracy"], stored.score["compared"], stored.score["same_mapping"]) == (1.0, 9, True)
    assert scored(tried)["Contact → contact"]["causes"] == [
        {"code": "refused", "predicted": 1, "real": 1, "hits": 1, "missed": 0, "imagined": 0}
    ]


def test_misses_false_alarms_and_what_changed_in_between(world: World, project: Project) -> None:
    family(world, project, contacts=8)
    with_tables(world, project)
    world.refuse = lambda _entity, row: "No." if row.get("name") in {"C 1", "C 5"} else None
    tried = drive(start_dry_run(project))
    world.refuse = lambda _entity, row: "No." if row.get("name") in {"C 2", "C 5", "Other"} else None
    world.records["Contact"][3]["Name"] = "Other"
    world.records["Contact"].append({"Id": "C8", "Name": "New", "AccountId": "A0"})
    del world.records["Contact"][7]
    drive(services.start_run(project))
    contacts = scored(tried)["Contact → contact"]
    assert {name: contacts[name] for name in ("compared", "right", "changed", "new", "gone")} == {
        "compared": 6, "right": 4, "changed": 1, "new": 1, "gone": 1
    }  # fmt: skip
    assert contacts["causes"] == [{"code": "refused", "predicted": 2, "real": 2, "hits": 1, "missed": 1, "imagined": 1}]
    assert {
        (each["predicted"]["outcome"], each["real"]["outcome"], *each["ids"]) for each in contacts["surprises"]
    } == {
        ("rejected", "created", "C1"),
        ("created", "rejected", "C2"),
    }


def test_unchanged_updated_and_edited_records_are_scored(world: World, project: Project) -> None:
    family(world, project)
    drive(services.start_run(project))
    world.records["Contact"][0]["Name"] = "Renamed"
    world.records["Contact"][1]["Name"] = "Also"
    world.rows["contact"]["C1"]["name"] = "Edited by hand"
    tried = drive(start_dry_run(project))
    loaded = drive(services.start_run(project))
    assert loaded.state in {RunState.COMPLETED, RunState.COMPLETED_WITH_ERRORS}
    found = scored(tried)
    assert all(each["accuracy"] == 1.0 for each in found.values()), found
    assert sum(each["compared"] for each in found.values()) == 9


def test_only_the_load_that_follows_at_once_is_a_test(world: World, project: Project) -> None:
    family(world, project)
    with_tables(world, project)
    tried = drive(start_dry_run(project))
    first = drive(services.start_run(project))
    drive(services.start_run(project))
    assert DryRun.objects.get(run=tried).load == first


@pytest.mark.parametrize("limit", [{"most": 3}, {"share": 50}])
def test_a_sample_is_scored_for_what_it_tried(world: World, project: Project, limit: dict[str, Any]) -> None:
    family(world, project, accounts=20, contacts=20)
    with_tables(world, project)
    tried = drive(start_dry_run(project, **limit))
    drive(services.start_run(project))
    found = scored(tried)
    assert all(each["accuracy"] == 1.0 for each in found.values())
    assert sum(each["compared"] + each["new"] for each in found.values()) == 40
    assert sum(each["new"] for each in found.values()) > 0


def test_a_run_keeps_its_estimate_and_stands_beside_it(world: World, project: Project) -> None:
    family(world, project)
    run = drive(services.start_run(project))
    predicted = Estimate.from_json(RunEstimate.objects.get(run=run).body)
    assert predicted.records == 9
    found = {each.name: each for each in estimates.beside(run)}
    assert (found["records"].real, found["records"].within) == (9, True)
    assert found["calls"].real == 0
    assert found["theirs"].real is None
    assert found["ours"].real is not None


def test_foreseeing_asks_the_source_and_learns_from_runs(world: World, project: Project) -> None:
    family(world, project, accounts=120, contacts=120)
    first = estimates.foresee(project)
    assert first.records == 240
    assert first.basis[0].startswith("No earlier run")
    drive(services.start_run(project))
    later = estimates.foresee(project)
    assert later.basis == ("Time and requests from 1 earlier run between the same platforms.",)
    assert later.ours.high - later.ours.low < first.ours.high - first.ours.low


def test_a_sample_narrows_what_an_object_nobody_saw_will_take(world: World, project: Project) -> None:
    family(world, project, accounts=20, contacts=20)
    plain, seen = estimates.foresee(project), estimates.foresee(project, sampled=10)
    assert not [sentence for sentence in seen.basis if "was seen yet" in sentence]
    assert [sentence for sentence in plain.basis if "was seen yet" in sentence]
    assert seen.theirs.high - seen.theirs.low < plain.theirs.high - plain.theirs.low
    # Nothing of the sample is kept with us.
    assert estimates.foresee(project) == plain


def test_only_chosen_records_are_counted(world: World, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    family(world, project, accounts=20, contacts=20)

    def only_three(_project: Project, source: FakeSource) -> None:
        source.count = lambda _entity, **_: 3  # type: ignore[method-assign]  # as a narrowed source counts

    monkeypatch.setattr("projects.services.narrow", only_three)
    assert estimates.foresee(project).records == 6
