"""The pages of runs: list, one run with its live progress, its events, and what a person may do to it."""

import hashlib
from collections.abc import Callable
from typing import Any, cast

from django.contrib import messages
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect
from django_q.models import OrmQ

from projects.models import Project
from projects.pages import Crumb, crumb, page
from runs import services
from runs.causes import again_codes, causes_of
from runs.choices import ACTIVE, OPEN, RESUMABLE, UNDOABLE, RunKind, RunState
from runs.ledger import Scope
from runs.models import Chunk, Driver, Run, RunEvent, WorkerHost
from runs.progress import HOST_SILENT_SECONDS, RunProgress, briefly, host_is_up, progress_of, waits
from runs.services import RunRefused

RUNS_PER_PAGE = 25
EVENTS_PER_PAGE = 100
EVENTS_ON_RUN_PAGE = 8
POLL_SECONDS, HIDDEN_POLL_SECONDS = 2, 10
ANNOUNCED_STEP = 10
"""Percent between two announcements to screen readers."""

GROUPS = {
    "open": ("Open", OPEN),
    "errors": ("With record errors", {RunState.COMPLETED_WITH_ERRORS}),
    "failed": ("Failed", {RunState.FAILED, RunState.CRASHED}),
    "completed": ("Completed", {RunState.COMPLETED}),
    "cancelled": ("Cancelled", {RunState.CANCELLED}),
}
RUNS: Crumb = ("Runs", "")
may_view = permission_required("runs.view_run", raise_exception=True)
may_control = permission_required("runs.control_run", raise_exception=True)


# --- Looking --------------------------------------------------------------------------------------------------
@may_view
@require_GET
def run_list(request: HttpRequest) -> HttpResponse:
    """All runs, newest first, by groups of states and by project."""
    group, project = request.GET.get("state", ""), _number(request.GET.get("project"))
    runs = Run.objects.visible_to(request.user).select_related("project__customer")
    if group in GROUPS:
        runs = runs.filter(state__in=sorted(GROUPS[group][1]))
    chosen = Project.objects.visible_to(request.user).filter(pk=project).first() if project else None
    if project:
        runs = runs.filter(project=project)
    before = _number(request.GET.get("before"))
    found = list((runs.filter(pk__lt=before) if before else runs)[: RUNS_PER_PAGE + 1])
    shown = found[:RUNS_PER_PAGE]
    return page(
        request,
        "runs/list.html",
        "Runs",
        (RUNS,),
        runs=shown,
        briefs=briefly(shown),
        groups=[("", "All"), *((name, label) for name, (label, _) in GROUPS.items())],
        group=group if group in GROUPS else "",
        project=chosen,
        before=before,
        older=shown[-1].pk if len(found) > RUNS_PER_PAGE else None,
        any_project=Project.objects.visible_to(request.user).exists(),
    )


@may_view
@require_GET
def run_page(request: HttpRequest, run_id: int) -> HttpResponse:
    run = run_of(request, run_id)
    return page(
        request,
        "runs/run.html",
        str(run),
        (crumb("Runs", "admin:runs_run_changelist"), crumb(run)),
        **_live(request, run),
    )


@never_cache
@require_GET
def run_progress(request: HttpRequest, run_id: int) -> HttpResponse:
    """The part of the run's page that changes; 204 where the viewer's is still right.

    ``seen`` is the digest of what the viewer has, ``said`` what was announced to them last.
    """
    if not request.user.has_perm("runs.view_run") or not request.user.is_staff:
        # A poll after the session ended must not paint the login form into the page.
        back = reverse("admin:runs_run_change", args=[run_id])
        return HttpResponseClientRedirect(f"{reverse('admin:login')}?next={back}")
    live = _live(request, run_of(request, run_id))
    if request.GET.get("seen") == live["seen"]:
        return HttpResponse(status=204)
    live["announce"] = request.GET.get("said") != live["said"]
    return render(request, "runs/_progress.html", live)


