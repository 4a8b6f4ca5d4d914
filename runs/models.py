"""What a run did and where every record stands: runs, steps, chunks, tracked records, findings, events."""

from typing import Any

import psycopg
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models
from django.db.models.functions import Now
from django.utils.functional import cached_property
from psycopg import sql

from orgs.sealing import register_sealed_column
from orgs.visibility import VisibleManager
from runs.choices import OPEN, ChunkState, ConflictState, EventLevel, RecordState, RunKind, RunState, StepTask
from runs.forecast_models import DryRun, Prediction, RunEstimate  # noqa: F401 - Django looks for models here
from runs.payload import BEFORE, CHILDREN, PAYLOAD


class Leased(models.Model):
    """A row that one worker at a time may work on (see ``runs.leases``).

    ``fence`` grows with every claim; a write that carries an older one changes nothing. All times are the
    database's. ``attempts`` counts claims, so that a worker killed in the middle counts too.
    """

    owner = models.CharField(max_length=80, blank=True, db_default="")
    fence = models.PositiveIntegerField(default=0, db_default=0)
    lease_until = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    available_at = models.DateTimeField(db_default=Now())

    class Meta:
        abstract = True


class Run(Leased):
    """One pass of a project's records through the engine. The lease is for planning and for finishing it."""

    project = models.ForeignKey("projects.Project", on_delete=models.PROTECT, related_name="runs")
    kind = models.CharField(max_length=12, choices=RunKind, default=RunKind.LOAD)
    undoes = models.ForeignKey("self", on_delete=models.CASCADE, null=True, blank=True, related_name="rollbacks")
    state = models.CharField(max_length=24, choices=RunState, default=RunState.QUEUED)
    reason = models.TextField(blank=True, help_text="Why the run stands where it does, for staff.")
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    scope = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        help_text="What a retry or rollback is limited to: see runs.ledger.Scope.",
    )
    mapping_digest = models.CharField(
        max_length=64, blank=True, help_text="SHA-256 over the mappings this run follows."
    )
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    planned_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    api_calls = models.PositiveIntegerField(default=0, db_default=0)

    objects = VisibleManager["Run"]()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("project",), condition=models.Q(state__in=sorted(OPEN)), name="one_open_run_per_project"
            ),
            models.CheckConstraint(condition=models.Q(state__in=RunState.values), name="run_state_known"),
            models.CheckConstraint(condition=models.Q(kind__in=RunKind.values), name="run_kind_known"),
            models.CheckConstraint(
                condition=models.Q(kind=RunKind.ROLLBACK) | models.Q(undoes__isnull=True),
                name="only_a_rollback_undoes",
            ),
        )
        permissions = (
            ("control_run", "Can start, pause, resume and cancel runs"),
            ("rollback_run", "Can roll back runs"),
        )

    def __str__(self) -> str:
        return f"Run {self.pk}"


