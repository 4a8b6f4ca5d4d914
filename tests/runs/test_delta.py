"""Bringing only what changed, again and again, and sparing what people edited in the target."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import polars as pl
import pytest
from django.core.management import call_command

from connectors.errors import Unavailable
from connectors.types import Capabilities, Cursor, EntityInfo, EntitySchema, FieldInfo, Page
from projects.models import OnConflict, Project
from runs import services
from runs.choices import RecordState, RunState
from runs.ledger import Scope
from runs.models import Finding, RunEvent
from tests import factories
from tests.fakes import FakeSource, World, failing, schema
from tests.runs.test_engine import drive, totals, tracked


class ChangingSource(FakeSource):
    """A source that can be asked for changes by its field ``Changed``."""

    capabilities = Capabilities(reads=True, counts=True, delta=True)

    def count(self, entity: str, *, since: datetime | None = None) -> int | None:
        return len(self._since(entity, since))

    def read(
        self, entity: str, fields: Sequence[str], *, since: datetime | None = None, cursor: Cursor | None = None
    ) -> Iterator[Page]:
        offset, ended = int(str(cursor["offset"])) if cursor else 0, False
        while not ended:
            self.world.before_read(entity, offset)
            records = self._since(entity, since)
            page = records[offset : offset + self.world.page_size]
            offset += len(page)
            ended = offset >= len(records)
            frame = pl.DataFrame(
                [{name: row[name] for name in fields} for row in page], schema=dict.fromkeys(fields, pl.String)
            )
            yield Page(frame, None if ended else {"offset": offset})

    def _since(self, entity: str, since: datetime | None) -> list[dict[str, str | None]]:
        records = self.world.records[entity]
        if since is None:
            return list(records)
        return [row for row in records if not row["Changed"] or datetime.fromisoformat(row["Changed"]) >= since]


def at(hour: int, minute: int = 0) -> str:
    return f"2026-11-20T{hour:02}:{minute:02}:00Z"


@pytest.fixture
def moving(world: World, project: Project, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("connectors.registry.SOURCES", {"fake": "tests.runs.test_delta:ChangingSource"})
    plain = schema("Account", "Name", "Changed")
    entity = EntitySchema(EntityInfo("Account", "Account", "Id", updated_field="Changed"), plain.fields)
    world.add(entity, *({"Id": f"A{n}", "Name": f"Account {n}", "Changed": at(8 + n)} for n in range(6)))
    factories.project_object(project, "Account")
    return world


def change(world: World, number: int, name: str, when: str) -> None:
    world.records["Account"][number].update(Name=name, Changed=when)


def test_a_delta_reads_from_the_watermark_less_the_overlap(moving: World, project: Project) -> None:
    assert totals(drive(services.start_run(project))) == {"read": 6, "created": 6}
    change(moving, 1, "Changed", at(20))
    moving.records["Account"].append({"Id": "A6", "Name": "New", "Changed": at(21)})
    run = drive(services.start_delta(project))
    # A5 was changed at 13:00, the watermark: it is within the overlap and read again, but not written.
    assert totals(run) == {"read": 3, "created": 1, "updated": 1, "unchanged": 1}
    step = run.steps.get()
    assert (step.since, step.since_id) == (datetime(2026, 11, 20, 12, 50, tzinfo=UTC), "A5")
    assert (step.watermark, step.watermark_id) == (datetime(2026, 11, 20, 21, tzinfo=UTC), "A6")
    assert totals(drive(services.start_delta(project))) == {"read": 1, "unchanged": 1}


def test_a_first_delta_reads_everything(moving: World, project: Project) -> None:
    assert totals(drive(services.start_delta(project))) == {"read": 6, "created": 6}


def test_what_was_staged_but_never_loaded_is_read_again(moving: World, project: Project) -> None:
    run = services.start_run(project)
    moving.after_write = lambda *_: services.cancel_run(run)
    assert drive(run).state == RunState.CANCELLED
    moving.after_write = lambda *_: None
    delta = drive(services.start_delta(project))
    assert totals(delta)["read"] == 6
    assert set(moving.rows["account"]) == {f"A{n}" for n in range(6)}


def test_a_refused_record_stays_due_although_the_watermark_passed_it(moving: World, project: Project) -> None:
    moving.refuse = lambda _, row: "No." if row["name"] == "Account 2" else None
    drive(services.start_run(project))
    assert totals(drive(services.start_delta(project))) == {"read": 2, "unchanged": 1, "rejected": 1}
    assert tracked(project, "Account")["A2"].state == RecordState.REJECTED
    moving.refuse = lambda *_: None
    call_command("delta", str(project.pk))
    assert tracked(project, "Account")["A2"].state == RecordState.LOADED
    assert totals(drive(services.start_delta(project))) == {"read": 1, "unchanged": 1}


def test_what_is_due_comes_as_it_is_now_where_it_changed(moving: World, project: Project) -> None:
    moving.refuse = lambda _, row: "No." if row["name"] == "Account 2" else None
    drive(services.start_run(project))
    change(moving, 2, "Mended", at(20))
    assert totals(drive(services.start_delta(project))) == {"read": 2, "created": 1, "unchanged": 1}
    assert moving.rows["account"]["A2"]["name"] == "Mended"


def test_due_records_that_lack_a_field_stay_due_and_are_told(
    moving: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving.refuse = lambda _, row: "No." if row["name"] == "Account 2" else None
    drive(services.start_run(project))
    info = moving.schemas["Account"]
    moving.schemas["Account"] = EntitySchema(info.entity, (*info.fields, FieldInfo("Phone")))
    moving.target_schemas.clear()
    for row in moving.records["Account"]:
        row["Phone"] = None
    run = drive(services.start_delta(project))
    assert run.events.filter(message__contains="the mapping now reads Phone").exists()
    assert tracked(project, "Account")["A2"].state == RecordState.REJECTED


def test_a_delta_brings_again_what_was_rolled_back(moving: World, project: Project) -> None:
    drive(services.start_run(project))
    change(moving, 1, "Changed", at(20))
    undone = drive(services.start_delta(project))
    drive(services.start_rollback(undone))
    assert moving.rows["account"]["A1"]["name"] == "Account 1"
    assert totals(drive(services.start_delta(project))) == {"read": 2, "updated": 1, "unchanged": 1}
    assert moving.rows["account"]["A1"]["name"] == "Changed"
    assert totals(drive(services.start_delta(project))) == {"read": 1, "unchanged": 1}


def test_also_where_a_later_delta_had_moved_the_watermark_on(moving: World, project: Project) -> None:
    first = drive(services.start_run(project))
    moving.records["Account"].append({"Id": "A6", "Name": "New", "Changed": at(21)})
    drive(services.start_delta(project))
    drive(services.start_rollback(first))
    assert set(moving.rows["account"]) == {"A6"}
    assert totals(drive(services.start_delta(project))) == {"read": 7, "created": 6, "unchanged": 1}


def test_a_rollback_that_was_cancelled_before_it_began_changes_nothing(moving: World, project: Project) -> None:
    run = drive(services.start_run(project))
    rollback = services.start_rollback(run)
    services.cancel_run(rollback)
    drive(rollback)
    assert totals(drive(services.start_delta(project))) == {"read": 1, "unchanged": 1}


def test_many_records_of_one_moment_are_all_read(moving: World, project: Project) -> None:
    moving.records["Account"] = [{"Id": f"B{n:02}", "Name": "x", "Changed": at(9)} for n in range(17)]
    drive(services.start_run(project))
    for row in moving.records["Account"]:
        row.update(Name="y", Changed=at(10))
    run = drive(services.start_delta(project))
    assert totals(run) == {"read": 17, "updated": 17}
    assert {row["name"] for row in moving.rows["account"].values()} == {"y"}
    assert run.steps.get().watermark_id == "B16"


def test_the_mark_is_the_last_id_of_its_moment_whichever_page_it_came_on(moving: World, project: Project) -> None:
    """By code points: Salesforce's ids tell upper case from lower."""
    ids = ["a1", "B1", "z9", "Z9", "b2", "y"]
    moving.records["Account"] = [{"Id": given, "Name": "x", "Changed": at(9)} for given in ids]
    moving.records["Account"].append({"Id": "zz", "Name": "x", "Changed": at(8)})
    assert drive(services.start_run(project)).steps.get().watermark_id == "z9"


