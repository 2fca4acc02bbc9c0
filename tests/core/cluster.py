"""A deterministic cluster of real `Raft` cores over in-memory disks and a network of messages.

Nothing moves unless the test moves it: time is `now`, the network is a list, a disk write is done
when `persist` says so. A crash keeps only what was persisted. After every input the invariants of
`core.invariants` are checked, and with them the ones no single node can see: one leader per term,
one entry per committed index, and every new leader holding everything committed.
"""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Callable, Iterable

from raftlog.checksum import chain
from raftlog.core import invariants
from raftlog.core.entries import Boundary, Entry, EntryKind, HardState
from raftlog.core.membership import Member, Membership
from raftlog.core.messages import InstallSnapshot, Message
from raftlog.core.raft import Raft
from raftlog.core.ready import Persist, ReadOutcome, Ready
from raftlog.core.settings import CoreSettings
from raftlog.errors import Compacted
from raftlog.types import Index, NodeId, Position, Role, Term

Packet = tuple[NodeId, NodeId, Message]
SETTINGS = CoreSettings()


def member(name: str, *, has_machine: bool = True) -> Member:
    """Return a member description."""
    return Member(node_id=NodeId(name), address=f"{name}:7101", has_machine=has_machine)


def voters(*names: str, witnesses: Iterable[str] = ()) -> Membership:
    """Return the simple membership of these voters."""
    return Membership.of_voters(member(n, has_machine=n not in set(witnesses)) for n in names)


def bootstrap(membership: Membership) -> Boundary:
    """Return the boundary of a new directory."""
    return Boundary(
        index=Index(0),
        term=Term(0),
        checksum=7,
        next_sequence=1,
        timestamp=0,
        membership=membership,
        feature_level=1,
    )


def make_entries(
    boundary: Boundary, terms: Iterable[int], *, after: Entry | None = None, payload: bytes = b"x"
) -> list[Entry]:
    """Return sealed entries with these terms, following `after` or the boundary."""
    index = after.index if after else boundary.index
    checksum = after.checksum if after else boundary.checksum
    sequence = after.next_sequence if after else boundary.next_sequence
    found: list[Entry] = []
    for term in terms:
        index += 1
        checksum = chain(checksum, term, index, 1, 0, sequence, 1, 0, payload)
        entry = Entry(
            term=Term(term),
            index=Index(index),
            kind=EntryKind.TRANSACTIONS,
            first_sequence=sequence,
            count=1,
            timestamp=0,
            payload=payload,
            checksum=checksum,
        )
        sequence += 1
        found.append(entry)
    return found


