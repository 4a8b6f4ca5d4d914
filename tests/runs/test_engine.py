"""The engine over fake systems: what lands, what waits, what is refused, and what faults do to it."""

from dataclasses import replace

import pytest
from django.db import OperationalError
from psycopg.errors import IdleInTransactionSessionTimeout

from connectors.errors import AuthenticationFailed, RateLimited, Unavailable
from connectors.types import EntitySchema
from projects.models import Project
from runs import reports, services
from runs.choices import ChunkState, RecordState, RunState
from runs.engine import coordinator
from runs.engine.coordinator import Progress
from runs.engine.work import next_work
from runs.models import Chunk, Finding, Run, RunEvent, TrackedRecord
from tests import factories
from tests.fakes import World, failing, reference, schema

ACCOUNTS = schema("Account", "Name", reference("ParentId", "Account"))
CONTACTS = schema("Contact", "Name", reference("AccountId", "Account"))


def family(world: World, project: Project, accounts: int = 4, contacts: int = 5) -> None:
    """Accounts whose parent is the next one (so that it comes later), and contacts of them."""
    parents = [f"A{n + 1}" if n + 1 < accounts else None for n in range(accounts)]
    world.add(ACCOUNTS, *({"Id": f"A{n}", "Name": f"Account {n}", "ParentId": p} for n, p in enumerate(parents)))
    world.add(CONTACTS, *({"Id": f"C{n}", "Name": f"C {n}", "AccountId": f"A{n % accounts}"} for n in range(contacts)))
    for entity in ("Contact", "Account"):
        factories.project_object(project, entity)


def drive(run: Run) -> Run:
    """Drive to the end without waiting: what waits for a time is made due at once."""
    for _ in range(200):
        if coordinator.advance(run.pk, stop=lambda: False) is Progress.STOPPED:
            return Run.objects.get(pk=run.pk)
        make_due(run)
    raise AssertionError("the run does not come to an end")


