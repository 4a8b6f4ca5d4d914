"""What every page about an org shares: finding it, the page's frame, the history, closed error pages."""

from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.http import Http404, HttpRequest
from django.shortcuts import get_object_or_404

from orgs.models import Org
from orgs.reporting import ClosedExceptionFilter


def visible_org(request: HttpRequest, object_id: str) -> Org:
    """The org where the user may see it, otherwise 404 as if there were none."""
    if not object_id.isdecimal():
        raise Http404
    known = Org.objects.visible_to(request.user).select_related("customer")
    org: Org = get_object_or_404(known, pk=int(object_id))
    return org


def page(title: str, *, request: HttpRequest, **context: Any) -> dict[str, Any]:
    return {**admin.site.each_context(request), "title": title, "opts": Org._meta, **context}


def note(request: HttpRequest, org: Org, flag: int, message: str) -> None:
    LogEntry.objects.log_actions(cast("int", request.user.pk), [org], flag, message, single_object=True)


def close_exception_pages(request: HttpRequest) -> None:
    # Django's own marking of sensitive values is switched off while debugging.
    request.exception_reporter_filter = ClosedExceptionFilter()
