"""The pages of an org in the admin: add, look, change, check."""

from django.contrib import messages
from django.contrib.admin.models import ADDITION, CHANGE
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from connectors.errors import ConnectorError
from orgs import bypass, connect_views, connecting, presentation, services
from orgs.forms import BudgetForm, OrgForm, PlatformForm, platform_label
from orgs.models import AppProvisioning, Org, OrgFile, OrgStatus
from orgs.pages import close_exception_pages, note, page, visible_org
from orgs.validation import declared_settings

STATUS_COLOURS = {
    OrgStatus.NEW: "info",
    OrgStatus.ACTIVE: "success",
    OrgStatus.EXPIRED: "warning",
    OrgStatus.ERROR: "danger",
}


@permission_required("orgs.add_org", raise_exception=True)
@sensitive_post_parameters()
def add_org(request: HttpRequest) -> HttpResponse:
    """First the platform and role (in the address), then the form their connectors ask for."""
    close_exception_pages(request)
    chooser = PlatformForm(request.GET if "platform" in request.GET else None)
    if not chooser.is_valid():
        return render(request, "admin/orgs/org/choose.html", page("Add an org", form=chooser, request=request))
    chosen = chooser.cleaned_data
    ways = connecting.ways_of(chosen["platform"], chosen["role"])
    if ways:
        return connect_views.connect(request, None, platform=chosen["platform"], role=chosen["role"])
    form = OrgForm(
        request.POST or None,
        request.FILES or None,
        platform=chosen["platform"],
        role=chosen["role"],
        user=request.user,
    )
    if request.method == "POST" and (org := form.submit()):
        note(request, org, ADDITION, "Added.")
        messages.success(request, f"{org.name} was added. Check the connection next.")
        return redirect("admin:orgs_org_change", org.pk)
    title = f"Add an org: {platform_label(chosen['platform'])}"
    return render(request, "admin/orgs/org/settings.html", page(title, form=form, request=request))


@permission_required("orgs.view_org", raise_exception=True)
def org_page(request: HttpRequest, object_id: str) -> HttpResponse:
    """What we know of an org, and what can be done with it."""
    org = visible_org(request, object_id)
    connectors = services.installed_connectors(org)
    standing = bypass.standing(org)
    shown = page(
        org.name,
        request=request,
        org=org,
        original=org,
        colour=STATUS_COLOURS[OrgStatus(org.status)],
        overview=_overview(org),
        settings=[
            (each.label, org.settings.get(each.name, "")) for each in declared_settings(connectors) if not each.secret
        ],
        facts=presentation.facts(org),
        limits=presentation.limits(org),
        budget=presentation.budget(services.budget_of(org)),
        capabilities=presentation.capabilities(org),
        bypass=presentation.bypass(org, standing),
        bypass_permission=bypass.asked_for(org),
        bypass_alarm=standing.alarm if standing else "",
        can_bypass=any(connector.capabilities.bypassed_by for connector in connectors),
        takes_files=any(connector.capabilities.files for connector in connectors),
        files=org.files.all(),
        has_ways=any(connector.ways for connector in connectors),
        provisioning=_latest_set_up(org),
        may_change=request.user.has_perm("orgs.change_org"),
        may_delete=request.user.has_perm("orgs.delete_org"),
    )
    return render(request, "admin/orgs/org/page.html", shown)


@permission_required("orgs.change_org", raise_exception=True)
@sensitive_post_parameters()
def edit_org(request: HttpRequest, object_id: str) -> HttpResponse:
    """Change settings and secrets, add files."""
    close_exception_pages(request)
    org = visible_org(request, object_id)
    form = OrgForm(
        request.POST or None,
        request.FILES or None,
        platform=org.platform,
        role=org.role,
        user=request.user,
        org=org,
    )
    if request.method == "POST" and (saved := form.submit()):
        note(request, saved, CHANGE, f"Changed: {', '.join(form.changed_labels())}." if form.changed_data else "Saved.")
        messages.success(request, f"{saved.name} was saved.")
        return redirect("admin:orgs_org_change", saved.pk)
    shown = page(f"Settings of {org.name}", here="Settings", form=form, request=request, org=org, original=org)
    return render(request, "admin/orgs/org/settings.html", shown)


