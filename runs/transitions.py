"""Changes of a run's state: conditional updates that change exactly one row, each told in the run's log."""

from django.db import connection, transaction

from runs import events
from runs.choices import TERMINAL, TRANSITIONS, EventLevel, RunState


def move(run_id: int, to: RunState, *, reason: str = "", level: EventLevel = EventLevel.INFO) -> bool:
    """Take the run to ``to`` if it stands in a state that may go there; false, and nothing done, otherwise.

    ``reason`` is a sentence for staff and becomes the event.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """UPDATE runs_run SET state = %s, reason = %s,
                      started_at = CASE WHEN %s = 'running' THEN coalesce(started_at, clock_timestamp())
                                        ELSE started_at END,
                      finished_at = CASE WHEN %s THEN clock_timestamp() END
                WHERE id = %s AND state = ANY(%s)""",
            [to, reason, to, to in TERMINAL, run_id, list(TRANSITIONS[to])],
        )
        if cursor.rowcount != 1:
            return False
        if reason:
            events.tell(run_id, reason, level=level)
        return True
