"""Making a server's data folder and starting the server in it."""

import fcntl
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from migration_factory.embedded.account import Account, binary, size_of
from migration_factory.embedded.place import PORT, ROLE, DatabaseUnavailable, Place, unwritable
from migration_factory.embedded.processes import end_processes

MINIMUM_FREE_BYTES = 200 * 1024**2  # a new data folder takes about 40 MB, its first WAL segments the rest
START_SECONDS = 120  # crash recovery of a full max_wal_size on a slow disk

CONFIGURATION = """\
# Written at every start by migration_factory/embedded/start.py: changes here are lost.
# ALTER SYSTEM SET … keeps settings of your own, in postgresql.auto.conf.
listen_addresses = ''
port = {port}
unix_socket_directories = {socket}
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = {buffers}MB
effective_cache_size = {cache}MB
work_mem = 32MB
maintenance_work_mem = 256MB
max_wal_size = 4GB
min_wal_size = 512MB
checkpoint_timeout = 15min
checkpoint_completion_target = 0.9
timezone = 'UTC'
log_timezone = 'UTC'
# Statements and DETAIL lines quote customers' values: they stay out of the log.
log_error_verbosity = terse
log_min_error_statement = panic
log_checkpoints = off
"""
DISPOSABLE = """\
# A server whose data nobody will miss after a power cut: tests. A killed server still loses nothing.
fsync = off
full_page_writes = off
# Little is in it, and every table that is dropped looks through all buffers.
shared_buffers = 128MB
"""


def start_server(place: Place, *, disposable: bool) -> None:
    """Start the server of ``place``, its folders made and mended first. The caller holds the lock; raises
    DatabaseUnavailable."""
    configuration = CONFIGURATION + DISPOSABLE if disposable else CONFIGURATION
    server = Account.of(place)
    server.check_access()
    end_processes(place)
    try:
        _prepare_data(place, server, ["--no-sync"] if disposable else [])
        _prepare_socket(place, server)
        with os.fdopen(server.open("postgresql.conf"), "w", encoding="utf-8") as stream:
            stream.truncate()
            stream.write(configuration.format(port=PORT, socket=_quoted(place.socket), **_memory()))
        _rotate_log(place)
        with _claim(place, server) as claim:
            server.run("pg_ctl", ["start", "-w", "-t", str(START_SECONDS), "-l", str(place.log)], keep=[claim])
    except OSError as error:
        raise unwritable(place, error) from error


def _memory() -> dict[str, int]:
    """MiB of buffers and of what the system is expected to cache. A load of a million records writes half a
    gigabyte of tables and indexes: buffers that hold less are written out and read back while it goes on."""
    total = psutil.virtual_memory().total // 2**20
    return {"buffers": min(1024, max(128, total // 16)), "cache": total // 2}


def _quoted(path: Path) -> str:
    """One entry of a list of paths, in a line of postgresql.conf."""
    entry = str(path).replace('"', '""')
    return "'" + f'"{entry}"'.replace("'", "''") + "'"


def _rotate_log(place: Place) -> None:
    if size_of(place.log) > 10 * 1024**2:
        place.log.replace(place.log.with_suffix(".log.1"))


@contextmanager
def _claim(place: Place, server: "Account") -> Iterator[int]:
    """A lock every process of the new server inherits, so that the kernel knows whether one is left.

    Process lists and pid files say nothing about a server in another container on the same folder.
    """
    claim = server.open("in-use.lock")
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Nobody is left, so whatever these files say is history.
        for remains in (place.data / "postmaster.pid", place.socket_file, Path(f"{place.socket_file}.lock")):
            remains.unlink(missing_ok=True)
        yield claim
    except BlockingIOError as error:
        raise DatabaseUnavailable(
            f"A database server we cannot reach or see still uses {place.data}; stop it where it runs "
            "(another container?) and run again."
        ) from error
    finally:
        os.close(claim)


def _prepare_data(place: Place, server: "Account", options: Sequence[str]) -> None:
    """A complete data folder of our version at ``place.data``: built under another name, then renamed."""
    for left_over in place.var.glob("postgres.new-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    if (place.data / "global" / "pg_control").exists():
        _check_version(place)
        return
    if place.data.exists():
        # No control file: no server ever ran in it. Kept all the same, because we did not make it so.
        place.data.rename(Path(tempfile.mkdtemp(prefix="postgres.incomplete-", dir=place.var)) / "postgres")
    _check_space(place)
    new = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=place.var))
    server.own(new)
    # Collation by code point: the same order on every machine and after every upgrade of libc.
    collation = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    who = ["-U", ROLE, "-A", "trust"]
    server.run("initdb", [*who, "-E", "UTF8", *collation, "--no-instructions", *options], data=new)
    new.rename(place.data)


def _check_version(place: Place) -> None:
    try:
        found = (place.data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        found = "unknown"
    ours = subprocess.run([binary("postgres"), "--version"], capture_output=True, text=True, check=True).stdout
    if found != ours.split()[-1].split(".")[0]:
        raise DatabaseUnavailable(
            f"The data folder {place.data} is of PostgreSQL version {found} and the installed server is "
            f"{ours.strip()}; dump it with the version that made it, or move the folder away to start empty."
        )


def _check_space(place: Place) -> None:
    free = shutil.disk_usage(place.var).free
    if free < MINIMUM_FREE_BYTES:
        raise DatabaseUnavailable(
            f"Only {free // 1024**2} MB are free where {place.var} is and the embedded database needs "
            f"{MINIMUM_FREE_BYTES // 1024**2} MB to start with; free some space or point MF_VAR_DIR elsewhere."
        )


def _prepare_socket(place: Place, server: "Account") -> None:
    """The socket's folder, open to the server's user (and root) only; logins are by that alone."""
    place.socket.mkdir(mode=0o700, exist_ok=True)
    found = place.socket.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), server.uid}:
        raise DatabaseUnavailable(
            f"{place.socket}, meant for the database's socket, belongs to somebody else; remove it and run again."
        )
    place.socket.chmod(0o700)
    server.own(place.socket)
