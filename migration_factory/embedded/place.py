"""Where one embedded server keeps its things, how it is reached, and the error of one that cannot run."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from psycopg.conninfo import make_conninfo

ROLE = "migration_factory"
PORT = "5432"  # names the socket only; said everywhere, so that PGPORT in someone's shell changes nothing
SOCKET_PATH_LIMIT = 100  # the kernel's is 104 (macOS) or 108 (Linux)


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


def unwritable(place: Place, error: OSError) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"The embedded database needs to write in {place.var} and cannot ({error.strerror}: {error.filename}); "
        "make it writable, point MF_VAR_DIR elsewhere, or set DATABASE_URL to a server of your own."
    )
