"""Taking a run back: what it created goes, what it changed returns, what people edited since stays."""

import copy
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from connectors.errors import Unavailable
from projects.models import Project
from runs import previews, reports, services
from runs.choices import RecordState, RunState
from runs.ledger import Scope
from runs.models import Chunk, Finding, Run, TrackedRecord
from tests import factories
from tests.fakes import World, failing, reference, schema
from tests.runs.test_engine import ACCOUNTS, CONTACTS, drive, family, totals, tracked


def snapshot(world: World) -> dict[str, dict[str, dict[str, object]]]:
    return {name: copy.deepcopy(rows) for name, rows in world.rows.items() if rows}


def outcome(run: Run) -> dict[str, int]:
    names = ("deleted", "updated", "unchanged", "deferred", "rejected", "skipped", "conflicts")
    found = {name: sum(getattr(chunk, name) for chunk in Chunk.objects.filter(run=run)) for name in names}
    return {name: count for name, count in found.items() if count}


def test_a_run_that_created_everything_leaves_nothing(world: World, project: Project) -> None:
    family(world, project)
    loaded = drive(services.start_run(project))
    run = drive(services.start_rollback(loaded))
    assert (run.state, run.reason) == (
        RunState.COMPLETED,
        "9 records deleted and 0 restored, and proven by reading back.",
    )
    assert snapshot(world) == {}
    assert outcome(run) == {"deleted": 9}
    assert reports.figures(run).totals["deleted"] == 9
    assert all(item.accounted for item in reports.figures(run).objects)
    assert {record.state for record in tracked(project, "Account").values()} == {RecordState.ROLLED_BACK}


def test_what_was_there_before_is_restored_to_the_last_field(world: World, project: Project) -> None:
    family(world, project)
    drive(services.start_run(project))
    before = snapshot(world)
    for record in world.records["Account"]:
        record["Name"] = f"New {record['Name']}"
    world.add(ACCOUNTS, {"Id": "A9", "Name": "Newcomer", "ParentId": "A0"})
    changed = drive(services.start_run(project))
    assert totals(changed) == {"read": 10, "created": 1, "updated": 4, "unchanged": 5}
    run = drive(services.start_rollback(changed))
    assert outcome(run) == {"deleted": 1, "updated": 4}
    assert snapshot(world) == before
    assert run.state == RunState.COMPLETED


def test_what_people_edited_since_is_spared_and_listed_with_both_values(world: World, project: Project) -> None:
    family(world, project)
    loaded = drive(services.start_run(project))
    world.rows["contact"]["C2"]["name"] = "Edited by hand"
    run = drive(services.start_rollback(loaded))
    assert run.state == RunState.COMPLETED_WITH_ERRORS
    assert run.reason == "8 records deleted and 0 restored; 1 left alone because they were changed since."
    assert list(snapshot(world)) == ["contact"]
    assert list(world.rows["contact"]) == ["C2"]
    found = Finding.objects.get(run=run, rule="edited")
    assert (found.source_id, found.field, found.value) == ("C2", "name", "Edited by hand")
    assert found.message == "name: we wrote C 2, the target holds Edited by hand."
    assert tracked(project, "Contact")["C2"].state == RecordState.CONFLICT


def test_what_somebody_deleted_since_is_noted(world: World, project: Project) -> None:
    family(world, project)
    loaded = drive(services.start_run(project))
    del world.rows["contact"]["C1"]
    run = drive(services.start_rollback(loaded))
    assert outcome(run) == {"deleted": 8, "skipped": 1}
    assert tracked(project, "Contact")["C1"].reason == "Somebody deleted the record in the target since."
    assert snapshot(world) == {}


def test_an_older_run_does_not_undo_what_a_later_one_wrote(world: World, project: Project) -> None:
    family(world, project)
    first = drive(services.start_run(project))
    world.records["Contact"][0]["Name"] = "Later"
    later = drive(services.start_run(project))
    run = drive(services.start_rollback(first))
    assert outcome(run) == {"deleted": 8, "conflicts": 1}
    assert tracked(project, "Contact")["C0"].code == "written_later"
    assert world.rows["contact"]["C0"]["name"] == "Later"
    assert later.state == RunState.COMPLETED


def test_runs_are_taken_back_one_after_the_other(world: World, project: Project) -> None:
    family(world, project)
    first = drive(services.start_run(project))
    world.records["Contact"][0]["Name"] = "Later"
    second = drive(services.start_run(project))
    assert outcome(drive(services.start_rollback(second))) == {"updated": 1}
    record = tracked(project, "Contact")["C0"]
    assert record.state == RecordState.LOADED
    run = drive(services.start_rollback(first))
    assert outcome(run) == {"deleted": 9}
    assert run.state == RunState.COMPLETED
    assert snapshot(world) == {}


