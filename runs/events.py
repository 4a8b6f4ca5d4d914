"""A run's log: rows, written as things happen, in the transaction of what they tell about."""

from django.db import connection

from runs.choices import EventLevel
from runs.models import RunEvent


def tell(run_id: int, message: str, *, level: EventLevel = EventLevel.INFO, step_id: int | None = None) -> None:
    RunEvent.objects.create(run_id=run_id, step_id=step_id, level=level, message=message)


def tell_wait(run_id: int, message: str, *, seconds: float, step_id: int | None = None) -> None:
    """A wait that ends ``seconds`` from now, by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO runs_runevent (run_id, step_id, level, message, until)
               VALUES (%s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s))""",
            [run_id, step_id, EventLevel.WAIT, message, seconds],
        )
