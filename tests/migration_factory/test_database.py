"""The database backend: a connection that the server has ended is a lost one, however its error is filed."""

from contextlib import closing

import pytest
from django.db import OperationalError, connection, transaction

ALIVE = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"


def stand_still() -> None:
    """A transaction in which nobody goes on until the server has ended its connection."""
    with closing(connection.copy()) as watcher, transaction.atomic(), connection.cursor() as cursor:
        watching = watcher.cursor()
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = '1ms'")
        watching.execute(ALIVE, [pid])
        while watching.fetchone():
            watching.execute(ALIVE, [pid])


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_stood_still_for_too_long_is_a_lost_connection() -> None:
    """So a frozen worker finds it when it thaws. PostgreSQL files that under invalid states, as our own mistakes."""
    with pytest.raises(OperationalError, match="idle-in-transaction timeout"):
        stand_still()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'another connection'")
        assert cursor.fetchone() == ("another connection",)
