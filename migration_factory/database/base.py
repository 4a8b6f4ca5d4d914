"""The database backend: Django's, without the query log that DEBUG switches on.

That log keeps the last 9,000 statements with their parameters in memory: customer payloads, sealed
secrets and arrays of thousands of ids. Tests that count queries still can.
"""

from django.conf import settings
from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
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
