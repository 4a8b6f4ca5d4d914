"""The target's rows as the mapping would spell them, so that they can be compared with what we wrote."""

import polars as pl

from projects.mapping.equality import canonical
from projects.mapping.row_hash import row_hash
from runs.engine.comparison import canonical_json
from runs.engine.session import Bench


def typed(bench: Bench, rows: pl.DataFrame) -> pl.DataFrame:
    """``key`` and the other target fields of fetched rows, in the types and the spelling of the mapping."""
    schema = bench.content_schema
    plain = rows.select("key", *(pl.col(name).cast(schema[name]) for name in bench.other_fields))
    return plain.with_columns(canonical_json(plain[name]).alias(name) for name in bench.json_fields)


def fingerprints(bench: Bench, rows: pl.DataFrame) -> pl.DataFrame:
    """``key`` and ``held``: the hash that the ledger would have if we had written the row as it is."""
    images = typed(bench, rows)
    content = images.rename({"key": bench.mapping.key}).select(bench.compiled.target_fields)
    return images.select("key", row_hash(canonical(content, bench.rules)).alias("held"))
