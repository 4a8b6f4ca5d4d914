"""Writing staged rows into a table by one set-based merge, with one answer per row.

The statements are those of version 15 and later (MERGE … RETURNING would need 17).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from connectors.clients.postgresql import Connection, Cursor, array_text
from connectors.clients.postgresql_append import append, appendable
from connectors.clients.postgresql_catalog import Column, Rule, RuleKind, Table
from connectors.clients.postgresql_errors import blames_record
from connectors.clients.postgresql_isolate import Cause, Refusal, isolate, rejected
from connectors.clients.postgresql_lookup import LOOK_UP, LOOK_UPS, planned_anew
from connectors.clients.postgresql_read import query_frame
from connectors.clients.postgresql_stage import ROW, Stage, fill, raw, without
from connectors.types import RESULT_SCHEMA, Outcome

# Types without an equality operator, and the form in which they are compared.
_COMPARED_AS = {"json": "jsonb", "xml": "text", "point": "text", "polygon": "text", "line": "text", "path": "text"}
PROBES = 20
"""Rows looked up, evenly spread, before all of a frame are taken for new."""
_NO_MORE = sql.SQL("")
_ANSWER = {"row": pl.Int64, "target_id": pl.String, "outcome": pl.String}


@dataclass(frozen=True, slots=True)
class Merge:
    """How a frame with ``columns`` gets into ``table``: the statements, each ending in its WHERE.

    ``constants`` are columns with one value for all rows (the tenant), part of the key look-up.
    """

    table: Table
    columns: tuple[Column, ...]
    key: Column
    constants: tuple[tuple[Column, str], ...] = ()

    @property
    def stage(self) -> Stage:
        return Stage(self.table, self.columns)

    @property
    def indexed(self) -> bool:
        """Whether the key look-up has a unique index to go by."""
        return self.table.is_key([self.key.name, *(column.name for column, _ in self.constants)])

    def matches(self) -> sql.Composed:
        """Row number, target id and whether the row differs, of the rows whose key exists."""
        # OFFSET 0 keeps the look-up a look-up: one descent of the key's index per staged row, however large
        # the table has become and whatever its statistics say.
        return sql.SQL(
            "SELECT s.{row}, t.id, t.differs FROM {stage} s CROSS JOIN LATERAL "
            "(SELECT t.{id}::text AS id, {differs} AS differs FROM {table} t WHERE {on} OFFSET 0) t WHERE true"
        ).format(
            row=sql.Identifier(ROW),
            id=self._id,
            differs=self._differs(),
            stage=self.stage.relation,
            table=self.table.relation,
            on=self.on(),
        )

    def update(self) -> sql.Composed:
        changes = [sql.SQL("{} = {}").format(sql.Identifier(c.name), self.stage.value(c)) for c in self._compared]
        return sql.SQL("UPDATE {table} t SET {changes} FROM {stage} s WHERE {on}").format(
            table=self.table.relation, changes=sql.SQL(", ").join(changes), stage=self.stage.relation, on=self.on()
        )

    def insert(self) -> sql.Composed:
        columns = [*self.columns, *(column for column, _ in self.constants)]
        values = [self.stage.value(c) for c in self.columns] + [constant(c, value) for c, value in self.constants]
        return sql.SQL("INSERT INTO {} AS t ({}) SELECT {} FROM {} s WHERE true").format(
            self.table.relation,
            sql.SQL(", ").join(sql.Identifier(column.name) for column in columns),
            sql.SQL(", ").join(values),
            self.stage.relation,
        )

    def returning(self, what: sql.Composable) -> sql.Composed:
        return sql.SQL(" RETURNING {}, t.{}::text").format(what, self._id)

    @property
    def _id(self) -> sql.Identifier:
        return sql.Identifier(self.table.id_column or self.key.name)

    @property
    def _compared(self) -> list[Column]:
        return [column for column in self.columns if column is not self.key]

    def on(self) -> sql.Composed:
        """The condition, over the aliases ``s`` and ``t``, that a staged row and one of the table have one key."""
        parts = [sql.SQL("t.{0} = s.{0}").format(sql.Identifier(self.key.name))]
        parts += [
            sql.SQL("t.{} = {}").format(sql.Identifier(column.name), constant(column, value))
            for column, value in self.constants
        ]
        return sql.SQL(" AND ").join(parts)

    def _differs(self) -> sql.Composable:
        if not self._compared:
            return sql.SQL("false")
        ours = sql.SQL(", ").join(_comparable(c, self.stage.value(c)) for c in self._compared)
        theirs = sql.SQL(", ").join(_comparable(c, sql.Identifier("t", c.name)) for c in self._compared)
        return sql.SQL("ROW({}) IS DISTINCT FROM ROW({})").format(ours, theirs)


def constant(column: Column, value: str) -> sql.Composed:
    """A literal of the column's own type."""
    return sql.SQL("{}::{}").format(sql.Literal(value), raw(column.declared))