def test_a_source_that_was_set_back_is_told(moving: World, project: Project) -> None:
    """The record at the mark is read by every delta. Where it does not come, times of change tell nothing any more."""
    drive(services.start_run(project))
    assert not RunEvent.objects.filter(run=drive(services.start_delta(project)), level="warning")
    moving.records["Account"][5].update(Changed=at(7))
    run = drive(services.start_delta(project))
    (told,) = RunEvent.objects.filter(run=run, level="warning")
    assert "The record A5 of Account, the latest change read before, did not come again" in told.message
    assert "start a load, which reads everything" in told.message


def test_the_watermark_is_the_sources_own_time_however_wrong_its_clock(moving: World, project: Project) -> None:
    for number, row in enumerate(moving.records["Account"]):
        row["Changed"] = f"2031-01-01T0{number}:00:00Z"
    drive(services.start_run(project))
    change(moving, 0, "Changed", "2031-01-01T05:30:00Z")
    run = drive(services.start_delta(project))
    assert totals(run) == {"read": 2, "updated": 1, "unchanged": 1}
    assert run.steps.get().since == datetime(2031, 1, 1, 4, 50, tzinfo=UTC)


def test_a_record_without_a_time_is_read_by_every_delta(moving: World, project: Project) -> None:
    moving.records["Account"][3]["Changed"] = None
    drive(services.start_run(project))
    moving.records["Account"][3]["Name"] = "Changed without saying when"
    assert totals(drive(services.start_delta(project))) == {"read": 2, "updated": 1, "unchanged": 1}
    assert moving.rows["account"]["A3"]["name"] == "Changed without saying when"


