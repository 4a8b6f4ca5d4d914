"""Simulators for the sandbox's own tests: one shared and only read, and small fresh ones to change."""

import ssl
from collections.abc import Iterator

import httpx
import pytest

from sandbox.salesforce.running import Running, running_simulator
from tests.sandbox.client import Client

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # plain http: spares loading every public CA


@pytest.fixture(scope="session")
def shared_org() -> Iterator[Running]:
    """10,000 generated records, 33 of them bad. Tests may read it and nothing else."""
    with running_simulator(records=10_000, seed=5, bad=33) as running:
        yield running


@pytest.fixture(scope="session")
def reader(shared_org: Running) -> Iterator[Client]:
    with httpx.Client(base_url=shared_org.url, trust_env=False, verify=NO_TLS, timeout=30) as http:
        yield Client(shared_org, http)


@pytest.fixture
def client() -> Iterator[Client]:
    """An org of its own with 200 generated records, to be changed at will."""
    with (
        running_simulator(records=200, seed=2) as running,
        httpx.Client(base_url=running.url, trust_env=False, verify=NO_TLS, timeout=30) as http,
    ):
        yield Client(running, http)
