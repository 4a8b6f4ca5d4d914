"""Records that are gone from the source: found by feed or by sweep, marked or deleted in the target, and given back."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import pytest

from connectors import registry
from connectors.errors import Unavailable
from connectors.types import Capabilities, Deletion, EntityInfo, EntitySchema, Outcome, WriteResult
from projects.models import OnConflict, OnDelete, Project
from runs import conflicts, services
from runs.choices import RecordState, RunState
from runs.models import Chunk, Conflict, Run, RunEvent, SweptKey
from tests import factories
from tests.fakes import Connect, FakeTarget, World, failing, reference, schema
from tests.runs.test_delta import ChangingSource, at
from tests.runs.test_engine import drive, totals, tracked

FEED: dict[str, list[Deletion]] = {}


class FeedingSource(ChangingSource):
    """A source that also tells what was deleted."""

    capabilities = Capabilities(reads=True, counts=True, delta=True, deletes=True)

    def deleted(self, entity: str, *, since: datetime) -> Iterator[Deletion]:
        yield from FEED.get(entity, [])


class HoldingTarget(FakeTarget):
    """A target that deletes no row while another one points at it."""

    def delete(self, entity: str, target_ids: Sequence[str]) -> WriteResult:
        self.world.before_write(entity)
        pointed = {
            value
            for rows in self.world.rows.values()
            for row in rows.values()
            for name, value in row.items()
            if name in {"accountid", "parentid"}
        }
        free = [each for each in target_ids if each not in pointed]
        frame = super().delete(entity, free).frame
        held = [(each, each, Outcome.REJECTED, "in_use", "", "It is in use.") for each in target_ids if each in pointed]
        self.world.after_write(entity)
        more = frame.clear().vstack(type(frame)(held, schema=frame.schema, orient="row")) if held else frame.clear()
        return WriteResult(frame.vstack(more))


@pytest.fixture
def moving(world: World, project: Project, monkeypatch: pytest.MonkeyPatch) -> World:
    """Accounts, and contacts that point at them; found by a sweep of keys."""
    monkeypatch.setattr(registry, "SOURCES", {"fake": "tests.runs.test_delta:ChangingSource"})
    monkeypatch.setattr(registry, "TARGETS", {"fake": "tests.runs.test_delta_deletes:HoldingTarget"})
    FEED.clear()
    info = EntityInfo("Account", "Account", "Id", updated_field="Changed")
    fields = schema("Account", "Name", reference("ParentId", "Account"), "Changed").fields
    accounts = [{"Id": f"A{n}", "Name": f"Account {n}", "Changed": at(8 + n)} for n in range(6)]
    accounts[3]["ParentId"] = "A2"
    world.add(EntitySchema(info, fields), *accounts)
    info = EntityInfo("Contact", "Contact", "Id", updated_field="Changed")
    fields = schema("Contact", "Name", reference("AccountId", "Account"), "Changed").fields
    world.add(EntitySchema(info, fields), {"Id": "C1", "Name": "One", "AccountId": "A1", "Changed": at(9)})
    for entity in ("Account", "Contact"):
        factories.project_object(project, entity, on_delete=OnDelete.MIRROR)
    return world


@pytest.fixture
def fed(moving: World, only_connectors: Connect) -> World:
    only_connectors({"fake": "tests.runs.test_delta_deletes:FeedingSource"})
    return moving


def remove(world: World, entity: str, *ids: str) -> None:
    world.records[entity] = [row for row in world.records[entity] if row["Id"] not in ids]


def deletions(run: Run) -> dict[str, int]:
    """What became of the run's deletions, over all objects."""
    found: dict[str, int] = {}
    for chunk in Chunk.objects.filter(run=run, step__task="delete"):
        for name in ("deleted", "unchanged", "deferred", "skipped", "conflicts"):
            found[name] = found.get(name, 0) + getattr(chunk, name)
    return {name: count for name, count in found.items() if count}


def test_a_sweep_deletes_what_is_gone_children_before_parents(moving: World, project: Project) -> None:
    drive(services.start_run(project))
    remove(moving, "Account", "A1", "A4")
    remove(moving, "Contact", "C1")
    run = drive(services.start_delta(project))
    assert run.state == RunState.COMPLETED, run.reason
    assert deletions(run) == {"deleted": 3}
    assert set(moving.rows["account"]) == {"A0", "A2", "A3", "A5"}
    assert not moving.rows["contact"]
    record = tracked(project, "Account")["A1"]
    assert (record.state, record.target_id) == (RecordState.DELETED, None)
    assert not SweptKey.objects.exists()
    assert deletions(drive(services.start_delta(project))) == {}


