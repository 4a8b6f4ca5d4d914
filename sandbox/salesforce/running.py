"""Running a simulator: in the foreground, in a thread of a test, or as a process of its own."""

import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import uvicorn

from sandbox.salesforce.apps import PLATFORM_CLI
from sandbox.salesforce.build import Contents, build
from sandbox.salesforce.org import Org
from sandbox.salesforce.serve import Connections, listening_socket
from sandbox.salesforce.store import Store
from sandbox.salesforce.tls import Certificates, make_certificates

HOST = "127.0.0.1"
START_SECONDS = 300
STOP_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything a client needs; printed as one line of JSON at start. ``password`` already has the security token
    behind it. ``sfdx_auth_url`` implies https, so it is only of use with TLS. ``ca_file`` is empty without TLS."""

    url: str
    client_id: str
    client_secret: str
    access_token: str
    refresh_token: str
    app_refresh_token: str
    sfdx_auth_url: str
    username: str
    password: str
    org_id: str
    user_id: str
    ca_file: str
    records: dict[str, int]


class ControlClient:
    """The control API of a running simulator (``/_sandbox/…``), for tests and rehearsals."""

    def __init__(self, ready: Ready) -> None:
        # Without TLS a bare context will do; httpx would otherwise load every public CA.
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        verify = ssl.create_default_context(cafile=ready.ca_file) if ready.ca_file else bare
        self._http = httpx.Client(base_url=ready.url, verify=verify, timeout=60, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def status(self) -> dict[str, Any]:
        return dict(self._ask("GET", "/_sandbox"))

    def bad(self) -> list[dict[str, Any]]:
        """The deliberately bad records: id, object, kind, field, value."""
        return list(self._ask("GET", "/_sandbox/bad"))

    def calls(self) -> dict[str, int]:
        """How often each resource was called since the start or ``reset_calls``, by method and path."""
        return dict(self._ask("GET", "/_sandbox/calls")["calls"])

    def reset_calls(self) -> None:
        self._ask("DELETE", "/_sandbox/calls")

    def dump(self, name: str) -> list[dict[str, Any]]:
        """Every record of an object outside the bin, with all columns as they are stored."""
        return list(self._ask("GET", f"/_sandbox/records/{name}")["records"])

    def upsert(self, name: str, records: Sequence[Mapping[str, object]]) -> list[str]:
        """Add records, or change those whose Id is there already; returns their ids."""
        return list(self._ask("POST", f"/_sandbox/records/{name}", {"records": list(records)})["ids"])

    def delete(self, name: str, record_ids: Sequence[str]) -> int:
        """Put records into the bin; returns how many."""
        return int(self._ask("DELETE", f"/_sandbox/records/{name}", {"ids": list(record_ids)})["deleted"])

    def fault(self, kind: str, **rule: object) -> None:
        """Add a fault rule; see ``docs/sandbox.md`` for kinds and keys."""
        self._ask("POST", "/_sandbox/faults", {"kind": kind, **rule})

    def faults(self) -> list[dict[str, Any]]:
        return list(self._ask("GET", "/_sandbox/faults"))

    def clear_faults(self, seed: int = 0) -> None:
        self._ask("DELETE", f"/_sandbox/faults?seed={seed}")

    def change_settings(self, **settings: int) -> dict[str, int]:
        """Change settings; ``docs/sandbox.md`` lists them."""
        return dict(self._ask("PATCH", "/_sandbox/settings", settings))

    def expire_tokens(self) -> None:
        self._ask("DELETE", "/_sandbox/tokens")

    def expire_cursors(self) -> None:
        self._ask("DELETE", "/_sandbox/cursors")

    def fail_job(self, job_id: str, message: str) -> None:
        self._ask("POST", f"/_sandbox/jobs/{job_id}/fail", {"message": message})

    def define(self, *objects: Mapping[str, object]) -> list[str]:
        """Add objects, fields, record types or validation rules, given as metadata with the vendor's names."""
        return list(self._ask("POST", "/_sandbox/objects", list(objects))["objects"])

    def set_access(self, name: str, field: str, access: str) -> None:
        """Say whether the user may not see a field (``none``), only read it (``read``) or all (``edit``)."""
        self._ask("PATCH", f"/_sandbox/fields/{name}/{field}", {"access": access})

    def add_rule(self, name: str, /, **rule: object) -> None:
        """Make an object refuse records: name, formula or where, message, code, field, on, active, alert."""
        self._ask("POST", f"/_sandbox/rules/{name}", rule)

    def rules(self) -> dict[str, Any]:
        """The rules in force, and those of a data set that were skipped, with the reason."""
        return dict(self._ask("GET", "/_sandbox/rules"))

    def remove_rules(self, name: str, rule: str | None = None) -> None:
        """Remove one rule of an object, or all of them."""
        self._ask("DELETE", f"/_sandbox/rules/{name}" + (f"?name={rule}" if rule else ""))

    def lock(self, record_ids: Sequence[str], refusals: int | None = None) -> None:
        """Hold records as somebody else would, until so many rows were refused or ``unlock``."""
        self._ask("POST", "/_sandbox/locks", {"ids": list(record_ids), "refusals": refusals})

    def locks(self) -> dict[str, int | None]:
        return dict(self._ask("GET", "/_sandbox/locks"))

    def unlock(self) -> None:
        self._ask("DELETE", "/_sandbox/locks")

    def set_permissions(self, *names: str) -> None:
        """The custom permissions the user has from now on (``$Permission.X`` in rules)."""
        self._ask("PUT", "/_sandbox/permissions", list(names))

    def set_assignment(self, name: str, rule: Mapping[str, object] | None) -> None:
        """Give an object an assignment rule with id, owner and perhaps active; None takes it away."""
        self._ask("PUT", f"/_sandbox/assignment/{name}", rule or {})

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        content = None if body is None else orjson.dumps(body)
        answer = self._http.request(method, path, content=content)
        if answer.is_error:
            raise ValueError(f"{method} {path} was refused: {answer.text}")
        return answer.json()


