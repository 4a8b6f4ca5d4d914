"""The demo: sandbox, web and workers on this machine, one customer, and a migration under way to look at."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.urls import reverse
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from migration_factory import embedded, scratch
from migration_factory.rehearsal import Reach, erase, make_project, salesforce_reach
from orgs.models import Customer
from projects.models import Project
from runs import reports
from runs import services as runs
from runs.choices import OPEN
from runs.models import Run
from sandbox.salesforce.running import running_simulator

SLUG = "acme-freight"
DATABASE = "product"
USERNAME = "demo"
POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Show:
    """What the demo is made of. ``once`` ends it when the run has ended."""

    records: int = 20_000
    bad: int = 300
    seed: int = 7
    port: int = 8000
    once: bool = False


def demo(show: Show, console: Console) -> bool:
    """Set up, run, tell, and stay until Ctrl-C; true where the run ended well. Leaves no process behind."""
    # A plain kill ends it as cleanly as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with ExitStack() as stack:
        stack.enter_context(_database_server())
        console.print(f"Starting a simulated Salesforce org with {show.records:,} records …")
        simulator = stack.enter_context(
            running_simulator(records=show.records, bad=show.bad, seed=show.seed, process=True)
        )
        project = _project(salesforce_reach(simulator.ready))
        password = _user()
        port = _free_port(show.port)
        stack.enter_context(_manage("runserver", f"127.0.0.1:{port}", "--noreload"))
        stack.enter_context(_manage("run_workers", "--grace", "3"))
        run = runs.start_run(project)
        page = f"http://127.0.0.1:{port}{reverse('admin:runs_run_change', args=[run.pk])}"
        console.print(f"Watch it at [link={page}]{page}[/link] (user {USERNAME}, password {password}).")
        figures = _follow(run, console)
        _tell(figures, console)
        console.print(f"Log in at http://127.0.0.1:{port}/admin/ as {USERNAME} with password {password}.")
        if not show.once:
            console.print("Press Ctrl-C to stop.")
            signal.pause()
        return figures.good


@contextmanager
def _database_server() -> Iterator[None]:
    """Stop the embedded server afterwards, unless somebody else is connected to it."""
    try:
        yield
    finally:
        if settings.EMBEDDED_DATABASE and not _others_connected():
            connection.close()
            embedded.stop(settings.VAR_DIR)


def _others_connected() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return bool(cursor.fetchone()[0])


def _project(source: Reach) -> Project:
    """The demo's customer with its project, made anew: the simulator has another address each time."""
    for earlier in Customer.objects.filter(slug=SLUG):
        erase(earlier)
    scratch.create(DATABASE)
    tenant = scratch.install_product(DATABASE, tenant=SLUG)
    target = Reach(
        "postgresql", {**scratch.connection_settings(DATABASE), "tenant_id": str(tenant)}, scratch.password()
    )
    customer = Customer.objects.create(name="Acme Freight", slug=SLUG)
    return make_project(customer, "Salesforce to the product", source, target, mirror=False)


def _user() -> str:
    """The demo's superuser with a new password, which is returned."""
    password = secrets.token_urlsafe(9)
    user, _ = User.objects.get_or_create(username=USERNAME, defaults={"is_staff": True, "is_superuser": True})
    user.set_password(password)
    user.save()
    return password


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _manage(*command: str) -> Iterator[None]:
    """``manage.py …`` as a child in a session of its own, which is ended as a whole."""
    log = settings.VAR_DIR / f"{command[0]}.log"
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, str(settings.BASE_DIR / "manage.py"), *command],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield
    finally:
        child.terminate()
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _follow(run: Run, console: Console) -> reports.RunFigures:
    """Show the run's progress until it needs no worker any more."""
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bars: dict[str, TaskID] = {}
        while True:
            figures = reports.figures(run)
            _draw(run, figures, progress, bars)
            if figures.status not in OPEN:
                return figures
            time.sleep(POLL_SECONDS)


def _draw(run: Run, figures: reports.RunFigures, progress: Progress, bars: dict[str, TaskID]) -> None:
    expected = dict(run.steps.values_list("mapping__source_entity", "expected"))
    for item in figures.objects:
        if item.source not in bars:
            bars[item.source] = progress.add_task(f"{item.source} → {item.target}", total=None)
        done = sum(getattr(item, name) for name in reports.OUTCOMES)
        progress.update(bars[item.source], completed=done, total=max(expected.get(item.source) or 0, item.read))


def _tell(figures: reports.RunFigures, console: Console) -> None:
    console.print(f"{figures.status}: {figures.reason}")
    counts = ", ".join(f"{figures.totals[name]:,} {name}" for name in ("read", *reports.OUTCOMES))
    console.print(f"{counts}; {figures.api_calls:,} requests in {figures.seconds:.1f} s.")
    found = figures.reconcile
    console.print(
        f"Read back {found.records:,} records, {found.fields:,} fields: "
        f"{found.missing:,} missing, {found.mismatches:,} different."
    )
