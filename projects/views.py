"""The pages of projects: making one, looking at it, and choosing the objects that move."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from django.contrib import messages
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.decorators import permission_required
from django.db.models import Count, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_GET, require_http_methods

from connectors.errors import ConnectorError
from connectors.types import EntityInfo
from orgs import services as orgs
from orgs.sealing import SealBroken
from projects import services
from projects.forms import ProjectForm
from projects.mapping import library
from projects.models import Project, ProjectObject
from projects.pages import crumb, page
from projects.services import ProjectInvalid

RUNS_SHOWN = 10
REST = ("updated", "unchanged", "deferred", "rejected", "skipped", "conflicts")
OUTCOMES, UNDOINGS = ("created", *REST), ("deleted", *REST)
"""What became of records in a load, and in a rollback."""


@dataclass(frozen=True, slots=True)
class ObjectLine:
    """An object with what the last run that was planned made of it; no counts where none was."""

    object: ProjectObject
    read: int | None = None
    counts: Sequence[tuple[str, int]] = ()


@permission_required("projects.add_project", raise_exception=True)
@require_http_methods(["GET", "POST"])
def add_project(request: HttpRequest) -> HttpResponse:
    form = ProjectForm(request.POST or None, viewer=request.user)
    if request.method == "POST" and (project := form.submit()):
        _note(request, project, ADDITION, "Added.")
        messages.success(request, f"{project} was added. Choose its objects next.")
        return redirect("admin:projects_project_change", project.pk)
    trail = (crumb("Projects", "admin:projects_project_changelist"), crumb("Add project"))
    return page(request, "projects/add.html", "Add project", trail, form=form)


@permission_required("projects.view_project", raise_exception=True)
@require_GET
def project_page(request: HttpRequest, project_id: int) -> HttpResponse:
    """What moves from where to where, how the last run went, and what can be done next."""
    project = _project(request, project_id)
    runs = _runs(request, project)
    last = runs.annotate(planned=Count("steps")).filter(planned__gt=0).order_by("-pk").first()
    outcomes = UNDOINGS if last and last.undoes_id else OUTCOMES
    return page(
        request,
        "projects/project.html",
        str(project),
        (crumb("Projects", "admin:projects_project_changelist"), crumb(project)),
        project=project,
        lines=_lines(project, last, outcomes),
        last_run=last,
        runs=runs[:RUNS_SHOWN],
        outcomes=outcomes,
        open_run=runs.filter(finished_at=None).first(),
        may_see_records=request.user.has_perm("runs.view_trackedrecord"),
        may_start=request.user.has_perm("runs.control_run"),
        may_choose=request.user.has_perm("projects.change_project"),
        on_path=not project.mirror and project.source.platform == project.target.platform,
    )


@permission_required("projects.change_project", raise_exception=True)
@require_http_methods(["GET", "POST"])
def choose_objects(request: HttpRequest, project_id: int) -> HttpResponse:
    """Take over what the source offers: chosen entities for a mirror, the packaged mappings otherwise."""
    project = _project(request, project_id)
    trouble = ""
    if request.method == "POST":
        try:
            made = _adopt(project, request.POST.getlist("entity"), request.POST.get("model", ""))
        except (ProjectInvalid, ConnectorError, SealBroken) as error:
            trouble = str(error)
        else:
            _note(request, project, CHANGE, f"Took over {len(made)} objects.")
            messages.success(request, f"{project} has {len(made)} new object{'' if len(made) == 1 else 's'}.")
            return redirect("admin:projects_project_change", project.pk)
    offer = _offer(project)
    trail = (
        crumb("Projects", "admin:projects_project_changelist"),
        crumb(project, "admin:projects_project_change", project.pk),
        crumb("Choose objects"),
    )
    return page(
        request,
        "projects/choose.html",
        "Choose objects",
        trail,
        project=project,
        offer=offer,
        trouble=trouble or offer.trouble,
    )


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be taken over; ``trouble`` says why the source could not be asked."""

    entities: Sequence[EntityInfo] = ()
    models: Sequence[str] = field(default_factory=tuple)
    trouble: str = ""


def _offer(project: Project) -> Offer:
    if not project.mirror:
        return Offer(models=tuple(library.TARGETS) if library.platform_halves(project.source.platform) else ())
    taken = set(project.project_objects.values_list("source_entity", flat=True))
    try:
        with orgs.open_source(project.source) as source:
            return Offer(entities=[info for info in source.entities() if info.name not in taken])
    except (ConnectorError, SealBroken) as error:
        return Offer(trouble=str(error))


def _adopt(project: Project, entities: Sequence[str], model: str) -> list[ProjectObject]:
    if project.mirror:
        taken = set(project.project_objects.values_list("source_entity", flat=True))
        entities = [name for name in entities if name not in taken]
        if not entities:
            raise ProjectInvalid("Choose at least one entity that is not an object of this project already.")
    with orgs.open_source(project.source) as source:
        if project.mirror:
            return services.adopt_entities(project, source, entities)
        return services.adopt_packaged(project, source, model=model)


def _lines(project: Project, last: Any, outcomes: Sequence[str]) -> list[ObjectLine]:
    """Every object, with the counts of the newest run that has steps.

    A delta has two steps of an object that mirrors deletions: the later one only deletes and is not shown.
    """
    sums = {f"all_{name}": Sum(f"chunks__{name}", default=0) for name in outcomes}
    counted = last.steps.annotate(**sums).order_by("-position") if last else ()
    steps = {step.object_id: step for step in counted}
    return [
        _line(chosen, steps.get(chosen.pk), outcomes)
        for chosen in project.project_objects.annotate(rules=Count("fields"))
    ]


def _line(chosen: ProjectObject, step: Any, outcomes: Sequence[str]) -> ObjectLine:
    if step is None:
        return ObjectLine(chosen)
    return ObjectLine(chosen, step.read, [(name, getattr(step, f"all_{name}")) for name in outcomes])


def _runs(request: HttpRequest, project: Project) -> Any:
    """The project's runs that the person may see; the model is a layer above and is reached through the relation."""
    related: Any = project
    return related.runs.visible_to(request.user).select_related("project__customer")


def _project(request: HttpRequest, project_id: int) -> Project:
    known: QuerySet[Project] = Project.objects.visible_to(request.user).select_related("customer", "source", "target")
    return get_object_or_404(known, pk=project_id)


def _note(request: HttpRequest, project: Project, flag: int, message: str) -> None:
    LogEntry.objects.log_actions(cast("int", request.user.pk), [project], flag, message, single_object=True)
