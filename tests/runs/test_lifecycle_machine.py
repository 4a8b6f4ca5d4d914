"""A model of a run's life: whatever people press and whatever fails, in any order, the state, the target and the
ledger are what the model says."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, transaction
from django.db.models.functions import Now
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from connectors.errors import AuthenticationFailed, RateLimited, Unavailable
from projects.models import OnDelete
from runs import reports, services
from runs.choices import DUE, OPEN, TERMINAL, RecordState, RunKind, RunState
from runs.engine import coordinator
from runs.engine.coordinator import Progress
from runs.models import Chunk, Run, Step, TrackedRecord
from runs.services import RunRefused
from tests import factories
from tests.fakes import FAKE_SOURCES, WORLDS, Connect, World, reference, schema
from tests.runs.test_engine import expire_leases, make_due

ACCOUNTS = schema("Account", "Name", reference("NextId", "Account"))
NUMBERS = st.integers(0, 6)
NAMES = st.sampled_from(["a", "b", "refused"])
FAULTS: dict[str, Callable[[], Exception]] = {
    "away": lambda: Unavailable("Away."),
    "slow down": lambda: RateLimited("Slow down.", retry_after=5),
    "log-in refused": lambda: AuthenticationFailed("No."),
    "our database gone": lambda: OperationalError("gone"),
    "a bug": lambda: ZeroDivisionError("by a fault"),
}
Content = dict[str, tuple[str, str | None]]
"""Key → name, and the key of the next one."""


class Life(RuleBasedStateMachine):
    """One project over fake systems. ``state`` is what the run must be in, or None before the first one."""

    def __init__(self) -> None:
        super().__init__()
        self.around = transaction.atomic()
        self.around.__enter__()
        self.world = WORLDS["world"] = World(page_size=2, refuse=self._refuse)
        self.world.before_read = self.world.before_write = self.world.after_write = self._hook
        self.source: Content = {}
        self.run: Run | None = None
        self.state: RunState | None = None
        self.before: Content = {}
        self.taken_back: list[tuple[Run, Content]] = []
        """Runs that may be rolled back, the last one on top, each with the target as it was before."""
        self.ruled = True
        self.settled = True
        """Whether what is due was staged as the source is now."""
        self.exact = True
        """Whether nothing changed outside since the run was started, so that its end can be told."""
        self.sent_and_lost = False
        """Whether a run ended for good with records sent that nobody recorded: the next takes them for edits."""
        self.faults: list[str] = []

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.around.__exit__(None, None, None)

    @initialize(rows=st.dictionaries(NUMBERS, NAMES, min_size=1))
    def begin(self, rows: dict[int, str]) -> None:
        self.project = factories.project(delete_stop_least=1_000)
        self.source = {f"A{number}": (name, None) for number, name in rows.items()}
        self.world.add(ACCOUNTS)
        self._publish()
        factories.project_object(self.project, "Account", on_delete=OnDelete.MIRROR)

    # What happens outside -------------------------------------------------------------------------------------

    @precondition(lambda self: self.state is None or self.state in TERMINAL)
    @rule(number=NUMBERS, name=NAMES, following=st.none() | NUMBERS)
    def change(self, number: int, name: str, following: int | None) -> None:
        self.source[f"A{number}"] = (name, None if following is None else f"A{following}")
        self._publish()

    @precondition(lambda self: self.state is None or self.state in TERMINAL)
    @rule(number=NUMBERS)
    def remove(self, number: int) -> None:
        self.source.pop(f"A{number}", None)
        self._publish()

    @precondition(lambda self: self.state is None or self.state in TERMINAL)
    @rule()
    def change_what_is_refused(self) -> None:
        self.exact = False
        self.ruled = not self.ruled

    @rule(what=st.sampled_from(sorted(FAULTS)))
    def let_the_next_call_fail(self, what: str) -> None:
        self.faults.append(what)

    # What people press ----------------------------------------------------------------------------------------

    @precondition(lambda self: self.state is None or self.state in TERMINAL)
    @rule(kind=st.sampled_from([RunKind.LOAD, RunKind.DELTA, RunKind.RETRY]))
    def start(self, kind: RunKind) -> None:
        due = TrackedRecord.objects.filter(project=self.project, state__in=DUE).exists()
        if kind == RunKind.RETRY and not (due and self.settled):
            return
        press = {
            RunKind.LOAD: services.start_run,
            RunKind.DELTA: services.start_delta,
            RunKind.RETRY: services.start_retry,
        }
        self._started(press[kind](self.project, drivers=1))

    @precondition(lambda self: self.state in OPEN)
    @rule()
    def start_another(self) -> None:
        with pytest.raises(RunRefused, match="is not finished"):
            services.start_run(self.project)

    @precondition(lambda self: self.state in TERMINAL and self.taken_back)
    @rule()
    def roll_back(self) -> None:
        undone, _ = self.taken_back[-1]
        if Chunk.objects.filter(run=undone, intended_at__isnull=False).exists():
            self._started(services.start_rollback(undone, drivers=1))

    @precondition(lambda self: self.run)
    @rule()
    def pause(self) -> None:
        self._press(services.pause_run, {RunState.QUEUED, RunState.RUNNING}, RunState.PAUSING)

    @precondition(lambda self: self.run)
    @rule()
    def cancel(self) -> None:
        self._press(services.cancel_run, OPEN - {RunState.CANCELLING}, RunState.CANCELLING)

    @precondition(lambda self: self.run)
    @rule()
    def resume(self) -> None:
        self._press(services.resume_run, {RunState.PAUSED, RunState.FAILED, RunState.CRASHED}, RunState.QUEUED)

    # What workers do ------------------------------------------------------------------------------------------

    @precondition(lambda self: self.state in OPEN)
    @rule(pieces=st.integers(1, 4))
    def work(self, pieces: int) -> None:
        """Some pieces; one who finds our own database gone leaves its lease behind, which then ends."""
        left = iter(range(pieces))
        try:
            progress = coordinator.advance(self._run.pk, stop=lambda: next(left, None) is None)
        except OperationalError:
            expire_leases(self._run)
            progress = Progress.BUSY
        make_due(self._run)
        self._worked(progress)

    @precondition(lambda self: self.state in OPEN - {RunState.PAUSED})
    @rule()
    def finish(self) -> None:
        for _ in range(300):
            if self.state in TERMINAL or self.state == RunState.PAUSED:
                return
            self.work(20)
        raise AssertionError("the run does not come to an end")

    # What must hold -------------------------------------------------------------------------------------------

    @invariant()
    def the_run_is_where_the_model_says(self) -> None:
        if self.run is not None:
            run = Run.objects.get(pk=self.run.pk)
            assert run.state == self.state
            assert (run.finished_at is not None) == (self.state in TERMINAL)
        assert (
            Run.objects.filter(project=self.project, state__in=OPEN).count() == (self.state in OPEN)
            if self.run
            else True
        )

    @invariant()
    def nobody_holds_what_no_worker_is_at(self) -> None:
        if self.state in TERMINAL or self.state == RunState.PAUSED:
            held = (
                Run.objects.filter(pk=self._run.pk),
                Chunk.objects.filter(run=self._run),
                Step.objects.filter(run=self._run),
            )
            # A lease that a dead worker left behind and that has ended holds nothing.
            assert not any(rows.filter(lease_until__gt=Now()).exists() for rows in held)

    # --------------------------------------------------------------------------------------------------------------

    @property
    def _run(self) -> Run:
        assert self.run is not None
        return self.run

    def _publish(self) -> None:
        self.settled = self.exact = False
        self.world.records["Account"] = [
            {"Id": key, "Name": name, "NextId": following} for key, (name, following) in sorted(self.source.items())
        ]

    def _refuse(self, _: str, row: dict[str, Any]) -> str | None:
        return "No." if self.ruled and row.get("name") == "refused" else None

    def _hook(self, *_: Any) -> None:
        if self.faults:
            error = FAULTS[self.faults.pop()]()
            raise error

    def _started(self, run: Run) -> None:
        self.run, self.state, self.before = run, RunState.QUEUED, self._held()
        self.exact = not self.sent_and_lost

    def _press(
        self, press: Callable[[Run], None], allowed: "set[RunState] | frozenset[RunState]", to: RunState
    ) -> None:
        if self.state in allowed:
            press(self._run)
            self.state = to
        else:
            with pytest.raises(RunRefused, match=r"cannot be (paused|cancelled|resumed) now\.$"):
                press(self._run)

    def _worked(self, progress: Progress) -> None:
        """Workers move a run on; where to is theirs to say, but only along the ways there are."""
        run = Run.objects.get(pk=self._run.pk)
        was, self.state = self.state, RunState(run.state)
        ways = {
            RunState.QUEUED: {RunState.QUEUED, RunState.RUNNING},
            RunState.RUNNING: {RunState.RUNNING},
            RunState.PAUSING: {RunState.PAUSED},
            RunState.PAUSED: {RunState.PAUSED},
            RunState.CANCELLING: {RunState.CANCELLING, RunState.CANCELLED, RunState.FAILED, RunState.CRASHED},
        }
        ended = {RunState.COMPLETED, RunState.COMPLETED_WITH_ERRORS, RunState.FAILED, RunState.CRASHED}
        assert was is not None
        assert self.state in ways[was] | (ended if was in {RunState.QUEUED, RunState.RUNNING} else set())
        # Busy says who used up the time on the very last piece: it has not looked again.
        assert progress is not Progress.IDLE or self.state not in TERMINAL
        if self.state in {RunState.COMPLETED, RunState.COMPLETED_WITH_ERRORS}:
            self._completed(run)
        elif self.state in TERMINAL:
            self.settled = False
            self.sent_and_lost |= Chunk.objects.filter(run=run, state="loading", intended_at__isnull=False).exists()
            if run.kind != RunKind.ROLLBACK and (run, self.before) not in self.taken_back:
                self.taken_back.append((run, self.before))

    def _completed(self, run: Run) -> None:
        """Everything read is accounted for, and the target holds what it must."""
        figures = reports.figures(run)
        assert all(item.accounted for item in figures.objects), figures
        assert not figures.reconcile.missing
        if run.kind == RunKind.ROLLBACK:
            _, before = self.taken_back.pop()
            self.settled = False
            if self.exact and run.state == RunState.COMPLETED:
                assert self._told(self._held()) == self._told(before)
            return
        self.taken_back.append((run, self.before))
        if self.exact:
            self.settled = True
            assert self._held() == self._wanted(deletes=run.kind == RunKind.DELTA)
            assert (run.state == RunState.COMPLETED) == (not self._troubled())

    def _wanted(self, *, deletes: bool) -> Content:
        """The source, but for what is refused: that stays as it was. What is gone goes where deletions are followed."""
        kept = {key: row for key, row in self.before.items() if key in self.source or not deletes}
        good = {key: row for key, row in self.source.items() if not self._refused(key)}
        there = {*kept, *good}
        rows = {**kept, **good}
        return {key: (name, following if following in there else None) for key, (name, following) in rows.items()}

    def _refused(self, key: str) -> bool:
        """Whether the target refuses a row now. One it holds as it is was taken before, and is not sent again."""
        name, _ = self.source[key]
        return self.ruled and name == "refused"

    def _troubled(self) -> bool:
        """What waits as it did before is left as it stands: its row keeps the run that wrote it."""
        due = TrackedRecord.objects.filter(project=self.project, state__in=DUE)
        waiting = due.filter(state=RecordState.DEFERRED, source_id__in=self.source)
        return due.filter(run=self._run).exists() or waiting.exists()

    def _told(self, content: Content) -> Content:
        """Without the references of rows that nobody could send: what they name may have another id."""
        return {key: row if row[0] != "refused" else (row[0], None) for key, row in content.items()}

    def _held(self) -> Content:
        rows = self.world.rows["account"]
        keys = {row["target_id"]: key for key, row in rows.items()}
        return {key: (row["name"], keys.get(row["nextid"] or "")) for key, row in rows.items()}


@pytest.mark.django_db
def test_the_life_of_runs_is_what_the_model_says(only_connectors: Connect) -> None:
    only_connectors(FAKE_SOURCES)
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=8, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
