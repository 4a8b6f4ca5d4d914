"""A reconciliation whose worker is killed half-way goes on where it stopped, and its evidence is as whole as any."""

import signal
from pathlib import Path

import orjson
import pytest

from runs import services
from runs.choices import ChunkState
from runs.evidence import document
from runs.evidence.verification import compare_with_database, verify
from runs.models import Chunk, ChunkProof, Run
from tests.runs import worker_host
from tests.runs.test_processes import assert_exact
from tests.runs.worker_host import Host

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("crash", ["reconcile.read:2", "reconcile.in_transaction:2"])
def test_a_killed_reconciliation_resumes(database_url: str, tmp_path: Path, crash: str) -> None:
    rows = worker_host.source_rows(9, companies=1_000, people=20_000)
    with worker_host.bed(tmp_path / "files", rows) as bed:
        run = services.start_run(bed.project, drivers=1)
        dying = Host(database_url, "dying", tmp_path / "dying.log", environment={"MF_CRASH": crash})
        assert dying.manage("drive", str(run.pk)).wait(120) == -signal.SIGKILL, dying.log.read_text()
        proven = dict(Chunk.objects.filter(run=run, state=ChunkState.VERIFIED).values_list("pk", "verified_at"))
        assert proven
        assert set(ChunkProof.objects.filter(step__run=run).values_list("chunk", flat=True)) == set(proven)
        after = Host(database_url, "after", tmp_path / "after.log")
        assert after.manage("drive", str(run.pk)).wait(120) == 0, after.log.read_text()
        assert_exact(bed, run, {"created": 21_000})
        again = dict(Chunk.objects.filter(pk__in=proven).values_list("pk", "verified_at"))
        assert again == proven
        path = tmp_path / "evidence.json"
        path.write_bytes(b"".join(document.pieces(Run.objects.get(pk=run.pk))))
        assert verify(path)[0].records == 21_000
        assert compare_with_database(orjson.loads(path.read_bytes())).unproven == 0
