"""What a benchmark found: seconds per contestant, our speed as a multiple of each rival's, and our memory."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import django
import polars as pl
import psycopg
from django.db import connection

OURS = "engine"
TARGETS: dict[str, float | None] = {
    "copy": 0.5,
    "dlt rows": 10.0,
    "dlt arrow": 1.5,
    "dlt rows tuned": None,
    "dlt arrow tuned": None,
}
"""Rival → how many times as fast as it we want to be at least; None where it is only shown."""
MEMORY_TARGET_MIB = 50.0
"""How much more memory a worker may take for the large file than for the small one."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One contestant's load in one round."""

    contestant: str
    round: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak resident memory of the largest worker process, in MiB, at ``small_rows`` and at the full size."""

    small_rows: int
    small_mib: float
    large_mib: float

    @property
    def growth_mib(self) -> float:
        return self.large_mib - self.small_mib


@dataclass(frozen=True, slots=True)
class Ratio:
    """``times`` as fast as the rival: the median of the rival's seconds by the median of ours."""

    rival: str
    times: float
    target: float | None

    @property
    def met(self) -> bool:
        return self.target is None or self.times >= self.target


@dataclass(frozen=True, slots=True)
class Report:
    rows: int
    columns: int
    timings: Sequence[Timing]
    reconcile_seconds: Sequence[float]
    memory: Memory
    machine: str
    versions: dict[str, str]

    def seconds(self, contestant: str) -> float:
        return statistics.median(timing.seconds for timing in self.timings if timing.contestant == contestant)

    @property
    def ratios(self) -> tuple[Ratio, ...]:
        present = {timing.contestant for timing in self.timings}
        return tuple(
            Ratio(rival, self.seconds(rival) / self.seconds(OURS), target)
            for rival, target in TARGETS.items()
            if rival in present
        )

    @property
    def met(self) -> bool:
        """Every ratio that was measured, and the memory, are as wanted."""
        return all(ratio.met for ratio in self.ratios) and self.memory.growth_mib <= MEMORY_TARGET_MIB

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "columns": self.columns,
            "seconds": {
                name: round(self.seconds(name), 2) for name in dict.fromkeys(t.contestant for t in self.timings)
            },
            "ratios": {ratio.rival: round(ratio.times, 2) for ratio in self.ratios},
            "targets": TARGETS,
            "memory": {**asdict(self.memory), "growth_mib": self.memory.growth_mib, "target_mib": MEMORY_TARGET_MIB},
            "reconcile_seconds": [round(seconds, 2) for seconds in self.reconcile_seconds],
            "timings": [asdict(timing) for timing in self.timings],
            "met": self.met,
            "machine": self.machine,
            "versions": self.versions,
        }


def machine() -> str:
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start"
    )


def versions() -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        server = str(cursor.fetchone()[0])
    python = platform.python_version()
    own = {"django": django.get_version(), "polars": pl.__version__, "psycopg": psycopg.__version__}
    return {"python": python, "postgresql": server, **own}
