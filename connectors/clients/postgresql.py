"""Reaching a PostgreSQL server, and moving frames into and out of it by COPY.

Frames travel in COPY's text format (https://www.postgresql.org/docs/current/sql-copy.html), written and
read by Polars: no Python loop per row, and NULL, the empty string, ``\\N`` and ``\\.`` each stay what they
are, on every server version (CSV does not: before version 18 a line holding only ``\\.`` ends the data).
Figures in docs/decisions/0005-postgresql-target.md.
"""

from collections.abc import Container, Generator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, TypeAlias

import polars as pl
import psycopg
from psycopg import sql
from psycopg.waiting import Ready, Wait

from connectors.clients.postgresql_errors import connect_error
from connectors.context import Secret
from connectors.errors import ContractChanged, Rejected

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
Cursor: TypeAlias = psycopg.Cursor[Any]

CONNECT_TIMEOUT = 10
ABANDONED_AFTER = 120  # seconds in which a transaction must go on
"""Seconds until a server that does not answer counts as unavailable."""
COPY_ROWS = 8_000
"""Rows encoded at a time, so that a frame of any size is copied in bounded memory."""

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ODD = r"[\\\n\r\t]"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is and who we are to it. ``host`` may be a folder: a Unix socket."""

    host: str
    database: str
    user: str
    password: Secret = field(default_factory=lambda: Secret(""))
    port: int = 5432
    sslmode: str = "prefer"

    def __str__(self) -> str:
        return f"database “{self.database}” on {self.host}:{self.port}"


def connect(
    address: Address, *, application: str = "migration-factory", statement_seconds: int = 300, lock_seconds: int = 30
) -> Connection:
    """A connection in autocommit mode: transactions are opened where they are meant.

    Times are UTC and dates ISO. The search path stays the user's own, for triggers that rely on it;
    statements of ours name their schema. A dead peer is noticed within about a minute.

    Raises AuthenticationFailed, PermissionMissing, SettingsInvalid or Unavailable.
    """
    options = {
        "statement_timeout": f"{statement_seconds}s",
        "lock_timeout": f"{lock_seconds}s",
        # A worker host that was cut off must not keep the rows it was writing from whoever takes over.
        "idle_in_transaction_session_timeout": f"{ABANDONED_AFTER}s",
        "timezone": "UTC",
        "datestyle": "ISO",
        "intervalstyle": "iso_8601",
        "bytea_output": "hex",
        "extra_float_digits": "1",
        "client_encoding": "UTF8",
        # A staged chunk in memory instead of in a file of the server's.
        "temp_buffers": "32MB",
        # Statements of ours are many and short: compiling one costs more than running it.
        "jit": "off",
    }
    try:
        return psycopg.connect(
            host=address.host,
            port=address.port,
            dbname=address.database,
            user=address.user,
            password=address.password.reveal() or None,
            sslmode=address.sslmode,
            connect_timeout=CONNECT_TIMEOUT,
            application_name=application,
            options=" ".join(f"-c {name}={value}" for name, value in options.items()),
            autocommit=True,
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
    except psycopg.Error as error:
        raise connect_error(error, str(address)) from error


def copy_frame(cursor: Cursor, table: sql.Composable, frame: pl.DataFrame) -> None:
    """Append ``frame`` to ``table`` by COPY; the frame's columns name the table's.

    String, integer, float, Decimal, Boolean, Date, Time, Datetime (aware ones are sent as UTC), Binary,
    Categorical, Enum, Null, and List of those (as a one-dimensional array) are taken; the table's own
    column types read the text. ``table`` is quoted already (``sql.Identifier("schema", "name")``).

    Raises Rejected (code ``untranslatable_character``) before anything is sent of a slice where a text
    holds a NUL character, which PostgreSQL cannot store; ``nul_rows`` finds the rows. Raises TypeError for a
    dtype without a text form (Struct, Object, Duration: a caller's bug), and whatever psycopg raises.
    """
    with cursor.copy(copy_statement(table, frame.columns)) as copy:
        for part in frame.iter_slices(COPY_ROWS):
            text = copy_text(part)
            if b"\0" in text:
                raise Rejected(
                    "A text holds a NUL character (code 0), which PostgreSQL cannot store. Remove it in the source "
                    "or let the mapping remove it.",
                    code="untranslatable_character",
                    fields=nul_columns(part),
                )
            copy.write(text)
    if cursor.rowcount != frame.height:
        raise ContractChanged(f"The database took {cursor.rowcount} of {frame.height} rows; nothing may be committed.")


def copy_statement(table: sql.Composable, columns: Sequence[str]) -> sql.Composed:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL("COPY {} ({}) FROM STDIN").format(table, names)


def copied(cursor: Cursor, query: sql.Composable) -> bytes:
    """The query's rows as the CSV that COPY writes: a NULL is an empty field, an empty text a quoted one.

    Each row is a message. Psycopg's iteration waits for each anew, which takes four times as long as to wait once.
    """
    with cursor.copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(query)) as copy:
        return cursor.connection.wait(_messages(copy))


def _messages(copy: psycopg.Copy) -> Generator[Wait, Ready | int, bytes]:
    """Psycopg's own generator of one message, again and again; it has no public way to read many."""
    messages = []
    while message := (yield from copy._read_gen()):
        messages.append(message)
    return b"".join(messages)


def copy_text(frame: pl.DataFrame) -> bytes:
    """The frame in COPY's text format: one line per row, whatever the values hold."""
    buffer = BytesIO()
    texts = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.String)]
    plain, whole = _nothing_to_escape(frame, texts), _whole_seconds(frame)
    frame.select(
        pl.col(name) if name in plain else _as_text(name, dtype, whole) for name, dtype in frame.schema.items()
    ).write_csv(
        buffer,
        include_header=False,
        separator="\t",
        quote_style="never",
        null_value="\\N",
        time_format="%H:%M:%S%.6f",
    )
    return buffer.getvalue()


