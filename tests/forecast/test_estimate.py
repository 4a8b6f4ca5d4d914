"""Ranges that hold what was measured, grow with the volume, and survive being stored."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projects.estimate import Estimate, Range, Rates, System, Volume, estimate

NUMBERS = st.floats(min_value=0, max_value=1e9, allow_nan=False)
RATES = st.lists(st.floats(min_value=1e-6, max_value=10), max_size=5).map(tuple)
SYSTEMS = st.builds(
    System,
    st.just("Acme"),
    st.booleans(),
    st.integers(1, 10_000),
    st.sampled_from([0, 0.5, 25]),
    st.sampled_from([0, 15_000]),
    st.sampled_from([None, 2048]),
)
VOLUMES = st.builds(
    Volume, st.text(max_size=5), st.none() | st.integers(0, 10**7), st.integers(1, 500), st.none() | st.just(120.0)
)
TOTALS = ("calls", "seconds", "ours", "theirs")


def made(measured: tuple[float, ...]) -> Rates:
    return Rates(measured, measured, len(measured))


@given(st.lists(NUMBERS, min_size=1))
def test_a_range_over_values_holds_them(values: list[float]) -> None:
    assert all(value in Range.over(values) for value in values)


@given(RATES.filter(bool), st.integers(0, 10**6), SYSTEMS, SYSTEMS)
def test_what_a_like_run_took_is_within(rates: tuple[float, ...], records: int, source: System, target: System) -> None:
    made_of = estimate([Volume("a", records, 10)], made(rates), source, target)
    for rate in rates:
        assert rate * records <= made_of.seconds.high
        assert rate * records in made_of.calls


@given(st.lists(VOLUMES, max_size=4), RATES, SYSTEMS, SYSTEMS, st.integers(1, 10**6))
def test_more_records_never_take_less(
    volumes: list[Volume], rates: tuple[float, ...], source: System, target: System, more: int
) -> None:
    larger = [
        Volume(each.name, None if each.records is None else each.records + more, each.fields, each.bytes_each)
        for each in volumes
    ]
    small, large = (estimate(each, made(rates), source, target) for each in (volumes, larger))
    for name in TOTALS:
        before, after = getattr(small, name), getattr(large, name)
        assert before.low <= after.low
        assert before.high <= after.high


@given(st.lists(VOLUMES, max_size=4), RATES, SYSTEMS, SYSTEMS)
def test_totals_are_those_of_the_objects_and_come_back_from_json(
    volumes: list[Volume], rates: tuple[float, ...], source: System, target: System
) -> None:
    found = estimate(volumes, made(rates), source, target)
    assert found.records == sum(each.records or 0 for each in volumes)
    assert len(found.unknown) == sum(each.records is None for each in volumes)
    assert found.calls.high == pytest.approx(sum(each.calls.high for each in found.objects))
    assert Estimate.from_json(orjson.loads(orjson.dumps(found.as_json()))) == found


def test_two_databases_are_asked_nothing() -> None:
    found = estimate([Volume("a", 10**6, 20)], Rates(), System("A", by_requests=False), System("B", by_requests=False))
    assert found.calls == Range(0, 0)


def test_a_daily_limit_makes_days_of_it_and_is_told() -> None:
    narrow = System("Acme", by_requests=True, page_size=100, per_day=1_000)
    found = estimate([Volume("a", 500_000, 20)], Rates(), narrow, System("B", by_requests=False))
    assert found.seconds.high > 3 * 86_400
    assert "Acme allows us 1,000 requests a day: this may take more than one day." in found.basis


def test_what_is_not_known_is_said() -> None:
    system = System("A", by_requests=False)
    told = estimate([Volume("Deal", None, 3), Volume("Lead", 5, 3)], Rates(), system, system).basis
    assert told[0].startswith("No earlier run between these platforms")
    assert told[1].startswith("No record of Lead was seen yet")
    assert told[2] == "Nobody can count Deal beforehand; they come on top."


def test_a_range_is_not_upside_down() -> None:
    with pytest.raises(ValueError, match="no range"):
        Range(2, 1)
