"""What staff read about an org's rate budget: why a worker waits, how much is left, what was agreed."""

from datetime import UTC, datetime, timedelta

from orgs.allowance import DAY, State, Terms, Why
from orgs.quiet import QuietHours

Rows = list[tuple[str, str]]


def sentence(org: str, why: Why, until: datetime, now: datetime, *, terms: Terms, state: State) -> str:
    """Why ``org`` is not asked now, and until when."""
    end = moment(until, now)
    used = min(state.used_since(now - DAY), terms.per_day)
    said = {
        Why.PAUSED: f"{org} asked us to slow down: all workers wait until {end}.",
        Why.QUIET: f"{org} has its quiet hours: nothing is sent until {end}.",
        Why.QUIET_SHARE: f"{org}: the requests for its quiet hours are used; the others are kept until {end}.",
        Why.DAY: f"{org}: {used:,} of {terms.per_day:,} requests in 24 hours are used; more are free at {end}.",
        Why.RESERVE: _reserve(org, end, state),
        Why.PLACES: f"{org} is answering {terms.concurrency} requests at once, as many as agreed; one must end first.",
        Why.WINDOW: f"{org} is to get {_rate(terms)} at most, as agreed; the next one at {end}.",
    }
    return said[why]


def _reserve(org: str, end: str, state: State) -> str:
    left, limit = state.vendor_left, state.quota_limit or 0
    if left is None:
        return f"{org} is being asked what is left of today's requests; everybody else waits until {end}."
    return (
        f"{org}: {limit - left:,} of {limit:,} requests of today are used; "
        f"the rest is kept for the customer's own users until {end}."
    )


def moment(when: datetime, now: datetime) -> str:
    """A time to come, never told too early: to the second where it is near, with the day where it is another."""
    when = when.astimezone(UTC)
    if when - now < timedelta(minutes=2):
        return f"{_up_to(when, timedelta(seconds=1)):%H:%M:%S} UTC"
    when = _up_to(when, timedelta(minutes=1))
    if when.date() == now.astimezone(UTC).date():
        return f"{when:%H:%M} UTC"
    return f"{when.day} {when:%b}, {when:%H:%M} UTC"


def _up_to(when: datetime, step: timedelta) -> datetime:
    start = when.replace(hour=0, minute=0, second=0, microsecond=0)
    return start + -((start - when) // step) * step


def budget_rows(terms: Terms, state: State, places: int, now: datetime) -> Rows:
    """Limit → what was agreed and how much of it is used."""
    day = state.used_since(now - DAY)
    rows = [
        ("requests", f"at most {_rate(terms)}" if terms.requests else "no limit"),
        ("requests at once", f"{places} of {terms.concurrency} under way" if terms.concurrency else "no limit"),
        ("requests in 24 hours", f"{day:,} of {terms.per_day:,} used" if terms.per_day else "no limit of our own"),
        ("the system's own day", _vendor(terms, state)),
        ("quiet hours", _quiet(terms.quiet)),
    ]
    if state.paused_until is not None and state.paused_until > now:
        rows.append(("paused", f"all workers wait until {moment(state.paused_until, now)}, as the system asked"))
    return rows


def _vendor(terms: Terms, state: State) -> str:
    kept = f"{terms.reserve:.0%} are kept for the customer's own users"
    if state.quota_limit is None:
        return f"not told yet; {kept}"
    left = state.vendor_left
    told = "being asked" if left is None else f"{left:,} left"
    return f"{told} of {state.quota_limit:,}; {kept}, that is {terms.floor(state.quota_limit):,}"


def _rate(terms: Terms) -> str:
    window = "second" if terms.window == 1 else f"{terms.window:g} seconds"
    return f"{terms.requests:,} {'request' if terms.requests == 1 else 'requests'} per {window}"


def _quiet(quiet: QuietHours | None) -> str:
    if quiet is None:
        return "none"
    share = f"{quiet.share:.0%} of the budget" if quiet.share else "nothing is sent"
    return f"{quiet.starts:%H:%M} to {quiet.ends:%H:%M} {quiet.zone}: {share}"
