"""The other ways to load the same file: raw COPY of what our mapping made of it, and the library dlt."""

import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

import orjson
from django.conf import settings

from migration_factory import scratch
from migration_factory.bench.engine import BenchFailed

MAPPED = (
    "tenant_id, external_id, name, account_number, type, status, industry, phone, fax, website, billing_address, "
    "annual_revenue, employees, source_created_at, source_updated_at"
)
"""The columns of ``accounts`` that our mapping and the org's tenant fill."""
PIECE = 1 << 20
DLT_PYTHON = Path(".venv-bench") / "bin" / "python"
DLT_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class DltLoaded:
    seconds: float
    version: str


def export_mapped(database: str, file: Path) -> None:
    """Keep the mapped rows of ``accounts`` as text that COPY reads, in the order of the source."""
    with scratch.connect(database) as server, file.open("wb") as out:
        query = f"COPY (SELECT {MAPPED} FROM accounts ORDER BY external_id) TO STDOUT"  # noqa: S608 - our own columns
        with server.cursor().copy(query.encode()) as copy:
            out.writelines(copy)


def raw_copy(mapped: Path, database: str, *, rows: int) -> float:
    """Seconds that one COPY of all rows in one transaction takes into an empty ``accounts`` with its indexes."""
    with scratch.connect(database) as server, mapped.open("rb") as file:
        started = time.perf_counter()
        with server.transaction(), server.cursor() as cursor:
            with cursor.copy(f"COPY accounts ({MAPPED}) FROM STDIN".encode()) as copy:
                while piece := file.read(PIECE):
                    copy.write(piece)
            loaded = cursor.rowcount
        seconds = time.perf_counter() - started
    if loaded != rows:
        raise BenchFailed(f"COPY loaded {loaded:,} rows, not {rows:,}.")
    return seconds


def dlt_installed() -> bool:
    return (settings.BASE_DIR / DLT_PYTHON).exists()


def dlt(mode: str, file: Path, database: str, *, rows: int) -> DltLoaded:
    """Load the file by key with dlt, from Python ``rows`` or from ``arrow`` batches, into a table of its own making.

    ``mode`` ends in ``tuned`` for the settings that dlt's own pages advise; else dlt is as it comes.

    Raises BenchFailed where it does not load every row.
    """
    return _dlt("dlt_load.py", mode, [str(file)], database, rows)


def dlt_rest(mode: str, what: Sequence[str], database: str, *, rows: int) -> DltLoaded:
    """Load a REST query's pages by key with dlt's ``rest_api`` source into a table of its own making.

    ``what`` is address, token, path and query; ``mode`` is blank, or ``tuned`` as in ``dlt``. Raises BenchFailed.
    """
    return _dlt("dlt_rest.py", mode, what, database, rows)


def _dlt(name: str, mode: str, what: Sequence[str], database: str, rows: int) -> DltLoaded:
    script = Path(__file__).with_name(name)
    with tempfile.TemporaryDirectory(prefix="bench-dlt-") as work:
        command = [str(settings.BASE_DIR / DLT_PYTHON), str(script), *mode.split(), *what, _address(database), work]
        done = subprocess.run(command, capture_output=True, check=False, timeout=DLT_SECONDS, cwd=work)
    if done.returncode:
        raise BenchFailed(f"dlt failed ({mode or 'as it comes'}): {done.stderr.decode(errors='replace')[-2000:]}")
    said = orjson.loads(done.stdout.splitlines()[-1])
    if said["rows"] != rows:
        raise BenchFailed(f"dlt loaded {said['rows']:,} rows, not {rows:,}.")
    return DltLoaded(said["seconds"], said["version"])


def _address(database: str) -> str:
    """The database as an address; the host may be the folder of a Unix socket, hence a parameter.

    dlt insists on a password, even where the server asks for none.
    """
    known = scratch.connection_settings(database)
    secret = scratch.password().get("password", "none")
    login = f"{quote(known['user'], safe='')}:{quote(secret, safe='')}"
    place = urlencode({"host": known["host"], "port": known["port"]})
    return f"postgresql://{login}@localhost/{quote(database)}?{place}"