def test_what_the_target_refuses_to_restore_is_a_conflict_and_not_due(world: World, project: Project) -> None:
    family(world, project)
    drive(services.start_run(project))
    world.records["Contact"][0]["Name"] = "Later"
    second = drive(services.start_run(project))
    world.refuse = lambda _, row: "No." if row.get("name") == "C 0" else None
    refused = drive(services.start_rollback(second))
    assert outcome(refused) == {"conflicts": 1}
    assert refused.reason.endswith("; 1 left alone because they could not be taken back.")
    assert (tracked(project, "Contact")["C0"].state, tracked(project, "Contact")["C0"].code) == (
        RecordState.CONFLICT,
        "not_restored",
    )
    with pytest.raises(services.RunRefused, match="Nothing is due"):
        services.start_retry(project)


def test_a_conflict_of_a_load_is_not_touched_by_its_rollback(world: World, project: Project) -> None:
    family(world, project)
    drive(services.start_run(project))
    world.rows["contact"]["C0"]["name"] = "Edited by hand"
    world.records["Contact"][0]["Name"] = "Changed in the source"
    world.records["Contact"][1]["Name"] = "Changed too"
    second = drive(services.start_run(project))
    assert totals(second) == {"read": 9, "updated": 1, "unchanged": 7, "conflicts": 1}
    assert outcome(drive(services.start_rollback(second))) == {"updated": 1}
    assert world.rows["contact"]["C0"]["name"] == "Edited by hand"


def test_a_record_that_was_there_before_us_is_not_ours_after_a_rollback(world: World, project: Project) -> None:
    family(world, project, accounts=1, contacts=0)
    world.rows["account"]["A0"] = {"target_id": "77", "source_id": "A0", "name": "Theirs", "parentid": None}
    loaded = drive(services.start_run(project))
    assert totals(loaded) == {"read": 1, "updated": 1}
    assert outcome(drive(services.start_rollback(loaded))) == {"updated": 1}
    assert world.rows["account"]["A0"]["name"] == "Theirs"
    record = tracked(project, "Account")["A0"]
    assert (record.state, record.hash) == (RecordState.ROLLED_BACK, None)


@pytest.mark.parametrize("moment", ["before_write", "after_write"])
def test_an_interrupted_rollback_goes_on_and_counts_right(world: World, project: Project, moment: str) -> None:
    family(world, project)
    drive(services.start_run(project))
    before = snapshot(world)
    for record in world.records["Contact"]:
        record["Name"] = "Changed"
    changed = drive(services.start_run(project))
    setattr(world, moment, failing(2, Unavailable("The target did not answer.")))
    run = drive(services.start_rollback(changed))
    assert outcome(run) == {"updated": 5}
    assert snapshot(world) == before
    assert run.state == RunState.COMPLETED


def test_a_load_after_a_rollback_brings_everything_again(world: World, project: Project) -> None:
    family(world, project)
    loaded = drive(services.start_run(project))
    held = snapshot(world)
    drive(services.start_rollback(loaded))
    again = drive(services.start_run(project))
    assert totals(again) == {"read": 9, "created": 9}
    assert {name: set(rows) for name, rows in snapshot(world).items()} == {
        name: set(rows) for name, rows in held.items()
    }


def test_refused_records_are_not_touched(world: World, project: Project) -> None:
    family(world, project)
    world.refuse = lambda _, row: "No." if row.get("name") == "C 1" else None
    loaded = drive(services.start_run(project))
    run = drive(services.start_rollback(loaded))
    assert outcome(run) == {"deleted": 8}
    assert tracked(project, "Contact")["C1"].state == RecordState.REJECTED


def test_what_a_retry_brought_of_a_run_goes_with_the_run(world: World, project: Project) -> None:
    family(world, project)
    world.refuse = lambda _, row: "No." if row.get("name") in {"Account 3", "C 1"} else None
    loaded = drive(services.start_run(project))
    world.refuse = lambda *_: None
    retried = drive(services.start_retry(project))
    assert totals(retried) == {"read": 4, "created": 2, "updated": 2}
    run = drive(services.start_rollback(loaded))
    assert (outcome(run), run.state) == ({"deleted": 9}, RunState.COMPLETED)
    assert snapshot(world) == {}


