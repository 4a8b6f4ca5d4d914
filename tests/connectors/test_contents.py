"""Contents of files: what a reference tells, when two are the same, and bodies that are not what was announced."""

import hashlib
from typing import BinaryIO

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.contents import Reference, fingerprint, opened, read_reference, reference_columns, same, weighed
from connectors.errors import ContractChanged, Rejected

BODY = b"x" * 100_000
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()


class Kept:
    """Contents by place; the first reads of a place may give something else."""

    def __init__(self, body: bytes, *, first: tuple[bytes, ...] = ()) -> None:
        self.body, self.first, self.reads = body, list(first), 0

    def read(self, at: str, into: BinaryIO) -> None:
        assert at == "A/1/Body"
        self.reads += 1
        into.write(self.first.pop(0) if self.first else self.body)


def alike(one: str | None, other: str | None) -> bool:
    frame = pl.DataFrame({"a": [one], "b": [other]}, schema={"a": pl.String, "b": pl.String})
    return bool(frame.select(same(pl.col("a"), pl.col("b"))).item())


@given(st.text(min_size=1), st.none() | st.integers(0, 2**40), st.sampled_from(["", MD5]))
def test_a_reference_survives_being_text(at: str, size: int | None, md5: str) -> None:
    reference = Reference(at, size, md5)
    assert read_reference(reference.text) == reference


def test_columns_become_references_and_blank_ones_stay_blank() -> None:
    frame = pl.DataFrame({"at": ["A/1/Body", None], "size": ["3", "4"], "md5": [MD5, MD5]})
    made = frame.select(reference_columns(pl.col("at"), size=pl.col("size"), md5=pl.col("md5"))).to_series()
    assert [made[0] and read_reference(made[0]), made[1]] == [Reference("A/1/Body", 3, MD5), None]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Reference("a", 3, MD5), Reference("b", 3, MD5), True),
        (Reference("a", 3, MD5), Reference("b", 3), True),
        (Reference("a", 3), Reference("b", 4), False),
        (Reference("a", 3, MD5), Reference("b", 3, "0" * 32), False),
        (Reference("a"), Reference("a"), False),
    ],
)
def test_contents_are_the_same_as_far_as_both_tell(one: Reference, other: Reference, expected: bool) -> None:
    assert alike(one.text, other.text) is expected
    assert alike(one.text, None) is alike(None, other.text) is False
    assert alike(None, None) is True


def test_a_fingerprint_knows_contents_and_not_places() -> None:
    texts = [Reference("a", 3, MD5).text, Reference("b", 3, MD5).text, Reference("a", 4, MD5).text]
    first, second, third = pl.DataFrame({"a": texts}).select(fingerprint(pl.col("a"))).to_series()
    assert first == second != third


def test_a_body_is_read_again_where_it_is_not_what_was_announced() -> None:
    kept = Kept(BODY, first=(BODY[:10],))
    with opened(kept, Reference("A/1/Body", len(BODY), MD5)) as body:
        assert b"".join(body.chunks()) == b"".join(body.chunks()) == BODY
    assert kept.reads == 2
    assert weighed(kept, "A/1/Body") == Reference("A/1/Body", len(BODY), MD5)


@pytest.mark.parametrize("reference", [Reference("A/1/Body", 5), Reference("A/1/Body", len(BODY), "0" * 32)])
def test_a_body_that_stays_another_is_refused(reference: Reference) -> None:
    with pytest.raises(Rejected, match="not what the source says"), opened(Kept(BODY), reference):
        pass


def test_a_text_that_is_no_reference_is_told() -> None:
    with pytest.raises(ContractChanged, match="does not say where"):
        read_reference("[1]")
