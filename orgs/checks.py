"""System checks of the vault."""

from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Warning, register  # noqa: A004  Django's own name
from django.db.models import BinaryField

from orgs.vault import sealed_columns

OWN_APPS = ("orgs", "projects", "runs")


@register
def binary_columns_are_known_to_rotation(**_: Any) -> list[CheckMessage]:
    """A column that rotation does not find is lost with the old key."""
    known = {(each.model, each.column) for each in sealed_columns()}
    models = [model for app in OWN_APPS for model in apps.get_app_config(app).get_models()]
    fields = [field for model in models for field in model._meta.local_fields if isinstance(field, BinaryField)]
    return [
        Warning(
            f"{field.model._meta.label}.{field.name} is a binary column that rotate_vault does not know.",
            hint="Seal what it holds and call orgs.sealing.register_sealed_column beside the model.",
            obj=field,
            id="orgs.W001",
        )
        for field in fields
        if (field.model._meta.label, field.name) not in known
    ]