@may_view
@require_GET
def run_events(request: HttpRequest, run_id: int) -> HttpResponse:
    """All events of a run, newest first."""
    run = run_of(request, run_id)
    before = _number(request.GET.get("before"))
    events = RunEvent.objects.filter(run=run)
    found = list((events.filter(pk__lt=before) if before else events)[: EVENTS_PER_PAGE + 1])
    trail = (crumb("Runs", "admin:runs_run_changelist"), crumb(run, "admin:runs_run_change", run.pk), crumb("Events"))
    return page(
        request,
        "runs/events.html",
        f"Events of {run}",
        trail,
        run=run,
        events=found[:EVENTS_PER_PAGE],
        before=before,
        older=found[EVENTS_PER_PAGE - 1].pk if len(found) > EVENTS_PER_PAGE else None,
    )


@permission_required("runs.view_workerhost", raise_exception=True)
@require_GET
def workers(request: HttpRequest) -> HttpResponse:
    """Worker hosts, the places they fill, and what waits in their queues; there is nothing to press here."""
    hosts = WorkerHost.objects.visible_to(request.user).extra(
        select={
            "silent": "extract(epoch FROM clock_timestamp() - seen_at)",
            "unanswered": "canary_sent_at IS NOT NULL AND coalesce(canary_answered_at < canary_sent_at, true) "
            "AND canary_sent_at < clock_timestamp() - interval '30 seconds'",
        }
    )
    drivers = Driver.objects.filter(run__in=Run.objects.visible_to(request.user), run__state__in=sorted(ACTIVE))
    return page(
        request,
        "runs/workers.html",
        "Workers",
        (("Workers", ""),),
        hosts=hosts,
        silent_after=HOST_SILENT_SECONDS,
        drivers=drivers.select_related("run__project").order_by("run", "slot")[:100],
        queued=OrmQ.objects.count(),
    )


# --- Doing ----------------------------------------------------------------------------------------------------
@may_control
@require_http_methods(["GET", "POST"])
def start_run(request: HttpRequest, project_id: int) -> HttpResponse:
    """Say what will happen, then start."""
    project: Project = get_object_or_404(
        Project.objects.visible_to(request.user).select_related("customer", "source", "target"), pk=project_id
    )
    objects = list(project.project_objects.filter(enabled=True))
    open_run = Run.objects.visible_to(request.user).filter(project=project, state__in=sorted(OPEN)).first()
    if request.method == "POST" and objects:
        try:
            run = services.start_run(project, user=cast("Any", request.user))
        except RunRefused as refusal:
            messages.error(request, str(refusal))
            return redirect("admin:projects_project_change", project.pk)
        note(request, run, ADDITION, "Started.")
        messages.success(request, f"{run} of {project} was started.")
        return redirect("admin:runs_run_change", run.pk)
    trail = (
        crumb("Projects", "admin:projects_project_changelist"),
        crumb(project, "admin:projects_project_change", project.pk),
        crumb("Start run"),
    )
    return page(request, "runs/start.html", "Start run", trail, project=project, objects=objects, open_run=open_run)


@may_control
@require_POST
def pause_run(request: HttpRequest, run_id: int) -> HttpResponse:
    return _change(request, run_id, services.pause_run, "Pause asked for.")


@may_control
@require_POST
def resume_run(request: HttpRequest, run_id: int) -> HttpResponse:
    return _change(request, run_id, services.resume_run, "Resumed.")


@may_control
@require_http_methods(["GET", "POST"])
def cancel_run(request: HttpRequest, run_id: int) -> HttpResponse:
    """Say what cancelling means, then cancel."""
    if request.method == "POST":
        return _change(request, run_id, services.cancel_run, "Cancellation asked for.")
    run = run_of(request, run_id)
    if run.state not in OPEN or run.state == RunState.CANCELLING:
        messages.error(request, f"{run} is {run.get_state_display().lower()} and cannot be cancelled now.")
        return redirect("admin:runs_run_change", run.pk)
    trail = (crumb("Runs", "admin:runs_run_changelist"), crumb(run, "admin:runs_run_change", run.pk), crumb("Cancel"))
    return page(request, "runs/cancel.html", f"Cancel {run}", trail, run=run, progress=progress_of(run))


def _change(request: HttpRequest, run_id: int, change: Callable[[Run], None], said: str) -> HttpResponse:
    run = run_of(request, run_id)
    try:
        change(run)
    except RunRefused as refusal:
        messages.error(request, str(refusal))
    else:
        note(request, run, CHANGE, said)
        messages.success(request, f"{run}: {said[0].lower()}{said[1:]}")
    return redirect("admin:runs_run_change", run.pk)


