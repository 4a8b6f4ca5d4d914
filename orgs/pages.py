"""What every page about an org shares: finding it, the page's frame, the history, closed error pages."""

from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.http import Http404, HttpRequest
from django.shortcuts import get_object_or_404
from django.urls import reverse

from orgs.models import Org
from orgs.reporting import ClosedExceptionFilter


def visible_org(request: HttpRequest, object_id: str) -> Org:
    """The org where the user may see it, otherwise 404 as if there were none."""
    if not object_id.isdecimal():
        raise Http404
    known = Org.objects.visible_to(request.user).select_related("customer")
    org: Org = get_object_or_404(known, pk=int(object_id))
    return org


def page(title: str, *, request: HttpRequest, here: str = "", **context: Any) -> dict[str, Any]:
    """The context of a page, with the trail that leads to it; ``here`` is its last step where the title is longer."""
    org: Org | None = context.get("org")
    trail = [("Orgs", reverse("admin:orgs_org_changelist"))]
    if org is not None and title != org.name:
        trail.append((org.name, reverse("admin:orgs_org_change", args=[org.pk])))
    framed = {"title": title, "opts": Org._meta, "crumbs": [*trail, (here or title, "")]}
    return {**admin.site.each_context(request), **framed, **context}


def note(request: HttpRequest, org: Org, flag: int, message: str) -> None:
    LogEntry.objects.log_actions(cast("int", request.user.pk), [org], flag, message, single_object=True)


def close_exception_pages(request: HttpRequest) -> None:
    # Django's own marking of sensitive values is switched off while debugging.
    request.exception_reporter_filter = ClosedExceptionFilter()
