"""Deltas that start by themselves: when, never two at once, once for what was missed, and not without a person."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projects.models import Project
from runs import schedules, services
from runs.choices import RunKind, RunState
from runs.models import DeltaSchedule, Run
from runs.schedules import ScheduleInvalid
from tests import factories
from tests.fakes import World, schema
from tests.runs.test_engine import drive

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def moving(world: World, project: Project) -> World:
    world.add(schema("Account", "Name"), {"Id": "A1", "Name": "x"})
    factories.project_object(project, "Account")
    return world


def scheduled(project: Project, **given: Any) -> DeltaSchedule:
    given = given or {"every_minutes": 30}
    schedule = schedules.set_schedule(project, user=factories.user(), **given)
    DeltaSchedule.objects.filter(pk=schedule.pk).update(due_at=LONG_AGO)
    return schedule


def test_a_due_delta_starts_once_however_late_and_the_next_is_planned(moving: World, project: Project) -> None:
    schedule = scheduled(project)
    (run,) = schedules.start_due()
    assert (run.kind, run.project) == (RunKind.DELTA, project)
    assert run.events.filter(message__contains="late: it was due 1 Jan 2026 00:00 UTC").exists()
    schedule.refresh_from_db()
    assert schedule.last_run == run
    assert schedule.due_at is not None
    assert timedelta(minutes=29) < schedule.due_at - datetime.now(UTC) < timedelta(minutes=31)
    assert schedules.start_due() == []


def test_never_two_at_once(moving: World, project: Project) -> None:
    schedule = scheduled(project)
    open_run = services.start_run(project)
    assert schedules.start_due() == []
    drive(open_run)
    assert len(schedules.start_due()) == 1
    DeltaSchedule.objects.filter(pk=schedule.pk).update(due_at=LONG_AGO)
    assert schedules.start_due() == []


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CRASHED])
def test_a_failed_run_pauses_the_schedule_until_a_person_resumes_it(
    moving: World, project: Project, state: str
) -> None:
    schedule = scheduled(project)
    (run,) = schedules.start_due()
    Run.objects.filter(pk=run.pk).update(state=state, reason="The source is away.", finished_at=LONG_AGO)
    DeltaSchedule.objects.filter(pk=schedule.pk).update(due_at=LONG_AGO)
    assert schedules.start_due() == []
    schedule.refresh_from_db()
    assert schedule.paused == f"{run} of the schedule ended as {state}: The source is away."
    person = factories.user()
    assert schedules.resume(project, user=person).changed_by == person
    assert len(schedules.start_due()) == 1


def test_a_rollback_pauses_it_since_the_delta_would_bring_the_records_again(moving: World, project: Project) -> None:
    schedule = scheduled(project)
    (run,) = schedules.start_due()
    drive(services.start_rollback(drive(run)))
    DeltaSchedule.objects.filter(pk=schedule.pk).update(due_at=LONG_AGO)
    assert schedules.start_due() == []
    schedule.refresh_from_db()
    assert "took records back" in schedule.paused


def test_quiet_hours_move_it_to_their_end(moving: World, project: Project) -> None:
    hour = datetime.now(UTC).hour
    schedule = scheduled(
        project, every_minutes=30, quiet_from=time(hour), quiet_until=time((hour + 2) % 24), time_zone="UTC"
    )
    assert schedules.start_due() == []
    schedule.refresh_from_db()
    assert schedule.due_at is not None
    assert schedule.due_at > datetime.now(UTC)
    assert schedule.due_at.hour == (hour + 2) % 24


@pytest.mark.parametrize(
    ("asked", "trouble"),
    [
        ({}, "either an interval or"),
        ({"every_minutes": 30, "daily_at": time(3)}, "either an interval or"),
        ({"every_minutes": 1}, "from 5 minutes"),
        ({"every_minutes": 30, "quiet_from": time(3)}, "Quiet hours need"),
        ({"every_minutes": 30, "time_zone": "Europe/Nowhere"}, "no time zone"),
        ({"daily_at": time(23), "quiet_from": time(22), "quiet_until": time(6)}, "within the quiet hours"),
    ],
)
def test_what_makes_no_schedule_is_refused_in_one_sentence(
    project: Project, asked: dict[str, Any], trouble: str
) -> None:
    with pytest.raises(ScheduleInvalid, match=trouble):
        schedules.set_schedule(project, user=factories.user(), **asked)
    assert not DeltaSchedule.objects.exists()


def test_daily_is_by_the_customers_clock_through_the_change_to_summer_time() -> None:
    schedule = DeltaSchedule(daily_at=time(4), time_zone="Europe/Berlin")
    before = schedules.next_due(schedule, datetime(2027, 3, 27, 1, tzinfo=UTC))
    after = schedules.next_due(schedule, before)
    assert (before.hour, after.hour) == (3, 2)
    assert after.date() == before.date() + timedelta(days=1)


@given(
    after=st.timedeltas(timedelta(), timedelta(days=730)).map(lambda since: LONG_AGO + since),
    minutes=st.integers(5, 2_000),
    begins=st.integers(0, 23),
    length=st.integers(1, 22),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
)
def test_the_next_one_is_later_and_never_in_quiet_hours(
    after: datetime, minutes: int, begins: int, length: int, zone: str
) -> None:
    schedule = DeltaSchedule(
        every_minutes=minutes, quiet_from=time(begins), quiet_until=time((begins + length) % 24), time_zone=zone
    )
    due = schedules.next_due(schedule, after)
    quiet = schedules._quiet(schedule)
    assert due > after
    assert quiet is not None
    assert quiet.period(due) is None
