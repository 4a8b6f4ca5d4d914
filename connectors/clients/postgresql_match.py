"""Looking rows up by any columns, as the database compares them, and giving found rows our key."""

from collections.abc import Sequence

import polars as pl
from psycopg import sql

from connectors.clients.postgresql import Connection
from connectors.clients.postgresql_catalog import Column, Table
from connectors.clients.postgresql_isolate import Cause, Refusal, isolate
from connectors.clients.postgresql_lookup import LOOK_UP
from connectors.clients.postgresql_stage import ROW, Stage, fill, raw
from connectors.types import RESULT_SCHEMA, Outcome

_HIT = {ROW: pl.Int64, "target_id": pl.String, "key": pl.String}


def find_rows(
    connection: Connection, stage: Stage, frame: pl.DataFrame, *, key: Column, condition: sql.Composable
) -> pl.DataFrame:
    """The frame's columns, ``target_id`` and ``key`` of the rows that agree with a row of the frame in all of them.

    The database compares, by the columns' own collations; ``condition`` (over the alias ``t``) keeps rows in reach.
    A value that is none of its column's type is in no row. Runs in the caller's transaction, on a connection where
    the stage exists.
    """
    cursor = connection.cursor()
    fill(connection, stage, frame)
    # A fresh temporary table has no statistics, by which the planner would choose between index and scan.
    cursor.execute(sql.SQL("ANALYZE {}").format(stage.relation))
    same = sql.SQL(" AND ").join(
        sql.SQL("t.{} = {}").format(sql.Identifier(column.name), stage.value(column)) for column in stage.columns
    )
    query = sql.SQL("SELECT s.{row}, t.{id}::text, t.{key}::text FROM {stage} s JOIN {table} t ON {same} WHERE {reach}")
    statement = query.format(
        row=sql.Identifier(ROW),
        id=sql.Identifier(stage.table.id_column or key.name),
        key=sql.Identifier(key.name),
        stage=stage.relation,
        table=stage.table.relation,
        same=same,
        reach=condition,
    )
    hits = pl.DataFrame(cursor.execute(statement, prepare=False).fetchall(), schema=_HIT, orient="row")
    return pl.concat([frame[hits[ROW]], hits.drop(ROW)], how="horizontal")


def give_keys(
    connection: Connection, table: Table, key: Column, rows: pl.DataFrame, condition: sql.Composable
) -> pl.DataFrame:
    """Set the column ``key`` of rows (``target_id``, ``key``) that have none, or have that one, and clear it where
    the frame's is null; a frame of ``RESULT_SCHEMA`` whose key is the target id. Runs in the caller's transaction."""
    identity = next(column for column in table.columns if column.name == table.id_column)
    ids, keys = rows["target_id"].to_list(), rows["key"].to_list()
    possible = identity.may_hold(rows["target_id"]).arg_true().to_list()
    cursor = connection.cursor()
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    cursor.execute(LOOK_UP)

    def attempt(items: Sequence[int]) -> list[tuple[str, bool]]:
        given = ([ids[item] for item in items], [keys[item] for item in items])
        statement = _statement(table, identity, key, given, condition)
        return cursor.execute(statement, prepare=False).fetchall()

    done, refused = isolate(connection, possible, attempt)
    changed = {one: differs for part in done for one, differs in part}
    return _answers(table, key, ids, changed, refused)


def _statement(
    table: Table,
    identity: Column,
    key: Column,
    given: tuple[list[str], list[str | None]],
    condition: sql.Composable,
) -> sql.Composed:
    """Returns the id and whether the key was another before; a row that is locked first cannot change meanwhile."""
    return sql.SQL(
        "WITH given AS (SELECT * FROM unnest({ids}::text[], {keys}::text[]) AS u(i, k)), "
        "held AS (SELECT u.i, u.k, t.{key} AS was FROM given u JOIN {table} t ON t.{id} = u.i::{id_type} "
        "WHERE {condition} AND (u.k IS NULL OR t.{key} IS NULL OR t.{key}::text = u.k) FOR UPDATE OF t) "
        "UPDATE {table} t SET {key} = held.k::{key_type} FROM held WHERE t.{id} = held.i::{id_type} "
        "RETURNING held.i, held.was::text IS DISTINCT FROM held.k"
    ).format(
        ids=sql.Literal(given[0]),
        keys=sql.Literal(given[1]),
        key=sql.Identifier(key.name),
        table=table.relation,
        id=sql.Identifier(identity.name),
        id_type=raw(identity.declared),
        key_type=raw(key.declared),
        condition=condition,
    )


def _answers(
    table: Table, key: Column, ids: Sequence[str], changed: dict[str, bool], refused: Sequence[Refusal]
) -> pl.DataFrame:
    reasons = {ids[refusal.item]: refusal.cause for refusal in refused}
    rows: list[tuple[str | None, ...]] = []
    for one in ids:
        if one in changed:
            rows.append((one, one, Outcome.UPDATED if changed[one] else Outcome.UNCHANGED, None, None, None))
        else:
            cause = reasons.get(one)
            code = cause.code if cause else "not_adopted"
            rows.append((one, None, Outcome.REJECTED, code, key.name, _sentence(table, key, one, cause)))
    return pl.DataFrame(rows, schema=dict(RESULT_SCHEMA), orient="row")


def _sentence(table: Table, key: Column, one: str, cause: Cause | None) -> str:
    if cause is None:
        return (
            f"{table.name}: record {one} was not taken over: it is gone, or got another {key.name} meanwhile. "
            "Load the record again."
        )
    return f"{table.name}: {key.name} of record {one} was not changed: {cause.words}"