class Disk:
    """A durable log, hard state and snapshots; the `LogReader` of its node."""

    def __init__(self, boundary: Boundary) -> None:
        self.boundary = boundary
        self.log: list[Entry] = []
        self.hard_state = HardState()
        self.is_damaged = False
        self.reads = 0

    @property
    def last_index(self) -> Index:
        return Index(self.boundary.index + len(self.log))

    def entry(self, index: Index) -> Entry:
        return self.entries(index, index, 1)[0]

    def entries(self, low: Index, high: Index, bytes_max: int) -> list[Entry]:
        self.reads += 1
        if low <= self.boundary.index:
            raise Compacted(f"{low} is at or below {self.boundary.index}")
        assert low <= high <= self.last_index
        found: list[Entry] = []
        for entry in self.log[low - self.boundary.index - 1 : high - self.boundary.index]:
            bytes_max -= entry.size
            if found and bytes_max < 0:
                break
            found.append(entry)
        return found

    def term(self, index: Index) -> int:
        if index == self.boundary.index:
            return self.boundary.term
        return self.entry(index).term

    def checksum(self, index: Index) -> int:
        if index == self.boundary.index:
            return self.boundary.checksum
        return self.entry(index).checksum

    def write(self, persist: Persist) -> None:
        """Make one round durable, in the order truncate, install, append."""
        if persist.hard_state is not None:
            assert persist.hard_state.term >= self.hard_state.term
            self.hard_state = persist.hard_state
        if persist.truncate_from is not None:
            assert self.boundary.index < persist.truncate_from <= self.last_index
            del self.log[persist.truncate_from - self.boundary.index - 1 :]
        if persist.install is not None:
            self.boundary = persist.install.boundary
            self.log.clear()
        for entry in persist.entries:
            assert entry.index == self.last_index + 1
            self.log.append(entry)
        if persist.repaired:
            self.is_damaged = False

    def boundary_at(self, index: Index, membership: Membership) -> Boundary:
        """Return what a snapshot at `index` would carry."""
        entry = self.entry(index)
        for earlier in self.log[: index - self.boundary.index]:
            if earlier.kind is EntryKind.MEMBERSHIP:
                membership = Membership.decode(earlier.payload)
        return dataclasses.replace(
            self.boundary,
            index=index,
            term=entry.term,
            checksum=entry.checksum,
            next_sequence=entry.next_sequence,
            timestamp=entry.timestamp,
            membership=membership,
        )

    def purge(self, index: Index) -> Boundary:
        """Drop entries up to `index`."""
        boundary = self.boundary_at(index, self.boundary.membership)
        del self.log[: index - self.boundary.index]
        self.boundary = boundary
        return boundary

    def rot(self, index: Index) -> None:
        """Damage the record at `index`: what follows cannot be read any more."""
        del self.log[index - self.boundary.index - 1 :]
        self.is_damaged = True


@dataclasses.dataclass
class Host:
    """One node: its disk, its core, its rounds on their way to the disk."""

    node_id: NodeId
    disk: Disk
    raft: Raft
    rounds: collections.deque[Persist] = dataclasses.field(default_factory=collections.deque)
    reads: list[ReadOutcome] = dataclasses.field(default_factory=list)
    readies: list[Ready] = dataclasses.field(default_factory=list)
    is_up: bool = True
    applied: Index = Index(0)


