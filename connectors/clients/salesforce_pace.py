"""When to ask whether a bulk job is done: early enough not to idle, seldom enough not to spend calls on it.

Jobs of one object take about as long as they have records. Once one has ended, the first question about the next comes
when that one's pace says that it is nearly done; without such knowledge the questions come at growing distances.
"""

from collections.abc import Iterator
from typing import Final

FIRST: Final = 0.25  # seconds before the first question where nothing is known
SHORTEST: Final = 0.1  # seconds between two questions
LONGEST: Final = 10.0
LONGEST_FIRST: Final = 60.0  # however long the last job took
NEARLY: Final = 0.9  # of the time that the last job's pace foretells
_KNOWING: Final = 0.15  # of the time waited so far: the distance to the next question about when the end is due
_GUESSING: Final = 0.5  # the same where it is not


class Pace:
    """What one session's jobs of each object took, in seconds per record."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}

    def learn(self, entity: str, records: int, seconds: float) -> None:
        """A job of so many records has ended ``seconds`` after it was started."""
        if records:
            self._known[entity] = seconds / records

    def waits(self, entity: str, records: int = 0) -> Iterator[float]:
        """Seconds to wait before each question about a job that was started just now, without end."""
        due = self._known.get(entity, 0.0) * records
        wait = min(LONGEST_FIRST, max(SHORTEST, NEARLY * due)) if due else FIRST
        waited = 0.0
        while True:
            yield wait
            waited += wait
            share = _KNOWING if waited < 2 * due else _GUESSING
            wait = min(LONGEST, max(SHORTEST, share * waited))
