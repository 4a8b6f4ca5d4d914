"""A world of fake systems, and a project that mirrors one into the other."""

import pytest

from projects.models import Project
from tests import factories
from tests.fakes import World


@pytest.fixture
def project(db: None, world: World) -> Project:
    return factories.project()