class Cluster:
    """Hosts, a network and the checks that see all of them."""

    def __init__(
        self,
        *names: str,
        settings: CoreSettings = SETTINGS,
        membership: Membership | None = None,
        seed: int = 1,
    ) -> None:
        self.settings = settings
        self.random = random.Random(seed)
        self.now = 100.0
        self.membership = membership or voters(*names)
        self.network: list[Packet] = []
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.delivered: list[Packet] = []
        self.persist_at_once = True
        self.leaders: dict[Term, NodeId] = {}
        self.committed: dict[Index, int] = {}
        self.hosts: dict[NodeId, Host] = {}
        for name in names:
            self.add(name)

    # -------------------------------------------------------- hosts

    def add(self, name: str, *, boundary: Boundary | None = None) -> Host:
        """Add a node with an empty disk."""
        node_id = NodeId(name)
        disk = Disk(boundary or bootstrap(self.membership))
        self.hosts[node_id] = Host(node_id, disk, self._core(node_id, disk))
        self._turn(self.hosts[node_id])
        return self.hosts[node_id]

    def _core(self, node_id: NodeId, disk: Disk) -> Raft:
        return Raft(
            node_id=node_id,
            settings=self.settings,
            log=disk,
            hard_state=disk.hard_state,
            seal=chain,
            random=self.random,
            now=self.now,
            damaged=disk.is_damaged,
        )

    def __getitem__(self, name: str) -> Raft:
        return self.hosts[NodeId(name)].raft

    def host(self, name: str) -> Host:
        return self.hosts[NodeId(name)]

    def crash(self, name: str) -> None:
        """Stop a node; rounds not persisted and messages from and to it are lost."""
        host = self.host(name)
        host.is_up = False
        host.rounds.clear()
        self.drop(lambda packet: name not in packet[:2])

    def restart(self, name: str) -> None:
        """Start a node over what its disk holds; its peers see new streams."""
        host = self.host(name)
        host.raft = self._core(host.node_id, host.disk)
        host.is_up = True
        host.reads.clear()
        self._turn(host)
        for other in self.hosts.values():
            if other is not host and other.is_up:
                self.call(other.node_id, lambda raft: raft.peer_connected(host.node_id, self.now))

    # -------------------------------------------------------- inputs, each followed by all checks

    def call(self, name: str, action: Callable[[Raft], object]) -> None:
        """Give one input to a node and take what it says."""
        host = self.host(name)
        before = invariants.observe(host.raft.observe())
        action(host.raft)
        self._check(host, before)
        self._turn(host)

    def _turn(self, host: Host) -> None:
        while host.raft.has_ready():
            before = invariants.observe(host.raft.observe())
            ready = host.raft.take_ready(self.now)
            self._check(host, before)
            host.readies.append(ready)
            self._send(host, ready.messages)
            host.reads.extend(ready.reads)
            for wanted in ready.snapshots:
                self.offer_snapshot(host, wanted.peer, wanted.term)
            if ready.persist is not None:
                host.rounds.append(ready.persist)
                if self.persist_at_once:
                    self.persist(host.node_id)
        assert not host.raft.observe().outbox.messages

    def persist(self, name: str) -> None:
        """Make a node's oldest round durable, and send what waited for it."""
        host = self.host(name)
        if not host.is_up or not host.rounds:
            return
        done = host.rounds.popleft()
        host.disk.write(done)
        before = invariants.observe(host.raft.observe())
        host.raft.persisted(done.token, self.now)
        self._check(host, before)
        self._send(host, done.messages)
        self._turn(host)

    def persist_all(self, name: str) -> None:
        while self.host(name).rounds:
            self.persist(name)

    def _send(self, host: Host, messages: Iterable[tuple[NodeId, Message]]) -> None:
        for peer, message in messages:
            assert peer != host.node_id
            self.network.append((host.node_id, peer, message))

    def offer_snapshot(self, host: Host, peer: NodeId, term: Term) -> None:
        """Put a snapshot of what `host` has committed on the way to `peer`."""
        commit = Index(min(host.raft.commit_index, host.disk.last_index))
        if commit > host.disk.boundary.index:
            boundary = host.disk.boundary_at(commit, host.disk.boundary.membership)
        else:
            boundary = host.disk.boundary
        message = InstallSnapshot(term=term, boundary=boundary, snapshot_id=f"{boundary.index}")
        self.network.append((host.node_id, peer, message))

    # -------------------------------------------------------- network and time

    def deliver(self, position: int = 0, *, keep: bool = False) -> None:
        """Deliver the packet at `position` of the network; `keep` leaves a duplicate."""
        packet = self.network[position] if keep else self.network.pop(position)
        source, target, message = packet
        host = self.hosts.get(target)
        reaches = host is not None and host.is_up and (source, target) not in self.cut
        if reaches:
            self.delivered.append(packet)
            self.call(target, lambda raft: raft.step(source, message, self.now))
        if isinstance(message, InstallSnapshot) and self.hosts[source].is_up and not keep:
            self._finish_snapshot(source, target, delivered=reaches)

    def settle(self, *, limit: int = 5000) -> None:
        """Deliver everything, in order, until nothing is on its way."""
        while self.network:
            limit -= 1
            assert limit > 0, "the cluster does not come to rest"
            self.deliver()

    def run(self, seconds: float, *, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass, ticking at deadlines and delivering everything at once."""
        end = self.now + seconds
        self.settle()
        while not (until and until()):
            due = min(h.raft.deadline() for h in self.hosts.values() if h.is_up)
            if due > end:
                self.now = end
                return until is None
            self.now = max(self.now, due)
            self.tick_due()
            self.settle()
        return True

    def tick_due(self) -> None:
        for host in list(self.hosts.values()):
            if host.is_up and host.raft.deadline() <= self.now:
                self.call(host.node_id, lambda raft: raft.tick(self.now))

    def partition(self, *groups: Iterable[str]) -> None:
        """Let only nodes of the same group hear one another."""
        home = {NodeId(name): number for number, group in enumerate(groups) for name in group}
        self.cut = {(a, b) for a in self.hosts for b in self.hosts if home.get(a) != home.get(b)}

    def heal(self) -> None:
        self.cut = set()

    # -------------------------------------------------------- shortcuts

    def elect(self, name: str) -> Raft:
        """Make `name` campaign and win, then settle."""
        host = self.host(name)
        for other in self.hosts.values():
            state = other.raft.observe()
            state.leader_contact = float("-inf")
        self.now = max(self.now, host.raft.deadline())
        host.raft.observe().election_deadline = self.now
        self.call(name, lambda raft: raft.tick(self.now))
        self.settle()
        assert host.raft.role is Role.LEADER
        return host.raft

    def propose(
        self, name: str, payload: bytes = b"x", kind: EntryKind = EntryKind.TRANSACTIONS
    ) -> Entry:
        """Propose on a node and return the entry."""
        found: list[Entry] = []
        count = 1 if kind is EntryKind.TRANSACTIONS else 0
        self.call(name, lambda raft: found.append(raft.propose(kind, payload, count, self.now, 1)))
        return found[0]

    def leader(self) -> Raft | None:
        """Return the live leader of the highest term, if any."""
        leaders = [h.raft for h in self.hosts.values() if h.is_up and h.raft.role is Role.LEADER]
        return max(leaders, key=lambda raft: raft.term, default=None)

    def read(self, name: str, context: int = 1) -> None:
        self.call(name, lambda raft: raft.read_index(context, self.now))

    def sent(self, kind: type, target: str | None = None) -> list[Message]:
        """Return messages of a type on their way (to `target`)."""
        return [m for _, t, m in self.network if isinstance(m, kind) and target in {None, t}]

    def drop(self, keep: Callable[[Packet], bool] = lambda _: False) -> None:
        """Lose what is on its way; a lost snapshot stream is seen by its sender."""
        lost = [packet for packet in self.network if not keep(packet)]
        self.network = [packet for packet in self.network if keep(packet)]
        for source, target, message in lost:
            if isinstance(message, InstallSnapshot) and self.hosts[source].is_up:
                self._finish_snapshot(source, target, delivered=False)

    def _finish_snapshot(self, source: NodeId, target: NodeId, *, delivered: bool) -> None:
        self.call(source, lambda raft: raft.snapshot_finished(target, delivered, self.now))

    # -------------------------------------------------------- checks

    def _check(self, host: Host, before: invariants.Observation) -> None:
        raft = host.raft
        state = raft.observe()
        invariants.check(state)
        invariants.check_step(before, state)
        if raft.role is Role.LEADER and before.role is not Role.LEADER:
            self._check_new_leader(host)
        while host.applied < raft.commit_index:
            index = Index(host.applied + 1)
            host.applied = index
            checksum = raft.log.checksum(index)
            if checksum is not None:
                known = self.committed.setdefault(index, checksum)
                assert known == checksum, f"{host.node_id} committed another entry at {index}"

    def _check_new_leader(self, host: Host) -> None:
        raft = host.raft
        known = self.leaders.setdefault(raft.term, host.node_id)
        assert known == host.node_id, f"two leaders in term {raft.term}"
        for index, checksum in self.committed.items():
            held = raft.log.checksum(index)
            compacted = index < raft.log.boundary.index
            assert compacted or held == checksum, f"leader of {raft.term} lacks {index}"

    def positions(self, name: str) -> list[Position]:
        """Return the positions of a node's log above the boundary."""
        log = self[name].log
        return [log.entry(Index(i)).position for i in range(log.first_index, log.last_index + 1)]
