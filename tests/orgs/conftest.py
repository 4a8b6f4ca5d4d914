"""Connectors that need no network, in the registry's place for one test."""

from collections.abc import Iterator

import pytest

from connectors import registry
from tests.orgs import fakes


@pytest.fixture(autouse=True)
def fake_platforms(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The registry knows “fake” (source and target), “shelf” (a source of files), and nothing else."""
    monkeypatch.setattr(registry, "SOURCES", {"fake": "tests.orgs.fakes:FakeSource", "shelf": "tests.orgs.fakes:Shelf"})
    monkeypatch.setattr(registry, "TARGETS", {"fake": "tests.orgs.fakes:FakeTarget"})
    registry._paths.cache_clear()
    monkeypatch.setattr(fakes, "on_check", fakes.succeed)
    yield
    registry._paths.cache_clear()
