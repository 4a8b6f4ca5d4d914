"""Starting and stopping: in a thread, as a process, over https."""

import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import orjson
import pytest

from sandbox.salesforce.running import Ready, running_simulator

ROOT = Path(__file__).parents[2]


def answers(ready: Ready, verify: ssl.SSLContext | bool) -> int:
    headers = {"Authorization": f"Bearer {ready.access_token}"}
    with httpx.Client(verify=verify, trust_env=False) as http:
        return http.get(f"{ready.url}/services/data/v66.0/limits", headers=headers).status_code


def test_https_with_a_ca_of_its_own() -> None:
    with running_simulator(tls=True) as running:
        assert running.url.startswith("https://127.0.0.1:")
        assert answers(running.ready, ssl.create_default_context(cafile=running.ready.ca_file)) == 200
        with pytest.raises(httpx.ConnectError):
            answers(running.ready, verify=True)
        assert running.control.status()["org_id"] == running.ready.org_id
    assert not Path(running.ready.ca_file).exists()


def test_several_orgs_at_once_know_nothing_of_each_other() -> None:
    with running_simulator() as one, running_simulator() as two:
        mixed = Ready(
            **{**{name: getattr(two.ready, name) for name in Ready.__slots__}, "access_token": one.ready.access_token}
        )
        assert (answers(one.ready, verify=True), answers(mixed, verify=True)) == (200, 401)


@pytest.mark.processes
def test_a_process_serves_and_is_gone_afterwards() -> None:
    with running_simulator(records=150, bad=3, process=True) as running:
        assert answers(running.ready, verify=True) == 200
        assert len(running.control.bad()) == 3
    with pytest.raises(httpx.ConnectError):
        answers(running.ready, verify=True)


@pytest.mark.processes
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_quietly_and_leaves_nothing_behind(ending: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sandbox.salesforce", "--port", "0", "--tls"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, cwd=ROOT, env=environment) as process:
        assert process.stdout is not None
        ready = Ready(**orjson.loads(process.stdout.readline()))
        assert answers(ready, ssl.create_default_context(cafile=ready.ca_file)) == 200
        assert len(list(tmp_path.iterdir())) == 2  # the records and the certificates
        os.kill(process.pid, ending)
        rest, complaints = process.communicate(timeout=20)
    assert (process.returncode, rest, complaints) == (0, b"", b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_what_cannot_be_loaded_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    command = [sys.executable, "-m", "sandbox.salesforce", "--data", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.startswith("The simulator did not start:")
    assert ended.stderr.count("\n") == 1
    with pytest.raises(RuntimeError, match="holds no plan file"), running_simulator(data=tmp_path, process=True):
        pytest.fail("it should not have started")
