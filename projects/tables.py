"""Mappings and value maps as spreadsheet tables, out and in again, for ``django-import-export``."""

import json
from typing import Any, cast

from django.core.exceptions import ValidationError
from import_export.fields import Field
from import_export.resources import ModelResource
from import_export.widgets import ForeignKeyWidget, Widget

from orgs.visibility import Viewer
from projects.mapping import codec
from projects.mapping.problems import MappingInvalid
from projects.models import FieldMapping, Project, ProjectObject, ValueMap

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet run a cell: https://owasp.org/www-community/attacks/CSV_Injection"""


def checked_rule(rule: object) -> object:
    """The rule as it came; raises ValidationError with the codec's sentence where no mapping could use it."""
    try:
        codec.decode_rule(rule)
    except MappingInvalid as error:
        raise ValidationError(error.message) from error
    return rule


def checked_entries(entries: object) -> object:
    """The entries as they came; raises ValidationError where they are not text → text or null."""
    if not isinstance(entries, dict):
        raise ValidationError('Entries must be a JSON object like {"New": "open", "Dead": null}.')
    wrong = [key for key, value in entries.items() if not (value is None or isinstance(value, str))]
    if wrong:
        raise ValidationError(f"The value of “{wrong[0]}” must be text in quotes, or null to blank the field.")
    return entries


class JsonWidget(Widget):  # type: ignore[misc]  # import_export ships no types
    """JSON in a cell; what it means is for ``checked_rule`` and ``checked_entries`` to judge."""

    def clean(self, value: str, *_: Any, **__: Any) -> object:
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"This is not JSON: {error}") from error

    def render(self, value: object, *_: Any, **__: Any) -> str:
        return json.dumps(value, ensure_ascii=False)


class VisibleWidget(ForeignKeyWidget):  # type: ignore[misc]  # import_export ships no types
    """A row by id, among those that the importing person may see."""

    def __init__(self, model: Any, viewer: Viewer | None) -> None:
        super().__init__(model, "pk")
        self.viewer = viewer

    def get_queryset(self, *_: Any, **__: Any) -> Any:
        return self.model.objects.visible_to(self.viewer) if self.viewer else self.model.objects.none()


class Table(ModelResource):  # type: ignore[misc]  # import_export ships no types
    """What both tables share: the person at work, and cells that no spreadsheet runs.

    A text that begins like a formula leaves with an apostrophe before it, which an import takes off again.
    """

    def __init__(self, viewer: Viewer | None = None, **given: Any) -> None:
        super().__init__(**given)
        self.viewer = viewer
        for field in self.fields.values():
            if isinstance(field.widget, VisibleWidget):
                field.widget = VisibleWidget(field.widget.model, viewer)

    def get_queryset(self) -> Any:
        return self._meta.model.objects.visible_to(self.viewer) if self.viewer else self._meta.model.objects.none()

    def export_field(self, field: Any, instance: Any, **given: Any) -> Any:
        text = super().export_field(field, instance, **given)
        return f"'{text}" if isinstance(text, str) and text.startswith(FORMULA_STARTS) else text

    def before_import_row(self, row: Any, **_: Any) -> None:
        for name, cell in row.items():
            if isinstance(cell, str) and cell[:1] == "'" and cell[1:].startswith(FORMULA_STARTS):
                row[name] = cell[1:]


class FieldMappingTable(Table):
    """One rule a row, told apart by object, half and target field."""

    object = Field(column_name="object", attribute="object", widget=VisibleWidget(ProjectObject, None))
    maps = Field(column_name="maps", readonly=True)
    rule = Field(column_name="rule", attribute="rule", widget=JsonWidget())

    class Meta:
        model = FieldMapping
        fields = export_order = ("object", "maps", "half", "position", "target", "rule")
        import_id_fields = ("object", "half", "target")
        skip_unchanged = True
        clean_model_instances = True

    def dehydrate_maps(self, mapping: FieldMapping) -> str:
        return str(mapping.object)

    def before_save_instance(self, instance: FieldMapping, *_: Any, **__: Any) -> None:
        instance.rule = cast("Any", checked_rule(instance.rule))


class ValueMapTable(Table):
    """One value map a row, told apart by project and name."""

    project = Field(column_name="project", attribute="project", widget=VisibleWidget(Project, None))
    entries = Field(column_name="entries", attribute="entries", widget=JsonWidget())

    class Meta:
        model = ValueMap
        fields = export_order = ("project", "name", "entries")
        import_id_fields = ("project", "name")
        skip_unchanged = True
        clean_model_instances = True

    def before_save_instance(self, instance: ValueMap, *_: Any, **__: Any) -> None:
        instance.entries = cast("Any", checked_entries(instance.entries))
