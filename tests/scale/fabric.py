"""Test hosts on one machine: network namespaces joined by veth pairs, so that one can be cut off for real.

A database host whose address is ``DATABASE``, and worker hosts with a cable each. Cutting a cable drops packets
without a word, as a switch that died does; plugging it in again lets open connections go on. The database server
itself listens on a Unix socket of this machine; a relay in the database host is its network card.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

DATABASE = "10.77.0.1"
PORT = 5432


class NotPermitted(Exception):
    """Namespaces cannot be made here; the message says why."""


@dataclass(frozen=True)
class Fabric:
    """The name of the database host is ``<name>-db``, of the n-th worker host ``<name>-w<n>``."""

    name: str

    @property
    def database(self) -> str:
        return f"{self.name}-db"

    def worker(self, number: int) -> str:
        return f"{self.name}-w{number}"

    def prefix(self, number: int) -> Sequence[str]:
        """What to put before a command so that it runs on the n-th worker host."""
        return ("ip", "netns", "exec", self.worker(number))

    def cut(self, number: int) -> None:
        """Pull the n-th worker host's cable."""
        _ip("-n", self.database, "link", "set", f"to-w{number}", "down")

    def mend(self, number: int) -> None:
        _ip("-n", self.database, "link", "set", f"to-w{number}", "up")


@contextmanager
def laid(name: str, workers: int, socket: Path) -> Iterator[Fabric]:
    """The hosts and their cables; gone afterwards. ``socket`` is the server's. Raises NotPermitted."""
    if sys.platform != "linux" or os.geteuid() or not shutil.which("ip"):
        raise NotPermitted("needs Linux, root and iproute2")
    fabric = Fabric(name)
    with ExitStack() as stack:
        for host in (fabric.database, *(fabric.worker(number) for number in range(workers))):
            try:
                _ip("netns", "add", host)
            except subprocess.CalledProcessError as error:
                raise NotPermitted(f"network namespaces are not permitted here: {error.stderr.decode()}") from error
            stack.callback(_ip, "netns", "delete", host)
            _ip("-n", host, "link", "set", "lo", "up")
        _ip("-n", fabric.database, "address", "add", f"{DATABASE}/32", "dev", "lo")
        for number in range(workers):
            _lay_cable(fabric, number)
        stack.enter_context(_relay(fabric, socket))
        yield fabric


def _lay_cable(fabric: Fabric, number: int) -> None:
    here, there, host = f"10.77.{number + 1}.1", f"10.77.{number + 1}.2", fabric.worker(number)
    near = ("-n", fabric.database)
    _ip(*near, "link", "add", f"to-w{number}", "type", "veth", "peer", "name", "cable", "netns", host)
    _ip(*near, "address", "add", f"{here}/30", "dev", f"to-w{number}")
    _ip(*near, "link", "set", f"to-w{number}", "up")
    _ip("-n", host, "address", "add", f"{there}/30", "dev", "cable")
    _ip("-n", host, "link", "set", "cable", "up")
    _ip("-n", host, "route", "add", DATABASE, "via", here)


@contextmanager
def _relay(fabric: Fabric, socket: Path) -> Iterator[None]:
    command = ("ip", "netns", "exec", fabric.database, sys.executable, "-m", __name__, str(socket))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        yield
    finally:
        process.kill()
        process.communicate()


def _ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True)


# --- The relay, a process of its own -------------------------------------------------------------------------------
async def _serve(socket: str) -> None:
    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_unix_connection(socket)
        await asyncio.gather(_pass_on(reader, ours), _pass_on(theirs, writer))

    server = await asyncio.start_server(meet, DATABASE, PORT)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    await server.serve_forever()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
