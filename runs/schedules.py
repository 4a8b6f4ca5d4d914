"""Schedules: when a project's deltas start by themselves. Worker hosts' supervisors ask ``start_due`` now and then.

Times come from the database's clock. Several supervisors may ask at once: each schedule is looked at by one.
"""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

from django.contrib.auth.models import User
from django.db import connection, transaction

from orgs.quiet import QuietHours
from projects.models import Project
from runs import events, services
from runs.choices import OPEN, EventLevel, RunKind, RunState
from runs.models import DeltaSchedule, Run
from runs.services import RunRefused

SHORTEST_MINUTES, LONGEST_MINUTES = 5, 7 * 24 * 60
_ONE_DAY = timedelta(days=1)


class ScheduleInvalid(Exception):
    """The schedule cannot be as asked; the message is a sentence for staff."""


@transaction.atomic
def set_schedule(
    project: Project,
    *,
    user: User,
    every_minutes: int | None = None,
    daily_at: time | None = None,
    quiet_from: time | None = None,
    quiet_until: time | None = None,
    time_zone: str = "UTC",
) -> DeltaSchedule:
    """Give the project this schedule in place of an earlier one, switched on. Raises ScheduleInvalid."""
    if (every_minutes is None) == (daily_at is None):
        raise ScheduleInvalid("Choose either an interval or a time of the day.")
    if every_minutes is not None and not SHORTEST_MINUTES <= every_minutes <= LONGEST_MINUTES:
        raise ScheduleInvalid(f"The interval must be from {SHORTEST_MINUTES} minutes to 7 days.")
    if (quiet_from is None) != (quiet_until is None) or (quiet_from is not None and quiet_from == quiet_until):
        raise ScheduleInvalid("Quiet hours need a beginning and another end, or neither.")
    if time_zone not in available_timezones():
        raise ScheduleInvalid(f"There is no time zone “{time_zone}”; choose one such as Europe/Berlin.")
    schedule, _ = DeltaSchedule.objects.select_for_update().get_or_create(
        project=project, defaults={"every_minutes": every_minutes, "daily_at": daily_at}
    )
    schedule.every_minutes, schedule.daily_at = every_minutes, daily_at
    schedule.quiet_from, schedule.quiet_until, schedule.time_zone = quiet_from, quiet_until, time_zone
    if daily_at is not None and _quiet_at(schedule, daily_at):
        raise ScheduleInvalid("The time of the day lies within the quiet hours; choose another one.")
    schedule.paused, schedule.last_run, schedule.changed_by = "", None, user
    schedule.due_at = next_due(schedule, _now())
    schedule.save()
    return schedule


def next_due(schedule: DeltaSchedule, after: datetime) -> datetime:
    """When the next delta starts, after that moment and out of the quiet hours."""
    if schedule.every_minutes is not None:
        due = after + timedelta(minutes=schedule.every_minutes)
    else:
        due = _next_daily(schedule, after)
    quiet = _quiet(schedule)
    period = quiet.period(due) if quiet else None
    return period.ends if period else due


def _next_daily(schedule: DeltaSchedule, after: datetime) -> datetime:
    zone = ZoneInfo(schedule.time_zone)
    today = after.astimezone(zone).date()
    wall = schedule.daily_at or time()
    moments = (datetime.combine(today + days * _ONE_DAY, wall, zone).astimezone(UTC) for days in (0, 1, 2))
    return next(moment for moment in moments if moment > after)


def _quiet(schedule: DeltaSchedule) -> QuietHours | None:
    if schedule.quiet_from is None or schedule.quiet_until is None:
        return None
    return QuietHours(schedule.quiet_from, schedule.quiet_until, schedule.time_zone)


def _quiet_at(schedule: DeltaSchedule, wall: time) -> bool:
    begins, ends = schedule.quiet_from, schedule.quiet_until
    if begins is None or ends is None:
        return False
    return begins <= wall < ends if begins < ends else wall >= begins or wall < ends


def pause(project: Project, why: str, *, user: User | None = None) -> None:
    DeltaSchedule.objects.filter(project=project).update(paused=why, changed_by=user)


@transaction.atomic
def resume(project: Project, *, user: User) -> DeltaSchedule:
    """Switch a paused schedule on again; what was missed runs once. Raises ScheduleInvalid where there is none."""
    schedule = DeltaSchedule.objects.select_for_update().filter(project=project).first()
    if schedule is None:
        raise ScheduleInvalid(f"{project} has no schedule.")
    schedule.paused, schedule.last_run, schedule.changed_by = "", None, user
    schedule.save(update_fields=["paused", "last_run", "changed_by"])
    return schedule


def remove(project: Project) -> None:
    DeltaSchedule.objects.filter(project=project).delete()


def start_due() -> list[Run]:
    """Start the deltas that are due now; returns their runs. Costs one query where none is."""
    due = DeltaSchedule.objects.extra(where=["paused = '' AND due_at <= clock_timestamp()"])
    started = [_start(pk) for pk in due.values_list("pk", flat=True)]
    return [run for run in started if run is not None]


@transaction.atomic
def _start(pk: int) -> Run | None:
    """Start this one, unless somebody else looks at it, its time is quiet, a run is open or a person must look."""
    held = DeltaSchedule.objects.select_for_update(skip_locked=True, of=("self",)).filter(pk=pk, paused="")
    schedule = held.select_related("project", "last_run").first()
    now = _now()
    if schedule is None or schedule.due_at is None or schedule.due_at > now:
        return None
    quiet = _quiet(schedule)
    period = quiet.period(now) if quiet else None
    if period is not None:
        DeltaSchedule.objects.filter(pk=pk).update(due_at=period.ends)
        return None
    if Run.objects.filter(project=schedule.project, state__in=sorted(OPEN)).exists():
        return None
    trouble = _trouble(schedule)
    run = None
    if not trouble:
        try:
            run = services.start_delta(schedule.project)
        except RunRefused as refused:
            trouble = str(refused)
    if run is None:
        DeltaSchedule.objects.filter(pk=pk).update(paused=trouble)
        return None
    late = now - schedule.due_at > timedelta(minutes=1)
    told = f"Started by the schedule of {schedule.project}" + (", late: it was due " if late else ".")
    events.tell(run.pk, told + (f"{schedule.due_at:%-d %b %Y %H:%M} UTC." if late else ""), level=EventLevel.INFO)
    DeltaSchedule.objects.filter(pk=pk).update(last_run=run, due_at=next_due(schedule, now))
    return run


def _trouble(schedule: DeltaSchedule) -> str:
    """Why a person must look first, or blank."""
    last = schedule.last_run
    if last is None:
        return ""
    if last.state in {RunState.FAILED, RunState.CRASHED}:
        return f"{last} of the schedule ended as {last.get_state_display().lower()}: {last.reason}"
    undone = Run.objects.filter(project=schedule.project, kind=RunKind.ROLLBACK, pk__gt=last.pk).first()
    if undone is not None:
        return f"{undone} took records back, which the next delta would bring again; resume when it shall."
    return ""


def _now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
        return moment
