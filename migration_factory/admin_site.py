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
ELSEWHERE = {
    "orgs": ("projects_org_contents", "projects_org_entity"),
    "projects": (
        "runs_run_start", "runs_run_dry_run", "runs_run_delta", "runs_run_retry", "runs_run_retention",
        "runs_deltaschedule", "runs_conflict_list", "runs_conflict_decide", "runs_conflict_apply", "runs_waive",
        "runs_consent",
    ),
}  # fmt: skip
"""App of the menu's item → names of pages that are about it although their address says otherwise."""


def menu(request: HttpRequest) -> list[dict[str, Any]]:
    """The sidebar, as the theme wants it: one group of links the person may follow."""
    return [{"items": list(_items(request))}]


def _items(request: HttpRequest) -> Iterator[dict[str, Any]]:
    here = _belongs_to(request)
    for title, icon, page, permission in MENU:
        link = reverse(page)
        yield {
            "title": title,
            "icon": icon,
            "link": link,
            "active": page == here,
            "permission": lambda request, needed=permission: needed is None or request.user.has_perm(needed),
        }


def _belongs_to(request: HttpRequest) -> str:
    """The menu's item that the page is about; blank where it is about none."""
    name = (request.resolver_match.url_name if request.resolver_match else None) or ""
    for app, names in ELSEWHERE.items():
        if name in names:
            return next(page for _, _, page, _ in MENU if page.startswith(f"admin:{app}_"))
    if request.path == reverse("admin:index"):
        return "admin:index"
    below = [page for _, _, page, _ in MENU[1:] if request.path.startswith(reverse(page))]
    if not below and request.path.startswith(reverse("admin:app_list", args=["projects"])):
        return "admin:projects_project_changelist"
    return below[0] if below else ""


def no_colours(_request: HttpRequest) -> dict[str, dict[str, str]]:
    """The theme writes no style sheet of colours into its pages."""
    return {}


def stylesheet(_request: HttpRequest) -> str:
    return static("migration_factory/screens.css")


def script(_request: HttpRequest) -> str:
    return static("migration_factory/screens.js")


def favicon(_request: HttpRequest) -> str:
    return static("migration_factory/favicon.svg")