def _nothing_to_escape(frame: pl.DataFrame, names: Sequence[str]) -> frozenset[str]:
    """The columns whose texts go as they are, which is most: to look, at all texts of a column as one, takes a tenth of
    what replacing does."""
    if not names or not frame.height:
        return frozenset()
    odd = frame.select(pl.col(names).str.join("").str.contains(_ODD)).row(0)
    return frozenset(name for name, some in zip(names, odd, strict=True) if not some)


def _whole_seconds(frame: pl.DataFrame) -> frozenset[str]:
    """The columns whose moments have no fractions, which take a quarter less to write and to read without them."""
    moments = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Datetime)]
    fractions = frame.select(pl.col(moments).dt.nanosecond().max()) if moments and frame.height else pl.DataFrame()
    return frozenset(name for name in fractions.columns if not fractions[name].item())


def array_text(texts: pl.Series) -> str:
    """The texts as the literal of a ``text[]``: for a parameter, or quoted by ``sql.Literal``.

    A list of as many would be dumped value by value, which for the keys of a chunk takes longer than the query.
    """
    literal = _array(pl.col("element").implode(), texts.dtype)
    return str(pl.DataFrame([texts.alias("element")]).select(literal).item())


def nul_columns(frame: pl.DataFrame) -> tuple[str, ...]:
    """The columns in which some text holds a NUL character."""
    return tuple(name for name in frame.columns if frame.select(_has_nul(name, frame.schema[name]).any()).item())


def nul_rows(frame: pl.DataFrame) -> pl.Series:
    """A mask of the rows in which some text holds a NUL character."""
    return frame.select(
        pl.any_horizontal([pl.lit(value=False), *(_has_nul(name, dtype) for name, dtype in frame.schema.items())])
    ).to_series()


def _has_nul(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.List):
        column = column.list.eval(pl.element().cast(pl.String)).list.join("", ignore_nulls=True)
    elif not isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return pl.lit(value=False)
    return column.cast(pl.String).str.contains("\0", literal=True).fill_null(value=False)


def _as_text(name: str, dtype: pl.DataType, whole: Container[str]) -> pl.Expr:
    """The column in a form whose CSV text, unquoted, is COPY's text; ``whole`` are those of whole seconds."""
    column = pl.col(name)
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return _escaped(column.cast(pl.String))
    if isinstance(dtype, pl.Binary):
        return pl.concat_str(pl.lit("\\\\x"), column.bin.encode("hex")).alias(name)
    if isinstance(dtype, pl.List):
        return _escaped(_array(column, dtype.inner)).alias(name)
    if isinstance(dtype, pl.Datetime):
        return _timestamp(column, dtype, "%Y-%m-%d %H:%M:%S" if name in whole else "%Y-%m-%d %H:%M:%S%.6f")
    if dtype.is_numeric() or isinstance(dtype, pl.Boolean | pl.Date | pl.Time | pl.Null):
        return column
    raise TypeError(f"column {name} of type {dtype} has no text form for COPY")


def _timestamp(column: pl.Expr, dtype: pl.Datetime, form: str) -> pl.Expr:
    if dtype.time_zone is None:
        return column.dt.strftime(form)
    # Texts of times without a zone are made a quarter faster.
    bare = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return bare.dt.strftime(f"{form}+00")


def _escaped(column: pl.Expr) -> pl.Expr:
    return column.str.replace_many(list(_ESCAPES), list(_ESCAPES.values()))


def _array(column: pl.Expr, inner: Any) -> pl.Expr:
    """A list as an array literal: every element quoted, so that only a real NULL is one."""
    if isinstance(inner, pl.List | pl.Array | pl.Struct | pl.Binary | pl.Datetime):
        raise TypeError(f"a list of {inner} has no text form for COPY")
    element = pl.element().cast(pl.String).str.replace_many(["\\", '"'], ["\\\\", '\\"'])
    elements = column.list.eval(pl.format('"{}"', element).fill_null("NULL")).list.join(",")
    return pl.concat_str(pl.lit("{"), elements, pl.lit("}"))
