"""Named places at which a worker can be made to die, so that every step of the engine is tested for it.

``MF_CRASH=load.sent:2`` kills this process with SIGKILL when it comes to ``load.sent`` for the second time;
nothing set, which is so wherever ``DEBUG`` is off, costs one look at a setting. ``tests/faults`` goes through all
of them, and fails for a step of the engine, or a change of a target, that has none.
"""

import os
import signal
from collections import Counter
from enum import StrEnum

from django.conf import settings

_reached: Counter[str] = Counter()


class CrashPoint(StrEnum):
    """In the order in which a run comes to them. The first word is the step of the engine."""

    PLACE_TAKEN = "drive.place_taken"
    """A driver holds its place, and no work yet."""
    CLAIMED = "drive.claimed"
    """A piece of the run is ours, and nothing of it done."""
    PLAN_DESCRIBED = "plan.described"
    """Both sides are described and a mirror's tables are made; no step is written."""
    PLAN_IN_TRANSACTION = "plan.in_transaction"
    PLAN_WRITTEN = "plan.written"
    EXTRACT_READ = "extract.read"
    """A page has come and is not staged."""
    STAGE_IN_TRANSACTION = "extract.in_transaction"
    """The cursor has moved, the chunk is not there."""
    STAGED = "extract.staged"
    LOAD_FETCHED = "load.fetched"
    """What the target holds is read, and not committed as the intent."""
    LOAD_INTENDED = "load.intended"
    """The intent is committed and nothing is sent."""
    LOAD_SENT = "load.sent"
    """The target has the records, and only the target knows."""
    RECORD_IN_TRANSACTION = "load.in_transaction"
    """The chunk is settled, its records are not written."""
    LOAD_RECORDED = "load.recorded"
    RELINK_SENT = "relink.sent"
    RELINK_RECORDED = "relink.recorded"
    RECONCILE_READ = "reconcile.read"
    VERIFY_IN_TRANSACTION = "reconcile.in_transaction"
    RECONCILED = "reconcile.recorded"
    WAITING_IN_TRANSACTION = "waiting.in_transaction"
    """Of a retry: the children of what it has brought are staged; nothing of it committed."""
    WAITING_STAGED = "waiting.staged"
    FINISH_COUNTED = "finish.counted"
    """Records that nobody tracks are counted; the run is still open."""
    FINISH_IN_TRANSACTION = "finish.in_transaction"
    FINISHED = "finish.ended"
    INSERT_BEGUN = "insert.begun"
    """Of records that carry no key: a bulk job is noted with their digests, and has no file yet."""
    INSERT_CLOSING = "insert.closing"
    """The job has its file, and it is committed that it is about to be closed; nobody has closed it."""
    INSERT_ANSWERED = "insert.answered"
    """The job has ended and its results are read; what it created is not committed."""
    INSERT_NOTED = "insert.noted"
    DELETIONS_INTENDED = "deletions.intended"
    """The rows about to be deleted are committed as before-images, and all still there."""
    DELETIONS_CUT = "deletions.cut"
    DELETIONS_ANSWERED = "deletions.answered"
    """The records are gone from the target; the ledger has them still."""
    DELETIONS_SENT = "deletions.sent"
    DELETIONS_RECORDED = "deletions.recorded"
    DELETIONS_SENT_AGAIN = "deletions.sent_again"
    DELETIONS_PROVEN = "deletions.proven"
    UNDO_PLANNED = "rollback.planned"
    UNDO_INTENDED = "rollback.intended"
    """What the target holds now is committed, and nothing is taken back."""
    UNDO_CUT = "rollback.cut"
    """Records of the chunk have let go of each other and are all still there."""
    UNDO_DELETED = "rollback.deleted"
    """Created records are gone, changed ones not restored."""
    UNDO_RESTORED = "rollback.restored"
    """The target is as it was before, and only the target knows."""
    UNDONE_IN_TRANSACTION = "rollback.in_transaction"
    UNDONE = "rollback.recorded"
    DELETED_AGAIN = "rollback.deleted_again"
    PROVEN = "rollback.proven"
    BYPASS_INTENDED = "bypass.intended"
    """It is committed that the org's automation stands aside, and the org has not been asked."""
    BYPASS_SWITCHED = "bypass.switched"
    """The org has done it; that it has is not committed."""
    BYPASS_TAKEN_OFF = "bypass.taken_off"
    """The run has ended, the org has taken it back; that it has is not committed."""
    LEAVING = "drive.leaving"
    """The place is given back, the successor is not called; nothing of it committed."""
    LEFT = "drive.left"


def reached(point: CrashPoint) -> None:
    """Die here where that was asked for."""
    if settings.MF_CRASH:
        _die_if_asked(point)


def _die_if_asked(point: CrashPoint) -> None:
    _reached[point] += 1
    name, _, number = settings.MF_CRASH.partition(":")
    if name == point and _reached[point] == int(number or 1):
        os.kill(os.getpid(), signal.SIGKILL)
