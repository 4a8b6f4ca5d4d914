"""Where every page lives."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

admin.autodiscover()  # here, not at the start of every process: see migration_factory.apps.Pages

urlpatterns = [
    path("admin/records/", include("runs.urls")),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]
