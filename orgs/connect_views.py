"""The pages on which an org is connected: choose a way, fill it in, come back from a consent."""

import base64
import hmac
import time
from typing import Any

from django.contrib import messages
from django.contrib.admin.models import ADDITION, CHANGE
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters

from connectors.context import Secret
from connectors.errors import ConnectorError
from connectors.types import Flow, Way
from orgs import connecting, services
from orgs.forms import OrgForm, SetUpForm, platform_label
from orgs.models import Org, OrgStatus
from orgs.pages import close_exception_pages, note, page, visible_org
from orgs.sealing import open_sealed, seal

CONSENT_SECONDS = 900
"""How long a person may take on the platform's consent page."""
_SESSION = "orgs.consent"
LEADS_AWAY = {"form-action": ["https:", "http://127.0.0.1:*"]}
"""The answer to a consent's form leads on to the platform, wherever that is; a sandbox is on this machine."""


@permission_required("orgs.change_org", raise_exception=True)
@sensitive_post_parameters()
def connect_again(request: HttpRequest, object_id: str) -> HttpResponse:
    """Connect an org that is there already in another way, or anew."""
    org = visible_org(request, object_id)
    return connect(request, org, platform=org.platform, role=org.role)


def connect(request: HttpRequest, org: Org | None, *, platform: str, role: str) -> HttpResponse:
    """First the way (in the address), then the form that way asks for. The caller has checked the permission."""
    close_exception_pages(request)
    way = connecting.way_named(platform, role, request.GET.get("way", ""))
    heading = f"Connect {org.name}" if org else f"Connect {platform_label(platform)}"
    if way is None:
        ways = [(each, _address(request, each)) for each in connecting.ways_of(platform, role)]
        shown = page(heading, request=request, here="Connect", ways=ways, org=org, original=org)
        return render(request, "admin/orgs/org/ways.html", shown)
    kind = SetUpForm if way.flow is Flow.SET_UP else OrgForm
    form = kind(request.POST or None, platform=platform, role=role, user=request.user, org=org, way=way)
    if request.method == "POST" and (saved := form.submit()):
        note(request, saved, CHANGE if org else ADDITION, f"Connected by “{way.label}”.")
        return _carried_on(request, saved, way, form)
    title = f"{heading}: {way.label}"
    shown = page(title, request=request, here="Connect", form=form, org=org, original=org, way=way, card=way.label)
    response = render(request, "admin/orgs/org/settings.html", shown)
    if way.flow is Flow.CONSENT:
        response._csp_update = LEADS_AWAY  # type: ignore[attr-defined]  # as django-csp's decorator of whole views does
    return response


def _carried_on(request: HttpRequest, org: Org, way: Way, form: OrgForm) -> HttpResponse:
    """What comes after the form: the check, the platform's consent page, or the set-up."""
    try:
        if way.flow is Flow.CONSENT:
            return _to_consent(request, org)
        if way.flow is Flow.SET_UP:
            org = connecting.set_up(org, form.entered(), contact_email=form.cleaned_data["contact_email"])
        else:
            org = services.check_org(org)
    except ConnectorError as error:
        if way.flow is not Flow.SET_UP:  # whose refusal stays on the org's page
            messages.error(request, f"{org.name}: {error.message}")
        return redirect("admin:orgs_org_change", org.pk)
    return _told(request, org)


def _told(request: HttpRequest, org: Org) -> HttpResponse:
    if org.status == OrgStatus.ACTIVE:
        messages.success(request, f"Connected to {org.name} as {org.account}.")
    else:
        messages.error(request, f"{org.name}: {org.status_reason or 'its settings changed meanwhile; check again.'}")
    return redirect("admin:orgs_org_change", org.pk)


def _to_consent(request: HttpRequest, org: Org) -> HttpResponse:
    back = request.build_absolute_uri(reverse("admin:orgs_org_connected"))
    consent = connecting.start_consent(org, back)
    sealed = seal(_SESSION, consent.verifier.reveal().encode())
    request.session[_SESSION] = {
        "state": consent.state,
        "verifier": base64.b64encode(sealed).decode(),
        "org": org.pk,
        "back": back,
        "until": time.time() + CONSENT_SECONDS,
    }
    return HttpResponseRedirect(consent.url)


@permission_required("orgs.change_org", raise_exception=True)
def connected(request: HttpRequest) -> HttpResponse:
    """Where the platform sends the person back to, with a code or with a refusal."""
    close_exception_pages(request)
    begun: dict[str, Any] = request.session.pop(_SESSION, {})
    state = request.GET.get("state", "")
    if not begun or begun["until"] < time.time() or not hmac.compare_digest(begun["state"], state):
        raise PermissionDenied(
            "This consent was not started here, or it took too long. Start it again from the org's page."
        )
    org = visible_org(request, str(begun["org"]))
    if "code" not in request.GET:
        said = request.GET.get("error_description") or request.GET.get("error") or "no reason given"
        messages.error(
            request, f"{org.name}: the consent was refused ({said[:200]}). Start it again when you may give it."
        )
        return redirect("admin:orgs_org_change", org.pk)
    verifier = Secret(open_sealed(_SESSION, base64.b64decode(begun["verifier"])).decode())
    try:
        org = connecting.end_consent(
            org, code=Secret(request.GET["code"]), verifier=verifier, redirect_uri=begun["back"]
        )
    except ConnectorError as error:
        messages.error(request, f"{org.name}: {error.message}")
        return redirect("admin:orgs_org_change", org.pk)
    return _told(request, org)


def _address(request: HttpRequest, way: Way) -> str:
    query = request.GET.copy()
    query["way"] = way.slug
    return f"?{query.urlencode()}"
