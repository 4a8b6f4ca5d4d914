"""The rivals of the contest from org to org: SFDMU under the Salesforce CLI, and a script of one's own.

SFDMU and what it needs are installed on demand into ``var/peers``, pinned here and nowhere else.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil
from django.conf import settings

from migration_factory.bench.engine import BenchFailed
from migration_factory.bench.org_to_org_data import API_VERSION, CODE, THINGS
from sandbox.salesforce.running import Ready

PACKAGES = {"node": "22.23.3", "@salesforce/cli": "2.150.6", "sfdmu": "3.7.19"}
"""The CLI wants Node 22; older ones crash. https://www.npmjs.com/package/sfdmu"""
FOLDER = Path("var") / "peers"
INSTALL_SECONDS = 600
RIVAL_SECONDS = 3_600
QUICK_POLL_SECONDS = 0.2
_LOOK_SECONDS = 0.1


class PeerMissing(Exception):
    """A rival cannot take part on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Ran:
    """``seconds`` from the start of the command to its end; ``peak_mib`` is the sum of its processes' peaks."""

    seconds: float
    peak_mib: float


def script(source: Ready, target: Ready, *, tuned: bool) -> Ran:
    """Raises BenchFailed where the script fails."""
    file = Path(__file__).with_name("org_to_org_script.py")
    reach = [source.url, source.access_token, target.url, target.access_token]
    plan = [{"name": thing.name, "fields": thing.columns, "parents": thing.parents} for thing in THINGS]
    wait = [str(QUICK_POLL_SECONDS)] if tuned else []
    return watched([sys.executable, str(file), *reach, API_VERSION, orjson.dumps(plan).decode(), *wait], os.environ)


def sfdmu(source: Ready, target: Ready, *, tuned: bool) -> Ran:
    """Raises BenchFailed where SFDMU says that it failed, PeerMissing where it is not to be had."""
    folder = installed()
    with tempfile.TemporaryDirectory(prefix="bench-sfdmu-") as work:
        Path(work, "export.json").write_bytes(orjson.dumps(export(source, target, tuned=tuned)))
        users = ["--sourceusername", "source", "--targetusername", "target"]
        return watched(_cli(folder, "sfdmu", "run", *users, "--path", work, "--noprompt"), _environment(folder))


def export(source: Ready, target: Ready, *, tuned: bool) -> dict[str, object]:
    """SFDMU's ``export.json``. Tuned means inserts, which match nothing with the target, and quicker polls."""
    reach = {"source": source, "target": target}
    body: dict[str, object] = {
        "orgs": [
            {"name": name, "instanceUrl": ready.url, "accessToken": ready.access_token} for name, ready in reach.items()
        ],
        "objects": [
            {
                "query": f"SELECT {', '.join([*thing.columns, *thing.parents])} FROM {thing.name}",  # noqa: S608 - our names
                "operation": "Insert" if tuned else "Upsert",
                "externalId": CODE,
            }
            for thing in THINGS
        ],
        "apiVersion": API_VERSION,
        "bulkApiVersion": "2.0",
    }
    return body | ({"pollingIntervalMs": int(QUICK_POLL_SECONDS * 1000)} if tuned else {})


def installed() -> Path:
    """The folder with SFDMU joined to the CLI; installs it where it is not there. Raises PeerMissing."""
    folder = settings.BASE_DIR / FOLDER / "-".join(PACKAGES.values())
    done = folder / "home" / "linked"  # the CLI notes the plugin there, by its whole path
    if not done.exists() or done.read_text() != str(folder):
        if shutil.which("npm") is None:
            raise PeerMissing("npm is not on this machine")
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
        _step(["npm", "install", "--prefix", str(folder), "--no-save", "--no-audit", "--no-fund", *wanted], os.environ)
        plugin = folder / "node_modules" / "sfdmu"
        _step(_cli(folder, "plugins", "link", str(plugin), "--no-install"), _environment(folder))
        done.write_text(str(folder))
    return folder


def _step(command: Sequence[str], environment: Mapping[str, str]) -> None:
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, env=dict(environment), check=False, timeout=INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired as late:
        raise PeerMissing(f"“{' '.join(command[:2])}” did not end within {INSTALL_SECONDS // 60} minutes") from late
    if ended.returncode:
        raise PeerMissing(f"“{' '.join(command[:2])}” failed: {ended.stderr.strip()[-300:]}")


def _cli(folder: Path, *arguments: str) -> list[str]:
    modules = folder / "node_modules"
    return [str(modules / ".bin" / "node"), str(modules / "@salesforce" / "cli" / "bin" / "run.js"), *arguments]


def _environment(folder: Path) -> dict[str, str]:
    """A home of its own, so that the person's own CLI and its logins are left alone; and nothing sent home."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return {
        **os.environ,
        "HOME": str(home),
        "PATH": f"{folder / 'node_modules' / '.bin'}{os.pathsep}{os.environ['PATH']}",
        "SF_AUTOUPDATE_DISABLE": "true",
        "SF_DISABLE_AUTOUPDATE": "true",
        "SF_DISABLE_TELEMETRY": "true",
        "SF_USE_GENERIC_UNIX_KEYCHAIN": "true",
        "NODE_ENV": "production",
    }


def watched(command: Sequence[str], environment: Mapping[str, str], within: float = RIVAL_SECONDS) -> Ran:
    """Run it to its end. Raises BenchFailed where it fails or takes longer; none of its processes outlives the call."""
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = psutil.Popen(list(command), env=dict(environment), stdout=said, stderr=subprocess.STDOUT)
        with _ended(process):
            peaks: dict[int, float] = {}
            while process.poll() is None and time.perf_counter() - started < within:
                peaks = _risen(process, peaks)
                time.sleep(_LOOK_SECONDS)
            seconds = time.perf_counter() - started
            if process.poll() != 0:
                said.seek(0)
                raise BenchFailed(f"{Path(command[1]).name} failed: {said.read().decode(errors='replace')[-2000:]}")
    return Ran(seconds, sum(peaks.values()))


def _risen(process: psutil.Popen, peaks: Mapping[int, float]) -> dict[int, float]:
    try:
        alive = [process.pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return dict(peaks)
    return {**peaks, **{pid: max(peaks.get(pid, 0.0), _peak_mib(pid)) for pid in alive}}


def _peak_mib(pid: int) -> float:
    """Linux's high-water mark; elsewhere what is resident now; 0 for a process that is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        mark = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        return int(mark[1]) / 1024 if mark else psutil.Process(pid).memory_info().rss / 2**20
    except (psutil.Error, OSError):
        return 0.0


@contextmanager
def _ended(process: psutil.Popen) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            for each in (*process.children(recursive=True), process):
                each.kill()
        process.wait()