def test_a_retry_alone_is_taken_back_to_what_the_run_had_left(world: World, project: Project) -> None:
    family(world, project)
    world.refuse = lambda _, row: "No." if row.get("name") in {"Account 3", "C 1"} else None
    loaded = drive(services.start_run(project))
    held = snapshot(world)
    world.refuse = lambda *_: None
    retried = drive(services.start_retry(project))
    assert outcome(drive(services.start_rollback(retried))) == {"deleted": 2, "updated": 2}
    assert snapshot(world) == held
    assert outcome(drive(services.start_rollback(loaded))) == {"deleted": 7}
    assert snapshot(world) == {}


def test_what_a_run_only_refused_is_restored_from_where_it_was_written(world: World, project: Project) -> None:
    """The second run refused the change before it looked at the target: its images know nothing of the record."""
    world.add(schema("Contact", "Name"), {"Id": "C1", "Name": "First"}, {"Id": "C2", "Name": "Other"})
    factories.project_object(project, "Contact")
    first = drive(services.start_run(project))
    held = snapshot(world)
    world.records["Contact"][0]["Name"] = "Second"
    world.records["Contact"][1]["Name"] = "Other too"
    world.refuse = lambda _, row: "No." if row.get("name") == "Second" else None
    second = drive(services.start_run(project))
    world.refuse = lambda *_: None
    drive(services.start_retry(project))
    assert world.rows["contact"]["C1"]["name"] == "Second"
    assert outcome(drive(services.start_rollback(second))) == {"updated": 2}
    assert snapshot(world) == held
    assert outcome(drive(services.start_rollback(first))) == {"deleted": 2}


def test_what_only_a_later_run_refused_stands_in_nobodys_way(world: World, project: Project) -> None:
    family(world, project)
    first = drive(services.start_run(project))
    world.records["Contact"][0]["Name"] = "Refused"
    world.refuse = lambda _, row: "No." if row.get("name") == "Refused" else None
    second = drive(services.start_run(project))
    assert totals(second) == {"read": 9, "unchanged": 8, "rejected": 1}
    assert outcome(drive(services.start_rollback(first))) == {"deleted": 9}
    assert snapshot(world) == {}


def test_a_conflict_is_judged_anew_by_the_next_rollback(world: World, project: Project) -> None:
    family(world, project)
    loaded = drive(services.start_run(project))
    world.rows["contact"]["C2"]["name"] = "Edited by hand"
    assert outcome(drive(services.start_rollback(loaded))) == {"deleted": 8, "conflicts": 1}
    assert outcome(drive(services.start_rollback(loaded))) == {"conflicts": 1}
    assert tracked(project, "Contact")["C2"].code == "edited"
    world.rows["contact"]["C2"]["name"] = "C 2"
    assert outcome(drive(services.start_rollback(loaded))) == {"deleted": 1}
    assert snapshot(world) == {}


def test_what_was_brought_again_after_a_rollback_is_not_the_first_runs(world: World, project: Project) -> None:
    family(world, project)
    first = drive(services.start_run(project))
    drive(services.start_rollback(first))
    again = drive(services.start_run(project))
    assert outcome(drive(services.start_rollback(first))) == {}
    assert len(snapshot(world)) == 2
    assert outcome(drive(services.start_rollback(again))) == {"deleted": 9}


def test_what_was_there_before_us_is_restored_whether_the_run_or_its_retry_changed_it(
    world: World, project: Project
) -> None:
    world.add(schema("Contact", "Name"), {"Id": "C1", "Name": "Ours"}, {"Id": "C2", "Name": "Ours"})
    factories.project_object(project, "Contact")
    for key in ("C1", "C2"):
        world.rows["contact"][key] = {"target_id": key, "source_id": key, "id": key, "name": "Theirs", "phone": "1"}
    before = snapshot(world)
    world.refuse = lambda _, row: "No." if row.get("source_id") == "C1" else None
    loaded = drive(services.start_run(project))
    world.refuse = lambda *_: None
    drive(services.start_retry(project))
    run = drive(services.start_rollback(loaded))
    assert (outcome(run), run.state) == ({"updated": 2}, RunState.COMPLETED)
    assert snapshot(world) == before


def test_one_object_of_a_run(world: World, project: Project) -> None:
    family(world, project)
    loaded = drive(services.start_run(project))
    contact = project.project_objects.get(source_entity="Contact")
    scope = Scope(objects=(contact.pk,))
    seen = previews.preview(loaded, scope)
    assert [(stake.target, stake.created, stake.updated) for stake in seen.stakes] == [("contact", 5, 0)]
    assert outcome(drive(previews.confirm(loaded, seen.code, scope))) == {"deleted": 5}
    assert list(snapshot(world)) == ["account"]
    assert outcome(drive(services.start_rollback(loaded))) == {"deleted": 4}


