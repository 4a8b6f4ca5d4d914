"""An independent check of what a migration left: raw SQL and plain HTTP, and not a line of the engine's.

What the target must hold is worked out from the rows that were put into the source (``truth``); what the ledger says
is asked of its tables; and the three are held against each other.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import psycopg
from psycopg import sql

from migration_factory.torment.rest import Rest
from migration_factory.torment.scene import Entities, Entity, Field, Kind, Row, Rows

OUTCOMES = ("created", "updated", "unchanged", "deferred", "rejected", "skipped", "deleted", "conflicts")
IN_TARGET = {"loaded", "unchanged"}
SAMPLE = 5


@dataclass(frozen=True, slots=True)
class Held:
    """One entity as the target has it: ``rows`` and ``ids`` by key, references told by the key of their parent."""

    rows: Mapping[str, Row]
    ids: Mapping[str, str]
    doubled: Sequence[str] = ()
    dangling: Sequence[str] = ()
    keyless: int = 0


@dataclass(frozen=True, slots=True)
class Tracked:
    """What the ledger says of one source record."""

    state: str
    target_id: str | None
    key: str | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """A run's counts, summed over its chunks; ``steps`` has (read, records, sum of outcomes, chunks, gaps, still
    open, missing, different) by entity and position."""

    outcomes: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[str, Sequence[int]] = field(default_factory=dict)


# --- Reading ---------------------------------------------------------------------------------------------------


def held_in_database(target: psycopg.Connection, entities: Entities) -> dict[str, Held]:
    """The mirror tables of a PostgreSQL target."""
    return {name: _table(target, entity, entities) for name, entity in entities.items()}


def _table(target: psycopg.Connection, entity: Entity, entities: Entities) -> Held:
    if target.execute("SELECT to_regclass(%s)", [entity.there]).fetchone() == (None,):
        return Held({}, {})
    columns: list[sql.Composable] = [sql.SQL("t.source_id"), sql.SQL("t.id::text")]
    joins: list[sql.Composable] = []
    for number, each in enumerate(entity.fields):
        column = sql.Identifier("t", each.there)
        columns.append(sql.SQL("{}::text").format(column))
        if each.kind is Kind.REFERENCE:
            parent = sql.Identifier(f"p{number}")
            columns.append(sql.SQL("{}.source_id").format(parent))
            joins.append(
                sql.SQL("LEFT JOIN {} {} ON {}.id::text = {}::text").format(
                    sql.Identifier(entities[each.parent].there), parent, parent, column
                )
            )
    query = sql.SQL("SELECT {} FROM {} t {}").format(
        sql.SQL(", ").join(columns), sql.Identifier(entity.there), sql.SQL(" ").join(joins)
    )
    return _collected(entity, target.execute(query))


def held_in_org(url: str, client_id: str, client_secret: str, entities: Entities, key: str) -> dict[str, Held]:
    """The objects of a Salesforce target, by its REST query alone; ``key`` is its external id."""
    org = Rest(url, client_id, client_secret)
    return {name: _collected(entity, _object(org, entity, key)) for name, entity in entities.items()}


def _object(org: Rest, entity: Entity, key: str) -> Iterator[Sequence[str | None]]:
    names: list[str] = []
    for each in entity.fields:
        names.append("RecordType.DeveloperName" if each.kind is Kind.RECORD_TYPE else each.there)
        if each.kind is Kind.REFERENCE:
            names.append(f"{each.relation}.{key}")
    for record in org.query(f"SELECT {key}, Id, {', '.join(names)} FROM {entity.there}"):  # noqa: S608 - our own names
        yield [_text(_at(record, name)) for name in (key, "Id", *names)]


def _at(record: Mapping[str, object], path: str) -> object:
    first, _, rest = path.partition(".")
    value = record.get(first)
    return (value.get(rest) if isinstance(value, Mapping) else None) if rest else value


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)


def _collected(entity: Entity, rows: "Iterator[Sequence[str | None]] | psycopg.Cursor[tuple[str | None, ...]]") -> Held:
    fields = entity.fields
    found: dict[str, Row] = {}
    ids: dict[str, str] = {}
    doubled, dangling, keyless = [], [], 0
    for key, target_id, *values in rows:
        if key is None:
            keyless += 1
            continue
        if key in found:
            doubled.append(key)
        row, loose = _row(fields, values)
        found[key], ids[key] = row, str(target_id)
        dangling += [f"{key}.{name}" for name in loose]
    return Held(found, ids, doubled, dangling, keyless)


def _row(fields: Sequence[Field], values: Sequence[str | None]) -> tuple[Row, list[str]]:
    row: dict[str, str | None] = {}
    loose = []
    rest = iter(values)
    for each in fields:
        value = next(rest)
        if each.kind is Kind.REFERENCE:
            parent = next(rest)
            if value is not None and parent is None:
                loose.append(each.name)
            value = parent
        row[each.name] = _plain(each, value)
    return row, loose


def _plain(field: Field, value: str | None) -> str | None:
    """A value as rows are written."""
    if value is None:
        return None
    match field.kind:
        case Kind.NUMBER:
            return f"{Decimal(value):.{field.digits}f}"
        case Kind.MOMENT:
            return f"{value.removesuffix('+0000').removesuffix('Z')}Z"
        case _:
            return value


def tracked(ledger: psycopg.Connection, project_id: int) -> dict[str, dict[str, list[Tracked]]]:
    """Entity → source id → what the ledger has of it; more than one element is a fault."""
    found: dict[str, dict[str, list[Tracked]]] = {}
    for (entity,) in ledger.execute(
        "SELECT source_entity FROM projects_projectobject WHERE project_id = %s", [project_id]
    ):
        found[entity] = {}
    for entity, source_id, *rest in ledger.execute(
        """SELECT o.source_entity, t.source_id, t.state, t.target_id, t.key, t.reason
             FROM runs_trackedrecord t JOIN projects_projectobject o ON o.id = t.object_id
            WHERE t.project_id = %s""",
        [project_id],
    ):
        found[entity].setdefault(source_id, []).append(Tracked(*rest))
    return found


def told(ledger: psycopg.Connection, run_id: int) -> Told:
    sums = ", ".join(f"coalesce(sum(c.{name}), 0)::int" for name in OUTCOMES)
    outcomes: Counter[str] = Counter()
    steps: dict[str, Sequence[int]] = {}
    for entity, read, records, chunks, gaps, unsettled, missing, different, *counts in ledger.execute(
        f"""SELECT (s.mapping ->> 'source_entity') || ' ' || s.position, s.read,
                   coalesce(sum(c.records), 0)::int, count(c.id)::int,
                   coalesce(max(c.sequence) + 1 - count(c.id), 0)::int,
                   count(c.id) FILTER (WHERE c.state <> 'verified')::int,
                   coalesce(sum(c.missing), 0)::int, coalesce(sum(c.mismatches), 0)::int, {sums}
              FROM runs_step s LEFT JOIN runs_chunk c ON c.step_id = s.id
             WHERE s.run_id = %s GROUP BY s.id""",  # noqa: S608 - our own names
        [run_id],
    ):
        steps[entity] = (read, records, sum(counts), chunks, gaps, unsettled, missing, different)
        outcomes.update(dict(zip(OUTCOMES, counts, strict=True)))
    return Told({name: count for name, count in outcomes.items() if count}, steps)


def questions(ledger: psycopg.Connection, project_id: int) -> set[tuple[str, str, str, bool]]:
    """What waits for a person, or for a run that applies the answer: entity, source id, field, whether answered."""
    return {
        (entity, source_id, field, state == "decided")
        for entity, source_id, field, state in ledger.execute(
            """SELECT o.source_entity, c.source_id, c.field, c.state
                 FROM runs_conflict c JOIN projects_projectobject o ON o.id = c.object_id
                WHERE c.project_id = %s AND c.state <> 'applied'""",
            [project_id],
        )
    }


def spared(ledger: psycopg.Connection, run_id: int) -> set[tuple[str, str, str]]:
    """The edits that a rollback lists: entity, source id and field."""
    rows = ledger.execute(
        """SELECT s.mapping ->> 'source_entity', f.source_id, f.field
             FROM runs_finding f JOIN runs_step s ON s.id = f.step_id WHERE f.run_id = %s AND f.rule = 'edited'""",
        [run_id],
    )
    return {(entity, source_id, field) for entity, source_id, field in rows}


def extras(ledger: psycopg.Connection, run_id: int) -> int:
    """Records of the target that the run says nobody tracks."""
    row = ledger.execute("SELECT coalesce(sum(extra), 0)::int FROM runs_step WHERE run_id = %s", [run_id]).fetchone()
    return int(row[0]) if row else 0


# --- Judging ---------------------------------------------------------------------------------------------------


def problems_of_target(held: Mapping[str, Held], expected: Rows) -> list[str]:
    """Lost, doubled, dangling, unasked for or different, in sentences."""
    found: list[str] = []
    for entity, rows in expected.items():
        there = held[entity]
        found += _listed(entity, "there twice", there.doubled)
        found += _listed(entity, "pointing nowhere", there.dangling)
        found += _listed(entity, "lost", sorted(rows.keys() - there.rows.keys()))
        found += _listed(entity, "there without anybody's asking", sorted(there.rows.keys() - rows.keys()))
        if there.keyless:
            found.append(f"{entity}: {there.keyless} without a key")
        different = [
            f"{key}.{name} (should be {wanted!r}, is {there.rows[key][name]!r})"
            for key in rows.keys() & there.rows.keys()
            for name, wanted in rows[key].items()
            if there.rows[key][name] != wanted
        ]
        found += _listed(entity, "different", different)
    return found


def problems_of_states(
    known: Mapping[str, Mapping[str, Sequence[Tracked]]], expected: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Each source key is tracked once, stands just where it must, and nobody else is tracked."""
    found: list[str] = []
    for entity, states in expected.items():
        records = known[entity]
        found += _listed(entity, "tracked twice", [key for key, all_of_it in records.items() if len(all_of_it) != 1])
        found += _listed(entity, "not tracked", sorted(states.keys() - records.keys()))
        found += _listed(entity, "tracked, but never read", sorted(records.keys() - states.keys()))
        elsewhere = [
            f"{key} (should be {states[key]}, is {one.state}: {one.reason})"
            for key in sorted(states.keys() & records.keys())
            if ("loaded" if (one := records[key][0]).state == "unchanged" else one.state) != states[key]
        ]
        found += _listed(entity, "not in the state they must be in", elsewhere)
    return found


