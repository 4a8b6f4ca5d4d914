"""Reading rows back as a frame: the query's select list, and the types of what COPY returns.

The server writes CSV, in which a NULL is an empty unquoted field and an empty text a quoted one; Polars
reads that difference. Every value then gets the dtype ``Target.write`` takes for its column.
"""

from collections.abc import Iterable, Sequence
from functools import partial

import polars as pl
from psycopg import sql

from connectors.clients.postgresql import Cursor, copied
from connectors.clients.postgresql_catalog import Column, Table, field_type
from connectors.clients.postgresql_lookup import planned_anew
from connectors.types import FieldType

_MAX_DIGITS = 38  # of Polars' Decimal


def query_frame(cursor: Cursor, query: sql.Composable, names: Sequence[str]) -> pl.DataFrame:
    """The query's answer with every column as String; null is NULL, and nothing else is."""
    # Behind a header a first value may begin as it likes: at the start of a text Polars drops a byte order mark.
    text = b"".join([",".join(names).encode(), b"\n", copied(cursor, query)])
    return pl.read_csv(text, infer_schema=False)


def as_text(column: Column, *, table: str) -> sql.Composable:
    """The select expression whose text ``typed`` reads: canonical JSON (jsonb's own text), times in UTC."""
    name = sql.Identifier(table, column.name)
    if column.array:
        return sql.SQL("to_jsonb({})").format(name)
    if column.base == "timestamptz":
        return sql.SQL("({})::timestamp").format(name)
    if column.base == "json":
        return sql.SQL("({})::jsonb").format(name)
    return name


def typed(values: pl.Series, column: Column, kind: FieldType) -> pl.Series:
    """The column's texts as values; a reference is a target id, hence text whatever its column is.

    Where Polars has no such value (an infinite date, a year before our era,
    numeric NaN) the whole column stays text, rather than lose one."""
    try:
        return values.to_frame().select(_expression(values, column, kind)).to_series()
    except (pl.exceptions.InvalidOperationError, pl.exceptions.ComputeError):
        return values


def _expression(values: pl.Series, column: Column, kind: FieldType) -> pl.Expr:
    text = pl.col(values.name)
    if kind is FieldType.INTEGER:
        return text.cast(pl.Int64)
    if kind is FieldType.FLOAT:
        return text.cast(pl.Float64)
    if kind is FieldType.DECIMAL:
        return text.cast(_decimal(values, column))
    if kind is FieldType.BOOLEAN:
        return text == "t"
    if kind is FieldType.BINARY:
        return text.str.strip_prefix("\\x").str.decode("hex")
    return _moment(text, kind)


def _moment(text: pl.Expr, kind: FieldType) -> pl.Expr:
    if kind is FieldType.DATE:
        return text.str.to_date("%Y-%m-%d")
    if kind is FieldType.TIME:
        return text.str.to_time("%H:%M:%S%.f")
    if kind is FieldType.DATETIME:
        return text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us").dt.replace_time_zone("UTC")
    return text


def _decimal(values: pl.Series, column: Column) -> pl.Decimal:
    """The declared scale; of a numeric without one, the longest that occurs."""
    if column.scale is not None and column.precision is not None and column.precision <= _MAX_DIGITS:
        return pl.Decimal(_MAX_DIGITS, max(column.scale, 0))
    found = values.str.extract(r"\.(\d+)$").str.len_chars().max()
    return pl.Decimal(_MAX_DIGITS, int(str(found or 0)))


def read_rows(
    cursor: Cursor, table: Table, *, key: Column, rows: Iterable[sql.Composable], fields: Sequence[Column]
) -> pl.DataFrame:
    """``target_id``, ``key`` (both String) and then ``fields`` of ``rows``, portion by portion: what follows FROM, with
    the table under the alias ``t``. In the caller's transaction."""
    identity = table.id_column or key.name
    wanted = [
        sql.SQL("{}::text").format(sql.Identifier("t", identity)),
        sql.SQL("{}::text").format(sql.Identifier("t", key.name)),
        *(as_text(column, table="t") for column in fields),
    ]
    select = sql.SQL("SELECT {} FROM ").format(sql.SQL(", ").join(wanted))
    names = ["target_id", "key", *(f"_{position}" for position in range(len(fields)))]
    found = pl.concat(
        planned_anew(cursor.connection, partial(query_frame, cursor, select + portion, names)) for portion in rows
    )
    values = [
        typed(found[place], column, field_type(table, column)).alias(column.name)
        for place, column in zip(names[2:], fields, strict=True)
    ]
    return pl.DataFrame([found["target_id"], found["key"], *values])
