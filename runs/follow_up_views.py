"""What a person does after a run: bring what changed, try again what failed, take back what was written."""

from typing import Any, cast

from django.contrib import messages
from django.contrib.admin.models import ADDITION
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST

from projects.models import Project
from projects.pages import crumb, page
from runs import ledger, previews, records, services
from runs.choices import DUE, OPEN
from runs.ledger import Scope
from runs.models import Run, TrackedRecord
from runs.services import RunRefused
from runs.views import may_control, note, run_of

SAMPLES = 3
"""Records of each object that the preview of a rollback names."""
MOST_SAMPLED = 10
"""Objects of which it names some."""
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
        objects=[(chosen, reached.get(chosen.pk)) for chosen in objects],
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
    return _started(request, run, f"{run} tries again what was due.")


def _scope(request: HttpRequest, project: Project) -> Scope:
    """The choice of the form. Raises RunRefused where it names what is not there: it must not grow to “all”."""
    objects = {str(pk): pk for pk in records.objects_of(project)}
    chosen, code = request.POST.get("object", ""), request.POST.get("code", "")
    source_id, state = request.POST.get("id", ""), request.POST.get("state", "")
    if (chosen and chosen not in objects) or "\0" in code + source_id or (state and state not in DUE):
        raise RunRefused("Nothing is due: no record of that choice was rejected or waits for a parent.")
    scope = Scope(
        objects=(objects[chosen],) if chosen else (),
        codes=(code,) if code else (),
        source_ids=(source_id,) if source_id else (),
    )
    return scope if code or not state else Scope(scope.objects, _codes(project, scope, state), scope.source_ids)


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
    """Show what taking the run back would do, then do just that: the form carries the code of what was shown."""
    undone = run_of(request, run_id)
    stale = ""
    if request.method == "POST":
        try:
            run = previews.confirm(undone, request.POST.get("code", ""), user=cast("Any", request.user))
        except previews.PreviewStale as old:
            stale = str(old)
        except RunRefused as refusal:
            messages.error(request, str(refusal))
            return redirect("admin:runs_run_change", undone.pk)
        else:
            return _started(request, run, f"{run} takes {undone} back.")
    try:
        seen = previews.preview(undone)
    except RunRefused as refusal:
        messages.error(request, str(refusal))
        return redirect("admin:runs_run_change", undone.pk)
    trail = (
        crumb("Runs", "admin:runs_run_changelist"),
        crumb(undone, "admin:runs_run_change", undone.pk),
        crumb("Roll back"),
    )
    open_run = Run.objects.visible_to(request.user).filter(project=undone.project, state__in=sorted(OPEN)).first()
    return page(
        request,
        "runs/rollback.html",
        f"Roll back {undone}",
        trail,
        run=undone,
        project=undone.project,
        seen=seen,
        stale=stale,
        open_run=open_run,
        samples=_samples(request, seen),
    )


def _samples(request: HttpRequest, seen: previews.Preview) -> list[tuple[previews.Stake, list[TrackedRecord]]]:
    """A few records of each object that the run touched last, for a look at what is at stake."""
    if not request.user.has_perm("runs.view_trackedrecord"):
        return []
    visible = TrackedRecord.objects.visible_to(request.user).filter(project=seen.run.project_id, run=seen.run)
    found = []
    for stake in seen.stakes[:MOST_SAMPLED]:
        some = visible.filter(object=stake.object_id).exclude(target_id=None).exclude(state="rejected")
        found.append((stake, list(some.order_by("source_id", "part")[:SAMPLES])))
    return [(stake, some) for stake, some in found if some]


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
