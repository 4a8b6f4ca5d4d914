"""One connection kept between calls: opened when first needed, replaced when it broke."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from connectors.clients.postgresql import Address, Connection, connect
from connectors.clients.postgresql_errors import translated
from connectors.clients.postgresql_stage import Stage


class Session:
    """The connection to ``address``, and the staging tables that live on it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: Connection | None = None
        self._stages: set[str] = set()

    def __str__(self) -> str:
        return str(self._address)

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """A connection that answers, in autocommit mode. What psycopg raises inside leaves as our errors."""
        with translated(str(self)):
            if not self._answers():
                self.close()
            if self._connection is None:
                self._connection = connect(self._address)
            yield self._connection

    def stage(self, connection: Connection, stage: Stage) -> None:
        """See to it that the staging table exists: outside of any transaction, so that a rolled back write
        leaves it."""
        if stage.name not in self._stages:
            connection.execute(stage.create())
            self._stages.add(stage.name)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self._stages.clear()
        if connection is not None:
            connection.close()

    def _answers(self) -> bool:
        """A server that restarted, or a proxy that gave up an idle connection, shows at the first word."""
        if self._connection is None:
            return False
        try:
            self._connection.execute("SELECT")
        except psycopg.OperationalError:
            return False
        return True
