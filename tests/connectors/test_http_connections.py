"""Real connections on loopback: the socket goes to the checked address, the request keeps its name."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from connectors.context import LOOPBACK, Context, Network
from connectors.errors import SettingsInvalid
from connectors.http import HttpClient, NotReached
from connectors.testing import VirtualClock


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f'{{"host": "{self.headers["Host"]}", "agent": "{self.headers["User-Agent"]}"}}'.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def listening() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def client(port: int) -> HttpClient:
    context = Context(clock=VirtualClock(), network=Network(allowed_networks=LOOPBACK))
    return HttpClient(context, f"http://acme.test:{port}", system="Acme")


def test_the_first_address_that_answers_is_used_under_the_hosts_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def addresses(host: str, *_: object) -> tuple[str, ...]:
        asked.append(host)
        return ("127.0.0.2", "127.0.0.1")

    monkeypatch.setattr("connectors.transport.reachable_addresses", addresses)
    with listening() as port:
        http = client(port)
        found = [http.get("/x").object() for _ in range(3)]
        http.close()
    assert {one["host"] for one in found} == {f"acme.test:{port}"}
    assert found[0]["agent"].startswith("migration-factory/")
    assert asked == ["acme.test"], "resolved once, so that a second answer of the resolver changes nothing"


def test_a_host_nobody_listens_on_is_resolved_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def addresses(host: str, *_: object) -> tuple[str, ...]:
        asked.append(host)
        return ("127.0.0.1",)

    with listening() as port:
        free = port
    monkeypatch.setattr("connectors.transport.reachable_addresses", addresses)
    http = client(free)
    with pytest.raises(NotReached, match="Acme could not be reached"):
        http.get("/x")
    http.close()
    assert len(asked) == http.calls == 5


def test_the_metadata_address_is_refused_even_where_loopback_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("169.254.169.254", 80))])
    http = client(80)
    with pytest.raises(SettingsInvalid, match=r"169\.254\.169\.254"):
        http.get("/latest/meta-data")
    http.close()