def make_due(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(available_at="2000-01-01T00:00Z")
    Chunk.objects.filter(run=run).update(available_at="2000-01-01T00:00Z")
    run.steps.update(available_at="2000-01-01T00:00Z")


def expire_leases(run: Run) -> None:
    for rows in (Run.objects.filter(pk=run.pk), Chunk.objects.filter(run=run), run.steps):
        rows.exclude(lease_until=None).update(lease_until="2000-01-01T00:00Z")


def tracked(project: Project, entity: str) -> dict[str, TrackedRecord]:
    records = TrackedRecord.objects.filter(project=project, object__source_entity=entity)
    return {record.source_id: record for record in records}


def totals(run: Run) -> dict[str, int]:
    figures = reports.figures(run)
    assert all(item.accounted for item in figures.objects), figures
    return {name: count for name, count in figures.totals.items() if count}


def test_everything_lands_with_references_and_reads_back_equal(world: World, project: Project) -> None:
    family(world, project)
    run = drive(services.start_run(project))
    assert (run.state, run.reason) == (RunState.COMPLETED, "All 9 records are in the target and read back equal.")
    assert totals(run) == {"read": 9, "created": 9}
    accounts, contacts = world.rows["account"], world.rows["contact"]
    assert {name: row["parentid"] for name, row in accounts.items()} == {
        "A0": accounts["A1"]["target_id"],
        "A1": accounts["A2"]["target_id"],
        "A2": accounts["A3"]["target_id"],
        "A3": None,
    }
    assert all(row["accountid"] == accounts[f"A{int(name[1]) % 4}"]["target_id"] for name, row in contacts.items())
    figures = reports.figures(run)
    assert figures.reconcile == reports.Reconciliation(records=9, fields=18, missing=0, extra=0, mismatches=0)
    assert figures.good


def test_parents_are_loaded_before_children_are_sent(world: World, project: Project) -> None:
    family(world, project)
    drive(services.start_run(project))
    names = [entity for entity, _ in world.writes]
    assert names.index("contact") > max(n for n, name in enumerate(names[:-1]) if name == "account" and n < 3)
    assert names[:2] == ["account", "account"]


def test_a_second_run_over_an_unchanged_source_writes_nothing(world: World, project: Project) -> None:
    family(world, project)
    drive(services.start_run(project))
    world.writes.clear()
    run = drive(services.start_run(project))
    assert run.state == RunState.COMPLETED
    assert totals(run) == {"read": 9, "unchanged": 9}
    assert world.writes == []


def test_a_changed_record_is_written_alone(world: World, project: Project) -> None:
    family(world, project)
    drive(services.start_run(project))
    world.writes.clear()
    world.records["Contact"][2]["Name"] = "New name"
    run = drive(services.start_run(project))
    assert totals(run) == {"read": 9, "updated": 1, "unchanged": 8}
    assert world.writes == [("contact", 1)]
    assert world.rows["contact"]["C2"]["name"] == "New name"


def test_refused_records_are_explained_and_the_others_land(world: World, project: Project) -> None:
    family(world, project)
    world.refuse = lambda _entity, row: "No Name like that." if row.get("name") == "C 1" else None
    run = drive(services.start_run(project))
    assert run.state == RunState.COMPLETED_WITH_ERRORS
    assert run.reason == "9 records done; 1 rejected."
    assert totals(run) == {"read": 9, "created": 8, "rejected": 1}
    record = tracked(project, "Contact")["C1"]
    assert (record.state, record.code, record.reason) == (RecordState.REJECTED, "refused", "No Name like that.")
    assert Finding.objects.get(run=run).message == "No Name like that."
    assert reports.figures(run).good


def test_a_record_refused_once_lands_when_the_cause_is_gone(world: World, project: Project) -> None:
    family(world, project)
    world.refuse = lambda _entity, row: "No." if row.get("name") == "C 1" else None
    drive(services.start_run(project))
    world.refuse = lambda *_: None
    run = drive(services.start_run(project))
    assert totals(run) == {"read": 9, "created": 1, "unchanged": 8}
    assert tracked(project, "Contact")["C1"].state == RecordState.LOADED


def test_a_child_of_a_refused_parent_waits_with_a_reason(world: World, project: Project) -> None:
    family(world, project)
    world.refuse = lambda _entity, row: "No." if row.get("name") == "Account 3" else None
    run = drive(services.start_run(project))
    assert totals(run) == {"read": 9, "created": 6, "deferred": 2, "rejected": 1}
    waiting = tracked(project, "Contact")["C3"]
    assert waiting.state == RecordState.DEFERRED
    assert waiting.reason == "accountid waits for Account A3, which was rejected."
    assert world.rows["contact"]["C3"]["accountid"] is None
    world.refuse = lambda *_: None
    again = drive(services.start_run(project))
    assert totals(again) == {"read": 9, "created": 1, "updated": 2, "unchanged": 6}
    assert world.rows["contact"]["C3"]["accountid"] == world.rows["account"]["A3"]["target_id"]
    assert again.state == RunState.COMPLETED


def test_relinking_keeps_what_was_found_about_the_other_records(world: World, project: Project) -> None:
    """Refused and waiting records share a chunk here; bringing the waiting ones again must not forget the refused."""
    world.page_size = 10
    family(world, project)
    world.refuse = lambda _, row: "No." if row.get("name") == "Account 0" else None
    run = drive(services.start_run(project))
    assert set(Finding.objects.filter(run=run).values_list("source_id", "message")) == {("A0", "No.")}


def test_two_records_with_one_key_both_stop(world: World, project: Project) -> None:
    world.add(schema("Account", "Name"), {"Id": "A1", "Name": "x"}, {"Id": "A1", "Name": "y"}, {"Id": None})
    factories.project_object(project, "Account")
    run = drive(services.start_run(project))
    assert totals(run) == {"read": 3, "created": 1, "rejected": 1, "skipped": 1}
    assert world.rows["account"]["A1"]["name"] == "y"


def test_a_record_that_comes_again_on_a_later_page_is_not_doubled(world: World, project: Project) -> None:
    world.page_size = 2
    rows = [
        {"Id": "A1", "Name": "x"},
        {"Id": "A2", "Name": "y"},
        {"Id": "A1", "Name": "newer"},
        {"Id": "A2", "Name": "y"},
    ]
    world.add(schema("Account", "Name"), *rows)
    factories.project_object(project, "Account")
    run = drive(services.start_run(project))
    assert totals(run) == {"read": 4, "created": 2, "updated": 1, "unchanged": 1}
    assert {name: row["name"] for name, row in world.rows["account"].items()} == {"A1": "newer", "A2": "y"}
    assert not reports.figures(run).reconcile.mismatches


def test_a_tampered_target_shows_as_a_mismatch(world: World, project: Project) -> None:
    family(world, project)
    run = services.start_run(project)

    def tamper(_: str) -> None:
        world.rows["account"].get("A1", {})["name"] = "Somebody else's"

    world.after_write = tamper
    done = drive(run)
    assert reports.figures(done).reconcile.mismatches == 1
    assert not reports.figures(done).good
    found = Finding.objects.get(run=run, phase="verify")
    assert (found.source_id, found.field, found.value) == ("A1", "name", "Somebody else's")


def test_records_of_others_under_our_keys_are_counted_as_extra(world: World, project: Project) -> None:
    family(world, project)
    world.rows["account"]["stranger"] = {"target_id": "99", "source_id": "stranger"}
    run = drive(services.start_run(project))
    assert reports.figures(run).reconcile.extra == 1


@pytest.mark.parametrize("moment", ["before_write", "after_write"])
def test_a_lost_request_or_answer_is_repeated_without_doubling(world: World, project: Project, moment: str) -> None:
    family(world, project)
    setattr(world, moment, failing(2, Unavailable("The target did not answer.")))
    run = drive(services.start_run(project))
    assert run.state == RunState.COMPLETED
    assert totals(run) == {"read": 9, "created": 9}
    assert RunEvent.objects.filter(run=run, level="wait", until__isnull=False).count() == 2


def test_a_rate_limit_becomes_a_visible_wait(world: World, project: Project) -> None:
    family(world, project)
    world.before_write = failing(1, RateLimited("Salesforce asks us to wait.", retry_after=3600))
    run = services.start_run(project)
    assert coordinator.advance(run.pk, stop=lambda: False) is Progress.IDLE
    wait = RunEvent.objects.get(run=run, level="wait")
    assert wait.until is not None
    assert 3500 < (wait.until - wait.at).total_seconds() < 3700
    assert drive(run).state == RunState.COMPLETED


def test_a_target_that_never_answers_sets_the_chunk_aside_and_resuming_tries_again(
    world: World, project: Project
) -> None:
    family(world, project, accounts=1, contacts=0)
    world.before_write = failing(50, Unavailable("Down."))
    run = drive(services.start_run(project))
    assert run.state == RunState.FAILED
    assert Chunk.objects.get(run=run).state == ChunkState.FAILED
    world.before_write = lambda _: None
    services.resume_run(run)
    assert drive(run).state == RunState.COMPLETED


def test_refused_credentials_fail_the_run_and_it_can_be_resumed(world: World, project: Project) -> None:
    family(world, project)
    world.before_write = failing(1, AuthenticationFailed("The password is wrong; enter it anew."))
    run = drive(services.start_run(project))
    assert (run.state, run.reason) == (RunState.FAILED, "The password is wrong; enter it anew.")
    services.resume_run(run)
    assert totals(drive(run)) == {"read": 9, "created": 9}


def test_a_bug_ends_the_run_as_crashed_with_an_incident(
    world: World, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    family(world, project)
    world.before_write = failing(1, ZeroDivisionError("secret detail"))
    run = drive(services.start_run(project))
    assert run.state == RunState.CRASHED
    assert "secret detail" not in run.reason
    number = run.reason.split("incident ")[1].split()[0]
    assert number in caplog.text
    services.resume_run(run)
    assert totals(drive(run)) == {"read": 9, "created": 9}


@pytest.mark.parametrize(
    ("hook", "error"),
    [
        ("before_write", OperationalError),
        ("after_write", OperationalError),
        ("before_read", OperationalError),
        ("after_write", IdleInTransactionSessionTimeout),
    ],
)
def test_our_own_database_going_away_leaves_the_work_to_others(
    world: World, project: Project, hook: str, error: type[Exception]
) -> None:
    family(world, project)
    setattr(world, hook, failing(1, error("server closed the connection unexpectedly")))
    run = services.start_run(project)
    with pytest.raises(error):
        drive(run)
    assert coordinator.advance(run.pk, stop=lambda: False) is Progress.IDLE
    expire_leases(run)
    assert totals(drive(run)) == {"read": 9, "created": 9}


def test_whoever_loses_our_database_right_after_the_last_page_leaves_no_lease(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit was carried out, its answer never came; others go on and end the run before the lease would end."""
    family(world, project)
    lost = failing(1, OperationalError("gone"))
    monkeypatch.setattr("runs.ledger.staging.reached", lambda point: lost() if point == "extract.staged" else None)
    world.page_size = 100
    run = services.start_run(project)
    with pytest.raises(OperationalError):
        drive(run)
    assert drive(run).state == RunState.COMPLETED
    assert not run.steps.exclude(lease_until=None).exists()


def test_a_late_worker_is_fenced(world: World, project: Project) -> None:
    """A worker whose lease expired while it wrote must not record anything: another has the chunk."""
    family(world, project, accounts=3, contacts=0)
    run = services.start_run(project)

    def taken_over(_: str) -> None:
        world.after_write = lambda _: None
        expire_leases(run)
        assert drive(run).state == RunState.COMPLETED

    world.after_write = taken_over
    coordinator.advance(run.pk, stop=lambda: False)
    finished = Run.objects.get(pk=run.pk)
    assert finished.state == RunState.COMPLETED
    assert totals(finished) == {"read": 3, "created": 3}
    assert len(world.rows["account"]) == 3


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), AuthenticationFailed("The password is wrong.")])
def test_a_late_worker_that_fails_stops_nobody(world: World, project: Project, error: Exception) -> None:
    family(world, project, accounts=3, contacts=0)
    run = services.start_run(project)

    def taken_over(_: str) -> None:
        world.after_write = lambda _: None
        expire_leases(run)
        assert next_work(run.pk) is not None
        raise error

    world.after_write = taken_over
    assert coordinator.advance(run.pk, stop=lambda: False) is Progress.IDLE
    expire_leases(run)
    assert totals(drive(run)) == {"read": 3, "created": 3}


def test_pause_and_resume_keep_what_is_done(world: World, project: Project) -> None:
    family(world, project)
    run = services.start_run(project)

    def pause(_: str) -> None:
        services.pause_run(run)

    world.after_write = pause
    coordinator.advance(run.pk, stop=lambda: False)
    assert coordinator.advance(run.pk, stop=lambda: False) is Progress.STOPPED
    paused = Run.objects.get(pk=run.pk)
    assert paused.state == RunState.PAUSED
    assert Chunk.objects.filter(run=run, state=ChunkState.LOADED).count() == 1
    world.after_write = lambda _: None
    services.resume_run(run)
    assert totals(drive(run)) == {"read": 9, "created": 9}


def test_what_a_source_has_to_say_of_values_is_told_where_they_are_moved(world: World, project: Project) -> None:
    plain = schema("Account", "Name", "Left")
    noted = tuple(replace(field, note=f"{field.name} is odd.") for field in plain.fields)
    world.add(EntitySchema(plain.entity, noted), {"Id": "A1", "Name": "One", "Left": "out"})
    factories.project_object(project, "Account")
    run = drive(services.start_run(project))
    told = set(RunEvent.objects.filter(run=run, message__endswith="is odd.").values_list("message", flat=True))
    assert told == {f"Account: {name} is odd." for name in ("Id", "Name", "Left")}


def test_cancel_is_final(world: World, project: Project) -> None:
    family(world, project)
    run = services.start_run(project)
    services.cancel_run(run)
    assert drive(run).state == RunState.CANCELLED
    with pytest.raises(services.RunRefused, match="is cancelled and cannot be resumed now"):
        services.resume_run(run)
    assert world.writes == []


def test_what_was_sent_is_known_before_a_cancelled_run_ends(world: World, project: Project) -> None:
    """The answer of the first chunk was lost and waits to be asked for; nothing else is begun any more."""
    family(world, project)
    run = services.start_run(project)
    world.after_write = failing(1, Unavailable("Gone."))
    coordinator.advance(run.pk, stop=lambda: bool(world.rows.get("account")))
    services.cancel_run(run)
    while coordinator.advance(run.pk, stop=lambda: False) is not Progress.STOPPED:
        pass
    assert Run.objects.get(pk=run.pk).state == RunState.CANCELLED
    held = {row["target_id"] for row in world.rows["account"].values()}
    assert len(held) == 3
    assert set(TrackedRecord.objects.filter(project=project).values_list("target_id", flat=True)) == held
    world.after_write = lambda _: None
    assert drive(services.start_rollback(Run.objects.get(pk=run.pk))).state == RunState.COMPLETED
    assert not world.rows["account"]


def test_so_is_what_was_being_linked(world: World, project: Project) -> None:
    family(world, project, contacts=0)
    run = services.start_run(project)
    writes = iter([None, None, OperationalError("killed")])

    def die(_: str) -> None:
        if error := next(writes, None):
            raise error

    world.after_write = die
    with pytest.raises(OperationalError):
        coordinator.advance(run.pk, stop=lambda: False)
    services.cancel_run(run)
    expire_leases(run)
    assert drive(run).state == RunState.CANCELLED
    linked = {key for key, row in world.rows["account"].items() if row["parentid"]}
    assert linked == {"A0", "A1", "A2"}
    assert {tracked(project, "Account")[key].state for key in linked} == {RecordState.LOADED}


def test_a_cancelled_run_does_not_wait_for_a_target_that_does_not_answer(world: World, project: Project) -> None:
    family(world, project)
    run = services.start_run(project)
    world.before_write = failing(100, Unavailable("Gone."))
    coordinator.advance(run.pk, stop=lambda: Chunk.objects.filter(run=run, intended_at__isnull=False).exists())
    services.cancel_run(run)
    while coordinator.advance(run.pk, stop=lambda: False) is not Progress.STOPPED:
        pass
    ended = Run.objects.get(pk=run.pk)
    assert ended.state == RunState.CANCELLED
    assert "What became of up to 3 records that may have been sent is not known" in ended.reason
    world.before_write = lambda _: None
    assert drive(services.start_run(project)).state == RunState.COMPLETED


def test_only_one_run_of_a_project_is_open(world: World, project: Project) -> None:
    family(world, project)
    services.start_run(project)
    with pytest.raises(services.RunRefused, match="is not finished"):
        services.start_run(project)


def test_a_project_without_objects_fails_with_a_sentence(world: World, project: Project) -> None:
    run = drive(services.start_run(project))
    assert run.state == RunState.FAILED
    assert run.reason.startswith("The project has no enabled object")


def test_an_entity_without_records_completes(world: World, project: Project) -> None:
    world.add(schema("Account", "Name"))
    factories.project_object(project, "Account")
    run = drive(services.start_run(project))
    assert run.state == RunState.COMPLETED
    assert totals(run) == {}


def test_erasing_a_project_leaves_nothing_and_stops_its_worker(world: World, project: Project) -> None:
    family(world, project)
    run = services.start_run(project)

    def erase(_: str) -> None:
        services.erase_project(project)

    world.after_write = erase
    with pytest.raises(Run.DoesNotExist):
        coordinator.advance(run.pk, stop=lambda: False)
    assert not Project.objects.filter(name=project.name).exists()
    assert not TrackedRecord.objects.exists()
