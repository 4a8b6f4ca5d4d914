"""The campaign itself: runs of every kind under a storm, and after each a look at everything that was promised."""

import random
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psycopg
from django.db import connection

from migration_factory import embedded
from migration_factory.embedded.account import binary
from migration_factory.torment import checker, truth
from migration_factory.torment.checker import Held
from migration_factory.torment.ground import Ground, laid_out
from migration_factory.torment.storm import Storm
from migration_factory.torment.truth import Row, Rows
from migration_factory.torment.workers import Host
from projects.models import Project
from runs import reports
from runs import services as runs
from runs.models import Run

PATIENCE = 600.0
"""Seconds after which a run that has not ended is stuck."""
WORKERS = 3
LEAVING_SECONDS = 15.0
RESUMES = 5
"""How often a person resumes one run that failed with an explained cause."""
LOG_TAIL = 40
NOTHING: Rows = {entity: {} for entity in truth.ENTITIES}


@dataclass(frozen=True, slots=True)
class Order:
    source: str
    target: str
    faults: Sequence[str]
    seed: int
    minutes: float
    records: int


@dataclass
class Report:
    """What a campaign came to. ``problems`` is empty where every promise was kept."""

    source: str
    target: str
    seed: int
    minutes: float
    runs: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    records_checked: int = 0
    fields_checked: int = 0
    resumed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    log: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "clean": self.clean}


class PromiseBroken(Exception):
    """The campaign ends here; the report has what was found."""


def hold(order: Order, *, tell: Callable[[str], None]) -> Report:
    """Hold the campaign to its end or to the first broken promise; ``tell`` hears of each fault and run.

    Raises TormentRefused and errors of the set-up."""
    report = Report(order.source, order.target, order.seed, order.minutes)
    started = time.monotonic()
    with laid_out(order.source, order.target, seed=order.seed) as ground:
        campaign = Campaign(order, ground, report, tell)
        try:
            campaign.hold()
        except PromiseBroken as broken:
            report.problems = list(broken.args)
        finally:
            campaign.wind_up()
    report.seconds = round(time.monotonic() - started, 1)
    return report


