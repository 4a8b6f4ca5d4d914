"""Deleting rows by id, the ones that others still point at told apart."""

from collections.abc import Sequence

import polars as pl
from psycopg import sql

from connectors.clients.postgresql import Connection
from connectors.clients.postgresql_catalog import Column, Table
from connectors.clients.postgresql_isolate import Cause, Refusal, isolate
from connectors.clients.postgresql_lookup import LOOK_UP
from connectors.clients.postgresql_stage import raw
from connectors.types import RESULT_SCHEMA, Outcome

_REFERENCED = {"foreign_key_violation", "restrict_violation"}


def delete_rows(connection: Connection, table: Table, ids: Sequence[str], condition: sql.Composable) -> pl.DataFrame:
    """Delete the rows of ``table`` with these ids that ``condition`` (over the alias ``t``) keeps in reach.

    Runs in the caller's transaction. Answers a frame of ``RESULT_SCHEMA`` whose key is the id: deleted;
    unchanged where no such row is; rejected where other rows point at it or a trigger forbids it.
    """
    identity = next(column for column in table.columns if column.name == table.id_column)
    keys = list(dict.fromkeys(ids))
    possible = identity.may_hold(pl.Series(keys, dtype=pl.String)).arg_true().to_list()
    cursor = connection.cursor()
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    cursor.execute(LOOK_UP)

    def attempt(items: Sequence[int]) -> list[str]:
        wanted = sql.Literal([keys[item] for item in items])
        return [key for (key,) in cursor.execute(_statement(table, identity, wanted, condition)).fetchall()]

    deleted, refused = isolate(connection, possible, attempt)
    while refused and any(deleted):
        # What pointed at a refused row may be gone by now.
        again = [refusal.item for refusal in refused if refusal.cause.code in _REFERENCED]
        gone, still = isolate(connection, again, attempt)
        if not any(gone):
            break
        deleted += gone
        refused = [*(refusal for refusal in refused if refusal.item not in again), *still]
    return _answers(table, keys, {key for part in deleted for key in part}, refused)


def _statement(table: Table, identity: Column, wanted: sql.Composable, condition: sql.Composable) -> sql.Composed:
    return sql.SQL(
        "DELETE FROM {table} t USING unnest({wanted}::text[]) AS u(k) WHERE t.{id} = u.k::{type} AND {condition} "
        "RETURNING u.k"
    ).format(
        table=table.relation,
        wanted=wanted,
        id=sql.Identifier(identity.name),
        type=raw(identity.declared),
        condition=condition,
    )


def _answers(table: Table, keys: Sequence[str], deleted: set[str], refused: Sequence[Refusal]) -> pl.DataFrame:
    reasons = {keys[refusal.item]: refusal.cause for refusal in refused}
    rows: list[tuple[str | None, ...]] = []
    for key in keys:
        cause = reasons.get(key)
        if cause is not None:
            rows.append((key, None, Outcome.REJECTED, cause.code, table.id_column, _sentence(table, key, cause)))
        else:
            outcome = Outcome.DELETED if key in deleted else Outcome.UNCHANGED
            rows.append((key, key, outcome, None, None, None))
    return pl.DataFrame(rows, schema=dict(RESULT_SCHEMA), orient="row")


def _sentence(table: Table, key: str, cause: Cause) -> str:
    if cause.code in _REFERENCED:
        return (
            f"{table.name}: record {key} is still pointed at by {cause.table} (constraint {cause.rule}). "
            "Delete or redirect those first."
        )
    return f"{table.name}: record {key} was not deleted: {cause.words}"