def test_a_parent_goes_although_a_record_of_its_own_object_that_goes_too_points_at_it(
    moving: World, project: Project
) -> None:
    drive(services.start_run(project))
    remove(moving, "Account", "A2", "A3")
    assert deletions(drive(services.start_delta(project))) == {"deleted": 2}


def test_what_is_still_pointed_at_is_a_conflict_until_nothing_points_at_it(moving: World, project: Project) -> None:
    drive(services.start_run(project))
    remove(moving, "Account", "A1")
    run = drive(services.start_delta(project))
    assert deletions(run) == {"conflicts": 1}
    record = tracked(project, "Account")["A1"]
    assert (record.state, record.code, record.reason) == (RecordState.CONFLICT, "not_deleted", "It is in use.")
    remove(moving, "Contact", "C1")
    assert deletions(drive(services.start_delta(project))) == {"deleted": 2}


def test_the_feed_is_asked_where_there_is_one(fed: World, project: Project) -> None:
    drive(services.start_run(project))
    remove(fed, "Account", "A4")
    FEED["Account"] = [Deletion("A4", datetime.fromisoformat(at(22))), Deletion("unknown", None)]
    reads: list[str] = []
    fed.before_read = lambda entity, _: reads.append(entity)
    run = drive(services.start_delta(project))
    assert deletions(run) == {"deleted": 1}
    assert reads == ["Account", "Contact"]  # changes only: no sweep
    assert deletions(drive(services.start_delta(project))) == {}


def test_what_came_back_after_its_deletion_is_not_deleted(fed: World, project: Project) -> None:
    drive(services.start_run(project))
    fed.records["Account"][4].update(Name="Restored", Changed=at(22, 30))
    FEED["Account"] = [Deletion("A4", datetime.fromisoformat(at(22)))]
    run = drive(services.start_delta(project))
    assert deletions(run) == {"unchanged": 1}
    assert fed.rows["account"]["A4"]["name"] == "Restored"
    # The feed goes on telling of it; nothing changes.
    assert deletions(drive(services.start_delta(project))) == {"unchanged": 1}
    assert "A4" in fed.rows["account"]


def test_that_the_latest_record_is_gone_is_told_once(fed: World, project: Project) -> None:
    """It is the one at the mark, so that it may be the source that went back; once its deletion is known it is not."""
    drive(services.start_run(project))
    fed.records["Account"] = [row for row in fed.records["Account"] if row["Id"] != "A5"]
    FEED["Account"] = [Deletion("A5", datetime.fromisoformat(at(20)))]
    told = [
        RunEvent.objects.filter(run=drive(services.start_delta(project)), message__contains="A5 of Account").count()
        for _ in range(2)
    ]
    assert told == [1, 0]


def test_a_deleted_record_that_appears_again_is_created_again(moving: World, project: Project) -> None:
    drive(services.start_run(project))
    record = moving.records["Account"][4]
    remove(moving, "Account", "A4")
    drive(services.start_delta(project))
    moving.records["Account"].append({**record, "Changed": at(23)})
    run = drive(services.start_delta(project))
    assert totals(run)["created"] == 1
    assert tracked(project, "Account")["A4"].state == RecordState.LOADED


def test_a_policy_may_only_mark_or_do_nothing(moving: World, project: Project) -> None:
    project.project_objects.update(on_delete=OnDelete.FLAG)
    project.project_objects.filter(source_entity="Contact").update(on_delete=OnDelete.IGNORE)
    drive(services.start_run(project))
    remove(moving, "Account", "A4")
    remove(moving, "Contact", "C1")
    run = drive(services.start_delta(project))
    assert run.steps.filter(task="delete").count() == 1
    assert deletions(run) == {"unchanged": 1}
    assert "A4" in moving.rows["account"]
    record = tracked(project, "Account")["A4"]
    assert (record.state, bool(record.target_id)) == (RecordState.GONE, True)
    assert tracked(project, "Contact")["C1"].state == RecordState.LOADED
    assert deletions(drive(services.start_delta(project))) == {}


def test_a_page_that_shifts_while_it_is_swept_deletes_nothing(moving: World, project: Project) -> None:
    """During the first sweep a record goes, so that the next page passes A3 over; the second sweep meets it."""
    drive(services.start_run(project))
    offsets: list[int] = []

    def shift(entity: str, offset: int) -> None:
        if entity == "Account" and offset == 3:
            offsets.append(offset)
            if len(offsets) == 2:  # the first was the reading of changes
                del moving.records["Account"][0]

    moving.before_read = shift
    for row in moving.records["Account"]:
        row["Changed"] = at(20)
    assert deletions(drive(services.start_delta(project))) == {}
    assert set(moving.rows["account"]) == {f"A{n}" for n in range(6)}
    assert deletions(drive(services.start_delta(project))) == {"deleted": 1}
    assert set(moving.rows["account"]) == {f"A{n}" for n in range(1, 6)}


