"""A file of a million lines goes in while leaders die, and comes out byte for byte."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pathlib
import random
import re
import subprocess
import time
import urllib.request

import pytest

from raftlog.local import LocalCluster
from tests.integration.bookkeeping import command

LINES = 1_000_000
KILL_AT = (150_000, 450_000)
_COMMIT_SEQUENCE = re.compile(r"(?m)^raftlog_commit_sequence (\S+)")
WORDS = ("commit", "élan", "ὅδε", "quorum", "  two  spaces", "tab\there", "\r", "0", "雪")


def write_text(path: pathlib.Path, seed: int) -> None:
    """Write a text of LINES lines, one in eight of them blank, the last with its newline."""
    dice = random.Random(seed)
    with path.open("w", encoding="utf-8", newline="") as file:
        for number in range(LINES):
            if dice.random() < 0.125:
                file.write("\n")
            else:
                words = dice.choices(WORDS, k=dice.randrange(1, 9))
                file.write(f"{number} {' '.join(words)}\n")


def committed(cluster: LocalCluster) -> int:
    """Return the newest committed sequence that any node's metrics tell."""
    found = [0]
    for node_id in cluster.running():
        url = f"http://{cluster.node(node_id).http}/metrics"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as reply:
            found += map(float, _COMMIT_SEQUENCE.findall(reply.read().decode()))
    return int(max(found))


def wait_committed(cluster: LocalCluster, sequence: int, writer: subprocess.Popen[bytes]) -> None:
    """Wait until that much is committed, while the writer still writes."""
    deadline = time.monotonic() + 300
    while committed(cluster) < sequence:
        assert writer.poll() is None, "the writer ended too early"
        assert time.monotonic() < deadline, f"{sequence} transactions are not committed in time"
        time.sleep(0.02)


def digest(path: pathlib.Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_million_lines_survive_two_kills(
    own_cluster: LocalCluster, tmp_path: pathlib.Path, seed: int
) -> None:
    """Two kill -9 of the leader mid-stream, and every member gives the file back as it was."""
    text, report = tmp_path / "text", tmp_path / "report"
    write_text(text, seed)
    with text.open("rb") as given, report.open("wb") as answer:
        writer = subprocess.Popen(
            command(own_cluster, "-o", "json", "log", "append", "--lines", "-"),
            stdin=given,
            stdout=answer,
            stderr=subprocess.DEVNULL,
        )
        try:
            for threshold in KILL_AT:
                wait_committed(own_cluster, threshold, writer)
                killed = own_cluster.wait_leader()
                own_cluster.kill(killed)
                assert writer.poll() is None, "all was acknowledged before the kill"
                own_cluster.wait_leader(other_than=killed)
                own_cluster.restart(killed)
            assert writer.wait(600) == 0
        finally:
            writer.kill()
            writer.wait()
    found = json.loads(report.read_bytes())
    assert (found["appended"], found["last_sequence"]) == (LINES, LINES)
    own_cluster.wait_ready()
    for node in own_cluster.nodes:
        copy = tmp_path / node.id
        with copy.open("wb") as out:
            tail = command(own_cluster, "--member", node.id, "log", "tail", "--raw")
            subprocess.run(tail, stdout=out, check=True)
        assert digest(copy) == digest(text), f"{node.id} gives back another text"
    assert own_cluster.stop()
    for node in own_cluster.nodes:
        verify = command(own_cluster, "log", "verify", "--data-dir", str(node.data_dir))
        checked = subprocess.run(verify, capture_output=True, check=False)
        assert checked.returncode == 0, checked.stderr
