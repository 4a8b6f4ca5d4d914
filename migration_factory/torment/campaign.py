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
from migration_factory.torment import checker
from migration_factory.torment.changes import Changes
from migration_factory.torment.checker import Held
from migration_factory.torment.expectation import OF_NO_ACCOUNT, Counts, Expectation, State
from migration_factory.torment.ground import Ground, laid_out, named
from migration_factory.torment.scene import REFUSED, Row, Rows, stamped
from migration_factory.torment.storm import Storm
from migration_factory.torment.workers import Host
from projects.models import Project
from runs import conflicts, reports, waivers
from runs import services as runs
from runs.ledger import Scope
from runs.models import Run

PATIENCE = 600.0
"""Seconds after which a run that has not ended is stuck."""
WORKERS = 3
RESUMES = 5
"""How often a person resumes one run that failed with an explained cause."""
LOG_TAIL = 40
DELETE_STOP_PERCENT, DELETE_STOP_LEAST = 5, 20
"""What a project lets a delta delete without asking, unless somebody changes it."""
COUNTED = ("created", "updated", "unchanged", "deferred", "rejected", "skipped", "conflicts", "deleted")


@dataclass(frozen=True, slots=True)
class Order:
    source: str
    target: str
    faults: Sequence[str]
    seed: int
    minutes: float
    records: int
    calm: float = 1.0
    """The mean time between two faults, in seconds."""
    data: Path | None = None
    """The folder of a data set."""