def test_chosen_records_of_a_run(world: World, project: Project) -> None:
    family(world, project)
    drive(services.start_run(project))
    for record in world.records["Contact"]:
        record["Name"] = f"New {record['Name']}"
    changed = drive(services.start_run(project))
    scope = Scope(source_ids=("C1", "C3", "unheard of"))
    seen = previews.preview(changed, scope)
    assert (seen.created, seen.updated, seen.later) == (0, 2, 0)
    assert outcome(drive(previews.confirm(changed, seen.code, scope))) == {"updated": 2}
    names = {key: row["name"] for key, row in world.rows["contact"].items()}
    assert names == {"C0": "New C 0", "C1": "C 1", "C2": "New C 2", "C3": "C 3", "C4": "New C 4"}
    assert outcome(drive(services.start_rollback(changed))) == {"updated": 3}


def test_a_filter_by_state_and_cause(world: World, project: Project) -> None:
    family(world, project)
    world.refuse = lambda _, row: "No." if row.get("name") == "Account 3" else None
    loaded = drive(services.start_run(project))
    scope = Scope(states=(RecordState.DEFERRED,), codes=("waiting",))
    seen = previews.preview(loaded, scope)
    assert (seen.created, seen.updated) == (2, 0)
    assert outcome(drive(services.start_rollback(loaded, scope))) == {"deleted": 2}


def test_all_that_was_ever_written_of_chosen_records(world: World, project: Project) -> None:
    world.add(schema("Contact", "Name"), {"Id": "C1", "Name": "One"}, {"Id": "C2", "Name": "Two"})
    factories.project_object(project, "Contact")
    world.rows["contact"]["C1"] = {"target_id": "77", "source_id": "C1", "id": "C1", "name": "Theirs"}
    before = snapshot(world)
    for name in ("First", "Second", "Third"):
        world.records["Contact"][0]["Name"] = name
        drive(services.start_run(project))
    scope = Scope(source_ids=("C1",))
    seen = previews.preview_of(project, scope)
    assert (seen.created, seen.updated, seen.later) == (0, 1, 0)
    [sample] = previews.samples(seen)
    assert [(field.name, field.wrote, field.earlier) for field in sample.fields] == [("name", "Third", "Theirs")]
    run = drive(previews.confirm_of(project, seen.code, scope))
    assert (outcome(run), run.state, run.undoes) == ({"updated": 1}, RunState.COMPLETED, None)
    assert world.rows["contact"]["C1"] == before["contact"]["C1"]
    assert "C2" in world.rows["contact"]
    contact = project.project_objects.get()
    assert outcome(drive(services.start_rollback_of(project, Scope(objects=(contact.pk,))))) == {"deleted": 1}
    assert snapshot(world) == before


def test_what_is_chosen_must_be_there(world: World, project: Project) -> None:
    family(world, project)
    loaded = drive(services.start_run(project))
    with pytest.raises(services.RunRefused, match="Choose an object or records"):
        services.start_rollback_of(project, Scope())
    with pytest.raises(services.RunRefused, match="Nothing of that choice"):
        previews.preview_of(project, Scope(source_ids=("unheard of",)))
    with pytest.raises(services.RunRefused, match="Nothing of that choice"):
        previews.preview(loaded, Scope(source_ids=("unheard of",)))


