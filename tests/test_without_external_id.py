"""Objects without any external id move between two simulated orgs exactly once, whoever dies, and are taken back."""

import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import polars as pl
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse

from connectors.clients.salesforce_objects import Records
from connectors.clients.salesforce_results import landed
from connectors.errors import Unavailable
from connectors.types import ID_MAP
from migration_factory.rehearsal import erase, make_org, salesforce_reach
from orgs import services as orgs
from orgs.models import Customer, Role
from projects import services as projects
from projects.models import OnDelete, Project
from runs import drivers, ledger, reports, services, transitions
from runs.choices import RunState
from runs.crash_points import CrashPoint
from runs.dry_runs import start_dry_run
from runs.ledger import Scope
from runs.models import Insertion, Run, RunEvent, TrackedRecord
from sandbox.salesforce.running import Running, running_simulator
from tests.connectors.payroll_org import records_of
from tests.faults.mortal import Life, let_leases_end, live
from tests.runs.screens import signed_in, text

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

SHED, BOX = "Shed__c", "Box__c"
TEXT = {"type": "Text", "length": 40}
SHEDS = {
    "fullName": SHED,
    "label": "Shed",
    "fields": [
        {"fullName": "Size__c", "label": "Size", **TEXT},
        {"fullName": "Within__c", "label": "Within", "type": "Lookup", "referenceTo": SHED},
    ],
}
BOXES = {
    "fullName": BOX,
    "label": "Box",
    "fields": [
        {"fullName": "Note__c", "label": "Note", **TEXT},
        {"fullName": "Shed__c", "label": "Shed", "type": "Lookup", "referenceTo": SHED},
    ],
}
Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Move:
    """Sheds, many of which say the same and each of which has boxes of its own, some within others."""

    source: Running
    target: Running
    project: Project

    def held(self, org: Running) -> dict[str, Rows]:
        return {
            SHED: {str(row["Id"]): row for row in records_of(org, SHED, "Id", "Name", "Size__c", "Within__c")},
            BOX: {str(row["Id"]): row for row in records_of(org, BOX, "Id", "Name", "Note__c", "Shed__c")},
        }

    def ids(self) -> dict[str, str | None]:
        return dict(TrackedRecord.objects.filter(project=self.project).values_list("source_id", "target_id"))

    def problems(self) -> list[str]:
        """In what the target is not the source, record by record and reference by reference."""
        ours, theirs, ids = self.held(self.source), self.held(self.target), self.ids()
        there = [target for target in ids.values() if target]
        found = [] if len(set(there)) == len(there) else ["two records have one target id"]
        for name, reference in ((SHED, "Within__c"), (BOX, "Shed__c")):
            if len(ours[name]) != len(theirs[name]):
                found.append(f"{len(theirs[name])} {name} for {len(ours[name])}")
            for key, row in ours[name].items():
                moved = theirs[name].get(ids.get(key) or "")
                wanted = {
                    field: ids.get(value) if field == reference else value
                    for field, value in row.items()
                    if field not in ("Id", "attributes")
                }
                if moved is None or any(moved[field] != value for field, value in wanted.items()):
                    found.append(f"{name} {key}: {moved} is not {wanted}")
        return found


@pytest.fixture
def move(settings: Any) -> Iterator[Move]:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    with running_simulator() as source, running_simulator() as target:
        for org in (source, target):
            org.control.define(SHEDS)
            org.control.define(BOXES)
        fill(source)
        customer = Customer.objects.create(name="Sheds", slug="keyless")
        from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
        to_org = make_org(customer, "Target", Role.TARGET, salesforce_reach(target.ready))
        project = projects.create_project(customer, "Move", source=from_org, target=to_org)
        with orgs.open_source(from_org) as reader, orgs.open_target(to_org) as writer:
            projects.adopt_like(project, reader, writer, [SHED, BOX])
        yield Move(source, target, project)
        erase(customer)


def fill(source: Running) -> None:
    """Three kinds of sheds that say the same among themselves; every third lies within one made after it."""
    sheds = source.control.upsert(SHED, [{"Name": "Shed", "Size__c": f"Size {number % 3}"} for number in range(18)])
    within = [
        {"Id": one, "Within__c": sheds[(number + 5) % len(sheds)]}
        for number, one in enumerate(sheds)
        if number % 3 == 0
    ]
    source.control.upsert(SHED, within)
    source.control.upsert(
        BOX,
        [
            {"Name": "Box", "Note__c": f"Note {number % 2}", "Shed__c": sheds[number % len(sheds)]}
            for number in range(40)
        ],
    )


