"""The pages of deltas: deciding conflicts, waiving records, the schedule, and allowing many deletions once."""

from collections.abc import Callable, Mapping
from datetime import time
from typing import Any, cast
from zoneinfo import available_timezones

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.decorators import permission_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from projects.models import Project
from projects.pages import crumb, page
from runs import conflicts, records, schedules, services, waivers
from runs.choices import DUE, ConflictState
from runs.ledger import Scope
from runs.models import DeltaSchedule
from runs.schedules import ScheduleInvalid
from runs.services import RunRefused
from runs.views import may_control, note, run_of

PER_PAGE = 50
may_see_conflicts = permission_required("runs.view_conflict", raise_exception=True)
may_decide = permission_required("runs.decide_conflict", raise_exception=True)
may_waive = permission_required("runs.waive_record", raise_exception=True)
may_plan = permission_required("runs.plan_delta", raise_exception=True)


# --- Conflicts ------------------------------------------------------------------------------------------------
@may_see_conflicts
@require_GET
def conflict_list(request: HttpRequest, project_id: int) -> HttpResponse:
    """The queue: by object and field, open ones first to last; a page of ``PER_PAGE`` by keyset."""
    project = _project(request, project_id)
    objects = records.objects_of(project)
    object_id, field = _chosen(request.GET.get("object"), objects), request.GET.get("field")
    waiting = conflicts.queue(request.user, project).select_related("decided_by")
    fields = sorted(set(waiting.order_by().values_list("field", flat=True).distinct()[:200]))
    shown = waiting if object_id is None else waiting.filter(object=object_id)
    shown = shown if field is None else shown.filter(field=field)
    after = request.GET.get("after", "")
    start = shown.filter(pk__gt=int(after)) if after.isdecimal() and len(after) < 19 else shown
    found = list(start.order_by("pk")[: PER_PAGE + 1])
    trail = (
        crumb("Projects", "admin:projects_project_changelist"),
        crumb(project, "admin:projects_project_change", project.pk),
        crumb("Conflicts"),
    )
    return page(
        request,
        "runs/conflicts.html",
        f"Conflicts of {project}",
        trail,
        project=project,
        objects=objects,
        object_id=object_id,
        fields=fields,
        field=field,
        found=found[:PER_PAGE],
        next=found[PER_PAGE - 1].pk if len(found) > PER_PAGE else None,
        undecided=shown.filter(state=ConflictState.OPEN).count(),
        answered=conflicts.decided_records(project),
        may_decide=request.user.has_perm("runs.decide_conflict"),
        may_apply=request.user.has_perm("runs.control_run"),
    )


@may_decide
@require_POST
def decide_conflicts(request: HttpRequest, project_id: int) -> HttpResponse:
    """Decide the ticked conflicts (``id``), or with ``all`` every open one of ``object`` and ``field``; ``decision``
    is source, target, or open to take decisions back."""
    project = _project(request, project_id)
    ids = [int(each) for each in request.POST.getlist("id") if each.isdecimal() and len(each) < 19]
    decision, everything = request.POST.get("decision", ""), "all" in request.POST
    back = _back(request, reverse("admin:runs_conflict_list", args=[project.pk]))
    if not ids and not everything:
        messages.error(request, "Tick the conflicts to decide, or decide all of the list.")
        return redirect(back)
    try:
        if decision == "open":
            count = conflicts.reopen(project, None if everything else ids)
        else:
            object_id = _chosen(request.POST.get("object"), records.objects_of(project))
            narrowed = {"object_id": object_id, "field": request.POST.get("field")} if everything else {"ids": ids}
            count = conflicts.decide(project, decision, user=_user(request), **cast("dict[str, Any]", narrowed))
    except RunRefused as refused:
        messages.error(request, str(refused))
        return redirect(back)
    told = {"source": "decided for the source", "target": "decided for the target", "open": "opened again"}[decision]
    _audit(request, project, f"{count:,} conflicts {told}.")
    messages.success(request, f"{count:,} conflict{'' if count == 1 else 's'} {told}.")
    return redirect(back)


