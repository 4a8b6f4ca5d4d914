"""The supervisor: what it judges frozen, when it starts again, whom it gives way to, and what it leaves behind."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import OperationalError, connection
from django.db.models import F
from django.db.models.functions import Now
from django_q.models import OrmQ
from django_q.signals import post_execute

from runs import hosts, services
from runs.cluster import Cluster
from runs.models import Chunk, Driver, WorkerHost
from runs.supervisor import LONGEST_BACKOFF, SETTLED_SECONDS, Backoff, HostTaken, Silence, Supervisor
from tests import factories
from tests.fakes import World
from tests.runs import worker_host
from tests.runs.worker_host import Host, until

# --- Judgement, without processes ---------------------------------------------------------------------------------


def test_silence_grows_while_an_answer_is_owed() -> None:
    silence = Silence()
    assert [silence.look(owed=True, now=float(n)) for n in range(4)] == [0, 1, 2, 3]


def test_an_answer_ends_the_silence() -> None:
    silence = Silence()
    for n in range(4):
        silence.look(owed=True, now=float(n))
    assert silence.look(owed=False, now=4.0) == 0
    assert silence.look(owed=True, now=5.0) == 1


def test_a_machine_that_slept_is_not_held_against_the_cluster() -> None:
    silence = Silence()
    silence.look(owed=True, now=0.0)
    assert silence.look(owed=True, now=3_600.0) <= 2


def test_a_cluster_that_had_settled_starts_again_at_once() -> None:
    backoff = Backoff()
    backoff.started(0.0)
    assert backoff.may_start(SETTLED_SECONDS)


def test_a_cluster_that_ends_again_and_again_is_started_ever_later() -> None:
    backoff, now, waits = Backoff(), 0.0, []
    for _ in range(8):
        backoff.started(now)
        ended = now
        while not backoff.may_start(now):
            now += 1
        waits.append(now - ended)
    assert waits == [1, 2, 4, 8, 16, LONGEST_BACKOFF, LONGEST_BACKOFF, LONGEST_BACKOFF]


class Still(Cluster):
    """A cluster without processes."""

    starts = 0
    up = False

    def start(self) -> None:
        self.starts += 1
        self.up = True

    def alive(self) -> bool:
        return self.up

    def kill(self) -> None:
        self.up = False

    def kill_orphans(self) -> int:
        return 0


class Watch:
    """A supervisor of a cluster without processes, and the time it lives in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str = "here") -> None:
        self.now = 1_000.0
        monkeypatch.setattr("runs.supervisor.time.monotonic", lambda: self.now)
        self.cluster = Still(name, workers=2)
        self.supervisor = Supervisor(self.cluster, frozen_after=30)

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.now += 1
            self.supervisor.tick()

    def answer(self) -> None:
        """As the cluster's monitor does."""
        for row in OrmQ.objects.filter(key="here"):
            post_execute.send(sender="django_q", task=row.task)


