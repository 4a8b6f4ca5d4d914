"""What the target held before the chunks that are taken back wrote: their before-images as one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from projects.mapping.equality import EqualityRule
from runs import payload
from runs.choices import StepTask
from runs.engine.images import fingerprints, typed
from runs.engine.matching import adopted
from runs.engine.session import Bench, Session
from runs.models import Chunk, ContentsDropped

ADOPTED_SCHEMA = {"target_id": pl.String, "key": pl.String}


@dataclass(frozen=True)
class Earlier:
    """The records of one rollback chunk as they were. ``benches`` are those of the chunks that wrote them, the
    first to write first.

    ``images`` has ``key`` and ``fields`` as the mapping would spell them, for the keys that were there. ``trouble``
    is the code and the sentence why nothing can be taken back, or blank.
    """

    benches: tuple[Bench, ...]
    images: pl.DataFrame
    deleted: bool = False
    """Whether we deleted the records in the target: to take that back is to create them again."""
    adopted: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ADOPTED_SCHEMA))
    """``target_id`` and ``key`` of rows that were there without our key: to take that back is to take it from them."""
    trouble: tuple[str, str] = ("", "")

    @property
    def bench(self) -> Bench:
        """That of the chunk that wrote last: it says what the target should hold now."""
        return self.benches[-1]

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(name for name in self.images.columns if name != "key")

    @cached_property
    def rules(self) -> Mapping[str, tuple[EqualityRule, ...]]:
        return {name: rule for bench in self.benches for name, rule in bench.rules.items()}

    def asked(self) -> tuple[str, ...]:
        """The fields to fetch: those to restore, and those that tell whether the target holds what we wrote."""
        return tuple(dict.fromkeys((*self.fields, *self.bench.other_fields)))


def earlier(session: Session, records: pl.DataFrame) -> Earlier:
    """The before-images of the chunks that wrote these records; all have the same ``writers``.

    Where a later one wrote more fields than the first, those are as they were before that one.
    """
    writers = [Chunk.objects.get(pk=pk) for pk in records["writers"][0].to_list()]
    benches = tuple(session.bench(chunk.step_id) for chunk in writers)
    deleted = writers[-1].step.task == StepTask.DELETE
    if len({(bench.entity, bench.mapping.key) for bench in benches}) > 1:
        told = "Another field was the key when the record was written first; it cannot be told what it was before."
        return Earlier(benches, _nothing(benches), deleted, trouble=("key_changed", told))
    try:
        rows = [payload.unpack(chunk.before or b"", purpose=payload.BEFORE) for chunk in writers]
    except ContentsDropped:
        told = "What the target held before is not kept any more: the project's retention time has passed."
        return Earlier(benches, _nothing(benches), deleted, trouble=("image_dropped", told))
    mine = [held.join(records, on="key", how="semi") for held in rows]
    images = [typed(bench, held) for bench, held in zip(benches, mine, strict=True)]
    merged = images[0]
    for image in images[1:]:
        added = [name for name in image.columns if name not in merged.columns]
        merged = merged.join(image.select("key", *added), on="key", how="left") if added else merged
    taken = pl.concat([adopted(held) for held in mine]).unique(maintain_order=True)
    return Earlier(benches, merged, deleted, taken)


def left_hashes(session: Session, records: pl.DataFrame, images: pl.DataFrame) -> pl.DataFrame:
    """``key`` and ``held``: the hash of the record as an earlier run had left it, by that run's mapping.

    Null where no earlier run wrote it, or wrote fields that are not known any more.
    """
    left_by = records["left_by"][0]
    blank = images.select("key", held=pl.lit(None, pl.String))
    chunk = Chunk.objects.filter(pk=left_by).first() if left_by is not None else None
    if chunk is None or not images.height:
        return blank
    bench = session.bench(chunk.step_id)
    known = set(bench.other_fields) <= set(images.columns)
    return fingerprints(bench, images) if known else blank


def _nothing(benches: tuple[Bench, ...]) -> pl.DataFrame:
    schema = benches[-1].content_schema
    return pl.DataFrame(schema={"key": pl.String, **{name: schema[name] for name in benches[-1].other_fields}})
