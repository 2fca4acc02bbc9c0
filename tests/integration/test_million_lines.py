"""A file of a million lines goes in while leaders die, and comes out byte for byte."""

from __future__ import annotations

import hashlib
import json
import pathlib
import random
import subprocess
import time

import pytest

from raftlog.cli.cluster import LocalCluster
from tests.integration.bookkeeping import command

LINES = 1_000_000
KILL_AT = (250_000, 600_000)
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
    """Return the newest committed sequence, as any node knows it; 0 while none answers."""
    done = subprocess.run(
        command(cluster, "-o", "json", "--timeout", "5", "status"), capture_output=True, check=False
    )
    return int(json.loads(done.stdout)["commit_sequence"]) if done.stdout else 0


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
    cluster: LocalCluster, tmp_path: pathlib.Path, seed: int
) -> None:
    """Two kill -9 of the leader mid-stream, and every member gives the file back as it was."""
    text, report = tmp_path / "text", tmp_path / "report"
    write_text(text, seed)
    with text.open("rb") as given, report.open("wb") as answer:
        writer = subprocess.Popen(
            command(cluster, "-o", "json", "log", "append", "--lines", "-"),
            stdin=given,
            stdout=answer,
            stderr=subprocess.DEVNULL,
        )
        try:
            for threshold in KILL_AT:
                wait_committed(cluster, threshold, writer)
                killed = cluster.wait_leader()
                cluster.kill(killed)
                cluster.wait_leader(other_than=killed)
                cluster.restart(killed)
            assert writer.poll() is None, "no acknowledgement came after the second kill"
            assert writer.wait(600) == 0
        finally:
            writer.kill()
            writer.wait()
    found = json.loads(report.read_bytes())
    assert (found["appended"], found["last_sequence"]) == (LINES, LINES)
    cluster.wait_ready()
    for node in cluster.nodes:
        copy = tmp_path / node.id
        with copy.open("wb") as out:
            tail = command(cluster, "--member", node.id, "log", "tail", "--raw")
            subprocess.run(tail, stdout=out, check=True)
        assert digest(copy) == digest(text), f"{node.id} gives back another text"
    assert cluster.stop()
    for node in cluster.nodes:
        verify = command(cluster, "log", "verify", "--data-dir", str(node.data_dir))
        checked = subprocess.run(verify, capture_output=True, check=False)
        assert checked.returncode == 0, checked.stderr
