"""Customers, the systems we reach for them, and the files they gave us."""

import uuid
from collections.abc import Mapping
from typing import ClassVar, Self
from zoneinfo import available_timezones

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Now

from orgs.fields import SealedMap, SealedMapField, sealed_bytes_constraint
from orgs.sealing import register_sealed_column
from orgs.visibility import VisibleManager

MAX_FILE_BYTES = 1 << 30
FILE_PART_BYTES = 1 << 20
FILE_PART_PURPOSE = "orgs.OrgFilePart.body"


def known_time_zone(name: str) -> None:
    """Raises ValidationError where the time zone database has no such name."""
    if name not in available_timezones():
        raise ValidationError(f"“{name}” is not a time zone; write it like Europe/Berlin or America/New_York.")


class Customer(models.Model):
    """A company whose data we move. Archived customers stay on record and leave the lists."""

    name = models.CharField(max_length=200)
    slug = models.SlugField(max_length=60, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    archived_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[VisibleManager[Self]] = VisibleManager()

    class Meta:
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(name="orgs_customer_name_not_blank", condition=~Q(name="")),
            models.CheckConstraint(
                name="orgs_customer_slug_form", condition=Q(slug__regex=r"^[a-z0-9]+(-[a-z0-9]+)*$")
            ),
        )

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    SOURCE = "source", "Source"
    TARGET = "target", "Target"
    BOTH = "both", "Source and target"


class OrgStatus(models.TextChoices):
    """``EXPIRED`` means the credentials no longer work; ``ERROR`` is anything else a person must see to."""

    NEW = "new", "Not checked"
    ACTIVE = "active", "Active"
    EXPIRED = "expired", "Expired"
    ERROR = "error", "Error"


