"""Connectors that need no network, in the registry's place for one test."""

import pytest

from tests.fakes import Connect
from tests.orgs import fakes


@pytest.fixture(autouse=True)
def fake_platforms(only_connectors: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry knows “fake” (source and target), “shelf” (a source of files), and nothing else."""
    sources = {"fake": "tests.orgs.fakes:FakeSource", "shelf": "tests.orgs.fakes:Shelf"}
    only_connectors(sources, {"fake": "tests.orgs.fakes:FakeTarget"})
    monkeypatch.setattr(fakes, "on_check", fakes.succeed)
