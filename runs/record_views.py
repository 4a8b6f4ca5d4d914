"""The pages of records: a project's list, one record from all sides, and the look-up by any id."""

from typing import Any

from django.contrib.auth.decorators import permission_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from projects.models import Project, ProjectObject
from projects.pages import Crumb, crumb, page
from runs import inspection, records
from runs.choices import DUE, RecordState
from runs.models import Chunk, TrackedRecord
from runs.records import STATES, TooSlow, Wanted

may_view = permission_required("runs.view_trackedrecord", raise_exception=True)
TOO_SLOW = "This search reads too many records to be quick. Choose an object, or look for one id."


@may_view
@require_GET
def record_list(request: HttpRequest, project_id: int) -> HttpResponse:
    """A project's records by object, state and cause."""
    project = _project(request, project_id)
    objects = records.objects_of(project)
    wanted = _wanted(request, project, tuple(sorted(objects)))
    shown: dict[str, Any] = {"found": records.RecordPage([], "", ""), "counted": "", "codes": [], "due": False}
    try:
        with records.patience():
            shown = {
                "found": records.page_of(
                    request.user, wanted, after=request.GET.get("after", ""), before=request.GET.get("before", "")
                ),
                "counted": records.counted(request.user, wanted),
                "codes": records.codes(request.user, wanted),
                "due": request.user.has_perm("runs.control_run") and records.any_due(request.user, wanted),
            }
    except TooSlow:
        shown["trouble"] = TOO_SLOW
    return page(
        request,
        "runs/records.html",
        f"Records of {project}",
        (*_trail(project), crumb("Records")),
        project=project,
        objects=objects,
        wanted=wanted,
        object_id=wanted.objects[0] if len(wanted.objects) == 1 and len(objects) > 1 else None,
        states=STATES,
        picks=wanted.objects[0] if len(wanted.objects) == 1 else None,
        due_states=tuple(str(state) for state in DUE),
        may_roll_back=request.user.has_perm("runs.rollback_run"),
        filters=_query(request, "object", "state", "code"),
        **shown,
    )


@may_view
@require_GET
def record_find(request: HttpRequest) -> HttpResponse:
    """Records by source id, target id or external key, in one project or in all; a single match is opened."""
    text = request.GET.get("q", "").strip()[:500]
    projects = list(Project.objects.visible_to(request.user).select_related("customer"))
    number = request.GET.get("project", "")
    chosen = [project for project in projects if str(project.pk) == number] or projects
    trouble, found, pending = "", [], []
    if text:
        try:
            found = records.find(request.user, text, chosen)
            pending = [] if found else records.find_pending(request.user, text, chosen)
        except TooSlow:
            trouble = TOO_SLOW
    if len(found) + len(pending) == 1:
        return redirect(address(found[0]) if found else _pending_address(pending[0]))
    names = {
        chosen.pk: chosen for chosen in ProjectObject.objects.filter(project__in={row.project_id for row in found})
    }
    by_id = {project.pk: project for project in projects}
    return page(
        request,
        "runs/find.html",
        "Find a record",
        (("Records", ""),),
        text=text,
        projects=projects,
        project=chosen[0] if len(chosen) == 1 and len(projects) > 1 else None,
        matches=[(row, by_id[row.project_id], names[row.object_id], address(row)) for row in found],
        pending=[(row, _pending_address(row)) for row in pending],
        searched=len(chosen),
        opened=records.MOST_STAGED,
        trouble=trouble,
    )


@may_view
@require_GET
def record_page(request: HttpRequest, project_id: int, object_id: int) -> HttpResponse:
    """Where one record stands and why, what was read, what was made of it, and everything that touched it."""
    project = _project(request, project_id)
    chosen = get_object_or_404(ProjectObject, pk=object_id, project=project)
    source_id, part = request.GET.get("id", ""), request.GET.get("part", "")
    record = _record(request, project, chosen, source_id, part)
    chunks = _chunks(request, project, chosen, record)
    key = record.key if record else None
    seen = inspection.inspect(chunks, source_id, key=key) if request.user.has_perm("runs.view_chunk") else None
    if record is None and not (seen and seen.source.values):
        raise Http404
    query = urlencode({"id": source_id, "part": part})
    return page(
        request,
        "runs/record.html",
        f"Record {source_id}",
        (*_trail(project), crumb("Records", "records:list", project.pk), crumb(source_id)),
        project=project,
        chosen=chosen,
        record=record,
        source_id=source_id,
        part=part,
        seen=seen,
        rows=inspection.compared(seen.mapped, seen.before, None) if seen else [],
        findings=inspection.findings(record) if record and request.user.has_perm("runs.view_finding") else [],
        history=seen.history if seen else list(reversed(chunks)),
        target=project.target,
        target_url=f"{reverse('records:target', args=[project.pk, chosen.pk])}?{query}",
        askable=bool(seen and seen.key and record and chunks),
        may_take_back=bool(record and record.target_id and request.user.has_perm("runs.rollback_run")),
        stays_out=bool(record and record.run and record.run.undoes_id is None),
        may_bring=bool(
            record and record.state == RecordState.ROLLED_BACK and request.user.has_perm("runs.control_run")
        ),
        may_try=bool(record and record.state in DUE and request.user.has_perm("runs.control_run")),
    )