class Org(models.Model):
    """A connected system of a customer.

    ``platform`` is a connector's slug. ``settings`` holds what is not secret; ``secrets`` and ``token``
    are sealed and bound to ``public_id``. ``local_folder`` is set by commands on this machine only, never
    from a page (a path typed by a person could read the server's own files). ``credentials_version``
    grows whenever settings or secrets change: a token sealed under an older one is not used any more.
    ``next_check_at`` is when the connection is checked by itself (``orgs.health``).
    ``capabilities`` (by role), ``facts`` and ``limits`` (name → [left, total]) are what the last
    successful check found.
    """

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="orgs")
    name = models.CharField(max_length=120)
    platform = models.CharField(max_length=64)
    role = models.CharField(max_length=6, choices=Role.choices)
    settings = models.JSONField(default=dict, blank=True)
    local_folder = models.CharField(max_length=1000, blank=True, default="", editable=False)
    secrets: "models.Field[SealedMap | None, SealedMap | None]" = SealedMapField(null=True)
    token: "models.Field[SealedMap | None, SealedMap | None]" = SealedMapField(null=True)
    credentials_version = models.PositiveIntegerField(default=1, editable=False)
    status = models.CharField(max_length=7, choices=OrgStatus.choices, default=OrgStatus.NEW)
    status_reason = models.TextField(blank=True, default="")
    account = models.CharField(max_length=255, blank=True, default="")
    capabilities = models.JSONField(default=dict, blank=True)
    facts = models.JSONField(default=dict, blank=True)
    limits = models.JSONField(default=dict, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    next_check_at = models.DateTimeField(db_default=Now(), editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[VisibleManager[Self]] = VisibleManager()

    class Meta:
        ordering = ("customer__name", "name")
        constraints = (
            models.UniqueConstraint(
                F("customer"),
                Lower("name"),
                name="orgs_org_name_per_customer",
                violation_error_message="This customer has an org of that name already.",
            ),
            models.CheckConstraint(name="orgs_org_name_not_blank", condition=~Q(name="")),
            models.CheckConstraint(name="orgs_org_platform_not_blank", condition=~Q(platform="")),
            models.CheckConstraint(name="orgs_org_role_known", condition=Q(role__in=Role.values)),
            models.CheckConstraint(name="orgs_org_status_known", condition=Q(status__in=OrgStatus.values)),
            models.CheckConstraint(
                name="orgs_org_trouble_has_reason",
                condition=Q(status__in=(OrgStatus.NEW, OrgStatus.ACTIVE)) | ~Q(status_reason=""),
            ),
            models.CheckConstraint(
                name="orgs_org_checked_unless_new", condition=Q(status=OrgStatus.NEW) | Q(checked_at__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def reads(self) -> bool:
        return self.role in (Role.SOURCE, Role.BOTH)

    @property
    def writes(self) -> bool:
        return self.role in (Role.TARGET, Role.BOTH)

    def open_secrets(self) -> dict[str, str]:
        """The secrets in plain text, by setting name; raises SealBroken."""
        return {} if self.secrets is None else self.secrets.open(bound_to=str(self.public_id))

    def seal_secrets(self, values: Mapping[str, str]) -> None:
        """Replace all secrets (not saved yet)."""
        box = SealedMap.seal("orgs.Org.secrets", values, bound_to=str(self.public_id))
        self.secrets = box if values else None

    def open_token(self) -> dict[str, str]:
        """The access token's parts, or nothing; raises SealBroken."""
        return {} if self.token is None else self.token.open(bound_to=str(self.public_id))

    def seal_token(self, parts: Mapping[str, str]) -> None:
        """Replace the access token's parts (not saved yet)."""
        box = SealedMap.seal("orgs.Org.token", parts, bound_to=str(self.public_id))
        self.token = box if parts else None


class AppProvisioning(models.Model):
    """The latest set-up of an org: how far it came, and what it made there. Never the credentials it used.

    ``app_name`` stays the same for an org, so that the next try finds and replaces what an interrupted one left.
    """

    class State(models.TextChoices):
        RUNNING = "running", "Under way"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    org = models.OneToOneField(Org, on_delete=models.CASCADE, related_name="provisioning", primary_key=True)
    app_name = models.CharField(max_length=80)
    state = models.CharField(max_length=7, choices=State, default=State.RUNNING)
    step = models.CharField(max_length=200, blank=True, default="")
    reason = models.TextField(blank=True, default="")
    started_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.CheckConstraint(
                name="orgs_appprovisioning_state_known", condition=Q(state__in=("running", "done", "failed"))
            ),
            models.CheckConstraint(
                name="orgs_appprovisioning_ended", condition=Q(state="running") | Q(finished_at__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return f"{self.app_name}: {self.get_state_display()}"


class AutomationBypass(models.Model):
    """The automation of an org that stands aside for us now, or may: the row is there before the org is asked, and as
    long as it is not certain that all is as it was. ``runs.bypass`` writes it.

    ``switch`` is the ``connectors.types.Bypass`` that was given. ``trouble`` says why it could not be taken away, or
    why it is not certain that it is on; ``tried_at`` is when that was found. An org cannot be deleted meanwhile.
    """

    class State(models.TextChoices):
        SWITCHING_ON = "switching_on", "Being switched on"
        ON = "on", "On"
        SWITCHING_OFF = "switching_off", "Being switched off"

    org = models.OneToOneField(Org, on_delete=models.PROTECT, related_name="automation_bypass", primary_key=True)
    state = models.CharField(max_length=13, choices=State)
    switch = models.JSONField()
    since = models.DateTimeField(db_default=Now())
    fence = models.BigIntegerField(default=1)
    lease_until = models.DateTimeField(null=True)
    tried_at = models.DateTimeField(null=True)
    trouble = models.TextField(blank=True, default="")

    class Meta:
        constraints = (
            models.CheckConstraint(
                name="orgs_automationbypass_state_known",
                condition=Q(state__in=("switching_on", "on", "switching_off")),
            ),
        )

    def __str__(self) -> str:
        return f"{self.switch['name']}: {self.get_state_display()}"

    @property
    def alarm(self) -> str:
        """What a person must know of it; blank where all goes its way."""
        if not self.trouble:
            return ""
        return (
            f"The automation bypass stayed on since {self.since:%-d %B %Y, %H:%M} UTC: {self.trouble} It is tried "
            f"again every few minutes; you can also take the permission set {self.switch['name']} away from the user "
            f"{self.switch['user']} in the org's Setup."
        )


class OrgFile(models.Model):
    """A file a person gave us for an org, by its relative name. The body is in its parts, sealed."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="files")
    name = models.CharField(max_length=500)
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    uploaded_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("org", "name"), name="orgs_orgfile_name_per_org"),
            models.CheckConstraint(name="orgs_orgfile_name_not_blank", condition=~Q(name="")),
            models.CheckConstraint(
                name="orgs_orgfile_size_bounded", condition=Q(size__gte=0, size__lte=MAX_FILE_BYTES)
            ),
            models.CheckConstraint(name="orgs_orgfile_sha256_form", condition=Q(sha256__regex=r"^[0-9a-f]{64}$")),
        )

    def __str__(self) -> str:
        return self.name


class OrgFilePart(models.Model):
    """One piece of a file's body: ``FILE_PART_BYTES`` of it (the last one less), sealed."""

    file = models.ForeignKey(OrgFile, on_delete=models.CASCADE, related_name="parts")
    number = models.PositiveIntegerField()
    body = models.BinaryField()

    class Meta:
        ordering = ("number",)
        constraints = (
            models.UniqueConstraint(fields=("file", "number"), name="orgs_orgfilepart_number_per_file"),
            sealed_bytes_constraint("body", name="orgs_orgfilepart_body_sealed"),
        )

    def __str__(self) -> str:
        return f"{self.file_id}/{self.number}"


class OrgBudget(models.Model):
    """What may be asked of an org, as far as a person agreed otherwise than the platform's default, and
    where its budget stands (written by ``orgs.budget`` only; see ``orgs.allowance.State``).

    A blank limit is the platform's default, 0 is none. ``version`` grows with every change: whoever computed
    from an older row writes nothing.
    """

    org = models.OneToOneField(Org, on_delete=models.CASCADE, related_name="budget", primary_key=True)
    requests = models.PositiveIntegerField(null=True, blank=True)
    window_seconds = models.PositiveIntegerField("window", default=1, validators=(MinValueValidator(1),))
    concurrency = models.PositiveIntegerField("requests at once", null=True, blank=True)
    requests_per_day = models.PositiveIntegerField(null=True, blank=True)
    reserve_percent = models.PositiveSmallIntegerField("reserve", default=20, validators=(MaxValueValidator(100),))
    quiet_from = models.TimeField("quiet hours from", null=True, blank=True)
    quiet_until = models.TimeField("quiet hours until", null=True, blank=True)
    quiet_percent = models.PositiveSmallIntegerField(
        "share in quiet hours", default=0, validators=(MaxValueValidator(100),)
    )
    time_zone = models.CharField(max_length=64, default="UTC", validators=(known_time_zone,))

    version = models.BigIntegerField(default=0, editable=False)
    level = models.FloatField(null=True, editable=False)
    level_at = models.DateTimeField(null=True, editable=False)
    used = models.JSONField(default=dict, editable=False)
    quota_limit = models.BigIntegerField(null=True, editable=False)
    quota_left = models.BigIntegerField(null=True, editable=False)
    quota_credit = models.BigIntegerField(null=True, editable=False)
    quota_until = models.DateTimeField(null=True, editable=False)
    paused_until = models.DateTimeField(null=True, editable=False)
    crowded_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        constraints = (
            models.CheckConstraint(name="orgs_orgbudget_window_positive", condition=Q(window_seconds__gte=1)),
            models.CheckConstraint(
                name="orgs_orgbudget_percents",
                condition=Q(reserve_percent__lte=100, quiet_percent__lte=100),
            ),
            models.CheckConstraint(
                name="orgs_orgbudget_quiet_both_or_none",
                condition=Q(quiet_from__isnull=True, quiet_until__isnull=True)
                | Q(quiet_from__isnull=False, quiet_until__isnull=False),
                violation_error_message="Quiet hours need both a beginning and an end.",
            ),
        )

    def __str__(self) -> str:
        return f"budget of org {self.org_id}"


class BudgetPlace(models.Model):
    """One request under way, or a place a worker keeps for its next one.

    It ends when it is given back, when the database session that took it (``backend``, the server's process
    id) is gone, or at ``expires_at``.
    """

    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="+")
    backend = models.IntegerField()
    taken_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"a place at org {self.org_id} until {self.expires_at:%H:%M:%S}"


register_sealed_column("orgs.OrgFilePart", "body", FILE_PART_PURPOSE)
