"""docs/sdk.md: each example runs as written, against a real cluster, and says something."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io

import pytest

from raftlog.local import LocalCluster
from tests.test_docs import TOP, fences

EXAMPLES = [
    text
    for text in fences(TOP / "docs" / "sdk.md", "python")
    if "pytest_plugins" not in text and "def test_" not in text  # testing/test_plugin.py runs those
]


@pytest.mark.parametrize("at", range(len(EXAMPLES)))
async def test_an_example_runs(raftlog_cluster: LocalCluster, at: int) -> None:
    """No example ends in an error, and each prints what it is about."""
    code = compile(EXAMPLES[at], "sdk.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names = {"ENDPOINTS": raftlog_cluster.endpoints}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        if "async with " in EXAMPLES[at]:
            await asyncio.wait_for(eval(code, names), 60)  # noqa: S307 - our own page
        else:
            await asyncio.to_thread(exec, code, names)
    assert said.getvalue().strip()


def test_every_part_of_the_page_has_an_example() -> None:
    """Connecting, appending, sessions, tails, keys, consumers, locks, errors, threads, testing."""
    assert len(EXAMPLES) == 10
