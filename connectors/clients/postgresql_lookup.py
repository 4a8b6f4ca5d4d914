"""Looking rows up by their keys in a table that others fill meanwhile, whatever its statistics say."""

from collections.abc import Callable
from typing import Final, TypeVar

import psycopg

from connectors.clients.postgresql import Connection

T = TypeVar("T")

LOOK_UP: Final = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
LOOK_UPS: Final = 4_000
"""Keys looked up by one statement. The next ones are planned anew."""
PATIENCE: Final = "SET LOCAL statement_timeout = '1s'"
_WITHOUT_END: Final = "SET LOCAL statement_timeout = DEFAULT"


def planned_anew(connection: Connection, ask: Callable[[], T]) -> T:
    """What ``ask`` finds; where that takes longer than a second, it is asked again, with the connection's own limit.

    While a table is next to empty all of its indexes look alike to the planner: a statement that is planned then, and
    runs while others fill the table, may read all of it for every key, for minutes. A second later it is planned right.
    Runs in the caller's transaction.
    """
    try:
        with connection.transaction():
            connection.execute(PATIENCE)
            found = ask()
            connection.execute(_WITHOUT_END)
            return found
    except psycopg.errors.QueryCanceled:
        return ask()
