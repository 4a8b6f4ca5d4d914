"""The fault proxy does to a connection what it says, and nothing to the others."""

import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest

from sandbox.faults.proxy import HOST, Harm, Kind, Proxy, Upstream

PATIENCE = 5.0
SILENCE = 0.2


class Echo(socketserver.BaseRequestHandler):
    """Says every piece back, and notes what has come."""

    heard: list[bytes]

    def handle(self) -> None:
        try:
            while piece := self.request.recv(65536):
                self.heard.append(piece)
                self.request.sendall(piece)
        except OSError:
            return


@pytest.fixture
def heard() -> list[bytes]:
    return []


@pytest.fixture
def proxy(heard: list[bytes]) -> Iterator[Proxy]:
    handler = type("Handler", (Echo,), {"heard": heard})
    with socketserver.ThreadingTCPServer((HOST, 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            with Proxy(Upstream(port=server.server_address[1])) as proxy:
                yield proxy
        finally:
            server.shutdown()


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), timeout=PATIENCE)


def said(client: socket.socket, words: bytes) -> bytes:
    client.sendall(words)
    return listened(client, len(words))


def listened(client: socket.socket, count: int) -> bytes:
    """That many bytes, or fewer where the answers end."""
    found = b""
    while len(found) < count and (piece := client.recv(count - len(found))):
        found += piece
    return found


def test_passes_everything_on_where_nothing_is_armed(proxy: Proxy) -> None:
    with connect(proxy) as client:
        words = bytes(range(256)) * 2_000
        threading.Thread(target=client.sendall, args=[words]).start()
        assert listened(client, len(words)) == words


@pytest.mark.parametrize("after", [0, 3])
def test_cut_ends_tidily_after_so_many_bytes(proxy: Proxy, after: int) -> None:
    with connect(proxy) as client:
        assert said(client, b"before") == b"before"
        proxy.arm(Harm(Kind.CUT, after=after))
        assert said(client, b"words") == b"words"[:after]
        assert proxy.struck == 1
    with connect(proxy) as client:
        assert said(client, b"again") == b"again"


def test_reset_is_no_tidy_end(proxy: Proxy) -> None:
    with connect(proxy) as client:
        proxy.arm(Harm(Kind.RESET, after=2))
        client.sendall(b"words")
        with pytest.raises(ConnectionResetError):
            listened(client, 10)


def test_half_close_still_takes_what_the_client_sends(proxy: Proxy, heard: list[bytes]) -> None:
    with connect(proxy) as client:
        proxy.arm(Harm(Kind.HALF_CLOSE, after=2))
        assert said(client, b"words") == b"wo"
        client.sendall(b"more")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(10) == b""
        until_heard(heard, b"wordsmore")


def until_heard(heard: list[bytes], words: bytes) -> None:
    waited = threading.Event()
    for _ in range(100):
        if b"".join(heard) == words:
            return
        waited.wait(0.05)
    raise AssertionError(heard)


def test_a_black_hole_says_nothing(proxy: Proxy, heard: list[bytes]) -> None:
    with connect(proxy) as client, connect(proxy) as other:
        assert said(client, b"one") == b"one"
        proxy.arm(Harm(Kind.BLACK_HOLE, after=0))
        client.sendall(b"two")
        client.settimeout(SILENCE)
        with pytest.raises(TimeoutError):
            client.recv(10)
        client.sendall(b"three")
        with pytest.raises(TimeoutError):
            client.recv(10)
        assert b"three" not in b"".join(heard)
        assert said(other, b"other") == b"other"


def test_the_answer_to_a_request_is_lost_after_it_was_carried_out(proxy: Proxy, heard: list[bytes]) -> None:
    with connect(proxy) as client, connect(proxy) as other:
        proxy.arm(Harm(Kind.DROP_ANSWER, needle=b"COMMIT"))
        assert said(other, b"SELECT") == b"SELECT"
        client.sendall(b"COMMIT")
        with pytest.raises(ConnectionResetError):
            client.recv(10)
        assert b"COMMIT" in heard
        assert said(other, b"COMMIT") == b"COMMIT"


def test_delay_and_silence_end_when_disarmed(proxy: Proxy) -> None:
    with connect(proxy) as client:
        client.settimeout(SILENCE)
        proxy.silence()
        client.sendall(b"words")
        with pytest.raises(TimeoutError):
            client.recv(10)
        proxy.disarm()
        client.settimeout(PATIENCE)
        assert listened(client, 5) == b"words"
        proxy.delay(4 * SILENCE)
        client.settimeout(SILENCE)
        client.sendall(b"late")
        with pytest.raises(TimeoutError):
            client.recv(10)
        client.settimeout(PATIENCE)
        assert listened(client, 4) == b"late"


def test_reset_all_reaches_every_connection(proxy: Proxy) -> None:
    with connect(proxy) as one, connect(proxy) as two:
        assert (said(one, b"1"), said(two, b"2")) == (b"1", b"2")
        assert proxy.reset_all() == 2
        for client in (one, two):
            with pytest.raises(ConnectionResetError):
                client.recv(1)


def test_nobody_behind_it_is_a_reset(unused_port: int) -> None:
    # The reset may come as early as the connection.
    with Proxy(Upstream(port=unused_port)) as proxy, pytest.raises(ConnectionResetError), connect(proxy) as client:
        client.recv(1)


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return int(taken.getsockname()[1])
