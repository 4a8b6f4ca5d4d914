"""Appending rows that are new by COPY straight into their table, under ids drawn from the table's own sequence.

No staging table, and no question afterwards which row got which id. Only where COPY does what INSERT would, and only
all or nothing: whatever the database refuses is taken back, and told apart by the slower way of ``postgresql_merge``.
"""

from collections.abc import Sequence

import polars as pl
import psycopg
from psycopg import sql

from connectors.clients.postgresql import Connection, copy_frame
from connectors.clients.postgresql_catalog import Column, Table
from connectors.clients.postgresql_errors import blames_record, is_lock
from connectors.clients.postgresql_isolate import LITTLE_PATIENCE
from connectors.errors import ContractChanged, Rejected


def appendable(table: Table, columns: Sequence[Column], key: Column) -> bool:
    """Whether rows of these columns may be appended, and their ids are known beforehand."""
    plain = table.copyable and not table.before_triggers and not any(column.array for column in columns)
    return plain and (_sequence(table) is not None or table.id_column == key.name)


def append(
    connection: Connection, table: Table, frame: pl.DataFrame, constants: Sequence[tuple[Column, str]], *, key: Column
) -> pl.Series | None:
    """Append all rows, in a savepoint of the caller's transaction; the id of each, as text.

    None, with nothing written, where the database refused any. Ids that were drawn then stay unused, as those of any
    failed insert do. Errors that blame neither a record nor a lock (psycopg.Error) go through; after one of a lock,
    locks are waited for with little patience, as in ``isolate``.
    """
    sequence = _sequence(table)
    ids = frame[key.name].cast(pl.String) if sequence is None else _drawn(connection, sequence, frame.height)
    fixed = [pl.lit(value).alias(column.name) for column, value in constants]
    rows = frame.with_columns(*fixed, *([] if sequence is None else [ids.alias(str(table.id_column))]))
    try:
        with connection.transaction(), connection.cursor() as cursor:
            copy_frame(cursor, table.relation, rows)
            return ids
    except (Rejected, ContractChanged):  # a NUL character, or a trigger of some kind that let rows fall
        return None
    except psycopg.Error as error:
        if is_lock(error):
            connection.execute(LITTLE_PATIENCE)
        elif not blames_record(error):
            raise
    return None


def _sequence(table: Table) -> str | None:
    column = table.column(table.id_column or "")
    return column.sequence if column else None


def _drawn(connection: Connection, sequence: str, count: int) -> pl.Series:
    """So many of the sequence's next values, as texts. They come as one text: a row each would be a message each."""
    query = sql.SQL("SELECT string_agg(nextval({}::regclass)::text, ',') FROM generate_series(1, {})").format(
        sql.Literal(sequence), sql.Literal(count)
    )
    [(drawn,)] = connection.execute(query).fetchall()
    return pl.Series([drawn], dtype=pl.String).str.split(",").explode()
