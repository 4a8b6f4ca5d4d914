"""Sending: what became of each record is found out by key, whatever is answered, and before anything goes again."""

import random
from collections.abc import Callable

import polars as pl
import pytest
from django.urls import reverse

from connectors.errors import Unavailable
from connectors.types import Asking, Capabilities
from projects.models import Project
from runs import services
from runs.choices import RecordState, RunState
from runs.engine import coordinator
from runs.models import Chunk, Run, RunEvent
from tests import factories
from tests.fakes import FakeTarget, Row, World, failing, reference, schema
from tests.runs.screens import VIEW, signed_in, text
from tests.runs.test_engine import drive, expire_leases, make_due, totals, tracked

ACCOUNTS = schema("Account", "Name", reference("ParentId", "Account"))


def accounts(world: World, project: Project, number: int = 6, page: int = 10) -> None:
    world.page_size = page
    world.add(ACCOUNTS, *({"Id": f"A{n}", "Name": f"Account {n}"} for n in range(number)))
    factories.project_object(project, "Account")


def told(run: Run) -> str:
    return " ".join(RunEvent.objects.filter(run=run).values_list("message", flat=True))


def capable(monkeypatch: pytest.MonkeyPatch, **given: object) -> None:
    monkeypatch.setattr(FakeTarget, "capabilities", Capabilities(writes=True, creates_schema=True, **given))  # type: ignore[arg-type]  # named at the call


SPOILED: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "reversed": lambda answer: answer.reverse(),
    "shuffled": lambda answer: answer.sample(fraction=1, shuffle=True, seed=random.Random(7).randrange(100)),
    "short": lambda answer: answer.head(2),
    "empty": lambda answer: answer.clear(),
    "doubled": lambda answer: pl.concat([answer, answer]),
    "contradicting": lambda answer: pl.concat([answer, answer.with_columns(target_id=pl.lit("999"))]),
    "over-long": lambda answer: pl.concat([answer, answer.head(1).with_columns(key=pl.lit("stranger"))]),
    "wordless": lambda answer: answer.with_columns(outcome=pl.lit(None, pl.String)),
    "nameless": lambda answer: pl.concat([answer, answer.head(1).with_columns(key=pl.lit(None, pl.String))]),
}


