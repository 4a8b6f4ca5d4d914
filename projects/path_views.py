"""The operator's path to a move in four steps: source, target, objects and records, review and run.

Nobody sees a field mapping here. Each step is checked against the systems before the next one opens.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from django.contrib import messages
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from connectors.errors import ConnectorError
from connectors.registry import target_class
from connectors.types import Automation, Condition, FieldInfo, FieldType, Operator
from orgs import services as orgs
from orgs.models import Org
from orgs.sealing import SealBroken
from projects import blueprints, discovery, readiness, selections, services
from projects.blueprints.blueprint import Blueprint
from projects.definitions import schema_from_json
from projects.discovery import Held, Known
from projects.models import Project, ProjectObject
from projects.owners import Standing
from projects.pages import Crumb, crumb, page
from projects.readiness import Check, Fit, Preview, Sides
from projects.selections import Mode, Selection, SelectionInvalid
from projects.services import ProjectInvalid

STEPS = ("Source", "Target", "Objects and records", "Review and run")
REFUSALS = (ProjectInvalid, ConnectorError, SealBroken)
OTHERS_SHOWN = 60
NEW_CONDITIONS = 2
"""Blank rows for conditions that a filter's form offers beside those there are."""

may_add = permission_required("projects.add_project", raise_exception=True)
may_change = permission_required("projects.change_project", raise_exception=True)
may_make_keys = permission_required(("projects.change_project", "projects.create_external_id"), raise_exception=True)


@dataclass(frozen=True, slots=True)
class Step:
    """A step as the trail over every page shows it; a blank address cannot be gone to yet."""

    number: int
    name: str
    address: str
    current: bool


def _steps(current: int, addresses: Sequence[str]) -> list[Step]:
    known = [*addresses, *[""] * (len(STEPS) - len(addresses))]
    return [Step(n, name, known[n - 1], n == current) for n, name in enumerate(STEPS, 1)]


def _trail(*rest: Crumb) -> tuple[Crumb, ...]:
    return (crumb("Projects", "admin:projects_project_changelist"), *rest)


# --- 1 and 2: the systems -------------------------------------------------------------------------------------
@may_add
@require_http_methods(["GET", "POST"])
def choose_source(request: HttpRequest) -> HttpResponse:
    known = _orgs(request).exclude(role="target")
    checks: tuple[Check, ...] = ()
    if request.method == "POST":
        chosen = get_object_or_404(known, pk=_number(request, "org"))
        checks = readiness.source_checks(chosen)
        if all(check.good for check in checks):
            return redirect("admin:projects_path_target", chosen.pk)
    return page(
        request,
        "projects/path_org.html",
        "Move records: source",
        _trail(crumb("Move records")),
        steps=_steps(1, ()),
        orgs=known,
        chosen=_number(request, "org"),
        checks=checks,
        question="Where are the records now?",
        nothing="No org can be read yet. Connect the system that holds the records, with the role source or both.",
    )


@may_add
@require_http_methods(["GET", "POST"])
def choose_target(request: HttpRequest, source_id: int) -> HttpResponse:
    source = get_object_or_404(_orgs(request).exclude(role="target"), pk=source_id)
    known = _orgs(request).exclude(role="source").filter(customer=source.customer_id).exclude(pk=source.pk)
    checks: tuple[Check, ...] = ()
    if request.method == "POST":
        chosen = get_object_or_404(known, pk=_number(request, "org"))
        checks = readiness.target_checks(chosen)
        if all(check.good for check in checks):
            made = _make(request, source, chosen)
            if isinstance(made, Project):
                return redirect(_next_page(made))
            checks = (*checks, made)
    return page(
        request,
        "projects/path_org.html",
        "Move records: target",
        _trail(crumb("Move records", "admin:projects_path_source"), crumb("Target")),
        steps=_steps(2, (reverse("admin:projects_path_source"),)),
        orgs=known,
        chosen=_number(request, "org"),
        checks=checks,
        source=source,
        name=request.POST.get("name", ""),
        question=f"Where shall the records of {source} go?",
        nothing=f"{source.customer} has no other org that can be written. Connect one, with the role target or both.",
    )


