"""Two worker hosts and a database host: one worker host loses its network in the middle of a run, and comes back."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from orgs.models import Org, Role
from runs import services
from runs.choices import OPEN
from runs.models import Chunk, Run, WorkerHost
from tests.runs import worker_host
from tests.runs.test_processes import assert_exact, outcomes
from tests.runs.worker_host import Host, until
from tests.scale import fabric
from tests.scale.fabric import Fabric

pytestmark = pytest.mark.processes
LEASE_SECONDS = 3
REACHABLE = "127.0.0.0/8,10.77.0.0/16"


@pytest.fixture
def net() -> Iterator[Fabric]:
    entry = connection.settings_dict
    if not entry["HOST"].startswith("/"):
        pytest.skip("the test database does not listen on a Unix socket")
    socket = Path(entry["HOST"]) / f".s.PGSQL.{entry['PORT'] or 5432}"
    try:
        with fabric.laid(f"mf{os.getpid()}", 2, socket) as net:
            yield net
    except fabric.NotPermitted as reason:
        pytest.skip(str(reason))


@pytest.fixture
def hosts(database_url: str, net: Fabric, tmp_path: Path) -> Iterator[list[Host]]:
    entry = connection.settings_dict
    url = f"postgres://{quote(entry['USER'])}@{fabric.DATABASE}:{fabric.PORT}/{entry['NAME']}"
    made = [
        Host(
            url,
            net.worker(number),
            tmp_path / f"{number}.log",
            environment={"MF_LEASE_SECONDS": str(LEASE_SECONDS), "MF_ALLOWED_NETWORKS": REACHABLE},
            prefix=net.prefix(number),
            options=("--frozen-after", "30", "--grace", "10"),  # nobody is frozen here, only cut off
        )
        for number in range(2)
    ]
    yield made
    for host in made:
        host.killed()


def test_a_worker_host_that_is_cut_off_and_comes_back_loses_and_doubles_nothing(
    hosts: list[Host], net: Fabric, tmp_path: Path
) -> None:
    rows = worker_host.source_rows(7, companies=5_000, people=40_000)
    with worker_host.bed(tmp_path / "files", rows) as bed:
        target = Org.objects.get(customer=bed.project.customer, role=Role.TARGET)
        target.settings = {**target.settings, "host": fabric.DATABASE, "port": str(fabric.PORT)}
        target.save(update_fields=["settings"])
        for host in hosts:
            host.start()
        run = services.start_run(bed.project, drivers=4)
        lost = until(lambda: held_by(hosts[0]))
        net.cut(0)
        taken = until(lambda: taken_over(lost))  # the worker that had it knows nothing of that yet
        net.mend(0)
        mended = timezone.now()
        until(lambda: WorkerHost.objects.filter(name=hosts[0].name, seen_at__gt=mended).exists())
        until(lambda: Run.objects.get(pk=run.pk).state not in OPEN)
        with override_settings(MF_LOCAL_FOLDERS=True):
            assert_exact(bed, run, outcomes({}, bed.rows), [host.log.read_text()[-2_000:] for host in hosts])
        assert taken > lost[1]


def held_by(host: Host) -> tuple[int, int] | None:
    """A chunk that a worker of this host holds, and its fence."""
    pids = {process.pid for process in host.processes()}
    for pk, fence, owner in Chunk.objects.exclude(owner="").values_list("pk", "fence", "owner"):
        if int(owner.rpartition(":")[2]) in pids:
            return pk, fence
    return None


def taken_over(lost: tuple[int, int]) -> int | None:
    """The chunk's fence once somebody else has claimed it."""
    fence = Chunk.objects.values_list("fence", flat=True).get(pk=lost[0])
    return fence if fence > lost[1] else None
