"""The start page: what runs now, what ended lately, which orgs need a person, and what to do next."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse

from orgs.models import Customer, Org, OrgStatus
from projects.models import Project
from runs.choices import ACTIVE, OPEN, TERMINAL
from runs.models import Run
from runs.progress import briefly, host_is_up

RECENT = 8
MOST_ORGS = 20


@dataclass(frozen=True, slots=True)
class NextStep:
    """What a person can do where nothing is there yet; ``link`` is blank where they may not do it."""

    title: str
    sentence: str
    button: str
    link: str


def overview(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The theme's hook for the start page: the context, with our own."""
    user = request.user
    runs = Run.objects.visible_to(user).select_related("project__customer")
    live = list(runs.filter(state__in=sorted(OPEN))[:50])
    recent = list(runs.filter(state__in=sorted(TERMINAL))[:RECENT])
    broken, stuck = Q(status__in=(OrgStatus.EXPIRED, OrgStatus.ERROR)), Q(automation_bypass__trouble__gt="")
    troubled = Org.objects.visible_to(user).filter(broken | stuck)
    return {
        **context,
        "title": "Overview",
        "crumbs": (("Overview", ""),),
        "live": live,
        "recent": recent,
        "briefs": briefly([*live, *recent]),
        "orgs": troubled.select_related("customer", "automation_bypass")[:MOST_ORGS],
        "host_missing": any(run.state in ACTIVE for run in live) and not host_is_up(),
        "next_step": None if live or recent else _next_step(request),
    }


def _next_step(request: HttpRequest) -> NextStep | None:
    """The first thing that is missing on the way to a run."""
    user = request.user
    if not user.has_perm("runs.view_run"):
        return None
    steps = (
        (Customer, "orgs.add_customer", "Add the first customer",
         "A customer is the company whose data you move. Its systems and projects hang on it.",
         "Add customer", "admin:orgs_customer_add"),
        (Org, "orgs.add_org", "Connect the first systems",
         "An org is a system of a customer: one to read from, one to write to.",
         "Add org", "admin:orgs_org_add"),
        (Project, "projects.add_project", "Set up the first project",
         "A project says what moves from which org to which.",
         "Add project", "admin:projects_project_add"),
    )  # fmt: skip
    for model, permission, title, sentence, button, view in steps:
        if not model.objects.visible_to(user).exists():
            link = reverse(view) if user.has_perm(permission) else ""
            return NextStep(title, sentence, button, link)
    return NextStep(
        "Start the first run",
        "Everything is set up: open a project and start a run from its page.",
        "Open projects",
        reverse("admin:projects_project_changelist"),
    )
