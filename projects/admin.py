"""Projects in the admin: lists, filters and addresses, and the tables that mapping experts edit."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from import_export.admin import ImportExportModelAdmin
from import_export.formats.base_formats import CSV, XLSX
from unfold.admin import ModelAdmin
from unfold.contrib.import_export.forms import ExportForm, ImportForm

from projects import discovery_views, path_views, services, views
from projects.forms import FieldMappingForm, ValueMapForm
from projects.models import FieldMapping, Project, ProjectObject, ValueMap
from projects.object_forms import ProjectObjectForm
from projects.tables import FieldMappingTable, ValueMapTable


@admin.register(Project)
class ProjectAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    list_before_template = "projects/_list_before.html"
    list_display = ("name", "customer", "source", "target", "object_count", "how", "created_at")
    list_filter = (("customer", admin.RelatedOnlyFieldListFilter), "mirror")
    list_select_related = ("customer", "source", "target")
    search_fields = ("name", "customer__name")
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Project]:
        return Project.objects.visible_to(request.user).annotate(objects_held=Count("project_objects"))

    def get_urls(self) -> list[URLPattern]:
        guard = self.admin_site.admin_view
        return [
            path("", guard(self.changelist_view), name="projects_project_changelist"),
            path("add/", guard(views.add_project), name="projects_project_add"),
            path("<str:object_id>/change/", guard(self.change_view), name="projects_project_change"),
            path("<int:project_id>/objects/", guard(views.choose_objects), name="projects_project_objects"),
            path("move/", guard(path_views.choose_source), name="projects_path_source"),
            path("move/<int:source_id>/", guard(path_views.choose_target), name="projects_path_target"),
            path("<int:project_id>/records/", guard(path_views.choose_records), name="projects_path_records"),
            path("<int:project_id>/records/key/<str:entity>/", guard(path_views.make_key), name="projects_path_key"),
            path(
                "<int:project_id>/records/<int:object_id>/",
                guard(path_views.select_records),
                name="projects_path_select",
            ),
            path("<int:project_id>/review/", guard(path_views.review), name="projects_path_review"),
            path(
                "<int:project_id>/differences/",
                guard(discovery_views.differences),
                name="projects_project_differences",
            ),
            path("orgs/<int:org_id>/", guard(discovery_views.contents), name="projects_org_contents"),
            path("orgs/<int:org_id>/<str:name>/", guard(discovery_views.entity), name="projects_org_entity"),
        ]

    def change_view(self, request: HttpRequest, object_id: str, *_: Any, **__: Any) -> HttpResponse:
        """The address takes any text: the theme's forms ask for it with a placeholder in the id's place."""
        if not object_id.isdecimal():
            raise Http404
        return views.project_page(request, int(object_id))

    def get_actions(self, *_: Any) -> dict[str, Any]:
        return {}  # a project goes by ``runs.services.erase_project``, with its records

    @admin.display(description="Mapping", ordering="mirror")
    def how(self, project: Project) -> str:
        return "mirror" if project.mirror else "by rules"

    @admin.display(description="Objects", ordering="objects_held")
    def object_count(self, project: Any) -> int:
        return int(project.objects_held)


@admin.register(ProjectObject)
class ProjectObjectAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """What a mapping expert may change of an object; made and matched by services."""

    list_display = ("__str__", "project", "position", "on_conflict", "enabled")
    list_filter = (("project", admin.RelatedOnlyFieldListFilter), "on_conflict", "enabled")
    list_select_related = ("project",)
    form = ProjectObjectForm
    fieldsets = (
        (None, {"fields": ("project", "source_entity", "target_entity", "identity", "key", "enabled", "position")}),
        ("Which records", {"fields": ("where", "match_fields", "unresolved")}),
        ("Changes on both sides", {"fields": ("on_conflict", "field_policies", "on_delete")}),
        ("Reading back", {"fields": ("equality",)}),
    )
    readonly_fields = ("project", "source_entity", "target_entity", "identity", "key")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProjectObject]:
        return ProjectObject.objects.visible_to(request.user)

    def save_model(self, _request: HttpRequest, chosen: ProjectObject, form: Any, *_: Any) -> None:
        services.change_object(chosen, form.changed_data)

    def has_add_permission(self, *_: Any) -> bool:
        return False

    def has_delete_permission(self, *_: Any) -> bool:
        return False


class TableAdmin(ImportExportModelAdmin, ModelAdmin):  # type: ignore[misc]  # neither ships types
    """A small reference table that goes out to a spreadsheet and comes back with a preview of differences."""

    import_form_class = ImportForm
    export_form_class = ExportForm
    formats = (CSV, XLSX)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        shown: QuerySet[Any] = self.model.objects.visible_to(request.user)
        return shown

    def get_import_resource_kwargs(self, request: HttpRequest, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_import_resource_kwargs(request, *args, **kwargs), "viewer": request.user}

    def get_export_resource_kwargs(self, request: HttpRequest, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_export_resource_kwargs(request, *args, **kwargs), "viewer": request.user}


@admin.register(FieldMapping)
class FieldMappingAdmin(TableAdmin):
    form = FieldMappingForm
    resource_classes = (FieldMappingTable,)
    list_display = ("target", "half", "object", "position")
    list_filter = (("object", admin.RelatedOnlyFieldListFilter), "half")
    list_select_related = ("object__project",)
    search_fields = ("target",)


@admin.register(ValueMap)
class ValueMapAdmin(TableAdmin):
    form = ValueMapForm
    resource_classes = (ValueMapTable,)
    list_display = ("name", "project", "entry_count")
    list_filter = (("project", admin.RelatedOnlyFieldListFilter),)
    list_select_related = ("project",)
    search_fields = ("name",)

    @admin.display(description="Entries")
    def entry_count(self, value_map: ValueMap) -> int:
        return len(value_map.entries)