def _make(request: HttpRequest, source: Org, target: Org) -> Project | Check:
    name = request.POST.get("name", "").strip() or f"{source} → {target}"
    try:
        made = services.create_named(source.customer, name, source=source, target=target)
    except ProjectInvalid as error:
        return Check("Name", good=False, sentence=str(error))
    _note(request, made, ADDITION, "Added on the path.")
    return made


def _next_page(project: Project) -> str:
    """Systems of one platform go on to objects and records; others need a packaged or own mapping first."""
    alike = project.source.platform == project.target.platform
    return reverse(f"admin:projects_{'path_records' if alike else 'project_change'}", args=[project.pk])


def _orgs(request: HttpRequest) -> Any:
    known = Org.objects.visible_to(request.user).select_related("customer").filter(customer__archived_at=None)
    return known.order_by("customer__name", "name")


# --- 3: objects and records -----------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Line:
    """An object that may move, with what is known of it."""

    entity: str
    label: str
    purpose: str = ""
    records: int | None = None
    fit: Fit | None = None
    chosen: ProjectObject | None = None

    @property
    def selection(self) -> Selection:
        return selections.stored(self.chosen.selection) if self.chosen else selections.EVERYTHING


@dataclass(frozen=True, slots=True)
class Offer:
    """What step 3 shows. ``missing`` are objects of the blueprint that the source does not have."""

    blueprint: Blueprint | None = None
    lines: Sequence[Line] = ()
    others: Sequence[Line] = ()
    hidden: int = 0
    missing: Sequence[str] = ()
    taken_at: Any = None
    stale: bool = False
    trouble: str = field(default="")


@may_change
@require_http_methods(["GET", "POST"])
def choose_records(request: HttpRequest, project_id: int) -> HttpResponse:
    project = _project(request, project_id)
    trouble = ""
    if request.method == "POST":
        try:
            count = _take(project, request)
        except REFUSALS as error:
            trouble = str(error)
        else:
            _note(request, project, CHANGE, f"Chose {count} objects.")
            go_on = "go_on" in request.POST
            return redirect("admin:projects_path_review" if go_on else "admin:projects_path_records", project.pk)
    offer = _offer(project, request.GET.get("q", "").strip(), refresh="refresh" in request.GET)
    return page(
        request,
        "projects/path_records.html",
        "Objects and records",
        _trail(crumb(project, "admin:projects_project_change", project.pk), crumb("Objects and records")),
        steps=_project_steps(3, project),
        project=project,
        offer=offer,
        may_make_keys=request.user.has_perm("projects.create_external_id") and _makes_keys(project),
        q=request.GET.get("q", ""),
        chosen=set(request.POST.getlist("entity")) if trouble else None,
        trouble=trouble or offer.trouble,
    )


def _makes_keys(project: Project) -> bool:
    return target_class(project.target.platform).capabilities.makes_keys


def _take(project: Project, request: HttpRequest) -> int:
    wanted = request.POST.getlist("entity")
    blueprint = blueprints.by_slug(request.POST.get("blueprint", ""))
    with _both(project) as sides:
        return len(services.choose_like(project, sides.source, sides.target, wanted, blueprint=blueprint))


def _offer(project: Project, search: str, *, refresh: bool) -> Offer:
    try:
        with _both(project) as sides:
            known = discovery.inventory(project.source)
            if known is None or refresh:
                known = discovery.take_inventory(project.source, sides.source)
            return _offered(sides, known, search)
    except REFUSALS as error:
        return Offer(trouble=str(error))


def _offered(sides: Sides, known: Known, search: str) -> Offer:
    names = {held.name: held for held in known.entities}
    packaged = blueprints.fitting(sides.project.source.platform, names)
    slug = sides.project.blueprint if sides.project.blueprint in packaged else next(iter(packaged), "")
    blueprint = blueprints.by_slug(slug)
    of_blueprint = {each.entity: each.object for each in packaged.get(slug, ()) if each.entity}
    taken = {each.source_entity: each for each in sides.project.project_objects.filter(enabled=True)}
    shown = [*of_blueprint, *(name for name in taken if name not in of_blueprint and name in names)]
    fits = readiness.fits(sides, shown, taken or of_blueprint)

    def line(name: str) -> Line:
        about = of_blueprint.get(name)
        label = about.label if about else names[name].label
        return Line(name, label, about.purpose if about else "", names[name].records, fits.get(name), taken.get(name))

    others = [held for held in known.entities if held.name not in shown and _matches(held, search)]
    return Offer(
        blueprint,
        [line(name) for name in shown],
        [Line(held.name, held.label, records=held.records) for held in others[:OTHERS_SHOWN]],
        max(0, len(others) - OTHERS_SHOWN),
        [each.object.label for each in packaged.get(slug, ()) if not each.entity],
        known.taken_at,
        known.stale,
    )


