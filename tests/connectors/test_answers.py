"""Answers with long lists, read element by element."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.answers import Answer
from connectors.errors import ContractChanged, Unavailable
from connectors.redaction import Redactor


def listing(body: bytes) -> Answer:
    return Answer("Acme", "GET /x", 200, {}, body, Redactor())


@given(st.lists(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)), st.data())
def test_elements_are_those_of_the_whole(elements: list[object], data: st.DataObject) -> None:
    spaced = data.draw(st.sampled_from([None, 1]))
    rest = data.draw(st.sampled_from([{}, {"more": [1]}]))
    answer = listing(json.dumps({"found": elements, **rest}, indent=spaced).encode())
    assert list(answer.each("found")) == elements
    assert list(listing(json.dumps({**rest, "found": elements}).encode()).each("found")) == elements


def test_fractions_among_elements_stay_exact() -> None:
    assert list(listing(b'{"a":[0.1000000000000000055]}').each("a")) == [Decimal("0.1000000000000000055")]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"a":[1,2', Unavailable),
        (b'{"a":[1,]}', ContractChanged),
        (b'{"a":[1 2]}', ContractChanged),
        (b'{"a":[NaN]}', ContractChanged),
        (b'{"a":{}}', ContractChanged),
        (b'{"b":[]}', ContractChanged),
        (b'{"a":[1]}}', ContractChanged),
        (b"<html>", ContractChanged),
    ],
)
def test_a_broken_list_is_told_and_never_taken_for_a_short_one(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        list(listing(body).each("a"))
