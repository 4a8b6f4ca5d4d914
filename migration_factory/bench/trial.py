"""What every measurement hands back, and which ones there are: ``manage.py bench --only NAME`` holds one alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module


@dataclass(frozen=True, slots=True)
class Size:
    """``rows`` is what the load contest takes, a million unless told; the others scale with it."""

    rows: int
    rounds: int = 1
    tell: Callable[[str], None] = field(default=lambda _line: None)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. ``at_most`` and ``at_least`` are what it has to keep; without either it only informs."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool:
        above = self.at_least is not None and self.value < self.at_least
        below = self.at_most is not None and self.value > self.at_most
        return not (above or below)

    @property
    def wanted(self) -> str:
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return f"at least {self.at_least:g}" if self.at_least is not None else ""


Trial = Callable[[Size], Sequence[Figure]]

TRIALS: Mapping[str, str] = {
    "again": "migration_factory.bench.later:measure",
    "crowd": "migration_factory.bench.crowd:measure",
    "org-to-org": "migration_factory.bench.org_to_org:measure",
    "pages": "migration_factory.bench.pages:measure",
    "rest": "migration_factory.bench.rest:measure",
}
"""Name → where its function ``(Size) -> figures`` is; beside them there is ``load``, the contest of ``contest``."""


def trial(name: str) -> Trial:
    module, _, function = TRIALS[name].partition(":")
    found: Trial = getattr(import_module(module), function)
    return found