@may_control
@require_POST
def apply_decisions(request: HttpRequest, project_id: int) -> HttpResponse:
    """Start a run that brings the records whose conflicts are all decided."""
    project = _project(request, project_id)
    try:
        run = conflicts.start_applying(project, user=_user(request))
    except RunRefused as refused:
        messages.error(request, str(refused))
        return redirect("admin:runs_conflict_list", project.pk)
    note(request, run, CHANGE, "Applies decisions.")
    messages.success(request, f"{run} applies the decisions.")
    return redirect("admin:runs_run_change", run.pk)


# --- Waivers --------------------------------------------------------------------------------------------------
@may_waive
@require_POST
def waive(request: HttpRequest, project_id: int) -> HttpResponse:
    """Waive what is due of ``object``, ``state``, ``code`` and ``id``, for the given ``reason``; with ``undo`` take
    waivers of that choice back."""
    project = _project(request, project_id)
    state, reason = request.POST.get("state", ""), request.POST.get("reason", "")

    def change() -> str:
        scope = _scope(request, project)
        if "undo" in request.POST:
            return f"{waivers.unwaive(project, scope):,} waived records are due again."
        states = (state,) if state else DUE
        return f"{waivers.waive(project, scope, user=_user(request), reason=reason, states=states):,} records waived."

    return _change(request, project, change, _back(request, reverse("records:list", args=[project.pk])))


def _scope(request: HttpRequest, project: Project) -> Scope:
    """The choice of the form. Raises RunRefused where it names what is not there: it must not grow to “all”."""
    objects = records.objects_of(project)
    chosen, code, source_id = (request.POST.get(name, "") for name in ("object", "code", "id"))
    if (chosen and _chosen(chosen, objects) is None) or "\0" in code + source_id:
        raise RunRefused("Nothing to waive: no record of that choice was rejected or waits for a parent.")
    return Scope(
        objects=(int(chosen),) if chosen else (),
        codes=(code,) if code else (),
        source_ids=(source_id,) if source_id else (),
    )


# --- The schedule ---------------------------------------------------------------------------------------------
@may_plan
@require_http_methods(["GET", "POST"])
def schedule_page(request: HttpRequest, project_id: int) -> HttpResponse:
    """Show the project's schedule, and set, pause, resume or remove it by ``do``."""
    project = _project(request, project_id)
    asked: dict[str, str] = {}
    if request.method == "POST":
        here = reverse("admin:runs_deltaschedule", args=[project.pk])
        deeds = {"pause": _pause, "resume": _resume, "remove": _remove, "limits": _limit}
        try:
            told = deeds.get(request.POST.get("do", ""), _set_schedule)(request, project)
        except ScheduleInvalid as invalid:
            messages.error(request, str(invalid))
            asked = {name: str(value) for name, value in request.POST.items()}
        else:
            _audit(request, project, told)
            messages.success(request, told)
            return redirect(here)
    trail = (
        crumb("Projects", "admin:projects_project_changelist"),
        crumb(project, "admin:projects_project_change", project.pk),
        crumb("Schedule of deltas"),
    )
    schedule = DeltaSchedule.objects.filter(project=project).select_related("last_run", "changed_by").first()
    return page(
        request,
        "runs/schedule.html",
        "Schedule of deltas",
        trail,
        project=project,
        schedule=schedule,
        form=asked or _filled(schedule),
        zones=sorted(available_timezones()),
    )


def _filled(schedule: DeltaSchedule | None) -> dict[str, str]:
    if schedule is None:
        return {"how": "every", "every_minutes": "60", "time_zone": "UTC"}
    times = {name: getattr(schedule, name) for name in ("daily_at", "quiet_from", "quiet_until")}
    return {
        "how": "daily" if schedule.daily_at else "every",
        "every_minutes": str(schedule.every_minutes or 60),
        "time_zone": schedule.time_zone,
        **{name: value.strftime("%H:%M") if value else "" for name, value in times.items()},
    }


