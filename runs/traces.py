"""What a rollback may take back of each record: the chunks that wrote it, in order, and whose they were."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from django.db import connection

from connectors.clients.postgresql import array_text
from runs.choices import RunKind
from runs.ledger import Scope

_IDENTITY = dict.fromkeys(("source_id", "part", "target_id", "key", "hash"), pl.String())
RECORD_SCHEMA = pl.Schema({**_IDENTITY, "chunks": pl.List(pl.Int64)})
TRACE_SCHEMA = pl.Schema(
    {
        **_IDENTITY,
        "writers": pl.List(pl.Int64),
        "earlier": pl.List(pl.Int64),
        "left_by": pl.Int64(),
        "later": pl.Boolean(),
    }
)
_EACH = ["source_id", "part"]


@dataclass(frozen=True, slots=True)
class Undone:
    """Whose records are looked at: those of one object of a project, as far as the run ``run_id`` wrote them.

    Without a run it is all that was ever written. ``scope`` narrows them further.
    """

    project_id: int
    object_id: int
    run_id: int | None
    scope: Scope


def traces(undone: Undone, source_ids: pl.Series) -> pl.DataFrame:
    """Those of the records that stand in the target by our doing, with the columns of ``TRACE_SCHEMA``.

    ``writers`` are the chunks to take back, the first to write first: those of the run, and those of retries that
    brought what the run had left. ``earlier`` are the chunks that touched the record before them, of which
    ``left_by`` wrote last (null: none did). ``later`` says that another run wrote the record after that. A chunk
    that only refused a record did not write it, and what was taken back already counts no more.
    """
    records = _records(undone, source_ids)
    touches = _touches(records, undone.run_id)
    if not touches.height:
        return pl.DataFrame(schema=TRACE_SCHEMA)
    ours = touches.filter("ours").group_by(_EACH).agg(first=pl.col("place").min())
    placed = touches.join(ours, on=_EACH)
    wrote, before = pl.col("wrote"), pl.col("place") < pl.col("first")
    told = placed.group_by(_EACH, maintain_order=True).agg(
        writers=pl.col("chunk").filter(wrote & pl.col("ours")),
        earlier=pl.col("chunk").filter(before),
        left_by=pl.col("chunk").filter(before & wrote).last(),
        later=(wrote & ~pl.col("ours") & ~before).any(),
    )
    found = records.drop("chunks").join(told.filter(pl.col("writers").list.len() > 0), on=_EACH)
    return found.select(TRACE_SCHEMA.keys()).sort(_EACH)


def _records(undone: Undone, source_ids: pl.Series) -> pl.DataFrame:
    scope = undone.scope
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT source_id, part, target_id, key, replace(hash::text, '-', ''), chunks FROM runs_trackedrecord
                WHERE project_id = %(project)s AND object_id = %(object)s AND source_id = ANY(%(ids)s::text[])
                  AND state <> 'rolled_back' AND (target_id IS NOT NULL OR state = 'deleted')
                  AND (%(chosen)s::text[] IS NULL OR source_id = ANY(%(chosen)s))
                  AND (%(states)s::text[] IS NULL OR state = ANY(%(states)s))
                  AND (%(codes)s::text[] IS NULL OR code = ANY(%(codes)s))""",
            {
                "project": undone.project_id,
                "object": undone.object_id,
                "ids": array_text(source_ids),
                "chosen": list(scope.source_ids) or None,
                "states": list(scope.states) or None,
                "codes": list(scope.codes) or None,
            },
        )
        return pl.DataFrame(cursor.fetchall(), schema=RECORD_SCHEMA, orient="row")


def _touches(records: pl.DataFrame, run_id: int | None) -> pl.DataFrame:
    """A row per record and chunk, in order: ``chunk``, its ``place``, whether it ``wrote`` and whether it is ``ours``.

    A retry belongs to the run whose leavings it brought, unless it is itself what is taken back.
    """
    exploded = records.select(*_EACH, chunk="chunks").explode("chunk").with_columns(
        place=pl.int_range(pl.len()).over(_EACH)
    )  # fmt: skip
    ids = exploded["chunk"].unique()
    joined = exploded.join(_facts(ids), on="chunk").join(_unsent(ids), on=["chunk", "source_id"], how="left")
    touches = joined.sort(*_EACH, "place").with_columns(wrote=pl.col("unsent").is_null()).drop("unsent")
    undoing = pl.col("kind") == RunKind.ROLLBACK
    taken_back = pl.col("place").filter(undoing & pl.col("wrote")).max().over(_EACH)
    kept = touches.filter((pl.col("place") > taken_back.fill_null(-1)) & ~undoing)
    if run_id is None:
        return kept.with_columns(ours=pl.lit(value=True))
    brought = pl.when(pl.col("kind") != RunKind.RETRY).then("run")
    owner = brought.forward_fill().over(_EACH).fill_null(pl.col("run"))
    return kept.with_columns(ours=(owner == run_id) | (pl.col("run") == run_id))


def _facts(chunks: pl.Series) -> pl.DataFrame:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.id, c.run_id, r.kind FROM runs_chunk c JOIN runs_run r ON r.id = c.run_id
                WHERE c.id = ANY(%s)""",
            [chunks.to_list()],
        )
        schema = {"chunk": pl.Int64, "run": pl.Int64, "kind": pl.String}
        return pl.DataFrame(cursor.fetchall(), schema=schema, orient="row")


def _unsent(chunks: pl.Series) -> pl.DataFrame:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, unnest(unsent), true FROM runs_chunk WHERE id = ANY(%s) AND unsent <> '{}'", [chunks.to_list()]
        )
        schema = {"chunk": pl.Int64, "source_id": pl.String, "unsent": pl.Boolean}
        return pl.DataFrame(cursor.fetchall(), schema=schema, orient="row")


def chunks_with(undone: Undone, source_ids: Sequence[str]) -> list[int]:
    """The chunks that touched these records, newest first: where to look for a hand-picked few."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT unnest(chunks) FROM runs_trackedrecord
                WHERE project_id = %s AND object_id = %s AND source_id = ANY(%s) ORDER BY 1 DESC""",
            [undone.project_id, undone.object_id, list(source_ids)],
        )
        return [chunk for (chunk,) in cursor.fetchall()]
