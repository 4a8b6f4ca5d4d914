"""An independent check of a finished run: raw SQL against source, target and ledger; no engine code.

The source is a list of plain dictionaries that the test wrote into files itself. What the target must hold is
computed here from that list, and nowhere from anything the engine made of it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

Row = Mapping[str, str | None]
OUTCOMES = ("created", "updated", "unchanged", "deferred", "rejected", "skipped")


@dataclass(frozen=True)
class Expected:
    """One object: its source rows by id, and which of their fields point at which object."""

    table: str
    rows: Mapping[str, Row]
    references: Mapping[str, str] = field(default_factory=dict)
    """Field → table of the parent."""


@dataclass(frozen=True)
class Held:
    """A target table as it is: key → row, with references told by the key of the row they point at."""

    rows: Mapping[str, Row]
    doubled: Sequence[str]
    dangling: Sequence[str]


def problems(
    ledger: psycopg.Connection, target: psycopg.Connection, run_id: int, expected: Sequence[Expected]
) -> list[str]:
    """Everything that is not as it must be, in sentences; empty where the run kept every promise."""
    found: list[str] = []
    for wanted in expected:
        found += _differences(wanted, _held(target, wanted))
        found += _ledger_problems(ledger, run_id, wanted)
    return found + _count_problems(ledger, run_id, expected)


def _held(target: psycopg.Connection, wanted: Expected) -> Held:
    """Every value as text, parents by their key."""
    fields = [name for name in next(iter(wanted.rows.values())) if name != "Id"]
    columns: list[sql.Composable] = []
    joins: list[sql.Composable] = []
    for number, name in enumerate(fields):
        column = sql.SQL("t.{}::text").format(sql.Identifier(name.lower()))
        if name in wanted.references:
            parent = sql.Identifier(f"p{number}")
            joins.append(
                sql.SQL("LEFT JOIN {} {} ON {}.id = t.{}").format(
                    sql.Identifier(wanted.references[name]), parent, parent, sql.Identifier(name.lower())
                )
            )
            columns += [sql.SQL("{}.source_id").format(parent), column]
        else:
            columns += [column, sql.SQL("NULL")]
    query = sql.SQL("SELECT t.source_id, {} FROM {} t {}").format(
        sql.SQL(", ").join(columns), sql.Identifier(wanted.table), sql.SQL(" ").join(joins)
    )
    rows: dict[str, Row] = {}
    doubled, dangling = [], []
    for key, *values in target.execute(query).fetchall():
        if key in rows:
            doubled.append(key)
        rows[key] = dict(zip(fields, values[::2], strict=True))
        for name, value, raw in zip(fields, values[::2], values[1::2], strict=True):
            if raw is not None and value is None and name in wanted.references:
                dangling.append(f"{key}.{name}")
    return Held(rows, doubled, dangling)


def _differences(wanted: Expected, held: Held) -> list[str]:
    table = wanted.table
    found = [f"{table}: {key} is there twice" for key in held.doubled]
    found += [f"{table}: {place} points nowhere" for place in held.dangling]
    found += [f"{table}: {key} is lost" for key in wanted.rows.keys() - held.rows.keys()]
    found += [f"{table}: nobody asked for {key}" for key in held.rows.keys() - wanted.rows.keys()]
    for key in wanted.rows.keys() & held.rows.keys():
        for name, value in held.rows[key].items():
            if value != (wanted.rows[key][name] or None):
                found.append(f"{table}: {key}.{name} is {value!r}, not {wanted.rows[key][name]!r}")
    return found


def _ledger_problems(ledger: psycopg.Connection, run_id: int, wanted: Expected) -> list[str]:
    """Each source record has exactly one tracked row, in an end state, with a target."""
    rows = ledger.execute(
        """SELECT t.source_id, t.state, t.target_id, t.key FROM runs_trackedrecord t
             JOIN runs_step s ON s.object_id = t.object_id
            WHERE s.run_id = %s AND s.mapping ->> 'target_entity' = %s""",
        [run_id, wanted.table],
    ).fetchall()
    states = Counter(state for _, state, _, _ in rows)
    found = [
        f"{wanted.table}: {count} records are {state}"
        for state, count in states.items()
        if state not in {"loaded", "unchanged"}
    ]
    tracked = Counter(source_id for source_id, *_ in rows)
    found += [f"{wanted.table}: {name} is tracked {count} times" for name, count in tracked.items() if count != 1]
    found += [f"{wanted.table}: {name} is not tracked" for name in wanted.rows.keys() - tracked.keys()]
    found += [f"{wanted.table}: {name} has no target" for name, _, target_id, key in rows if not (target_id and key)]
    return found


def _count_problems(ledger: psycopg.Connection, run_id: int, expected: Sequence[Expected]) -> list[str]:
    """Counters of chunks and steps against each other and against the source."""
    sums = ", ".join(f"sum(c.{name})" for name in OUTCOMES)
    rows = ledger.execute(
        f"""SELECT s.mapping ->> 'target_entity', s.read, s.extra, sum(c.records), sum(c.missing), sum(c.mismatches),
                   sum(c.verified_records), count(*) FILTER (WHERE c.state <> 'verified'),
                   count(*) FILTER (WHERE c.lease_until IS NOT NULL), max(c.sequence) + 1 - count(*), {sums}
              FROM runs_step s JOIN runs_chunk c ON c.step_id = s.id WHERE s.run_id = %s GROUP BY s.id""",
        [run_id],
    ).fetchall()
    found = []
    seen = {table: row for table, *row in rows}
    for wanted in expected:
        read, extra, records, missing, mismatches, verified, unverified, leased, gaps, *outcomes = seen[wanted.table]
        size = len(wanted.rows)
        if (read, records, verified, sum(outcomes)) != (size, size, size, size):
            found.append(
                f"{wanted.table}: of {size} were read {read}, chunked {records}, verified {verified}, told {outcomes}"
            )
        if missing or mismatches or extra or unverified or leased or gaps:
            found.append(
                f"{wanted.table}: {missing} missing, {mismatches} different, {extra} extra, {unverified} chunks not "
                f"verified, {leased} still leased, {gaps} gaps between chunks"
            )
    return found


def outcomes(ledger: psycopg.Connection, run_id: int) -> dict[str, int]:
    """The six outcome counts of the run, summed over its chunks; zeros left out."""
    sums = ", ".join(f"sum({name})" for name in OUTCOMES)
    row = ledger.execute(f"SELECT {sums} FROM runs_chunk WHERE run_id = %s", [run_id]).fetchone()
    return {name: count for name, count in zip(OUTCOMES, row or (), strict=False) if count}
