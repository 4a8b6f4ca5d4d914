"""Journal: what one write of a chunk began, committed with the chunk before the target is touched."""

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from runs import events, ledger
from runs.choices import EventLevel
from runs.leases import Lease
from runs.models import Chunk


class ChunkJournal:
    """The ``connectors.context.Journal`` of the chunk that is being written now; outside of ``of`` it forgets.

    Notes carry the fence: a worker that lost its chunk cannot begin another job for it.
    """

    def __init__(self, run_id: int) -> None:
        self._run_id = run_id
        self._forget()

    def _forget(self) -> None:
        self._lease: Lease | None = None
        self._jobs: tuple[str, ...] = ()
        self.key = ""

    @contextmanager
    def of(self, lease: Lease, key: str, jobs: tuple[str, ...]) -> Iterator[None]:
        """Remember for this chunk while the block runs; ``jobs`` are those of earlier tries."""
        self._lease, self.key, self._jobs = lease, key, jobs
        try:
            yield
        finally:
            self._forget()

    def jobs(self) -> tuple[str, ...]:
        return self._jobs

    def note(self, job: str) -> None:
        """Raises LeaseLost."""
        if self._lease is not None:
            ledger.note_job(self._lease, job)
            self._jobs = (*self._jobs, job)

    def tell(self, message: str) -> None:
        events.tell(self._run_id, message, level=EventLevel.WARNING)


def idempotency_key(staged: bytes, *, phase: str) -> str:
    """The key of writing a chunk in one phase of a run (``load``, ``relink``): a UUID made of the chunk's sealed
    payload, which no other chunk of any installation has."""
    digest = hashlib.blake2b(bytes(staged), digest_size=16, person=phase.encode())
    return str(uuid.UUID(bytes=digest.digest()))


def jobs_of(chunk: Chunk, key: str) -> tuple[str, ...]:
    """The jobs that earlier tries of the write with this idempotency key began."""
    return tuple(chunk.jobs) if chunk.idempotency_key == key else ()
