"""Waivers: a named person says that records need not get to the target, with a reason, and may take it back."""

from collections.abc import Sequence

from django.contrib.auth.models import User
from django.db import transaction

from projects.models import Project
from runs import ledger
from runs.choices import DUE
from runs.ledger import Scope
from runs.services import RunRefused

LONGEST_REASON = 1_000


@transaction.atomic
def waive(project: Project, scope: Scope, *, user: User, reason: str, states: Sequence[str] = DUE) -> int:
    """Waive what is due of the choice; returns how many records. Raises RunRefused without a reason, or where
    nothing of the choice is due.

    A waived record is not tried again by itself. Should the source bring it again and the target take it, it is
    loaded; should it be refused again, it stays waived.
    """
    said = " ".join(reason.split())
    if not said:
        raise RunRefused("Say why these records need not get to the target; the reason stays with each of them.")
    if len(said) > LONGEST_REASON:
        raise RunRefused(f"The reason is longer than {LONGEST_REASON:,} characters; say it shorter.")
    wanted = [state for state in states if state in DUE]
    waived = ledger.waive(project.pk, scope, wanted, user=user, reason=said)
    if not waived:
        raise RunRefused("Nothing to waive: no record of that choice was rejected or waits for a parent.")
    return waived


@transaction.atomic
def unwaive(project: Project, scope: Scope) -> int:
    """Take waivers back: the records are due again, as they stood. Raises RunRefused where none of them is waived."""
    restored = ledger.unwaive(project.pk, scope)
    if not restored:
        raise RunRefused("No record of that choice is waived.")
    return restored
