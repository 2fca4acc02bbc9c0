"""Fixtures for pytest, of a real cluster and of a node in this process.

A program's topmost ``conftest.py`` asks for them by one line::

    pytest_plugins = ["raftlog.testing.plugin"]

It is no entry point, on purpose: who has raftlog installed for its SDK alone gets nothing loaded
into every run of pytest.

- ``raftlog_cluster``: three real processes that the tests of a session share. A test may kill,
  pause and restart members: the next one finds all of them up again.
- ``raftlog_client``, ``raftlog_sync_client``: an open client of it.
- ``raftlog_prefix``: a text that no other test has, to begin keys, streams and locks with, as the
  tests share one log.
- ``raftlog_node``: the address of one node in this process, with an empty log.
- ``raftlog_settings``: what the cluster is set to; override it in ``conftest.py``.

With pytest-xdist each worker has a cluster of its own.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Generator, Iterator, Sequence

import pytest
import pytest_asyncio

import raftlog
from raftlog.local import LocalCluster
from raftlog.local.processes import last_words
from raftlog.testing.clusters import cluster, make_whole
from raftlog.testing.single import node

_CLUSTER = "raftlog_cluster"


@pytest.fixture(scope="session")
def raftlog_settings() -> Sequence[str]:
    """Return ``key=value`` settings of the cluster; override it where others are needed."""
    return ()


@pytest.fixture(scope="session")
def _raftlog_shared(raftlog_settings: Sequence[str]) -> Iterator[LocalCluster]:
    with cluster(*raftlog_settings) as made:
        yield made


@pytest.fixture
def raftlog_cluster(_raftlog_shared: LocalCluster) -> LocalCluster:
    """Return the session's cluster, with every member up and a leader that takes writes."""
    make_whole(_raftlog_shared)
    return _raftlog_shared


@pytest.fixture
def raftlog_prefix() -> str:
    """Return what this test's keys, streams and locks begin with."""
    return f"test-{secrets.token_hex(6)}-"


@pytest_asyncio.fixture
async def raftlog_client(raftlog_cluster: LocalCluster) -> AsyncIterator[raftlog.Client]:
    """Return an open client of the cluster, on the test's event loop."""
    async with raftlog.connect(raftlog_cluster.endpoints) as client:
        yield client


@pytest.fixture
def raftlog_sync_client(raftlog_cluster: LocalCluster) -> Iterator[raftlog.SyncClient]:
    """Return an open client of the cluster, without await."""
    with raftlog.connect_sync(raftlog_cluster.endpoints) as client:
        yield client


@pytest.fixture
def raftlog_node() -> Iterator[str]:
    """Return the address of one node that runs in a thread of this process, for this test alone."""
    with node() as endpoints:
        yield endpoints


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the last words of each member beside a test that failed: the directory will be gone."""
    report = yield
    made = getattr(item, "funcargs", {}).get(_CLUSTER)
    if report.failed and isinstance(made, LocalCluster):
        for member in made.nodes:
            report.sections.append((f"the last words of {member.id}", last_words(member.log_file)))
    return report
