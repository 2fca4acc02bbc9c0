"""A node leads the standard library's logging its own way; a test puts it back."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def standard_logging():
    """Restore the root logger."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
