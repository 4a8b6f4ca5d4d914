"""The queue of conflicts: what people decide about fields that changed on both sides, and bringing it to the target."""

from collections.abc import Sequence

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from orgs.visibility import Viewer
from projects.models import Project
from runs import services
from runs.choices import ConflictState
from runs.ledger import Scope
from runs.models import Conflict, Run
from runs.services import RunRefused

DECISIONS = ("source", "target")


def queue(viewer: Viewer, project: Project) -> QuerySet[Conflict]:
    """What waits for a decision or for a run that applies it, as far as the viewer may see it."""
    return Conflict.objects.visible_to(viewer).filter(project=project).exclude(state=ConflictState.APPLIED)


@transaction.atomic
def decide(
    project: Project,
    decision: str,
    *,
    user: User,
    object_id: int | None = None,
    field: str | None = None,
    ids: Sequence[int] | None = None,
    source_ids: Sequence[str] | None = None,
) -> int:
    """Decide open conflicts for the source or the target; returns how many. What is not given is not narrowed:
    one object, one field (blank: the record as a whole), chosen conflicts or records. Raises RunRefused."""
    if decision not in DECISIONS:
        raise RunRefused("Choose whether the value of the source or that of the target holds.")
    chosen = Conflict.objects.filter(project=project, state=ConflictState.OPEN)
    if object_id is not None:
        chosen = chosen.filter(object=object_id)
    if field is not None:
        chosen = chosen.filter(field=field)
    if ids is not None:
        chosen = chosen.filter(pk__in=ids)
    if source_ids is not None:
        chosen = chosen.filter(source_id__in=source_ids)
    return chosen.update(state=ConflictState.DECIDED, decision=decision, decided_by=user, decided_at=Now())


def reopen(project: Project, ids: Sequence[int] | None = None) -> int:
    """Take decisions back that no run has applied yet; returns how many."""
    chosen = Conflict.objects.filter(project=project, state=ConflictState.DECIDED)
    if ids is not None:
        chosen = chosen.filter(pk__in=ids)
    return chosen.update(state=ConflictState.OPEN, decision="", decided_by=None, decided_at=None)


@transaction.atomic
def start_applying(project: Project, *, user: User | None = None) -> Run:
    """Queue bringing the records whose conflicts are all decided. Raises RunRefused where none is or a run is open."""
    answered = decided_records(project)
    if not answered:
        raise RunRefused("Nothing is decided: no record has all its questions answered. Deletions wait for a delta.")
    return services.start_chosen(project, Scope(codes=("edited",)), user=user)


def decided_records(project: Project) -> int:
    """How many records have questions about fields, all of them answered."""
    waiting = Conflict.objects.filter(project=project).exclude(field="")
    open_ones = waiting.filter(state=ConflictState.OPEN).values_list("object", "source_id", "part")
    decided = waiting.filter(state=ConflictState.DECIDED).values_list("object", "source_id", "part")
    return decided.order_by().distinct().difference(open_ones.order_by()).count()
