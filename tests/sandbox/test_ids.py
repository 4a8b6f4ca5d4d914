import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.salesforce import ids


def test_checksum_of_the_vendors_own_example() -> None:
    # https://help.salesforce.com/s/articleView?id=000385585: 15 to 18 characters
    assert ids.with_checksum("001D000000IqhSL") == "001D000000IqhSLIAZ"


@pytest.mark.parametrize("value", ["001D000000IqhSLIAZ", "short", "", "001D000000Iqh-L"])
def test_only_fifteen_character_ids_are_completed(value: str) -> None:
    assert ids.normalised(value) == value


@given(st.lists(st.integers(min_value=0, max_value=62**9 - 1), max_size=30))
def test_a_column_of_ids_is_the_single_ids(numbers: list[int]) -> None:
    column = ids.record_ids("a0K", pl.Series(numbers, dtype=pl.UInt64))
    assert column.to_list() == [ids.record_id("a0K", number) for number in numbers]


@given(st.integers(min_value=0, max_value=62**9 - 2))
def test_later_ids_sort_later(number: int) -> None:
    assert ids.record_id("001", number) < ids.record_id("001", number + 1)


@given(st.integers(min_value=0, max_value=62**9 - 1))
def test_an_id_tells_its_number(number: int) -> None:
    assert ids.number_of(ids.record_id("a0K", number)) == number


def test_an_id_that_is_not_ours_tells_none() -> None:
    assert ids.number_of("001D000000IqhSLIAZ") is None
