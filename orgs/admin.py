"""Customers and orgs in the admin: lists, filters and addresses; the pages are in ``orgs.views``."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from unfold.admin import ModelAdmin
from unfold.decorators import display

from orgs import connect_views, views
from orgs.forms import platform_label
from orgs.models import Customer, Org


@admin.register(Customer)
class CustomerAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    list_display = ("name", "slug", "org_count", "created_at", "archived_at")
    list_filter = (("archived_at", admin.EmptyFieldListFilter),)
    search_fields = ("name", "slug")
    prepopulated_fields = {"slug": ("name",)}  # noqa: RUF012  Django's own spelling
    readonly_fields = ("created_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Customer]:
        return Customer.objects.visible_to(request.user).annotate(orgs_held=Count("orgs"))

    @admin.display(description="Orgs", ordering="orgs_held")
    def org_count(self, customer: Any) -> int:
        return int(customer.orgs_held)


@admin.register(Org)
class OrgAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    list_display = ("name", "customer", "platform_name", "role", "status_badge", "account", "checked_at")
    list_filter = ("status", "role", "platform")
    list_select_related = ("customer",)
    search_fields = ("name", "customer__name", "account")
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Org]:
        return Org.objects.visible_to(request.user)

    def get_urls(self) -> list[URLPattern]:
        site = self.admin_site
        own = [
            path("connected/", site.admin_view(connect_views.connected), name="orgs_org_connected"),
            path("<str:object_id>/connect/", site.admin_view(connect_views.connect_again), name="orgs_org_connect"),
            path("<str:object_id>/settings/", site.admin_view(views.edit_org), name="orgs_org_settings"),
            path("<str:object_id>/budget/", site.admin_view(views.edit_budget), name="orgs_org_budget"),
            path("<str:object_id>/bypass/", site.admin_view(views.prepare_bypass), name="orgs_org_prepare_bypass"),
            path("<str:object_id>/bypass/forget/", site.admin_view(views.forget_bypass), name="orgs_org_forget_bypass"),
            path("<str:object_id>/check/", site.admin_view(views.check_org), name="orgs_org_check"),
            path(
                "<str:object_id>/files/<int:file_id>/remove/",
                site.admin_view(views.remove_file),
                name="orgs_org_remove_file",
            ),
        ]
        return [*own, *super().get_urls()]

    def add_view(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        return views.add_org(request)

    def change_view(self, request: HttpRequest, object_id: str, *_: Any, **__: Any) -> HttpResponse:
        return views.org_page(request, object_id)

    @admin.display(description="Platform", ordering="platform")
    def platform_name(self, org: Org) -> str:
        return platform_label(org.platform)

    @display(description="Status", ordering="status", label=views.STATUS_COLOURS)  # type: ignore[untyped-decorator]
    def status_badge(self, org: Org) -> tuple[str, str]:
        return org.status, org.get_status_display()