@never_cache
@may_view
@permission_required("runs.view_chunk", raise_exception=True)
@require_GET
def record_target(request: HttpRequest, project_id: int, object_id: int) -> HttpResponse:
    """The record's sides with what the target holds at this moment; asked for by the record's page."""
    project = _project(request, project_id)
    chosen = get_object_or_404(ProjectObject, pk=object_id, project=project)
    source_id = request.GET.get("id", "")
    record = _record(request, project, chosen, source_id, request.GET.get("part", ""))
    chunks = _chunks(request, project, chosen, record)
    if record is None or not chunks:
        raise Http404
    seen = inspection.inspect(chunks, source_id, key=record.key)
    now = inspection.target_now(chunks[-1], seen.key) if seen.key else inspection.Side(sentence="It has no key yet.")
    rows = inspection.compared(seen.mapped, seen.before, now)
    return render(
        request,
        "runs/_sides.html",
        {"seen": seen, "rows": rows, "now": now, "target": project.target, "record": record, "asked": True},
    )


def address(record: TrackedRecord) -> str:
    """Where the record's page is; ids may hold any character, so they travel in the query."""
    query = {"id": record.source_id} | ({"part": record.part} if record.part else {})
    return f"{reverse('records:page', args=[record.project_id, record.object_id])}?{urlencode(query)}"


def _pending_address(pending: records.Pending) -> str:
    step = pending.chunk.step
    query = urlencode({"id": pending.source_id, "chunk": str(pending.chunk.pk)})
    return f"{reverse('records:page', args=[pending.chunk.run.project_id, step.object_id])}?{query}"


def _project(request: HttpRequest, project_id: int) -> Project:
    known = Project.objects.visible_to(request.user).select_related("customer", "source", "target")
    project: Project = get_object_or_404(known, pk=project_id)
    return project


def _record(
    request: HttpRequest, project: Project, chosen: ProjectObject, source_id: str, part: str
) -> TrackedRecord | None:
    if not source_id or "\0" in source_id + part:
        raise Http404
    visible = TrackedRecord.objects.visible_to(request.user)
    return visible.filter(pk=(project.pk, chosen.pk, source_id, part)).first()


def _chunks(request: HttpRequest, project: Project, chosen: ProjectObject, record: TrackedRecord | None) -> list[Chunk]:
    """The chunks that touched the record, oldest first; for one that is pending, the chunk it waits in."""
    number = request.GET.get("chunk", "")
    ids = record.chunks if record else [int(number)] if number.isdecimal() and len(number) < 19 else []
    mine = Chunk.objects.filter(pk__in=ids, run__project=project, step__object=chosen)
    return list(mine.select_related("run__project__target", "step").order_by("pk"))


def _wanted(request: HttpRequest, project: Project, objects: tuple[int, ...]) -> Wanted:
    """The filters of the address; what is not one of the choices is left out."""
    asked = [pk for pk in objects if str(pk) == request.GET.get("object", "")]
    state = request.GET.get("state", "")
    code = request.GET.get("code", "").replace("\0", "")
    return Wanted(project.pk, tuple(asked) or objects, state if state in STATES else "", code)


def _query(request: HttpRequest, *names: str) -> str:
    return urlencode({name: request.GET[name] for name in names if request.GET.get(name)})


def _trail(project: Project) -> tuple[Crumb, ...]:
    return (
        crumb("Projects", "admin:projects_project_changelist"),
        crumb(project, "admin:projects_project_change", project.pk),
    )
