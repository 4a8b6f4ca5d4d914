"""How many requests an org may be sent now, or until when to wait: arithmetic only, no database, no clock.

Four limits stand side by side: requests per window (a token bucket), requests per day, what the vendor says
is left of its own day, and requests at once. ``decide`` grants what all of them allow. Why each is as it is:
docs/decisions/0009-rate-budget.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from orgs.quiet import Period, QuietHours

DAY = timedelta(days=1)
SLOT = timedelta(minutes=10)
"""The day's use is counted in slots of this length."""
LONGEST_HOLD = 1.0
"""Seconds a granted permit may be used, at most: that late a worker learns that all must stop."""
LOOK_AGAIN = timedelta(hours=1)
"""A vendor's day may be a rolling one, so that some of it is free again after any hour."""
LOOK_PATIENCE = timedelta(seconds=60)
"""How long the answer to the one request that looks again is waited for."""
PLACE_POLL = timedelta(seconds=0.1)
CROWDED_FOR = timedelta(seconds=30)
"""After somebody found no place, nobody keeps one between two requests for so long."""
UNCOUNTED = 1 << 30
"""Permits where no limit counts them."""
BATCH_PART = 8
"""One worker takes at most this part of what is left of a day in one go."""


class Why(StrEnum):
    PAUSED = "paused"
    QUIET = "quiet"
    QUIET_SHARE = "quiet share"
    DAY = "day"
    RESERVE = "reserve"
    PLACES = "places"
    WINDOW = "window"


