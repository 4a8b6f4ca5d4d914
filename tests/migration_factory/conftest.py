"""Folders that servers of tests may live in."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder of our own: pytest closes its temporary folders to other users whenever a session starts, and the
    server runs as another user where we are root."""
    with tempfile.TemporaryDirectory(prefix="mf-test-", ignore_cleanup_errors=True) as made:
        yield Path(made)
