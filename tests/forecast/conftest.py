"""A world of fake systems, and a project that mirrors one into the other."""

from collections.abc import Iterator

import pytest

from connectors import registry
from projects.models import Project
from tests import factories
from tests.fakes import WORLDS, World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(registry, "SOURCES", {"fake": "tests.fakes:FakeSource"})
    monkeypatch.setattr(registry, "TARGETS", {"fake": "tests.fakes:FakeTarget"})
    registry._paths.cache_clear()
    WORLDS["world"] = World()
    yield WORLDS["world"]
    del WORLDS["world"]
    registry._paths.cache_clear()


@pytest.fixture
def project(db: None, world: World) -> Project:
    return factories.project()