def problems_of_questions(
    found: "set[tuple[str, str, str, bool]]", expected: "set[tuple[str, str, str, bool]]"
) -> list[str]:
    """The queue of conflicts has just what must be asked."""
    return [
        *_listed("The queue", "not asked", sorted(_question(each) for each in expected - found)),
        *_listed("The queue", "asked for nothing", sorted(_question(each) for each in found - expected)),
    ]


def _question(each: tuple[str, str, str, bool]) -> str:
    entity, source_id, field, answered = each
    return f"{entity} {source_id}.{field or '(whole)'}{', answered' if answered else ''}"


def problems_of_spared(listed: "set[tuple[str, str, str]]", expected: "set[tuple[str, str, str]]") -> list[str]:
    """A rollback lists just the edits it left alone."""
    return [
        *_listed("The rollback", "edits not listed", sorted(".".join(each) for each in expected - listed)),
        *_listed("The rollback", "listed that nobody edited", sorted(".".join(each) for each in listed - expected)),
    ]


def problems_of_id_map(known: Mapping[str, Mapping[str, Sequence[Tracked]]], held: Mapping[str, Held]) -> list[str]:
    """The ledger names for each key the very record that the target has under it, and none besides."""
    found: list[str] = []
    for entity, records in known.items():
        there = held[entity].ids
        ours = {str(each.key): each.target_id for (each, *_) in records.values() if each.target_id}
        odd = [key for key in ours.keys() | there.keys() if ours.get(key) != there.get(key)]
        found += _listed(entity, "named otherwise by ledger and target", sorted(odd))
    return found


