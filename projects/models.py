"""What should move: projects, their objects, how fields map, and our stored description of each org's entities."""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower

from orgs.visibility import VisibleManager
from projects.mapping import codec
from projects.mapping.problems import MappingInvalid


def check_equality(data: object) -> None:
    """Raises ValidationError with the codec's sentence where the rules of reading back are none."""
    try:
        codec.decode_equality(data)
    except MappingInvalid as error:
        raise ValidationError(error.message) from error


class Project(models.Model):
    """One customer's move from a source org to a target org."""

    customer = models.ForeignKey("orgs.Customer", on_delete=models.PROTECT, related_name="projects")
    name = models.CharField(max_length=120)
    source = models.ForeignKey("orgs.Org", on_delete=models.PROTECT, related_name="projects_from")
    target = models.ForeignKey("orgs.Org", on_delete=models.PROTECT, related_name="projects_to")
    mirror = models.BooleanField(
        default=False,
        help_text="Copy every entity as it is and let runs create missing tables and columns in the target.",
    )
    blueprint = models.CharField(
        max_length=60,
        blank=True,
        db_default="",
        help_text="The packaged blueprint its objects were chosen from (see projects.blueprints).",
    )
    blueprint_version = models.PositiveSmallIntegerField(null=True, blank=True)
    delete_stop_percent = models.PositiveSmallIntegerField(
        default=5,
        db_default=5,
        validators=[MaxValueValidator(100)],
        help_text="A delta stops before it mirrors the deletion of more than this share of an object's records.",
    )
    delete_stop_least = models.PositiveIntegerField(
        default=20, db_default=20, help_text="So many deletions, or fewer, never stop it."
    )
    retention_days = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="For how many days after a run its records as read and the target as it was are kept, so that it can "
        "be rolled back; blank keeps them until the project is erased.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    unasked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Who consented to runs on a target that cannot be asked what became of a lost answer.",
    )
    unasked_at = models.DateTimeField(null=True, blank=True, help_text="When that consent was given.")

    objects = VisibleManager["Project"]()

    class Meta:
        ordering = ("-id",)
        permissions = (("create_external_id", "Can have an external id field made in the target"),)
        constraints = (
            models.UniqueConstraint("customer", Lower("name"), name="project_name_once_per_customer"),
            models.CheckConstraint(
                condition=~models.Q(source=models.F("target")), name="project_source_is_not_its_target"
            ),
            models.CheckConstraint(
                condition=models.Q(unasked_by__isnull=True, unasked_at__isnull=True)
                | models.Q(unasked_by__isnull=False, unasked_at__isnull=False),
                name="consent_has_a_name_and_a_time",
            ),
        )

    def __str__(self) -> str:
        return self.name


class OnConflict(models.TextChoices):
    """Who wins where a field changed in the source and was edited in the target, to different values."""

    ASK = "ask", "Ask: keep the edit and list the record until somebody decides"
    TARGET = "target", "Keep the edit"
    SOURCE = "source", "Overwrite the edit"


class OnDelete(models.TextChoices):
    """What a delta does with a record that is gone from the source."""

    IGNORE = "ignore", "Do not look for deletions"
    FLAG = "flag", "Mark the record as gone; the target keeps it"
    MIRROR = "mirror", "Delete it in the target too"