def test_a_record_that_was_edited_in_the_target_is_spared(moving: World, project: Project) -> None:
    drive(services.start_run(project))
    moving.rows["account"]["A4"]["name"] = "Edited by hand"
    remove(moving, "Account", "A4", "A5")
    run = drive(services.start_delta(project))
    assert deletions(run) == {"deleted": 1, "conflicts": 1}
    assert moving.rows["account"]["A4"]["name"] == "Edited by hand"
    assert Conflict.objects.get().field == ""
    # Asked again with every delta until somebody decides.
    assert deletions(drive(services.start_delta(project))) == {"conflicts": 1}


@pytest.mark.parametrize(("policy", "there"), [(OnConflict.SOURCE, False), (OnConflict.TARGET, True)])
def test_unless_the_object_says_who_wins(moving: World, project: Project, policy: str, there: bool) -> None:
    project.project_objects.update(on_conflict=policy)
    drive(services.start_run(project))
    moving.rows["account"]["A4"]["name"] = "Edited by hand"
    remove(moving, "Account", "A4")
    drive(services.start_delta(project))
    assert ("A4" in moving.rows["account"]) is there
    assert tracked(project, "Account")["A4"].state == (RecordState.GONE if there else RecordState.DELETED)


def test_a_record_that_never_landed_is_due_no_more_once_it_is_gone(moving: World, project: Project) -> None:
    moving.refuse = lambda _, row: "No." if row["name"] == "Account 4" else None
    drive(services.start_run(project))
    remove(moving, "Account", "A4")
    run = drive(services.start_delta(project))
    assert deletions(run) == {"skipped": 1}
    assert tracked(project, "Account")["A4"].state == RecordState.GONE


def test_too_many_deletions_stop_the_run_until_a_person_allows_them(moving: World, project: Project) -> None:
    Project.objects.filter(pk=project.pk).update(delete_stop_percent=40, delete_stop_least=1)
    drive(services.start_run(project))
    remove(moving, "Account", "A0", "A4", "A5")
    run = drive(services.start_delta(project))
    assert run.state == RunState.FAILED
    assert run.reason.startswith("3 of the 6 records of Account in the target are gone from ")
    assert len(moving.rows["account"]) == 6
    services.resume_run(run)
    assert drive(run).state == RunState.FAILED
    person = factories.user()
    services.allow_deletions(run, user=person)
    assert deletions(drive(run)) == {"deleted": 3}
    assert run.events.filter(message__contains=person.username).exists()
    # Once: the next time it stops again.
    remove(moving, "Account", "A1", "A2", "A3")
    remove(moving, "Contact", "C1")
    assert drive(services.start_delta(project)).state == RunState.FAILED


def test_few_deletions_never_stop_a_run_and_only_stopped_runs_are_allowed(moving: World, project: Project) -> None:
    Project.objects.filter(pk=project.pk).update(delete_stop_percent=0, delete_stop_least=1)
    drive(services.start_run(project))
    remove(moving, "Account", "A4")
    run = drive(services.start_delta(project))
    assert deletions(run) == {"deleted": 1}
    with pytest.raises(services.RunRefused, match="did not stop for its deletions"):
        services.allow_deletions(run, user=factories.user())


@pytest.mark.parametrize("moment", ["before_write", "after_write"])
def test_an_interrupted_deletion_goes_on(moving: World, project: Project, moment: str) -> None:
    drive(services.start_run(project))
    remove(moving, "Account", "A4", "A5")
    setattr(moving, moment, failing(3, Unavailable("The target did not answer.")))
    run = drive(services.start_delta(project))
    assert run.state == RunState.COMPLETED, run.reason
    assert set(moving.rows["account"]) == {"A0", "A1", "A2", "A3"}
    assert {tracked(project, "Account")[name].state for name in ("A4", "A5")} == {RecordState.DELETED}


def test_an_interrupted_sweep_goes_on_where_it_stopped(moving: World, project: Project) -> None:
    drive(services.start_run(project))
    remove(moving, "Account", "A4")
    calls: list[tuple[str, int]] = []
    trouble = iter([Unavailable("The source did not answer.")] * 2)

    def read(entity: str, offset: int) -> None:
        calls.append((entity, offset))
        if offset == 3:
            for error in trouble:
                raise error

    moving.before_read = read
    run = drive(services.start_delta(project))
    assert deletions(run) == {"deleted": 1}


