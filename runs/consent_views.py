"""The page part where a person consents to runs on a target that cannot be asked, or takes that back."""

from typing import cast

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from projects.models import Project
from runs import services
from runs.views import may_control


@may_control
@require_POST
def consent(request: HttpRequest, project_id: int) -> HttpResponse:
    """``consent=give`` records who and when; anything else withdraws it."""
    project = get_object_or_404(Project.objects.visible_to(request.user), pk=project_id)
    if request.POST.get("consent") == "give":
        services.consent_to_unasked(project, cast("User", request.user))
        said = "Your consent is recorded; runs can start."
    else:
        services.withdraw_consent(project)
        said = "The consent is withdrawn; no further run starts without a new one."
    LogEntry.objects.log_actions(cast("int", request.user.pk), [project], CHANGE, said, single_object=True)
    messages.success(request, said)
    return redirect("admin:projects_project_change", project.pk)
