"""Runs and workers in the admin: addresses only; the pages are in ``runs.views``.

django-q2's own pages are taken away: with them a person could run any function of the process.
"""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django_q.models import Failure, OrmQ, Schedule, Success
from unfold.admin import ModelAdmin

from runs import delta_views, evidence_views, follow_up_views, views
from runs.consent_views import consent
from runs.forecast_views import estimate, forecast, try_out
from runs.models import Run, WorkerHost

admin.site.unregister([Schedule, Success, Failure, OrmQ])


class LookOnly(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """Rows that services write and people look at."""

    def has_add_permission(self, *_: Any) -> bool:
        return False

    def has_change_permission(self, *_: Any) -> bool:
        return False

    def has_delete_permission(self, *_: Any) -> bool:
        return False


@admin.register(Run)
class RunAdmin(LookOnly):
    def get_urls(self) -> list[URLPattern]:
        guard = self.admin_site.admin_view
        return [
            path("", guard(views.run_list), name="runs_run_changelist"),
            path("start/<int:project_id>/", guard(views.start_run), name="runs_run_start"),
            path("dry-run/<int:project_id>/", guard(try_out), name="runs_run_dry_run"),
            path("estimate/<int:project_id>/", guard(estimate), name="runs_run_estimate"),
            path("<int:run_id>/forecast/", guard(forecast), name="runs_run_forecast"),
            path("delta/<int:project_id>/", guard(follow_up_views.start_delta), name="runs_run_delta"),
            path("conflicts/<int:project_id>/", guard(delta_views.conflict_list), name="runs_conflict_list"),
            path(
                "conflicts/<int:project_id>/decide/", guard(delta_views.decide_conflicts), name="runs_conflict_decide"
            ),
            path("conflicts/<int:project_id>/apply/", guard(delta_views.apply_decisions), name="runs_conflict_apply"),
            path("waive/<int:project_id>/", guard(delta_views.waive), name="runs_waive"),
            path("schedule/<int:project_id>/", guard(delta_views.schedule_page), name="runs_deltaschedule"),
            path("<int:run_id>/allow/", guard(delta_views.allow_deletions), name="runs_run_allow"),
            path("retry/<int:project_id>/", guard(follow_up_views.start_retry), name="runs_run_retry"),
            path("retention/<int:project_id>/", guard(follow_up_views.keep_for), name="runs_run_retention"),
            path("consent/<int:project_id>/", guard(consent), name="runs_consent"),
            path("<int:run_id>/change/", guard(views.run_page), name="runs_run_change"),
            # Unguarded here: after a log-out the view itself sends the poll to the login page.
            path("<int:run_id>/progress/", views.run_progress, name="runs_run_progress"),
            path("<int:run_id>/evidence/", guard(evidence_views.evidence_page), name="runs_run_evidence"),
            path(
                "<int:run_id>/evidence.<slug:form>",
                guard(evidence_views.evidence_file),
                name="runs_run_evidence_file",
            ),
            path("<int:run_id>/events/", guard(views.run_events), name="runs_run_events"),
            path("<int:run_id>/pause/", guard(views.pause_run), name="runs_run_pause"),
            path("<int:run_id>/resume/", guard(views.resume_run), name="runs_run_resume"),
            path("<int:run_id>/cancel/", guard(views.cancel_run), name="runs_run_cancel"),
            path("<int:run_id>/rollback/", guard(follow_up_views.roll_back), name="runs_run_rollback"),
            path(
                "rollback/<int:project_id>/",
                guard(follow_up_views.roll_back_records),
                name="runs_run_rollback_records",
            ),
        ]


@admin.register(WorkerHost)
class WorkerHostAdmin(LookOnly):
    def get_urls(self) -> list[URLPattern]:
        return [path("", self.admin_site.admin_view(self.changelist_view), name="runs_workerhost_changelist")]

    def changelist_view(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        return views.workers(request)
