"""A node that a test forks is what a node is that a user begins."""

from __future__ import annotations

import os
import pathlib
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftlog.local import LocalCluster, wait_until
from raftlog.local.layout import LocalNode
from raftlog.local.processes import Processes, command_line
from tests import forked

PATIENCE = 60.0
SHOWN = ("SigBlk", "SigIgn", "NoNewPrivs", "Seccomp", "Uid", "Gid", "Umask")


def standing(pid: int) -> dict[str, object]:
    """Return how the system sees a process."""
    place = pathlib.Path(f"/proc/{pid}")
    status = dict(line.split(":\t", 1) for line in (place / "status").read_text().splitlines())
    return {
        "words": command_line(pid).rstrip(),
        "place": str((place / "cwd").readlink()),
        "program": str((place / "exe").readlink()),
        "session leads itself": os.getsid(pid) == os.getpgid(pid) == pid,
        "parent": int(status["PPid"]) == os.getpid(),
        "standard streams": [str((place / "fd" / number).readlink()) for number in "012"],
        **{name: status[name] for name in SHOWN},
    }


@pytest.fixture
def lone(tmp_path: pathlib.Path) -> LocalNode:
    """Return the only node of a cluster that was never started."""
    return LocalCluster.create(tmp_path, nodes=1, base_port=0).nodes[0]


@pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="only Linux forks them")
def test_a_forked_node_is_what_a_begun_one_is(lone: LocalNode) -> None:
    """The same command line, place, parent, session, streams, signals and rights."""
    arguments = [
        "--node-id",
        lone.id,
        "--data-dir",
        str(lone.data_dir),
        "--listen",
        lone.address,
        "--http",
        lone.http,
    ]
    arguments += ["--bootstrap-token", "t", "--initial-cluster", f"{lone.id}={lone.address}"]
    seen = []
    for begin in (Processes().begin, forked.NURSERY.begin):
        pid = begin(lone, arguments)
        try:
            assert wait_until(lambda: b'"started"' in lone.log_file.read_bytes(), PATIENCE)
            seen.append(standing(pid))
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        lone.log_file.unlink()
    assert seen[0] == seen[1]


@pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="only Linux forks them")
def test_threads_get_the_nodes_that_they_began(tmp_path: pathlib.Path) -> None:
    """Each is told a process of its own, whose parent this process is."""
    nodes = LocalCluster.create(tmp_path, nodes=6, base_port=0).nodes
    together = threading.Barrier(len(nodes))
    nursery = forked.Nursery()

    def begin(node: LocalNode) -> int:
        together.wait(20)
        return nursery.begin(node, ["--node-id", node.id, "--listen", "nowhere"])

    with ThreadPoolExecutor(len(nodes)) as pool:
        begun = list(pool.map(begin, nodes))
    try:
        assert len(set(begun)) == len(nodes)
        for pid in begun:
            os.waitpid(pid, 0)  # they refuse their address; only a parent may wait
        said = [node.log_file.read_text() for node in nodes]
        assert all("expected HOST:PORT" in each for each in said), said
    finally:
        nursery.close()