def once(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """The first answer changed, the later ones as they are."""
    changes = [change]

    def changed(answer: pl.DataFrame) -> pl.DataFrame:
        return changes.pop()(answer) if changes else answer

    return changed


@pytest.mark.parametrize("how", SPOILED)
def test_answers_are_taken_by_key_and_never_by_place(world: World, project: Project, how: str) -> None:
    accounts(world, project)
    world.refuse = lambda _, row: "No." if row["name"] == "Account 3" else None
    world.spoil = once(SPOILED[how])
    run = drive(services.start_run(project))
    assert totals(run) == {"read": 6, "created": 5, "rejected": 1}
    held = {key: row["target_id"] for key, row in world.rows["account"].items()}
    assert {key: record.target_id for key, record in tracked(project, "Account").items() if record.target_id} == held
    assert tracked(project, "Account")["A3"].state == RecordState.REJECTED


def test_what_a_short_answer_left_out_is_asked_for_and_not_sent_again(world: World, project: Project) -> None:
    accounts(world, project)
    world.spoil = SPOILED["short"]
    run = drive(services.start_run(project))
    assert world.writes == [("account", 6)], "the other four were found by their keys"
    assert "nothing certain about 4 of 6 records" in told(run)


def test_strangers_in_an_answer_are_ignored_with_a_warning(world: World, project: Project) -> None:
    accounts(world, project)
    world.spoil = SPOILED["over-long"]
    run = drive(services.start_run(project))
    assert run.state == RunState.COMPLETED
    warning = RunEvent.objects.get(run=run, level="warning")
    assert "1 records of account that were not sent, among them stranger" in warning.message


def test_silence_to_the_end_is_unavailable_and_the_next_try_finds_out(world: World, project: Project) -> None:
    accounts(world, project)
    world.refuse = lambda _, row: "No." if row["name"] == "Account 3" else None
    silent: list[Callable[[pl.DataFrame], pl.DataFrame]] = [SPOILED["empty"]] * 2
    world.spoil = lambda answer: silent.pop()(answer) if silent else answer
    run = drive(services.start_run(project))
    wait = RunEvent.objects.get(run=run, level="wait")
    assert "told nothing about 1 records of account, among them A3" in wait.message
    assert totals(run) == {"read": 6, "created": 5, "rejected": 1}


@pytest.mark.parametrize("written", [0, 3, 6])
def test_after_a_lost_answer_the_target_is_asked_before_anything_is_sent_again(
    world: World, project: Project, written: int
) -> None:
    accounts(world, project)

    def cut_short(entity: str, row: Row) -> str | None:
        if len(world.rows[entity]) >= written:
            world.refuse = lambda *_: None
            raise Unavailable("The connection broke.")
        return None

    world.refuse = cut_short
    if written == 6:
        world.refuse, world.after_write = lambda *_: None, failing(1, Unavailable("The connection broke."))
    run = drive(services.start_run(project))
    assert totals(run) == {"read": 6, "created": 6}
    assert [size for _, size in world.writes] == ([6] if written == 6 else [6, 6 - written])
    assert f"{written} are in the target as they should be, {6 - written} are sent again" in told(run)


def test_the_idempotency_key_is_the_same_for_every_try_and_for_no_other_chunk(world: World, project: Project) -> None:
    accounts(world, project, number=6, page=3)
    world.after_write = failing(1, Unavailable("The connection broke."))
    run = services.start_run(project)
    coordinator.advance(run.pk, stop=lambda: False)
    first = dict(Chunk.objects.filter(run=run).exclude(idempotency_key="").values_list("pk", "idempotency_key"))
    make_due(run)
    drive(run)
    last = dict(Chunk.objects.filter(run=run).values_list("pk", "idempotency_key"))
    assert first.items() <= last.items()
    assert len(set(last.values())) == 2


def test_the_target_hears_the_key_of_the_chunk_it_writes(world: World, project: Project) -> None:
    accounts(world, project, number=4, page=2)
    run = drive(services.start_run(project))
    assert world.heard == list(Chunk.objects.filter(run=run).order_by("pk").values_list("idempotency_key", flat=True))


def test_a_target_that_cannot_be_asked_is_sent_everything_again_and_that_is_told(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    capable(monkeypatch)
    services.consent_to_unasked(project, factories.user())
    accounts(world, project)
    world.after_write = failing(1, Unavailable("The connection broke."))
    run = drive(services.start_run(project))
    assert world.writes == [("account", 6), ("account", 6)]
    assert "without knowing what became of them" in told(run)
    assert totals(run) == {"read": 6, "created": 6}


def test_a_run_on_a_target_that_cannot_be_asked_needs_a_recorded_consent(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    capable(monkeypatch)
    accounts(world, project)
    with pytest.raises(services.RunRefused, match="cannot be asked what became of records whose answer was lost"):
        services.start_run(project)
    assert not Run.objects.exists()
    person = factories.user()
    services.consent_to_unasked(project, person)
    run = services.start_run(project)
    assert f"{person} consented" in told(run)
    services.cancel_run(run)
    coordinator.settle(run.pk)
    services.withdraw_consent(project)
    with pytest.raises(services.RunRefused):
        services.start_run(project)


@pytest.mark.parametrize("asked_by", [Asking.JOB_RESULTS, Asking.KEY_LOOKUP, Asking.BOTH])
def test_a_target_that_can_be_asked_needs_no_consent(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch, asked_by: Asking
) -> None:
    capable(monkeypatch, asked_by=asked_by)
    accounts(world, project)
    assert drive(services.start_run(project)).state == RunState.COMPLETED


def test_a_late_worker_notes_no_job(world: World, project: Project) -> None:
    """A job that nobody waits for must not begin: the note carries the fence."""
    accounts(world, project, number=3)
    run = services.start_run(project)
    begun: list[str] = []

    def late(_: str) -> None:
        world.before_write = lambda _: None
        mine = world.target
        expire_leases(run)
        assert drive(run).state == RunState.COMPLETED
        begun.append("asked")
        mine.context.journal.note("job 1")
        begun.append("noted")

    world.before_write = late
    coordinator.advance(run.pk, stop=lambda: False)
    assert begun == ["asked"]
    assert Chunk.objects.get(run=run).jobs == []


# --- locks ----------------------------------------------------------------------------------------------------


def test_only_locked_records_go_again_smaller_and_then_singly(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    capable(monkeypatch, asked_by=Asking.KEY_LOOKUP, lock_codes=frozenset({"locked"}))
    accounts(world, project, number=120, page=200)
    parents = {f"A{n}" for n in range(60)}
    world.code = "locked"

    def locked(entity: str, row: Row) -> str | None:
        sizes = [size for _, size in world.writes]
        if row["source_id"] not in parents or sizes[-1] == 1:
            return None
        return "Somebody holds it." if len(sizes) == 1 or row["source_id"] in {"A1", "A2"} else None

    world.refuse = locked
    run = drive(services.start_run(project))
    assert [size for _, size in world.writes] == [120, 50, 10, 1, 1]
    assert totals(run) == {"read": 120, "created": 120}
    assert "60 records of account were locked by somebody else; they are tried again, 50 at a time." in told(run)
    assert "2 records of account were locked by somebody else; they are tried again, one by one." in told(run)


def test_a_record_that_stays_locked_is_rejected_and_can_be_retried(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    capable(monkeypatch, asked_by=Asking.KEY_LOOKUP, lock_codes=frozenset({"locked"}))
    accounts(world, project)
    world.code = "locked"
    world.refuse = lambda _, row: "Somebody holds it." if row["source_id"] == "A1" else None
    assert totals(drive(services.start_run(project))) == {"read": 6, "created": 5, "rejected": 1}
    assert [size for _, size in world.writes] == [6, 1, 1]
    assert tracked(project, "Account")["A1"].code == "locked"
    world.refuse = lambda *_: None
    assert totals(drive(services.start_retry(project))) == {"read": 1, "created": 1}


def test_children_of_one_parent_are_sent_side_by_side(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    capable(monkeypatch, asked_by=Asking.KEY_LOOKUP, locks_parents=True)
    world.page_size = 20
    world.add(schema("Account", "Name"), *({"Id": f"A{n}", "Name": "x"} for n in range(3)))
    contacts = [{"Id": f"C{n}", "AccountId": f"A{n % 3}"} for n in range(9)]
    world.add(schema("Contact", reference("AccountId", "Account")), *contacts)
    for entity in ("Account", "Contact"):
        factories.project_object(project, entity)
    drive(services.start_run(project))
    parents = [row["accountid"] for row in world.rows["contact"].values()]
    assert parents == sorted(parents)


# --- the consent's screen -------------------------------------------------------------------------------------


def test_the_project_page_takes_the_consent_and_gives_it_back(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts(world, project)
    boss = signed_in(*VIEW, "runs.control_run")
    shown = reverse("admin:projects_project_change", args=[project.pk])
    act = reverse("admin:runs_consent", args=[project.pk])
    assert "cannot be asked" not in text(boss, shown)
    capable(monkeypatch)
    assert "No run starts before somebody consents to that." in text(boss, shown)
    boss.post(act, {"consent": "give"})
    assert "consented to that on" in text(boss, shown)
    boss.post(act, {"consent": "no"})
    assert "No run starts before somebody consents to that." in text(boss, shown)


def test_who_may_not_control_runs_consents_to_nothing(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    capable(monkeypatch)
    act = reverse("admin:runs_consent", args=[project.pk])
    assert signed_in(*VIEW).post(act, {"consent": "give"}).status_code == 403
    assert signed_in(*VIEW, "runs.control_run").get(act).status_code == 405
    project.refresh_from_db()
    assert project.unasked_at is None
