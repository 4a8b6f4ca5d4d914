"""Serving an org over HTTP or HTTPS with uvicorn, with connections that a fault can reset."""

import asyncio
import socket
import struct

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol


class Connections:
    """Open connections by the addresses of both ends, so that a fault can reset the one a request came on."""

    def __init__(self) -> None:
        self._open: dict[tuple[object, object], asyncio.Transport] = {}

    def hang_up(self, scope: Scope) -> None:
        """Reset the connection: the client sees ECONNRESET, not a tidy end."""
        transport = self._open.get((tuple(scope["client"]), tuple(scope["server"])))
        if transport is None:
            return
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def protocol(self) -> type[H11Protocol]:
        """uvicorn's HTTP protocol, noting each connection here."""
        connections = self._open

        class Noted(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
                super().connection_made(transport)
                connections[self.client, self.server] = transport

            def connection_lost(self, exc: Exception | None) -> None:
                connections.pop((self.client, self.server), None)
                super().connection_lost(exc)

        return Noted


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket (port 0 takes a free one), so that its number is known before serving starts."""
    # asyncio sets TCP_NODELAY only where the protocol is named; without it every answer waits 40 ms.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    return bound