class ProjectObject(models.Model):
    """One source entity that becomes one target entity; its fields are in ``FieldMapping``.

    The columns are those of ``projects.mapping.specification.ObjectMapping``.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="project_objects")
    position = models.PositiveIntegerField(default=0, help_text="Order of display; runs order by references.")
    source_entity = models.CharField(max_length=255)
    target_entity = models.CharField(max_length=255)
    universal = models.CharField(max_length=60, blank=True)
    identity = models.CharField(max_length=255, help_text="The source field that identifies a record.")
    key = models.CharField(max_length=255, help_text="The target field that carries our external id.")
    part = models.CharField(max_length=60, blank=True)
    where = models.TextField(blank=True, help_text="Only records for which this formula is true are moved.")
    where_universal = models.TextField(blank=True, help_text="The same, over the fields of the universal object.")
    on_conflict = models.CharField(
        max_length=6,
        choices=OnConflict,
        default=OnConflict.ASK,
        help_text="Who wins where a field changed on both sides since we last wrote it.",
    )
    field_policies = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        help_text='Target fields for which it is another one: {"phone": "target"} (ask, target or source).',
    )
    on_delete = models.CharField(
        max_length=6,
        choices=OnDelete,
        default=OnDelete.IGNORE,
        db_default=OnDelete.IGNORE,
        help_text="What a delta does with records that are gone from the source.",
    )
    match_fields = models.JSONField(
        default=list,
        blank=True,
        help_text="Target fields by which a record that is new to us is looked for in the target, so that one that is "
        'there already is taken over instead of doubled, like ["Email", "AccountId"]. All of them must agree.',
    )
    unresolved = models.JSONField(
        default=dict,
        blank=True,
        help_text="What becomes of a record whose parent is not in the target, by reference field: wait, drop, keep "
        'or reject, like {"AccountId": "wait"}.',
    )
    equality = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        validators=[check_equality],
        help_text="Target field → rules by which a value read back counts as equal, in place of those of its type: "
        '{"Email": ["case"], "Notes": []}. An empty list wants the very same value.',
    )
    enabled = models.BooleanField(default=True)
    selection = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        help_text="Which records are read; blank: all (see projects.selections).",
    )

    objects = VisibleManager["ProjectObject"]()

    class Meta:
        ordering = ("position", "id")
        constraints = (
            models.UniqueConstraint(
                "project", "source_entity", "target_entity", "part", name="object_once_per_project"
            ),
            models.CheckConstraint(condition=models.Q(on_conflict__in=OnConflict.values), name="on_conflict_known"),
            models.CheckConstraint(condition=models.Q(on_delete__in=OnDelete.values), name="on_delete_known"),
        )

    def __str__(self) -> str:
        return f"{self.source_entity} → {self.target_entity}"

    def clean(self) -> None:
        """Raises ValidationError with the codec's sentence for what is no match key, or no policy of a reference."""
        for name, decode in (("match_fields", codec.decode_match), ("unresolved", codec.decode_policies)):
            try:
                decode(getattr(self, name))
            except MappingInvalid as error:
                raise ValidationError({name: error.message}) from error


class FieldMapping(models.Model):
    """One rule of an object's mapping, in one of its halves."""

    class Half(models.TextChoices):
        UNIVERSAL = "universal", "source → universal model"
        TARGET = "target", "→ target"

    object = models.ForeignKey(ProjectObject, on_delete=models.CASCADE, related_name="fields")
    half = models.CharField(max_length=9, choices=Half)
    target = models.CharField(max_length=255, help_text="The field that this rule fills.")
    rule = models.JSONField()
    position = models.PositiveIntegerField(default=0)

    objects = VisibleManager["FieldMapping"]()

    class Meta:
        ordering = ("half", "position", "id")
        constraints = (
            models.UniqueConstraint("object", "half", "target", name="field_filled_once_per_half"),
            models.CheckConstraint(condition=models.Q(half__in=("universal", "target")), name="field_half_known"),
        )

    def __str__(self) -> str:
        return self.target


class ValueMap(models.Model):
    """A named look-up from source values to target values that rules refer to."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="value_maps")
    name = models.CharField(max_length=120)
    entries = models.JSONField(default=dict, help_text="Source value → target value; null blanks the field.")
    suggested = models.JSONField(
        default=dict,
        db_default={},
        editable=False,
        help_text="The entries as we found them ourselves; those that differ were decided by a person.",
    )

    objects = VisibleManager["ValueMap"]()

    class Meta:
        ordering = ("name",)
        constraints = (models.UniqueConstraint("project", Lower("name"), name="value_map_name_once_per_project"),)

    def __str__(self) -> str:
        return self.name


class ObjectDefinition(models.Model):
    """Our description of one entity of one org: its fields, references and rules, as last described.

    ``schema`` is the JSON of ``connectors.types.EntitySchema`` (``projects.definitions`` reads and writes it).
    """

    org = models.ForeignKey("orgs.Org", on_delete=models.CASCADE, related_name="definitions")
    entity = models.CharField(max_length=255)
    schema = models.JSONField()
    described_at = models.DateTimeField(auto_now=True)
    checked_at = models.DateTimeField(null=True, help_text="When the platform last said that this still holds.")
    stamp = models.CharField(
        max_length=120,
        blank=True,
        db_default="",
        help_text="The platform's own mark of this state of the entity, by which it is asked cheaply for a newer one.",
    )

    objects = VisibleManager["ObjectDefinition"]()

    class Meta:
        ordering = ("entity",)
        constraints = (models.UniqueConstraint("org", "entity", name="definition_once_per_org"),)

    def __str__(self) -> str:
        return self.entity


class OrgInventory(models.Model):
    """What an org holds, as it last said: entities, record counts, automation.

    ``content`` is JSON that ``projects.discovery`` reads and writes.
    """

    org = models.OneToOneField("orgs.Org", on_delete=models.CASCADE, related_name="inventory")
    content = models.JSONField()
    taken_at = models.DateTimeField(auto_now=True)

    objects = VisibleManager["OrgInventory"]()

    class Meta:
        verbose_name_plural = "org inventories"

    def __str__(self) -> str:
        return f"Inventory of {self.org}"
