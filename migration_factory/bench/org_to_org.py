"""The contest from org to org: three related objects between two simulated orgs, against SFDMU and a plain script.

Every contestant has two new simulators, in processes of their own, over plain http. What it did counts only after
every field and reference in the target was read by SOQL and found to be as in the source.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import pairwise
from uuid import uuid4

from django.db.models import Max

from migration_factory import crew
from migration_factory.bench import org_to_org_peers as peers
from migration_factory.bench.engine import BenchFailed
from migration_factory.bench.org_to_org_data import OUR_KEY, THINGS, check, define, fill
from migration_factory.bench.org_to_org_peers import PeerMissing, Ran
from migration_factory.bench.report import OURS
from migration_factory.bench.trial import Figure, Size
from migration_factory.rehearsal import erase, make_org, salesforce_reach
from orgs import services as orgs
from orgs.models import Customer, Role
from projects import services as projects
from projects.models import Project
from runs import reports
from runs import services as runs
from runs.models import Chunk
from sandbox.salesforce.running import Running, running_simulator

SHARE = 10
"""Of ``--rows`` one in so many takes part: 100,000 of the usual million."""
SFDMU, SCRIPT = "SFDMU", "script"
TUNED = " tuned"
AS_FAST = {SFDMU: 2.0, SCRIPT: 1 / 1.15}
"""Rival → how many times as fast as it we want to be at least. The tuned ones are only shown."""
CREW = 1
"""Worker processes of ours. Both orgs run on this machine too: a second worker makes nothing faster on two cores."""
SHARE_OF_MEMORY = 0.25
"""Of SFDMU's."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One contestant's turn. Not in ``seconds``: ``start_seconds`` until a worker was up, and ``proof_seconds`` for
    reading back and comparing; only the product has these."""

    seconds: float
    peak_mib: float
    calls: float
    start_seconds: float = 0.0
    proof_seconds: float = 0.0


Contestant = Callable[[Running, Running, int], Turn]


def measure(size: Size) -> list[Figure]:
    """With a tenth of the rows. A rival that is not to be had is shown and misses nothing; one that fails misses what
    is wanted of us. Raises BenchFailed where our own result is not what the source holds."""
    records = size.rows // SHARE
    turns: dict[str, list[Turn]] = {}
    missing: dict[str, str] = {}
    failed: set[str] = set()
    for number in range(size.rounds):
        names = list(CONTESTANTS)
        for name in names if number % 2 == 0 else names[::-1]:
            try:
                turn = _turn(CONTESTANTS[name], records)
            except PeerMissing as reason:
                missing[name] = str(reason)
                size.tell(f"{name} not installed, it does not take part: {reason}")
                continue
            except BenchFailed as failure:
                if name == OURS:
                    raise
                failed.add(name)
                size.tell(f"{name} failed: {failure}")
                continue
            turns.setdefault(name, []).append(turn)
            size.tell(f"{name}: {turn.seconds:.1f} s, {turn.calls:,} calls, {turn.peak_mib:.0f} MiB")
    beaten = [Figure(f"{name} failed", 1, "contestant", at_most=0) for name in sorted(failed)]
    return [*figures(records, {name: middle(each) for name, each in turns.items()}, missing), *beaten]


def middle(turns: Sequence[Turn]) -> Turn:
    """The medians of a contestant's rounds."""
    return Turn(*(statistics.median(getattr(turn, each.name) for turn in turns) for each in fields(Turn)))


def figures(records: int, turns: Mapping[str, Turn], missing: Mapping[str, str]) -> list[Figure]:
    """What was measured of each, our speed as a multiple of each rival's, and our memory as a share of SFDMU's."""
    ours = turns[OURS]
    found = [Figure("records from org to org", records, "records")]
    for name, turn in turns.items():
        found += [
            Figure(f"{name}: time", turn.seconds, "s"),
            Figure(f"{name}: API calls on both orgs", turn.calls, "calls"),
            Figure(f"{name}: peak memory, all its processes", turn.peak_mib, "MiB"),
        ]
    found += [
        Figure(f"{OURS}: start of its processes, not in its time", ours.start_seconds, "s"),
        Figure(f"{OURS}: reading back and comparing, not in its time", ours.proof_seconds, "s"),
    ]
    for name, turn in turns.items():
        if name != OURS:
            times = turn.seconds / ours.seconds
            found.append(Figure(f"{OURS} is as fast as {name}", times, "times", at_least=AS_FAST.get(name)))
    if SFDMU in turns:
        share = ours.peak_mib / turns[SFDMU].peak_mib
        found.append(Figure(f"{OURS}'s memory by that of {SFDMU}", share, "times", at_most=SHARE_OF_MEMORY))
    return found + [Figure(f"{name} not installed: {reason}", 1, "contestant") for name, reason in missing.items()]


def _turn(contestant: Contestant, records: int) -> Turn:
    with ExitStack() as stack:
        source, target = (stack.enter_context(running_simulator(process=True)) for _ in range(2))
        for org in (source, target):
            define(org)
        fill(source, records)
        for org in (source, target):
            org.control.reset_calls()
        turn = contestant(source, target, records)
        calls = sum(sum(org.control.calls().values()) for org in (source, target))
        check(target, records)
        return replace(turn, calls=calls)


def _engine(source: Running, target: Running, records: int) -> Turn:
    """From the run's start until the last chunk is loaded and tracked, by the database's clock. Workers are up all
    the time where the product runs, so their start is told apart. The calls are those of the proof too."""
    with _project(source, target) as project:
        run = runs.start_run(project, drivers=CREW)
        peaks = crew.drive(run, CREW)
        run.refresh_from_db()
        found = reports.figures(run)
        loaded = Chunk.objects.filter(run=run).aggregate(at=Max("loaded_at"))["at"]
        if not found.good or found.totals["created"] != records:
            raise BenchFailed(f"The run did not load and prove {records:,} records: {found.reason}")
        moments = (run.created_at, run.started_at, loaded, run.finished_at)
        start, load, proof = ((later - earlier).total_seconds() for earlier, later in pairwise(moments))
        return Turn(load, sum(peaks), 0, start, proof)


@contextmanager
def _project(source: Running, target: Running) -> Iterator[Project]:
    customer = Customer.objects.create(name="Benchmark", slug=f"benchmark-{uuid4().hex[:10]}")
    try:
        from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
        to_org = make_org(customer, "Target", Role.TARGET, salesforce_reach(target.ready))
        made = projects.create_project(customer, "Benchmark", source=from_org, target=to_org)
        with orgs.open_source(from_org) as reading, orgs.open_target(to_org) as writing:
            projects.adopt_like(made, reading, writing, [thing.name for thing in THINGS], key=OUR_KEY)
        yield made
    finally:
        erase(customer)


def _rival(command: Callable[..., Ran], source: Running, target: Running, _: int, *, tuned: bool) -> Turn:
    ran = command(source.ready, target.ready, tuned=tuned)
    return Turn(ran.seconds, ran.peak_mib, 0)


CONTESTANTS: Mapping[str, Contestant] = {
    OURS: _engine,
    SCRIPT: partial(_rival, peers.script, tuned=False),
    SCRIPT + TUNED: partial(_rival, peers.script, tuned=True),
    SFDMU: partial(_rival, peers.sfdmu, tuned=False),
    SFDMU + TUNED: partial(_rival, peers.sfdmu, tuned=True),
}
