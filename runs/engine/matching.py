"""Matching: look records that are new to us up in the target by their match key, take over the one that is found,
and never guess.

Two source records with one match key are both stopped, whichever came first: all keys of an object are registered
before any of it is loaded. So is a record whose key is blank, or that several rows of the target agree with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from connectors.types import RESULT_SCHEMA, FieldInfo, Outcome
from projects.mapping.row_hash import row_hash
from runs import ledger, payload
from runs.choices import RecordState, RunKind
from runs.engine.session import Bench, Session
from runs.engine.transform import Mapped, transform
from runs.ledger import FINDING_COLUMNS, OUTCOME_COLUMNS
from runs.models import Chunk

ADOPTED = "·adopted"
"""The column of before-images that says that the row did not carry our key; it is there where some did not."""
SHOWN_CANDIDATES = 10


@dataclass(frozen=True, slots=True)
class Matches:
    """``images`` are the before-images of the rows to take over, under our keys; ``stopped`` has the outcomes of the
    records that go no further, with their ``count``."""

    images: pl.DataFrame | None
    stopped: pl.DataFrame
    findings: pl.DataFrame


NOTHING = Matches(
    None,
    pl.DataFrame(schema=dict.fromkeys((*OUTCOME_COLUMNS, "count"), pl.String)),
    pl.DataFrame(schema=dict.fromkeys(FINDING_COLUMNS, pl.String)),
)


def match(session: Session, bench: Bench, chunk: Chunk, mapped: Mapped, new: pl.DataFrame) -> Matches:
    """Look the ``new`` records up (columns of ``Mapped.records``), of an object that has a match key.

    Raises what the target raises.
    """
    if not new.height:
        return NOTHING
    _register(session, bench, chunk)
    keyed = _keyed(bench, mapped, new)
    blank = _stopped_for(keyed.filter("blank"), "blank_match_key", _blank_sentence(bench))
    left = keyed.filter(~pl.col("blank"))
    twins = _twins(session, bench, left)
    left = left.join(twins, on="source_id", how="anti")
    hits = _hits(session, bench, mapped, left)
    several = _ambiguous(bench, left, hits)
    alone = hits.join(several, on="source_id", how="anti").filter(pl.col("held").is_null())
    stopped = pl.concat([blank, *(_stopped_for(part, "ambiguous_match", "sentence") for part in (twins, several))])
    return Matches(
        _images(session, bench, alone) if alone.height else None,
        stopped.select(*OUTCOME_COLUMNS, "count"),
        _findings(bench, stopped),
    )


def with_images(before: pl.DataFrame, images: pl.DataFrame) -> pl.DataFrame:
    """The before-images of a chunk and, marked, those of the rows that it takes over."""
    plain = before if ADOPTED in before.columns else before.with_columns(pl.lit(value=False).alias(ADOPTED))
    marked = images.with_columns(pl.lit(value=True).alias(ADOPTED)).select(plain.columns)
    return pl.concat([plain, marked], how="vertical_relaxed")


def adopted(before: pl.DataFrame) -> pl.DataFrame:
    """``target_id`` and ``key`` of the before-images whose rows did not carry our key."""
    rows = before.filter(pl.col(ADOPTED)) if ADOPTED in before.columns else before.clear()
    return rows.select("target_id", "key")


def adopt(session: Session, bench: Bench, rows: pl.DataFrame) -> pl.DataFrame:
    """Give these rows (``target_id``, ``key``) our keys; the refusals, as ``RESULT_SCHEMA``, by key.

    May be done again: a row that has its key is left as it is.
    """
    if not rows.height:
        return pl.DataFrame(schema=RESULT_SCHEMA)
    answers = session.target.adopt(bench.entity, rows, key=bench.mapping.key).frame
    told = rows.join(answers.rename({"key": "asked"}).drop("target_id"), left_on="target_id", right_on="asked")
    refused = told.filter(pl.col("outcome") == Outcome.REJECTED)
    return refused.with_columns(target_id=pl.lit(None, pl.String)).select(*RESULT_SCHEMA)


def release(session: Session, bench: Bench, rows: pl.DataFrame) -> None:
    """Take our keys from rows that did not carry them before us. Raises what the target raises."""
    if rows.height:
        nobody = rows.select("target_id", key=pl.lit(None, pl.String))
        session.target.adopt(bench.entity, nobody, key=bench.mapping.key)


def read_back(session: Session, bench: Bench, rows: pl.DataFrame, fields: Sequence[str]) -> pl.DataFrame:
    """What rows that lost our keys hold now, as ``Target.fetch`` under those keys would tell."""
    held = session.target.fetch(bench.entity, key=bench.id_field, keys=rows["target_id"].to_list(), fields=fields)
    return held.drop("key").join(rows, on="target_id").select("target_id", "key", *fields)


# --- the source's side ----------------------------------------------------------------------------------------


def _register(session: Session, bench: Bench, chunk: Chunk) -> None:
    """Register the match keys of all the step has read. Records that waited for a parent have theirs only when they
    are relinked: then all of the step that wait are registered once more, once by each worker."""
    step = bench.place.step_id
    waiting = chunk.loaded_at is not None and step not in session.rematched
    for chunk_id in ledger.chunks_to_match(step, waiting=waiting):
        one = Chunk.objects.get(pk=chunk_id)
        mapped = transform(bench, payload.unpack(one.payload, purpose=payload.PAYLOAD))
        keyed = _keyed(bench, mapped, mapped.records)
        ledger.register_match_keys(bench.place, chunk_id, keyed.filter(~pl.col("blank")))
    if waiting:
        session.rematched.add(step)


def _keyed(bench: Bench, mapped: Mapped, records: pl.DataFrame) -> pl.DataFrame:
    """The records with ``match`` (the hash of their match key), ``blank`` (part of it is) and ``shown`` (its text)."""
    fields = list(bench.mapping.match)
    content = mapped.content_of(records).select(fields)
    blank = content.select(
        pl.any_horizontal(pl.col(name).cast(pl.String).str.strip_chars().fill_null("") == "" for name in fields)
    ).to_series()
    shown = content.select(
        pl.concat_str(pl.col(fields).cast(pl.String), separator=" + ", ignore_nulls=True)
    ).to_series()
    spelled = content.with_columns(_folded(info) for info in _infos(bench).values())
    return records.with_columns(row_hash(spelled).alias("match"), blank.alias("blank"), shown.alias("shown"))


def _infos(bench: Bench) -> Mapping[str, FieldInfo]:
    return {field.name: field.info for field in bench.compiled.fields if field.name in bench.mapping.match}


def _folded(info: FieldInfo) -> pl.Expr:
    return pl.col(info.name).str.to_lowercase() if info.ignores_case else pl.col(info.name)


def _twins(session: Session, bench: Bench, records: pl.DataFrame) -> pl.DataFrame:
    """The records whose match key other source records have, with a ``sentence`` that names them."""
    found = ledger.match_twins(bench.place, records["match"], earlier=session.run.kind != RunKind.LOAD)
    told = records.join(found, on="match")
    names = pl.col("source_ids").list.head(SHOWN_CANDIDATES).list.join(", ")
    sentence = pl.format(
        "Several source records have the same {} “{}”: {}.", pl.lit(_named(bench)), "shown", names
    )  # fmt: skip
    return told.with_columns(sentence.alias("sentence")).select(*records.columns, "sentence")


# --- the target's side ----------------------------------------------------------------------------------------


def _hits(session: Session, bench: Bench, mapped: Mapped, records: pl.DataFrame) -> pl.DataFrame:
    """The records with the rows that agree with them, one row per hit: ``target_id``, and ``held``, the key of
    somebody else that it carries."""
    fields = list(bench.mapping.match)
    asked = mapped.content_of(records).select(fields)
    columns = records.hstack(asked.rename({name: f"·{name}" for name in fields}))
    if not asked.height:
        return records.with_columns(target_id=pl.lit(None, pl.String), held=pl.lit(None, pl.String))
    found = session.target.find(bench.entity, asked.unique(maintain_order=True), key=bench.mapping.key)
    found = found.rename({**{name: f"·{name}" for name in fields}, "key": "held"})
    hits = columns.join(found, on=[f"·{name}" for name in fields])
    strange = hits.filter(pl.col("held").is_null() | (pl.col("held") != pl.col("key")))
    return strange.select(*records.columns, "target_id", "held")


def _ambiguous(bench: Bench, records: pl.DataFrame, hits: pl.DataFrame) -> pl.DataFrame:
    """The records that must not take over what they agree with, with a ``sentence`` that lists the candidates."""
    rows = hits.with_columns(pl.len().over("target_id").alias("claims"))
    each = rows.group_by("source_id", maintain_order=True).agg(
        pl.len().alias("count"),
        pl.col("claims").max(),
        pl.col("held").drop_nulls().first(),
        pl.col("target_id").sort().head(SHOWN_CANDIDATES).str.join(", ").alias("candidates"),
    )
    clashing = each.filter((pl.col("count") > 1) | (pl.col("claims") > 1) | pl.col("held").is_not_null())
    what = pl.lit(f"{bench.entity} agree in {_named(bench)} with “")
    sentence = (
        pl.when(pl.col("count") > 1)
        .then(pl.format("Several records of {}{}”: {}.", what, "shown", "candidates"))
        .when(pl.col("claims") > 1)
        .then(pl.format("Several source records agree in {} with the record {}.", pl.lit(_named(bench)), "candidates"))
        .otherwise(
            pl.format(
                "The record {} agrees in {} with “{}” and carries the key {} already.",
                "candidates", pl.lit(_named(bench)), "shown", "held",
            )
        )
    )  # fmt: skip
    told = records.join(clashing, on="source_id")
    return told.with_columns(sentence.alias("sentence")).select(*records.columns, "sentence")


def _images(session: Session, bench: Bench, alone: pl.DataFrame) -> pl.DataFrame:
    """What the rows hold now, under the keys they are about to get."""
    return read_back(session, bench, alone.select("target_id", "key"), bench.other_fields)


# --- telling --------------------------------------------------------------------------------------------------


def _named(bench: Bench) -> str:
    return " + ".join(bench.mapping.match)


def _blank_sentence(bench: Bench) -> pl.Expr:
    return pl.lit(f"{_named(bench)} is blank, so that nobody can tell whether the target has the record already.")


def _stopped_for(records: pl.DataFrame, code: str, sentence: str | pl.Expr) -> pl.DataFrame:
    nothing = pl.lit(None, pl.String)
    return records.select(
        "source_id",
        "part",
        pl.lit(str(RecordState.REJECTED)).alias("state"),
        target_id=nothing,
        key=nothing,
        hash=nothing,
        code=pl.lit(code),
        reason=pl.col(sentence) if isinstance(sentence, str) else sentence,
        count=pl.lit("rejected"),
        shown="shown",
    )


def _findings(bench: Bench, stopped: pl.DataFrame) -> pl.DataFrame:
    return stopped.select(
        "source_id",
        "part",
        pl.lit(", ".join(bench.mapping.match)).alias("field"),
        pl.col("shown").alias("value"),
        pl.col("code").alias("rule"),
        pl.col("reason").alias("message"),
        pl.lit("error").alias("severity"),
    )