class Step(Leased):
    """One object of a run. The lease is for reading its source entity, which one worker does at a time.

    ``mapping``, ``source_schema`` and ``target_schema`` are what the run started with: editing the project
    while it runs changes the next run, not this one. ``cursor`` continues after the last staged chunk.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="steps")
    object = models.ForeignKey("projects.ProjectObject", on_delete=models.PROTECT, related_name="+")
    task = models.CharField(max_length=6, choices=StepTask, default=StepTask.BRING, db_default=StepTask.BRING)
    deletes_allowed = models.PositiveBigIntegerField(
        null=True, help_text="So many deletions a person allowed although the project's limit is lower."
    )
    position = models.PositiveIntegerField()
    wave = models.PositiveIntegerField(help_text="Loads after all steps of lower waves.")
    mapping = models.JSONField()
    source_schema = models.JSONField()
    target_schema = models.JSONField()
    cursor = models.JSONField(null=True)
    since = models.DateTimeField(
        null=True, help_text="A delta reads what changed at or after this, by the source's clock."
    )
    since_id = models.TextField(
        default="", db_default="", help_text="The record whose change set the mark that ``since`` comes from."
    )
    watermark = models.DateTimeField(null=True, help_text="The latest change read, by the source's clock.")
    watermark_id = models.TextField(default="", db_default="", help_text="Of which record; the last id of several.")
    expected = models.PositiveBigIntegerField(null=True, help_text="The source's own count, where it gives one.")
    read = models.PositiveBigIntegerField(default=0, db_default=0)
    read_before_load = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Nothing is loaded before all is read: match keys are compared first.",
    )
    started_at = models.DateTimeField(null=True)
    extracted_at = models.DateTimeField(null=True)
    extra = models.PositiveBigIntegerField(null=True, help_text="Target records under our keys that nobody tracks.")

    objects = VisibleManager["Step"]()

    class Meta:
        ordering = ("position",)
        constraints = (
            models.UniqueConstraint("run", "object", "task", name="step_once_per_run"),
            models.UniqueConstraint("run", "position", name="step_position_once_per_run"),
            models.CheckConstraint(
                condition=models.Q(watermark__isnull=False) | models.Q(watermark_id=""),
                name="a_watermark_has_a_time",
            ),
        )

    def __str__(self) -> str:
        return f"{self.mapping['source_entity']} → {self.mapping['target_entity']}"


class Chunk(Leased):
    """The unit of work: a few thousand source records, and what became of them.

    Its contents are apart (``ChunkContent``), in the partition of its project and ``month``, and are read when
    they are asked for. ``intended_at`` is when the before-images were committed, which is before anything is
    sent. The outcome counts add up to ``records`` once the chunk is loaded.
    """

    project = models.ForeignKey(
        "projects.Project", on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="chunks")
    step = models.ForeignKey(Step, on_delete=models.CASCADE, related_name="chunks")
    sequence = models.PositiveIntegerField()
    state = models.CharField(max_length=8, choices=ChunkState, default=ChunkState.STAGED, db_default=ChunkState.STAGED)
    month = models.DateField(null=True, help_text="The partition with its contents; null once that was dropped.")
    intended_at = models.DateTimeField(null=True, help_text="When its before-images were committed.")
    idempotency_key = models.TextField(db_default="", help_text="The same for every try to write this chunk.")
    jobs = ArrayField(models.TextField(), db_default=[], help_text="The vendor's bulk jobs that may carry the chunk.")
    deaths = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="Workers that left without a word while they loaded it."
    )
    match_registered = models.BooleanField(default=False, db_default=False)
    unsent = ArrayField(
        models.TextField(), default=list, db_default=[], help_text="Records it touched without writing them."
    )
    records = models.PositiveIntegerField()
    created = models.PositiveIntegerField(default=0, db_default=0)
    updated = models.PositiveIntegerField(default=0, db_default=0)
    unchanged = models.PositiveIntegerField(default=0, db_default=0)
    deferred = models.PositiveIntegerField(default=0, db_default=0)
    rejected = models.PositiveIntegerField(default=0, db_default=0)
    skipped = models.PositiveIntegerField(default=0, db_default=0)
    deleted = models.PositiveIntegerField(default=0, db_default=0)
    conflicts = models.PositiveIntegerField(default=0, db_default=0)
    verified_records = models.PositiveIntegerField(default=0, db_default=0)
    verified_fields = models.PositiveIntegerField(default=0, db_default=0)
    missing = models.PositiveIntegerField(default=0, db_default=0)
    mismatches = models.PositiveIntegerField(default=0, db_default=0)
    staged_at = models.DateTimeField(db_default=Now())
    loaded_at = models.DateTimeField(null=True)
    relinked_at = models.DateTimeField(null=True)
    verified_at = models.DateTimeField(null=True)

    objects = VisibleManager["Chunk"]()

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint("step", "sequence", name="chunk_sequence_once_per_step"),
            models.CheckConstraint(condition=models.Q(state__in=ChunkState.values), name="chunk_state_known"),
            models.CheckConstraint(
                condition=~models.Q(state__in=("loaded", "verified"))
                | models.Q(
                    records=models.F("created")
                    + models.F("updated")
                    + models.F("unchanged")
                    + models.F("deferred")
                    + models.F("rejected")
                    + models.F("skipped")
                    + models.F("deleted")
                    + models.F("conflicts")
                ),
                name="chunk_accounts_for_every_record",
            ),
        )
        indexes = (models.Index(fields=("run", "state", "id"), name="chunk_work"),)

    def __str__(self) -> str:
        return f"Chunk {self.sequence}"

    @cached_property
    def payload(self) -> bytes:
        """The source frame, sealed; raises ContentsDropped."""
        payload: bytes = self._content("payload")
        return payload

    @cached_property
    def before(self) -> bytes | None:
        """The target's rows as they were, sealed, or None where nothing was sent yet; raises ContentsDropped."""
        before: bytes | None = self._content("before") if self.intended_at else None
        return before

    def _content(self, column: str) -> Any:
        """By the partition's keys, so that the database looks in one of the many; in binary, which neither side has
        to spell out as text."""
        query = sql.SQL("SELECT {} FROM runs_chunkcontent WHERE project_id = %s AND month = %s AND chunk_id = %s")
        with connection.cursor() as cursor, psycopg.Cursor(cursor.connection) as plain:
            where = [self.project_id, self.month, self.pk]
            row = plain.execute(query.format(sql.Identifier(column)), where, binary=True).fetchone()
        if row is None:
            raise ContentsDropped(
                f"The contents of chunk {self.sequence} of run {self.run_id} are not kept any more: "
                "the project's retention time has passed."
            )
        return row[0]