def test_a_rollback_gives_back_what_was_deleted(moving: World, project: Project) -> None:
    drive(services.start_run(project))
    before = {entity: {key: dict(row) for key, row in moving.rows[entity].items()} for entity in ("account", "contact")}
    remove(moving, "Account", "A1", "A2", "A3")
    remove(moving, "Contact", "C1")
    undone = drive(services.start_delta(project))
    assert len(moving.rows["account"]) == 3
    run = drive(services.start_rollback(undone))
    assert run.state == RunState.COMPLETED, run.reason
    assert set(moving.rows["account"]) == set(before["account"])
    ids = {row["target_id"]: key for key, row in moving.rows["account"].items()}
    assert ids[moving.rows["contact"]["C1"]["accountid"]] == "A1"
    assert ids[moving.rows["account"]["A3"]["parentid"]] == "A2"
    assert tracked(project, "Account")["A1"].state == RecordState.LOADED
    # The delta then does its work again.
    assert deletions(drive(services.start_delta(project))) == {"deleted": 4}


@pytest.mark.parametrize("order", [1, -1])
def test_a_chain_is_given_back_however_long_and_whichever_end_comes_first(
    moving: World, project: Project, order: int
) -> None:
    """Each can only be created again once the one it hangs on is there: over chunks, and within one."""
    names = [f"A{n}" for n in range(6)][::order]
    parents = dict(zip(names, [*names[1:], None], strict=True))
    for row in moving.records["Account"]:
        row["ParentId"] = parents[str(row["Id"])]
    drive(services.start_run(project))
    before = chain(moving)
    assert len(before) == 5
    remove(moving, "Account", *(f"A{n}" for n in range(6)))
    remove(moving, "Contact", "C1")
    undone = drive(services.start_delta(project))
    if services.stopped_deletions(undone).exists():
        services.allow_deletions(undone, user=factories.user())
        undone = drive(undone)
    assert (deletions(undone), moving.rows["account"]) == ({"deleted": 7}, {})
    run = drive(services.start_rollback(undone))
    assert run.state == RunState.COMPLETED, run.reason
    assert chain(moving) == before


def chain(world: World) -> dict[str, str]:
    """Account → the one it hangs on, in the target."""
    ids = {row["target_id"]: key for key, row in world.rows["account"].items()}
    return {key: ids[str(row["parentid"])] for key, row in world.rows["account"].items() if row["parentid"]}


def test_who_decided_to_keep_an_edited_record_is_not_asked_again(moving: World, project: Project) -> None:
    drive(services.start_run(project))
    moving.rows["account"]["A4"]["name"] = "Edited by hand"
    remove(moving, "Account", "A4")
    drive(services.start_delta(project))
    conflicts.decide(project, "target", user=factories.user())
    for _ in range(3):
        run = drive(services.start_delta(project))
        assert (run.state, tracked(project, "Account")["A4"].state) == (RunState.COMPLETED, RecordState.GONE)
        assert not conflicts.queue(factories.user(superuser=True), project).exists()
    # But about another edit than the one that was decided about.
    moving.rows["account"]["A4"]["name"] = "Edited once more"
    assert deletions(drive(services.start_delta(project))) == {"conflicts": 1}


def test_what_let_go_of_a_deleted_record_gets_hold_of_its_successor(moving: World, project: Project) -> None:
    """Before it was deleted, others were made to point elsewhere; taken back, they point at what was created again."""
    drive(services.start_run(project))
    contact = moving.records["Contact"][0]
    contact.update(AccountId="A5", Changed=at(20))
    moving.records["Account"][3].update(ParentId=None, Changed=at(20))
    remove(moving, "Account", "A1", "A2")
    undone = drive(services.start_delta(project))
    assert set(moving.rows["account"]) == {"A0", "A3", "A4", "A5"}
    run = drive(services.start_rollback(undone))
    assert run.state == RunState.COMPLETED, run.reason
    ids = {row["target_id"]: key for key, row in moving.rows["account"].items()}
    assert ids[moving.rows["contact"]["C1"]["accountid"]] == "A1"
    assert ids[moving.rows["account"]["A3"]["parentid"]] == "A2"
    again = drive(services.start_delta(project))
    assert (again.state, deletions(again)) == (RunState.COMPLETED, {"deleted": 2})
