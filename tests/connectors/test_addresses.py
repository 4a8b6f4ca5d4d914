"""Which addresses may be connected to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.addresses import checked_base_url, is_allowed, is_public, reachable_addresses
from connectors.context import LOOPBACK
from connectors.errors import SettingsInvalid

PRIVATE = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "fc00::1",
    "fd12::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "2002:a00:1::",
    "2001::1",
    "100::1",
    "fd00:ec2::254",
]
PUBLIC = ["93.184.216.34", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_and_reserved_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_ordinary_addresses_are_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=6, network="fc00::/7"))
def test_no_address_of_a_private_network_is_public(address: object) -> None:
    assert not is_public(str(address))
    assert is_allowed(str(address), ["10.0.0.0/8", "fc00::/7"])


def test_allowing_loopback_allows_nothing_else() -> None:
    assert is_allowed("127.0.0.1", LOOPBACK)
    assert is_allowed("::1", LOOPBACK)
    assert is_allowed("::ffff:127.0.0.1", LOOPBACK)
    assert not is_allowed("169.254.169.254", LOOPBACK)


def test_one_bad_address_among_good_ones_refuses_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(2, 1, 6, "", ("93.184.216.34", 443)), (2, 1, 6, "", ("169.254.169.254", 443))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    with pytest.raises(SettingsInvalid, match=r"169\.254\.169\.254"):
        reachable_addresses("rebinding.example", 443, LOOPBACK)


def test_good_addresses_come_in_the_resolvers_order(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (10, 1, 6, "", ("2606:4700::1111", 443, 0, 0)),
        (2, 1, 6, "", ("8.8.8.8", 443)),
        (2, 2, 17, "", ("8.8.8.8", 443)),
    ]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    assert reachable_addresses("good.example", 443, ()) == ("2606:4700::1111", "8.8.8.8")


@pytest.mark.parametrize(
    ("url", "expected"),
    [(" https://a.example/ ", "https://a.example"), ("http://a.example:8080/v1/", "http://a.example:8080/v1")],
)
def test_a_base_url_is_trimmed(url: str, expected: str) -> None:
    assert checked_base_url(url, system="Acme") == expected
