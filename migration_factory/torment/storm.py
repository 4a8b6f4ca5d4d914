"""Faults by chance: what may strike a run while it is under way, and undoing all of it afterwards."""

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psutil
import psycopg

from migration_factory import embedded
from migration_factory.torment.ground import Ground
from migration_factory.torment.workers import LEASE_SECONDS, Host, go_on
from sandbox.faults.proxy import Harm, Kind

PILED_UP = 1
"""Faults that may lie in wait on one connection's way: a piece that meets one after the other is set aside."""
RESTART_EVERY = 45.0
"""Seconds between two restarts of the server: the queue's broker sleeps for ten after each."""

FAULTS = ("kill", "freeze", "expire", "drop-after-commit", "cut", "slow", "429", "503", "db-restart")


@dataclass
class Storm:
    """Strikes at random moments between ``begin`` and ``end``. The order of faults is the seed's."""

    ground: Ground
    host: Host
    faults: Sequence[str]
    chance: random.Random
    calm: float
    """The mean time between two faults, in seconds."""
    tell: Callable[[str], None]
    struck: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)
    _frozen: list[tuple[float, psutil.Process]] = field(default_factory=list)
    _slow_until: float = 0.0
    _restart_at: float = 0.0
    _started: float = field(default_factory=time.monotonic)
    _thread: threading.Thread | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        self._over.clear()
        self._thread = threading.Thread(target=self._rage, name="storm", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """No fault after this, and what was harmed is whole again."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        for _, process in self._frozen:
            go_on(process)
        self._frozen.clear()
        for proxy in self.ground.proxies.values():
            proxy.disarm()
        for control in self.ground.controls.values():
            control.clear_faults(self.chance.randrange(1_000_000))
        embedded.ensure_running(self.ground.var, disposable=True)
        self.host.revive()

    def note(self, what: str) -> None:
        self.log.append(f"{time.monotonic() - self._started:7.2f} s  {what}")
        self.tell(self.log[-1])

    def _rage(self) -> None:
        while not self._over.wait(self.chance.expovariate(1 / self.calm)):
            self._relent()
            name = self.chance.choice(self.faults)
            with contextlib.suppress(psycopg.OperationalError):  # the server is on its way up: nothing to harm
                told = self._strikes[name]() if self._at_work() else ""
                if told:
                    self.struck[name] += 1
                    self.note(f"{name}: {told}")

    def _at_work(self) -> bool:
        """Whether somebody holds a piece of a run: a fault while all wait out the last one would strike nobody."""
        with psycopg.connect(self.ground.ledger, connect_timeout=2) as ledger:
            row = ledger.execute(
                """SELECT EXISTS (SELECT FROM runs_chunk WHERE lease_until > clock_timestamp())
                       OR EXISTS (SELECT FROM runs_step WHERE lease_until > clock_timestamp())
                       OR EXISTS (SELECT FROM runs_run WHERE lease_until > clock_timestamp())"""
            ).fetchone()
        return bool(row and row[0])

    def _lie_in_wait(self, role: str) -> bool:
        """Whether enough faults lie in wait there already."""
        if role in self.ground.controls:
            waiting = [rule for rule in self.ground.controls[role].faults() if rule["struck"] < (rule["times"] or 1)]
            return len(waiting) >= PILED_UP
        return self.ground.proxies[role].waiting >= PILED_UP

    def _relent(self) -> None:
        """End what lasts for a while only."""
        now = time.monotonic()
        for until, process in list(self._frozen):
            if now >= until:
                go_on(process)
                self._frozen.remove((until, process))
        if self._slow_until and now >= self._slow_until:
            self._slow_until = 0.0
            for proxy in self.ground.proxies.values():
                proxy.delay(0)
        self.host.revive()

    @property
    def _strikes(self) -> Mapping[str, Callable[[], str]]:
        return {
            "kill": self._kill,
            "freeze": self._freeze,
            "expire": self._expire,
            "drop-after-commit": self._drop_answer,
            "cut": self._cut,
            "slow": self._slow,
            "429": self._too_many,
            "503": self._unavailable,
            "db-restart": self._restart,
        }

    # Each returns what was harmed, blank where there was nothing --------------------------------------------

    def _kill(self) -> str:
        return self.host.kill_one(self.chance)

    def _freeze(self) -> str:
        process = None if self._frozen else self.host.freeze_one(self.chance)
        if process is None:
            return ""
        self._frozen.append((time.monotonic() + LEASE_SECONDS * self.chance.uniform(0.3, 1.6), process))
        return f"worker {process.pid}"

    def _expire(self) -> str:
        """A token, or a lease whose holder still works."""
        if self.ground.controls and self.chance.random() < 0.5:
            role = self.chance.choice(sorted(self.ground.controls))
            self.ground.controls[role].expire_tokens()
            return f"tokens of the {role}"
        with psycopg.connect(self.ground.ledger, autocommit=True, connect_timeout=2) as ledger:
            table = self.chance.choice(("runs_chunk", "runs_chunk", "runs_step", "runs_run", "runs_driver"))
            done = ledger.execute(
                f"""UPDATE {table} SET lease_until = clock_timestamp() - interval '1 second'
                     WHERE lease_until > clock_timestamp() AND id =
                    (SELECT id FROM {table} WHERE lease_until > clock_timestamp() ORDER BY random() LIMIT 1)
                    RETURNING id"""  # noqa: S608 - our own names
            ).fetchone()
        return f"lease of {table} {done[0]}" if done else ""

    def _drop_answer(self) -> str:
        role = self.chance.choice(sorted(self.ground.proxies))
        if self._lie_in_wait(role):
            return ""
        if role in self.ground.controls:
            writes = role == "target"
            rule = {"method": "", "path": "/composite|/jobs/ingest|/sobjects/" if writes else "/query|/jobs/query"}
            self.ground.controls[role].fault("drop_after", times=1, after=self.chance.randrange(4), **rule)
        else:
            self.ground.proxies[role].arm(Harm(Kind.DROP_ANSWER, needle=b"COMMIT"))
        return role

    def _cut(self) -> str:
        role = self.chance.choice(sorted(self.ground.proxies))
        if self.ground.proxies[role].waiting >= PILED_UP:
            return ""
        kind = self.chance.choice((Kind.CUT, Kind.RESET, Kind.HALF_CLOSE))
        self.ground.proxies[role].arm(Harm(kind, after=self.chance.choice((0, 1, 200, 5_000, 100_000))))
        return f"{kind} of the {role}"

    def _slow(self) -> str:
        role = self.chance.choice(sorted(self.ground.proxies))
        seconds = self.chance.uniform(0.02, 0.2)
        self.ground.proxies[role].delay(seconds)
        self._slow_until = time.monotonic() + self.chance.uniform(0.5, 2.0)
        return f"{role} by {seconds * 1000:.0f} ms"

    def _too_many(self) -> str:
        """Always with Retry-After: without one, the platform says so when the day's requests are used up, and a run
        then waits for an hour."""
        return self._refusals("rate_limited", retry_after=self.chance.choice((1, 2)))

    def _unavailable(self) -> str:
        kind = self.chance.choice(("unavailable", "server_error", "drop_before", "truncated", "cut"))
        return self._refusals(kind, body=self.chance.choice(("json", "html", "empty")))

    def _refusals(self, kind: str, **rule: object) -> str:
        if not self.ground.controls:
            return ""
        role = self.chance.choice(sorted(self.ground.controls))
        if self._lie_in_wait(role):
            return ""
        times = self.chance.randrange(1, 4)
        given = {name: value for name, value in rule.items() if value is not None}
        self.ground.controls[role].fault(kind, times=times, **given)
        return f"{kind} by the {role}, {times} times"

    def _restart(self) -> str:
        now = time.monotonic()
        if now < self._restart_at:
            return ""
        self._restart_at = now + RESTART_EVERY
        embedded.stop(self.ground.var)
        time.sleep(self.chance.uniform(0.0, 2.0))
        embedded.ensure_running(self.ground.var, disposable=True)
        return "server"
