"""What is handed to the ledger and what it answers: places, scopes, counts and the columns of its frames.

Frames here are what the engine's steps hand over:

- *outcomes*: ``source_id, part, state, target_id, key, hash, code, reason`` (all String; ``hash`` is 32
  hex digits or null), one row per record;
- *findings*: ``source_id, part, field, value, rule, message, severity`` (all String).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

OUTCOME_COLUMNS = ("source_id", "part", "state", "target_id", "key", "hash", "code", "reason")


UNDONE_COLUMNS = ("source_id", "part", "state", "code", "reason", "gone", "target_id", "hash", "earlier", "again")


FINDING_COLUMNS = ("source_id", "part", "field", "value", "rule", "message", "severity")


CONFLICT_COLUMNS = ("source_id", "part", "field", "base", "base_known", "ours", "theirs", "state", "decision")


KNOWN_SCHEMA = {
    **dict.fromkeys(("source_id", "part", "target_id", "key", "hash", "state"), pl.String),
    "touched_by": pl.Int64,
}


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """How far a source was read: its latest change by its own clock, and whose it was; of several records changed at
    that moment, the last id in the order of code points."""

    at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk's records belong."""

    project_id: int
    object_id: int
    run_id: int
    step_id: int
    part: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a retry or a rollback is limited to; blank means all. ``objects`` are ids of project objects."""

    objects: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()
    source_ids: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    reread: bool = False
    """Ask the source for a retry's records again instead of taking them as they were staged."""

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Scope":
        values: dict[str, Any] = {
            name: value if isinstance(value, bool) else tuple(value) for name, value in stored.items()
        }
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a chunk's records; they add up to the chunk's ``records``.

    ``deleted`` and ``conflicts`` occur in rollbacks, where ``updated`` means restored.
    """

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deferred: int = 0
    rejected: int = 0
    skipped: int = 0
    deleted: int = 0
    conflicts: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What reconciliation found in one chunk."""

    records: int
    fields: int
    missing: int
    mismatches: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What reading a chunk back proved, as ``ChunkProof`` keeps it; ``children`` as in ``runs.engine.family``."""

    equal: Mapping[str, Mapping[str, int]]
    sums: Mapping[str, Sequence[str]]
    written: str
    read_back: str
    children: pl.DataFrame | None
