"""The id map as connectors are handed it, of one project; each note carries the fence of the work in hand."""

from collections.abc import Callable, Mapping, Sequence

from connectors.context import Begun
from runs import ledger
from runs.crash_points import CrashPoint, reached
from runs.leases import Lease


class ProjectIdMap:
    """A ``connectors.context.IdMap``. ``held`` is the lease that the worker holds now, if any."""

    def __init__(self, project_id: int, held: Callable[[], Lease | None]) -> None:
        self._project = project_id
        self._held = held

    def targets(self, entity: str, keys: Sequence[str]) -> Mapping[str, str]:
        return ledger.known_targets(self._project, entity, keys) if keys else {}

    def keys(self, entity: str, target_ids: Sequence[str]) -> Mapping[str, str]:
        return ledger.known_keys(self._project, entity, target_ids) if target_ids else {}

    def link(self, entity: str, target_ids: Mapping[str, str]) -> None:
        if target_ids:
            ledger.link(self._held(), self._project, entity, target_ids)

    def begin(self, entity: str, job: str, rows: Mapping[str, str], *, gone: Mapping[str, str]) -> None:
        ledger.begin_insertion(self._held(), self._project, entity, job, rows, gone=gone)
        reached(CrashPoint.INSERT_BEGUN)

    def close(self, job: str) -> None:
        ledger.close_insertion(self._held(), self._project, job)
        reached(CrashPoint.INSERT_CLOSING)

    def begun(self, entity: str, keys: Sequence[str]) -> Sequence[Begun]:
        return ledger.begun_insertions(self._project, entity, keys)

    def answer(self, job: str, target_ids: Mapping[str, str]) -> None:
        reached(CrashPoint.INSERT_ANSWERED)
        ledger.answer_insertion(self._held(), self._project, job, target_ids)
        reached(CrashPoint.INSERT_NOTED)

    def forget(self, job: str) -> None:
        ledger.forget_insertion(self._held(), self._project, job)

    def created_untracked(self, entity: str, target_ids: Sequence[str]) -> frozenset[str]:
        """Those of the target's records that a job of ours created and the id map does not have yet."""
        return ledger.created_untracked(self._project, entity, target_ids)
