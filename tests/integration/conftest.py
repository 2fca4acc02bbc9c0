"""A running cluster of real processes: that of the session, or one of a test's own."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator

import pytest

from raftlog.local import LocalCluster

MakeCluster = Callable[..., LocalCluster]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here as what it is."""
    here = pathlib.Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture
def make_cluster(tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> Iterator[MakeCluster]:
    """Return a function that starts a cluster, with settings; all end with the test."""
    with contextlib.ExitStack() as stack:

        def make(*assignments: str, nodes: int = 3, start: bool = True) -> LocalCluster:
            directory = tmp_path / f"cluster{len(made)}"
            cluster = LocalCluster.create(
                directory, nodes=nodes, base_port=0, assignments=assignments
            )
            made.append(cluster)
            stack.callback(_end, cluster)
            if start:
                cluster.start()
            return cluster

        made: list[LocalCluster] = []
        yield make
        for cluster in made:
            for node in cluster.nodes:
                if node.log_file.exists():
                    lines = node.log_file.read_text(errors="replace").splitlines()[-15:]
                    print(f"---- the last words of {node.id}", *lines, sep="\n")


def _end(cluster: LocalCluster) -> None:
    """Leave no process behind, frozen ones included."""
    for node in cluster.nodes:
        cluster.kill(node.id)


@pytest.fixture
def cluster(raftlog_cluster: LocalCluster) -> LocalCluster:
    """Return the cluster that tests share, with default settings, whole whatever was done to it."""
    return raftlog_cluster


@pytest.fixture
def own_cluster(make_cluster: MakeCluster) -> LocalCluster:
    """Return a running cluster of three nodes with default settings that has no past."""
    return make_cluster()