@dataclass(frozen=True, slots=True)
class Running:
    ready: Ready
    control: ControlClient

    @property
    def url(self) -> str:
        return self.ready.url


def serve(contents: Contents, *, port: int, tls: bool, announce: Callable[[Ready], None]) -> None:
    """Build the org and serve it until SIGTERM or SIGINT; ``announce`` is called once it answers.

    Both signals leave by way of SystemExit(0), also while the org is still being built, so that its files go too:
    uvicorn stops serving at a signal and then raises it once more for the handler that was there before.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    with _served(contents, port=port, tls=tls) as (server, bound, ready):
        server.announce = lambda: announce(ready)
        server.run(sockets=[bound])


def _leave(_: int, __: object) -> None:
    raise SystemExit(0)


@contextmanager
def running_simulator(
    *,
    data: Path | None = None,
    records: int = 0,
    seed: int = 1,
    bad: int = 0,
    tls: bool = False,
    process: bool = False,
) -> Iterator[Running]:
    """A simulator on a free port for the duration: in a thread, or in a process of its own with ``process``."""
    contents = Contents(records=records, seed=seed, bad=bad, data=data)
    running = _in_process(contents, tls=tls) if process else _in_thread(contents, tls=tls)
    with running as ready:
        control = ControlClient(ready)
        try:
            yield Running(ready, control)
        finally:
            control.close()


class _Server(uvicorn.Server):
    """uvicorn's server, telling once it listens."""

    announce: Callable[[], None] = staticmethod(lambda: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.announce()


@contextmanager
def _served(contents: Contents, *, port: int, tls: bool) -> Iterator[tuple["_Server", socket.socket, Ready]]:
    connections = Connections()
    with tempfile.TemporaryDirectory(prefix="salesforce-sandbox-tls-") as folder, listening_socket(HOST, port) as bound:
        certificates = make_certificates(Path(folder)) if tls else None
        simulator = build(contents, hang_up=connections.hang_up)
        try:
            config = uvicorn.Config(
                simulator.app,
                http=connections.protocol(),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=3,
                ssl_certfile=certificates.certificate if certificates else None,
                ssl_keyfile=str(certificates.key) if certificates else None,
            )
            scheme = "https" if certificates else "http"
            address = f"{HOST}:{bound.getsockname()[1]}"
            ready = _ready(simulator.org, simulator.store, scheme, address, certificates)
            yield _Server(config), bound, ready
        finally:
            simulator.close()


def _ready(org: Org, store: Store, scheme: str, address: str, certificates: Certificates | None) -> Ready:
    credentials = org.credentials
    counts = {each.name: store.count(each) for each in store.schema}
    return Ready(
        url=f"{scheme}://{address}",
        client_id=credentials.client_id,
        client_secret=credentials.client_secret,
        access_token=org.new_token(),
        refresh_token=credentials.refresh_token,
        app_refresh_token=credentials.app_refresh_token,
        sfdx_auth_url=f"force://{PLATFORM_CLI}::{credentials.refresh_token}@{address}",
        username=credentials.username,
        password=credentials.password + credentials.security_token,
        org_id=org.org_id,
        user_id=org.user_id,
        ca_file=str(certificates.authority) if certificates else "",
        records={name: count for name, count in sorted(counts.items()) if count},
    )


@contextmanager
def _in_thread(contents: Contents, *, tls: bool) -> Iterator[Ready]:
    with _served(contents, port=0, tls=tls) as (server, bound, ready):
        listening = threading.Event()
        server.announce = listening.set
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [bound]}, name="salesforce-sandbox", daemon=True
        )
        thread.start()
        try:
            if not listening.wait(START_SECONDS):
                raise RuntimeError("The simulator did not begin to listen; see its log for why.")
            yield ready
        finally:
            server.should_exit = True
            thread.join(STOP_SECONDS)


@contextmanager
def _in_process(contents: Contents, *, tls: bool) -> Iterator[Ready]:
    options = [f"--records={contents.records}", f"--seed={contents.seed}", f"--bad={contents.bad}"]
    options += [f"--data={contents.data}"] if contents.data else []
    options += ["--tls"] if tls else []
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "sandbox.salesforce", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root) as process:
        try:
            yield _announced(process)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _announced(process: "subprocess.Popen[bytes]") -> Ready:
    """The line a simulator prints when it is ready; raises RuntimeError with its own words where it ended instead."""
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("The simulator's output is not connected.")
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"The simulator did not start: {process.stderr.read().decode(errors='replace').strip()}")
    return Ready(**orjson.loads(line))
