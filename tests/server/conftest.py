"""A node leads the standard library's logging its own way; a test puts it back."""

from __future__ import annotations

import logging

import pytest

from raftlog.config.schema import Settings
from raftlog.local.layout import find_base_port


@pytest.fixture(autouse=True)
def standard_logging():
    """Restore the root logger."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)


@pytest.fixture
def settings(tmp_path):
    """Return the settings of the only member of a new cluster."""
    base = find_base_port(2)
    address = f"127.0.0.1:{base}"
    return Settings(
        node_id="n1",
        data_dir=str(tmp_path / "data"),
        listen=address,
        http=f"127.0.0.1:{base + 1}",
        bootstrap_token="token",
        initial_cluster=(("n1", address),),
    )
