"""One record seen from all sides: as read, as mapped, as it was before, as the target holds it now, and its history."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl

from connectors.errors import ConnectorError
from orgs.sealing import SealBroken
from runs import payload
from runs.choices import RunKind, StepTask
from runs.engine.session import Session
from runs.engine.transform import transform
from runs.models import Chunk, ContentsDropped, Finding, TrackedRecord

LONG_CHARACTERS = 160

UNREADABLE = (SealBroken, ContentsDropped)


@dataclass(frozen=True, slots=True)
class Value:
    """A field's value as text. ``pretty`` is indented JSON where it is JSON, else the text."""

    name: str
    text: str | None

    @property
    def parsed(self) -> Any:
        """The nested value of JSON text; None for any other text."""
        if self.text is None or self.text[:1] not in ("{", "["):
            return None
        try:
            return orjson.loads(self.text)
        except orjson.JSONDecodeError:
            return None

    @property
    def pretty(self) -> str:
        nested = self.parsed
        return json.dumps(nested, indent=2, ensure_ascii=False) if nested else self.text or ""

    @property
    def folded(self) -> bool:
        return self.text is not None and (len(self.text) > LONG_CHARACTERS or bool(self.parsed))

    @property
    def beginning(self) -> str:
        text = (self.text or "").strip()
        return f"{text[:LONG_CHARACTERS].rstrip()}…" if len(text) > LONG_CHARACTERS else text


@dataclass(frozen=True, slots=True)
class Side:
    """What one side holds; ``sentence`` says why there is nothing, or what to know about it."""

    values: tuple[Value, ...] = ()
    sentence: str = ""

    def text(self, name: str) -> str | None:
        return next((value.text for value in self.values if value.name == name), None)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(value.name for value in self.values)


@dataclass(frozen=True, slots=True)
class Compared:
    """One target field on all sides; ``differs`` where the target now is not what the mapping says."""

    name: str
    mapped: Value
    before: Value
    now: Value | None
    differs: bool


@dataclass(frozen=True, slots=True)
class Inspection:
    """``key`` is the external key the record has or would get in the target."""

    source: Side
    mapped: Side
    before: Side
    key: str | None = None
    history: Sequence[Chunk] = field(default_factory=list)


def inspect(chunks: Sequence[Chunk], source_id: str, *, key: str | None) -> Inspection:
    """``chunks`` are those that touched the record, oldest first; the mapping is that of the last run that brought it.

    The chunks of rollbacks carry what was written, those of deletions ids alone; they are history only.
    """
    bringing = [chunk for chunk in chunks if chunk.run.kind != RunKind.ROLLBACK and chunk.step.task == StepTask.BRING]
    if not bringing:
        gone = Side(sentence="The chunks that carried this record were deleted; only where it stands is kept.")
        return Inspection(gone, Side(), Side(), key, list(reversed(chunks)))
    last = Chunk.objects.defer(None).select_related("step").get(pk=bringing[-1].pk)
    try:
        row = _source_row(last, source_id)
    except UNREADABLE as error:
        return Inspection(Side(sentence=str(error)), Side(), Side(), key, list(reversed(chunks)))
    if row is None:
        lost = Side(sentence="The last chunk that touched this record does not carry it any more.")
        return Inspection(lost, Side(), Side(), key, list(reversed(chunks)))
    mapped = _mapped(last, row)
    key = key or mapped.text(last.step.mapping["key"])
    return Inspection(Side(_values(row)), mapped, _before(last, key), key, list(reversed(chunks)))


def target_now(chunk: Chunk, key: str) -> Side:
    """The record as the target holds it at this moment; a sentence where it cannot be told."""
    try:
        with Session(chunk.run_id) as session:
            bench = session.bench(chunk.step_id)
            found = session.target.fetch(bench.entity, key=bench.mapping.key, keys=[key], fields=bench.other_fields)
    except (ConnectorError, SealBroken) as error:
        return Side(sentence=str(error))
    if not found.height:
        return Side(sentence=f"{chunk.run.project.target} holds no record with the key {key}.")
    return Side(_values(_as_target(found, bench.mapping.key)))


def compared(mapped: Side, before: Side, now: Side | None) -> list[Compared]:
    """The sides field by field, in the mapping's order, then what only another side has."""
    sides = [side for side in (mapped, before, now) if side is not None]
    names = list(dict.fromkeys(name for side in sides for name in side.names))
    rows = []
    for name in names:
        current = Value(name, now.text(name)) if now is not None and now.values else None
        differs = current is not None and bool(mapped.values) and current.text != mapped.text(name)
        rows.append(Compared(name, Value(name, mapped.text(name)), Value(name, before.text(name)), current, differs))
    return rows


def findings(record: TrackedRecord) -> list[Finding]:
    """What was found about the record in the chunks that touched it, newest first."""
    return list(
        Finding.objects.filter(
            project=record.project_id, chunk__in=record.chunks, source_id=record.source_id, part=record.part
        )
        .select_related("step__run")
        .order_by("-chunk", "id")[:100]
    )


def _source_row(chunk: Chunk, source_id: str) -> pl.DataFrame | None:
    frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    rows = frame.filter(pl.col(chunk.step.mapping["identity"]) == source_id)
    return rows.tail(1) if rows.height else None


def _mapped(chunk: Chunk, row: pl.DataFrame) -> Side:
    """The row through the mapping its run followed; references resolve as the id map stands now."""
    try:
        with Session(chunk.run_id) as session:
            mapped = transform(session.bench(chunk.step_id), row)
    except (ConnectorError, SealBroken) as error:
        return Side(sentence=str(error))
    if mapped.content.height:
        return Side(_values(mapped.content))
    found, skipped = mapped.transformed.findings, mapped.transformed.skipped
    if found.height:
        told = found.select(pl.format("{}: {}", "field", "message")).to_series().unique(maintain_order=True)
        return Side(sentence=" ".join(told.to_list()))
    if skipped.height:
        return Side(sentence=" ".join(skipped["reason"].unique(maintain_order=True).to_list()))
    return Side(sentence="The record waits for a parent that is not in the target yet.")


def _before(last: Chunk, key: str | None) -> Side:
    """The target's row before the last chunk that wrote it; none where our run created it."""
    if last.intended_at is None or key is None:
        return Side(sentence="Nothing was sent for this record.")
    try:
        images = payload.unpack(last.before or b"", purpose=payload.BEFORE)
    except UNREADABLE as error:
        return Side(sentence=str(error))
    image = images.filter(pl.col("key") == key)
    if not image.height:
        return Side(sentence="The target held no record under this key before.")
    return Side(_values(_as_target(image, last.step.mapping["key"])))


def _as_target(image: pl.DataFrame, key: str) -> pl.DataFrame:
    """``Target.fetch`` names the key column ``key``; give it the field's own name again."""
    frame = image.drop("target_id").head(1)
    return frame if key in frame.columns else frame.rename({"key": key})


def _values(row: pl.DataFrame) -> tuple[Value, ...]:
    (values,) = row.select(pl.all().cast(pl.String, strict=False)).rows()
    return tuple(Value(name, text) for name, text in zip(row.columns, values, strict=True))
