"""What we last wrote of a record, by the mapping of the run that wrote it.

It is not stored. The ledger has its hash; the values are made again from the earlier chunk's source records, and
believed only where they have that hash. A mapping changes between runs: what it had then is compared with what the
target holds of that, and a field it has gained was never ours. So does what is known of parents: a record that was
written while it waited for one has the hash of what it was without that reference.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, combinations, islice

import orjson
import polars as pl

from projects.mapping.equality import canonical
from projects.mapping.row_hash import row_hash
from runs import ledger, payload
from runs.engine.comparison import Rules, compare
from runs.engine.images import fingerprints, typed
from runs.engine.session import Bench, Session
from runs.engine.transform import Mapped, transform
from runs.models import Chunk, ContentsDropped, Step

ON_FIELD = ["key", "field"]
MOST_WAYS = 16
"""All ways in which up to four look-ups may have known their parents or not; of more look-ups the likeliest."""
FIELDS = pl.Schema({"key": pl.String(), "field": pl.String()})


@dataclass(frozen=True, slots=True)
class Base:
    """What we last wrote of records of which it is proven.

    ``values`` are frames of ``key`` and those target fields that the mapping had then, too, in the same types.
    ``retyped`` has ``key, field`` of those that it had in other types, which nothing can be compared with.
    """

    values: tuple[pl.DataFrame, ...]
    retyped: pl.DataFrame

    @property
    def keys(self) -> pl.Series:
        return pl.concat([pl.Series("key", [], pl.String), *(some["key"] for some in self.values)])

    def differing(self, rows: pl.DataFrame, rules: Rules) -> pl.DataFrame:
        """``key, field`` where the rows hold another value than we wrote."""
        found = [
            compare(some, rows, fields=some.columns[1:], rules=rules).mismatches.select(ON_FIELD)
            for some in self.values
        ]
        return pl.concat([pl.DataFrame(schema=FIELDS), *found])

    def texts(self) -> pl.DataFrame:
        """``key, field, base``: the values as text."""
        found = [
            some.select("key", pl.exclude("key").cast(pl.String)).unpivot(
                index="key", variable_name="field", value_name="base"
            )
            for some in self.values
            if some.width > 1
        ]
        return pl.concat([pl.DataFrame(schema={**FIELDS, "base": pl.String()}), *found])


def as_written(bench: Bench, chunk: Chunk, mapped: Mapped) -> Mapped:
    """What the chunk wrote: what the mapping makes of its records, but for the edits that it left in the target."""
    kept = ledger.kept_fields([chunk.pk])
    if not kept.height or chunk.before is None:
        return mapped
    keep = kept.join(mapped.records.select("source_id", "part", "key"), on=["source_id", "part"]).select(ON_FIELD)
    return overlaid(bench, mapped, keep, payload.unpack(chunk.before, purpose=payload.BEFORE))


def overlaid(bench: Bench, mapped: Mapped, keep: pl.DataFrame, before: pl.DataFrame) -> Mapped:
    """The content with the fields of ``keep`` as the target held them, and the hashes of that."""
    if not keep.height:
        return mapped
    held = typed(bench, before.join(keep, on="key", how="semi"))
    rows = mapped.records.select("key").hstack(mapped.content)
    for (field,), some in keep.partition_by("field", as_dict=True).items():
        name = str(field)
        values = held.join(some, on="key", how="semi").select(
            "key", pl.col(name).alias("·held"), pl.lit(1).alias("·is")
        )
        rows = rows.join(values, on="key", how="left", maintain_order="left").with_columns(
            pl.when(pl.col("·is").is_not_null()).then("·held").otherwise(name).alias(name)
        )
        rows = rows.drop("·held", "·is")
    content = rows.select(mapped.content.columns)
    hashes = row_hash(canonical(content, bench.rules)).alias("hash")
    return replace(mapped, content=content, records=mapped.records.with_columns(hashes))


def held_as_written(session: Session, bench: Bench, asked: pl.DataFrame, rows: pl.DataFrame) -> pl.Series:
    """Keys of those of the ``asked`` records whose fetched ``rows`` have the hash of what we last wrote.

    ``asked`` has ``source_id, key`` and ``was``, that hash. It was made by the mapping of then, which is tried where
    the present one does not give it.
    """
    there = rows.join(asked, on="key", how="semi")
    same = _same(bench, asked, there)
    left = asked.filter(~pl.col("key").is_in(same.implode()))
    for then in _earlier_benches(session, bench, left) if left.height else ():
        if _fits(then, bench):
            same = pl.concat([same, _same(then, left, there)])
    return same.unique()


def unedited(session: Session, bench: Bench, asked: pl.DataFrame, rows: pl.DataFrame) -> pl.Series:
    """As ``held_as_written``, and those that hold what we wrote in all fields that the mapping still has."""
    same = held_as_written(session, bench, asked, rows)
    left = asked.filter(~pl.col("key").is_in(same.implode())).join(rows, on="key", how="semi")
    if not left.height:
        return same
    base = last_wrote(session, bench, left)
    theirs = typed(bench, rows.join(left, on="key", how="semi"))
    differing = pl.concat([base.differing(theirs, bench.rules), base.retyped])["key"]
    return pl.concat([same, base.keys.filter(~base.keys.is_in(differing.implode()))])


def last_wrote(session: Session, bench: Bench, asked: pl.DataFrame) -> Base:
    """What we last wrote of these records (``source_id, key`` and ``was``, the hash of it), where it is proven.

    It is made again from the source records of earlier chunks, the newest first. Where none has that hash (a value
    map was changed, contents are not kept any more) nothing is told of the record.
    """
    values, retyped, left = [], [pl.DataFrame(schema=FIELDS)], asked
    touches = ledger.touches(bench.place, asked["source_id"])
    for (chunk_id,), some in (
        touches.sort("chunk", descending=True).partition_by("chunk", as_dict=True, maintain_order=True).items()
    ):
        candidates = left.join(some, on="source_id", how="semi")
        if not candidates.height:
            continue
        chunk = Chunk.objects.get(pk=int(chunk_id))
        then = session.bench(chunk.step_id)
        proven = _proven(then, chunk, candidates)
        if proven is None or not proven.height:
            continue
        had = [name for name in bench.other_fields if name in then.content_schema]
        alike = [name for name in had if then.content_schema[name] == bench.content_schema[name]]
        values.append(proven.select("key", *alike))
        other = pl.DataFrame({"field": [name for name in had if name not in alike]}, schema={"field": pl.String})
        retyped.append(proven.select("key").join(other, how="cross"))
        left = left.join(proven, on="key", how="anti")
        if not left.height:
            break
    return Base(tuple(values), pl.concat(retyped))


def _proven(then: Bench, chunk: Chunk, asked: pl.DataFrame) -> pl.DataFrame | None:
    """``key`` and what the mapping of then makes of those of the records that have the hash of what we wrote."""
    try:
        frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    except ContentsDropped:
        return None
    if not set(then.compiled.source_fields) <= set(frame.columns):
        return None
    mine = frame.filter(pl.col(then.mapping.identity).is_in(asked["source_id"].implode()))
    mine = mine.unique(then.mapping.identity, keep="last", maintain_order=True)
    found: list[pl.DataFrame] = []
    for unknown in _parents_then(then):
        mapped = transform(then, mine, unknown=unknown)
        wrote = as_written(then, chunk, mapped)
        proven = wrote.records.join(asked.select("source_id", "was"), on="source_id").filter(
            pl.col("hash") == pl.col("was")
        )
        found.append(mapped.content_of(proven).select(proven["key"], *then.other_fields))
        mine = mine.filter(~pl.col(then.mapping.identity).is_in(proven["source_id"].implode()))
        if not mine.height:
            break
    return pl.concat(found)


def _parents_then(bench: Bench) -> Iterator[tuple[str, ...]]:
    """Which look-ups may have known nothing yet when a record was written: none of them first, then ever more."""
    names = sorted(bench.compiled.lookups)
    ways = chain.from_iterable(combinations(names, size) for size in range(len(names) + 1))
    return islice(ways, MOST_WAYS)


def _same(then: Bench, asked: pl.DataFrame, rows: pl.DataFrame) -> pl.Series:
    return asked.join(fingerprints(then, rows), on="key").filter(pl.col("held") == pl.col("was"))["key"]


def _fits(then: Bench, bench: Bench) -> bool:
    """Whether rows that were fetched for ``bench`` have all that the mapping of then wrote, as it wrote it."""
    return (then.entity, then.mapping.key) == (bench.entity, bench.mapping.key) and all(
        bench.content_schema.get(name) == then.content_schema[name] for name in then.compiled.target_fields
    )


def _earlier_benches(session: Session, bench: Bench, asked: pl.DataFrame) -> Iterator[Bench]:
    """Those of the steps that touched the records, the newest first, one of each mapping that is not the present."""
    chunks = ledger.touches(bench.place, asked["source_id"])["chunk"].unique().to_list()
    steps = Step.objects.filter(chunks__pk__in=chunks).distinct().order_by("-pk")
    seen = {_spelled(Step.objects.get(pk=bench.place.step_id))}
    for step in steps:
        if _spelled(step) not in seen:
            seen.add(_spelled(step))
            yield session.bench(step.pk)


def _spelled(step: Step) -> bytes:
    """What the step's bench is made of."""
    return orjson.dumps((step.mapping, step.source_schema, step.target_schema), option=orjson.OPT_SORT_KEYS)