def driven(run: Run) -> Run:
    drivers.drive_here(run.pk)
    return Run.objects.get(pk=run.pk)


def said(run: Run) -> str:
    return "\n".join(RunEvent.objects.filter(run=run).order_by("pk").values_list("message", flat=True))


def totals(run: Run) -> Mapping[str, int]:
    return {name: count for name, count in reports.figures(run).totals.items() if count and name != "read"}


def test_it_moves_is_followed_and_taken_back(move: Move) -> None:
    assert set(move.project.project_objects.values_list("key", flat=True)) == {ID_MAP}
    tried = driven(start_dry_run(move.project))
    assert tried.state == RunState.COMPLETED, tried.reason
    assert move.held(move.target) == {SHED: {}, BOX: {}}

    run = driven(services.start_run(move.project))
    assert run.state == RunState.COMPLETED, run.reason
    assert reports.figures(run).good
    assert totals(run)["created"] == 58
    assert move.problems() == []
    assert "Shed__c has no external id in the target" in said(run)
    assert not Insertion.objects.exists(), "what the id map has is not kept twice"
    assert not any("composite/sobjects" in call and call.startswith("POST") for call in move.target.control.calls())

    before = move.held(move.target)
    assert set(totals(driven(services.start_run(move.project)))) == {"unchanged"}
    assert move.held(move.target) == before

    sheds = list(move.held(move.source)[SHED])
    move.source.control.upsert(SHED, [{"Id": sheds[1], "Size__c": "Large"}])
    move.source.control.upsert(BOX, [{"Name": "Box", "Note__c": "Note 0", "Shed__c": sheds[1]}])
    boxes = list(move.held(move.source)[BOX])
    move.source.control.delete(BOX, boxes[:2])
    move.project.project_objects.update(on_delete=OnDelete.MIRROR)
    delta = driven(services.start_delta(move.project))
    assert delta.state == RunState.COMPLETED, delta.reason
    assert {name: totals(delta).get(name, 0) for name in ("created", "updated", "deleted")} == {
        "created": 1, "updated": 1, "deleted": 2
    }  # fmt: skip
    left = {key: there for key, there in move.ids().items() if there is None}
    assert sorted(left) == sorted(boxes[:2])

    # Taking the delta back creates the two again, under ids of their own; taking the load back leaves nothing.
    undone = driven(services.start_rollback(delta))
    assert undone.state == RunState.COMPLETED, undone.reason
    assert reports.figures(undone).good
    assert content(move.held(move.target)) == content(before)
    assert not Insertion.objects.exists()
    undone = driven(services.start_rollback(run))
    assert undone.state == RunState.COMPLETED, undone.reason
    assert move.held(move.target) == {SHED: {}, BOX: {}}
    again = driven(services.start_run(move.project))
    assert again.state == RunState.COMPLETED, again.reason
    assert move.problems() == []


def content(held: dict[str, Rows]) -> dict[str, Counter[tuple[str, ...]]]:
    """What the records say, without their ids; a shed's size and its boxes stand for the shed."""
    size = {key: row["Size__c"] for key, row in held[SHED].items()}
    return {
        SHED: Counter((row["Name"], row["Size__c"], size.get(row["Within__c"], "")) for row in held[SHED].values()),
        BOX: Counter((row["Name"], row["Note__c"], size.get(row["Shed__c"], "")) for row in held[BOX].values()),
    }


