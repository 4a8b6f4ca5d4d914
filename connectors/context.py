"""What a connector is handed from outside, as protocols small enough to fake in a test."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Lock
from typing import Any, BinaryIO, Protocol

from connectors.errors import SettingsInvalid


class Secret:
    """A text that shows itself only to whoever calls ``reveal``."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret is never pickled")


class Clock(Protocol):
    def now(self) -> datetime:
        """The time now, aware, UTC."""

    def sleep(self, seconds: float) -> None:
        """Wait; a test's clock only moves its hand."""


KeepAlive = Callable[[], None]
"""To be called now and then while a long request is under way; costs nothing when called often."""


class RateBudget(Protocol):
    def acquire(self, cost: int = 1) -> None:
        """Return when ``cost`` requests may be sent; raises BudgetUsedUp where the wait would be long."""

    def request(self, cost: int = 1) -> AbstractContextManager[KeepAlive]:
        """Acquire, and hold a place among the concurrent requests for as long as the block runs."""

    def observe(
        self, *, remaining: int | None, limit: int | None, retry_after: float | None, daily: bool = False
    ) -> None:
        """Learn from the vendor's own headers: requests left, the window's total, seconds to wait.

        ``daily`` says that the two counts are of a day; without it their window is unknown, and short."""

    def close(self) -> None:
        """Give back what was taken and not used. The budget may be used again afterwards."""


class TokenStore(Protocol):
    """One access token per org, shared by all workers."""

    def load(self) -> "Token | None": ...

    def refresh(self, stale: "Token | None", renew: "TokenRenewal") -> "Token":
        """The current token. ``renew`` is called, by one worker at a time, only where the stored token
        still is ``stale``; everyone else gets the one that worker stored."""


class TokenRenewal(Protocol):
    def __call__(self, current: "Token | None") -> "Token": ...


class Journal(Protocol):
    """What is remembered of one write across crashes, committed before the target is touched."""

    @property
    def key(self) -> str:
        """The idempotency key: the same for every try of one write, and for no other; blank where nobody keeps one."""

    def jobs(self) -> tuple[str, ...]:
        """The vendor's jobs that earlier tries of this write began, the oldest first."""

    def note(self, job: str) -> None:
        """Commit the number of a job that is about to carry this write. Raises what stops a write that is not ours
        any more."""

    def tell(self, message: str) -> None:
        """A sentence for the run's log: what staff should see of the tries of this write."""


class NoJournal:
    """The journal of writes that nobody repeats after a crash: scripts, tests, clean-up."""

    key = ""

    def jobs(self) -> tuple[str, ...]:
        return ()

    def note(self, job: str) -> None:
        del job

    def tell(self, message: str) -> None:
        del message


@dataclass(frozen=True, slots=True)
class Begun:
    """A job that was to create records which carry no key: ``rows`` has a digest of what was sent by key. Only where
    ``closed`` may it have done anything: that it is about to be closed is committed before it is."""

    job: str
    closed: bool
    rows: Mapping[str, str]


class IdMap(Protocol):
    """Which records of a target are ours where they carry no key of ours, and what was begun to create them. What is
    told to it is committed when the call returns; it raises what stops a write that is not ours any more."""

    def targets(self, entity: str, keys: Sequence[str]) -> Mapping[str, str]:
        """Key → target id, of those that are known."""

    def keys(self, entity: str, target_ids: Sequence[str]) -> Mapping[str, str]:
        """Target id → key, of those that are known."""

    def link(self, entity: str, target_ids: Mapping[str, str]) -> None:
        """These keys (key → target id) are records that are there."""

    def begin(self, entity: str, job: str, rows: Mapping[str, str], *, gone: Mapping[str, str]) -> None:
        """The job is about to carry these rows (key → digest). ``gone`` are those of them (key → target id) that were
        known and are not in the target any more. Raises Unavailable where somebody else is at one of them, or has
        brought it since it was looked for."""

    def close(self, job: str) -> None:
        """The job has its rows and is about to be closed. Raises Unavailable where somebody else has forgotten it."""

    def begun(self, entity: str, keys: Sequence[str]) -> Sequence[Begun]:
        """Jobs with any of these keys that have neither been answered nor forgotten, the oldest first."""

    def answer(self, job: str, target_ids: Mapping[str, str]) -> None:
        """The job created these records (key → target id), and none of its other rows."""

    def forget(self, job: str) -> None:
        """The job has done nothing, and never will."""


