"""A TCP proxy on loopback that harms what passes through it: cuts, resets, silence, delay and lost answers.

It knows no protocol. It stands before a simulator or a database (by TCP or by its Unix socket), so that what a
client lives through is what a network does, and not what a simulator thinks it would do.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

HOST: Final = "127.0.0.1"
PIECE: Final = 64 * 1024
START_SECONDS: Final = 10
_ABORT: Final = struct.pack("ii", 1, 0)


class Kind(StrEnum):
    CUT = "cut"
    """Both sides see a tidy end after ``after`` bytes of answers."""
    RESET = "reset"
    """Both sides see a reset after ``after`` bytes of answers."""
    HALF_CLOSE = "half_close"
    """The client's side of answers ends after ``after`` bytes; what it sends still arrives."""
    BLACK_HOLE = "black_hole"
    """From ``after`` bytes of answers on nothing passes either way, and nobody is told."""
    DROP_ANSWER = "drop_answer"
    """A request that contains ``needle`` arrives whole; its answer is swallowed and the connection reset."""


@dataclass(frozen=True, slots=True)
class Harm:
    """What befalls one connection: the first whose traffic fits, open already or yet to come.

    Bytes count from when the harm was armed, on each connection by itself.
    """

    kind: Kind
    after: int = 0
    needle: bytes = b""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where the proxy leads to: a port of a host, or a Unix socket."""

    host: str = HOST
    port: int = 0
    path: Path | None = None


@dataclass(eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    answered: int = 0
    """Bytes of answers passed on."""
    marks: dict[int, int] = field(default_factory=dict)
    """Harm, by its number → ``answered`` when it was armed, or when this connection began."""
    doomed: bool = False
    """The next answer is swallowed."""
    mute: bool = False


class Proxy:
    """A context manager; ``port`` is where to connect. Every method may be called from any thread."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._listening = threading.Event()
        self._open: set[_Connection] = set()
        self._armed: dict[int, Harm] = {}
        self._numbers = iter(range(1, 1 << 62))
        self._delay = 0.0
        self._passing = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.struck = 0
        """How many armed harms have befallen a connection."""

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listening.wait(START_SECONDS):
            raise RuntimeError("The fault proxy did not begin to listen.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_SECONDS)

    @property
    def waiting(self) -> int:
        """How many harms are armed and have not struck."""
        return len(self._armed)

    # What is done to the traffic ---------------------------------------------------------------------------

    def arm(self, harm: Harm) -> None:
        """Let it befall one connection, once."""
        self._do(lambda: self._arm(harm))

    def disarm(self) -> None:
        """Forget every harm that has not struck, end the delay, and let traffic pass again."""
        self._do(self._disarm)

    def delay(self, seconds: float) -> None:
        """Keep every piece of every answer back for so long, until ``disarm``."""
        self._do(lambda: setattr(self, "_delay", seconds))

    def silence(self) -> None:
        """Let nothing pass on any connection, until ``disarm``: what was held back arrives then."""
        self._do(self._passing.clear)

    def reset_all(self) -> int:
        """Reset every connection now; returns how many there were."""
        count = len(self._open)
        self._do(self._reset_open)
        return count

    def _do(self, what: Callable[[], object]) -> None:
        done = threading.Event()

        def run() -> None:
            what()
            done.set()

        self._loop.call_soon_threadsafe(run)
        done.wait(START_SECONDS)

    def _reset_open(self) -> None:
        for connection in list(self._open):
            self._reset(connection)

    def _arm(self, harm: Harm) -> None:
        number = next(self._numbers)
        self._armed[number] = harm
        for connection in self._open:
            connection.marks[number] = connection.answered

    def _disarm(self) -> None:
        self._armed.clear()
        self._delay = 0.0
        self._passing.set()

    # The traffic -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._passing.set()
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, HOST, 0))
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        try:
            self._loop.run_forever()
        finally:
            server.close()
            self._reset_open()
            self._loop.run_until_complete(self._wound_up())
            self._loop.close()

    async def _wound_up(self) -> None:
        running = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await self._reach()
        except OSError:
            _abort(to_client)
            return
        connection = _Connection(to_client, to_server, marks=dict.fromkeys(self._armed, 0))
        self._open.add(connection)
        try:
            await asyncio.gather(self._ask(connection, from_client), self._answer(connection, from_server))
        except asyncio.CancelledError:  # the proxy ends; asyncio's streams would report it as an error of ours
            return
        finally:
            self._open.discard(connection)
            to_client.close()
            to_server.close()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._upstream.path is not None:
            return await asyncio.open_unix_connection(str(self._upstream.path))
        return await asyncio.open_connection(self._upstream.host, self._upstream.port)

    async def _ask(self, connection: _Connection, source: asyncio.StreamReader) -> None:
        """From the client to the server."""
        with contextlib.suppress(OSError):
            while piece := await source.read(PIECE):
                await self._passing.wait()
                if connection.mute:
                    continue
                self._mark_answer(connection, piece)
                connection.server.write(piece)
                await connection.server.drain()
            connection.server.write_eof()

    async def _answer(self, connection: _Connection, source: asyncio.StreamReader) -> None:
        """From the server to the client."""
        with contextlib.suppress(OSError):
            while piece := await source.read(PIECE):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._passing.wait()
                if connection.doomed:
                    self._reset(connection)
                    return
                if not connection.mute and not await self._pass_on(connection, piece):
                    return
            connection.client.write_eof()

    def _mark_answer(self, connection: _Connection, piece: bytes) -> None:
        for number, harm in self._armed.items():
            if harm.kind is Kind.DROP_ANSWER and harm.needle in piece:
                connection.doomed = True
                self._spent(number)
                return

    async def _pass_on(self, connection: _Connection, piece: bytes) -> bool:
        """Pass the piece on, or as much of it as a harm leaves; false where the answers end here."""
        due = self._due(connection, len(piece))
        kept = piece if due is None else piece[: due[1]]
        connection.client.write(kept)
        await connection.client.drain()
        connection.answered += len(kept)
        if due is None:
            return True
        number, _ = due
        kind = self._armed[number].kind
        self._spent(number)
        return self._struck(connection, kind)

    def _due(self, connection: _Connection, size: int) -> tuple[int, int] | None:
        """The harm that strikes within the next ``size`` bytes, and how many of them still pass."""
        for number, harm in self._armed.items():
            left = connection.marks.get(number, 0) + harm.after - connection.answered
            if harm.kind is not Kind.DROP_ANSWER and left < size:
                return number, max(0, left)
        return None

    def _struck(self, connection: _Connection, kind: Kind) -> bool:
        match kind:
            case Kind.RESET:
                self._reset(connection)
            case Kind.CUT:
                connection.client.close()
                connection.server.close()
            case Kind.HALF_CLOSE:
                connection.client.write_eof()
            case _:
                connection.mute = True
                return True
        return False

    def _spent(self, number: int) -> None:
        del self._armed[number]
        self.struck += 1

    def _reset(self, connection: _Connection) -> None:
        _abort(connection.client)
        _abort(connection.server)


def _abort(writer: asyncio.StreamWriter) -> None:
    """Reset instead of a tidy end; a Unix socket only knows the tidy one."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    writer.transport.abort()
