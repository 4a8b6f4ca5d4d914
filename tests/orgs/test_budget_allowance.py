"""The budget's arithmetic, against a plain model: no limit is exceeded, whatever the order of things."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orgs.allowance import (
    DAY,
    LOOK_AGAIN,
    LOOK_PATIENCE,
    UNCOUNTED,
    Grant,
    Request,
    Seen,
    State,
    Terms,
    Wait,
    Why,
    decide,
    give_back,
    learn,
    slot_of,
    terms_of,
)
from orgs.quiet import QuietHours

START = datetime(2026, 11, 20, 7, 58, 30, tzinfo=UTC)
OFFICE = QuietHours(time(8), time(18), "UTC", 0.3)


@dataclass
class World:
    """Workers at one budget. ``uses`` are the moments at which permits were used."""

    terms: Terms
    now: datetime = START
    state: State = field(default_factory=State)
    uses: list[datetime] = field(default_factory=list)
    unused: list[tuple[Grant, int]] = field(default_factory=list)

    def take(self, wanted: int, used_part: float, late: float) -> Grant | Wait:
        """Take a batch, use a part of it, as late as it is good for times ``late``."""
        answer = decide(self.terms, self.state, self.now, Request(wanted=wanted))
        self.state = answer.state
        if isinstance(answer, Grant):
            used = round(answer.permits * used_part)
            moment = self.now + timedelta(seconds=answer.valid_for * late)
            self.uses += [moment] * used
            self.unused.append((answer, answer.permits - used))
        return answer

    def give_back(self) -> None:
        if self.unused:
            self.state = give_back(self.terms, self.state, self.now, *self.unused.pop())


def most_in_any(uses: list[datetime], window: timedelta) -> int:
    """The largest number of uses in any half-open window."""
    ordered, most, start = sorted(uses), 0, 0
    for end, moment in enumerate(ordered):
        while moment - ordered[start] >= window:
            start += 1
        most = max(most, end - start + 1)
    return most


patient = settings(suppress_health_check=[HealthCheck.too_slow])  # long lists, and a machine others use, too
part = st.floats(0, 1)
step = st.tuples(part, st.integers(1, 64), part, st.floats(0, 0.999), st.booleans())


@patient
@given(requests=st.integers(1, 400), window=st.integers(1, 60), steps=st.lists(step, min_size=20, max_size=100))
def test_no_window_sees_more_requests_than_agreed(
    requests: int, window: int, steps: list[tuple[float, int, float, float, bool]]
) -> None:
    world = World(Terms(requests=requests, window=window))
    for pause, wanted, used, late, returns in steps:
        world.now += timedelta(seconds=pause * window / 5)
        world.take(wanted, used, late)
        if returns:
            world.give_back()
    assert most_in_any(world.uses, timedelta(seconds=window)) <= requests


@patient
@given(requests=st.integers(1, 400), share=st.floats(0.01, 1), steps=st.lists(step, min_size=20, max_size=100))
def test_quiet_hours_see_only_their_share_of_the_window(
    requests: int, share: float, steps: list[tuple[float, int, float, float, bool]]
) -> None:
    terms = Terms(requests=requests, window=10, quiet=replace(OFFICE, share=share))
    world = World(terms)
    for pause, wanted, used, late, returns in steps:
        world.now += timedelta(seconds=pause * 4)
        world.take(wanted, used, late)
        if returns:
            world.give_back()
    opening = START.replace(hour=8, minute=0, second=0)
    scaled = terms.scaled(share)
    quiet = [moment for moment in world.uses if moment >= opening]
    assert most_in_any(world.uses, timedelta(seconds=10)) <= requests
    assert most_in_any(quiet, timedelta(seconds=scaled.window)) <= scaled.requests


@patient
@given(per_day=st.integers(1, 500), steps=st.lists(step, min_size=20, max_size=100))
def test_no_24_hours_see_more_requests_than_agreed(
    per_day: int, steps: list[tuple[float, int, float, float, bool]]
) -> None:
    world = World(Terms(per_day=per_day))
    for pause, wanted, used, late, returns in steps:
        world.now += timedelta(hours=pause)
        world.take(wanted, used, late)
        if returns:
            world.give_back()
    assert most_in_any(world.uses, DAY) <= per_day


@patient
@given(limit=st.integers(1, 5_000), left=st.integers(0, 5_000), steps=st.lists(step, min_size=20, max_size=100))
def test_what_the_vendor_says_is_left_is_used_down_to_the_reserve_and_no_further(
    limit: int, left: int, steps: list[tuple[float, int, float, float, bool]]
) -> None:
    """Within one look nothing but our own requests is counted by this vendor, and answers come late."""
    left = min(left, limit)
    world = World(Terms(reserve=0.2))
    world.state = learn(world.terms, world.state, world.now, Seen(left, limit, daily=True))
    answers: list[int] = []
    for pause, wanted, used, late, returns in steps:
        world.now += timedelta(seconds=pause * 20)
        world.take(wanted, used, late)
        if returns:
            world.give_back()
        answers.append(left - len(world.uses))
        if late > 0.5:
            world.state = learn(world.terms, world.state, world.now, Seen(answers.pop(0), limit, daily=True))
    assert world.now < START + LOOK_AGAIN
    assert len(world.uses) <= max(0, left - world.terms.floor(limit))


@patient
@given(steps=st.lists(st.integers(1, 64), min_size=50, max_size=120))
def test_a_budget_that_is_asked_all_the_time_is_used(steps: list[int]) -> None:
    """Safe is easy for a budget that grants nothing; of this one four fifths at least can be had."""
    world = World(Terms(requests=100, window=10))
    for wanted in steps * 10:
        answer = world.take(wanted, 1, 0)
        if isinstance(answer, Wait):
            assert answer.why is Why.WINDOW
            assert answer.until > world.now
            world.now = answer.until
    spent = (world.now - START).total_seconds()
    assert len(world.uses) >= 0.8 * 100 * spent / 10


def test_a_permit_used_as_late_as_it_may_be_still_counts_in_its_window() -> None:
    world = World(Terms(requests=10, window=1))
    world.take(1, 1, 0.999)
    while world.now < START + timedelta(seconds=2):
        answer = world.take(1, 1, 0)
        world.now = answer.until if isinstance(answer, Wait) else world.now
    assert most_in_any(world.uses, timedelta(seconds=1)) == 10


# --- Each limit by itself ---------------------------------------------------------------------------------------
def test_without_limits_nothing_is_counted() -> None:
    answer = decide(Terms(), State(), START, Request(wanted=5, places=0))
    assert isinstance(answer, Grant)
    assert (answer.permits, answer.state) == (UNCOUNTED, State())


@pytest.mark.parametrize(
    ("rates", "places", "terms"),
    [
        ((), (), Terms()),
        ((10.0,), (5,), Terms(requests=10, concurrency=5)),
        ((10.0, 2.5), (5, 3), Terms(requests=2, concurrency=3)),
        ((0.25,), (), Terms(requests=1, window=4.0)),
    ],
)
def test_a_platforms_default_becomes_terms(rates: tuple[float, ...], places: tuple[int, ...], terms: Terms) -> None:
    assert terms_of(rates=rates, places=places) == terms


def test_one_workers_429_stops_all_until_its_end_and_a_shorter_one_changes_nothing() -> None:
    state = learn(Terms(), State(), START, Seen(retry_after=90))
    state = learn(Terms(), state, START, Seen(retry_after=5))
    answer = decide(Terms(), state, START, Request())
    assert isinstance(answer, Wait)
    assert (answer.why, answer.until) == (Why.PAUSED, START + timedelta(seconds=90))
    assert isinstance(decide(Terms(), state, START + timedelta(seconds=90), Request()), Grant)


def test_a_short_window_that_is_used_up_is_waited_for_instead_of_a_refusal() -> None:
    terms = Terms(requests=10, window=10)
    state = learn(terms, State(), START, Seen(remaining=0, limit=10))
    assert state.paused_until == START + timedelta(seconds=10)
    assert learn(terms, State(), START, Seen(remaining=1, limit=10)) == State()


def test_quiet_hours_with_no_share_stop_everything_until_they_end() -> None:
    terms = Terms(quiet=replace(OFFICE, share=0.0))
    inside = START.replace(hour=12)
    answer = decide(terms, State(), inside, Request())
    assert isinstance(answer, Wait)
    assert (answer.why, answer.until) == (Why.QUIET, START.replace(hour=18, minute=0, second=0))
    before = decide(terms, State(), START.replace(minute=59, second=59, microsecond=500_000), Request())
    assert isinstance(before, Grant)
    assert before.valid_for == 0.5


def test_quiet_hours_use_only_their_share_of_the_days_requests_and_of_the_places() -> None:
    terms = Terms(per_day=100, concurrency=4, quiet=OFFICE)
    inside = START.replace(hour=12)
    state = State(used={slot_of(inside): 29, slot_of(START) - 1: 40})
    assert isinstance(decide(terms, state, inside, Request()), Grant)
    answer = decide(terms, replace(state, used={slot_of(inside): 30}), inside, Request())
    assert isinstance(answer, Wait)
    assert (answer.why, answer.until.hour) == (Why.QUIET_SHARE, 18)
    crowded = decide(terms, state, inside, Request(places=1))
    assert isinstance(crowded, Wait)
    assert crowded.why is Why.PLACES
    assert isinstance(decide(terms, state, START.replace(hour=20), Request(places=3)), Grant)


def test_the_share_of_quiet_hours_is_taken_of_the_vendors_day_where_none_was_agreed() -> None:
    inside = START.replace(hour=12)
    state = learn(Terms(), State(used={slot_of(inside): 24}), inside, Seen(90, 100, daily=True))
    terms = Terms(quiet=OFFICE)  # 30 % of the 80 that are not kept
    assert decide(terms, replace(state, used={slot_of(inside): 23}), inside, Request()).state.used
    answer = decide(terms, state, inside, Request())
    assert isinstance(answer, Wait)
    assert answer.why is Why.QUIET_SHARE


def test_of_several_waits_the_longest_is_told() -> None:
    terms = Terms(per_day=1, quiet=replace(OFFICE, share=0.0))
    inside = START.replace(hour=12)
    state = State(used={slot_of(inside): 1}, paused_until=inside + timedelta(minutes=1))
    answer = decide(terms, state, inside, Request())
    assert isinstance(answer, Wait)
    assert answer.why is Why.DAY
    assert inside + DAY < answer.until <= inside + DAY + timedelta(minutes=11)
    assert isinstance(decide(replace(terms, quiet=None), answer.state, answer.until, Request()), Grant)


def test_at_the_reserve_one_request_looks_again_after_an_hour_and_what_it_learns_counts() -> None:
    terms = Terms(reserve=0.2)
    state = learn(terms, State(), START, Seen(3_000, 15_000, daily=True))
    answer = decide(terms, state, START, Request())
    assert isinstance(answer, Wait)
    assert (answer.why, answer.until) == (Why.RESERVE, START + LOOK_AGAIN)

    later = answer.until
    look = decide(terms, state, later, Request(wanted=50))
    assert isinstance(look, Grant)
    assert (look.permits, look.state.vendor_left) == (1, None)
    second = decide(terms, look.state, later, Request())
    assert isinstance(second, Wait)
    assert second.until == later + LOOK_PATIENCE
    assert isinstance(decide(terms, look.state, second.until, Request()), Grant)  # nobody answered: look once more

    learned = learn(terms, look.state, later, Seen(9_000, 15_000, daily=True))
    assert learned.vendor_left == 9_000
    assert isinstance(decide(terms, learned, later, Request()), Grant)


def test_a_late_answer_never_raises_what_is_left_but_the_next_hour_or_another_limit_does() -> None:
    terms = Terms()
    state = learn(terms, State(), START, Seen(5_000, 15_000, daily=True))
    state = learn(terms, state, START, Seen(4_000, 15_000, daily=True))
    assert learn(terms, state, START, Seen(4_900, 15_000, daily=True)).vendor_left == 4_000
    assert learn(terms, state, START + LOOK_AGAIN, Seen(4_900, 15_000, daily=True)).vendor_left == 4_900
    assert learn(terms, state, START, Seen(14_000, 25_000, daily=True)).vendor_left == 14_000


def test_permits_of_an_earlier_look_do_not_raise_what_a_later_one_found() -> None:
    terms = Terms()
    state = learn(terms, State(), START, Seen(5_000, 15_000, daily=True))
    grant = decide(terms, state, START, Request(wanted=10))
    assert isinstance(grant, Grant)
    later = learn(terms, grant.state, START + LOOK_AGAIN, Seen(4_000, 15_000, daily=True))
    returned = give_back(terms, later, START + LOOK_AGAIN, grant, 10)
    assert (later.vendor_left, returned.vendor_left) == (4_000, 4_000)


def test_batches_shrink_towards_the_end_of_a_day() -> None:
    sizes = [
        answer.permits
        for used in (0, 9_900, 9_999)
        if isinstance(answer := decide(Terms(per_day=10_000), State(used={slot_of(START): used}), START,
                                       Request(wanted=64)), Grant)
    ]  # fmt: skip
    assert sizes == [64, 12, 1]


def test_places_are_kept_between_requests_only_while_many_are_free() -> None:
    def keeps(taken: int, state: State) -> bool:
        answer = decide(Terms(concurrency=4), state, START, Request(places=taken))
        return isinstance(answer, Grant) and answer.keep_place

    assert [keeps(taken, State()) for taken in (0, 1, 2, 3)] == [True, True, False, False]
    full = decide(Terms(concurrency=4), State(), START, Request(places=4))
    assert isinstance(full, Wait)
    assert full.why is Why.PLACES
    assert not keeps(0, full.state)
    again = decide(Terms(concurrency=4), full.state, START + timedelta(seconds=1), Request(places=4))
    assert again.state == full.state  # not rewritten with every look


# --- Quiet hours ------------------------------------------------------------------------------------------------
def test_quiet_hours_pass_midnight_and_follow_the_wall_clock() -> None:
    night = QuietHours(time(22), time(6), "Europe/Berlin")
    period = night.period(datetime(2026, 10, 24, 23, 0, tzinfo=UTC))  # 01:00 on the day the clock is put back
    assert period is not None
    assert (period.began.hour, period.ends) == (20, datetime(2026, 10, 25, 5, 0, tzinfo=UTC))
    assert night.period(datetime(2026, 10, 25, 5, 0, tzinfo=UTC)) is None
    assert night.next_start(datetime(2026, 10, 25, 5, 0, tzinfo=UTC)) == datetime(2026, 10, 25, 21, 0, tzinfo=UTC)


@patient
@given(
    now=st.integers(0, 525_600).map(lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)),
    starts=st.times(),
    ends=st.times(),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"]),
)
def test_a_period_holds_its_moment_and_the_next_one_begins_later(
    now: datetime, starts: time, ends: time, zone: str
) -> None:
    quiet = QuietHours(starts.replace(tzinfo=None), ends.replace(tzinfo=None), zone)
    period = quiet.period(now)
    start = quiet.next_start(now)
    assert now < start <= now + timedelta(hours=26)
    if period is not None:
        assert period.began <= now < period.ends
    if zone == "UTC":
        found = quiet.period(start)
        assert found is not None
        assert found.began == start
