"""Retention: for how long the records as read and the target as it was are kept, and deleting them after that.

What became of the records stays; what they held goes, and with it the chance to roll the run back.
"""

from dataclasses import dataclass

from django.db import connection

from projects.models import Project
from runs import ledger
from runs.choices import OPEN
from runs.models import Chunk, Run

BATCH_CHUNKS = 200
"""Chunks whose contents are deleted in one transaction: some hundred megabytes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a project keeps: contents of so many ``chunks`` of ``runs`` runs; of ``past`` runs they would go now."""

    runs: int
    chunks: int
    past: int


def kept(project: Project, days: int | None) -> Kept:
    """What is kept now, and how many runs of it could not be undone any more if it were kept for ``days`` only."""
    chunks = Chunk.objects.filter(run__project=project, month__isnull=False)
    runs = chunks.values("run").distinct().count()
    return Kept(runs, chunks.count(), len(_past(project, days)) if days else 0)


def keep_for(project: Project, days: int | None) -> None:
    """From now on keep what runs carry for so many days after their end; None keeps it until the project is erased."""
    project.retention_days = days
    project.save(update_fields=["retention_days"])


def purge(project: Project, *, most: int = BATCH_CHUNKS) -> int:
    """Delete what is past the project's retention, of at most so many chunks; returns of how many.

    Nothing is deleted while a run of the project is open: it may be the rollback that needs it.
    """
    if not project.retention_days or Run.objects.filter(project=project, state__in=sorted(OPEN)).exists():
        return 0
    past = _past(project, project.retention_days)
    return ledger.forget_contents(project.pk, past, most=most) if past else 0


def purge_all(*, most: int = BATCH_CHUNKS) -> int:
    """As ``purge``, of all projects, of so many chunks altogether; to be called again while it returns any."""
    done = 0
    for project in Project.objects.exclude(retention_days=None).order_by("pk"):
        if done < most:
            done += purge(project, most=most - done)
    return done


def _past(project: Project, days: int) -> list[int]:
    """Runs with contents whose retention has passed, by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT r.id FROM runs_run r
                WHERE r.project_id = %s AND r.finished_at < clock_timestamp() - make_interval(days => %s)
                  AND EXISTS (SELECT FROM runs_chunk c WHERE c.run_id = r.id AND c.month IS NOT NULL)
                ORDER BY r.id""",
            [project.pk, days],
        )
        return [run_id for (run_id,) in cursor.fetchall()]
