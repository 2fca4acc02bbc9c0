"""Golden transcripts: scripts of commands and what a cluster said to them (`testdata/*.txt`).

A script is a list of ``> command`` lines, each followed by the lines it caused. After a wanted
change, rewrite them and read the difference::

    python -m tests.core.test_transcripts --rewrite
"""

from __future__ import annotations

import pathlib
import sys

import pytest

from raftlog.core import trace
from raftlog.core.entries import EntryKind
from raftlog.types import Index, NodeId

from .cluster import Cluster, Host

SCRIPTS = sorted((pathlib.Path(__file__).parent / "testdata").glob("*.txt"))


class Told(Cluster):
    """A cluster that writes down what its nodes say."""

    lines: list[str]

    def __init__(self, *names: str) -> None:
        self.lines = []
        self.told: dict[NodeId, int] = {}
        self.commits: dict[NodeId, int] = {}
        super().__init__(*names)

    def listen(self) -> list[str]:
        """Return and forget what was said."""
        found, self.lines = self.lines, []
        return found

    def _turn(self, host: Host) -> None:
        start = len(host.readies)
        super()._turn(host)
        for ready in host.readies[start:]:
            self.lines += trace.render_ready(host.node_id, ready)
            if ready.commit_index != self.commits.get(host.node_id, 0):
                self.commits[host.node_id] = ready.commit_index
                self.lines.append(f"{host.node_id} commit={ready.commit_index}")

    # -------------------------------------------------------- commands

    def command(self, line: str) -> None:
        """Do what a script's line says."""
        verb, *words = line.split()
        match verb:
            case "expire":
                self.now = max(self.now, self[words[0]].deadline())
                self.call(words[0], lambda raft: raft.tick(self.now))
            case "deliver":
                self._deliver(words)
            case "settle":
                self.settle()
            case "drop":
                self.drop()
            case "propose":
                for payload in words[1:]:
                    self.propose(words[0], payload.encode(), EntryKind.TRANSACTIONS)
            case "read":
                self.read(words[0], int(words[1]))
            case "transfer":
                self.call(words[0], lambda raft: raft.transfer(NodeId(words[1]), self.now))
            case "lose":
                self.call(words[0], lambda raft: raft.peer_lost(NodeId(words[1]), self.now))
            case "crash":
                self.crash(words[0])
            case "restart":
                self.restart(words[0])
            case "persist":
                self.persist(words[0])
            case "later":
                self.persist_at_once = False
            case "purge":
                boundary = self.host(words[0]).disk.purge(Index(int(words[1])))
                self.call(words[0], lambda raft: raft.compacted(boundary))
            case "wait":
                self.run(float(words[0]))
            case "log":
                for name in words:
                    positions = " ".join(map(trace.render_position, self.positions(name)))
                    self.lines.append(f"{name} holds {positions}")
            case _:
                raise AssertionError(f"no such command: {verb}")

    def _deliver(self, words: list[str]) -> None:
        """``deliver a>b``: what is on that way now; ``deliver``: the first packet."""
        if not words:
            self.deliver()
            return
        source, target = words[0].split(">")
        for packet in [p for p in self.network if p[:2] == (source, target)]:
            self.deliver(self.network.index(packet))


def play(script: str) -> str:
    """Return the script with the answers its commands get now."""
    cluster: Told | None = None
    found: list[str] = []
    for line in script.splitlines():
        if line.startswith("#") or (not line.strip() and not found):
            found.append(line)
        elif line.startswith("> cluster "):
            cluster = Told(*line.split()[2:])
            cluster.listen()
            found += ["", line]
        elif line.startswith("> "):
            assert cluster is not None
            cluster.command(line[2:])
            found += ["", line, *cluster.listen()]
    return "\n".join(found).strip() + "\n"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_transcript_is_what_it_was(path: pathlib.Path) -> None:
    """The cluster says to each command, word for word, what the golden file holds."""
    text = path.read_text(encoding="utf-8")
    assert play(text) == text


def test_there_are_transcripts() -> None:
    """The golden files are found."""
    assert len(SCRIPTS) >= 4


if __name__ == "__main__" and sys.argv[1:] == ["--rewrite"]:
    for golden in SCRIPTS:
        golden.write_text(play(golden.read_text(encoding="utf-8")), encoding="utf-8")
