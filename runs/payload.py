"""Frames at rest: Parquet, compressed, sealed. What a chunk row carries and a record's page shows."""

from io import BytesIO

import polars as pl

from orgs.sealing import open_sealed, seal

PAYLOAD = "runs.Chunk.payload"
BEFORE = "runs.Chunk.before"
CHILDREN = "runs.ChunkProof.children"


def pack(frame: pl.DataFrame, *, purpose: str) -> bytes:
    """The frame as sealed Parquet; ``purpose`` binds the bytes to their column."""
    buffer = BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=1, statistics=False)
    return seal(purpose, buffer.getvalue())


def unpack(sealed: bytes | memoryview, *, purpose: str) -> pl.DataFrame:
    """The frame that ``pack`` sealed; raises ``orgs.sealing.SealBroken`` where the bytes were altered."""
    return pl.read_parquet(BytesIO(open_sealed(purpose, bytes(sealed))))