def _comparable(column: Column, value: sql.Composable) -> sql.Composable:
    other = None if column.array else _COMPARED_AS.get(column.base)
    return sql.SQL("({})::{}").format(value, raw(other)) if other else value


def merge_frame(connection: Connection, merge: Merge, frame: pl.DataFrame) -> pl.DataFrame:
    """Write the frame and say what became of each row: a frame of ``RESULT_SCHEMA``, one row per key.

    Runs in the caller's transaction, on a connection where the stage exists. Rows the database refuses are
    answered as rejected; errors that blame no row (psycopg.Error) go through.
    """
    return _Write(connection, merge, frame).run()


@dataclass(frozen=True, slots=True)
class _Done:
    """What one successful attempt did: ``answers`` has the columns of ``_ANSWER``."""

    answers: pl.DataFrame
    refused: tuple[Refusal, ...]


class _Write:
    """One frame on its way into the table."""

    def __init__(self, connection: Connection, merge: Merge, frame: pl.DataFrame) -> None:
        self._connection = connection
        self._cursor: Cursor = connection.cursor()
        self._merge = merge
        self._frame = frame
        self._keys = frame[merge.key.name].cast(pl.String)
        self._staged: list[int] = []
        self._index: sql.Identifier | None = None
        self._maybe_new = merge.indexed and merge.key.is_text
        """Whether rows may be inserted before anybody looks which are there: a unique index refuses those that are."""

    def run(self) -> pl.DataFrame:
        self._cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        if self._merge.indexed:
            # A fresh temporary table has no statistics: left to itself the planner may read the whole target.
            # The same goes for the plans that foreign keys keep for as long as the connection lives.
            self._cursor.execute(LOOK_UP)
        ordered = self._frame.select(column.name for column in self._merge.columns)
        if (appended := self._appended(ordered)) is not None:
            return appended
        refused = fill(self._connection, self._merge.stage, ordered)
        self._staged = without(range(self._frame.height), refused)
        done, more = isolate(self._connection, self._staged, self._attempt, self._sharing, past_locks=True)
        again, more = self._collided(done, more)
        self._drop_index()
        refused += [*more, *(refusal for part in [*done, *again] for refusal in part.refused)]
        return self._result(pl.concat([pl.DataFrame(schema=_ANSWER), *(p.answers for p in [*done, *again])]), refused)

    def _appended(self, ordered: pl.DataFrame) -> pl.DataFrame | None:
        """The answers where all rows are taken for new and the database takes them all; None, with nothing written,
        where a look at a few shows otherwise or it refuses any."""
        merge = self._merge
        if not (self._maybe_new and appendable(merge.table, merge.columns, merge.key)) or self._known():
            return None
        ids = append(self._connection, merge.table, ordered, merge.constants, key=merge.key)
        if ids is None:
            self._maybe_new = False
            return None
        answers = pl.DataFrame([self._keys.alias("key"), ids.alias("target_id")])
        nothing = (pl.lit(None, RESULT_SCHEMA[name]).alias(name) for name in ("code", "fields", "message"))
        return answers.with_columns(pl.lit(str(Outcome.CREATED)).alias("outcome"), *nothing).select(*RESULT_SCHEMA)

    def _known(self) -> bool:
        """Whether the table has any of a few keys, evenly spread."""
        few = self._keys.gather_every(max(1, len(self._keys) // PROBES)).drop_nulls()
        query = sql.SQL(
            "SELECT FROM unnest({keys}::text[]) AS s({key}) CROSS JOIN LATERAL "
            "(SELECT FROM {table} t WHERE {on} LIMIT 1) t LIMIT 1"
        ).format(
            keys=sql.Literal(array_text(few)),
            key=sql.Identifier(self._merge.key.name),
            table=self._merge.table.relation,
            on=self._merge.on(),
        )
        return self._cursor.execute(query, prepare=False).fetchone() is not None

    def _collided(self, done: Sequence[_Done], refused: Sequence[Refusal]) -> tuple[list[_Done], list[Refusal]]:
        """Try once more what collided: with a value that an update of this very write has freed since, with
        an earlier row that was itself refused, or with the same key written by somebody else meanwhile (which
        is there to be matched now)."""
        freed = any((part.answers["outcome"] == Outcome.UPDATED).any() for part in done)
        freed = freed or any(refusal.cause.code != "unique_violation" for refusal in refused)
        key = {self._merge.key.name, *(column.name for column, _ in self._merge.constants)}
        again = {
            refusal.item
            for refusal in refused
            if refusal.cause.code == "unique_violation" and (freed or self._columns(refusal.cause) == key)
        }
        if not again:
            return [], list(refused)
        more, still = isolate(self._connection, sorted(again), self._attempt, self._sharing, past_locks=True)
        return more, [*(refusal for refusal in refused if refusal.item not in again), *still]

    def _columns(self, cause: Cause) -> set[str]:
        rule = self._merge.table.rule(cause.rule)
        return set(rule.columns) if rule else set()

    # One attempt ---------------------------------------------------------------------------------------

    def _attempt(self, items: Sequence[int]) -> _Done:
        return self._inserted_unseen(items) or self._matched(items)

    def _inserted_unseen(self, items: Sequence[int]) -> _Done | None:
        """All rows inserted without a look at which exist, which saves first loads a descent of the index per row;
        None, with nothing written, where some of a few exist or the database refused any."""
        if self._maybe_new and self._matches(items[:: max(1, len(items) // PROBES)]).is_empty():
            try:
                with self._connection.transaction():
                    return _Done(self._insert(items), ())
            except psycopg.Error as error:
                if not blames_record(error):
                    raise
        self._maybe_new = False
        return None

    def _matched(self, items: Sequence[int]) -> _Done:
        found = self._matches(items)
        refused = _ambiguous(found)
        if refused:
            found = found.filter(~pl.col("row").is_in([refusal.item for refusal in refused]))
        gone = {*found["row"], *(refusal.item for refusal in refused)}
        fresh = [item for item in items if item not in gone] if gone else items
        same = found.filter(~pl.col("differs")).select("row", "target_id", outcome=pl.lit(str(Outcome.UNCHANGED)))
        changed = self._update(found.filter("differs")["row"].to_list())
        return _Done(pl.concat([same, changed, self._insert(fresh)]), tuple(refused))

    def _matches(self, items: Sequence[int]) -> pl.DataFrame:
        parts = (items[start : start + LOOK_UPS] for start in range(0, len(items), LOOK_UPS))
        found = (planned_anew(self._connection, partial(self._execute, self._merge.matches(), part)) for part in parts)
        rows = list(chain.from_iterable(found))
        return pl.DataFrame(rows, schema={"row": pl.Int64, "target_id": pl.String, "differs": pl.Boolean}, orient="row")

    def _update(self, items: Sequence[int]) -> pl.DataFrame:
        if not items:
            return pl.DataFrame(schema=_ANSWER)
        returning = self._merge.returning(sql.Identifier("s", ROW))
        return _answers(self._execute(self._merge.update(), items, returning), Outcome.UPDATED)

    def _insert(self, items: Sequence[int]) -> pl.DataFrame:
        if not items:
            return pl.DataFrame(schema=_ANSWER)
        key = self._merge.key
        returning = self._merge.returning(sql.SQL("{}::text").format(sql.Identifier("t", key.name)))
        if not key.is_text:
            self._execute(self._merge.insert(), items, returning)
            # Such a key may come back spelled otherwise than it went in; the database knows which is which.
            found = self._matches(items)
            return found.select("row", "target_id", outcome=pl.lit(str(Outcome.CREATED)))
        created = self._returned(self._merge.insert(), items, returning, names=("key", "target_id"))
        numbered = pl.DataFrame({"key": self._keys}).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
        joined = created.join(numbered, on="key", how="inner")
        return joined.select("row", "target_id", outcome=pl.lit(str(Outcome.CREATED)))

    def _returned(
        self, statement: sql.Composed, items: Sequence[int], ending: sql.Composed, *, names: Sequence[str]
    ) -> pl.DataFrame:
        """What the statement returns of these rows, as text under these names: by COPY, which makes no objects of
        Python's, but is refused for a table with rules."""
        if self._merge.table.rewritten:
            rows = self._execute(statement, items, ending)
            return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
        return query_frame(self._cursor, statement + self._only(items) + ending, names)

    def _execute(
        self, statement: sql.Composed, items: Sequence[int], ending: sql.Composable = _NO_MORE
    ) -> list[tuple[Any, ...]]:
        """Run a statement for these rows. Values stand in the text as literals: a column may be named ``%s``."""
        # Never prepared: a plan made while the target was empty would stay when it no longer is.
        return self._cursor.execute(statement + self._only(items) + ending, prepare=False).fetchall()

    def _only(self, items: Sequence[int]) -> sql.Composable:
        """The condition that keeps a statement to these rows, each named once."""
        if len(items) == len(self._staged):
            return _NO_MORE
        row = sql.Identifier("s", ROW)
        if items and (last := max(items)) - (first := min(items)) + 1 == len(items):
            # A list of thousands takes longer to write and to parse than the rows to find.
            return sql.SQL(" AND {} BETWEEN {} AND {}").format(row, sql.Literal(first), sql.Literal(last))
        return sql.SQL(" AND {} = ANY({}::integer[])").format(row, sql.Literal(list(items)))

    # After a refusal -----------------------------------------------------------------------------------

    def _sharing(self, cause: Cause, items: Sequence[int]) -> Sequence[int]:
        """The rows of ``items`` that are refused for the same cause for certain, found by one query; none
        where that cannot be told (a trigger may change rows, the rule spans columns we do not write)."""
        self._add_index()
        broken = None if self._merge.table.before_triggers else self._broken(cause, items)
        if broken is None:
            return ()
        query = sql.SQL("SELECT s.{} FROM {} s WHERE {}").format(
            sql.Identifier(ROW), self._merge.stage.relation, broken
        )
        try:
            with self._connection.transaction():
                guilty = {row for (row,) in self._execute(query, items)}
                found = self._matches(items)
        except psycopg.Error:
            return ()  # the question itself failed on some row's values; halving will tell
        new_only = cause.code == "unique_violation" or self._of_new_rows(cause)
        written = found["row"] if new_only else found.filter(~pl.col("differs"))["row"]
        spared = set(written)
        return [item for item in items if item in guilty and item not in spared]

    def _of_new_rows(self, cause: Cause) -> bool:
        """Whether no column of the broken rule is among those written: it is new rows that lack or share it."""
        names = {cause.column} if cause.column else self._columns(cause)
        return not names & {column.name for column in self._merge.columns}

    def _broken(self, cause: Cause, items: Sequence[int]) -> sql.Composable | None:
        """The condition, over a staged row, of breaking the rule that was broken."""
        ours = {column.name: column for column in self._merge.columns}
        if cause.code == "not_null_violation" and cause.column:
            absent = sql.SQL("{} IS NULL").format(sql.Identifier("s", cause.column))
            return absent if cause.column in ours else sql.SQL("true")
        rule = self._merge.table.rule(cause.rule)
        if rule is not None and rule.is_key:
            return self._taken(rule, items)
        if rule is None or rule.kind not in {RuleKind.FOREIGN, RuleKind.CHECK}:
            return None
        if rule.kind is RuleKind.FOREIGN and set(rule.columns) <= {column.name for column, _ in self._merge.constants}:
            return sql.SQL("true")
        if not set(rule.columns) <= ours.keys() or any(ours[name].array for name in rule.columns):
            return None
        return _orphaned(rule) if rule.kind is RuleKind.FOREIGN else _unsound(rule)

    def _taken(self, rule: Rule, items: Sequence[int]) -> sql.Composable | None:
        """The unique columns are all given, and a record of the target or an earlier one of ``items`` has the
        same. Not for the key itself: what collides there is matched at the next attempt."""
        fixed = {column.name: constant(column, value) for column, value in self._merge.constants}
        ours = [column for column in self._merge.columns if column.name in rule.columns]
        whole = {column.name for column in ours} | fixed.keys() >= set(rule.columns)
        if not ours or not whole or self._merge.key in ours or any(column.array for column in ours):
            return None
        staged = [sql.Identifier("s", column.name) for column in ours]
        values = fixed | {column.name: sql.Composed([name]) for column, name in zip(ours, staged, strict=True)}
        same = sql.SQL(" AND ").join(
            sql.SQL("t.{} = {}").format(sql.Identifier(name), values[name]) for name in rule.columns
        )
        return sql.SQL(
            "{given} AND (EXISTS (SELECT FROM {table} t WHERE {same}) OR s.{row} NOT IN "
            "(SELECT min(s.{row}) FROM {stage} s WHERE true{only} GROUP BY {names}))"
        ).format(
            given=sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(name) for name in staged),
            table=self._merge.table.relation,
            same=same,
            row=sql.Identifier(ROW),
            stage=self._merge.stage.relation,
            only=self._only(items),
            names=sql.SQL(", ").join(staged),
        )

    def _add_index(self) -> None:
        """From the first refusal on, parts of the stage are asked for again and again."""
        if self._index is None:
            self._index = sql.Identifier("pg_temp", self._merge.stage.name + "_row")
            self._cursor.execute(
                sql.SQL("CREATE INDEX {} ON {} ({})").format(
                    sql.Identifier(self._merge.stage.name + "_row"), self._merge.stage.relation, sql.Identifier(ROW)
                )
            )

    def _drop_index(self) -> None:
        if self._index is not None:
            self._cursor.execute(sql.SQL("DROP INDEX {}").format(self._index))

    # The answer ----------------------------------------------------------------------------------------

    def _result(self, answers: pl.DataFrame, refused: Sequence[Refusal]) -> pl.DataFrame:
        keys = pl.DataFrame({"key": self._keys}).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
        told = keys.join(answers, on="row", how="left").join(self._rejections(refused), on="row", how="left")
        lost = pl.col("outcome").is_null() & pl.col("code").is_null()
        return told.with_columns(
            outcome=pl.col("outcome").fill_null(str(Outcome.REJECTED)),
            code=pl.when(lost).then(pl.lit("not_written")).otherwise("code"),
            message=pl.when(lost)
            .then(
                pl.lit(
                    f"{self._merge.table.name}: the database wrote no row and named no reason: a trigger of the "
                    "table discarded the record, or somebody deleted it meanwhile."
                )
            )
            .otherwise("message"),
        ).select(*RESULT_SCHEMA)

    def _rejections(self, refused: Sequence[Refusal]) -> pl.DataFrame:
        rows = self._frame[[refusal.item for refusal in refused]].to_dicts()
        errors = [rejected(self._merge.table, refusal.cause, row) for refusal, row in zip(refused, rows, strict=True)]
        return pl.DataFrame(
            {
                "row": [refusal.item for refusal in refused],
                "code": [error.code for error in errors],
                "fields": [", ".join(error.fields) for error in errors],
                "message": [error.message for error in errors],
            },
            schema={"row": pl.Int64, "code": pl.String, "fields": pl.String, "message": pl.String},
        )


def _answers(rows: Sequence[tuple[Any, ...]], outcome: Outcome) -> pl.DataFrame:
    found = pl.DataFrame(rows, schema={"row": pl.Int64, "target_id": pl.String}, orient="row")
    return found.with_columns(outcome=pl.lit(str(outcome)))


def _ambiguous(found: pl.DataFrame) -> list[Refusal]:
    """Rows whose key names several records of the target, and rows whose keys name one record."""
    several = found.filter(pl.col("row").is_duplicated())
    twins = found.filter(pl.col("target_id").is_duplicated() & ~pl.col("row").is_in(several["row"].implode()))
    # The twin that comes first in the frame is the one that is written.
    later = twins.sort("row").filter(~pl.col("target_id").is_first_distinct())
    told = [
        Refusal(row, Cause("ambiguous_match", words=f"its key names several records: {', '.join(ids)}"))
        for row, ids in several.sort("row").group_by("row", maintain_order=True).agg("target_id").iter_rows()
    ]
    return told + [
        Refusal(row, Cause("ambiguous_match", words=f"an earlier record of this write has the same key (record {one})"))
        for row, one in later.select("row", "target_id").iter_rows()
    ]


def _orphaned(rule: Rule) -> sql.Composable:
    """The foreign key's columns are all given and name no parent."""
    parent = sql.Identifier(*(rule.parent or ()))
    given = [sql.SQL("{} IS NOT NULL").format(sql.Identifier("s", name)) for name in rule.columns]
    same = [
        sql.SQL("p.{} = s.{}").format(sql.Identifier(theirs), sql.Identifier(ours))
        for ours, theirs in zip(rule.columns, rule.parent_columns, strict=True)
    ]
    return sql.SQL("{} AND NOT EXISTS (SELECT FROM {} p WHERE {})").format(
        sql.SQL(" AND ").join(given), parent, sql.SQL(" AND ").join(same)
    )


def _unsound(rule: Rule) -> sql.Composable:
    """The check's condition, in the catalog's own words, is false (unknown passes, as in the table)."""
    return sql.SQL("({}) IS FALSE").format(raw(rule.expression or "true"))
