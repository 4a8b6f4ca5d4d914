"""One rate budget per org, shared by all workers and runs through the org's row in the database.

A worker takes permits in small batches, good for a second at most, and a place among the concurrent requests.
It reads the row, computes in ``orgs.allowance``, and writes where nobody wrote meanwhile; only who was slower
than another does it again under a lock. Nobody sleeps holding one. Why: docs/decisions/0009-rate-budget.md.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Final

from django.db import DatabaseError, transaction

from connectors.context import Clock, KeepAlive
from connectors.errors import BudgetUsedUp, SettingsInvalid
from orgs import budget_store as store
from orgs.allowance import (
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
)
from orgs.budget_store import Reading
from orgs.budget_words import sentence
from orgs.models import Org

log = logging.getLogger(__name__)

LONGEST_SLEEP: Final = 20.0
"""Seconds a worker waits in silence; it holds a lease on its work (``MF_LEASE_SECONDS``) meanwhile."""
KEEP_SECONDS: Final = 1.0
"""So long a worker may keep its place from one request to the next."""
LARGEST_BATCH: Final = 64
PLACE_POLL: Final = (0.02, 0.1)
"""Seconds, from and to, between two looks for a place."""
LOOK_POLL: Final = 0.5
"""Seconds between two looks whether somebody learned what is left of the vendor's day."""
MOST_VOID: Final = 50
"""So often in a row permits may be void when they arrive, before the database is called too slow."""
NO_PLACE_RETRY: Final = 5.0
"""Seconds after which a piece of work that found no place is taken up again."""


@dataclass(slots=True)
class _Batch:
    """What is left in hand of a grant, asked for at ``asked_at`` by this process's own steady clock."""

    grant: Grant
    permits: int
    asked_at: float

    @property
    def is_counted(self) -> bool:
        return self.grant.permits < UNCOUNTED


@dataclass(slots=True)
class _Place:
    id: int
    taken_at: float
    renewed_at: float
    may_be_kept: bool


@dataclass(frozen=True, slots=True)
class _Pause:
    """Ask again after ``step`` seconds. ``retry_after`` is when it makes sense to do so after giving up."""

    step: float
    retry_after: float
    sentence: str


