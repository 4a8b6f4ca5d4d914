"""Starting and stopping: in a thread, as a process, over https."""

import os
import signal
import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import orjson
import pytest

from sandbox.salesforce.build import Contents
from sandbox.salesforce.running import Ready, Running, running_simulator, running_simulators

ROOT = Path(__file__).parents[2]


def answers(ready: Ready, verify: ssl.SSLContext | bool) -> int:
    headers = {"Authorization": f"Bearer {ready.access_token}"}
    with httpx.Client(verify=verify, trust_env=False) as http:
        return http.get(f"{ready.url}/services/data/v66.0/limits", headers=headers).status_code


def ids_of(running: Running) -> set[str]:
    """The ids of all accounts and users."""
    headers = {"Authorization": f"Bearer {running.ready.access_token}"}
    found: set[str] = set()
    with httpx.Client(base_url=running.url, headers=headers, trust_env=False) as http:
        for name in ("Account", "User"):
            answer = http.get("/services/data/v66.0/query", params={"q": f"SELECT Id FROM {name}"})
            found |= {each["Id"] for each in answer.json()["records"]}
    return found


def started(*options: str) -> "subprocess.CompletedProcess[str]":
    """A simulator that must end by itself."""
    command = [sys.executable, "-m", "sandbox.salesforce", *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)


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
        mixed = replace(two.ready, access_token=one.ready.access_token)
        assert (answers(one.ready, verify=True), answers(mixed, verify=True)) == (200, 401)


def test_orgs_of_one_process_share_nothing() -> None:
    with running_simulators(Contents(records=200), Contents(records=150, seed=2)) as (one, two):
        assert one.url != two.url
        assert (one.ready.records["Account"], two.ready.records["Account"]) == (36, 27)
        assert one.ready.org_id != two.ready.org_id
        assert ids_of(one).isdisjoint(ids_of(two))
        two.control.change_settings(api_limit=3)
        one.control.fault("unavailable", path="/limits", times=1)
        assert [answers(two.ready, verify=True) for _ in range(2)] == [200, 403]  # two were used for the ids
        assert [answers(one.ready, verify=True) for _ in range(2)] == [503, 200]
        stranger = replace(two.ready, access_token=one.ready.access_token)
        assert answers(stranger, verify=True) == 401
        assert sum(one.control.calls().values()) == 2 + 2  # ids of two objects, and both answers


@pytest.mark.processes
def test_a_process_serves_several_orgs(tmp_path: Path) -> None:
    bad = (Contents(records=150, bad=3), Contents())
    with running_simulators(*bad, process=True) as (one, two):
        assert (len(one.control.bad()), two.control.bad()) == (3, [])
        assert (answers(one.ready, verify=True), answers(two.ready, verify=True)) == (200, 200)
    ended = started("--org", "records=150", "--org", "colour=red")
    assert (ended.returncode, "colour=red is not understood" in ended.stderr) == (2, True)
    assert started("--org", f"records=many,data={tmp_path}").stderr.endswith("records is a whole number, not “many”\n")


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
    ended = started("--data", str(tmp_path))
    assert ended.returncode == 2
    assert ended.stderr.startswith("The simulator did not start:")
    assert ended.stderr.count("\n") == 1
    with pytest.raises(RuntimeError, match="holds no plan file"), running_simulator(data=tmp_path, process=True):
        pytest.fail("it should not have started")
