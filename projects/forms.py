"""Forms of projects: making one, choosing what moves, and editing rules by hand."""

from typing import Any, ClassVar

from django import forms
from django.db.models import QuerySet
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from orgs.models import Customer, Org
from orgs.visibility import Viewer
from projects import services
from projects.models import FieldMapping, Project, ValueMap
from projects.services import ProjectInvalid
from projects.tables import checked_entries, checked_rule


class OrgChoice(forms.ModelChoiceField):  # type: ignore[type-arg]  # not generic at run time
    """Orgs by customer, so that two of the same name are told apart."""

    def label_from_instance(self, org: Any) -> str:
        return f"{org.customer}: {org}"


class ProjectForm(forms.Form):
    """A new project; ``submit`` makes it through the service."""

    name = forms.CharField(max_length=120, widget=UnfoldAdminTextInputWidget)
    customer = forms.ModelChoiceField(Customer.objects.none(), widget=UnfoldAdminSelectWidget)
    source = OrgChoice(Org.objects.none(), widget=UnfoldAdminSelectWidget, help_text="Where records are read.")
    target = OrgChoice(Org.objects.none(), widget=UnfoldAdminSelectWidget, help_text="Where records are written.")
    mirror = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Copy every entity as it is and let runs create missing tables and columns in the target.",
    )

    def __init__(self, *given: Any, viewer: Viewer, **named: Any) -> None:
        super().__init__(*given, **named)
        orgs = Org.objects.visible_to(viewer).select_related("customer")
        choices: dict[str, QuerySet[Any]] = {
            "customer": Customer.objects.visible_to(viewer).filter(archived_at=None),
            "source": orgs.exclude(role="target"),
            "target": orgs.exclude(role="source"),
        }
        for name, found in choices.items():
            self._choice(name).queryset = found

    def _choice(self, name: str) -> "forms.ModelChoiceField[Any]":
        field = self.fields[name]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101  tells the type checker what stands above
        return field

    def submit(self) -> Project | None:
        """The new project; None where the form has something to say."""
        if not self.is_valid():
            return None
        chosen = self.cleaned_data
        clash = Project.objects.filter(customer=chosen["customer"], name__iexact=chosen["name"])
        if clash.exists():
            self.add_error("name", "This customer has a project of that name already.")
            return None
        try:
            return services.create_project(
                chosen["customer"],
                chosen["name"],
                source=chosen["source"],
                target=chosen["target"],
                mirror=chosen["mirror"],
            )
        except ProjectInvalid as error:
            self.add_error(None, str(error))
            return None


class FieldMappingForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    class Meta:
        model = FieldMapping
        fields = ("object", "half", "target", "rule", "position")
        widgets: ClassVar = {"rule": UnfoldAdminTextareaWidget}

    def clean_rule(self) -> object:
        return checked_rule(self.cleaned_data["rule"])


class ValueMapForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    class Meta:
        model = ValueMap
        fields = ("project", "name", "entries")
        widgets: ClassVar = {"entries": UnfoldAdminTextareaWidget}

    def clean_entries(self) -> object:
        return checked_entries(self.cleaned_data["entries"])
