"""The pages of estimates, dry runs and scores, and the commands beside them."""

from typing import Any

import orjson
import pytest
from django.core.management import CommandError, call_command

from connectors.errors import Unavailable
from projects.models import Project
from runs import services
from runs.dry_runs import start_dry_run
from runs.forecast_models import DryRun
from runs.models import Run
from runs.scoring import Fate, Matched, Pairs, score
from tests.fakes import FakeSource, World
from tests.forecast.test_dry_run import TrialTarget, trial, with_tables  # noqa: F401 - the fixture is used by its name
from tests.runs.screens import VIEW, accounts, signed_in, text
from tests.runs.test_engine import drive

START = (*VIEW, "runs.control_run")


def tried(world: World, project: Project) -> Run:
    accounts(world, project)
    with_tables(world, project)
    return drive(start_dry_run(project))


def test_a_dry_run_is_started_from_its_page(world: World, project: Project) -> None:
    accounts(world, project)
    client = signed_in(*START)
    where = f"/admin/runs/run/dry-run/{project.pk}/"
    assert "Nothing stays there" in text(client, where)
    client.post(where, {"take": "share", "share": "25", "most": "1000"})
    order = DryRun.objects.get()
    assert (order.share, order.most) == (25, None)
    assert "Only one run of a project may be open" in text(client, where)


@pytest.mark.parametrize(
    "given", [{"take": "most", "most": ""}, {"take": "share", "share": "101"}, {"take": "most", "most": "-1"}]
)
def test_a_limit_that_makes_no_sense_is_told(world: World, project: Project, given: dict[str, str]) -> None:
    accounts(world, project)
    client = signed_in(*START)
    answer = client.post(f"/admin/runs/run/dry-run/{project.pk}/", given, follow=True)
    assert "whole number" in answer.content.decode() or "1 to 100 percent" in answer.content.decode()
    assert not Run.objects.exists()


def test_the_predictions_of_a_dry_run(world: World, project: Project) -> None:
    run = tried(world, project)
    client = signed_in(*START)
    shown = text(client, f"/admin/runs/run/{run.pk}/change/")
    assert "Would be created" in shown
    assert "Predictions" in shown
    assert "records/" not in shown.split('id="run-progress"')[1].split("Reconciliation")[0]
    shown = text(client, f"/admin/runs/run/{run.pk}/forecast/")
    assert "is scored by the next load" in shown
    assert "Names must not end in 1." in shown
    shown = text(client, f"/admin/runs/run/{run.pk}/forecast/?outcome=deferred")
    assert "A4" in shown
    assert "Names must not end in 1." not in shown


def test_without_the_permission_no_record_is_named(world: World, project: Project) -> None:
    run = tried(world, project)
    client = signed_in("runs.view_run")
    assert "Names must not end in 1." not in text(client, f"/admin/runs/run/{run.pk}/forecast/")


def test_the_score_stands_on_both_runs_and_as_json(world: World, project: Project) -> None:
    run = tried(world, project)
    load = drive(services.start_run(project))
    client = signed_in(*START)
    for each in (run, load):
        shown = text(client, f"/admin/runs/run/{each.pk}/forecast/")
        assert "5 of 5 records fared as predicted" in shown
        assert "(100 %)" in shown
        body = orjson.loads(text(client, f"/admin/runs/run/{each.pk}/forecast/?format=json"))
        assert (body["score"]["accuracy"], body["dry_run"], body["load"]) == (1.0, run.pk, load.pk)
    shown = text(client, f"/admin/runs/run/{load.pk}/forecast/")
    assert "Storage with us" in shown
    assert "Within" in shown


def test_surprises_are_shown_with_their_records(world: World, project: Project) -> None:
    run = tried(world, project)
    pairs = [Pairs(Fate("created"), Fate("rejected", "too_long"), 3, ("A1", "A2"))]
    body = score([Matched("Account → account", pairs)], same_mapping=False).as_json()
    DryRun.objects.filter(run=run).update(score=body, load=drive(services.start_run(project)))
    shown = text(signed_in(*START), f"/admin/runs/run/{run.pk}/forecast/")
    assert "3 predicted created, really rejected (too_long)" in shown
    assert "The mapping was changed in between." in shown


def test_nothing_was_foretold(world: World, project: Project) -> None:
    run = services.start_run(project)
    assert "No forecast" in text(signed_in(*START), f"/admin/runs/run/{run.pk}/forecast/")


def test_the_start_page_brings_its_estimate_by_itself(world: World, project: Project) -> None:
    accounts(world, project)
    client = signed_in(*START)
    shown = text(client, f"/admin/runs/run/start/{project.pk}/")
    where = f"/admin/runs/run/estimate/{project.pk}/"
    assert f'hx-get="{where}"' in shown
    assert "No earlier run between these platforms" in text(client, where)
    assert text(signed_in(*VIEW), where, status=403)


def test_a_source_that_does_not_answer_is_one_sentence(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts(world, project)

    def silent(*_: Any, **__: Any) -> None:
        raise Unavailable("Acme does not answer.")

    monkeypatch.setattr(FakeSource, "count", silent)
    assert "Acme does not answer." in text(signed_in(*START), f"/admin/runs/run/estimate/{project.pk}/")
    with pytest.raises(CommandError, match="Acme does not answer"):
        call_command("estimate", str(project.pk))


def test_the_commands(world: World, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    accounts(world, project)
    with_tables(world, project)
    call_command("estimate", str(project.pk), "--json")
    assert orjson.loads(capsys.readouterr().out)["records"] == 5
    call_command("estimate", str(project.pk))
    assert "Storage with us: " in capsys.readouterr().out
    call_command("dry_run", str(project.pk), "--json")
    body = orjson.loads(capsys.readouterr().out)
    assert (body["read"], body["rejected"]) == (5, 1)
    call_command("dry_run", str(project.pk), "--first", "2")
    assert "2 records were tried out" in capsys.readouterr().out
    with pytest.raises(CommandError, match="1 to 100 percent"):
        call_command("dry_run", str(project.pk), "--share", "0")
    with pytest.raises(CommandError, match="There is no project 0"):
        call_command("dry_run", "0")
