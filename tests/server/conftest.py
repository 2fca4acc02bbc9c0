"""A node leads the standard library's logging its own way; a test puts it back."""

from __future__ import annotations

import logging
import socket

import pytest

from raftlog.config.schema import Settings


@pytest.fixture(autouse=True)
def standard_logging():
    """Restore the root logger."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)


def free_port():
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def settings(tmp_path):
    """Return the settings of the only member of a new cluster."""
    address = f"127.0.0.1:{free_port()}"
    return Settings(
        node_id="n1",
        data_dir=str(tmp_path / "data"),
        listen=address,
        http=f"127.0.0.1:{free_port()}",
        bootstrap_token="token",
        initial_cluster=(("n1", address),),
    )