def test_pages_that_shift_under_writes_lose_nothing_in_the_end(moving: World, project: Project) -> None:
    """A record is deleted while pages are read by offset: the next page begins one too far, and passes A3 over."""
    change(moving, 3, "Account 3", at(20))
    gone = iter([1])

    def shift(entity: str, offset: int) -> None:
        if offset == 3:
            for _ in gone:
                del moving.records["Account"][0]

    moving.before_read = shift
    drive(services.start_run(project))
    assert "A3" not in moving.rows["account"]
    drive(services.start_delta(project))
    assert set(moving.rows["account"]) == {f"A{n}" for n in range(6)}


def test_late_commits_and_texts_that_are_no_times(moving: World, project: Project) -> None:
    drive(services.start_run(project))
    # Committed after our read under a time shortly before the watermark: the overlap catches it.
    moving.records["Account"].append({"Id": "A7", "Name": "Late", "Changed": at(12, 55)})
    moving.records["Account"].append({"Id": "A8", "Name": "Early", "Changed": at(12, 40)})
    run = drive(services.start_delta(project))
    assert totals(run) == {"read": 2, "created": 1, "unchanged": 1}
    assert "A8" not in moving.rows["account"]


def test_an_edit_in_the_target_outweighs_a_change_of_the_source(moving: World, project: Project) -> None:
    drive(services.start_run(project))
    moving.rows["account"]["A1"]["name"] = "Edited by hand"
    change(moving, 1, "Changed in the source", at(20))
    change(moving, 2, "Changed too", at(20))
    run = drive(services.start_delta(project))
    assert totals(run) == {"read": 3, "updated": 1, "unchanged": 1, "conflicts": 1}
    assert moving.rows["account"]["A1"]["name"] == "Edited by hand"
    record = tracked(project, "Account")["A1"]
    assert (record.state, record.code) == (RecordState.CONFLICT, "edited")
    # It stays a conflict, however often it is tried.
    assert totals(drive(services.start_run(project))) == {"read": 6, "unchanged": 5, "conflicts": 1}


def test_or_the_source_wins_where_the_object_says_so(moving: World, project: Project) -> None:
    project.project_objects.update(on_conflict=OnConflict.SOURCE)
    drive(services.start_run(project))
    moving.rows["account"]["A1"]["name"] = "Edited by hand"
    change(moving, 1, "Changed in the source", at(20))
    assert totals(drive(services.start_delta(project))) == {"read": 2, "updated": 1, "unchanged": 1}
    assert moving.rows["account"]["A1"]["name"] == "Changed in the source"


@pytest.mark.parametrize("moment", ["before_write", "after_write"])
def test_an_interrupted_delta_takes_its_own_write_for_no_edit(moving: World, project: Project, moment: str) -> None:
    drive(services.start_run(project))
    for number in range(6):
        change(moving, number, f"Changed {number}", at(20, number))
    setattr(moving, moment, failing(3, Unavailable("The target did not answer.")))
    run = drive(services.start_delta(project))
    assert totals(run) == {"read": 6, "updated": 6}
    assert not Finding.objects.filter(run=run).exists()


def test_without_a_way_to_ask_for_changes_the_hash_finds_them(world: World, project: Project) -> None:
    world.add(schema("Account", "Name"), {"Id": "A1", "Name": "x"}, {"Id": "A2", "Name": "y"})
    factories.project_object(project, "Account")
    drive(services.start_run(project))
    world.records["Account"][0]["Name"] = "z"
    run = drive(services.start_delta(project))
    assert totals(run) == {"read": 2, "updated": 1, "unchanged": 1}
    assert run.steps.get().since is None


