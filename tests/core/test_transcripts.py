"""Golden transcripts: scripts of commands and what a cluster said to them (`testdata/*.txt`).

A script is a list of ``> command`` lines, each followed by the lines it caused; `Told.command` and
`Told.prepare` say what there is. To add one, write a file of commands. After it, and after a wanted
change, let the answers be written and read the difference::

    pytest tests/core/test_transcripts.py --rewrite
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable

import pytest

from raftlog.core import trace
from raftlog.core.entries import EntryKind, HardState
from raftlog.core.membership_change import (
    MemberChange,
    MemberChangeKind,
    enter_joint,
    simple,
)
from raftlog.core.messages import Message
from raftlog.core.ready import Ready
from raftlog.core.settings import CoreSettings
from raftlog.types import Index, NodeId, Term

from .cluster import Cluster, Host, make_entries, member, voters

SCRIPTS = sorted((pathlib.Path(__file__).parent / "testdata").glob("*.txt"))


class Told(Cluster):
    """A cluster that writes down what its nodes say."""

    lines: list[str]

    def __init__(self, *words: str) -> None:
        """Make a cluster: ``a b c`` vote, ``(d)`` is not in it, ``one-by-one`` cuts requests."""
        self.lines = []
        self.commits: dict[NodeId, int] = {}
        small = CoreSettings(append_bytes_max=1)
        settings = small if "one-by-one" in words else CoreSettings()
        words = tuple(word for word in words if word != "one-by-one")
        members = voters(*(word for word in words if not word.startswith("(")))
        names = (word.strip("()") for word in words)
        super().__init__(*names, settings=settings, membership=members)

    def listen(self) -> list[str]:
        """Return and forget what was said."""
        found, self.lines = self.lines, []
        return found

    def _send(self, host: Host, messages: Iterable[tuple[NodeId, Message]]) -> None:
        if host.readies and host.readies[-1].messages is messages:
            self._tell(host, host.readies[-1])
        super()._send(host, messages)

    def _tell(self, host: Host, ready: Ready) -> None:
        """Write down one turn, as soon as it is taken."""
        self.lines += trace.render_ready(host.node_id, ready)
        if ready.commit_index != self.commits.get(host.node_id, 0):
            self.commits[host.node_id] = ready.commit_index
            self.lines.append(f"{host.node_id} commit={ready.commit_index}")

    # -------------------------------------------------------- commands

    def command(self, line: str) -> None:
        """Do what a script's line says."""
        verb, *words = line.split()
        if self.prepare(verb, words):
            return
        match verb:
            case "expire":
                self.now = max(self.now, self[words[0]].deadline())
                self.call(words[0], lambda raft: raft.tick(self.now))
            case "deliver":
                self._deliver(words)
            case "settle":
                self.settle()
            case "drop":
                ways = {tuple(word.split(">")) for word in words}
                self.drop(lambda packet: bool(ways) and packet[:2] not in ways)
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

    def prepare(self, verb: str, words: list[str]) -> bool:
        """Do what changes the world rather than a node's input; return whether it was that."""
        match verb:
            case (
                "holds"
            ):  # holds a 1 1 2 @3: a node's log has entries of these terms; it is in term 3
                terms = [int(word) for word in words[1:] if not word.startswith("@")]
                term = next((int(word[1:]) for word in words if word.startswith("@")), 0)
                self._put_log(words[0], terms, max(term, *terms))
            case "cut":  # cut a b | c: only nodes on the same side hear one another
                self.partition(*(side.split() for side in " ".join(words).split("|")))
            case "heal":
                self.heal()
            case "change":  # change a add_learner:d [remove:b ...]: several go through a joint one
                self._change(words[0], [word.split(":") for word in words[1:]])
            case "rot":  # rot a 2: the record at 2 can no longer be read; the node starts anew
                self.host(words[0]).disk.rot(Index(int(words[1])))
                self.restart(words[0])
            case "impatient":  # impatient c: its election timeout is over now
                self[words[0]].observe().election_deadline = self.now
                self.call(words[0], lambda raft: raft.tick(self.now))
            case "forget":  # nobody has heard a leader lately
                for host in self.hosts.values():
                    host.raft.observe().leader_contact = float("-inf")
            case "members":
                membership = self[words[0]].membership
                kinds = " ".join(f"{n}={membership.kind(n)}" for n in membership.node_ids)
                joint = " joint" if membership.is_joint else ""
                self.lines.append(f"{words[0]} knows {kinds}{joint}")
            case _:
                return False
        return True

    def _put_log(self, name: str, terms: list[int], term: int) -> None:
        disk = self.host(name).disk
        disk.log = make_entries(disk.boundary, terms)
        disk.hard_state = HardState(term=Term(term))
        self.restart(name)

    def _change(self, name: str, wanted: list[list[str]]) -> None:
        changes = [
            MemberChange(
                kind=MemberChangeKind(kind), node_id=NodeId(node_id), member=member(node_id)
            )
            for kind, node_id in wanted
        ]
        current = self[name].membership
        after = simple(current, *changes) if len(changes) == 1 else enter_joint(current, changes)
        self.propose(name, after.encode(), EntryKind.MEMBERSHIP)

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
def test_transcript_is_what_it_was(path: pathlib.Path, pytestconfig: pytest.Config) -> None:
    """The cluster says to each command, word for word, what the golden file holds."""
    text = path.read_text(encoding="utf-8")
    found = play(text)
    if pytestconfig.getoption("rewrite"):
        path.write_text(found, encoding="utf-8")
        return
    assert found == text


def test_there_are_transcripts() -> None:
    """The golden files are found."""
    assert len(SCRIPTS) >= 16
