"""Which network addresses we agree to connect to: the guard against requests forged through settings.

The check is made on the resolved address, and the connection goes to the address that was checked, so
that a name which resolves differently the second time gains nothing. ``ipaddress.is_global`` alone lets
NAT64, multicast and 192.0.0.0/24 exceptions through, hence the list.
"""

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from connectors.errors import SettingsInvalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# https://www.iana.org/assignments/iana-ipv4-special-registry and -ipv6-special-registry, plus multicast.
# fmt: off
_REFUSED = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "::/128", "::1/128", "::ffff:0:0/96", "64:ff9b::/96",
        "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16",
        "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)
# fmt: on


def is_allowed(address: str, allowed_networks: Sequence[str]) -> bool:
    """Whether the installation lists this address among the ranges it permits."""
    ip = _unmapped(address)
    networks = (ipaddress.ip_network(text, strict=False) for text in allowed_networks)
    return any(ip.version == network.version and ip in network for network in networks)


def is_public(address: str) -> bool:
    """Whether the address is an ordinary one of the public internet."""
    ip = _unmapped(address)
    return ip.is_global and not any(ip.version == network.version and ip in network for network in _REFUSED)


def reachable_addresses(host: str, port: int, allowed_networks: Sequence[str]) -> tuple[str, ...]:
    """The host's addresses, in the resolver's order.

    Raises SettingsInvalid where any of them may not be reached, and OSError where there is none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not (is_public(address) or is_allowed(address, allowed_networks)):
            raise SettingsInvalid(
                f"{host} leads to {address}, an address inside a private or reserved network, which this installation "
                "does not connect to. Correct the address, or have the network allowed for this installation."
            )
    return addresses


def checked_base_url(url: str, *, system: str) -> str:
    """The URL without a trailing slash; raises SettingsInvalid unless it is plain ``http(s)://host[:port][/path]``."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SettingsInvalid(f"The address of {system} is not a valid URL. Correct it on the org's page.") from None
    is_plain = parts.scheme in ("http", "https") and parts.hostname and port != 0
    if not is_plain or parts.username is not None or parts.query or parts.fragment or _has_blanks(url):
        raise SettingsInvalid(
            f"The address of {system} must look like https://host.example.com, without user name, “?” or “#”. "
            "Correct it on the org's page."
        )
    return url.rstrip("/")


def _has_blanks(text: str) -> bool:
    """Whether the text holds blanks or control characters, which URL parsers disagree about."""
    return any(character.isspace() or not character.isprintable() or character == "\\" for character in text)


def _unmapped(address: str) -> Address:
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip
