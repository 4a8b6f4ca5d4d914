"""What the tests with real processes stand on: generated sources, scratch targets, and ``run_workers`` to harm."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil
import psycopg
from django.conf import settings
from django.db import connection
from django.test import override_settings
from psycopg.conninfo import make_conninfo

from migration_factory import scratch
from migration_factory.rehearsal import Reach, erase, make_project
from orgs.models import Customer
from projects.models import Project
from runs import services
from tests.runs.checker import Expected, Row

SECRET = "planted-password-8b1f"  # the server trusts everybody, so any password will do
LEASE_SECONDS = 3
PATIENCE = 240
T = TypeVar("T")


# --- Sources and targets ----------------------------------------------------------------------------------------


def source_rows(seed: int, companies: int, people: int) -> dict[str, dict[str, Row]]:
    """Companies, some of which belong to one further down, and people who work for them."""
    chance = random.Random(seed)
    company: dict[str, Row] = {
        f"C{n}": {
            "Id": f"C{n}",
            "Name": f"Company {n} {chance.choice(('Åre', 'Łódź', '東京', 'O’Hara & Söhne', '50% off'))}",
            "City": chance.choice(("Köln", "São Paulo", "", "x" * 200)),
            "Code": f"{chance.randrange(10**9):09}",
            "Parent": f"C{chance.randrange(companies)}" if n % 50 == 0 else "",
        }
        for n in range(companies)
    }
    person: dict[str, Row] = {
        f"P{n}": {
            "Id": f"P{n}",
            "Name": f"Person {n}",
            "Email": f"p{n}.{chance.randrange(10**6)}@example.com",
            "Note": chance.choice(("", "first\nsecond", '"quoted", and so on', "=1+1")),
            "Company": f"C{chance.randrange(companies)}",
        }
        for n in range(people)
    }
    return {"Company": company, "Person": person}


def changed(rows: Mapping[str, Mapping[str, Row]], seed: int, more_people: int) -> dict[str, dict[str, Row]]:
    """The source later on: every seventh person has another address, and new ones have come."""
    people = {
        name: {**row, "Email": f"new.{seed}.{name}@example.com"} if number % 7 == 0 else row
        for number, (name, row) in enumerate(rows["Person"].items())
    }
    start = len(people)
    newcomers = source_rows(seed, len(rows["Company"]), more_people)["Person"]
    people |= {f"P{start + n}": {**row, "Id": f"P{start + n}"} for n, row in enumerate(newcomers.values())}
    return {"Company": dict(rows["Company"]), "Person": people}


def expected(rows: Mapping[str, Mapping[str, Row]]) -> list[Expected]:
    return [
        Expected("company", rows["Company"], {"Parent": "company"}),
        Expected("person", rows["Person"], {"Company": "company"}),
    ]


def write_files(folder: Path, rows: Mapping[str, Mapping[str, Row]]) -> None:
    """sObject trees: the one kind of file that tells references from texts."""
    folder.mkdir(exist_ok=True)
    for entity, records in rows.items():
        body = [
            {
                "attributes": {"type": entity, "referenceId": name},
                **{
                    field: f"@{value}" if field in {"Parent", "Company"} else value
                    for field, value in row.items()
                    if field != "Id" and value
                },
            }
            for name, row in records.items()
        ]
        (folder / f"{entity}.json").write_text(json.dumps({"records": body}), encoding="utf-8")


@dataclass
class Bed:
    """A project between a folder of files and a scratch database."""

    project: Project
    folder: Path
    database: str
    rows: dict[str, dict[str, Row]]

    def change_source(self, rows: dict[str, dict[str, Row]]) -> None:
        self.rows = rows
        write_files(self.folder, rows)

    @contextmanager
    def connections(self) -> Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
        """Plain connections to ledger and target, for the checker."""
        with (
            psycopg.connect(dsn(connection.settings_dict["NAME"])) as ledger,
            psycopg.connect(dsn(self.database)) as target,
        ):
            yield ledger, target


def dsn(database: str) -> str:
    entry = connection.settings_dict
    return make_conninfo(
        host=entry["HOST"] or "localhost",
        port=entry["PORT"] or 5432,
        user=entry["USER"],
        password=entry["PASSWORD"] or None,
        dbname=database,
    )


@contextmanager
def bed(folder: Path, rows: dict[str, dict[str, Row]], name: str = "bed") -> Iterator[Bed]:
    """Set up and, afterwards, gone: project, files and target."""
    database = f"{connection.settings_dict['NAME']}_{name}"
    write_files(folder, rows)
    with override_settings(MF_LOCAL_FOLDERS=True):  # off where DEBUG is, as it is in tests
        project = _project(folder, database, name)
    try:
        yield Bed(project, folder, database, rows)
    finally:
        erase(project.customer)
        scratch.drop(database)


def prepare(folder: str) -> None:
    """For a process with a database server of its own: a project, and a run that waits for workers."""
    services.start_run(_project(Path(folder), "bed", "bed"))


def _project(folder: Path, database: str, name: str) -> Project:
    scratch.create(database)
    customer = Customer.objects.create(name=name, slug=name)
    target = Reach("postgresql", scratch.connection_settings(database), {"password": SECRET})
    return make_project(customer, name, Reach("workbook", folder=folder), target, mirror=True)


# --- Processes ----------------------------------------------------------------------------------------------------


@dataclass
class Host:
    """One ``manage.py run_workers`` under test, and all that belongs to it."""

    url: str
    name: str
    log: Path
    options: Sequence[str] = ("--frozen-after", "4", "--grace", "10")
    environment: Mapping[str, str] = field(default_factory=dict)
    prefix: Sequence[str] = ()
    """A command that runs another one, elsewhere."""
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> "Host":
        self.process = self.manage("run_workers", *self.options)
        return self

    def manage(self, *command: str) -> "subprocess.Popen[bytes]":
        """``manage.py …`` in this host's name, in a session of its own."""
        environment = {
            **os.environ,
            "DATABASE_URL": self.url,
            "DEBUG": "true",  # or the workers may not read local folders
            "MF_WORKER_HOST": self.name,
            "MF_LEASE_SECONDS": str(LEASE_SECONDS),
            "MF_TIME_BOX_SECONDS": "3",
            **self.environment,
        }
        with self.log.open("ab") as output:
            return subprocess.Popen(
                [*self.prefix, sys.executable, str(settings.BASE_DIR / "manage.py"), *command],
                env=environment,
                cwd=settings.BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def restart(self) -> None:
        """Start another supervisor when the last one has ended, as a service manager does."""
        assert self.process is not None
        self.process.wait()
        self.start()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def stop(self) -> int:
        """SIGTERM and wait; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

    def processes(self) -> list[psutil.Process]:
        """The supervisor and its cluster, whoever their parent is now."""
        return [process for process in psutil.process_iter() if self._owns(process)]

    def _owns(self, process: psutil.Process) -> bool:
        try:
            environment = process.environ()
            return (
                process.status() != psutil.STATUS_ZOMBIE
                and environment.get("MF_WORKER_HOST") == self.name
                and environment.get("DATABASE_URL") == self.url
                and process.pid != os.getpid()
            )
        except psutil.Error:
            return False

    def main(self) -> psutil.Process | None:
        """The cluster's main process, if it is there now."""
        return next((each for each in self.processes() if "qcluster" in _command(each) and _leads(each)), None)

    def sentinel(self) -> psutil.Process | None:
        return next(iter(_children(self.main())), None)

    def parts(self) -> list[psutil.Process]:
        """What the sentinel started: workers, monitor and pusher, at first in this order."""
        return sorted(_children(self.sentinel()), key=lambda process: process.pid)

    def at_work(self) -> list[psutil.Process]:
        """Workers that hold a piece of a run now; pieces that killed many already are spared, or they are set aside."""
        with connection.cursor() as cursor:
            cursor.execute(
                " UNION ".join(
                    f"SELECT owner FROM {table} WHERE lease_until > clock_timestamp() AND attempts < 5"
                    for table in ("runs_chunk", "runs_step", "runs_run")
                )
            )
            pids = {int(owner.rpartition(":")[2]) for (owner,) in cursor.fetchall()}
        return [process for process in self.parts() if process.pid in pids]

    def killed(self) -> None:
        """End everything, however it stands."""
        for process in self.processes():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        if self.process is not None:
            self.process.wait()


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


def until(ask: Callable[[], T | None], patience: float = PATIENCE) -> T:
    """The first answer that is one."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if found := ask():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {patience} s in vain")


def signal_quietly(process: psutil.Process, number: signal.Signals) -> bool:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return False
    return True
