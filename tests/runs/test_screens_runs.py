"""The run list and the run page: figures, sentences, live parts and buttons."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from projects.models import Project
from runs import events, ledger, services
from runs.causes import COUNT_CAP, causes_of
from runs.choices import ACTIVE, ChunkState, EventLevel, RunState
from runs.models import Finding, Run, RunEvent, Step, WorkerHost
from runs.progress import Pace, briefly, progress_of
from runs.templatetags.screens import duration, span
from tests import factories
from tests.fakes import World
from tests.runs.screens import VIEW, accounts, done, signed_in, text

pytestmark = pytest.mark.django_db
POLLS = 'hx-trigger="every'
ROWS = [{"Id": f"R{n}", "Name": f"Name {n}"} for n in range(10)]


def page_of(run: Run, name: str = "change") -> str:
    return reverse(f"admin:runs_run_{name}", args=[run.pk])


def running(project: Project, **given: object) -> Run:
    now = timezone.now()
    return factories.run(project, state=RunState.RUNNING, started_at=now, planned_at=now, **given)


def half_done(project: Project) -> tuple[Run, Step]:
    """20 of 40 expected records read: 10 loaded and verified, 10 staged."""
    run = running(project)
    step = factories.step(run, factories.project_object(project, "Account"), expected=40, read=20)
    factories.chunk(
        step, ROWS, state=ChunkState.VERIFIED, created=6, rejected=3, unchanged=1,
        loaded_at=timezone.now(), verified_at=timezone.now(), verified_records=7, verified_fields=14,
    )  # fmt: skip
    factories.chunk(step, ROWS)
    return run, step


def find(step: Step, rule: str, field: str = "", severity: str = "error", number: int = 1) -> None:
    chunk = step.chunks.first() or factories.chunk(step, ROWS)
    ledger.ensure_partition(step.run.project_id)
    Finding.objects.bulk_create(
        Finding(
            project=step.run.project, run=step.run, step=step, chunk=chunk, phase="load", severity=severity,
            source_id=f"R{n}", field=field, rule=rule, message=f"{rule} of {field} in R{n}",
        )
        for n in range(number)
    )  # fmt: skip


# --- Progress -------------------------------------------------------------------------------------------------
def test_progress_counts_reading_loading_and_verifying(project: Project) -> None:
    run, _ = half_done(project)
    progress = progress_of(run)
    assert (progress.read, progress.loaded, progress.verified, progress.total) == (20, 10, 10, 40)
    assert progress.percent == 100 * (20 + 10 + 10) // (3 * 40)
    assert {name: number for name, number in progress.outcomes if number} == {
        "created": 6,
        "unchanged": 1,
        "rejected": 3,
    }
    assert [(part.name, part.percent) for part in progress.segments] == [
        ("created", 15.0), ("unchanged", 2.5), ("rejected", 7.5), ("waiting", 25.0)
    ]  # fmt: skip
    assert progress.sentence == "Reading 1 of 1 object."


def test_a_bar_promises_no_end_where_the_source_gives_no_count(project: Project) -> None:
    run = running(project)
    factories.step(run, factories.project_object(project, "Account"), expected=None, read=5)
    progress = progress_of(run)
    assert progress.percent is None
    assert progress.objects[0].unknown
    assert "aria-valuenow" not in text(signed_in(*VIEW), page_of(run))


def test_only_a_completed_run_shows_100_percent(project: Project) -> None:
    run = running(project)
    step = factories.step(run, factories.project_object(project, "Account"), read=10, extracted_at=timezone.now())
    factories.chunk(step, ROWS, state=ChunkState.VERIFIED, created=10)
    assert progress_of(run).percent == 99
    run.state = RunState.COMPLETED
    assert progress_of(run).percent == 100


def test_an_interrupted_chunk_is_not_counted_twice(project: Project) -> None:
    run = running(project)
    step = factories.step(run, factories.project_object(project, "Account"), expected=10, read=10)
    factories.chunk(step, ROWS, state=ChunkState.LOADING, created=4)
    assert sum(count for _, count in progress_of(run).outcomes) == 0


def test_progress_takes_two_queries_however_many_objects(
    project: Project, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    run = running(project)
    for number in range(40):
        step = factories.step(run, factories.project_object(project, f"Entity{number}"), expected=10, read=10)
        factories.chunk(step, ROWS)
    with django_assert_num_queries(2):
        assert len(progress_of(run).objects) == 40
    with django_assert_num_queries(1):
        assert briefly([run])[run.pk].total == 400


@given(
    passes=st.integers(1, 10**7),
    done=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
    seconds=st.tuples(st.floats(0, 60), st.floats(0, 300)),
)
def test_time_left_is_a_range_in_order(passes: int, done: tuple[int, int], seconds: tuple[float, float]) -> None:
    left = Pace(done, 0, seconds).range_for(passes)
    assert left is None or 0 <= left[0] <= left[1]
    assert isinstance(span(left), str)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"),
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (273600, "3 d 4 h"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), ((1, 50), "less than a minute"), ((30, 130), "up to 3 min"), ((130, 240), "2–4 min"),
     ((3600, 10_800), "1–3 h"), ((10, 7000), "up to 117 min"), ((200_000, 400_000), "2–5 days")],
)  # fmt: skip
def test_time_left_is_said_as_a_range(seconds: tuple[float, float] | None, said: str) -> None:
    assert span(seconds) == said


# --- The page -------------------------------------------------------------------------------------------------
def test_a_finished_run_shows_where_every_record_went_and_asks_no_more(world: World, project: Project) -> None:
    accounts(world, project)
    run = done(project)
    assert run.state == RunState.COMPLETED_WITH_ERRORS
    shown = text(signed_in(*VIEW), page_of(run))
    assert "Completed with record errors" in shown
    assert run.reason in shown
    assert "100 %" in shown
    assert POLLS not in shown
    assert re.search(r'state=rejected">1<', shown)
    assert re.search(r'state=deferred">1<', shown)
    assert "Names must not end in 1." in shown
    assert "Records read back" in shown


@pytest.mark.parametrize("state", sorted(RunState.values))
def test_a_run_without_steps_has_a_page_in_every_state(project: Project, state: str) -> None:
    run = factories.run(project, state=state, reason="The source refused the password; enter it on the org's page.")
    shown = text(signed_in(superuser=True), page_of(run))
    assert run.get_state_display() in shown
    assert (POLLS in shown) == (state in ACTIVE | {RunState.PAUSED})
    if state in {RunState.FAILED, RunState.CRASHED, RunState.PAUSED}:
        assert "The source refused the password" in shown


@pytest.mark.parametrize(
    ("state", "buttons"),
    [
        (RunState.QUEUED, {"pause", "cancel"}),
        (RunState.RUNNING, {"pause", "cancel"}),
        (RunState.PAUSING, {"cancel"}),
        (RunState.PAUSED, {"resume", "cancel"}),
        (RunState.CANCELLING, set()),
        (RunState.FAILED, {"resume"}),
        (RunState.CRASHED, {"resume"}),
        (RunState.COMPLETED, {"again"}),
        (RunState.CANCELLED, {"again"}),
    ],
)
def test_the_buttons_are_what_the_state_allows(project: Project, state: RunState, buttons: set[str]) -> None:
    shown = text(signed_in(superuser=True), page_of(factories.run(project, state=state)))
    assert set(re.findall(r'id="run-(pause|resume|cancel|again)"', shown)) == buttons


def test_names_are_shown_as_text(project: Project) -> None:
    Project.objects.filter(pk=project.pk).update(name="<script>alert(1)</script>" + "long" * 20)
    run = running(project)
    step = factories.step(run, factories.project_object(project, "<b>" + "x" * 200))
    find(step, "<i>rule</i>", "<u>field</u>")
    shown = text(signed_in(superuser=True), page_of(run))
    for raw in ("<script>alert", "<b>x", "<i>rule", "<u>field"):
        assert raw not in shown


# --- Live -----------------------------------------------------------------------------------------------------
def vals(shown: str) -> dict[str, str]:
    found = re.search(r"hx-vals='\{\"seen\": \"(\w+)\", \"said\": \"(.*?)\"\}'", shown)
    assert found
    return {"seen": found[1], "said": found[2].encode().decode("unicode_escape")}


def test_a_poll_brings_nothing_while_nothing_changes(project: Project) -> None:
    run, step = half_done(project)
    Run.objects.filter(pk=run.pk).update(started_at=None)  # else the seconds it takes change, too
    Step.objects.filter(pk=step.pk).update(read=0)
    step.chunks.update(staged_at="2000-01-01T00:00Z", loaded_at=None, verified_at=None)
    viewer = signed_in(*VIEW)
    seen = vals(text(viewer, page_of(run)))
    assert viewer.get(page_of(run, "progress"), seen).status_code == 204
    events.tell(run.pk, "Something happened.")
    assert "Something happened." in text(viewer, f"{page_of(run, 'progress')}?seen={seen['seen']}")


def test_only_steps_of_state_and_ten_percent_are_announced(project: Project) -> None:
    run, step = half_done(project)
    viewer = signed_in(*VIEW)
    seen = vals(text(viewer, page_of(run)))
    assert seen["said"].endswith("running, 30 percent")
    Step.objects.filter(pk=step.pk).update(read=21)
    assert "run-announcement" not in viewer.get(page_of(run, "progress"), seen).content.decode()
    Step.objects.filter(pk=step.pk).update(read=40)
    assert "running, 50 percent" in viewer.get(page_of(run, "progress"), seen).content.decode()
    Run.objects.filter(pk=run.pk).update(state=RunState.FAILED, reason="No disk.", finished_at=timezone.now())
    assert "failed. No disk." in viewer.get(page_of(run, "progress"), seen).content.decode()


def test_the_last_poll_of_a_run_stops_the_polling(project: Project) -> None:
    run, _ = half_done(project)
    viewer = signed_in(*VIEW)
    assert "every 2s [!document.hidden], every 10s [document.hidden]" in text(viewer, page_of(run, "progress"))
    Run.objects.filter(pk=run.pk).update(state=RunState.COMPLETED, finished_at=timezone.now())
    assert POLLS not in text(viewer, page_of(run, "progress"))


def test_waits_are_shown_until_they_end(project: Project) -> None:
    run, _ = half_done(project)
    events.tell_wait(run.pk, "The platform asked us to slow down.", seconds=3600)
    past = RunEvent.objects.create(
        run=run, level=EventLevel.WAIT, message="An earlier wait.", until=timezone.now() - timedelta(minutes=1)
    )
    shown = text(signed_in(*VIEW), page_of(run))
    assert "The platform asked us to slow down." in shown.partition("Objects</h2>")[0]
    assert past.message not in shown.partition("Objects</h2>")[0]


def test_a_queued_run_says_when_no_worker_host_is_up(project: Project) -> None:
    run = factories.run(project)
    viewer = signed_in(*VIEW)
    assert "No worker host has ever run" in text(viewer, page_of(run))
    host = WorkerHost.objects.create(name="host", pid=1)
    assert "Waits for a free worker." in text(viewer, page_of(run))
    WorkerHost.objects.filter(pk=host.pk).update(seen_at=timezone.now() - timedelta(minutes=5))
    assert "sign of life for a minute" in text(viewer, page_of(run))
    assert "Gone" in text(viewer, reverse("admin:runs_workerhost_changelist"))


# --- Causes ---------------------------------------------------------------------------------------------------
def test_findings_are_grouped_by_cause_errors_and_frequent_ones_first(project: Project) -> None:
    run, step = half_done(project)
    find(step, "too_long", "name", number=3)
    find(step, "too_long", "city", number=1)
    find(step, "unknown_value", "status", number=5)
    find(step, "rounded", "amount", severity="note", number=9)
    found = [(cause.severity, cause.rule, cause.field, cause.count) for cause in causes_of(run)]
    assert found == [
        ("error", "unknown_value", "status", 5),
        ("error", "too_long", "name", 3),
        ("error", "too_long", "city", 1),
        ("note", "rounded", "amount", 9),
    ]
    shown = text(signed_in(*VIEW), page_of(run))
    assert "?code=unknown_value" in shown
    assert "?code=rounded" not in shown


def test_causes_of_many_findings_are_counted_up_to_a_cap(
    project: Project, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    run, step = half_done(project)
    find(step, "too_long", "name", number=COUNT_CAP + 5)
    with django_assert_num_queries(1):
        (cause,) = causes_of(run)
    assert cause.counted == "10,000+"


# --- Lists ----------------------------------------------------------------------------------------------------
def test_runs_are_listed_by_state_and_project(project: Project) -> None:
    run = factories.run(project, state=RunState.FAILED, reason="The password is wrong.")
    other = factories.run(factories.project(), state=RunState.COMPLETED)
    viewer = signed_in(*VIEW)
    address = reverse("admin:runs_run_changelist")
    assert all(f">{each}<" in text(viewer, address) for each in (run, other))
    failed = text(viewer, f"{address}?state=failed")
    assert f">{run}<" in failed
    assert "The password is wrong." in failed
    assert f">{other}<" not in failed
    assert f">{other}<" not in text(viewer, f"{address}?project={project.pk}")
    assert "No such runs" in text(viewer, f"{address}?state=cancelled")
    for strange in ("?state=nonsense", "?before=x", "?before=99999999999999999999", "?project=%00"):
        assert f">{run}<" in text(viewer, address + strange)


def test_long_lists_of_runs_and_events_are_paged_by_key(
    project: Project, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    runs = [factories.run(project, state=RunState.COMPLETED) for _ in range(30)]
    RunEvent.objects.bulk_create(RunEvent(run=runs[0], message=f"Event {n:03}.") for n in range(150))
    viewer = signed_in(*VIEW)
    address = reverse("admin:runs_run_changelist")
    with django_assert_max_num_queries(10):
        first = text(viewer, address)
    assert f">{runs[-1]}<" in first
    assert f">{runs[0]}<" not in first
    older = re.search(r'href="(\?state=&amp;before=\d+)"', first)
    assert older
    assert f">{runs[0]}<" in text(viewer, address + older[1].replace("&amp;", "&"))
    newest = text(viewer, page_of(runs[0], "events"))
    assert "Event 149." in newest
    assert "Event 049." not in newest
    earlier = re.search(r'href="(\?before=\d+)"', newest)
    assert earlier
    assert "Event 000." in text(viewer, page_of(runs[0], "events") + earlier[1])


def test_the_overview_names_the_next_thing_to_do() -> None:
    boss = signed_in(superuser=True)
    start = reverse("admin:index")
    assert "Add the first customer" in text(boss, start)
    owner = factories.customer()
    assert "Connect the first systems" in text(boss, start)
    factories.org(customer=owner)
    assert "Set up the first project" in text(boss, start)
    project = factories.project(customer=owner)
    assert "Start the first run" in text(boss, start)
    run = factories.run(project)
    shown = text(boss, start)
    assert f">{run}<" in shown
    assert "no worker host is up" in shown


def test_the_overview_lists_orgs_that_need_a_person() -> None:
    troubled = factories.org(status="expired", status_reason="The password has expired.", checked_at=timezone.now())
    well = factories.org()
    shown = text(signed_in(*VIEW), reverse("admin:index"))
    assert troubled.name in shown
    assert "The password has expired." in shown
    assert well.name not in shown


# --- Doing ----------------------------------------------------------------------------------------------------
@pytest.fixture
def boss() -> Client:
    return signed_in(*VIEW, "runs.control_run")


def test_a_run_is_started_after_saying_what_will_happen(world: World, project: Project, boss: Client) -> None:
    accounts(world, project)
    address = reverse("admin:runs_run_start", args=[project.pk])
    assert f"Start run of 1 object into {project.target}?" in text(boss, address)
    assert not Run.objects.exists()
    answer = boss.post(address)
    run = Run.objects.get()
    assert answer["Location"] == page_of(run)
    assert run.started_by is not None
    assert run.drivers.count() == services.places(project)


def test_a_project_without_objects_starts_nothing(project: Project, boss: Client) -> None:
    address = reverse("admin:runs_run_start", args=[project.pk])
    assert "nothing to run" in text(boss, address)
    assert "nothing to run" in boss.post(address).content.decode()
    assert not Run.objects.exists()


def test_runs_are_paused_resumed_and_cancelled(project: Project, boss: Client) -> None:
    run = factories.run(project)
    boss.post(page_of(run, "pause"))
    run.refresh_from_db()
    assert run.state == RunState.PAUSING
    Run.objects.filter(pk=run.pk).update(state=RunState.PAUSED)
    boss.post(page_of(run, "resume"))
    run.refresh_from_db()
    assert run.state == RunState.QUEUED
    assert "Work in hand is finished" in text(boss, page_of(run, "cancel"))
    run.refresh_from_db()
    assert run.state == RunState.QUEUED
    boss.post(page_of(run, "cancel"))
    run.refresh_from_db()
    assert run.state == RunState.CANCELLING


@pytest.mark.parametrize("what", ["pause", "resume", "cancel"])
def test_what_cannot_be_done_now_is_said(project: Project, boss: Client, what: str) -> None:
    run = factories.run(project, state=RunState.COMPLETED)
    shown = boss.post(page_of(run, what), follow=True).content.decode()
    assert f"{run} is completed and cannot be" in shown
    run.refresh_from_db()
    assert run.state == RunState.COMPLETED
