"""What a rollback would do, before it is done, and the code by which a person confirms just that."""

import hashlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from functools import cached_property

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Sum

from runs import services
from runs.models import Run
from runs.services import DRIVERS, RunRefused


class PreviewStale(RunRefused):
    """What was confirmed is not what would be done now: somebody has to look again."""


@dataclass(frozen=True, slots=True)
class Stake:
    """What is at stake of one object; all are numbers of records.

    ``created`` and ``updated`` are what the run did, which would be deleted and restored; ``waiting`` lack a
    parent that never came: those of them that are in the target are deleted or restored with the others. Of all
    these, ``later`` were written again by a later run and would be left alone, ``taken`` were taken back already.
    """

    object_id: int
    source: str
    target: str
    created: int
    updated: int
    waiting: int
    later: int
    taken: int


@dataclass(frozen=True)
class Preview:
    """The objects in the order of undoing: what was loaded last goes first."""

    run: Run
    stakes: tuple[Stake, ...]

    @cached_property
    def code(self) -> str:
        """Stands for just these figures of the run as it is."""
        shown = repr((self.run.pk, self.run.state, [astuple(stake) for stake in self.stakes]))
        return hashlib.sha256(shown.encode()).hexdigest()[:12]

    @cached_property
    def created(self) -> int:
        return sum(stake.created for stake in self.stakes)

    @cached_property
    def updated(self) -> int:
        return sum(stake.updated for stake in self.stakes)

    @cached_property
    def waiting(self) -> int:
        return sum(stake.waiting for stake in self.stakes)

    @cached_property
    def later(self) -> int:
        return sum(stake.later for stake in self.stakes)

    @cached_property
    def taken(self) -> int:
        return sum(stake.taken for stake in self.stakes)


def preview(undone: Run) -> Preview:
    """What rolling back the run would do now. Raises RunRefused where it cannot be rolled back.

    The counts of the run's chunks say what it did, the ledger what became of it since; four queries, of which
    one reads the project's tracked records once.
    """
    undone = Run.objects.select_related("project__customer", "project__target").get(pk=undone.pk)
    services.check_undoable(undone)
    steps = undone.steps.order_by("-position").annotate(
        all_created=Sum("chunks__created", default=0),
        all_updated=Sum("chunks__updated", default=0),
        all_deferred=Sum("chunks__deferred", default=0),
    )
    since = _since(undone)
    stakes = tuple(
        Stake(
            step.object_id,
            step.mapping["source_entity"],
            step.mapping["target_entity"],
            step.all_created,
            step.all_updated,
            step.all_deferred,
            *since.get(step.object_id, (0, 0)),
        )
        for step in steps
    )
    return Preview(undone, stakes)


@transaction.atomic
def confirm(undone: Run, code: str, *, user: User | None = None, drivers: int = DRIVERS) -> Run:
    """Queue the rollback that was previewed. Raises PreviewStale where the code is of other figures, RunRefused."""
    if preview(undone).code != code:
        raise PreviewStale(
            f"What a rollback of {undone} would do has changed since it was shown; look at it again before you confirm."
        )
    return services.start_rollback(undone, user=user, drivers=drivers)


def _since(undone: Run) -> Mapping[int, tuple[int, int]]:
    """Object id → how many of the run's records a later run wrote, and how many were taken back."""
    with connection.cursor() as cursor:
        cursor.execute(
            """WITH mine AS MATERIALIZED (
                   SELECT array_agg(c.id) AS ids FROM runs_chunk c
                    WHERE c.run_id = %(run)s AND c.intended_at IS NOT NULL)
               SELECT r.object_id,
                      count(*) FILTER (WHERE r.state <> 'rolled_back' AND r.target_id IS NOT NULL
                                         AND r.chunks[cardinality(r.chunks)] <> ALL(mine.ids)),
                      count(*) FILTER (WHERE r.state = 'rolled_back')
                 FROM runs_trackedrecord r, mine
                WHERE r.project_id = %(project)s AND r.run_id <> %(run)s AND r.chunks && mine.ids
                GROUP BY r.object_id""",
            {"project": undone.project_id, "run": undone.pk},
        )
        return {object_id: (later, taken) for object_id, later, taken in cursor.fetchall()}
