"""Record ids: key prefix, counter in base 62, and the three checksum characters of the 18-character form."""

import polars as pl

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECKSUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_INSTANCE = "Hs0"  # mixed case on purpose: a client that folds the case of an id breaks it
_COUNTER_DIGITS = 9
ORG_SPAN = 62**7
"""Record numbers between one org of a process and the next, so that no id of one is an id in another."""


def with_checksum(short: str) -> str:
    """The 18-character id of a 15-character one: each suffix character tells which of five are capitals."""
    suffix = ""
    for start in (0, 5, 10):
        bits = sum(1 << place for place, char in enumerate(short[start : start + 5]) if "A" <= char <= "Z")
        suffix += _CHECKSUM[bits]
    return short + suffix


def record_id(prefix: str, number: int) -> str:
    """The 18-character id of the ``number``-th record of an object."""
    digits = ""
    for _ in range(_COUNTER_DIGITS):
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return with_checksum(prefix + _INSTANCE + digits)


def number_of(name: str) -> int | None:
    """The counter of an id that ``record_id`` made; None of any other."""
    head, digits = name[3:6], name[6:15]
    if head != _INSTANCE or not digits.isalnum() or not digits.isascii():
        return None
    number = 0
    for digit in digits:
        number = number * 62 + ALPHABET.index(digit)
    return number


def normalised(value: str) -> str:
    """The 18-character form where ``value`` is a 15-character id; anything else unchanged."""
    return with_checksum(value) if len(value) == 15 and value.isalnum() and value.isascii() else value


def record_ids(prefix: str, numbers: pl.Series) -> pl.Series:
    """``record_id`` for a whole column of counters; null counters give null ids."""
    head = prefix + _INSTANCE
    letters = pl.Series(list(ALPHABET))
    number = pl.col("n").cast(pl.UInt64)
    digits = [(number // 62**place % 62).alias(f"d{place}") for place in reversed(range(_COUNTER_DIGITS))]
    frame = pl.DataFrame({"n": numbers}).select(digits)
    capital = [((pl.col(name) >= 10) & (pl.col(name) < 36)).cast(pl.UInt32) for name in frame.columns]
    fixed = [pl.lit(1 if "A" <= char <= "Z" else 0, dtype=pl.UInt32) for char in head]
    bits = fixed + capital
    suffix = [
        pl.lit(pl.Series(list(_CHECKSUM))).gather(
            pl.sum_horizontal(
                *(bit * (1 << place) for place, bit in enumerate(bits[start : start + 5])), ignore_nulls=False
            )
        )
        for start in (0, 5, 10)
    ]
    chars = [pl.lit(letters).gather(pl.col(name)) for name in frame.columns]
    return frame.select(pl.concat_str([pl.lit(head), *chars, *suffix]).alias("id"))["id"]
