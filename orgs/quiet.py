"""Quiet hours: the part of a customer's day in which their own people need the system."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Period:
    """From ``began`` on and before ``ends``; both aware, UTC."""

    began: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Every day from ``starts`` to ``ends`` by the clock on the wall in ``zone``; past midnight where
    ``ends`` is not after ``starts``. ``share`` (0 to 1) of the budget may be used meanwhile."""

    starts: time
    ends: time
    zone: str = "UTC"
    share: float = 0.0

    def period(self, now: datetime) -> Period | None:
        """The quiet hours that ``now`` falls into."""
        return next((each for each in self._around(now) if each.began <= now < each.ends), None)

    def next_start(self, now: datetime) -> datetime:
        """When quiet hours begin next, after ``now``."""
        return min(each.began for each in self._around(now) if each.began > now)

    def _around(self, now: datetime) -> list[Period]:
        """Those that begin on the days about ``now``. A wall clock that is put forward or back in between
        makes them shorter or longer."""
        today = now.astimezone(ZoneInfo(self.zone)).date()
        return [self._on(today + days * _ONE_DAY) for days in (-1, 0, 1, 2)]

    def _on(self, day: date) -> Period:
        last = day if self.ends > self.starts else day + _ONE_DAY
        return Period(self._moment(day, self.starts), self._moment(last, self.ends))

    def _moment(self, day: date, wall: time) -> datetime:
        return datetime.combine(day, wall, ZoneInfo(self.zone)).astimezone(UTC)
