"""Forms for orgs, made from what their connectors ask for; secrets go in and never come out."""

from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, ClassVar, cast

from django import forms
from django.core.files.uploadedfile import UploadedFile
from unfold.widgets import (
    INPUT_CLASSES,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from connectors.errors import ConnectorError, SettingsInvalid
from connectors.registry import source_class, source_slugs, target_class, target_slugs
from connectors.types import Setting, SettingKind, Way
from orgs import connecting, services
from orgs.allowance import Terms
from orgs.budget_store import AGREED
from orgs.models import Customer, Org, OrgBudget, Role
from orgs.sealing import SealBroken
from orgs.validation import EntryRefused, declared_settings
from orgs.visibility import Viewer

_HOURS = ("quiet_from", "quiet_until")


class WriteOnlyTextarea(UnfoldAdminTextareaWidget):  # type: ignore[misc]  # unfold ships no types
    """A text area that is always empty when shown: what was typed into it is not sent back."""

    def format_value(self, *_: Any) -> None:
        return None


class SeveralFilesInput(forms.FileInput):
    allow_multiple_selected = True


class SeveralFilesField(forms.FileField):
    """Any number of uploads; cleans to a list."""

    widget = SeveralFilesInput(attrs={"class": " ".join(INPUT_CLASSES)})

    def clean(self, data: Any, initial: Any = None) -> Any:
        return [super(SeveralFilesField, self).clean(each, initial) for each in data or []]


def platform_label(platform: str) -> str:
    """What a person calls the platform; its slug where no connector answers to it any more."""
    connector = source_class if platform in source_slugs() else target_class
    try:
        return connector(platform).label
    except SettingsInvalid:
        return platform


class PlatformForm(forms.Form):
    """The first step to a new org: which platform, and what it is to us."""

    platform = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    role = forms.ChoiceField(choices=Role.choices, widget=UnfoldAdminSelectWidget)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        slugs = sorted({*source_slugs(), *target_slugs()})
        cast("forms.ChoiceField", self.fields["platform"]).choices = [(slug, platform_label(slug)) for slug in slugs]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        try:
            services.connector_classes(cleaned.get("platform", ""), cleaned.get("role", ""))
        except SettingsInvalid as refused:
            self.add_error("role", refused.message)
        return cleaned


class OrgForm(forms.Form):
    """An org's name, settings, secrets and files. ``submit`` saves through the services.

    With a ``way`` only what that way needs is asked for, and what other ways left is cleared.
    """

    customer: "forms.ModelChoiceField[Customer]" = forms.ModelChoiceField(
        queryset=Customer.objects.none(), widget=UnfoldAdminSelectWidget
    )
    name = forms.CharField(max_length=120, widget=UnfoldAdminTextInputWidget)

    def __init__(
        self,
        *args: Any,
        platform: str,
        role: str,
        user: Viewer,
        org: Org | None = None,
        way: Way | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.platform, self.role, self.org, self.way = platform, role, org, way
        connectors = services.connector_classes(platform, role)
        everything = declared_settings(connectors)
        self.declared = connecting.asked_for(way, everything) if way else everything
        self.broken_seal = ""
        self._set_org_fields(user)
        for setting in self.declared:
            self._add_fields_for(setting, self._names_set())
        if any(connector.capabilities.files for connector in connectors):
            self.fields["files"] = SeveralFilesField(
                required=False, help_text="A file of the same name replaces the earlier one."
            )

    def submit(self) -> Org | None:
        """The saved org, or None with the reasons among the form's errors."""
        if not self.is_valid():
            return None
        try:
            return self._save()
        except EntryRefused as refused:
            for name, problem in refused.problems.items():
                self.add_error(self._field_of(name), problem)
        except ConnectorError as refused:
            self.add_error(None, refused.message)
        return None

    def changed_labels(self) -> list[str]:
        """The fields that were filled in differently: their labels, never their values."""
        return [str(self.fields[name].label or name) for name in self.changed_data]

    def entered(self) -> connecting.Entered:
        """What was filled in, by setting name."""
        values = self.cleaned_data
        plain = {each.name: _as_text(values[_plain(each.name)]) for each in self.declared if not each.secret}
        secrets = {each.name: _as_text(values[_secret(each.name)]) for each in self.declared if each.secret}
        return connecting.Entered(plain, secrets)

    def _save(self) -> Org:
        entered = self.cleaned_data
        if self.way is not None:
            return connecting.connect(
                self.org,
                self.way,
                self.entered(),
                customer=entered.get("customer"),
                name=entered["name"],
                platform=self.platform,
                role=self.role,
            )
        plain = {each.name: _as_text(entered[_plain(each.name)]) for each in self.declared if not each.secret}
        secrets = {each.name: _as_text(entered[_secret(each.name)]) for each in self.declared if each.secret}
        clear = [each.name for each in self.declared if entered.get(_clear(each.name))]
        files: Iterable[UploadedFile[bytes]] = entered.get("files", ())
        return services.submit_org(
            self.org,
            customer=entered.get("customer"),
            name=entered["name"],
            platform=self.platform,
            role=self.role,
            settings=plain,
            secrets=secrets,
            clear=clear,
            files=[(each.name or "", cast("BinaryIO", each.file)) for each in files],
        )

    def _set_org_fields(self, user: Viewer) -> None:
        if self.org is None:
            customers = Customer.objects.visible_to(user).filter(archived_at=None)
            cast("forms.ModelChoiceField[Customer]", self.fields["customer"]).queryset = customers
        else:
            del self.fields["customer"]
            self.fields["name"].initial = self.org.name

    def _names_set(self) -> frozenset[str]:
        """Which secrets are stored, by name."""
        try:
            return frozenset(self.org.open_secrets() if self.org else ())
        except SealBroken as broken:
            self.broken_seal = str(broken)
            return frozenset()

    def _add_fields_for(self, setting: Setting, names_set: frozenset[str]) -> None:
        if not setting.secret:
            stored = self.org.settings.get(setting.name, "") if self.org else setting.default
            self.fields[_plain(setting.name)] = _plain_field(setting, stored)
            return
        is_set = setting.name in names_set
        is_kept = self.way is None or setting not in self.way.one_time
        self.fields[_secret(setting.name)] = _secret_field(setting, is_set=is_set, is_kept=is_kept)
        if is_set and not setting.required and self.way is None:
            self.fields[_clear(setting.name)] = forms.BooleanField(
                label=f"Forget {setting.label}", required=False, widget=UnfoldBooleanWidget
            )

    def _field_of(self, name: str) -> str | None:
        return next((field for field in (_plain(name), _secret(name)) if field in self.fields), None)


class SetUpForm(OrgForm):
    """What a set-up needs once, and whom the system may write to about the app it makes."""

    contact_email = forms.EmailField(
        label="Contact address",
        widget=UnfoldAdminTextInputWidget,
        help_text="The system keeps it with the app and may write to it.",
    )

    def __init__(self, *args: Any, user: Viewer, **kwargs: Any) -> None:
        super().__init__(*args, user=user, **kwargs)
        self.fields["contact_email"].initial = getattr(user, "email", "")
        self.order_fields([name for name in self.fields if name != "contact_email"])


class BudgetForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """What may be asked of an org, and when. ``submit`` saves through the services."""

    class Meta:
        model = OrgBudget
        fields = AGREED
        widgets: ClassVar[dict[str, forms.Widget]] = {
            **{name: UnfoldAdminIntegerFieldWidget() for name in AGREED if name not in ("time_zone", *_HOURS)},
            **{name: forms.TimeInput({"type": "time", "class": " ".join(INPUT_CLASSES)}, "%H:%M") for name in _HOURS},
            "time_zone": UnfoldAdminTextInputWidget(),
        }

    def __init__(self, data: Mapping[str, Any] | None = None, *, org: Org) -> None:
        self.org = org
        stored = OrgBudget.objects.filter(pk=org.pk).first()
        super().__init__(data, instance=stored or OrgBudget(org=org))
        for name, text in _budget_help(services.default_terms(org)).items():
            self.fields[name].help_text = text

    def submit(self) -> bool:
        """Whether it was saved; otherwise the reasons are among the form's errors."""
        if not self.is_valid():
            return False
        try:
            services.save_budget(self.org, {name: self.cleaned_data[name] for name in AGREED})
        except EntryRefused as refused:
            for name, problem in refused.problems.items():
                self.add_error(name if name in self.fields else None, problem)
            return False
        return True

    def changed_labels(self) -> list[str]:
        """The fields that were filled in differently: their labels."""
        return [str(self.fields[name].label or name) for name in self.changed_data]


def _budget_help(default: Terms) -> dict[str, str]:
    rate = f"{default.requests} per {default.window:g} s" if default.requests else "no limit"
    places = default.concurrency or "no limit"
    return {
        "requests": f"In one window, however it lies. Blank: the platform's default, {rate}. 0: no limit.",
        "window_seconds": "Seconds; counts where the number of requests is entered above.",
        "concurrency": f"Blank: the platform's default, {places}. 0: no limit.",
        "requests_per_day": "In any 24 hours. Blank or 0: no limit of our own.",
        "reserve_percent": "Of the requests the system allows in a day, so many are left to the customer's own users.",
        "quiet_from": "When the customer's own people need the system; blank for no quiet hours.",
        "quiet_percent": "Percent of the budget that may be used in quiet hours. 0: nothing is sent then.",
        "time_zone": "The customer's, for the quiet hours: for instance Europe/Berlin.",
    }


def _plain(name: str) -> str:
    return f"setting-{name}"


def _secret(name: str) -> str:
    return f"secret-{name}"


def _clear(name: str) -> str:
    return f"clear-{name}"


def _plain_field(setting: Setting, stored: str) -> forms.Field:
    common: dict[str, Any] = {"label": setting.label, "help_text": setting.help, "required": setting.required}
    common["error_messages"] = {"required": f"“{setting.label}” is required."}
    if setting.kind is SettingKind.FLAG:
        common |= {"required": False, "initial": stored == "true"}
        return forms.BooleanField(widget=UnfoldBooleanWidget, **common)
    if setting.kind is SettingKind.CHOICE:
        blank = [] if setting.required and stored else [("", "—")]
        choices = [*blank, *setting.choices]
        return forms.ChoiceField(choices=choices, initial=stored, widget=UnfoldAdminSelectWidget, **common)
    long = setting.kind is SettingKind.LONG_TEXT
    widget = UnfoldAdminTextareaWidget() if long else UnfoldAdminTextInputWidget()
    return forms.CharField(initial=stored, widget=widget, **common)


def _secret_field(setting: Setting, *, is_set: bool, is_kept: bool) -> forms.Field:
    """``is_kept`` says that what is entered is stored; else there is nothing to say about what is set."""
    long = setting.kind is SettingKind.LONG_TEXT
    attributes = {"autocomplete": "new-password"}
    attributes |= {"placeholder": "Set" if is_set else "Not set"} if is_kept else {}
    widget = WriteOnlyTextarea({**attributes, "rows": "4"}) if long else UnfoldAdminPasswordWidget(attributes)
    state = "" if not is_kept else "Set: leave blank to keep it." if is_set else "Not set."
    return forms.CharField(
        label=setting.label,
        required=setting.required and not is_set,
        strip=False,
        widget=widget,
        help_text=f"{state} {setting.help}".strip(),
        error_messages={"required": f"“{setting.label}” is required."},
    )


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value or "").replace("\r\n", "\n")
