"""The evidence of a run: its page, and its files for programs, for the team and for the customer."""

import tempfile
from typing import Any

from django.contrib import messages
from django.contrib.admin.models import CHANGE
from django.contrib.auth.decorators import permission_required
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from projects.pages import crumb, page
from runs.evidence import document, wording
from runs.evidence.workbook import write_workbook
from runs.models import Run
from runs.views import may_view, note, run_of

LISTED = 20
"""Parents, orphans and extras that the page names; the files have more."""
FILES = {
    "pdf": "application/pdf",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "json": "application/json",
}
may_quote = permission_required("runs.view_finding", raise_exception=True)


@may_view
@require_GET
def evidence_page(request: HttpRequest, run_id: int) -> HttpResponse:
    """What reading back proved, object by object, with the files to take away."""
    run = run_of(request, run_id)
    if not run.finished_at:
        return _not_yet(request, run)
    told = document.overview(run)
    trail = (crumb("Runs", "admin:runs_run_changelist"), crumb(run, "admin:runs_run_change", run.pk), crumb("Evidence"))
    return page(
        request,
        "runs/evidence.html",
        f"Evidence of {run}",
        trail,
        run=run,
        seal=told["seal"],
        rules=[(wording.rule_words(rule), rule, values) for rule, values in wording.by_rule(told["objects"])],
        objects=[_shown(each) for each in told["objects"]],
        may_take=request.user.has_perm("runs.view_finding"),
        listed=LISTED,
    )


@never_cache
@may_view
@may_quote
@require_GET
def evidence_file(request: HttpRequest, run_id: int, form: str) -> HttpResponseBase:
    """The evidence as a file; it quotes what differs, so that findings must be visible to the person."""
    run = run_of(request, run_id)
    if form not in FILES:
        raise Http404
    if not run.finished_at:
        return _not_yet(request, run)
    note(request, run, CHANGE, f"Evidence taken as {form.upper()}.")
    response = _MAKERS[form](run)
    response["Content-Type"] = FILES[form]
    response["Content-Disposition"] = f'attachment; filename="evidence-run-{run.pk}.{form}"'
    return response


def _not_yet(request: HttpRequest, run: Run) -> HttpResponse:
    messages.error(request, f"{run} has not ended; its evidence is there when it has.")
    return redirect("admin:runs_run_change", run.pk)


def _json(run: Run) -> HttpResponseBase:
    return StreamingHttpResponse(document.pieces(run))


def _xlsx(run: Run) -> HttpResponseBase:
    book = tempfile.TemporaryFile()  # noqa: SIM115 - the response closes it
    write_workbook(run, book)
    book.seek(0)
    return FileResponse(book)


def _pdf(run: Run) -> HttpResponseBase:
    # Imported here: fpdf2 and its font tools take a fifth of every process's start, and workers never set a page.
    from runs.evidence.pdf import as_pdf  # noqa: PLC0415

    return HttpResponse(as_pdf(run))


_MAKERS = {"json": _json, "xlsx": _xlsx, "pdf": _pdf}


def _shown(each: dict[str, Any]) -> dict[str, Any]:
    return {
        **each,
        "name": wording.object_name(each),
        "counts": each["totals"]["counts"],
        "sums": [{**item, "equal": item["demanded"] == item["held"]} for item in each["totals"]["sums"]],
        "orphans_named": [
            {**item, "told": wording.orphan_words(item)} for item in (each["orphans"] or {}).get("named", ())[:LISTED]
        ],
        "extra_keys": (each["extras"] or {}).get("keys", ())[:LISTED],
        "by_rule": [
            {**item, "words": wording.rule_words(item["rule"])}
            for item in each["totals"]["equal"]
            if item["rule"] != "exact"
        ],
    }
