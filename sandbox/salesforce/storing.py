"""Putting checked rows into the store, with what the platform fills in by itself: owner, stamps, auto-numbers."""

import sqlite3

import polars as pl

from sandbox.salesforce.records import auto_number_parts
from sandbox.salesforce.schema import SObject
from sandbox.salesforce.store import Store, now

ROW_ID = "?id"


def insert_rows(store: Store, subject: SObject, frame: pl.DataFrame, user_id: str) -> None:
    """New records; ``frame`` has their ``Id`` and every value they have that is not the platform's own."""
    moment = now()
    made = {"OwnerId": user_id, "CreatedById": user_id, "CreatedDate": moment}
    frame = _filled(subject, frame, {name: pl.lit(value) for name, value in made.items()})
    changed = {"LastModifiedById": "CreatedById", "LastModifiedDate": "CreatedDate"}
    frame = _filled(subject, frame, {name: pl.col(other) for name, other in changed.items() if other in frame.columns})
    if subject.field("SystemModstamp"):
        frame = frame.with_columns(SystemModstamp=pl.lit(moment))
    frame = frame.with_columns(_auto_numbers(store, subject, frame.height))
    store.insert(subject, frame.columns, frame.iter_rows())


def update_rows(connection: sqlite3.Connection, subject: SObject, frame: pl.DataFrame, user_id: str) -> None:
    """Stored records; ``frame`` has their ids as ``?id`` and, for each, the values its columns hold from now on."""
    moment = now()
    stamps = {"LastModifiedDate": moment, "LastModifiedById": user_id, "SystemModstamp": moment}
    names = [f'"{name}" = ?' for name in frame.columns if name != ROW_ID]
    names += [f"\"{name}\" = '{value}'" for name, value in stamps.items() if subject.field(name)]
    if names:
        ordered = frame.select(pl.exclude(ROW_ID), ROW_ID).sort(
            ROW_ID
        )  # so that the table is walked, not jumped about in
        sql = f'UPDATE "{subject.name}" SET {", ".join(names)} WHERE "Id" = ?'  # noqa: S608 - schema names, our stamps
        connection.executemany(sql, ordered.iter_rows())


def _filled(subject: SObject, frame: pl.DataFrame, wanted: dict[str, pl.Expr]) -> pl.DataFrame:
    """The frame with those of the columns the object has, their gaps filled."""
    return frame.with_columns(
        (pl.coalesce(pl.col(name), value) if name in frame.columns else value).alias(name)
        for name, value in wanted.items()
        if subject.field(name)
    )


def _auto_numbers(store: Store, subject: SObject, count: int) -> list[pl.Series]:
    numbered = [each for each in subject.fields if each.auto_number]
    first = store.reserve_auto_number(subject, count) if numbered else 0
    made: list[pl.Series] = []
    for field in numbered:
        before, width, after = auto_number_parts(field.auto_number or "")
        digits = pl.int_range(first, first + count, eager=True).cast(pl.String).str.zfill(width)
        made.append(pl.select(pl.concat_str(pl.lit(before), digits, pl.lit(after)).alias(field.name)).to_series())
    return made
