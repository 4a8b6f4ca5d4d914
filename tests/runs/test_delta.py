"""Bringing only what changed, again and again, and sparing what people edited in the target."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import polars as pl
import pytest
from django.core.management import call_command

from connectors.errors import Unavailable
from connectors.types import Capabilities, Cursor, EntityInfo, EntitySchema, Page
from projects.models import OnConflict, Project
from runs import services
from runs.choices import RecordState, RunState
from runs.models import Finding
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
        offset = int(str(cursor["offset"])) if cursor else 0
        records = self._since(entity, since)[offset:]
        pages = [records[n : n + self.world.page_size] for n in range(0, len(records), self.world.page_size)]
        for number, page in enumerate(pages or [[]]):
            last = number + 1 >= len(pages)
            frame = pl.DataFrame(
                [{name: row[name] for name in fields} for row in page], schema=dict.fromkeys(fields, pl.String)
            )
            offset += len(page)
            yield Page(frame, None if last else {"offset": offset})

    def _since(self, entity: str, since: datetime | None) -> list[dict[str, str | None]]:
        records = self.world.records[entity]
        if since is None:
            return list(records)
        return [row for row in records if datetime.fromisoformat(str(row["Changed"])) >= since]


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
    assert step.since == datetime(2026, 11, 20, 12, 50, tzinfo=UTC)
    assert step.watermark == datetime(2026, 11, 20, 21, tzinfo=UTC)
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
    moving.refuse = lambda *_: None
    assert totals(drive(services.start_delta(project))) == {"read": 1, "unchanged": 1}
    assert tracked(project, "Account")["A2"].state == RecordState.REJECTED
    call_command("delta", str(project.pk))
    assert tracked(project, "Account")["A2"].state == RecordState.LOADED


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
