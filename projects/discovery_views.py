"""The pages of what an org holds, and of the differences between the two orgs of a project."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_GET, require_http_methods

from connectors.errors import ConnectorError
from connectors.types import EntitySchema
from orgs import services as orgs
from orgs.models import Org
from orgs.sealing import SealBroken
from projects import discovery
from projects.differences import Compared, Verdict, compare
from projects.models import ObjectDefinition, Project
from projects.pages import crumb, page
from projects.readiness import Sides

REFUSALS = (ConnectorError, SealBroken)
may_see = permission_required("projects.view_objectdefinition", raise_exception=True)


@may_see
@require_http_methods(["GET", "POST"])
def contents(request: HttpRequest, org_id: int) -> HttpResponse:
    """What an org holds, as it last said; asked again by POST."""
    org = _visible(Org, request, org_id)
    if request.method == "POST":
        try:
            with discovery.open_org(org) as connector:
                described = org.definitions.values_list("entity", flat=True)
                taken = discovery.refresh(org, connector, list(described))
        except REFUSALS as error:
            messages.error(request, str(error))
        else:
            messages.success(request, f"{org} was asked again: {len(taken.entities):,} objects.")
        return redirect("admin:projects_org_contents", org.pk)
    known = discovery.inventory(org)
    search = request.GET.get("q", "").strip().lower()
    held = [each for each in known.entities if search in f"{each.name} {each.label}".lower()] if known else []
    return page(
        request,
        "projects/org_contents.html",
        f"What {org} holds",
        (crumb(org, "admin:orgs_org_change", org.pk), crumb("What it holds")),
        org=org,
        known=known,
        q=request.GET.get("q", ""),
        held=sorted(held, key=lambda each: (-(each.records or 0), each.name)),
        acting={name: len(known.automations_of(name)) for name in {a.entity for a in known.automations}}
        if known
        else {},
    )


@may_see
@require_GET
def entity(request: HttpRequest, org_id: int, name: str) -> HttpResponse:
    """One object of an org: fields, record types, references, automation."""
    org = _visible(Org, request, org_id)
    schema, trouble = _schema(org, name)
    known = discovery.inventory(org)
    stored = ObjectDefinition.objects.visible_to(request.user).filter(org=org, entity=name).first()
    return page(
        request,
        "projects/org_entity.html",
        name,
        (
            crumb(org, "admin:orgs_org_change", org.pk),
            crumb("What it holds", "admin:projects_org_contents", org.pk),
            crumb(name),
        ),
        org=org,
        schema=schema,
        stored=stored,
        trouble=trouble,
        records=known.records_of(name) if known else None,
        automations=known.automations_of(name) if known else (),
    )


def _schema(org: Org, name: str) -> tuple[EntitySchema | None, str]:
    try:
        with discovery.open_org(org) as connector:
            return discovery.definition(org, name, connector), ""
    except REFUSALS as error:
        return None, str(error)


@permission_required("projects.view_project", raise_exception=True)
@require_GET
def differences(request: HttpRequest, project_id: int) -> HttpResponse:
    """The objects of a project against their twins in the target, as a page or (``?format=json``) as JSON."""
    project = _visible(Project, request, project_id)
    found, trouble = _compared(project)
    if request.GET.get("format") == "json":
        body: dict[str, Any] = {"objects": [each.as_json() for each in found]} | ({"error": trouble} if trouble else {})
        return JsonResponse(body, status=502 if trouble else 200)
    return page(
        request,
        "projects/differences.html",
        "Differences",
        (
            crumb("Projects", "admin:projects_project_changelist"),
            crumb(project, "admin:projects_project_change", project.pk),
            crumb("Differences"),
        ),
        project=project,
        found=found,
        trouble=trouble,
        totals=[(verdict, sum(each.verdict is verdict for each in found)) for verdict in Verdict],
    )


def _compared(project: Project) -> tuple[list[Compared], str]:
    entities = list(project.project_objects.filter(enabled=True).values_list("source_entity", flat=True))
    try:
        with orgs.open_source(project.source) as source, orgs.open_target(project.target) as target:
            sides = Sides.of(project, source, target)
            return [compare(*sides.described(name)) for name in entities], ""
    except REFUSALS as error:
        return [], str(error)


def _visible(model: Any, request: HttpRequest, key: int) -> Any:
    found: Model = get_object_or_404(model.objects.visible_to(request.user), pk=key)
    return found