def test_two_deltas_without_changes_write_nothing(moving: World, project: Project) -> None:
    drive(services.start_run(project))
    moving.writes.clear()
    for _ in range(2):
        assert totals(drive(services.start_delta(project))) == {"read": 1, "unchanged": 1}
    assert moving.writes == []


@pytest.mark.parametrize("kind", ["delta", "load"])
def test_what_had_been_refused_is_due_again_once_the_run_that_brought_it_is_taken_back(
    moving: World, project: Project, kind: str
) -> None:
    """The watermark had passed it long before: only that it was due had brought it."""
    moving.refuse = lambda _, row: "No." if row["name"] in {"Account 2", "Moved"} else None
    drive(services.start_run(project))
    change(moving, 1, "Moved", at(15))
    change(moving, 5, "Late", at(20))
    drive(services.start_delta(project))
    moving.refuse = lambda *_: None
    brought = drive(services.start_delta(project) if kind == "delta" else services.start_run(project))
    assert (moving.rows["account"]["A1"]["name"], moving.rows["account"]["A2"]["name"]) == ("Moved", "Account 2")
    drive(services.start_rollback(brought))
    assert (moving.rows["account"]["A1"]["name"], "A2" in moving.rows["account"]) == ("Account 1", False)
    drive(services.start_delta(project))
    assert (moving.rows["account"]["A1"]["name"], moving.rows["account"]["A2"]["name"]) == ("Moved", "Account 2")
    assert totals(drive(services.start_delta(project))) == {"read": 1, "unchanged": 1}


# --- What people took back by choice -------------------------------------------------------------------------------
def test_what_was_taken_back_by_choice_stays_out_until_somebody_brings_it_again(
    moving: World, project: Project
) -> None:
    drive(services.start_run(project))
    chosen = Scope(source_ids=("A2", "A5"))
    assert drive(services.start_rollback_of(project, chosen)).state == RunState.COMPLETED
    # A5 was the latest change and is read again for the overlap; A2 changes in the source.
    moving.records["Account"][2].update(Name="Changed", Changed=at(20))
    moving.records["Account"][3].update(Name="Other", Changed=at(20))
    delta = drive(services.start_delta(project))
    assert (delta.state, totals(delta)) == (RunState.COMPLETED, {"read": 1, "updated": 1})
    assert set(moving.rows["account"]) == {"A0", "A1", "A3", "A4"}
    told = RunEvent.objects.filter(run=delta).values_list("message", flat=True)
    assert [each.partition(";")[0] for each in told if "taken back by choice" in each] == [
        "2 records of Account were read that had been taken back by choice"
    ]
    assert not any("did not come again" in each for each in told)
    assert {tracked(project, "Account")[name].state for name in ("A2", "A5")} == {RecordState.ROLLED_BACK}

    with pytest.raises(services.RunRefused, match="Nothing is due"):
        services.start_retry(project, chosen)
    again = drive(services.start_retry(project, Scope(source_ids=("A2",), states=(RecordState.ROLLED_BACK,))))
    assert (again.state, totals(again)) == (RunState.COMPLETED, {"read": 1, "created": 1})
    assert moving.rows["account"]["A2"]["name"] == "Changed", "as the source has it now"
    assert "A5" not in moving.rows["account"]
    moving.records["Account"][2].update(Name="Changed again", Changed=at(21))
    assert totals(drive(services.start_delta(project)))["updated"] == 1
    with pytest.raises(services.RunRefused, match="Nothing of that choice was taken back"):
        services.start_retry(project, Scope(source_ids=("A2",), states=(RecordState.ROLLED_BACK,)))
    assert totals(drive(services.start_run(project)))["created"] == 1, "a load brings everything"
    assert set(moving.rows["account"]) == {f"A{number}" for number in range(6)}


def test_what_was_taken_back_with_a_run_comes_again_with_the_next_delta(moving: World, project: Project) -> None:
    first = drive(services.start_run(project))
    part = Scope(source_ids=("A1",))
    assert drive(services.start_rollback(first, part)).state == RunState.COMPLETED
    assert "A1" not in moving.rows["account"]
    assert totals(drive(services.start_delta(project)))["created"] == 1
    assert "A1" in moving.rows["account"]


def test_the_command_brings_again_what_was_taken_back(moving: World, project: Project) -> None:
    drive(services.start_run(project))
    drive(services.start_rollback_of(project, Scope(objects=(project.project_objects.get().pk,))))
    assert not moving.rows["account"]
    assert totals(drive(services.start_delta(project))) == {}
    call_command("retry", str(project.pk), "--rolled-back")
    assert len(moving.rows["account"]) == 6