def _matches(held: Held, search: str) -> bool:
    """Without a search, those that hold records, or may."""
    if not search:
        return held.records != 0
    return search.lower() in held.name.lower() or search.lower() in held.label.lower()


@may_make_keys
@require_http_methods(["GET", "POST"])
def make_key(request: HttpRequest, project_id: int, entity: str) -> HttpResponse:
    """Have the target make a field for our external id; says first what will be made."""
    project = _project(request, project_id)
    trouble = ""
    if request.method == "POST":
        try:
            made = services.make_key(project, entity)
        except REFUSALS as error:
            trouble = str(error)
        else:
            for sentence in made or (f"{entity} has an external id in {project.target} already.",):
                _note(request, project, CHANGE, sentence)
                messages.success(request, sentence)
            return redirect("admin:projects_path_records", project.pk)
    return page(
        request,
        "projects/path_key.html",
        f"External id of {entity}",
        _trail(
            crumb(project, "admin:projects_project_change", project.pk),
            crumb("Objects and records", "admin:projects_path_records", project.pk),
            crumb("External id"),
        ),
        steps=_project_steps(3, project),
        project=project,
        twin=entity,
        trouble=trouble,
    )


@may_change
@require_http_methods(["GET", "POST"])
def select_records(request: HttpRequest, project_id: int, object_id: int) -> HttpResponse:
    """Which records of one object move."""
    project = _project(request, project_id)
    chosen = get_object_or_404(project.project_objects.filter(enabled=True), pk=object_id)
    selection, trouble = selections.stored(chosen.selection), ""
    if request.method == "POST":
        try:
            selection = _asked(request)
            with orgs.open_source(project.source) as source:
                services.select_records(chosen, selection, source)
        except (*REFUSALS, SelectionInvalid) as error:
            trouble = str(error)
        else:
            _note(request, project, CHANGE, f"Chose records of {chosen.source_entity}: {selection.sentence}.")
            messages.success(request, f"{chosen.source_entity}: {selection.sentence}.")
            return redirect("admin:projects_path_records", project.pk)
    return page(
        request,
        "projects/path_select.html",
        f"Records of {chosen.source_entity}",
        _trail(
            crumb(project, "admin:projects_project_change", project.pk),
            crumb("Objects and records", "admin:projects_path_records", project.pk),
            crumb(chosen.source_entity),
        ),
        steps=_project_steps(3, project),
        project=project,
        chosen=chosen,
        selection=selection,
        trouble=trouble,
        operators=[each.value for each in Operator],
        rows=[*selection.conditions, *[None] * NEW_CONDITIONS],
        ids="\n".join(selection.ids),
        **_selectable(project, chosen),
    )


def _selectable(project: Project, chosen: ProjectObject) -> dict[str, Any]:
    """The fields a filter may name, and the parents whose children may be chosen."""
    stored = project.source.definitions.filter(entity=chosen.source_entity).first()
    if stored is None:
        return {"fields": (), "parents": ()}
    schema = schema_from_json(stored.schema)
    moving = set(project.project_objects.filter(enabled=True).values_list("source_entity", flat=True))
    parents = [
        (f"{info.name}|{entity}", f"{info.label or info.name} ({entity})")
        for info in schema.fields
        for entity in info.references
        if entity in moving - {chosen.source_entity}
    ]
    return {"fields": [info for info in schema.fields if _filterable(info)], "parents": parents}


def _filterable(info: FieldInfo) -> bool:
    return info.type not in (FieldType.JSON, FieldType.BINARY, FieldType.CONTENT) and (info.length or 0) <= 255


def _asked(request: HttpRequest) -> Selection:
    """The selection that the form asks for. Raises SelectionInvalid."""
    asked = request.POST
    try:
        mode = Mode(asked.get("mode", ""))
    except ValueError:
        raise SelectionInvalid("Choose which records move.") from None
    through, _, parent = asked.get("parent", "").partition("|")
    rows = zip(asked.getlist("field"), asked.getlist("operator"), asked.getlist("value"), strict=True)
    conditions = tuple(_condition(*row) for row in rows if row[0]) if mode is Mode.FILTER else ()
    ids = selections.ids_in(asked.get("ids", "")) if mode is Mode.RECORDS else ()
    return Selection(mode, conditions, ids, *((through, parent) if mode is Mode.CHILDREN else ("", "")))


