"""Addresses of the record pages: the admin cannot list a table whose key has several columns."""

from django.contrib import admin
from django.urls import path

from runs import record_views

app_name = "records"
_guard = admin.site.admin_view
urlpatterns = [
    path("", _guard(record_views.record_find), name="find"),
    path("<int:project_id>/", _guard(record_views.record_list), name="list"),
    path("<int:project_id>/<int:object_id>/", _guard(record_views.record_page), name="page"),
    path("<int:project_id>/<int:object_id>/target/", _guard(record_views.record_target), name="target"),
]
