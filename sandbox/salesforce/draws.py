"""Repeatable random columns: the same seed, object and purpose give the same values on any machine.

The generator is SplitMix64 over whole columns, because a library's own sampling may change between releases.
"""

import zlib
from collections.abc import Sequence

import polars as pl

_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 1 << 64


class Draws:
    """Random columns of ``size`` rows; ``tag`` says what a draw is for, so that columns do not move together."""

    def __init__(self, size: int, seed: int, name: str) -> None:
        self.size = size
        self._seed = seed
        self._name = name

    def bits(self, tag: str) -> pl.Series:
        """64 random bits a row."""
        key = zlib.crc32(f"{self._name}/{tag}".encode()) * _GOLDEN + self._seed * 0xD1B54A32D192ED03
        word = pl.int_range(1, self.size + 1, dtype=pl.UInt64, eager=True) * _GOLDEN + key % _WORD
        word = (word ^ (word // (1 << 30))) * 0xBF58476D1CE4E5B9
        word = (word ^ (word // (1 << 27))) * 0x94D049BB133111EB
        return word ^ (word // (1 << 31))

    def below(self, tag: str, limit: int) -> pl.Series:
        """Whole numbers from 0 to ``limit`` - 1."""
        return (self.bits(tag) // (1 << 16) % max(limit, 1)).cast(pl.Int64)

    def chance(self, tag: str, percent: int) -> pl.Series:
        """True in about ``percent`` of 100 rows."""
        return self.below(tag, 100) < percent

    def pick(self, tag: str, values: Sequence[str | None]) -> pl.Series:
        """One of ``values`` a row, each as likely as the others."""
        return pl.Series(values, dtype=pl.String).gather(self.below(tag, len(values)))

    def skewed(self, tag: str, limit: int) -> pl.Series:
        """Whole numbers below ``limit``, small ones more often: a few parents have many children."""
        share = self.below(tag, 1_000_000) / 1_000_000
        return (share * share * limit).cast(pl.Int64)
