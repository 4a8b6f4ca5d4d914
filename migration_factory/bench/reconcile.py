"""How fast reading everything back and comparing it is, beside reladiff over two tables that hold the same.

The engine migrates the accounts and reconciles; then a second table with the very rows is made and the library
reladiff compares the two, on one server in one run. reladiff compares values that are of one type in one
database; the engine opens its chunks, maps the source again, fetches, compares by rule, and keeps proofs.
"""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings

from migration_factory import scratch
from migration_factory.bench import engine
from migration_factory.bench.contest import DATABASE, TENANT
from migration_factory.bench.data import ENTITY, write_accounts
from migration_factory.bench.engine import BenchFailed
from migration_factory.bench.rivals import DLT_PYTHON, MAPPED

KEY = "id"
"""reladiff takes numbers for keys, and no texts like ours (``salesforce:001…``)."""
COMPARED = tuple(name for name in MAPPED.split(", ") if name != "billing_address")
"""reladiff knows no JSON columns."""
SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Compared:
    """``ratio`` is how many times as fast as reladiff the engine reconciles."""

    rows: int
    engine_seconds: float
    reladiff_seconds: float
    reladiff_version: str

    @property
    def ratio(self) -> float:
        return self.reladiff_seconds / self.engine_seconds


def compare(rows: int) -> Compared:
    """Measure both. Raises BenchFailed where either finds a difference or does not run."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        write_accounts(folder / f"{ENTITY}.csv", rows)
        scratch.create(DATABASE)
        try:
            tenant = scratch.install_product(DATABASE, tenant=TENANT)
            loaded = engine.load(folder, DATABASE, tenant, rows=rows)
            _second_table()
            said = _reladiff()
        finally:
            scratch.drop(DATABASE)
    if said["differences"]:
        raise BenchFailed(f"reladiff found {said['differences']:,} differences between two equal tables.")
    return Compared(rows, loaded.reconcile_seconds, said["seconds"], said["version"])


def _second_table() -> None:
    with scratch.connect(DATABASE) as server:
        server.execute(f"CREATE TABLE wanted AS SELECT {KEY}, {MAPPED} FROM accounts".encode())  # noqa: S608 - our own columns
        server.execute("ALTER TABLE wanted ADD PRIMARY KEY (id)")
        server.execute("ANALYZE accounts, wanted")


def _database() -> str:
    """The database as reladiff takes it; the host may be the folder of a Unix socket."""
    known = scratch.connection_settings(DATABASE)
    secret = scratch.password().get("password", "none")
    told = {name: known[name] for name in ("host", "port", "user", "database")}
    return orjson.dumps({"driver": "postgresql", **told, "password": secret}).decode()


def _reladiff() -> dict[str, Any]:
    script = Path(__file__).with_name("reladiff_run.py")
    command = [str(settings.BASE_DIR / DLT_PYTHON), str(script), _database(), KEY, ",".join(COMPARED)]
    done = subprocess.run([*command, "wanted", "accounts"], capture_output=True, check=False, timeout=SECONDS)
    if done.returncode:
        raise BenchFailed(f"reladiff failed: {done.stderr.decode(errors='replace')[-2000:]}")
    said: dict[str, Any] = orjson.loads(done.stdout.splitlines()[-1])
    return said
