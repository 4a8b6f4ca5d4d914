"""Running simulated orgs: in the foreground, in a thread of a test, or as a process of their own.

Several orgs of one process share its threads and nothing else: each has a port, records, users, tokens and limits of
its own, and ids that no other has.
"""

import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.salesforce.app import Simulator
from sandbox.salesforce.apps import PLATFORM_CLI
from sandbox.salesforce.build import Contents, build
from sandbox.salesforce.org import Org
from sandbox.salesforce.serve import Connections, listening_socket
from sandbox.salesforce.store import Store
from sandbox.salesforce.tls import Certificates, make_certificates

HOST = "127.0.0.1"
START_SECONDS = 300
STOP_SECONDS = 20
KEEP_ALIVE_SECONDS = 75
"""Clients that ask for a job's state every five seconds must not find their connection closed at that very moment."""


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
        # A connection of its own for each request: one that was kept may be closed while we write to it.
        single = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(base_url=ready.url, verify=verify, timeout=60, trust_env=False, limits=single)

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

    def log_in(self, user: str) -> dict[str, str]:
        """A session of the user of that id or name: access_token, refresh_token, sfdx_auth_url, password, user_id."""
        return dict(self._ask("POST", "/_sandbox/sessions", {"user": user}))

    def set_access(self, name: str, field: str, access: str, profile: str = "") -> None:
        """Say whether a field is not to be seen (``none``), only to be read (``read``) or all (``edit``), for everybody
        or for the users of a profile, to whom permission sets may still give it."""
        self._ask("PATCH", f"/_sandbox/fields/{name}/{field}", {"access": access, "profile": profile})

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


def serve(orgs: Sequence[Contents], *, port: int, tls: bool, announce: Callable[[Ready], None]) -> None:
    """Build the orgs and serve them until SIGTERM or SIGINT; ``announce`` is called for each once all answer.

    They listen at ``port`` and the ports after it, or at free ones for 0. Both signals leave by way of SystemExit(0),
    also while an org is still being built, so that its files go too: uvicorn stops serving at a signal and then raises
    it once more for the handler that was there before.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    with _served(orgs, port=port, tls=tls) as served:
        served.server.announce = lambda: served.announced(announce)
        served.run()


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
    with running_simulators(contents, tls=tls, process=process) as (running,):
        yield running


@contextmanager
def running_simulators(*orgs: Contents, tls: bool = False, process: bool = False) -> Iterator[list[Running]]:
    """Several orgs in one thread, or in one process, for the duration; in the order given."""
    with _in_process(orgs, tls=tls) if process else _in_thread(orgs, tls=tls) as every, ExitStack() as stack:
        running = [Running(ready, ControlClient(ready)) for ready in every]
        for each in running:
            stack.callback(each.control.close)
        yield running


class _Server(uvicorn.Server):
    """uvicorn's server, telling once it listens."""

    announce: Callable[[], None] = staticmethod(lambda: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.announce()


@dataclass(frozen=True, slots=True)
class _Served:
    """A server that does not run yet, the sockets it will listen on, and what each org's clients need."""

    server: _Server
    bound: list[socket.socket]
    ready: list[Ready]

    def run(self) -> None:
        self.server.run(sockets=self.bound)

    def announced(self, announce: Callable[[Ready], None]) -> None:
        for ready in self.ready:
            announce(ready)


def _by_port(orgs: Mapping[int, Simulator]) -> ASGIApp:
    """One application for orgs that are told apart by the port a request came to."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await orgs[scope["server"][1]].app(scope, receive, send)

    return application


@contextmanager
def _served(orgs: Sequence[Contents], *, port: int, tls: bool) -> Iterator[_Served]:
    connections = Connections()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="salesforce-sandbox-tls-"))
        ports = [port + number if port else 0 for number in range(len(orgs))]
        bound = [stack.enter_context(listening_socket(HOST, each)) for each in ports]
        certificates = make_certificates(Path(folder)) if tls else None
        simulators = []
        for number, contents in enumerate(orgs):
            simulators.append(build(contents, hang_up=connections.hang_up, number=number))
            stack.callback(simulators[-1].close)
        config = uvicorn.Config(
            _by_port(dict(zip((each.getsockname()[1] for each in bound), simulators, strict=True))),
            http=connections.protocol(),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=3,
            ssl_certfile=certificates.certificate if certificates else None,
            ssl_keyfile=str(certificates.key) if certificates else None,
        )
        scheme = "https" if certificates else "http"
        ready = [
            _ready(each.org, each.store, scheme, f"{HOST}:{taken.getsockname()[1]}", certificates)
            for each, taken in zip(simulators, bound, strict=True)
        ]
        yield _Served(_Server(config), bound, ready)


def _ready(org: Org, store: Store, scheme: str, address: str, certificates: Certificates | None) -> Ready:
    credentials = org.credentials
    counts = {each.name: store.count(each) for each in store.schema}
    return Ready(
        url=f"{scheme}://{address}",
        client_id=credentials.client_id,
        client_secret=credentials.client_secret,
        access_token=org.new_token(org.user_id),
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
def _in_thread(orgs: Sequence[Contents], *, tls: bool) -> Iterator[list[Ready]]:
    with _served(orgs, port=0, tls=tls) as served:
        listening = threading.Event()
        served.server.announce = listening.set
        thread = threading.Thread(target=served.run, name="salesforce-sandbox", daemon=True)
        thread.start()
        try:
            if not listening.wait(START_SECONDS):
                raise RuntimeError("The simulator did not begin to listen; see its log for why.")
            yield served.ready
        finally:
            served.server.should_exit = True
            thread.join(STOP_SECONDS)


@contextmanager
def _in_process(orgs: Sequence[Contents], *, tls: bool) -> Iterator[list[Ready]]:
    options = [f"--org={_spelled(contents)}" for contents in orgs] + (["--tls"] if tls else [])
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "sandbox.salesforce", "--attended", *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=root) as process:
        try:
            yield [_announced(process) for _ in orgs]
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _spelled(contents: Contents) -> str:
    """An org as ``--org`` takes it."""
    folder = [f"data={contents.data.resolve()}"] if contents.data else []
    return ",".join([f"records={contents.records}", f"seed={contents.seed}", f"bad={contents.bad}", *folder])


def _announced(process: "subprocess.Popen[bytes]") -> Ready:
    """A line a simulator prints when it is ready; raises RuntimeError with its own words where it ended instead."""
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("The simulator's output is not connected.")
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"The simulator did not start: {process.stderr.read().decode(errors='replace').strip()}")
    return Ready(**orjson.loads(line))