def _condition(name: str, how: str, value: str) -> Condition:
    try:
        operator = Operator(how)
    except ValueError:
        raise SelectionInvalid(f"“{how[:40]}” is no way to compare {name}.") from None
    if operator in (Operator.BLANK, Operator.FILLED):
        return Condition(name, operator)
    many = tuple(part.strip() for part in value.split(",") if part.strip())
    return Condition(
        name, operator, many if operator is Operator.AMONG else ((value.strip(),) if value.strip() else ())
    )


# --- 4: review ------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Reviewed:
    """One object as it would be moved."""

    object: ProjectObject
    fit: Fit
    preview: Preview
    selection: Selection
    automations: Sequence[Automation] = ()

    @property
    def good(self) -> bool:
        return self.fit.good and not self.preview.trouble


@permission_required("projects.view_project", raise_exception=True)
@require_GET
def review(request: HttpRequest, project_id: int) -> HttpResponse:
    project = _project(request, project_id)
    lines, unread, owners, trouble = _reviewed(project)
    counts = [line.preview.count for line in lines]
    return page(
        request,
        "projects/path_review.html",
        "Review and run",
        _trail(crumb(project, "admin:projects_project_change", project.pk), crumb("Review and run")),
        steps=_project_steps(4, project),
        project=project,
        lines=lines,
        unread=unread,
        trouble=trouble,
        owners_stay=any(line.fit.owners_stay for line in lines),
        owners=owners,
        total=sum(count or 0 for count in counts),
        uncounted=None in counts,
        ready=bool(lines) and not trouble and all(line.good for line in lines),
        may_start=request.user.has_perm("runs.control_run"),
        open_run=cast("Any", project).runs.visible_to(request.user).filter(finished_at=None).first(),
    )


def _reviewed(project: Project) -> tuple[list[Reviewed], Sequence[str], Standing | None, str]:
    """The objects, what of the target's automation could not be seen, how the map of owners stands, and why there is
    no review at all."""
    objects = list(project.project_objects.filter(enabled=True).select_related("project__source", "project__target"))
    if not objects:
        return [], (), None, "No object is chosen yet: go back to objects and records."
    try:
        with _both(project) as sides:
            services.narrow(project, sides.source)
            known = discovery.inventory(project.target)
            if known is None or known.stale:
                known = discovery.take_inventory(project.target, sides.target)
            entities = [each.source_entity for each in objects]
            fits = readiness.fits(sides, entities, entities)
            lines = [_review(each, fits[each.source_entity], sides, known) for each in objects]
            return lines, known.unread, readiness.owners_standing(sides), ""
    except REFUSALS as error:
        return [], (), None, str(error)


def _review(chosen: ProjectObject, fit: Fit, sides: Sides, known: Known) -> Reviewed:
    return Reviewed(
        chosen,
        fit,
        readiness.preview(chosen, sides.source, sides.target),
        selections.stored(chosen.selection),
        [each for each in known.automations_of(chosen.target_entity) if each.active],
    )


# --- Shared ---------------------------------------------------------------------------------------------------
@contextmanager
def _both(project: Project) -> Iterator[Sides]:
    with orgs.open_source(project.source) as source, orgs.open_target(project.target) as target:
        yield Sides.of(project, source, target)


def _project(request: HttpRequest, project_id: int) -> Project:
    known = Project.objects.visible_to(request.user).select_related("customer", "source", "target")
    return get_object_or_404(known, pk=project_id)


def _project_steps(current: int, project: Project) -> list[Step]:
    pages = [reverse(f"admin:projects_path_{name}", args=[project.pk]) for name in ("records", "review")]
    return _steps(current, ("", "", *pages))


def _number(request: HttpRequest, name: str) -> int:
    value = request.POST.get(name, "")
    return int(value) if value.isdecimal() else 0


def _note(request: HttpRequest, project: Project, flag: int, message: str) -> None:
    LogEntry.objects.log_actions(cast("int", request.user.pk), [project], flag, message, single_object=True)