def test_a_preview_of_more_than_it_opens_says_either(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    family(world, project)
    drive(services.start_run(project))
    monkeypatch.setattr(previews, "MOST_WALKED", 1)
    contact = project.project_objects.get(source_entity="Contact")
    seen = previews.preview_of(project, Scope(objects=(contact.pk,)))
    assert (seen.created, seen.waiting) == (2, 3)


def test_what_cannot_be_rolled_back_is_refused_with_a_sentence(world: World, project: Project) -> None:
    world.add(CONTACTS)
    factories.project_object(project, "Contact")
    queued = services.start_run(project)
    with pytest.raises(services.RunRefused, match="is not finished"):
        services.start_rollback(queued)
    empty = drive(queued)
    with pytest.raises(services.RunRefused, match="wrote nothing"):
        services.start_rollback(empty)
    world.add(schema("Contact", "Name"), {"Id": "C1", "Name": "x"})
    loaded = drive(services.start_run(project))
    undone = drive(services.start_rollback(loaded))
    with pytest.raises(services.RunRefused, match="is a rollback itself"):
        services.start_rollback(undone)
    assert TrackedRecord.objects.get(project=project).target_id is None


def test_the_command_previews_first_and_does_only_what_was_previewed(
    world: World, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    family(world, project)
    loaded = drive(services.start_run(project))
    call_command("rollback", str(loaded.pk))
    shown = capsys.readouterr().out
    assert "contact: 5 created (would be deleted), 0 changed (would be restored)" in shown
    assert len(snapshot(world)) == 2
    with pytest.raises(CommandError, match="The code is not that of this preview"):
        call_command("rollback", str(loaded.pk), "--confirm", "guess")
    call_command("rollback", str(loaded.pk), "--confirm", shown.split("--confirm ")[1].strip())
    assert "9 records deleted and 0 restored, and proven by reading back." in capsys.readouterr().out
    assert snapshot(world) == {}
    with pytest.raises(CommandError, match="There is no run 999999"):
        call_command("rollback", "999999")


def test_the_command_takes_chosen_records_of_a_project(
    world: World, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    family(world, project)
    drive(services.start_run(project))
    given = ["--project", str(project.pk), "--id", "C1"]
    call_command("rollback", *given)
    shown = capsys.readouterr().out
    assert "for example contact C1 would be deleted" in shown
    assert f"manage.py rollback --project {project.pk} --id C1 --confirm" in shown
    call_command("rollback", *given, "--confirm", shown.split("--confirm ")[1].strip())
    assert "C1" not in world.rows["contact"]
    assert len(world.rows["contact"]) == 4
    with pytest.raises(CommandError, match="Name either a run or"):
        call_command("rollback")
    with pytest.raises(CommandError, match="There is no project 999999"):
        call_command("rollback", "--project", "999999")


def test_the_command_takes_the_records_of_a_file(
    world: World, project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    family(world, project)
    drive(services.start_run(project))
    file = tmp_path / "chosen ids.txt"
    file.write_text("C1\n\n C3 \nC1\n", encoding="utf-8-sig")
    given = ["--project", str(project.pk), "--ids", str(file)]
    call_command("rollback", *given)
    shown = capsys.readouterr().out
    assert "contact: 2 created (would be deleted)" in shown
    assert f"--ids '{file}' --confirm" in shown
    code = shown.split("--confirm ")[1].strip()
    file.write_text("C1\nC2\nC3\n")
    with pytest.raises(CommandError, match="not that of this preview"):
        call_command("rollback", *given, "--confirm", code)
    file.write_text("C1\nC3\n")
    call_command("rollback", *given, "--confirm", code)
    assert set(world.rows["contact"]) == {"C0", "C2", "C4"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            "C1\nC99\nC98\n",
            "2 of the 3 ids are of no record that .* has brought, among them C99, C98. Correct",
        ),
        ("\n \n", "names no record; write an id per line"),
        ("\n".join(f"C{number}" for number in range(10_001)), "names 10,001 records; name 10,000 at most"),
        (f"C1\n{'x' * 500}", "has a line that is no id, beginning “xxx"),
    ],
)
def test_a_file_of_ids_that_cannot_be_meant_is_refused(
    world: World, project: Project, tmp_path: Path, content: str, sentence: str
) -> None:
    family(world, project)
    loaded = drive(services.start_run(project))
    file = tmp_path / "ids"
    file.write_text(content)
    for what in (["--project", str(project.pk)], [str(loaded.pk)]):
        with pytest.raises(CommandError, match=sentence):
            call_command("rollback", *what, "--ids", str(file))
    assert len(world.rows["contact"]) == 5


def test_what_a_run_linked_is_unlinked_and_linked_again_by_the_next(world: World, project: Project) -> None:
    world.add(schema("Account", "Name"))
    world.add(
        schema("Contact", "Name", reference("AccountId", "Account")), {"Id": "C0", "Name": "C", "AccountId": "A0"}
    )
    for entity in ("Account", "Contact"):
        factories.project_object(project, entity)
    drive(services.start_run(project))
    waiting = dict(world.rows["contact"]["C0"])
    assert (waiting["accountid"], tracked(project, "Contact")["C0"].state) == (None, RecordState.DEFERRED)
    world.records["Account"].append({"Id": "A0", "Name": "Late"})
    second = drive(services.start_run(project))
    assert world.rows["contact"]["C0"]["accountid"] == world.rows["account"]["A0"]["target_id"]
    undone = drive(services.start_rollback(second))
    assert undone.state == RunState.COMPLETED, undone.reason
    assert (world.rows["contact"]["C0"], world.rows["account"]) == (waiting, {})
    drive(services.start_delta(project))
    assert world.rows["contact"]["C0"]["accountid"] == world.rows["account"]["A0"]["target_id"]
    assert tracked(project, "Contact")["C0"].state == RecordState.LOADED
