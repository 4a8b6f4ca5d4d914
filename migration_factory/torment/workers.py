"""Worker hosts for a campaign: ``run_workers`` in sessions of their own, and whom of them to harm."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from django.conf import settings

LEASE_SECONDS = 5.0
TIME_BOX_SECONDS = 3
STOP_SECONDS = 60
SPARED_AT = 5
"""A piece that killed so many workers is spared, or it would be set aside as one that kills them all."""
ROLES = {"worker at work": 14, "worker, monitor or pusher": 3, "sentinel": 1, "main": 1, "supervisor": 1}
"""Whom a kill hits, and how often among twenty."""


@dataclass
class Host:
    """One ``manage.py run_workers`` and everything that belongs to it, whoever its parent is by now."""

    name: str
    url: str
    ledger: str
    """How to reach the ledger directly, as a libpq connection string."""
    log: Path
    chunk: int
    """Records of a chunk, at most."""
    process: "subprocess.Popen[bytes] | None" = None
    restarts: int = 0

    def start(self) -> None:
        environment = {
            **os.environ,
            "DATABASE_URL": self.url,
            "DEBUG": "true",
            "MF_WORKER_HOST": self.name,
            "MF_LEASE_SECONDS": str(LEASE_SECONDS),
            "MF_TIME_BOX_SECONDS": str(TIME_BOX_SECONDS),
            "MF_CHUNK_RECORDS": str(self.chunk),
        }
        command = [str(settings.BASE_DIR / "manage.py"), "run_workers"]
        command += ["--frozen-after", "12", "--grace", "15", "--stuck-after", "30"]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                env=environment,
                cwd=settings.BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def revive(self) -> None:
        """Start another supervisor where the last one has ended, as a service manager does."""
        if self.process is not None and self.process.poll() is not None:
            self.restarts += 1
            self.start()

    def stop(self) -> list[int]:
        """Ask it to end; returns the processes it left behind, which are ended, too.

        One that did not end as it was asked (it was killed, it ended itself, or it could not listen yet) sees to
        nothing: as when a service is started again, its successor has to, and is asked in its place."""
        if self.process is not None and self._ended_as_asked(self.process) != 0:
            self.start()
            self._await_cluster()
            self._ended_as_asked(self.process)
        left = self.processes()
        for process in left:
            _signal(process, signal.SIGKILL)
        psutil.wait_procs(left, timeout=STOP_SECONDS)
        return [process.pid for process in left]

    def _ended_as_asked(self, process: "subprocess.Popen[bytes]") -> int:
        """The exit code; of one that does not end at all, after it was killed."""
        process.terminate()
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _await_cluster(self) -> None:
        """Until the supervisor has started its cluster, and so has seen to what another left."""
        deadline = time.monotonic() + STOP_SECONDS
        while self.process is not None and time.monotonic() < deadline:
            if _children(psutil.Process(self.process.pid)):
                return
            time.sleep(0.1)

    def processes(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self._owns(process)]

    def _owns(self, process: psutil.Process) -> bool:
        try:
            environment = process.environ()
            return (
                process.status() != psutil.STATUS_ZOMBIE
                and process.pid != os.getpid()
                and environment.get("MF_WORKER_HOST") == self.name
                and environment.get("DATABASE_URL") == self.url
            )
        except psutil.Error:
            return False

    # Whom to harm ------------------------------------------------------------------------------------------

    def kill_one(self, chance: random.Random) -> str:
        """SIGKILL somebody by chance; the role that was hit, blank where nobody was there."""
        role = chance.choices(list(ROLES), weights=list(ROLES.values()))[0]
        victims = self._victims(role)
        if not victims or not _signal(chance.choice(victims), signal.SIGKILL):
            return ""
        return role

    def freeze_one(self, chance: random.Random) -> psutil.Process | None:
        """SIGSTOP a worker at work; whoever asks lets it go on."""
        victims = self._at_work()
        victim = chance.choice(victims) if victims else None
        return victim if victim is not None and _signal(victim, signal.SIGSTOP) else None

    def _victims(self, role: str) -> list[psutil.Process]:
        match role:
            case "worker at work":
                return self._at_work()
            case "worker, monitor or pusher":
                return self._parts()
            case "sentinel":
                return _children(self._main())[:1]
            case "main":
                return [found] if (found := self._main()) else []
            case _:
                return [psutil.Process(self.process.pid)] if self.process and self._main() else []

    def _main(self) -> psutil.Process | None:
        """The cluster's main process, if it is there now."""
        return next((each for each in self.processes() if "qcluster" in _command(each) and _leads(each)), None)

    def _parts(self) -> list[psutil.Process]:
        """What the sentinel started: workers, monitor and pusher."""
        return [part for sentinel in _children(self._main()) for part in _children(sentinel)]

    def _at_work(self) -> list[psutil.Process]:
        """Workers that hold a piece of a run now."""
        with psycopg.connect(self.ledger, connect_timeout=2) as ledger:
            rows = ledger.execute(
                """SELECT owner FROM runs_chunk WHERE lease_until > clock_timestamp() AND attempts < %(spared)s
                   UNION SELECT owner FROM runs_step WHERE lease_until > clock_timestamp() AND attempts < %(spared)s
                   UNION SELECT owner FROM runs_run WHERE lease_until > clock_timestamp() AND attempts < %(spared)s""",
                {"spared": SPARED_AT},
            ).fetchall()
        pids = {int(owner.rpartition(":")[2]) for (owner,) in rows if owner}
        return [process for process in self._parts() if process.pid in pids]


def go_on(process: psutil.Process) -> None:
    _signal(process, signal.SIGCONT)


def _signal(process: psutil.Process, number: signal.Signals) -> bool:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return False
    return True


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _leads(process: psutil.Process) -> bool:
    try:
        return os.getsid(process.pid) == process.pid
    except ProcessLookupError:
        return False


def _children(process: psutil.Process | None) -> list[psutil.Process]:
    """The living ones: a killed child stays in the list until its parent looks."""
    try:
        return [child for child in process.children() if child.status() != psutil.STATUS_ZOMBIE] if process else []
    except psutil.Error:
        return []