def problems_of_counts(
    counts: Told, report: Mapping[str, int], wanted: Mapping[str, range], different: range
) -> list[str]:
    """Chunks, steps, the report and what ``wanted`` says must have happened, all alike; ``different`` is how many
    fields reading back may find edited."""
    found = []
    off_by = 0
    for entity, (read, records, outcomes, _, gaps, unsettled, missing, wrong) in counts.steps.items():
        off_by += wrong
        if not read == records == outcomes:
            found.append(f"{entity}: {read} read, {records} in chunks, {outcomes} accounted for")
        if gaps or unsettled or missing:
            found.append(
                f"{entity}: {gaps} gaps between chunks, {unsettled} chunks not verified, {missing} missing on "
                "reading back"
            )
    if off_by not in different:
        found.append(f"reading back found {off_by} different, where there are {_span(different)}")
    told_of = {name: count for name, count in report.items() if count and name in OUTCOMES}
    if told_of != {name: count for name, count in counts.outcomes.items() if name in report}:
        found.append(f"the report says {told_of}, the chunks {dict(counts.outcomes)}")
    off = {name: counts.outcomes.get(name, 0) for name in wanted if counts.outcomes.get(name, 0) not in wanted[name]}
    if off:
        found.append(f"the run counts {off} where it must be { {name: _span(wanted[name]) for name in off} }")
    return found


def _span(numbers: range) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def problems_of_leases(ledger: psycopg.Connection, run_id: int) -> list[str]:
    """Whatever of an ended run somebody still holds."""
    found = []
    for table, column in (("runs_run", "id"), ("runs_step", "run_id"), ("runs_chunk", "run_id")):
        (held,) = ledger.execute(
            sql.SQL("SELECT count(*) FROM {} WHERE {} = %s AND lease_until IS NOT NULL").format(
                sql.Identifier(table), sql.Identifier(column)
            ),
            [run_id],
        ).fetchone() or (0,)
        if held:
            found.append(f"{held} rows of {table} are still leased")
    return found


def _listed(entity: str, what: str, names: Sequence[str]) -> list[str]:
    """One sentence for any number of records."""
    if not names:
        return []
    more = f" and {len(names) - SAMPLE} more" if len(names) > SAMPLE else ""
    return [f"{entity}: {len(names)} {what}: {', '.join(names[:SAMPLE])}{more}"]
