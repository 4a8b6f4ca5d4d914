"""The database backend: Django's, without the query log that DEBUG switches on.

That log keeps the last 9,000 statements with their parameters in memory: customer payloads, sealed
secrets and arrays of thousands of ids. Tests that count queries still can.
"""

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    @property
    def queries_logged(self) -> bool:
        return bool(self.force_debug_cursor)