class SharedBudget:
    """A ``RateBudget`` over the org's row; one per opened connector, not to be shared between threads.

    Raises RuntimeError inside a transaction: others would wait for its end, and its rollback would forget
    requests that were sent. ``elapsed`` tells how old a permit is: seconds, steady, within this process.
    """

    def __init__(
        self, org: Org, default: Terms, *, clock: Clock, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        self._org_id = org.pk
        self._name = org.name
        self._default = default
        self._clock = clock
        self._elapsed = elapsed
        self._limits_places = bool(default.concurrency)
        self._batch: _Batch | None = None
        self._pending: Seen | None = None
        self._known_limit: int | None = None
        self._kept: _Place | None = None
        self._cleaned_at = float("-inf")

    # --- The protocol -------------------------------------------------------------------------------------------
    def acquire(self, cost: int = 1) -> None:
        """See ``RateBudget``. Sleeps by the clock, ``LONGEST_SLEEP`` seconds at most, then raises BudgetUsedUp;
        raises SettingsInvalid where the cost is more than may ever go at once."""
        self._obtain(cost, needs_place=False)

    @contextmanager
    def request(self, cost: int = 1) -> Iterator[KeepAlive]:
        """See ``RateBudget``; waits and raises as ``acquire`` does."""
        place = self._obtain(cost, needs_place=True)
        try:
            yield partial(self._keep_alive, place)
        finally:
            self._leave(place)

    def observe(
        self, *, remaining: int | None, limit: int | None, retry_after: float | None, daily: bool = False
    ) -> None:
        """See ``RateBudget``. What concerns all workers now is written now, the rest with the next batch."""
        seen = Seen(remaining, limit, retry_after, daily)
        if retry_after is not None or (remaining == 0 and not daily) or (daily and limit != self._known_limit):
            self._tell(seen)
        elif daily and remaining is not None:
            before = self._pending.remaining if self._pending else None
            self._pending = replace(seen, remaining=remaining if before is None else min(before, remaining))

    def close(self) -> None:
        """See ``RateBudget``. No error where the database is out of reach: what was taken ends by itself."""
        try:
            if self._pending or (self._batch and self._batch.is_counted and self._batch.permits):
                self._tell(None)
        except DatabaseError:
            log.warning("The budget of org %s did not get back what was left.", self._org_id, exc_info=True)
        self._release(self._kept)
        self._batch = self._pending = self._kept = None

    # --- Taking -------------------------------------------------------------------------------------------------
    def _obtain(self, cost: int, *, needs_place: bool) -> _Place | None:
        """Take the permits, and a place where one is needed and limited; sleep and ask until there are."""
        slept, void = 0.0, 0
        place = self._kept_place() if needs_place else None
        while True:
            missing = needs_place and place is None
            if not (missing and self._limits_places) and self._takes(cost):
                return place
            answer = self._ask(cost, needs_place=missing)
            if isinstance(answer, _Pause):
                self._release(place)
                place = None
                slept += answer.step
                self._sleep(answer, slept)
            else:
                place = answer or place
                void += 1
                self._refuse_crawling(void, place)

    def _takes(self, cost: int) -> bool:
        """Take from the batch in hand, where it is fresh and large enough."""
        batch = self._batch
        if batch is None or batch.permits < cost:
            return False
        if self._elapsed() - batch.asked_at >= batch.grant.valid_for:
            return False
        batch.permits -= cost
        return True

    def _ask(self, cost: int, *, needs_place: bool) -> _Place | _Pause | None:
        """Get a new batch, and a place where one is needed and limited; or hear what to wait for."""
        for attempt in count():
            with self._turn(attempt):
                asked_at = self._elapsed()
                reading = store.read(self._org_id, self._default)
                self._refuse_impossible(reading.terms, cost)
                limited = needs_place and bool(reading.terms.concurrency)
                request = Request(cost, self._wanted(cost), reading.places if limited else None)
                decision = decide(reading.terms, self._settled(reading, None), reading.now, request)
                written = self._write(reading, decision.state, with_place=limited and isinstance(decision, Grant))
            if written is not None:
                self._learned(reading, decision.state)
                if isinstance(decision, Wait):
                    return self._pause(decision, reading)
                self._batch = _Batch(decision, decision.permits, asked_at)
                return _Place(written, asked_at, asked_at, decision.keep_place) if written else None
        raise AssertionError  # pragma: no cover - count() does not end

    def _tell(self, seen: Seen | None) -> None:
        """Write what was seen and what is left in hand."""
        for attempt in count():
            with self._turn(attempt):
                reading = store.read(self._org_id, self._default)
                state = self._settled(reading, seen)
                written = self._write(reading, state, with_place=False)
            if written is not None:
                self._learned(reading, state)
                return

    def _turn(self, attempt: int) -> AbstractContextManager[None]:
        """The first attempt goes without a lock. Who lost it to somebody faster stands in line for the row, for
        as long as reading and writing take: under load everybody gets a turn."""
        with transaction.atomic(durable=True):
            pass  # sends nothing, but raises inside a transaction
        return store.locked(self._org_id) if attempt else nullcontext()

    def _settled(self, reading: Reading, seen: Seen | None) -> State:
        """The row's state after what this worker has to add: unused permits, answers."""
        state, batch = reading.state, self._batch
        if batch and batch.is_counted and batch.permits:
            state = give_back(reading.terms, state, reading.now, batch.grant, batch.permits)
        for each in (self._pending, seen):
            if each is not None:
                state = learn(reading.terms, state, reading.now, each)
        return state

    def _write(self, reading: Reading, state: State, *, with_place: bool) -> int | None:
        """The id of the place taken, 0 without one; None where somebody was faster. What does not change
        is not written: an org without limits has no row."""
        if not with_place and state == reading.state:
            return 0
        if reading.version is None:
            store.create(self._org_id)
            return None
        if with_place:
            return store.write_with_place(self._org_id, reading.version, state)
        return 0 if store.write(self._org_id, reading.version, state) else None

    def _learned(self, reading: Reading, state: State) -> None:
        """What was in hand or to be told is in the row now."""
        self._batch = self._pending = None
        self._limits_places = bool(reading.terms.concurrency)
        self._known_limit = None if state.vendor_left is None else state.quota_limit

    def _wanted(self, cost: int) -> int:
        """Twice the last batch where it was used up in time, otherwise as many as were used of it."""
        batch = self._batch
        if batch is None:
            return 1
        used = batch.grant.permits - batch.permits
        return min(LARGEST_BATCH, max(1, used * 2 if batch.permits < cost else used))

    # --- Waiting ------------------------------------------------------------------------------------------------
    def _pause(self, wait: Wait, reading: Reading) -> _Pause:
        terms, state = reading.terms, wait.state
        text = sentence(self._name, wait.why, wait.until, reading.now, terms=terms, state=state)
        seconds = max(0.0, (wait.until - reading.now).total_seconds())
        if wait.why is Why.PLACES:
            self._free_dead_places()
            return _Pause(random.uniform(*PLACE_POLL), NO_PLACE_RETRY, text)  # noqa: S311 - jitter
        if wait.why is Why.RESERVE and state.vendor_left is None:
            return _Pause(min(LOOK_POLL, seconds), max(1.0, seconds), text)
        return _Pause(seconds + random.uniform(0.001, 0.01), max(1.0, seconds), text)  # noqa: S311 - jitter

    def _sleep(self, pause: _Pause, slept: float) -> None:
        if slept > LONGEST_SLEEP:
            raise BudgetUsedUp(pause.sentence, retry_after=pause.retry_after)
        self._clock.sleep(pause.step)

    def _refuse_impossible(self, terms: Terms, cost: int) -> None:
        most = min(terms.burst if terms.requests else cost, terms.per_day or cost)
        if cost > most:
            raise SettingsInvalid(
                f"One call to {self._name} costs {cost:,} requests, but its budget lets only {most:,} go at once. "
                "Raise the budget on the org's page."
            )

    def _refuse_crawling(self, void: int, place: _Place | None) -> None:
        if void > MOST_VOID:
            self._release(place)
            raise BudgetUsedUp(
                f"Our own database answers too slowly to keep to the limits of {self._name}; trying again soon.",
                retry_after=NO_PLACE_RETRY,
            )

    # --- Places -------------------------------------------------------------------------------------------------
    def _kept_place(self) -> _Place | None:
        place, self._kept = self._kept, None
        if place is not None and self._elapsed() - place.taken_at >= KEEP_SECONDS:
            self._release(place)
            return None
        return place

    def _leave(self, place: _Place | None) -> None:
        """Keep the place for the next request where enough are free, else give it back."""
        if place is None:
            return
        fresh = self._elapsed() - place.taken_at < KEEP_SECONDS
        if place.may_be_kept and fresh and self._kept is None:
            self._kept = place
        else:
            self._release(place)

    def _release(self, place: _Place | None) -> None:
        """Never an error: the request's own outcome must not be lost over it, and a place ends by itself."""
        if place is None:
            return
        try:
            store.release_place(place.id)
        except DatabaseError:
            log.warning("A place at org %s was not given back.", self._org_id, exc_info=True)

    def _keep_alive(self, place: _Place | None) -> None:
        if place is None or self._elapsed() - place.renewed_at < store.PLACE_SECONDS / 4:
            return
        store.renew_place(place.id)
        place.renewed_at = self._elapsed()

    def _free_dead_places(self) -> None:
        """Once a second: it looks at all sessions of the server."""
        if self._elapsed() - self._cleaned_at >= 1.0:
            self._cleaned_at = self._elapsed()
            store.free_dead_places(self._org_id)