def _set_schedule(request: HttpRequest, project: Project) -> str:
    daily = request.POST.get("how") == "daily"
    minutes = request.POST.get("every_minutes", "")
    if not daily and not (minutes.isdecimal() and len(minutes) < 7):
        raise ScheduleInvalid("Give the interval in minutes, as a whole number.")
    wall = _time(request, "daily_at") if daily else None
    if daily and wall is None:
        raise ScheduleInvalid("Give the time of the day at which the delta starts.")
    schedule = schedules.set_schedule(
        project,
        user=_user(request),
        every_minutes=None if daily else int(minutes),
        daily_at=wall,
        quiet_from=_time(request, "quiet_from"),
        quiet_until=_time(request, "quiet_until"),
        time_zone=request.POST.get("time_zone", ""),
    )
    return f"Deltas start by themselves; the next one at {schedule.due_at:%-d %b %Y, %H:%M} UTC."


def _pause(request: HttpRequest, project: Project) -> str:
    user = _user(request)
    schedules.pause(project, f"Paused by {user.get_username()}.", user=user)
    return "The schedule is paused."


def _resume(request: HttpRequest, project: Project) -> str:
    schedules.resume(project, user=_user(request))
    return "The schedule is on again; what was missed runs once."


def _remove(request: HttpRequest, project: Project) -> str:
    del request
    schedules.remove(project)
    return "The schedule is removed; deltas start by hand only."


def _limit(request: HttpRequest, project: Project) -> str:
    """From which share of deletions on a delta stops."""
    percent, least = (request.POST.get(name, "") for name in ("percent", "least"))
    if not (percent.isdecimal() and int(percent[:9]) <= 100 and least.isdecimal() and len(least) < 10):
        raise ScheduleInvalid("Give the share in whole percent, up to 100, and the number as a whole number.")
    project.delete_stop_percent, project.delete_stop_least = int(percent), int(least)
    project.save(update_fields=["delete_stop_percent", "delete_stop_least"])
    return f"A delta stops before it deletes more than {percent} % of an object, and more than {int(least):,} records."


def _time(request: HttpRequest, name: str) -> time | None:
    text = request.POST.get(name, "").strip()
    if not text:
        return None
    try:
        return time.fromisoformat(text).replace(second=0, microsecond=0, tzinfo=None)
    except ValueError as error:
        raise ScheduleInvalid(f"“{text[:20]}” is no time of the day; write it as 22:00.") from error


# --- Many deletions -------------------------------------------------------------------------------------------
@may_control
@require_POST
def allow_deletions(request: HttpRequest, run_id: int) -> HttpResponse:
    """Let a run that stopped for its many deletions do just these, once."""
    run = run_of(request, run_id)
    try:
        services.allow_deletions(run, user=_user(request))
    except RunRefused as refused:
        messages.error(request, str(refused))
    else:
        note(request, run, CHANGE, "Allowed its deletions once.")
        messages.success(request, f"{run} goes on and deletes what it found.")
    return redirect("admin:runs_run_change", run.pk)


# --- Shared ---------------------------------------------------------------------------------------------------
def _change(request: HttpRequest, project: Project, change: Callable[[], str], back: str) -> HttpResponse:
    try:
        told = change()
    except RunRefused as refused:
        messages.error(request, str(refused))
    else:
        _audit(request, project, told)
        messages.success(request, told)
    return redirect(back)


def _audit(request: HttpRequest, project: Project, told: str) -> None:
    LogEntry.objects.log_actions(cast("int", request.user.pk), [project], CHANGE, told, single_object=True)


def _back(request: HttpRequest, otherwise: str) -> str:
    asked = request.POST.get("back", "")
    if asked.startswith("/") and url_has_allowed_host_and_scheme(asked, allowed_hosts={request.get_host()}):
        return asked
    return otherwise


def _chosen(text: str | None, objects: Mapping[int, Any]) -> int | None:
    return next((pk for pk in objects if str(pk) == text), None)


def _user(request: HttpRequest) -> User:
    return cast("User", request.user)


def _project(request: HttpRequest, project_id: int) -> Project:
    known = Project.objects.visible_to(request.user).select_related("customer", "source", "target")
    project: Project = get_object_or_404(known, pk=project_id)
    return project