@pytest.fixture
def watch(db: None, monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


def test_a_cluster_that_answers_is_left_alone(watch: Watch) -> None:
    watch.tick(2)
    for _ in range(30):
        watch.answer()
        watch.tick(5)
    assert watch.cluster.starts == 1


def test_a_cluster_that_falls_silent_is_replaced(watch: Watch) -> None:
    watch.tick(2)
    watch.answer()
    watch.tick(34)
    assert watch.cluster.starts == 1
    watch.tick(6)
    assert watch.cluster.starts == 2
    assert WorkerHost.objects.get().restarts == 1


def test_a_new_cluster_gets_longer_for_its_first_answer(watch: Watch) -> None:
    watch.tick(80)
    assert watch.cluster.starts == 1
    watch.tick(20)
    assert watch.cluster.starts == 2


def test_a_machine_that_starts_slower_than_that_gets_longer_each_time(watch: Watch) -> None:
    """Until one has answered; then the next is as impatient as ever."""
    watch.supervisor.frozen_after = 10
    watch.tick()
    assert [seconds_to_the_next_start(watch) // 30 for _ in range(5)] == [1, 2, 4, 8, 8]
    watch.tick(2)
    watch.answer()
    assert seconds_to_the_next_start(watch) < 30
    assert seconds_to_the_next_start(watch) // 30 == 1


def seconds_to_the_next_start(watch: Watch) -> int:
    before, seconds = watch.cluster.starts, 0
    while watch.cluster.starts == before:
        watch.tick()
        seconds += 1
    return seconds


def test_a_cluster_all_of_whose_hands_are_at_work_is_not_frozen(watch: Watch, world: World) -> None:
    run = services.start_run(factories.project(), drivers=2)
    watch.tick(2)
    watch.answer()
    run.drivers.update(owner="here", lease_until="2100-01-01T00:00Z")
    watch.tick(200)
    assert watch.cluster.starts == 1
    run.drivers.update(lease_until=None, called_at="2100-01-01T00:00Z")
    watch.tick(40)
    assert watch.cluster.starts == 2


def test_silence_is_not_counted_over_an_outage_of_the_database(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    watch.tick(2)
    watch.answer()
    watch.tick(30)

    def gone(_: WorkerHost) -> bool:
        raise OperationalError("the connection is lost")

    with monkeypatch.context() as patch:
        patch.setattr(hosts, "beat", gone)
        patch.setattr("runs.supervisor.connection.close", lambda: None)
        watch.tick(300)
    watch.tick(25)
    assert watch.cluster.starts == 1


def test_a_replaced_cluster_leaves_no_calls_and_no_places(watch: Watch, world: World) -> None:
    run = services.start_run(factories.project(), drivers=2)
    watch.tick(3)
    assert OrmQ.objects.filter(key="here").count() == 1 + 2
    run.drivers.update(lease_until="2100-01-01T00:00Z")
    watch.cluster.up = False
    watch.tick()
    watch.tick()
    assert watch.cluster.starts == 2
    assert not OrmQ.objects.filter(key="here").exists()
    assert set(run.drivers.values_list("owner", "lease_until")) == {("", None)}


def test_a_supervisor_whose_name_was_taken_over_ends(watch: Watch) -> None:
    watch.tick(2)
    WorkerHost.objects.update(pid=F("pid") + 1, started_at=Now())
    with pytest.raises(HostTaken, match="Another process has taken over the worker host “here”"):
        watch.tick()


def test_a_name_in_use_on_another_machine_is_refused(watch: Watch) -> None:
    WorkerHost.objects.create(name="here", pid=2**22 + 1)  # no such process on this machine
    watch.tick(2)
    WorkerHost.objects.update(seen_at=Now())
    with pytest.raises(HostTaken, match="“here” is at work on another machine"):
        watch.tick()
    assert watch.cluster.starts == 0


def test_the_name_of_a_dead_supervisor_is_free_after_a_few_seconds(watch: Watch) -> None:
    WorkerHost.objects.create(name="here", pid=2**22 + 1)
    watch.tick(4)
    assert watch.cluster.starts == 0
    watch.tick(4)
    assert watch.cluster.starts == 1


def test_the_name_of_a_supervisor_that_signed_off_is_free_at_once(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.tick(2)
    watch.supervisor.leave(grace=0, asked=[])
    next_one = Watch(monkeypatch)
    next_one.tick()
    assert next_one.cluster.starts == 1


# --- Real processes -----------------------------------------------------------------------------------------------


@pytest.fixture
def host(database_url: str, tmp_path: Path) -> Iterator[Host]:
    host = Host(database_url, f"host-{os.getpid()}", tmp_path / "workers.log")
    yield host
    host.killed()


def row(host: Host) -> WorkerHost:
    return WorkerHost.objects.get(name=host.name)


def answers(host: Host) -> Callable[[], bool]:
    """Whether a canary has come back that was sent after now."""
    asked = WorkerHost.objects.filter(name=host.name).values_list("canary_answered_at", flat=True).first()
    return lambda: (
        WorkerHost.objects.filter(name=host.name, canary_answered_at__isnull=False)
        .exclude(canary_answered_at=asked)
        .exists()
    )


def restarts(host: Host, number: int) -> Callable[[], bool]:
    return lambda: row(host).restarts == number


def up(host: Host) -> Host:
    host.start()
    until(lambda: WorkerHost.objects.filter(name=host.name, canary_answered_at__isnull=False).exists())
    until(lambda: len(host.parts()) == 4)
    return host


def pids(host: Host) -> set[int]:
    return {process.pid for process in host.processes()}


@pytest.mark.long
@pytest.mark.processes
def test_frozen_clusters_are_replaced(host: Host) -> None:
    """Three ways to freeze: everything stopped; the lock of one queue, then of the other, lost with its holder.
    A frozen cluster cannot be asked to stop either, and does not outlive its supervisor all the same."""
    host.options = ("--frozen-after", "4", "--grace", "1")
    up(host)
    for number, freeze in enumerate((stop_everything, kill_idle_workers, kill_idle_monitor), start=1):
        before = pids(host) - {host.pid}
        freeze(host)
        until(restarts(host, number), 30)
        until(answers(host))
        until(lambda: len(host.parts()) == 4)
        assert not before & pids(host)
    assert host.log.read_text().count("gave no sign of life for 4 s") == 3
    stop_everything(host)
    assert host.stop() == 0
    assert not host.processes()
    assert "did not stop in time and are killed" in host.log.read_text()


def stop_everything(host: Host) -> None:
    for process in host.processes():
        if process.pid != host.pid:
            process.send_signal(signal.SIGSTOP)


def kill_idle_workers(host: Host) -> None:
    """One of the two holds the lock of the task queue while it waits for work."""
    for process in host.parts()[:2]:
        process.kill()


def kill_idle_monitor(host: Host) -> None:
    """It holds the lock of the result queue while it waits; workers go on, but nothing is acknowledged any more."""
    host.parts()[2].kill()


@pytest.mark.processes
def test_one_supervisor_per_name(host: Host, tmp_path: Path) -> None:
    """A second one is refused while the first lives and harms nobody; when it was killed, its orphans are removed."""
    up(host)
    first = pids(host)
    second = Host(host.url, host.name, tmp_path / "second.log").start()
    assert second.process is not None
    assert second.process.wait(30) == 1
    said = f"CommandError: The worker host “{host.name}” is at work already (process {host.pid})."
    assert said in second.log.read_text()
    assert pids(host) == first
    os.kill(host.pid, signal.SIGKILL)
    host.restart()
    # Not before: until they are removed, the orphans go on and answer what their supervisor asked last.
    until(lambda: not first & pids(host))
    until(answers(host))
    assert len(first) == 7
    assert "killed 6 processes that an earlier supervisor left" in host.log.read_text()


@pytest.mark.processes
def test_a_supervisor_that_waits_for_ever_ends_says_where_and_takes_its_host_back(host: Host) -> None:
    """Somebody holds its row and never lets go; a connection on which no answer comes any more looks the same to it."""
    host.options = ("--stuck-after", "5")
    up(host)
    first = pids(host)
    assert host.process is not None
    with psycopg.connect(worker_host.dsn(connection.settings_dict["NAME"])) as somebody:
        somebody.execute("SELECT FROM runs_workerhost WHERE name = %s FOR UPDATE", [host.name])
        assert host.process.wait(60) == 1
    said = host.log.read_text()
    assert "Timeout (0:00:05)!" in said
    assert "in beat" in said
    host.restart()
    until(lambda: not first & pids(host))
    until(answers(host))


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_graceful_and_leaves_nothing(host: Host, tmp_path: Path, number: signal.Signals) -> None:
    """In the middle of a run: what is in hand is finished, and given back before the lease ends."""
    rows = worker_host.source_rows(1, companies=2_000, people=30_000)
    host.environment = {"MF_TIME_BOX_SECONDS": "100"}
    with worker_host.bed(tmp_path / "files", rows) as bed:
        up(host)
        run = services.start_run(bed.project)
        until(lambda: Chunk.objects.filter(run=run).exists())
        assert host.process is not None
        asked_at = time.monotonic()
        host.process.send_signal(number)
        assert host.process.wait(15) == 0
        took = time.monotonic() - asked_at
        assert took < 10, "the grace was used up"
        assert not host.processes()
        assert "did not stop in time" not in host.log.read_text()
        assert row(host).pid == 0
        assert not Driver.objects.exclude(owner="").exists()
        assert not Chunk.objects.filter(run=run).exclude(lease_until=None).exists()
        assert not OrmQ.objects.exists()