@dataclass
class Report:
    """What a campaign came to. ``problems`` is empty where every promise was kept."""

    source: str
    target: str
    seed: int
    minutes: float
    rounds: dict[str, int] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    """What runs counted, all together."""
    faults: dict[str, int] = field(default_factory=dict)
    edits: int = 0
    """Fields that people edited in the target."""
    spared: int = 0
    """Of these, how many a rollback left alone and listed."""
    records_checked: int = 0
    fields_checked: int = 0
    resumed: list[str] = field(default_factory=list)
    allowed: int = 0
    """How often more was to be deleted than a delta may, and somebody allowed it."""
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
    report = Report(order.data.resolve().name if order.data else order.source, order.target, order.seed, order.minutes)
    started = time.monotonic()
    with laid_out(order.source, order.target, seed=order.seed, data=order.data) as ground:
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
        self.rows: Rows = ground.laid.rows
        self._put(ground.laid.begun(self.chance, self.rows, order.records))
        numbers = {name: len(of_it) + 1_000 for name, of_it in self.rows.items()}
        self.changes = Changes(ground.entities, ground.laid.makes, self.chance, numbers)
        self.known = Expectation(ground.entities, {name: {} for name in ground.entities}, ground.source.stamps)
        self.project: Project = ground.make_project()
        self.host = Host("torment", ground.url, ground.ledger, ground.log, ground.laid.chunk)
        storm = random.Random(f"{order.seed} storm")  # noqa: S311 - repeatable, no secret
        self.storm = Storm(ground, self.host, order.faults, storm, order.calm, tell)

    @property
    def rounds(self) -> Mapping[str, Callable[[], None]]:
        return {
            "change": self._changing,
            "again": self._again,
            "delete": self._deleting,
            "refuse": self._refusing,
            "edit": self._editing,
            "roll back": self._taking_back,
            "give back": self._giving_back,
        }

    def hold(self) -> None:
        """Rounds of each kind, in an order by chance, over and over, and at least one. Raises PromiseBroken."""
        self.host.start()
        ends = time.monotonic() + self.minutes * 60
        self._load()
        self._rule()
        order: list[str] = []
        while not self.report.rounds or time.monotonic() < ends:
            order = order or self.chance.sample(sorted(self.rounds), len(self.rounds))
            name = order.pop()
            self.storm.note(f"round: {name}")
            self.rounds[name]()
            self.report.rounds[name] = self.report.rounds.get(name, 0) + 1

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

    # Rounds ------------------------------------------------------------------------------------------------

    def _changing(self) -> None:
        """The source changes and grows."""
        self._put(self.changes.grown(self.rows, self.known))
        self._bring()

    def _again(self) -> None:
        """A load of a source that has not changed writes nothing, and gives no record another id."""
        held = self.ground.target.held()
        self._load()
        self._must_be_none(None, [f"Nothing had changed. {odd}" for odd in _unlike(held, self.ground.target.held())])

    def _deleting(self) -> None:
        """Records go from the source, sometimes more than a delta may delete without asking."""
        self._doom(one_in=self.chance.choice((100, 100, 15)))
        self._delta()

    def _doom(self, *, one_in: int) -> None:
        doomed = self.changes.doomed(self.rows, self.known, one_in=one_in)
        self._put(self.changes.without(self.rows, doomed))

    def _refusing(self) -> None:
        """The target refuses records. Some are mended in the source, some waived; or it stops refusing them."""
        self._put(self.changes.spoilt(self.rows, self.known))
        self._bring()
        match self.chance.choice(("mend", "waive", "lift")):
            case "mend":
                refused = self.known.standing(State.REJECTED, State.WAIVED, State.DEFERRED)
                self._put(self.changes.mended(self.rows, self.changes.several(refused)))
                self._bring()
            case "waive":
                self._waive()
            case _:
                self._lift()

    def _waive(self) -> None:
        waived = self.known.waive()
        if waived:
            scope = Scope(states=(str(State.REJECTED),))
            found = waivers.waive(
                self.project, scope, user=self.ground.person(), reason="Not needed any more.", states=(State.REJECTED,)
            )
            self._must_be_none(None, [f"{found} waived instead of {waived}"] if found != waived else [])
        self._bring()

    def _lift(self) -> None:
        """The rule goes, a retry brings what it had refused and what waited for that; then all of it is mended, and
        the rule is back."""
        self._rule(ruled=False)
        if self.known.standing(State.REJECTED, State.DEFERRED):
            run = runs.start_retry(self.project, drivers=WORKERS)
            self._weather_and_check(run, self.known.retried)
        self._put(self.changes.mended(self.rows, self._violators()))
        self._bring()
        self._rule()

    def _violators(self) -> list[tuple[str, str]]:
        return [
            (name, key)
            for name, entity in self.ground.entities.items()
            if entity.refusing
            for key, row in self.rows[name].items()
            if (row[entity.refusing] or "").startswith(REFUSED)
        ]

    def _editing(self) -> None:
        """People edit records in the target, of which some change in the source, too, or go from it."""
        edits = self._edit({name: self.known.plain(name) for name in self.ground.entities})
        self._put(self.changes.crossed(self.rows, edits))
        if self.chance.random() < 0.5:
            free = {
                name: [key for key in of_it if key not in self.known.pointed_at(name)] for name, of_it in edits.items()
            }
            self._put(self.changes.without(self.rows, {name: keys[: len(keys) // 5] for name, keys in free.items()}))
        self._bring()
        answer = self.chance.choice(("source", "target"))
        if self.known.answer(answer):
            conflicts.decide(self.project, answer, user=self.ground.person())
            self._check_questions()
            if self.chance.random() < 0.5 and conflicts.decided_records(self.project):
                self._weather_and_check(conflicts.start_applying(self.project), self.known.applied)
            self._delta()
        self._agree()

    def _edit(self, among: Mapping[str, Sequence[str]]) -> Mapping[str, Mapping[str, Row]]:
        edits = self.changes.edits(self.known, among)
        held = self.ground.target.held()
        for name, of_it in edits.items():
            ids = held[name].ids
            by_id = {ids[self.ground.source.id_of(key)]: values for key, values in of_it.items()}
            if by_id:
                self.ground.target.edit(self.ground.entities[name], by_id)
            for key, values in of_it.items():
                self.known.edit(name, key, values)
                self.report.edits += len(values)
        return edits

    def _agree(self) -> None:
        """The source takes over what people entered in the target, so that no edit is left."""
        self._put(self.changes.agreed(self.rows, self.known))
        self._bring()

    def _taking_back(self) -> None:
        """Bring what changed, let people edit some of it and delete a record, and roll that run back."""
        self._put(self.changes.grown(self.rows, self.known))
        self._bring()
        wrote = self._written()
        self._edit(wrote)
        self._delete_one(wrote)
        self._roll_back()
        self._bring()
        self._agree()

    def _written(self) -> dict[str, list[str]]:
        """What the last run wrote, without records that refer to those it created: these have to be free to go."""
        created = {key for (_, key), was in self.known.before.items() if was.held is None}
        found: dict[str, list[str]] = {name: [] for name in self.ground.entities}
        for name, key in self.known.before:
            held = self.known.known[name][key].held or {}
            links = {held.get(each.name) for each in self.ground.entities[name].references}
            if not links & created and self.known.known[name][key].plain:
                found[name].append(key)
        return found

    def _delete_one(self, wrote: Mapping[str, Sequence[str]]) -> None:
        """Somebody deletes in the target what the run created and nothing refers to."""
        for name, keys in wrote.items():
            pointed_at = self.known.pointed_at(name)
            chosen = [
                key
                for key in keys
                if self.known.before[name, key].held is None
                and key not in pointed_at
                and self.known.known[name][key].plain
            ]
            if chosen:
                key = self.chance.choice(chosen)
                target_id = self.ground.target.held()[name].ids[self.ground.source.id_of(key)]
                self.ground.target.delete(self.ground.entities[name], [target_id])
                self.known.deleted_in_target(name, key)

    def _giving_back(self) -> None:
        """Follow deletions, and roll that run back: what it deleted is there again."""
        self._put(self.changes.grown(self.rows, self.known))
        self._doom(one_in=100)
        self._delta()
        self._roll_back()
        self._delta()

    # Runs --------------------------------------------------------------------------------------------------

    def _put(self, now: Rows) -> None:
        versioned = stamped(self.rows, now)
        self.ground.source.put(self.rows, versioned)
        self.rows = versioned

    def _rule(self, *, ruled: bool = True) -> None:
        """Put the target's rules in force, or lift them."""
        for entity in self.ground.entities.values():
            if entity.refusing:
                (self.ground.target.rule if ruled else self.ground.target.unrule)(entity)
        self.known.ruled = ruled

    def _bring(self) -> None:
        if self.chance.random() < 0.6:
            self._delta()
        else:
            self._load()

    def _load(self) -> None:
        self._weather_and_check(runs.start_run(self.project, drivers=WORKERS), lambda: self.known.loaded(self.rows))

    def _delta(self) -> None:
        asks = self.ground.source.asks
        self._weather_and_check(
            runs.start_delta(self.project, drivers=WORKERS), lambda: self.known.followed(self.rows, asks=asks)
        )

    def _weather_and_check(self, run: Run, expected: Callable[[], Counts]) -> None:
        """See the run through, and hold everything against what is right now."""
        going = self._going() if str(run.kind) == "delta" else {}
        counts = expected()
        self._weather(run, counts, stops=any(self._too_many(name, count) for name, count in going.items()))
        self._check(run, counts)

    def _going(self) -> dict[str, int]:
        """How many records a delta would delete in the target, by entities that mirror deletions."""
        return {
            name: sum(
                each.held is not None and key not in self.rows[name] and each.state not in OF_NO_ACCOUNT
                for key, each in self.known.known[name].items()
            )
            for name, entity in self.ground.entities.items()
            if entity.mirrored
        }

    def _too_many(self, entity: str, going: int) -> bool:
        """Whether a person has to allow so many, measured by what the target held once everything was brought."""
        known = self.known.known[entity]
        there = sum(
            each.held is not None or (each.state is State.DELETED and (entity, key) in self.known.before)
            for key, each in known.items()
        )
        return going > DELETE_STOP_LEAST and going * 100 > there * DELETE_STOP_PERCENT

    def _roll_back(self) -> None:
        """Take the last run back. What it wrote is as it was, but for what people edited since, which is listed."""
        last = Run.objects.filter(project=self.project).order_by("-pk")[0]
        created_again = {
            key for (name, key), was in self.known.before.items() if self.known.known[name][key].held is None
        }
        held_before = self.ground.target.held()
        run = runs.start_rollback(last, drivers=WORKERS)
        counts, spared = self.known.rolled_back()
        self._weather(run, counts, stops=False)
        self._check(run, counts)
        listed = {(name, self.ground.source.id_of(key), what) for name, key, what in spared}
        with psycopg.connect(self.ground.ledger) as ledger:
            found = checker.problems_of_spared(checker.spared(ledger, run.pk), listed)
        self.report.spared += len(spared)
        ids = {self.ground.source.id_of(key) for key in created_again}
        self._must_be_none(run, [*found, *_other_ids(held_before, self.ground.target.held(), ids)])

    def _check(self, run: Run, counts: Counts) -> None:
        """Hold target, ledger and report against what is right."""
        held, source = self.ground.target.held(), self.ground.source
        expected = named(self.known.held(), source, self.ground.entities)
        states = {
            name: {source.id_of(key): str(state) for key, state in of_it.items()}
            for name, of_it in self.known.states().items()
        }
        with psycopg.connect(self.ground.ledger) as ledger:
            known = checker.tracked(ledger, self.project.pk)
            told = checker.told(ledger, run.pk)
            extra = checker.extras(ledger, run.pk)
        wanted = {name: _range(counts, name) for name in COUNTED}
        found = [
            *checker.problems_of_target(held, expected),
            *checker.problems_of_states(known, states),
            *checker.problems_of_id_map(known, held),
            *checker.problems_of_counts(told, _report(run), wanted, _range(counts, "different")),
            *([f"{extra} records in the target that nobody tracks"] if extra else []),
        ]
        self._must_be_none(run, found)
        self._check_questions()
        for name, number in told.outcomes.items():
            self.report.outcomes[name] = self.report.outcomes.get(name, 0) + number
        self.report.records_checked += sum(len(rows) for rows in expected.values())
        self.report.fields_checked += sum(len(row) for rows in expected.values() for row in rows.values())

    def _check_questions(self) -> None:
        source = self.ground.source
        wanted = {(name, source.id_of(key), what, done) for name, key, what, done in self.known.questions()}
        with psycopg.connect(self.ground.ledger) as ledger:
            found = checker.questions(ledger, self.project.pk)
        self._must_be_none(None, checker.problems_of_questions(found, wanted))

    # Getting through ---------------------------------------------------------------------------------------

    def _weather(self, run: Run, counts: Counts, *, stops: bool) -> None:
        """See the run through the storm to its end; raises PromiseBroken where it crashes or gets stuck, or ends
        otherwise than it must. ``stops``: it has to ask first whether it may delete so much."""
        kind = str(run.kind)
        self.report.runs[kind] = self.report.runs.get(kind, 0) + 1
        self.storm.note(f"run {run.pk} ({run.kind}) queued")
        self.storm.begin()
        allowed = 0
        try:
            state, reason = self._ended(run)
            for _ in range(RESUMES):
                if state != "failed":
                    break
                self.storm.end()
                connection.close()
                if runs.stopped_deletions(Run.objects.get(pk=run.pk)).exists():
                    allowed += 1
                    runs.allow_deletions(Run.objects.get(pk=run.pk), user=self.ground.person())
                else:
                    self.report.resumed.append(reason)
                    self.storm.note(f"run {run.pk} failed and is resumed: {reason}")
                    runs.resume_run(Run.objects.get(pk=run.pk))
                self.storm.begin()
                state, reason = self._ended(run)
        finally:
            self.storm.end()
            connection.close()  # which may have been broken meanwhile
        self.storm.note(f"run {run.pk} {state}: {reason}")
        self.report.allowed += allowed
        found = [] if bool(allowed) == stops else [f"it asked {allowed} times whether it may delete so much"]
        right = {
            "completed": not counts.troubled and not (kind == "rollback" and counts.least["skipped"]),
            "completed_with_errors": counts.may_be_troubled or (kind == "rollback" and counts.least["skipped"] > 0),
        }
        if not right.get(state, False):
            found.append(f"it ended as {state}: {reason}")
        self._must_be_none(run, found)

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

    def _must_be_none(self, run: Run | None, found: Sequence[str]) -> None:
        """Raises PromiseBroken where something was found, or somebody still holds a piece of the run."""
        if run is None:
            if found:
                raise PromiseBroken(*found)
            return
        with psycopg.connect(self.ground.ledger) as ledger:
            problems = [*found, *checker.problems_of_leases(ledger, run.pk)]
        if problems:
            raise PromiseBroken(*(f"Run {run.pk} ({run.kind}): {problem}" for problem in problems))


def _range(counts: Counts, outcome: str) -> range:
    return range(counts.least[outcome], counts.least[outcome] + counts.more[outcome] + 1)


def _report(run: Run) -> Mapping[str, int]:
    return reports.figures(run).totals


def _unlike(before: Mapping[str, Held], after: Mapping[str, Held]) -> list[str]:
    """Where the target is not as it was, ids included."""
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


def _other_ids(before: Mapping[str, Held], after: Mapping[str, Held], again: "set[str]") -> list[str]:
    """Records that were there all the time and have another id now; those created ``again`` may have one."""
    return [
        f"{entity}: {key} was {target_id} and is {after[entity].ids[key]}"
        for entity, was in before.items()
        for key, target_id in was.ids.items()
        if key not in again and after[entity].ids.get(key, target_id) != target_id
    ]


def _dumped(var: Path) -> bytes:
    """The whole ledger as SQL."""
    command = [str(binary("pg_dump")), f"--dbname={embedded.dsn(var)}"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def _shows(text: bytes, secret: str) -> bool:
    """Whether it stands there as it is or in hexadecimal digits, as binary columns are dumped."""
    return secret.encode() in text or secret.encode().hex().encode() in text
