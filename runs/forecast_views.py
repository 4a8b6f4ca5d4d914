"""The pages before and beside a run: its estimate, trying it out, what was predicted, and how that fared."""

from typing import Any, cast

from django.contrib import messages
from django.contrib.admin.models import ADDITION
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from connectors.errors import ConnectorError
from orgs.sealing import SealBroken
from projects.models import Project
from projects.pages import crumb, page
from runs import estimates, predictions
from runs.choices import OPEN
from runs.dry_runs import start_dry_run
from runs.forecast_models import DryRun, Prediction
from runs.models import Chunk, Run
from runs.scoring import Score
from runs.services import RunRefused
from runs.views import may_control, may_view, note, run_of

PER_PAGE = 50
MOST_SAMPLED = 1_000_000


@may_control
@require_http_methods(["GET", "POST"])
def try_out(request: HttpRequest, project_id: int) -> HttpResponse:
    """Say what a dry run does and does not do, ask how much to take, then start it."""
    project = _project(request, project_id)
    objects = list(project.project_objects.filter(enabled=True))
    if request.method == "POST" and objects:
        try:
            run = start_dry_run(project, user=cast("Any", request.user), **_limit(request))
        except RunRefused as refusal:
            messages.error(request, str(refusal))
            return redirect("admin:runs_run_dry_run", project.pk)
        note(request, run, ADDITION, "Started.")
        messages.success(request, f"{run} tries the load of {project} out.")
        return redirect("admin:runs_run_change", run.pk)
    trail = (
        crumb("Projects", "admin:projects_project_changelist"),
        crumb(project, "admin:projects_project_change", project.pk),
        crumb("Dry run"),
    )
    return page(
        request,
        "runs/dry_run.html",
        "Dry run",
        trail,
        project=project,
        objects=objects,
        most_sampled=MOST_SAMPLED,
        open_run=Run.objects.visible_to(request.user).filter(project=project, state__in=sorted(OPEN)).first(),
    )


def _limit(request: HttpRequest) -> dict[str, int]:
    """What the form asks for; raises RunRefused where it is no number."""
    chosen = request.POST.get("take", "all")
    if chosen not in {"most", "share"}:
        return {}
    text = request.POST.get(chosen, "").strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 8):
        raise RunRefused("Say how many records, or how many percent of them, as a whole number.")
    return {chosen: min(int(text), MOST_SAMPLED)}


@never_cache
@may_control
@require_GET
def estimate(request: HttpRequest, project_id: int) -> HttpResponse:
    """The card with the estimate, which asks the source for its counts; the page around it does not wait for it."""
    project = _project(request, project_id)
    try:
        return render(request, "runs/_estimate.html", {"estimate": estimates.foresee(project), "project": project})
    except (ConnectorError, SealBroken) as error:
        return render(request, "runs/_estimate.html", {"trouble": str(error), "project": project})


@may_view
@require_GET
def forecast(request: HttpRequest, run_id: int) -> HttpResponse:
    """What was foretold of a run and what came of it; ``?format=json`` gives the figures."""
    run = run_of(request, run_id)
    tried = DryRun.objects.filter(run=run).select_related("load").first()
    test_of = DryRun.objects.filter(load=run).select_related("run").first()
    scored = tried or test_of
    if request.GET.get("format") == "json":
        return JsonResponse(as_json(run, scored))
    trail = (crumb("Runs", "admin:runs_run_changelist"), crumb(run, "admin:runs_run_change", run.pk), crumb("Forecast"))
    may_see = request.user.has_perm("runs.view_trackedrecord")
    return page(
        request,
        "runs/forecast.html",
        f"Forecast of {run}",
        trail,
        run=run,
        tried=tried,
        test_of=test_of,
        beside=estimates.beside(run),
        basis=estimates.basis_of(run),
        score=Score.from_json(scored.score) if scored and scored.score else None,
        not_asked=_not_asked(run) if tried else [],
        may_see_records=may_see,
        **(_troubles(request, run) if tried and may_see else {}),
    )


def as_json(run: Run, scored: DryRun | None) -> dict[str, Any]:
    """The figures of a run's forecast: ``estimate`` and ``score`` are null where there is none."""
    figures = [
        {"name": each.name, "low": each.predicted.low, "high": each.predicted.high, "real": each.real}
        for each in estimates.beside(run)
    ]
    return {
        "run": run.pk,
        "kind": run.kind,
        "estimate": {"figures": figures, "basis": list(estimates.basis_of(run))} if figures else None,
        "dry_run": scored.run_id if scored else None,
        "load": scored.load_id if scored else None,
        "score": scored.score if scored else None,
    }


def _not_asked(run: Run) -> list[tuple[str, str, int]]:
    """Object, the fields the target was not asked about (blank: about nothing at all), how many records."""
    names = {step.object_id: str(step) for step in run.steps.all()}
    return [
        (names.get(object_id, ""), "" if without == "*" else without.replace(",", ", "), count)
        for object_id, without, count in predictions.not_asked(run.project_id, run.pk)
    ]


def _troubles(request: HttpRequest, run: Run) -> dict[str, Any]:
    """A page of the records that would not land as they should, along the key."""
    found = Prediction.objects.filter(project=run.project_id, run=run, outcome__in=predictions.TROUBLES)
    outcome, after = request.GET.get("outcome", ""), request.GET.get("after", "")
    if outcome in predictions.TROUBLES:
        found = found.filter(outcome=outcome)
    if after:
        found = found.filter(source_id__gt=after)
    listed = list(found.order_by("source_id", "object_id", "part")[: PER_PAGE + 1])
    names = {step.object_id: str(step) for step in run.steps.all()}
    return {
        "troubles": [(names.get(each.object_id, ""), each) for each in listed[:PER_PAGE]],
        "outcomes": predictions.TROUBLES,
        "outcome": outcome,
        "after": after,
        "forgotten": Chunk.objects.filter(run=run, month=None).exists(),
        "next_after": listed[PER_PAGE - 1].source_id if len(listed) > PER_PAGE else "",
    }


def _project(request: HttpRequest, project_id: int) -> Project:
    known = Project.objects.visible_to(request.user).select_related("customer", "source", "target")
    project: Project = get_object_or_404(known, pk=project_id)
    return project
