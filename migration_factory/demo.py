"""The demo: sandbox, web and workers on this machine, one customer, and a migration under way to look at."""

import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.urls import reverse
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from migration_factory import embedded, scratch
from migration_factory.rehearsal import Reach, erase, make_project, salesforce_reach
from orgs.models import Customer
from projects.models import Project
from runs import reports
from runs import services as runs
from runs.choices import OPEN, OUTCOMES
from runs.models import Run
from runs.progress import RunProgress, progress_of
from sandbox.salesforce.running import running_simulator

SLUG = "acme-freight"
DATABASE = "product"
USERNAME = "demo"
POLL_SECONDS = 0.25
WEB_SECONDS = 30
STOP_SECONDS = 15
LAST_BACKENDS_SECONDS = 3.0
"""How long the backends of ended processes may take to go."""
COLUMNS = ("read", *OUTCOMES)
TONES = {"created": "green", "updated": "green", "rejected": "red", "skipped": "yellow", "deferred": "yellow"}


class DemoFailed(Exception):
    """The demo cannot go on; the message is a sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Show:
    """What the demo is made of. ``once`` ends it when the run has ended."""

    records: int = 20_000
    bad: int = 300
    seed: int = 7
    port: int = 8000
    once: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """Where to look and how to log in."""

    address: str
    password: str

    def page(self, name: str, *arguments: int) -> str:
        return f"{self.address}{reverse(name, args=arguments)}"


def demo(show: Show, console: Console) -> bool:
    """Set up, run, tell, and stay until Ctrl-C; true where the run ended well. Leaves no process behind.

    Raises KeyboardInterrupt at SIGINT and SIGTERM alike, after everything was stopped, and DemoFailed.
    """
    with _interruptible(), ExitStack() as stack:
        stack.callback(_end_children)
        stack.enter_context(_database_server())
        with console.status(f"Starting a simulated Salesforce org with {show.records:,} records …"):
            simulator = stack.enter_context(
                running_simulator(records=show.records, bad=show.bad, seed=show.seed, process=True)
            )
        with console.status("Starting the web site and two workers …"):
            project = _project(salesforce_reach(simulator.ready))
            site = _site(stack, show.port)
            stack.enter_context(_manage("run_workers", "--grace", "3"))
        run = runs.start_run(project)
        _invite(run, site, console)
        figures = _follow(run, console)
        _tell(figures, console)
        if not show.once:
            console.print("\nThe site stays up. Press Ctrl-C to stop.")
            signal.pause()
        return figures.good


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the demo as cleanly as Ctrl-C does, and while it is ending neither disturbs it."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def end(*_: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    earlier = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _end_children() -> None:
    """Whatever of ours is left: a signal may arrive between the start of a process and noting it down."""
    left = psutil.Process().children(recursive=True)
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=STOP_SECONDS)


# --- Database ---------------------------------------------------------------------------------------------------


@contextmanager
def _database_server() -> Iterator[None]:
    """Stop the embedded server afterwards, unless somebody else is connected to it."""
    try:
        yield
    finally:
        if settings.EMBEDDED_DATABASE and not _others_stay_connected():
            connection.close()
            embedded.stop(settings.VAR_DIR)


def _others_stay_connected() -> bool:
    deadline = time.monotonic() + LAST_BACKENDS_SECONDS
    while _others_connected():
        if time.monotonic() > deadline:
            return True
        time.sleep(0.1)
    return False


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


# --- Processes --------------------------------------------------------------------------------------------------


def _site(stack: ExitStack, wanted_port: int) -> Site:
    """Start the web site and return when it listens; raises DemoFailed where it ends instead."""
    port = _free_port(wanted_port)
    site = Site(f"http://127.0.0.1:{port}", _user())
    server = stack.enter_context(_manage("runserver", f"127.0.0.1:{port}", "--noreload"))
    deadline = time.monotonic() + WEB_SECONDS
    while not _listens(port):
        if server.poll() is not None or time.monotonic() > deadline:
            raise DemoFailed(f"The web site did not start; {_log('runserver')} tells why.")
        time.sleep(0.1)
    return site


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        # As the web server does: a port in TIME_WAIT, just left by an earlier demo, is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _log(command: str) -> Path:
    return Path(settings.VAR_DIR) / f"{command}.log"


@contextmanager
def _manage(*command: str) -> Iterator["subprocess.Popen[bytes]"]:
    """``manage.py …`` as a child in a session of its own, which is ended with all that it started."""
    with _log(command[0]).open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, str(settings.BASE_DIR / "manage.py"), *command],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _end_children_of(child.pid)
            child.wait()


def _end_children_of(pid: int) -> None:
    """Kill the process and its descendants: workers have a session of their own."""
    process = psutil.Process(pid)
    for each in [*process.children(recursive=True), process]:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue


# --- Telling ----------------------------------------------------------------------------------------------------


def _invite(run: Run, site: Site, console: Console) -> None:
    page = site.page("admin:runs_run_change", run.pk)
    lines = Table.grid(padding=(0, 2))
    lines.add_row("Watch it", f"[link={page}]{page}[/link]")
    lines.add_row("Log in as", f"[bold]{USERNAME}[/bold] with password [bold]{site.password}[/bold]")
    console.print(Panel(lines, title="Migration Factory", title_align="left", border_style="blue", expand=False))


def _follow(run: Run, console: Console) -> reports.RunFigures:
    """Show the run's progress until it needs no worker any more."""
    phase, name = TextColumn("[dim]{task.fields[phase]}"), TextColumn("{task.description}")
    bars = Progress(name, BarColumn(bar_width=36), MofNCompleteColumn(), phase, console=console)
    tasks: dict[int, TaskID] = {}
    with Live(bars, console=console, refresh_per_second=8) as live:
        while True:
            shown = progress_of(Run.objects.get(pk=run.pk))
            _draw(shown, bars, tasks)
            if shown.run.state not in OPEN:
                live.update(bars)
                return reports.figures(run)
            live.update(Group(bars, f"[dim]{shown.sentence}[/dim]"))
            time.sleep(POLL_SECONDS)


def _draw(shown: RunProgress, bars: Progress, tasks: dict[int, TaskID]) -> None:
    for item in shown.objects:
        if item.step_id not in tasks:
            tasks[item.step_id] = bars.add_task(f"{item.source} → {item.target}", total=None, phase="")
        bars.update(tasks[item.step_id], completed=item.loaded, total=item.total, phase=item.phase)


def _tell(figures: reports.RunFigures, console: Console) -> None:
    tone = "green" if figures.good else "red"
    console.print(f"\n[{tone}]{figures.reason}[/{tone}]")
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for name in COLUMNS:
        table.add_column(name, justify="right", style=TONES.get(name))
    for item in figures.objects:
        table.add_row(f"{item.source} → {item.target}", *(_count(getattr(item, name)) for name in COLUMNS))
    table.add_row("[bold]all[/bold]", *(f"[bold]{_count(figures.totals[name])}[/bold]" for name in COLUMNS))
    console.print(table)
    found = figures.reconcile
    console.print(
        f"Read back {found.records:,} records and compared {found.fields:,} fields: "
        f"{found.missing:,} missing, {found.mismatches:,} different. "
        f"{figures.api_calls:,} requests in {figures.seconds:.1f} s."
    )


def _count(number: int) -> str:
    return f"{number:,}" if number else "–"
