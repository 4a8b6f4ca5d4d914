"""The admin's menu: what is in it, for whom, and which item a page belongs to."""

from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

MENU = (
    # title, icon, page, permission (None: every member of staff)
    ("Overview", "space_dashboard", "admin:index", None),
    ("Customers", "domain", "admin:orgs_customer_changelist", "orgs.view_customer"),
    ("Orgs", "hub", "admin:orgs_org_changelist", "orgs.view_org"),
    ("Projects", "assignment", "admin:projects_project_changelist", "projects.view_project"),
    ("Runs", "play_circle", "admin:runs_run_changelist", "runs.view_run"),
    ("Records", "manage_search", "records:find", "runs.view_trackedrecord"),
    ("Workers", "memory", "admin:runs_workerhost_changelist", "runs.view_workerhost"),
    ("People", "group", "admin:auth_user_changelist", "auth.view_user"),
)


def menu(request: HttpRequest) -> list[dict[str, Any]]:
    """The sidebar, as the theme wants it: one group of links the person may follow."""
    return [{"items": list(_items(request))}]


def _items(request: HttpRequest) -> Iterator[dict[str, Any]]:
    for title, icon, page, permission in MENU:
        link = reverse(page)
        yield {
            "title": title,
            "icon": icon,
            "link": link,
            "active": request.path == link if page == "admin:index" else request.path.startswith(link),
            "permission": lambda request, needed=permission: needed is None or request.user.has_perm(needed),
        }


def stylesheet(_request: HttpRequest) -> str:
    return static("migration_factory/screens.css")


def script(_request: HttpRequest) -> str:
    return static("migration_factory/screens.js")


def favicon(_request: HttpRequest) -> str:
    return static("migration_factory/favicon.svg")
