"""When it is asked whether a bulk job is done: how late its end is noticed, and how many calls that takes."""

from itertools import accumulate, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.clients.salesforce_pace import FIRST, LONGEST, LONGEST_FIRST, SHORTEST, Pace


def asked(pace: Pace, entity: str, records: int, takes: float) -> list[float]:
    """When it was asked about a job that takes so long, up to the first answer after its end."""
    moments = accumulate(pace.waits(entity, records))
    before = list(takewhile(lambda moment: moment < takes, moments))
    done = list(zip(range(len(before) + 1), accumulate(pace.waits(entity, records)), strict=False))[-1][1]
    pace.learn(entity, records, done)
    return [*before, done]


@given(st.floats(0.01, 7_000))
def test_the_end_of_an_unknown_job_is_noticed_soon_and_for_few_calls(takes: float) -> None:
    moments = asked(Pace(), "Shift__c", 10_000, takes)
    assert moments[0] == FIRST
    assert moments[-1] <= takes + max(FIRST, min(LONGEST, takes / 2))
    assert len(moments) <= 15 + takes / LONGEST


@given(st.floats(0.5, 60), st.integers(200, 10_000))
def test_the_next_job_is_asked_about_when_it_is_nearly_done(takes: float, records: int) -> None:
    pace = Pace()
    asked(pace, "Shift__c", 10_000, takes)
    for _ in range(8):
        moments = asked(pace, "Shift__c", records, takes * records / 10_000)
    assert len(moments) <= 3
    assert moments[-1] <= takes * records / 10_000 * 1.2 + 2 * SHORTEST


def test_what_is_known_of_one_object_says_nothing_of_another() -> None:
    pace = Pace()
    asked(pace, "Shift__c", 10_000, 30.0)
    assert next(pace.waits("Worker__c", 10_000)) == FIRST
    assert next(pace.waits("Shift__c", 5_000)) == pytest.approx(0.9 * 15, rel=0.5)


def test_an_org_that_slowed_down_is_not_asked_for_ever_and_one_that_recovered_is_not_waited_for_long() -> None:
    pace = Pace()
    asked(pace, "Shift__c", 10_000, 1.0)
    assert len(asked(pace, "Shift__c", 10_000, 100.0)) < 30
    assert next(pace.waits("Shift__c", 10_000)) <= LONGEST_FIRST
