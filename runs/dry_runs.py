"""Starting dry runs: the same transaction as any run's start, and what the dry run is limited to."""

from django.contrib.auth.models import User
from django.db import transaction

from projects.models import Project
from runs import services
from runs.choices import RunKind
from runs.forecast_models import DryRun
from runs.models import Run
from runs.services import RunRefused


@transaction.atomic
def start_dry_run(
    project: Project,
    *,
    most: int | None = None,
    share: int | None = None,
    user: User | None = None,
    drivers: int | None = None,
) -> Run:
    """Queue trying out a load: everything is read and mapped, and nothing stays in the target or on our books.

    ``most`` takes the first so many records of each object, ``share`` so many percent of them. Raises RunRefused
    where the limit makes no sense or a run is open.
    """
    if (most is not None and most < 1) or (share is not None and not 1 <= share <= 100):
        raise RunRefused("A sample is at least one record, or 1 to 100 percent.")
    if most is not None and share is not None:
        raise RunRefused("Limit the dry run by a number of records or by a share of them, not by both.")
    run = services._queue(project, user, drivers, kind=RunKind.DRY_RUN)
    DryRun.objects.create(run=run, most=most, share=share)
    return run
