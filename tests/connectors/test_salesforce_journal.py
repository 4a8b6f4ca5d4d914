"""What a write to Salesforce notes before it begins, and how the next worker goes on from there."""

from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import pytest

from connectors.clients.salesforce_carrier import BULK_ABOVE
from connectors.context import LOOPBACK, Context, Network, Transport
from connectors.targets.salesforce import SalesforceTarget
from connectors.testing import VirtualClock
from connectors.transport import open_transport
from sandbox.salesforce.running import Running
from tests.connectors.payroll_org import BREAKPOINT, KEY, RULE, context_of, emptied, payroll_org, records_of
from tests.connectors.tampering import Tampering, asked

MANY = BULK_ABOVE + 40
INGEST = "POST /services/data/v66.0/jobs/ingest"


class Memory:
    """A journal that outlives its worker; ``refuses`` plays a worker that has lost its chunk."""

    key = "the chunk's key"

    def __init__(self, *, refuses: bool = False) -> None:
        self.noted: list[str] = []
        self.told: list[str] = []
        self.refuses = refuses

    def jobs(self) -> tuple[str, ...]:
        return tuple(self.noted)

    def note(self, job: str) -> None:
        if self.refuses:
            raise KilledError
        self.noted.append(job)

    def tell(self, message: str) -> None:
        self.told.append(message)


class KilledError(Exception):
    """The worker ends here."""


class FatalClock(VirtualClock):
    """Kills the worker while it waits."""

    def sleep(self, seconds: float) -> None:
        raise KilledError


class ReleasingClock(VirtualClock):
    """Lets the org go on with its jobs while somebody waits for them."""

    def __init__(self, org: Running) -> None:
        super().__init__()
        self.org = org

    def sleep(self, seconds: float) -> None:
        self.org.control.change_settings(bulk_hold=-1)
        super().sleep(seconds)


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with payroll_org(tmp_path_factory.mktemp("payroll")) as running:
        yield running


@pytest.fixture
def context(org: Running) -> Iterator[Context]:
    emptied(org)
    org.control.reset_calls()
    yield context_of(org)
    org.control.change_settings(bulk_hold=-1)


@pytest.fixture
def inner() -> Iterator[Transport]:
    transport = open_transport(Network(allowed_networks=LOOPBACK))
    yield transport
    transport.close()


def rules() -> pl.DataFrame:
    keys = [f"rule-{number}" for number in range(MANY)]
    return pl.DataFrame({KEY: keys, "Name": keys})


def outcomes(target: SalesforceTarget) -> dict[str, int]:
    return dict(target.write(RULE, rules(), key=KEY).frame["outcome"].value_counts().iter_rows())


def test_the_jobs_number_is_noted_before_anything_is_uploaded(org: Running, context: Context, inner: Transport) -> None:
    memory = Memory()
    known: list[int] = []
    tampering = Tampering(inner, asked("PUT", "batches"), before=lambda _: known.append(len(memory.noted)))
    there = replace(context, journal=memory, network=replace(context.network, transport=tampering))
    with SalesforceTarget(there) as target:
        assert outcomes(target) == {"created": MANY}
    assert known == [1]


def test_a_worker_that_lost_its_chunk_uploads_nothing(org: Running, context: Context) -> None:
    with SalesforceTarget(replace(context, journal=Memory(refuses=True))) as target, pytest.raises(KilledError):
        outcomes(target)
    assert not [call for call in org.control.calls() if call.startswith("PUT")]
    assert records_of(org, RULE, "Id") == []


def test_a_job_at_work_is_waited_for_and_nothing_is_sent_again(org: Running, context: Context) -> None:
    """The first worker dies waiting; the second must neither make a job of its own nor double a record."""
    memory = Memory()
    org.control.change_settings(bulk_hold=0)
    with SalesforceTarget(replace(context, journal=memory, clock=FatalClock())) as target, pytest.raises(KilledError):
        outcomes(target)
    with SalesforceTarget(replace(context, journal=memory, clock=ReleasingClock(org))) as target:
        assert outcomes(target) == {"unchanged": MANY}
    assert org.control.calls()[INGEST] == 1
    assert len(records_of(org, RULE, "Id")) == MANY
    assert memory.told == [
        f"An earlier try left the bulk job {memory.noted[0]} of {RULE} at work; it is waited for first."
    ]


def test_a_job_that_was_never_closed_is_aborted_and_made_anew(org: Running, context: Context, inner: Transport) -> None:
    memory = Memory()

    def die(_: object) -> None:
        raise KilledError

    tampering = Tampering(inner, asked("PATCH", "jobs/ingest"), before=die)
    there = replace(context, journal=memory, network=replace(context.network, transport=tampering))
    with SalesforceTarget(there) as target, pytest.raises(KilledError):
        outcomes(target)
    with SalesforceTarget(replace(context, journal=memory)) as target:
        assert outcomes(target) == {"created": MANY}
    assert len(memory.noted) == 2
    assert len(records_of(org, RULE, "Id")) == MANY


def test_a_job_nobody_remembers_is_no_obstacle(org: Running, context: Context) -> None:
    memory = Memory()
    memory.note("7500000000000ZZAAA")
    with SalesforceTarget(replace(context, journal=memory)) as target:
        assert outcomes(target) == {"created": MANY}


def test_tries_of_locked_records_are_told(org: Running, context: Context) -> None:
    """Children of a parent that somebody holds for two rounds; those of the other parent are sent once."""
    memory = Memory()
    parents = [str(key) for key in org.control.upsert(RULE, [{"Name": "Free"}, {"Name": "Held"}])]
    keys = [f"p-{number}" for number in range(80)]
    points = pl.DataFrame({KEY: keys, RULE: parents * 40, "Threshold__c": [1] * 80, "Name": keys})
    org.control.lock(parents[1:], refusals=43)
    with SalesforceTarget(replace(context, journal=memory)) as target:
        assert set(target.write(BREAKPOINT, points, key=KEY).frame["outcome"]) == {"created"}
    assert [sentence.partition(";")[2] for sentence in memory.told] == [
        " 40 are tried again in 2 s, 50 at a time.",
        " 40 are tried again in 5 s, in a bulk job sorted by parent.",
    ]
    assert memory.told[0].startswith("40 records were locked or could not be written at that moment")