class Campaign:
    """One source, one target, and run after run between them."""

    def __init__(self, order: Order, ground: Ground, report: Report, tell: Callable[[str], None]) -> None:
        self.ground = ground
        self.report = report
        self.minutes = order.minutes
        self.chance = random.Random(f"{order.seed} rounds")  # noqa: S311 - repeatable, no secret
        self.rows: Rows = truth.generated(self.chance, order.records)
        ground.source.put(NOTHING, self.rows)
        self.project: Project = ground.make_project()
        self.host = Host("torment", ground.url, ground.ledger, ground.log)
        storm = random.Random(f"{order.seed} storm")  # noqa: S311 - repeatable, no secret
        self.storm = Storm(ground, self.host, order.faults, storm, tell)
        self.there: Rows = NOTHING
        """What the target holds by now, in our keys."""

    def hold(self) -> None:
        """Raises PromiseBroken."""
        self.host.start()
        ends = time.monotonic() + self.minutes * 60
        self._bring(delta=False)
        while time.monotonic() < ends:
            what = self.chance.choice(("change", "change", "again", "roll back"))
            match what:
                case "change":
                    self._change()
                    self._bring(delta=self.ground.source.deltas and self.chance.random() < 0.7)
                case "again":
                    self._bring(delta=False)
                case _:
                    self._change()
                    self._there_and_back()
                    self._bring(delta=False)

    def wind_up(self) -> None:
        """End the workers, and look for what they left: processes, and secrets in anything that was written."""
        self.storm.end()
        dump = _dumped(self.ground.var)
        left = self.host.stop()
        if left:
            self.report.problems.append(f"{len(left)} worker processes are left: {left}")
        self.report.faults = dict(self.storm.struck)
        self.report.log = self.storm.log
        log = self.ground.log.read_bytes() if self.ground.log.exists() else b""
        told = orjson.dumps(self.report.as_json())
        for name, text in (("the workers' log", log), ("the database", dump), ("the report", told)):
            self.report.problems += [
                f"A secret stands in {name}." for secret in self.ground.secrets if _shows(text, secret)
            ]
        if self.report.problems:
            self.report.log += log.decode(errors="replace").splitlines()[-LOG_TAIL:]

    # What is done ------------------------------------------------------------------------------------------

    def _change(self) -> None:
        now = truth.changed(self.rows, self.chance)
        self.ground.source.put(self.rows, now)
        self.rows = now

    def _bring(self, *, delta: bool) -> Run:
        """A load or a delta of all that the source holds; afterwards the target has just that."""
        wanted = _outcomes(self.there, self.rows)
        run = (runs.start_delta if delta else runs.start_run)(self.project, drivers=WORKERS)
        self._weather(run)
        held = self.ground.target.held()
        expected = self.ground.source.named(self.rows)
        with psycopg.connect(self.ground.ledger) as ledger:
            known = checker.tracked(ledger, self.project.pk)
            told = checker.told(ledger, run.pk)
        found = [
            *checker.problems_of_target(held, expected),
            *checker.problems_of_states(known, expected),
            *checker.problems_of_id_map(known, held),
            *checker.problems_of_counts(
                told, _report(run), wanted if delta else {**wanted, "unchanged": self._rest(wanted)}
            ),
        ]
        self._must_be_none(run, found)
        self._checked(expected)
        self.there = self.rows
        return run

    def _rest(self, wanted: Mapping[str, int]) -> int:
        return sum(len(rows) for rows in self.rows.values()) - sum(wanted.values())

    def _there_and_back(self) -> None:
        """Bring what changed, and roll that run back: the target is as it was, to the last id."""
        before, held_before = self.there, self.ground.target.held()
        wanted = _outcomes(self.there, self.rows)
        run = self._bring(delta=self.ground.source.deltas)
        undo = runs.start_rollback(Run.objects.get(pk=run.pk), drivers=WORKERS)
        self._weather(undo)
        held = self.ground.target.held()
        with psycopg.connect(self.ground.ledger) as ledger:
            known = checker.tracked(ledger, self.project.pk)
            told = checker.told(ledger, undo.pk)
        undone = {"deleted": wanted["created"], "updated": wanted["updated"], "conflicts": 0, "rejected": 0}
        found = [
            *_unlike(held_before, held),
            *checker.problems_of_id_map(known, held),
            *checker.problems_of_counts(told, {}, undone),
        ]
        self._must_be_none(undo, found)
        self.there = before

    # Getting through ---------------------------------------------------------------------------------------

    def _weather(self, run: Run) -> None:
        """See the run through the storm to its end; raises PromiseBroken where it crashes or gets stuck."""
        kind = str(run.kind)
        self.report.runs[kind] = self.report.runs.get(kind, 0) + 1
        self.storm.note(f"run {run.pk} ({run.kind}) queued")
        self.storm.begin()
        try:
            state, reason = self._ended(run)
            for _ in range(RESUMES):
                if state != "failed":
                    break
                self.storm.end()
                connection.close()
                self.report.resumed.append(reason)
                self.storm.note(f"run {run.pk} failed and is resumed: {reason}")
                runs.resume_run(Run.objects.get(pk=run.pk))
                self.storm.begin()
                state, reason = self._ended(run)
        finally:
            self.storm.end()
            connection.close()  # which may have been broken meanwhile
        self.storm.note(f"run {run.pk} {state}: {reason}")
        if state != "completed":
            self._must_be_none(run, [f"it ended as {state}: {reason}"])

    def _ended(self, run: Run) -> tuple[str, str]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            time.sleep(0.2)
            try:
                with psycopg.connect(self.ground.ledger, connect_timeout=2) as ledger:
                    row = ledger.execute(
                        "SELECT state, reason, finished_at IS NOT NULL FROM runs_run WHERE id = %s", [run.pk]
                    ).fetchone()
            except psycopg.OperationalError:  # the server is being restarted
                continue
            if row and row[2]:
                return row[0], row[1]
        return "stuck", f"it has not ended after {PATIENCE:.0f} s"

    def _must_be_none(self, run: Run, found: Sequence[str]) -> None:
        with psycopg.connect(self.ground.ledger) as ledger:
            problems = [*found, *checker.problems_of_leases(ledger, run.pk)]
        if problems:
            raise PromiseBroken(*(f"Run {run.pk} ({run.kind}): {problem}" for problem in problems))

    def _checked(self, expected: Mapping[str, Mapping[str, Row]]) -> None:
        self.report.records_checked += sum(len(rows) for rows in expected.values())
        self.report.fields_checked += sum(len(row) for rows in expected.values() for row in rows.values())


def _outcomes(before: Rows, now: Rows) -> dict[str, int]:
    """What a run has to count that brings the target from one to the other."""
    counts = {"created": 0, "updated": 0}
    for entity, rows in truth.differences(before, now).items():
        for key in rows:
            counts["updated" if key in before.get(entity, {}) else "created"] += 1
    return counts


def _report(run: Run) -> Mapping[str, int]:
    return reports.figures(run).totals


def _unlike(before: Mapping[str, Held], after: Mapping[str, Held]) -> list[str]:
    """Where a rollback left the target otherwise than it was."""
    return [
        f"{entity} is not as it was before: {len(odd)} records, among them {', '.join(sorted(odd)[:5])}"
        for entity, was in before.items()
        if (
            odd := {
                key
                for key in was.ids.keys() | after[entity].ids.keys()
                if (was.ids.get(key), was.rows.get(key)) != (after[entity].ids.get(key), after[entity].rows.get(key))
            }
        )
    ]


def _dumped(var: Path) -> bytes:
    """The whole ledger as SQL."""
    command = [str(binary("pg_dump")), f"--dbname={embedded.dsn(var)}"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def _shows(text: bytes, secret: str) -> bool:
    """Whether it stands there as it is or in hexadecimal digits, as binary columns are dumped."""
    return secret.encode() in text or secret.encode().hex().encode() in text
