"""docs/sdk.md: each example runs as written, against a real cluster, and says something."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io

import pytest

from raftlog.local import LocalCluster
from tests.test_docs import TOP, fences

EXAMPLES = list(fences(TOP / "docs" / "sdk.md", "python"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> LocalCluster:
    """One cluster for all examples."""
    made = LocalCluster.create(tmp_path_factory.mktemp("sdk") / "cluster", nodes=3, base_port=0)
    made.start()
    yield made
    for node in made.nodes:
        made.kill(node.id)


@pytest.mark.parametrize("at", range(len(EXAMPLES)))
async def test_an_example_runs(cluster: LocalCluster, at: int) -> None:
    """No example ends in an error, and each prints what it is about."""
    code = compile(EXAMPLES[at], "sdk.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names = {"ENDPOINTS": cluster.endpoints}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        if " with raftlog.connect(" in EXAMPLES[at]:
            await asyncio.wait_for(eval(code, names), 60)  # noqa: S307 - our own page
        else:
            await asyncio.to_thread(exec, code, names)
    assert said.getvalue().strip()


def test_every_part_of_the_page_has_an_example() -> None:
    """Connecting, appending, sessions, tails, keys, locks, errors, threads."""
    assert len(EXAMPLES) == 8
