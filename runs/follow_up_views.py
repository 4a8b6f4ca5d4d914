"""What a person does after a run: bring what changed, try again what failed, take back what was written."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from django.contrib import messages
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST

from projects.models import Project
from projects.pages import crumb, page
from runs import ledger, previews, records, retention, services
from runs.choices import DUE, OPEN, RecordState
from runs.ledger import Scope
from runs.models import Run, TrackedRecord
from runs.services import RunRefused
from runs.views import may_control, note, run_of

MOST_DAYS = 36_500
may_roll_back = permission_required("runs.rollback_run", raise_exception=True)


# --- Delta ----------------------------------------------------------------------------------------------------
@may_control
@require_http_methods(["GET", "POST"])
def start_delta(request: HttpRequest, project_id: int) -> HttpResponse:
    """Say from when on changes are read, then start."""
    project = _project(request, project_id)
    objects = list(project.project_objects.filter(enabled=True))
    if request.method == "POST" and objects:
        try:
            run = services.start_delta(project, user=cast("Any", request.user))
        except RunRefused as refusal:
            messages.error(request, str(refusal))
            return redirect("admin:projects_project_change", project.pk)
        return _started(request, run, f"{run} brings the changes of {project}.")
    trail = (
        crumb("Projects", "admin:projects_project_changelist"),
        crumb(project, "admin:projects_project_change", project.pk),
        crumb("Bring changes"),
    )
    reached = ledger.watermarks([chosen.pk for chosen in objects])
    return page(
        request,
        "runs/delta.html",
        "Bring changes",
        trail,
        project=project,
        objects=[(chosen, reached[chosen.pk].at if chosen.pk in reached else None) for chosen in objects],
        open_run=Run.objects.visible_to(request.user).filter(project=project, state__in=sorted(OPEN)).first(),
    )


# --- Retry ----------------------------------------------------------------------------------------------------
@may_control
@require_POST
def start_retry(request: HttpRequest, project_id: int) -> HttpResponse:
    """Try again what is due of a choice: ``object``, ``state``, ``code`` and ``id``; what is blank chooses all.

    ``back`` is the page the person came from, to which a refusal leads.
    """
    project = _project(request, project_id)
    try:
        scope = _scope(request, project)
        run = services.start_retry(project, scope, user=cast("Any", request.user))
    except RunRefused as refusal:
        messages.error(request, str(refusal))
        return redirect(_back(request, project))
    what = "brings again what was taken back" if scope.states else "tries again what was due"
    return _started(request, run, f"{run} {what}.")


def _scope(request: HttpRequest, project: Project) -> Scope:
    """The choice of the form. Raises RunRefused where it names what is not there: it must not grow to “all”."""
    objects = {str(pk): pk for pk in records.objects_of(project)}
    chosen, code = request.POST.get("object", ""), request.POST.get("code", "")
    ids, state = _ids(request.POST.getlist("id")), request.POST.get("state", "")
    if (
        (chosen and chosen not in objects)
        or "\0" in code + "".join(ids)
        or (state and state not in (*DUE, RecordState.ROLLED_BACK))
    ):
        raise RunRefused("Nothing is due: no record of that choice was rejected or waits for a parent.")
    scope = Scope(
        objects=(objects[chosen],) if chosen else (),
        codes=(code,) if code else (),
        source_ids=ids,
        reread=request.POST.get("reread") == "on",
    )
    if state == RecordState.ROLLED_BACK:
        return replace(scope, states=(state,))
    return scope if code or not state else replace(scope, codes=_codes(project, scope, state))


def _ids(given: Sequence[str]) -> tuple[str, ...]:
    """Source ids of a form, one per line of each of its fields."""
    return tuple(dict.fromkeys(line.strip() for text in given for line in text.splitlines() if line.strip()))


def _codes(project: Project, scope: Scope, state: str) -> tuple[str, ...]:
    """The causes of the records in that state: a retry is limited by cause, and waiting is one of its own."""
    there = TrackedRecord.objects.filter(
        project=project, object__in=scope.objects or list(records.objects_of(project)), state=state
    )
    codes = tuple(there.values_list("code", flat=True).distinct().order_by("code"))
    if not codes:
        raise RunRefused("Nothing is due: no record of that choice was rejected or waits for a parent.")
    return codes


def _back(request: HttpRequest, project: Project) -> str:
    asked = request.POST.get("back", "")
    if asked.startswith("/") and url_has_allowed_host_and_scheme(asked, allowed_hosts={request.get_host()}):
        return asked
    return reverse("admin:projects_project_change", args=[project.pk])


# --- Rollback -------------------------------------------------------------------------------------------------
@may_roll_back
@require_http_methods(["GET", "POST"])
def roll_back(request: HttpRequest, run_id: int) -> HttpResponse:
    """Show what taking the run back would do, or the part of it that ``object``, ``state``, ``cause`` and ``id``
    choose; then do just that: the form carries the code of what was shown."""
    undone = run_of(request, run_id)
    return _roll_back(request, undone.project, undone, reverse("admin:runs_run_change", args=[undone.pk]))


@may_roll_back
@require_http_methods(["GET", "POST"])
def roll_back_records(request: HttpRequest, project_id: int) -> HttpResponse:
    """The same of all that any run wrote of an object or of chosen records."""
    project = _project(request, project_id)
    return _roll_back(request, project, None, reverse("records:list", args=[project.pk]))


def _roll_back(request: HttpRequest, project: Project, undone: Run | None, home: str) -> HttpResponse:
    stale = ""
    try:
        scope = _chosen(request, project)
        if request.method == "POST" and "code" in request.POST:
            try:
                run = _confirmed(request, project, undone, scope)
            except previews.PreviewStale as old:
                stale = str(old)
            else:
                return _started(request, run, f"{run} takes {undone or 'the records'} back.")
        seen = previews.preview(undone, scope) if undone else previews.preview_of(project, scope)
    except RunRefused as refusal:
        messages.error(request, str(refusal))
        return redirect(home)
    of = crumb(undone, "admin:runs_run_change", undone.pk) if undone else crumb("Records", "records:list", project.pk)
    return page(
        request,
        "runs/rollback.html",
        f"Roll back {undone or 'records'}",
        (crumb("Runs", "admin:runs_run_changelist"), of, crumb("Roll back")),
        run=undone,
        project=project,
        seen=seen,
        scope=scope,
        state=_listed_state(scope),
        objects=records.objects_of(project),
        stale=stale,
        open_run=Run.objects.visible_to(request.user).filter(project=project, state__in=sorted(OPEN)).first(),
        home=home,
        samples=previews.samples(seen) if request.user.has_perm("runs.view_trackedrecord") else [],
        may_read=request.user.has_perm("runs.view_chunk"),
        kept_until=services.undoable_until(undone) if undone else None,
    )


def _confirmed(request: HttpRequest, project: Project, undone: Run | None, scope: Scope) -> Run:
    code, user = request.POST.get("code", ""), cast("Any", request.user)
    if undone:
        return previews.confirm(undone, code, scope, user=user)
    return previews.confirm_of(project, code, scope, user=user)


def _chosen(request: HttpRequest, project: Project) -> Scope:
    """The choice of the address or the form. Raises RunRefused where it names what is not there: it must not grow."""
    given = request.POST if request.method == "POST" else request.GET
    objects = {str(pk): pk for pk in records.objects_of(project)}
    chosen, state, code = (given.get(name, "") for name in ("object", "state", "cause"))
    ids = _ids(given.getlist("id"))
    if (chosen and chosen not in objects) or "\0" in code + "".join(ids) or (state and state not in records.STATES):
        raise RunRefused("Nothing of that choice is in the target by our doing.")
    states = records.IN_TARGET if state == records.LANDED else (state,) if state else ()
    return Scope(
        objects=(objects[chosen],) if chosen else (),
        codes=(code,) if code else (),
        source_ids=ids,
        states=tuple(str(each) for each in states),
    )


def _listed_state(scope: Scope) -> str:
    """The choice of a record list that stands for the states."""
    return records.LANDED if len(scope.states) > 1 else "".join(scope.states)


# --- Retention ------------------------------------------------------------------------------------------------
@permission_required("projects.change_project", raise_exception=True)
@require_http_methods(["GET", "POST"])
def keep_for(request: HttpRequest, project_id: int) -> HttpResponse:
    """Say for how long contents are kept; show first of how many runs they would be deleted, then do just that."""
    project = _project(request, project_id)
    trouble = ""
    text = (request.POST if request.method == "POST" else request.GET).get("days", "")
    days = int(text) if text.isascii() and text.isdecimal() and 0 < int(text[:6]) <= MOST_DAYS else None
    if text and days is None:
        trouble = f"Give a number of days from 1 to {MOST_DAYS:,}."
    kept = retention.kept(project, days)
    if request.method == "POST" and not trouble:
        if str(kept.past) == request.POST.get("past", ""):
            retention.keep_for(project, days)
            told = f"Contents are kept {f'for {days} days' if days else 'until the project is erased'}."
            LogEntry.objects.log_actions(cast("int", request.user.pk), [project], CHANGE, told, single_object=True)
            messages.success(request, told)
            return redirect("admin:runs_run_retention", project.pk)
        trouble = "How many runs that concerns has changed since it was shown; look at it again before you confirm."
    trail = (
        crumb("Projects", "admin:projects_project_changelist"),
        crumb(project, "admin:projects_project_change", project.pk),
        crumb("Retention"),
    )
    shown: dict[str, Any] = {
        "project": project,
        "kept": kept,
        "asked": days,
        "asked_past": kept.past,
        "trouble": trouble,
    }
    return page(request, "runs/retention.html", "Retention", trail, **shown)


# --- Shared ---------------------------------------------------------------------------------------------------
def _started(request: HttpRequest, run: Run, said: str) -> HttpResponse:
    note(request, run, ADDITION, f"{run.get_kind_display()} started.")
    messages.success(request, said)
    if request.user.has_perm("runs.view_run"):
        return redirect("admin:runs_run_change", run.pk)
    return redirect("admin:projects_project_change", run.project_id)


def _project(request: HttpRequest, project_id: int) -> Project:
    known = Project.objects.visible_to(request.user).select_related("customer", "source", "target")
    project: Project = get_object_or_404(known, pk=project_id)
    return project
