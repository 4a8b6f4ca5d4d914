"""The database backend: Django's, without the query log that DEBUG switches on, and with every lost connection told as
one.

That log keeps the last 9,000 statements with their parameters in memory: customer payloads, sealed
secrets and arrays of thousands of ids. Tests that count queries still can.
"""

from types import TracebackType

from django.conf import settings
from django.db import OperationalError
from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property
from psycopg import errors

ENDED = (errors.IdleInTransactionSessionTimeout, errors.TransactionTimeout)
"""The server has ended the connection of a process that stood still. They are of the class of our own mistakes
(25, invalid transaction state), and none."""


class _Errors(DatabaseErrorWrapper):
    def __init__(self, database: base.DatabaseWrapper) -> None:
        super().__init__(database)
        self._database = database

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exc_value, ENDED):
            self._database.errors_occurred = True
            raise OperationalError(*exc_value.args).with_traceback(traceback) from exc_value
        super().__exit__(exc_type, exc_value, traceback)


class DatabaseWrapper(base.DatabaseWrapper):
    @cached_property
    def wrap_database_errors(self) -> DatabaseErrorWrapper:
        return _Errors(self)

    @property
    def queries_logged(self) -> bool:
        return bool(self.force_debug_cursor)

    def init_connection_state(self) -> None:
        """What a worker host that was cut off left behind must not keep others waiting for hours.

        The server then notices a dead peer within a minute, and ends a transaction that nobody goes on with: it
        holds the row of the work that others would take over."""
        super().init_connection_state()
        with self.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('tcp_keepalives_idle', '30', false),"
                " set_config('tcp_keepalives_interval', '10', false), set_config('tcp_keepalives_count', '3', false),"
                " set_config('idle_in_transaction_session_timeout', %s, false)",
                [f"{settings.MF_LEASE_SECONDS * 2_000:.0f}ms"],
            )
