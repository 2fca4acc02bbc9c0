"""What one round costs in the core: one entry, a leader and two followers. Run by hand.

The leader's share is propose, take_ready, persisted, two acks and take_ready; a follower's is step,
take_ready and persisted. Disk and network are lists.

Usage: python tests/bench/bench_core.py [rounds]
"""

from __future__ import annotations

import random
import sys
import time

from raftlog.checksum import chain
from raftlog.core.entries import Boundary, Entry, EntryKind, HardState
from raftlog.core.membership import Member, Membership
from raftlog.core.raft import Raft
from raftlog.core.ready import Persist, Ready
from raftlog.core.settings import CoreSettings
from raftlog.types import Index, NodeId, Role, Term

NAMES = [NodeId(name) for name in ("a", "b", "c")]
MEMBERSHIP = Membership.of_voters(Member(node_id=n, address=f"{n}:1") for n in NAMES)
BOUNDARY = Boundary(
    index=Index(0), term=Term(0), checksum=0, next_sequence=1, timestamp=0,
    membership=MEMBERSHIP, feature_level=1,
)  # fmt: skip


class ListLog:
    """A durable log in a list."""

    boundary = BOUNDARY

    def __init__(self) -> None:
        self.log: list[Entry] = []

    @property
    def last_index(self) -> Index:
        return Index(len(self.log))

    def entry(self, index: Index) -> Entry:
        return self.log[index - 1]

    def entries(self, low: Index, high: Index, bytes_max: int) -> list[Entry]:
        return self.log[low - 1 : high]

    def term(self, index: Index) -> int:
        return self.log[index - 1].term if index else 0

    def checksum(self, index: Index) -> int:
        return self.log[index - 1].checksum if index else 0


class Bench:
    """Three cores, and a stopwatch for each."""

    def __init__(self) -> None:
        self.disks = {name: ListLog() for name in NAMES}
        self.now = 1.0
        self.cores = {
            name: Raft(
                node_id=name, settings=CoreSettings(), log=self.disks[name],
                hard_state=HardState(), seal=chain, random=random.Random(1), now=self.now,
            )
            for name in NAMES
        }  # fmt: skip
        self.seconds = dict.fromkeys(NAMES, 0.0)

    def turn(self, name: NodeId) -> list[tuple[NodeId, NodeId, object]]:
        """Take a node's Ready, persist it, and return everything it sent."""
        core = self.cores[name]
        found = []
        start = time.perf_counter()
        ready: Ready = core.take_ready(self.now)
        self.seconds[name] += time.perf_counter() - start
        found += [(name, peer, message) for peer, message in ready.messages]
        persist: Persist | None = ready.persist
        if persist is not None:
            self.disks[name].log.extend(persist.entries)
            start = time.perf_counter()
            core.persisted(persist.token, self.now)
            self.seconds[name] += time.perf_counter() - start
            found += [(name, peer, message) for peer, message in persist.messages]
        return found

    def settle(self, name: NodeId) -> None:
        """Run until nothing is on its way."""
        queue = self.turn(name)
        while queue:
            source, target, message = queue.pop(0)
            start = time.perf_counter()
            self.cores[target].step(source, message, self.now)
            self.seconds[target] += time.perf_counter() - start
            if not queue or queue[0][1] != target:
                while self.cores[target].has_ready():
                    queue += self.turn(target)


def main(rounds: int) -> None:
    """Print microseconds per round for the leader and for one follower."""
    bench = Bench()
    leader = bench.cores[NAMES[0]]
    bench.now = leader.deadline()
    leader.tick(bench.now)
    bench.settle(NAMES[0])
    assert leader.role is Role.LEADER
    payload = b"x" * 256
    bench.seconds = dict.fromkeys(NAMES, 0.0)
    for _ in range(rounds):
        start = time.perf_counter()
        leader.propose(EntryKind.TRANSACTIONS, payload, 1, bench.now, 1)
        bench.seconds[NAMES[0]] += time.perf_counter() - start
        bench.settle(NAMES[0])
    assert leader.commit_index == rounds + 1
    for name in NAMES:
        role = bench.cores[name].role.value
        print(f"{name} {role}: {bench.seconds[name] / rounds * 1e6:.1f} us per round")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