@dataclass(frozen=True, slots=True)
class Terms:
    """What was agreed for an org; 0 means no limit of that kind. ``window`` is in seconds; ``reserve`` is the
    share of the vendor's own day (0 to 1) that is left to the customer's users."""

    requests: int = 0
    window: float = 1.0
    concurrency: int = 0
    per_day: int = 0
    reserve: float = 0.2
    quiet: QuietHours | None = None

    @property
    def hold(self) -> float:
        """Seconds a permit is good for after it was granted."""
        return min(LONGEST_HOLD, self.window / 10) if self.requests else LONGEST_HOLD

    @property
    def burst(self) -> int:
        """Requests that may follow each other at once: a tenth of the window's, at least one."""
        return max(1, self.requests // 10)

    @property
    def refill(self) -> float:
        """Permits per second, so that no window of any position sees more than ``requests``.

        A permit is used up to ``hold`` after its grant, hence all uses in one window were granted within less
        than ``window + hold``; n grants need a time of at least (n - burst) / refill."""
        return (self.requests + 1 - self.burst) / (self.window + self.hold)

    def floor(self, limit: int) -> int:
        """Requests of the vendor's total that are not ours."""
        return math.ceil(limit * self.reserve)

    def scaled(self, share: float) -> "Terms":
        """The same with only a share (above 0) of the requests and the places."""
        places = max(1, int(self.concurrency * share)) if self.concurrency else 0
        requests, window = int(self.requests * share), self.window
        if self.requests and not requests:
            requests, window = 1, self.window / (self.requests * share)
        return replace(self, requests=requests, window=window, concurrency=places)


def terms_of(*, rates: Sequence[float], places: Sequence[int]) -> Terms:
    """Terms that keep to every one of these requests per second and of these numbers of places; of less than
    one request per second, one in as many seconds as it takes."""
    if not rates:
        return Terms(concurrency=min(places, default=0))
    rate = min(rates)
    requests, window = (int(rate), 1.0) if rate >= 1 else (1, 1 / rate)
    return Terms(requests=requests, window=window, concurrency=min(places, default=0))


@dataclass(frozen=True, slots=True)
class State:
    """Where an org's budget stands; all times by the database's clock.

    ``level`` (None: full) is the bucket's at ``level_at``. ``used`` is slot number → permits granted.
    ``quota_left`` is the least the vendor reported since it was looked at afresh, ``quota_credit`` what it
    reported then less all granted since; both None while somebody looks. Until ``quota_until`` they only
    fall, for a late answer must not raise them.
    """

    level: float | None = None
    level_at: datetime | None = None
    used: Mapping[int, int] = field(default_factory=dict)
    quota_limit: int | None = None
    quota_left: int | None = None
    quota_credit: int | None = None
    quota_until: datetime | None = None
    paused_until: datetime | None = None
    crowded_until: datetime | None = None

    @property
    def vendor_left(self) -> int | None:
        """Requests left of the vendor's day, as far as we can know; None where it is being asked."""
        if self.quota_left is None or self.quota_credit is None:
            return None
        return min(self.quota_left, self.quota_credit)

    def used_since(self, moment: datetime) -> int:
        """Permits granted at or after ``moment``, the whole slot it falls into included."""
        return sum(count for slot, count in self.used.items() if slot_end(slot) > moment)


@dataclass(frozen=True, slots=True)
class Request:
    """``cost`` permits are needed, up to ``wanted`` are welcome. ``places`` counts the requests under way,
    where one more place is needed, else it is None."""

    cost: int = 1
    wanted: int = 1
    places: int | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """``permits`` may be used within ``valid_for`` seconds after ``at``. ``keep_place`` says that so many places
    are free that the worker need not give its own back between two requests. ``terms`` are those of the moment,
    quiet hours allowed for."""

    state: State
    terms: Terms
    at: datetime
    permits: int
    valid_for: float
    keep_place: bool


@dataclass(frozen=True, slots=True)
class Wait:
    state: State
    until: datetime
    why: Why


@dataclass(frozen=True, slots=True)
class Seen:
    """What a vendor's answer said; see ``RateBudget.observe``."""

    remaining: int | None = None
    limit: int | None = None
    retry_after: float | None = None
    daily: bool = False


@dataclass(frozen=True, slots=True)
class _Room:
    """What one limit allows: so many permits now, or the request's cost at ``until``."""

    permits: int
    until: datetime
    why: Why


def slot_of(moment: datetime) -> int:
    """The number of the slot a moment falls into."""
    return int(moment.timestamp() // SLOT.total_seconds())


def slot_end(slot: int) -> datetime:
    return datetime.fromtimestamp((slot + 1) * SLOT.total_seconds(), UTC)


def decide(terms: Terms, state: State, now: datetime, request: Request) -> Grant | Wait:
    """Grant at least the request's cost, or say what to wait for; of several waits the longest."""
    period = terms.quiet.period(now) if terms.quiet else None
    present = _present(terms, period)
    rooms = [
        _pause(state, now),
        _quiet(terms, state, period, now, request),
        _day(present, state, now, request),
        _vendor(present, state, now, request),
        _places(present, now, request),
        _window(present, state, now, request),
    ]
    short = [room for room in rooms if room.permits < request.cost]
    if short:
        longest = max(short, key=lambda room: room.until)
        return Wait(_crowded(state, now) if longest.why is Why.PLACES else state, longest.until, longest.why)
    permits = min(room.permits for room in rooms)
    if permits < UNCOUNTED:
        permits = min(permits, max(request.cost, request.wanted))
        state = _spent(present, state, now, permits, request.cost)
    return Grant(state, present, now, permits, _valid_for(terms, now), _keeps_place(present, state, now, request))


def learn(terms: Terms, state: State, now: datetime, seen: Seen) -> State:
    """The state after a vendor's answer."""
    pause = seen.retry_after
    if pause is None and seen.remaining == 0 and not seen.daily:
        pause = terms.window  # the next request would only be refused
    if pause:
        state = replace(state, paused_until=_later(state.paused_until, now + timedelta(seconds=pause)))
    if not seen.daily or seen.remaining is None or seen.limit is None:
        return state
    left = state.vendor_left
    afresh = left is None or state.quota_until is None or now >= state.quota_until or state.quota_limit != seen.limit
    if afresh or left is None:
        return replace(
            state,
            quota_limit=seen.limit,
            quota_left=seen.remaining,
            quota_credit=seen.remaining,
            quota_until=now + LOOK_AGAIN,
        )
    return replace(state, quota_left=min(state.quota_left or 0, seen.remaining))


def give_back(terms: Terms, state: State, now: datetime, grant: Grant, unused: int) -> State:
    """The state as if the ``unused`` permits of a grant had never been taken.

    The bucket gets them back only under the terms they were taken under: what is left of a full bucket must not
    raise one of quiet hours. What the vendor says is left rises only where nobody looked afresh since."""
    level = state.level
    same = _present(terms, terms.quiet.period(now) if terms.quiet else None) == grant.terms
    if level is not None and same and (now - grant.at).total_seconds() < terms.window:
        level = min(float(grant.terms.burst), level + unused)
    used = dict(state.used)
    if slot_of(grant.at) in used:
        used[slot_of(grant.at)] = max(0, used[slot_of(grant.at)] - unused)
    credit = state.quota_credit
    if credit is not None and state.quota_until == grant.state.quota_until:
        credit += unused
    return replace(state, level=level, used=used, quota_credit=credit)


def _present(terms: Terms, period: Period | None) -> Terms:
    """The terms of the moment: in quiet hours a share of them; where that is none, ``_quiet`` stops all."""
    if terms.quiet is None or period is None or terms.quiet.share == 0:
        return terms
    return terms.scaled(terms.quiet.share)


def _endless(now: datetime, why: Why) -> _Room:
    return _Room(UNCOUNTED, now, why)


def _pause(state: State, now: datetime) -> _Room:
    if state.paused_until is not None and state.paused_until > now:
        return _Room(0, state.paused_until, Why.PAUSED)
    return _endless(now, Why.PAUSED)


def _window(terms: Terms, state: State, now: datetime, request: Request) -> _Room:
    if not terms.requests:
        return _endless(now, Why.WINDOW)
    level = _level(terms, state, now)
    if level < request.cost:
        full = timedelta(seconds=(request.cost - level) / terms.refill) + timedelta(microseconds=1)  # never too early
        return _Room(0, now + full, Why.WINDOW)
    return _Room(max(request.cost, int(level / 2)), now, Why.WINDOW)


def _level(terms: Terms, state: State, now: datetime) -> float:
    if state.level is None or state.level_at is None:
        return terms.burst
    return min(float(terms.burst), state.level + terms.refill * (now - state.level_at).total_seconds())


def _day(terms: Terms, state: State, now: datetime, request: Request) -> _Room:
    """Of the last 24 hours: what is never too much for a vendor whose day is any 24 hours."""
    if not terms.per_day:
        return _endless(now, Why.DAY)
    used = state.used_since(_day_ago(now))
    left = terms.per_day - used
    if left < request.cost:
        return _Room(0, _freed(state, now, request.cost - left), Why.DAY)
    return _Room(max(request.cost, left // BATCH_PART), now, Why.DAY)


def _freed(state: State, now: datetime, wanted: int) -> datetime:
    """When so many permits are more than a day old."""
    ends = now
    for slot, count in sorted(state.used.items()):
        if slot_end(slot) > _day_ago(now) and wanted > 0:
            ends = slot_end(slot) + DAY + timedelta(seconds=LONGEST_HOLD)
            wanted -= count
    return ends


def _day_ago(now: datetime) -> datetime:
    """A permit may be used a little after it was granted, hence counts a little longer."""
    return now - DAY - timedelta(seconds=LONGEST_HOLD)


def _quiet(terms: Terms, state: State, period: Period | None, now: datetime, request: Request) -> _Room:
    """Nothing, or of the day's requests, ours or else the vendor's, only the share in one period."""
    if terms.quiet is None or period is None:
        return _endless(now, Why.QUIET)
    if terms.quiet.share == 0:
        return _Room(0, period.ends, Why.QUIET)
    total = terms.per_day
    if not total and state.quota_limit is not None:
        total = state.quota_limit - terms.floor(state.quota_limit)
    if not total:
        return _endless(now, Why.QUIET_SHARE)
    left = int(total * terms.quiet.share) - state.used_since(period.began)
    if left < request.cost:
        return _Room(0, period.ends, Why.QUIET_SHARE)
    return _Room(max(request.cost, left // BATCH_PART), now, Why.QUIET_SHARE)


def _vendor(terms: Terms, state: State, now: datetime, request: Request) -> _Room:
    if state.quota_limit is None or state.quota_until is None:
        return _endless(now, Why.RESERVE)
    room = _above_reserve(terms, state)
    if room >= request.cost:
        return _Room(max(request.cost, room // BATCH_PART), now, Why.RESERVE)
    if now < state.quota_until:
        return _Room(0, state.quota_until, Why.RESERVE)
    return _Room(request.cost, now, Why.RESERVE)  # somebody has to look what is left now


def _above_reserve(terms: Terms, state: State) -> int:
    return max(0, (state.vendor_left or 0) - terms.floor(state.quota_limit or 0))


def _places(terms: Terms, now: datetime, request: Request) -> _Room:
    if request.places is not None and terms.concurrency and request.places >= terms.concurrency:
        return _Room(0, now + PLACE_POLL, Why.PLACES)
    return _endless(now, Why.PLACES)


def _keeps_place(terms: Terms, state: State, now: datetime, request: Request) -> bool:
    if request.places is None or (state.crowded_until is not None and state.crowded_until > now):
        return False
    free = terms.concurrency - request.places - 1
    return free * 2 >= terms.concurrency


def _crowded(state: State, now: datetime) -> State:
    """Remembered, but not rewritten with every look."""
    if state.crowded_until is not None and state.crowded_until > now + CROWDED_FOR / 2:
        return state
    return replace(state, crowded_until=now + CROWDED_FOR)


def _spent(terms: Terms, state: State, now: datetime, permits: int, cost: int) -> State:
    used = {slot: count for slot, count in state.used.items() if slot_end(slot) > _day_ago(now)}
    used[slot_of(now)] = used.get(slot_of(now), 0) + permits
    state = replace(state, used=used)
    if terms.requests:
        state = replace(state, level=_level(terms, state, now) - permits, level_at=now)
    if state.quota_limit is None:
        return state
    if _above_reserve(terms, state) < cost:
        return replace(state, quota_left=None, quota_credit=None, quota_until=now + LOOK_PATIENCE)
    return replace(state, quota_credit=(state.quota_credit or 0) - permits)


def _valid_for(terms: Terms, now: datetime) -> float:
    """Not into the next quiet hours, where less may be used."""
    if terms.quiet is None:
        return terms.hold
    return min(terms.hold, (terms.quiet.next_start(now) - now).total_seconds())


def _later(one: datetime | None, other: datetime) -> datetime:
    return other if one is None or other > one else one