class MemoryIdMap:
    """The id map of one process: tests and scripts."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}
        self._begun: dict[str, tuple[str, Begun]] = {}

    def targets(self, entity: str, keys: Sequence[str]) -> Mapping[str, str]:
        return {key: self._known[entity, key] for key in keys if (entity, key) in self._known}

    def keys(self, entity: str, target_ids: Sequence[str]) -> Mapping[str, str]:
        wanted = set(target_ids)
        return {there: key for (of, key), there in self._known.items() if of == entity and there in wanted}

    def link(self, entity: str, target_ids: Mapping[str, str]) -> None:
        self._known |= {(entity, key): there for key, there in target_ids.items()}

    def begin(self, entity: str, job: str, rows: Mapping[str, str], *, gone: Mapping[str, str]) -> None:
        del gone
        self._begun[job] = entity, Begun(job, closed=False, rows=dict(rows))

    def close(self, job: str) -> None:
        entity, begun = self._begun[job]
        self._begun[job] = entity, replace(begun, closed=True)

    def begun(self, entity: str, keys: Sequence[str]) -> Sequence[Begun]:
        wanted = set(keys)
        return [each for of, each in self._begun.values() if of == entity and not wanted.isdisjoint(each.rows)]

    def answer(self, job: str, target_ids: Mapping[str, str]) -> None:
        entity, _ = self._begun.pop(job)
        self.link(entity, target_ids)

    def forget(self, job: str) -> None:
        self._begun.pop(job, None)


class FileStore(Protocol):
    """The files a person gave us for one org."""

    def names(self) -> list[str]:
        """Relative names with ``/``, sorted."""

    def open(self, name: str) -> BinaryIO:
        """A seekable stream of the file; raises FileNotFoundError."""

    def size(self, name: str) -> int:
        """Bytes."""


class Contents(Protocol):
    """The contents of files, where their source keeps them; see ``connectors.contents``."""

    def read(self, at: str, into: BinaryIO) -> None:
        """Write the contents that are read at ``at`` into a seekable file, at its position. Raises NotFound where they
        are gone, and other connector errors."""


class NoContents:
    """Of records that have no contents."""

    def read(self, at: str, into: BinaryIO) -> None:
        del at, into
        raise SettingsInvalid("The source of these records gives no contents of files; leave the field out.")


@dataclass(frozen=True, slots=True)
class Token:
    """An access token. ``instance_url`` is where the vendor told us to send calls; ``refresh`` is the
    rotated refresh token where there is one."""

    access: Secret
    instance_url: str = ""
    refresh: Secret | None = None
    expires_at: datetime | None = None


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Unlimited:
    """The budget of a system that sets none."""

    def acquire(self, cost: int = 1) -> None:
        del cost

    def request(self, cost: int = 1) -> AbstractContextManager[KeepAlive]:
        del cost
        return nullcontext(_nothing)

    def observe(
        self, *, remaining: int | None, limit: int | None, retry_after: float | None, daily: bool = False
    ) -> None:
        del remaining, limit, retry_after, daily

    def close(self) -> None:
        return None


def _nothing() -> None:
    return None


class MemoryTokens:
    """A token store for one process: tests and scripts."""

    def __init__(self) -> None:
        self._token: Token | None = None
        self._lock = Lock()

    def load(self) -> Token | None:
        return self._token

    def refresh(self, stale: Token | None, renew: TokenRenewal) -> Token:
        with self._lock:
            if self._token is None or self._token is stale:
                self._token = renew(self._token)
            return self._token


class NoFiles:
    """The store of an org nobody gave files to."""

    def names(self) -> list[str]:
        return []

    def open(self, name: str) -> BinaryIO:
        raise FileNotFoundError(name)

    def size(self, name: str) -> int:
        raise FileNotFoundError(name)


class Transport(Protocol):
    """The seam where a request leaves the process: any ``httpx.BaseTransport``, by its one method."""

    def handle_request(self, request: Any, /) -> Any: ...


LOOPBACK = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True, slots=True)
class Network:
    """How this installation reaches other systems; the installation's to decide, never an org's form.

    ``allowed_networks`` are address ranges (CIDR) that may be reached although they are not public, for
    instance ``LOOPBACK`` for a local simulator; only there is plain http accepted. ``ca_file`` is a PEM
    file of certificate authorities to trust beside the usual ones. ``transport`` takes the place of real
    connections in a test.
    """

    allowed_networks: tuple[str, ...] = ()
    ca_file: str = ""
    transport: Transport | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a connector may use of the world: its settings, and the protocols above.

    ``name`` is what staff call the system, so that a sentence tells one org of a platform from another."""

    name: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    budget: RateBudget = field(default_factory=Unlimited)
    tokens: TokenStore = field(default_factory=MemoryTokens)
    clock: Clock = field(default_factory=SystemClock)
    files: FileStore = field(default_factory=NoFiles)
    journal: Journal = field(default_factory=NoJournal)
    id_map: IdMap = field(default_factory=MemoryIdMap)
    contents: Contents = field(default_factory=NoContents)
    network: Network = field(default_factory=Network)
    apart: "Apart | None" = None

    def for_thread(self) -> "AbstractContextManager[Context]":
        """This system once more, to be opened and left in another thread; the same context where whoever made it says
        nothing of threads."""
        return nullcontext(self) if self.apart is None else self.apart()

    def text(self, name: str, default: str = "") -> str:
        return self.settings.get(name, "") or default

    def require(self, name: str) -> str:
        """The setting's value; raises SettingsInvalid where it is blank."""
        value = self.settings.get(name, "")
        if not value:
            raise SettingsInvalid(f"The setting “{name}” is missing. Fill it in on the org's page.")
        return value

    def secret(self, name: str) -> Secret:
        """The secret's value; raises SettingsInvalid where it is not set."""
        value = self.secrets.get(name)
        if not value:
            raise SettingsInvalid(f"The secret “{name}” is not set. Enter it on the org's page.")
        return value


Apart = Callable[[], AbstractContextManager[Context]]
"""Makes a context of the same system that shares nothing with this one which belongs to one thread."""
