"""How a request leaves and its body arrives: connections to checked addresses only, complete bodies only."""

import ssl
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import httpx

from connectors.addresses import is_allowed, reachable_addresses
from connectors.context import Network
from connectors.errors import ContractChanged, SettingsInvalid

# The words of the transport seam, so that neither a connector nor a test imports httpx itself.
Request = httpx.Request
Response = httpx.Response
MockTransport = httpx.MockTransport


def open_transport(network: Network) -> "GuardedTransport":
    """Real connections under the installation's network policy; raises SettingsInvalid for a bad CA file."""
    return GuardedTransport(network)


class GuardedTransport:
    """Connects only to addresses that were checked (see ``connectors.addresses``).

    A host is resolved once, checked, and the socket goes to the checked address while the certificate is
    still verified for the name. Every host has its own pool, for two hosts may share an address but must
    not share a connection.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._tls = _tls_context(network.ca_file)
        self._hosts: dict[tuple[str, int], tuple[tuple[str, ...], httpx.HTTPTransport]] = {}

    def handle_request(self, request: Request, /) -> Response:
        """Send to the first of the host's addresses that accepts a connection."""
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        addresses, pool = self._host(url.host, port)
        self._refuse_plain(url, addresses)
        failure: httpx.TransportError | None = None
        for address in addresses:
            try:
                return pool.handle_request(_addressed(request, address))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        self._forget(url.host, port)
        raise failure or httpx.ConnectError(f"{url.host} has no address")

    def close(self) -> None:
        for _, pool in self._hosts.values():
            pool.close()
        self._hosts.clear()

    def _host(self, host: str, port: int) -> tuple[tuple[str, ...], httpx.HTTPTransport]:
        if (host, port) not in self._hosts:
            addresses = reachable_addresses(host, port, self._network.allowed_networks)
            self._hosts[host, port] = addresses, httpx.HTTPTransport(verify=self._tls, trust_env=False)
        return self._hosts[host, port]

    def _forget(self, host: str, port: int) -> None:
        self._hosts.pop((host, port))[1].close()

    def _refuse_plain(self, url: httpx.URL, addresses: tuple[str, ...]) -> None:
        if url.scheme == "http" and not all(is_allowed(one, self._network.allowed_networks) for one in addresses):
            raise SettingsInvalid(
                f"The address http://{url.host} would send the credentials unencrypted. Enter it with https://."
            )


def _addressed(request: Request, address: str) -> Request:
    """The same request, its socket bound for ``address``, its Host header and certificate name unchanged."""
    return Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )


@cache
def _public_authorities() -> ssl.SSLContext:
    """One for all connections: reading them takes 2 MiB and a twentieth of a second."""
    return httpx.create_ssl_context(trust_env=False)


def _tls_context(ca_file: str) -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False) if ca_file else _public_authorities()
    if ca_file:
        try:
            context.load_verify_locations(cafile=Path(ca_file))
        except (OSError, ssl.SSLError):
            raise SettingsInvalid(f"The certificate file {ca_file} cannot be read as PEM certificates.") from None
    return context


def decoded_body(response: Response, check: Callable[[], None], system: str, label: str) -> Iterator[bytes]:
    """The body's chunks, decompressed, complete or an error.

    httpx's own decoder takes a gzip stream that was cut off for a whole one; this does not.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise ContractChanged(f"{system} answered {label} in the encoding “{encoding}”, which we did not ask for.")
    unpack = zlib.decompressobj(wbits=31) if encoding.endswith("gzip") else None
    received = 0
    for chunk in _raw(response):
        check()
        received += len(chunk)
        yield from (chunk,) if unpack is None else _inflated(unpack, chunk)
    announced = response.headers.get("content-length", "")
    is_cut = announced.isdigit() and received < int(announced) and response.headers.get("transfer-encoding") is None
    is_torn = unpack is not None and received > 0 and (not unpack.eof or bool(unpack.unused_data))
    if is_cut or is_torn:
        raise httpx.RemoteProtocolError(f"the body of {received} bytes is not complete")


_STEP = 1024 * 1024  # bytes a decompression may yield at once, so that the size limit can strike


def _inflated(unpack: "zlib._Decompress", chunk: bytes) -> Iterator[bytes]:
    try:
        yield unpack.decompress(chunk, _STEP)
        while unpack.unconsumed_tail and not unpack.eof:
            yield unpack.decompress(unpack.unconsumed_tail, _STEP)
    except zlib.error as error:
        raise httpx.DecodingError(str(error)) from None


def _raw(response: Response) -> Iterator[bytes]:
    stream = response.stream
    if not isinstance(stream, httpx.SyncByteStream):
        raise TypeError("a transport answered with an asynchronous stream")
    yield from stream


def first_bytes(chunks: Iterator[bytes], size: int) -> bytes:
    """The beginning of a body; what is broken or overlong about the rest of an error page does not matter."""
    found = b""
    try:
        for chunk in chunks:
            found += chunk
            if len(found) >= size:
                break
    except (httpx.HTTPError, ContractChanged):
        return found[:size]
    return found[:size]
