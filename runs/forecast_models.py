"""What was said before a run: estimates, dry runs with their predictions, and how they fared against reality."""

from django.db import models
from django.db.models.functions import Now

from orgs.visibility import VisibleManager
from runs.choices import OUTCOMES


class RunEstimate(models.Model):
    """What a run was thought to take when it was planned (the JSON of ``projects.estimate.Estimate``)."""

    run = models.OneToOneField("runs.Run", on_delete=models.CASCADE, related_name="estimate")
    body = models.JSONField()
    made_at = models.DateTimeField(db_default=Now())

    objects = VisibleManager["RunEstimate"]()

    def __str__(self) -> str:
        return f"Estimate of run {self.run_id}"


class DryRun(models.Model):
    """What a dry run is limited to, and its score against the load that followed it.

    ``most`` takes the first so many records of each object, ``share`` so many percent of them, chosen by their
    ids; both blank: all. ``score`` is the JSON of ``runs.scoring.Score``.
    """

    run = models.OneToOneField("runs.Run", on_delete=models.CASCADE, related_name="dry_run")
    most = models.PositiveIntegerField(null=True)
    share = models.PositiveSmallIntegerField(null=True)
    load = models.OneToOneField("runs.Run", on_delete=models.SET_NULL, null=True, related_name="forecast")
    score = models.JSONField(null=True)
    scored_at = models.DateTimeField(null=True)

    objects = VisibleManager["DryRun"]()

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=models.Q(most__isnull=True) | models.Q(share__isnull=True), name="dry_run_one_limit"
            ),
            models.CheckConstraint(
                condition=models.Q(share__isnull=True) | models.Q(share__gte=1, share__lte=100),
                name="dry_run_share_is_percent",
            ),
        )

    def __str__(self) -> str:
        return f"Dry run {self.run_id}"


class Prediction(models.Model):
    """What a dry run found would become of one record.

    The table is partitioned by project and run, so that forgetting a dry run is one DROP, and written only by
    ``runs.predictions``, in bulk. ``lands`` says that the target would hold the record. ``without`` tells what
    the target was not asked: comma-separated fields that were left out or stood in for, ``*`` for the whole
    record. ``content`` is a hash of the source record, by which a later change of it is seen.
    """

    pk = models.CompositePrimaryKey("project", "run", "object", "source_id", "part")
    project = models.ForeignKey(
        "projects.Project", on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    run = models.ForeignKey(
        "runs.Run", on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    object = models.ForeignKey(
        "projects.ProjectObject", on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    source_id = models.TextField()
    part = models.TextField(db_default="")
    chunk = models.BigIntegerField()
    outcome = models.TextField(choices=[(name, name.capitalize()) for name in OUTCOMES])
    lands = models.BooleanField()
    code = models.TextField(db_default="")
    reason = models.TextField(db_default="")
    without = models.TextField(db_default="")
    content = models.UUIDField(null=True)

    objects = VisibleManager["Prediction"]()

    class Meta:
        db_table = "runs_prediction"

    def __str__(self) -> str:
        return self.source_id