class ContentsDropped(Exception):
    """What a chunk carried was dropped; the message is a sentence for staff."""


class ChunkContent(models.Model):
    """What a chunk carries, both as sealed Parquet: ``payload`` is the source frame, ``before`` the target's rows
    as they were before we first wrote (columns of ``Target.fetch``).

    ``before`` is committed before anything is sent: its presence is the intent to write these keys, and after a
    crash it tells created from updated. The table is partitioned by project and by the month of the run and has
    no foreign keys (see ``runs.partitions``); written by ``runs.ledger``.
    """

    chunk = models.OneToOneField(
        Chunk, on_delete=models.DO_NOTHING, db_constraint=False, primary_key=True, related_name="+"
    )
    project = models.ForeignKey(
        "projects.Project", on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    month = models.DateField()
    payload = models.BinaryField()
    before = models.BinaryField(null=True)

    objects = VisibleManager["ChunkContent"]()

    def __str__(self) -> str:
        return f"Contents of chunk {self.chunk_id}"


class TrackedRecord(models.Model):
    """Where one source record stands now, and the id map.

    The table is partitioned by project and written only by ``runs.ledger``, in bulk; it carries no
    foreign keys because a million rows a minute pass through it. ``hash`` is over what the mapping last
    made of the record (128 bits, kept as a UUID for its 16 bytes). ``chunks`` are the ids of all chunks that
    touched it, oldest first.
    """

    pk = models.CompositePrimaryKey("project", "object", "source_id", "part")
    project = models.ForeignKey(
        "projects.Project", on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    object = models.ForeignKey(
        "projects.ProjectObject", on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    source_id = models.TextField()
    part = models.TextField(db_default="")
    state = models.TextField(choices=RecordState)
    target_id = models.TextField(null=True)
    key = models.TextField(null=True, help_text="Our external id in the target.")
    hash = models.UUIDField(null=True)
    code = models.TextField(db_default="", help_text="Why, for grouping.")
    reason = models.TextField(db_default="", help_text="Why, as a sentence.")
    run = models.ForeignKey(Run, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    chunks = ArrayField(models.BigIntegerField())

    objects = VisibleManager["TrackedRecord"]()

    class Meta:
        db_table = "runs_trackedrecord"

    def __str__(self) -> str:
        return self.source_id


class MatchKey(models.Model):
    """Which source record carries which match key (128 bits over its values, as the target compares them).

    Two records with one key are both stopped, whichever came first. The table is partitioned by project and written
    only by ``runs.ledger``.
    """

    pk = models.CompositePrimaryKey("project", "object", "source_id", "part")
    project = models.ForeignKey(
        "projects.Project", on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    object = models.ForeignKey(
        "projects.ProjectObject", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    source_id = models.TextField()
    part = models.TextField(db_default="")
    hash = models.UUIDField()
    step = models.ForeignKey(Step, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")

    class Meta:
        indexes = (models.Index(fields=("object", "hash"), name="match_key_of_object"),)

    def __str__(self) -> str:
        return self.source_id


class Insertion(models.Model):
    """A record without a key of ours that a bulk job is to create, or has created, and the id map does not have yet.

    ``digest`` is of the row as it is sent; nothing else of it is kept. ``closed`` is committed before the job is
    closed, which is before it can do anything. ``target_id`` is what the job's results told; without a ``job`` the
    record was there before us and is being taken over. Written only by ``runs.ledger``.
    """

    project = models.ForeignKey("projects.Project", on_delete=models.CASCADE, db_index=False, related_name="+")
    entity = models.TextField(help_text="The target's.")
    key = models.TextField(help_text="The source's id of the record.")
    job = models.TextField(db_default="")
    digest = models.TextField(db_default="")
    closed = models.BooleanField(default=False, db_default=False)
    target_id = models.TextField(null=True)
    begun_at = models.DateTimeField(db_default=Now())

    objects = VisibleManager["Insertion"]()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("project", "entity", "key"), name="insertion_once_per_key"),)
        indexes = (models.Index(fields=("job",), name="insertion_job"),)

    def __str__(self) -> str:
        return self.key


class Finding(models.Model):
    """Something wrong or worth knowing about one field of one record, found while mapping, loading or verifying.

    The table is partitioned by project, has no foreign keys (see ``runs.partitions``), and is written only by
    ``runs.ledger``; who looks for findings names the project.
    """

    class Phase(models.TextChoices):
        LOAD = "load", "Mapping and loading"
        VERIFY = "verify", "Reconciliation"

    project = models.ForeignKey(
        "projects.Project", on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    run = models.ForeignKey(Run, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    step = models.ForeignKey(Step, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    chunk = models.ForeignKey(Chunk, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")
    phase = models.CharField(max_length=6, choices=Phase)
    severity = models.CharField(max_length=5)
    source_id = models.TextField()
    part = models.TextField(db_default="")
    field = models.TextField(db_default="")
    value = models.TextField(null=True)
    rule = models.TextField()
    message = models.TextField()

    objects = VisibleManager["Finding"]()

    class Meta:
        ordering = ("id",)
        indexes = (
            models.Index(fields=("run", "severity", "rule", "field"), name="finding_causes"),
            models.Index(fields=("step", "source_id"), name="finding_record"),
        )

    def __str__(self) -> str:
        return self.message


class ChunkProof(models.Model):
    """What reading a chunk back proved, for the evidence; written by ``runs.ledger`` with the verdict.

    ``equal`` is field → rule → how many values were equal by it; ``sums`` is field → two decimals as text, what
    the mapping demands and what the target holds. ``written`` is a SHA-256 over the records' identities and the
    hashes of what was written, ``read_back`` one over their keys and the hashes of what was read (see
    ``runs.evidence.digests``). ``children`` are how many records of the chunk point at each parent, as sealed
    Parquet (see ``runs.engine.family``); null where nothing points anywhere.
    """

    chunk = models.OneToOneField(Chunk, on_delete=models.CASCADE, primary_key=True, related_name="proof")
    step = models.ForeignKey(Step, on_delete=models.CASCADE, related_name="+")
    equal = models.JSONField()
    sums = models.JSONField()
    written = models.CharField(max_length=64)
    read_back = models.CharField(max_length=64)
    children = models.BinaryField(null=True)

    objects = VisibleManager["ChunkProof"]()

    def __str__(self) -> str:
        return f"Proof of chunk {self.chunk_id}"


class StepProof(models.Model):
    """What was proved of one object of a run as a whole, once all its chunks were read back.

    ``children``, ``orphans`` and ``extras`` are JSON as the evidence has them (see ``runs.evidence.document``).
    """

    step = models.OneToOneField(Step, on_delete=models.CASCADE, primary_key=True, related_name="proof")
    children = models.JSONField()
    orphans = models.JSONField()
    extras = models.JSONField()

    objects = VisibleManager["StepProof"]()

    def __str__(self) -> str:
        return f"Proof of {self.step}"


class RunEvent(models.Model):
    """One line of a run's log, written as it happens and never changed. ``until`` ends a wait."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events", db_index=False)
    step = models.ForeignKey(Step, on_delete=models.CASCADE, null=True, related_name="+", db_index=False)
    at = models.DateTimeField(db_default=Now())
    level = models.CharField(max_length=7, choices=EventLevel, default=EventLevel.INFO)
    message = models.TextField()
    until = models.DateTimeField(null=True)

    objects = VisibleManager["RunEvent"]()

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=("run", "-id"), name="event_newest"),)

    def __str__(self) -> str:
        return self.message


class Driver(models.Model):
    """A place for one worker at a run: the task that is called for it drives the run for one time box.

    A task delivered twice finds the place taken and leaves. ``called_at`` is when host ``owner`` last
    asked one of its workers; any host asks again where nobody came.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="drivers")
    slot = models.PositiveSmallIntegerField()
    owner = models.CharField(max_length=200, blank=True, db_default="")
    fence = models.PositiveIntegerField(default=0, db_default=0)
    lease_until = models.DateTimeField(null=True)
    called_at = models.DateTimeField(null=True)

    objects = VisibleManager["Driver"]()

    class Meta:
        constraints = (models.UniqueConstraint("run", "slot", name="driver_slot_once_per_run"),)

    def __str__(self) -> str:
        return f"Driver {self.slot} of run {self.run_id}"


class WorkerHost(models.Model):
    """A running ``run_workers``: its canary shows whether its django-q2 cluster still answers."""

    name = models.CharField(max_length=200, unique=True)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())
    canary_sent_at = models.DateTimeField(null=True)
    canary_answered_at = models.DateTimeField(null=True)
    restarts = models.PositiveIntegerField(default=0, db_default=0)

    objects = VisibleManager["WorkerHost"]()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class SweptKey(models.Model):
    """An id that a key sweep has met in the source; kept until the sweep has ended."""

    pk = models.CompositePrimaryKey("step", "source_id")
    step = models.ForeignKey(Step, on_delete=models.CASCADE, related_name="+", db_index=False)
    source_id = models.TextField()

    objects = VisibleManager["SweptKey"]()

    def __str__(self) -> str:
        return self.source_id


class Conflict(models.Model):
    """One field that changed in the source and was edited in the target; a blank field is the record as a whole.

    ``base`` is what we last wrote, ``ours`` what the source demands now, ``theirs`` what the target holds, as
    text. A decision holds for these values. ``chunk`` is the id of the chunk that found them or, once applied,
    of the one that wrote the record; where ``decision`` then is the target, the field was left as it was.
    """

    project = models.ForeignKey("projects.Project", on_delete=models.CASCADE, related_name="+")
    object = models.ForeignKey("projects.ProjectObject", on_delete=models.CASCADE, related_name="+", db_index=False)
    source_id = models.TextField()
    part = models.TextField(db_default="")
    field = models.TextField(db_default="")
    base = models.TextField(null=True)
    base_known = models.BooleanField(db_default=True)
    ours = models.TextField(null=True)
    theirs = models.TextField(null=True)
    state = models.CharField(max_length=7, choices=ConflictState, db_default=ConflictState.OPEN)
    decision = models.CharField(max_length=6, blank=True, db_default="")
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )
    decided_at = models.DateTimeField(null=True)
    chunk = models.BigIntegerField()

    objects = VisibleManager["Conflict"]()

    class Meta:
        ordering = ("object", "source_id", "part", "field")
        constraints = (
            models.UniqueConstraint("object", "source_id", "part", "field", name="conflict_once_per_field"),
            models.CheckConstraint(condition=models.Q(state__in=ConflictState.values), name="conflict_state_known"),
            models.CheckConstraint(
                condition=models.Q(state=ConflictState.OPEN, decision="")
                | (~models.Q(state=ConflictState.OPEN) & models.Q(decision__in=("source", "target"))),
                name="conflict_decided_or_open",
            ),
        )
        indexes = (
            models.Index(fields=("project", "state", "id"), name="conflict_queue"),
            models.Index(fields=("chunk",), name="conflict_chunk"),
        )
        permissions = (("decide_conflict", "Can decide conflicts"),)

    def __str__(self) -> str:
        return f"{self.source_id} {self.field}".rstrip()


class Waiver(models.Model):
    """A person's word that a record need not get to the target, and where it stood before."""

    project = models.ForeignKey("projects.Project", on_delete=models.CASCADE, related_name="+")
    object = models.ForeignKey("projects.ProjectObject", on_delete=models.CASCADE, related_name="+", db_index=False)
    source_id = models.TextField()
    part = models.TextField(db_default="")
    was_state = models.TextField()
    was_code = models.TextField(db_default="")
    was_reason = models.TextField(db_default="")
    reason = models.TextField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    by_name = models.TextField(help_text="Who, also after the account is gone.")
    at = models.DateTimeField(db_default=Now())

    objects = VisibleManager["Waiver"]()

    class Meta:
        constraints = (
            models.UniqueConstraint("object", "source_id", "part", name="waived_once"),
            models.CheckConstraint(condition=~models.Q(reason=""), name="waiver_has_a_reason"),
        )
        permissions = (("waive_record", "Can waive records"),)

    def __str__(self) -> str:
        return self.source_id


class DeltaSchedule(models.Model):
    """When a project's deltas start by themselves: every so many minutes, or daily at a time of the customer's clock.

    ``due_at`` is when the next one starts, by the database's clock; one that was missed runs once. Paused with
    a sentence where a person must look first.
    """

    project = models.OneToOneField("projects.Project", on_delete=models.CASCADE, related_name="delta_schedule")
    every_minutes = models.PositiveIntegerField(null=True, blank=True)
    daily_at = models.TimeField(null=True, blank=True)
    quiet_from = models.TimeField(null=True, blank=True)
    quiet_until = models.TimeField(null=True, blank=True)
    time_zone = models.CharField(max_length=64, default="UTC")
    due_at = models.DateTimeField(null=True)
    paused = models.TextField(blank=True, help_text="Why nothing starts, for staff; blank while it is on.")
    last_run = models.ForeignKey(Run, on_delete=models.SET_NULL, null=True, related_name="+")
    changed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    objects = VisibleManager["DeltaSchedule"]()

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=models.Q(every_minutes__isnull=True) ^ models.Q(daily_at__isnull=True),
                name="schedule_every_or_daily",
            ),
            models.CheckConstraint(
                condition=models.Q(quiet_from__isnull=True, quiet_until__isnull=True)
                | models.Q(quiet_from__isnull=False, quiet_until__isnull=False),
                name="schedule_quiet_hours_whole",
            ),
        )
        permissions = (("plan_delta", "Can set the schedule of deltas"),)

    def __str__(self) -> str:
        return f"Delta schedule of {self.project}"


register_sealed_column("runs.ChunkProof", "children", CHILDREN)
register_sealed_column("runs.ChunkContent", "payload", PAYLOAD)
register_sealed_column("runs.ChunkContent", "before", BEFORE)
