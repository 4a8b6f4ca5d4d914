"""What applying a mapping gives: rows to write, and where every other record stands and why."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

FINDINGS = pl.Schema(
    {name: pl.String() for name in ("source_id", "part", "field", "value", "rule", "message", "severity")}
)
UNRESOLVED = pl.Schema(
    {name: pl.String() for name in ("source_id", "part", "field", "entities", "by", "parent_id")}
    | {"waits": pl.Boolean()}
)
SKIPPED = pl.Schema({name: pl.String() for name in ("source_id", "part", "reason")})

RECORD_ID = "\x00source_id"
RECORD_PART = "\x00part"
"""Whose row it is, beside the target fields; the target may have fields named source_id and part itself,
but none with a NUL in its name."""

VALUE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Transformed:
    """One page after the mapping. Each record of the page is in exactly one of ``rows``, ``rejected``
    (an error finding), ``waiting`` (not to be written before a parent is there) and ``skipped``.

    ``rows``: ``RECORD_ID``, ``RECORD_PART`` (text), then the target fields in the target's types; a reference
    whose parent is not there is listed in ``unresolved`` and null, unless its policy keeps the value that came.
    ``unresolved`` says by what (``by``) the parent was looked for among the ``entities``. ``waiting`` has the same
    columns. ``findings`` has the columns of ``FINDINGS``; notes tell what was changed on the way, errors
    keep a record out. A record without identity has a finding with a null ``source_id`` and its place on
    the page as ``value``.
    """

    rows: pl.DataFrame
    waiting: pl.DataFrame
    findings: pl.DataFrame
    unresolved: pl.DataFrame
    skipped: pl.DataFrame

    @property
    def rejected(self) -> pl.DataFrame:
        """The records kept out by error findings: ``source_id``, ``part``; one row per record."""
        errors = self.findings.filter(pl.col("severity") == "error")
        named = errors.filter(pl.col("source_id").is_not_null()).select("source_id", "part").unique(maintain_order=True)
        nameless = errors.filter(pl.col("source_id").is_null()).select("source_id", "part")
        return pl.concat([named, nameless])


def stacked(frames: Sequence[pl.DataFrame], schema: pl.Schema) -> pl.DataFrame:
    """The frames below one another, with the columns of ``schema``; empty where there are none."""
    if not frames:
        return pl.DataFrame(schema=schema)
    return pl.concat([frame.select(schema.names()).cast(schema) for frame in frames])
