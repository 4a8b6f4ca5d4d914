"""Looking rows up by their keys in a table that others fill meanwhile, whatever its statistics say."""

from collections.abc import Callable
from typing import Final, TypeVar

import polars as pl
import psycopg

from connectors.clients.postgresql import Connection, array_text

T = TypeVar("T")

LOOK_UP: Final = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
LOOK_UPS: Final = 4_000
"""Keys looked up by one statement. The next ones are planned anew."""
PATIENCE: Final = "SET LOCAL statement_timeout = '1s'"
_WITHOUT_END: Final = "SET LOCAL statement_timeout = DEFAULT"
WORTH_A_LOOK: Final = 500
"""Keys from which on it pays to ask first whether there is any row from the least to the greatest of them."""
_BY_BYTES: Final = """
SELECT getdatabaseencoding() = 'UTF8'
       AND (datlocprovider = 'b' OR datlocprovider = 'c' AND datcollate IN ('C', 'POSIX'))
  FROM pg_catalog.pg_database WHERE datname = current_database()
"""


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


def extremes(connection: Connection, texts: pl.Series) -> tuple[str | None, str | None]:
    """The least and the greatest of the texts as the database orders texts where nobody says how; None of no texts.

    No text may hold a NUL character. Where that order is the one of their bytes, they need not be sent there.
    """
    if connection.execute(_BY_BYTES).fetchall() == [(True,)]:
        return texts.min(), texts.max()  # type: ignore[return-value]  # of texts they are texts
    # As a parameter, which the server need not find the end of and the planner does not copy.
    asked = "SELECT min(u.k), max(u.k) FROM unnest(%s::text[]) AS u(k)"
    [(least, most)] = connection.execute(asked, [array_text(texts)], prepare=False).fetchall()
    return least, most