@permission_required("orgs.change_org", raise_exception=True)
def edit_budget(request: HttpRequest, object_id: str) -> HttpResponse:
    """Agree on how much may be asked of the org, and when."""
    org = visible_org(request, object_id)
    form = BudgetForm(request.POST or None, org=org)
    if request.method == "POST" and form.submit():
        note(request, org, CHANGE, f"Changed the rate budget: {', '.join(form.changed_labels()) or 'nothing'}.")
        messages.success(request, f"The rate budget of {org.name} was saved.")
        return redirect("admin:orgs_org_change", org.pk)
    here = "Rate budget"
    shown = page(f"{here} of {org.name}", here=here, form=form, request=request, org=org, original=org, card=here)
    return render(request, "admin/orgs/org/settings.html", shown)


@require_POST
@permission_required("orgs.change_org", raise_exception=True)
def check_org(request: HttpRequest, object_id: str) -> HttpResponse:
    """Check the connection and say how it went."""
    close_exception_pages(request)
    org = services.check_org(visible_org(request, object_id))
    if org.status == OrgStatus.ACTIVE:
        messages.success(request, f"Connected to {org.name} as {org.account}.")
    else:
        messages.error(request, f"{org.name}: {org.status_reason or 'its settings changed meanwhile; check again.'}")
    return redirect("admin:orgs_org_change", org.pk)


@require_POST
@permission_required("orgs.change_org", raise_exception=True)
def prepare_bypass(request: HttpRequest, object_id: str) -> HttpResponse:
    """Make in the org what its automation's standing aside needs, and say what was made."""
    close_exception_pages(request)
    org = visible_org(request, object_id)
    try:
        made = bypass.prepare(org)
    except ConnectorError as error:
        messages.error(request, f"{org.name}: {error.message}")
        return redirect("admin:orgs_org_change", org.pk)
    for sentence in made:
        note(request, org, CHANGE, sentence)
        messages.success(request, f"{org.name}: {sentence}")
    if not made:
        messages.success(request, f"The automation bypass of {org.name} is ready: nothing had to be made.")
    return redirect("admin:orgs_org_change", org.pk)


@require_POST
@permission_required("orgs.change_org", raise_exception=True)
def forget_bypass(request: HttpRequest, object_id: str) -> HttpResponse:
    """Take a person's word that a bypass which gave trouble is off."""
    org = visible_org(request, object_id)
    bypass.forget(org)
    note(request, org, CHANGE, "Said that the automation bypass is off.")
    messages.success(request, f"The automation bypass of {org.name} counts as off.")
    return redirect("admin:orgs_org_change", org.pk)


@require_POST
@permission_required("orgs.change_org", raise_exception=True)
def remove_file(request: HttpRequest, object_id: str, file_id: int) -> HttpResponse:
    """Forget one uploaded file."""
    org = visible_org(request, object_id)
    file = get_object_or_404(OrgFile, org=org, pk=file_id)
    services.remove_file(file)
    note(request, org, CHANGE, f"Removed the file {file.name}.")
    messages.success(request, f"{file.name} was removed.")
    return redirect("admin:orgs_org_change", org.pk)


def _latest_set_up(org: Org) -> AppProvisioning | None:
    """The org's set-up, as long as nothing newer is known: a later check has the last word."""
    found = AppProvisioning.objects.filter(org=org).first()
    is_past = found and found.finished_at and org.checked_at and found.finished_at < org.checked_at
    return None if is_past else found


def _overview(org: Org) -> list[tuple[str, str]]:
    folder = [("Local folder", org.local_folder)] if org.local_folder else []
    return [
        ("Customer", org.customer.name),
        ("Platform", platform_label(org.platform)),
        ("Role", org.get_role_display()),
        ("Account", org.account),
        *folder,
    ]
