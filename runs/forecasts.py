"""Scores of dry runs: predictions put beside what the load that followed made of the same records."""

from collections.abc import Callable, Sequence
from typing import Final

import polars as pl
from django.db import connection
from django.db.models.functions import Now

from connectors.clients.postgresql import array_text
from projects.mapping import codec
from projects.mapping.row_hash import row_hash
from runs import payload, predictions
from runs.choices import RunKind, RunState
from runs.forecast_models import DryRun
from runs.ledger import Place
from runs.models import Chunk, Run, Step
from runs.scoring import SHOWN, Fate, Matched, Pairs, Score, score

STANDING: Final = {
    **dict.fromkeys(("source_id", "state", "code", "key"), pl.String),
    "chunk": pl.Int64,
}
ENDED: Final = (RunState.COMPLETED, RunState.COMPLETED_WITH_ERRORS)


def awaiting(load: Run) -> DryRun | None:
    """The dry run that this load puts to the test: the newest before it, where nothing was written in between."""
    earlier = Run.objects.filter(project=load.project_id, pk__lt=load.pk)
    tried = earlier.filter(kind=RunKind.DRY_RUN, state__in=ENDED).order_by("-pk").first()
    if tried is None or earlier.filter(pk__gt=tried.pk).exclude(kind=RunKind.DRY_RUN).exists():
        return None
    return DryRun.objects.filter(run=tried).select_related("run").first()


def put_to_the_test(
    load_id: int, *, fields_of: Callable[[int], Sequence[str]], keep: Callable[[], None]
) -> Score | None:
    """Score the dry run before this load, whose chunks are all loaded, and store the score; None without one.

    ``fields_of`` gives the source fields that a step's mapping reads, ``keep`` is called between chunks. Nobody may
    have written since: it belongs before the load's end.
    """
    load = Run.objects.get(pk=load_id)
    dry_run = awaiting(load)
    if dry_run is None:
        return None
    steps = load.steps.order_by("wave", "position")
    found = [_matched(step, dry_run.run, fields_of(step.pk), keep) for step in steps]
    made = score(found, same_mapping=dry_run.run.mapping_digest == load.mapping_digest)
    DryRun.objects.filter(pk=dry_run.pk).update(load=load, score=made.as_json(), scored_at=Now())
    return made


def _matched(step: Step, tried: Run, fields: Sequence[str], keep: Callable[[], None]) -> Matched:
    mapping = codec.decode(step.mapping)
    place = Place(tried.project_id, step.object_id, tried.pk, step.pk, mapping.part)
    matched = Matched(str(step))
    met = 0
    for chunk_id in Chunk.objects.filter(step=step).order_by("pk").values_list("pk", flat=True):
        keep()
        met += _match(Chunk.objects.get(pk=chunk_id), place, mapping.identity, fields, matched)
    matched.gone = max(0, predictions.totals(tried.project_id, tried.pk).get(step.object_id, 0) - met)
    return matched


def _match(chunk: Chunk, place: Place, identity: str, fields: Sequence[str], matched: Matched) -> int:
    """Add the chunk's records; returns how many of them had a prediction."""
    fates = _fates(chunk, place, identity, fields)
    known = predictions.known(place, fates["source_id"])
    both = fates.join(known, on="source_id", suffix="_predicted")
    matched.new += fates.height - both.height
    same = both.filter(pl.col("content").eq_missing(pl.col("content_predicted")))
    matched.changed += both.height - same.height
    columns = ["outcome_predicted", "code_predicted", "outcome", "code"]
    grouped = same.group_by(columns).agg(pl.len().alias("count"), pl.col("source_id").head(SHOWN).alias("ids"))
    matched.pairs += [
        Pairs(_fate(row[0], row[1]), _fate(row[2], row[3]), row[4], tuple(row[5])) for row in grouped.iter_rows()
    ]
    return both.height


def _fate(outcome: str, code: str) -> Fate:
    """Codes count where a record was refused; elsewhere they only repeat the outcome."""
    return Fate(outcome, code if outcome == "rejected" else "")


def _fates(chunk: Chunk, place: Place, identity: str, fields: Sequence[str]) -> pl.DataFrame:
    """``source_id, outcome, code, content`` of the records whose fate this chunk decided, one row each."""
    frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    read = frame.filter(pl.col(identity).is_not_null() & (pl.col(identity) != ""))
    content = read.select(pl.col(identity).alias("source_id"), row_hash(read.select(fields)).alias("content"))
    content = content.unique("source_id", keep="last", maintain_order=True)
    standing = _standing(place, content["source_id"])
    before = payload.unpack(chunk.before, purpose=payload.BEFORE)["key"] if chunk.before is not None else None
    existed = pl.col("key").is_in(before.implode()) if before is not None else pl.lit(value=False)
    # A chunk leaves alone the row of a record that was settled before, whatever run did that.
    untouched = pl.col("chunk") < chunk.pk
    outcome = (
        pl.when(untouched & (pl.col("state") == "deferred")).then(pl.lit("deferred"))
        .when(untouched).then(pl.lit("unchanged"))
        .when((pl.col("state") == "loaded") & existed).then(pl.lit("updated"))
        .when(pl.col("state") == "loaded").then(pl.lit("created"))
        .when(pl.col("state") == "conflict").then(pl.lit("conflicts"))
        .otherwise("state")
    )  # fmt: skip
    # What a later chunk touched came again on a later page, and is that chunk's.
    ours = standing.filter(pl.col("chunk") <= chunk.pk).join(content, on="source_id")
    return ours.select("source_id", outcome.alias("outcome"), "code", "content")


def _standing(place: Place, source_ids: pl.Series) -> pl.DataFrame:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT source_id, state, code, key, chunks[cardinality(chunks)] FROM runs_trackedrecord
                WHERE project_id = %s AND object_id = %s AND part = %s AND source_id = ANY(%s::text[])""",
            [place.project_id, place.object_id, place.part, array_text(source_ids)],
        )
        return pl.DataFrame(cursor.fetchall(), schema=STANDING, orient="row")
