"""Retention: for how long the records as read and the target as it was are kept, and deleting them after that.

What became of the records stays; what they held goes, and with it the chance to roll the run back. It goes by whole
partitions: the contents of a project's runs of one month together, once the last of them is past. See
docs/decisions/0023-retention-drops-whole-months.md.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from django.db import connection, transaction

from projects.models import Project
from runs import ledger, predictions
from runs.choices import OPEN, RunKind
from runs.ledger import KeptMonth
from runs.models import Run
from runs.partitions import PartitionBusy

logger = logging.getLogger(__name__)

BATCH_CHUNKS = 200
"""Chunks whose contents are deleted row by row in one transaction: some hundred megabytes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a project keeps: contents of so many ``chunks`` of ``runs`` runs. With a retention, those of ``past`` runs
    would go now; ``waiting`` runs are past it and stay for another run of their month."""

    runs: int
    chunks: int
    past: int
    waiting: int


def kept(project: Project, days: int | None) -> Kept:
    """What is kept now, and how many runs of it could not be undone any more if it were kept for ``days`` only."""
    months = ledger.months(project.pk, days=days)
    return Kept(
        runs=Run.objects.filter(project=project, chunks__month__isnull=False).distinct().count(),
        chunks=sum(month.chunks for month in months),
        past=sum(month.past for month in months if month.wholly_past),
        waiting=sum(month.past for month in months if not month.wholly_past),
    )


def keep_for(project: Project, days: int | None) -> None:
    """From now on keep what runs carry for so many days after their end; None keeps it until the project is erased."""
    project.retention_days = days
    project.save(update_fields=["retention_days"])


def open_run(project: Project) -> Run | None:
    """The run of the project that is not finished; while there is one nothing is deleted, for it may need it."""
    return Run.objects.filter(project=project, state__in=sorted(OPEN)).first()


def purge(project: Project) -> Iterator[KeptMonth]:
    """Drop the months that are wholly past the project's retention, and tell each once it is gone.

    Raises PartitionBusy at one that somebody reads just now; it and the later ones stay for the next time.
    """
    while gone := _drop_next(project.pk):
        yield gone


@transaction.atomic
def _drop_next(project_id: int) -> KeptMonth | None:
    # A run that is started meanwhile refers to the project, and so waits until this has ended.
    project = Project.objects.select_for_update().filter(pk=project_id).first()
    if project is None or not project.retention_days or open_run(project):
        return None
    months = ledger.months(project_id, days=project.retention_days)
    past = next((month for month in months if month.wholly_past), None)
    if past:
        _drop(project, past)
    return past


def _drop(project: Project, month: KeptMonth) -> None:
    """The contents of the month, and what its dry runs predicted."""
    dry_runs = Run.objects.filter(project=project, kind=RunKind.DRY_RUN, chunks__month=month.month).distinct()
    for run_id in dry_runs.values_list("pk", flat=True):
        predictions.forget(project.pk, run_id)
    ledger.drop_contents(project.pk, month.month)


def purge_all() -> int:
    """As ``purge``, of all projects; returns of how many chunks the contents went. What is read stays for the next
    time, and so does all after it: a backup that reads one month reads them all, and nobody shall wait for each."""
    done = 0
    try:
        for project in Project.objects.exclude(retention_days=None).order_by("pk"):
            for month in purge(project):
                done += month.chunks
    except PartitionBusy as busy:
        logger.warning("Contents past their retention stay for now. %s", busy)
    return done


def purge_to_the_day(project: Project, *, most: int = BATCH_CHUNKS) -> int:
    """Delete what is past the project's retention in months that are not wholly past, row by row, of at most so many
    chunks; returns of how many. To be called again while it returns any."""
    if not project.retention_days or open_run(project):
        return 0
    past = _past(project, project.retention_days)
    return ledger.forget_contents(project.pk, past, most=most) if past else 0


def _past(project: Project, days: int) -> list[int]:
    """Runs with contents whose retention has passed, by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT r.id FROM runs_run r
                WHERE r.project_id = %s AND r.finished_at + make_interval(days => %s) <= clock_timestamp()
                  AND EXISTS (SELECT FROM runs_chunk c WHERE c.run_id = r.id AND c.month IS NOT NULL)
                ORDER BY r.id""",
            [project.pk, days],
        )
        return [run_id for (run_id,) in cursor.fetchall()]
