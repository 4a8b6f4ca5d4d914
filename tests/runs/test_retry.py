"""Bringing again what failed, and nothing else."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import hypothesis
import polars as pl
import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st

from projects.models import Project
from runs import ledger, services
from runs.choices import RecordState, RunState
from runs.ledger import Scope
from runs.models import Chunk, Run
from tests import factories
from tests.fakes import Connect, FakeSource, Row, World, schema
from tests.runs.test_engine import drive, family, totals, tracked


@pytest.fixture
def failed(world: World, project: Project) -> Run:
    """A3 was refused, so that C3 and A2 wait for it; C1 was refused for another reason."""
    family(world, project)
    world.refuse = lambda _, row: "No." if row.get("name") in {"Account 3", "C 1"} else None
    run = drive(services.start_run(project))
    assert totals(run) == {"read": 9, "created": 5, "deferred": 2, "rejected": 2}
    world.refuse = lambda *_: None
    world.writes.clear()
    return run


def test_all_that_is_due_lands_and_what_waited_resolves(world: World, project: Project, failed: Run) -> None:
    world.records.clear()  # staged data is enough: the source is not read again
    run = drive(services.start_retry(project))
    assert run.state == RunState.COMPLETED
    assert totals(run) == {"read": 4, "created": 2, "updated": 2}
    rows = world.rows
    assert rows["account"]["A2"]["parentid"] == rows["account"]["A3"]["target_id"]
    assert rows["contact"]["C3"]["accountid"] == rows["account"]["A3"]["target_id"]
    assert sum(count for _, count in world.writes) == 4
    with pytest.raises(services.RunRefused, match="Nothing is due"):
        services.start_retry(project)


def test_one_object_one_cause_or_a_list(world: World, project: Project, failed: Run) -> None:
    contact = project.project_objects.get(source_entity="Contact")
    run = drive(services.start_retry(project, Scope(objects=(contact.pk,), codes=("refused",))))
    assert totals(run) == {"read": 1, "created": 1}
    assert tracked(project, "Contact")["C1"].state == RecordState.LOADED
    assert tracked(project, "Account")["A3"].state == RecordState.REJECTED
    run = drive(services.start_retry(project, Scope(source_ids=("A3",))))
    assert totals(run) == {"read": 3, "created": 1, "updated": 2}, "the two that waited for it come by themselves"
    assert tracked(project, "Contact")["C3"].state == RecordState.LOADED


def test_what_is_refused_again_stays_due_and_is_tried_once(world: World, project: Project, failed: Run) -> None:
    world.refuse = lambda _, row: "Still no." if row.get("name") == "C 1" else None
    run = drive(services.start_retry(project))
    assert run.state == RunState.COMPLETED_WITH_ERRORS
    assert totals(run) == {"read": 4, "created": 1, "updated": 2, "rejected": 1}
    assert tracked(project, "Contact")["C1"].reason == "Still no."
    world.refuse = lambda *_: None
    assert totals(drive(services.start_retry(project))) == {"read": 1, "created": 1}


def test_pausing_and_many_chunks_lose_nothing(world: World, project: Project) -> None:
    world.page_size = 1
    world.add(schema("Account", "Name"), *({"Id": f"A{n}", "Name": "x"} for n in range(30)))
    factories.project_object(project, "Account")
    world.refuse = lambda *_: "No."
    drive(services.start_run(project))
    world.refuse = lambda *_: None
    run = services.start_retry(project)
    world.after_write = lambda *_: services.pause_run(run) if Chunk.objects.filter(run=run).count() < 25 else None
    drive(run)
    world.after_write = lambda *_: None
    if Run.objects.get(pk=run.pk).state == RunState.PAUSED:
        services.resume_run(run)
    assert totals(drive(run)) == {"read": 30, "created": 30}


def test_a_mapping_that_needs_more_than_was_staged_asks_for_a_load(world: World, project: Project, failed: Run) -> None:
    world.schemas["Contact"] = schema("Contact", *world.schemas["Contact"].fields, "Phone")
    world.target_schemas.pop("contact")
    run = drive(services.start_retry(project))
    assert run.state == RunState.FAILED
    assert run.reason.startswith("The mapping of Contact now reads Phone, which was not read")
    for row in world.records["Contact"]:
        row["Phone"] = "1"
    drive(services.start_retry(project, Scope(reread=True)))
    assert world.rows["contact"]["C1"]["phone"] == "1"


class AskableSource(FakeSource):
    """A source that can be asked for single records."""

    capabilities = replace(FakeSource.capabilities, reads_ids=True)
    asked: ClassVar[list[tuple[str, ...]]] = []

    def read_ids(self, entity: str, fields: Sequence[str], ids: Sequence[str]) -> pl.DataFrame:
        self.asked.append(tuple(ids))
        rows = [{name: row[name] for name in fields} for row in self.world.records[entity] if row["Id"] in ids]
        return pl.DataFrame(rows, schema=dict.fromkeys(fields, pl.String))


def test_just_what_is_due_is_asked_of_the_source_again(
    world: World, project: Project, failed: Run, only_connectors: Connect
) -> None:
    only_connectors({"fake": "tests.runs.test_retry:AskableSource"})
    AskableSource.asked.clear()
    next(row for row in world.records["Account"] if row["Id"] == "A3")["Name"] = "Mended"
    world.records["Contact"] = [row for row in world.records["Contact"] if row["Id"] != "C1"]
    run = drive(services.start_retry(project, Scope(reread=True)))
    assert AskableSource.asked == [("A2", "A3"), ("C1", "C3")]
    assert world.rows["account"]["A3"]["name"] == "Mended"
    assert totals(run) == {"read": 3, "created": 1, "updated": 2}
    told = run.events.get(message__contains="not in the source any more")
    assert told.message.startswith("1 records of Contact that are due")


def test_a_source_that_cannot_be_asked_is_read_whole_and_says_so(world: World, project: Project, failed: Run) -> None:
    next(row for row in world.records["Contact"] if row["Id"] == "C1")["Name"] = "Mended"
    run = drive(services.start_retry(project, Scope(reread=True)))
    assert totals(run) == {"read": 4, "created": 2, "updated": 2}
    assert world.rows["contact"]["C1"]["name"] == "Mended"
    assert run.events.filter(message__contains="cannot be asked for single records: all of Contact").exists()
    assert sum(count for _, count in world.writes) == 4


def test_what_is_not_kept_any_more_is_asked_again(world: World, project: Project, failed: Run) -> None:
    ledger.forget_contents(project.pk, [failed.pk], most=100)
    run = drive(services.start_retry(project))
    assert run.state == RunState.FAILED
    assert "Try again by reading them from the source." in run.reason
    assert totals(drive(services.start_retry(project, Scope(reread=True)))) == {"read": 4, "created": 2, "updated": 2}


@hypothesis.settings(
    max_examples=8, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@given(
    refused=st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=4),
    chosen=st.lists(st.sets(st.integers(0, 7), min_size=1), min_size=4, max_size=4),
    reread=st.booleans(),
)
def test_a_loaded_record_is_never_sent_again(
    world: World, project: Project, refused: list[set[int]], chosen: list[set[int]], reread: bool
) -> None:
    """Whatever is refused by which try, and whatever a person picks: what landed is not among what is sent."""
    with transaction.atomic():
        world.rows.clear()
        world.records.clear()
        world.add(schema("Account", "Name"), *({"Id": f"A{n}", "Name": f"N{n}"} for n in range(8)))
        factories.project_object(project, "Account")
        landed: set[str] = set()
        sent: list[set[str]] = []

        def refuse(_: str, row: Row) -> str | None:
            sent[-1].add(str(row["source_id"]))
            return "No." if row["name"] in no else None

        world.refuse = refuse
        for attempt, numbers in enumerate(refused):
            no = {f"N{n}" for n in numbers}
            sent.append(set())
            ids = tuple(f"A{n}" for n in chosen[attempt])
            try:
                run = services.start_retry(project, Scope(source_ids=ids, reread=reread)) if attempt else None
            except services.RunRefused:
                continue
            drive(run or services.start_run(project))
            assert not sent[-1] & landed
            landed = set(world.rows["account"])
        transaction.set_rollback(True)


def test_the_command(world: World, project: Project, failed: Run, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("retry", str(project.pk), "--code", "refused")
    assert "All 4 records are in the target" in capsys.readouterr().out
    with pytest.raises(CommandError, match="There is no project 999999"):
        call_command("retry", "999999")
    with pytest.raises(CommandError, match="Nothing is due"):
        call_command("retry", str(project.pk), "--code", "unheard_of")


def test_a_list_of_nothing_never_becomes_all(project: Project, failed: Run, tmp_path: Path) -> None:
    blank = tmp_path / "ids"
    for content, told in ((b" \n\n", "names no record"), (b"\xff\xfe", "cannot be read as text")):
        blank.write_bytes(content)
        with pytest.raises(CommandError, match=told):
            call_command("retry", str(project.pk), "--ids", str(blank))
    with pytest.raises(CommandError, match="No such file"):
        call_command("retry", str(project.pk), "--ids", str(tmp_path / "none"))
    assert not Run.objects.filter(kind="retry").exists()