# --- Shared ---------------------------------------------------------------------------------------------------
def _live(request: HttpRequest, run: Run) -> dict[str, Any]:
    """What the live part shows, with its digest (``seen``) and its announcement (``said``)."""
    progress = progress_of(run)
    events = list(RunEvent.objects.filter(run=run)[:EVENTS_ON_RUN_PAGE])
    waiting = waits(run)
    causes = causes_of(run) if request.user.has_perm("runs.view_finding") else []
    open_now = run.state in OPEN
    stepped = (progress.percent or 0) // ANNOUNCED_STEP * ANNOUNCED_STEP
    said = f"{run}: {run.get_state_display().lower()}" + (f", {stepped} percent" if open_now else f". {run.reason}")
    rollbacks = list(Run.objects.visible_to(request.user).filter(undoes=run))
    may = _may(request, run)
    again = again_codes(run, causes) if may["retry"] else frozenset()
    shown = (run.state, run.reason, progress.objects, progress.pace, [event.pk for event in events], causes)
    undone = [(each.pk, each.state) for each in rollbacks]
    return {
        "run": run,
        "project": run.project,
        "progress": progress,
        "events": events,
        "waits": waiting,
        "causes": causes,
        "rollbacks": rollbacks,
        "tried": _tried(run, progress),
        "again": again,
        "may": may,
        "kept_until": services.undoable_until(run),
        "dropped": run.kind in UNDOABLE
        and Chunk.objects.filter(run=run, intended_at__isnull=False, month=None).exists(),
        # A dry run leaves no record that could be looked at; its predictions have a page of their own.
        "may_see_records": run.kind != RunKind.DRY_RUN and request.user.has_perm("runs.view_trackedrecord"),
        "host_missing": run.state in ACTIVE and not progress.pace.moves and not host_is_up(),
        "polls": _polls(run),
        "seen": _digest((shown, undone), [(wait.pk, wait.until) for wait in waiting], progress),
        "said": said,
        "announce": True,
    }


def _digest(shown: object, waiting: object, progress: RunProgress) -> str:
    # While it runs, the time taken changes too; whole seconds are shown.
    taken = int(progress.seconds_taken or 0)
    return hashlib.sha256(repr((shown, waiting, taken)).encode()).hexdigest()[:16]


def _polls(run: Run) -> str:
    """When the page asks again; never, once nothing will change by itself. A paused run may be resumed by others."""
    if run.state in ACTIVE:
        return f"every {POLL_SECONDS}s [!document.hidden], every {HIDDEN_POLL_SECONDS}s [document.hidden]"
    return f"every {HIDDEN_POLL_SECONDS}s" if run.state in OPEN else ""


def _may(request: HttpRequest, run: Run) -> dict[str, bool]:
    """The buttons the person gets: what the run's state and their permissions allow."""
    allowed = request.user.has_perm("runs.control_run")
    written = Chunk.objects.filter(run=run, intended_at__isnull=False)
    return {
        "pause": allowed and run.state in {RunState.QUEUED, RunState.RUNNING},
        "resume": allowed and run.state in RESUMABLE,
        "allow": allowed and run.state == RunState.FAILED and services.stopped_deletions(run).exists(),
        "cancel": allowed and run.state in OPEN and run.state != RunState.CANCELLING,
        "start": allowed and run.state not in OPEN,
        "retry": allowed and run.state not in OPEN and run.kind in UNDOABLE,
        "rollback": run.state not in OPEN
        and run.kind in UNDOABLE
        and request.user.has_perm("runs.rollback_run")
        and written.exists()
        and not written.filter(month=None).exists(),
    }


def _tried(run: Run, progress: RunProgress) -> str:
    """The objects that a retry was limited to, by name."""
    objects = Scope.of(run.scope).objects
    return ", ".join(item.source for item in progress.objects if item.object_id in objects)


def run_of(request: HttpRequest, run_id: int) -> Run:
    known = Run.objects.visible_to(request.user).select_related(
        "project__customer", "project__source", "project__target", "started_by"
    )
    run: Run = get_object_or_404(known, pk=run_id)
    return run


def note(request: HttpRequest, run: Run, flag: int, message: str) -> None:
    LogEntry.objects.log_actions(cast("int", request.user.pk), [run], flag, message, single_object=True)


def _number(text: str | None) -> int | None:
    """An id from an address; None for anything that cannot be one."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 19 else None