def test_a_rollback_that_leaves_something_does_not_prove_itself(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was deleted has left the id map, and is looked for by its own id all the same."""
    run = driven(services.start_run(move.project))

    def pretend(_: object, target_ids: Sequence[str]) -> pl.DataFrame:
        return landed(pl.DataFrame({"key": target_ids, "target_id": target_ids}), pl.lit("deleted"))

    monkeypatch.setattr(Records, "delete", pretend)
    undone = driven(services.start_rollback(run))
    assert undone.state == RunState.COMPLETED_WITH_ERRORS
    assert "58 not as they were on reading back" in undone.reason


def test_records_that_are_there_are_taken_over_by_their_match_key(move: Move) -> None:
    there = move.target.control.upsert(SHED, [{"Name": "Mine", "Size__c": "Old"}])
    [mine] = move.source.control.upsert(SHED, [{"Name": "Mine", "Size__c": "New"}])
    sheds = list(move.held(move.source)[SHED])
    for number, key in enumerate(key for key in sheds if key != mine):
        move.source.control.upsert(SHED, [{"Id": key, "Name": f"Shed {number}"}])
    move.project.project_objects.filter(source_entity=SHED).update(match_fields=["Name"])
    run = driven(services.start_run(move.project))
    assert run.state == RunState.COMPLETED, run.reason
    assert move.ids()[mine] == there[0]
    assert move.problems() == []
    undone = driven(services.start_rollback(run))
    assert undone.state == RunState.COMPLETED, undone.reason
    assert [(row["Id"], row["Size__c"]) for row in records_of(move.target, SHED, "Id", "Size__c")] == [
        (there[0], "Old")
    ]  # fmt: skip


# --- Whoever dies ---------------------------------------------------------------------------------------------
INSERTS = [point for point in CrashPoint if point.startswith("insert.")]
AROUND = [CrashPoint.LOAD_INTENDED, CrashPoint.LOAD_SENT, CrashPoint.RECORD_IN_TRANSACTION, CrashPoint.LOAD_RECORDED]


def life(run: Run, crash: str = "", overtaken: str = "") -> int | None:
    place = {name: connection.settings_dict[name] for name in ("NAME", "USER", "HOST", "PORT", "PASSWORD")}
    return live(Life(place, run.pk, crash, overtaken=overtaken))


@pytest.mark.long
def test_whoever_dies_in_a_load_leaves_it_exact(move: Move) -> None:
    """At the first object and at the second one, each in a run of its own over new records."""
    for point in (*INSERTS, *AROUND):
        for number in (1, 2):
            if Run.objects.exists():
                fill(move.source)
            run = services.start_run(move.project, drivers=1)
            assert life(run, f"{point}:{number}") == -signal.SIGKILL, f"nobody came to {point} {number} times"
            let_leases_end()
            assert life(run) == 0
            ended = Run.objects.get(pk=run.pk)
            assert ended.state == RunState.COMPLETED, (point, number, ended.reason)
            assert totals(ended)["created"] == 58, (point, number, totals(ended))
            assert move.problems()[:3] == [], (point, number)
            assert not Insertion.objects.exists()


def test_whoever_dies_giving_back_what_was_deleted_leaves_it_exact(move: Move) -> None:
    driven(services.start_run(move.project))
    before = content(move.held(move.target))
    move.project.project_objects.update(on_delete=OnDelete.MIRROR)
    move.source.control.delete(BOX, list(move.held(move.source)[BOX])[:3])
    delta = driven(services.start_delta(move.project))
    for point in INSERTS:
        undone = services.start_rollback(delta, drivers=1)
        assert life(undone, point) == -signal.SIGKILL, f"nobody came to {point}"
        let_leases_end()
        assert life(undone) == 0
        assert Run.objects.get(pk=undone.pk).state == RunState.COMPLETED
        assert content(move.held(move.target)) == before, point
        delta = driven(services.start_delta(move.project))


@pytest.mark.long
@pytest.mark.parametrize("point", INSERTS)
def test_a_worker_that_was_overtaken_brings_nothing(move: Move, point: CrashPoint) -> None:
    run = services.start_run(move.project, drivers=1)
    life(run, overtaken=point)
    assert Run.objects.get(pk=run.pk).state == RunState.COMPLETED
    assert move.problems() == []


@pytest.mark.parametrize("point", INSERTS)
@pytest.mark.parametrize("asked", [True, False], ids=["asked", "unasked"])
def test_what_a_cancelled_run_created_is_known(move: Move, point: CrashPoint, *, asked: bool) -> None:
    """By the run itself, which asks its jobs before it ends; or, where the target did not answer then, by the next one,
    whose records they are when it is taken back."""
    run = services.start_run(move.project, drivers=1)
    assert life(run, point) == -signal.SIGKILL
    let_leases_end()
    services.cancel_run(run)
    if not asked:
        assert transitions.move(run.pk, RunState.CANCELLED, reason="The target did not answer.")
    assert driven(run).state == RunState.CANCELLED
    later = driven(services.start_run(move.project))
    assert later.state == RunState.COMPLETED, later.reason
    assert totals(later)["created"] == (40 if asked else 58)
    assert move.problems() == []
    for each in (later, run) if asked else (later,):
        undone = driven(services.start_rollback(Run.objects.get(pk=each.pk)))
        assert undone.state == RunState.COMPLETED, undone.reason
    assert move.held(move.target) == {SHED: {}, BOX: {}}


def test_results_that_are_gone_stop_the_run_until_a_person_has_looked(move: Move) -> None:
    run = services.start_run(move.project, drivers=1)
    assert life(run, CrashPoint.INSERT_ANSWERED) == -signal.SIGKILL
    let_leases_end()
    job = Insertion.objects.values_list("job", flat=True).first()
    assert job is not None
    with orgs.open_target(move.project.target) as target:
        session = target._session  # type: ignore[attr-defined]  # as Salesforce does after seven days
        session.http.send("DELETE", session.path("jobs", "ingest", job))
    for _ in range(2):
        stopped = driven(run)
        assert stopped.state == RunState.FAILED
        assert f"the bulk job {job} for seven days only" in stopped.reason
        with pytest.raises(CommandError, match="No job 750X"):
            call_command("forget_job", move.project.pk, "750X")
        services.resume_run(stopped)
        with pytest.raises(CommandError, match="is under way"):
            call_command("forget_job", move.project.pk, job)
    assert len(move.held(move.target)[SHED]) == 18, "nothing was sent again"
    assert driven(run).state == RunState.FAILED
    listed = StringIO()
    call_command("forget_job", move.project.pk, stdout=listed)
    assert listed.getvalue().startswith(f"{job}: 18 records of {SHED}, begun ")
    move.target.control.delete(SHED, list(move.held(move.target)[SHED]))
    call_command("forget_job", move.project.pk, job, stdout=listed)
    assert "Forgotten: 18 records" in listed.getvalue()
    services.resume_run(run)
    assert driven(run).state == RunState.COMPLETED
    assert move.problems() == []


def test_two_workers_that_have_one_record_create_it_once(move: Move) -> None:
    """A page of the source may come twice, to two workers at the same time."""
    project = move.project.pk
    ledger.begin_insertion(None, project, SHED, "one", {"a": "digest"}, gone={})
    with pytest.raises(Unavailable, match="being created elsewhere"):
        ledger.begin_insertion(None, project, SHED, "two", {"b": "digest", "a": "digest"}, gone={})
    assert [begun.job for begun in ledger.begun_insertions(project, SHED, ["a", "b"])] == ["one"]
    ledger.answer_insertion(None, project, "one", {"a": "here"})
    with pytest.raises(Unavailable):
        ledger.begin_insertion(None, project, SHED, "two", {"a": "digest"}, gone={})
    # Who has looked, and found it gone from the target, may create it anew.
    ledger.begin_insertion(None, project, SHED, "two", {"a": "digest"}, gone={"a": "here"})
    assert ledger.forget_insertion(None, project, "two") == 1
    with pytest.raises(Unavailable, match="was given up elsewhere"):
        ledger.close_insertion(None, project, "two")


# --- The path -------------------------------------------------------------------------------------------------
def test_the_path_says_which_objects_have_none_and_what_follows(move: Move) -> None:
    page = reverse("admin:projects_path_records", args=[move.project.pk])
    operator = ("projects.view_project", "projects.change_project", "orgs.view_org")
    told = text(signed_in(*operator), page)
    assert (
        "Shed__c has no external id in the target: which record is which, only the id map of this project knows" in told
    )
    assert "Have an external id made" in text(signed_in(*operator, "projects.create_external_id"), page)


def test_an_object_stays_with_the_id_map_once_it_has_moved_by_it(move: Move) -> None:
    driven(services.start_run(move.project))
    assert projects.make_key(move.project, SHED)
    with orgs.open_source(move.project.source) as reader, orgs.open_target(move.project.target) as writer:
        projects.choose_like(move.project, reader, writer, [SHED, BOX])
    assert set(move.project.project_objects.values_list("key", flat=True)) == {ID_MAP}
    assert set(totals(driven(services.start_run(move.project)))) == {"unchanged"}
    assert driven(services.start_rollback_of(move.project, Scope(source_ids=tuple(move.held(move.source)[BOX])))).state


def test_an_external_id_that_is_made_first_is_used(move: Move) -> None:
    assert projects.make_key(move.project, SHED)
    with orgs.open_source(move.project.source) as reader, orgs.open_target(move.project.target) as writer:
        projects.choose_like(move.project, reader, writer, [SHED])
    assert move.project.project_objects.get(enabled=True).key == "Migration_Factory_Id__c"
