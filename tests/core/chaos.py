"""A cluster under a schedule of faults: every step is one small decision, so schedules shrink.

`Chaos.step(choice, a, b)` does one thing to the cluster; `a` and `b` pick what it is done to. All
checks of `Cluster` run after every input; reads are checked here: the index a read is answered with
must cover everything any node knew committed when the read was asked.
"""

from __future__ import annotations

from collections.abc import Callable

from raftlog.core.entries import EntryKind
from raftlog.core.membership_change import (
    MemberChange,
    MemberChangeKind,
    enter_joint,
    simple,
)
from raftlog.core.settings import CoreSettings
from raftlog.core.trial import Wish
from raftlog.errors import MembershipRejected, RaftLogError
from raftlog.types import Index, NodeId, Role

from .cluster import Cluster, Host, member, voters

NAMES = ("a", "b", "c", "d", "e")


class Chaos:
    """Drives one cluster; `steps` is the table of what a choice means."""

    def __init__(
        self,
        *,
        seed: int = 0,
        initial: tuple[str, ...] = ("a", "b", "c"),
        settings: CoreSettings | None = None,
        witness: str = "",
    ) -> None:
        membership = voters(*initial, witnesses=witness)
        self.cluster = Cluster(
            *NAMES, settings=settings or CoreSettings(), membership=membership, seed=seed
        )
        self.cluster.persist_at_once = False
        self.asked: dict[int, Index] = {}
        self.context = 0
        self.answered = 0
        self.transfers = 0
        calm: list[Callable[[int, int], None]] = [
            self.deliver, self.deliver, self.deliver, self.deliver, self.deliver, self.deliver,
            self.deliver_in_order, self.deliver_in_order, self.deliver_in_order,
            self.persist, self.persist, self.persist, self.persist,
            self.propose, self.propose, self.pass_time, self.pass_time, self.read,
        ]  # fmt: skip
        rough: list[Callable[[int, int], None]] = [
            self.duplicate, self.drop, self.crash, self.restart, self.cut, self.heal,
            self.change_membership, self.purge, self.transfer, self.lose_peer, self.rot, self.stall,
            self.prepare_transfer, self.cancel_transfer,
        ]  # fmt: skip
        self.steps = calm * 5 + [self.restart, self.restart, self.heal, self.heal] * 2 + rough

    def step(self, choice: int, a: int, b: int) -> None:
        """Do one thing."""
        self.steps[choice % len(self.steps)](a, b)
        self.collect_reads()

    # -------------------------------------------------------- picking

    def host(self, a: int) -> Host:
        hosts = list(self.cluster.hosts.values())
        return hosts[a % len(hosts)]

    def leader(self, a: int) -> Host | None:
        leaders = [h for h in self.cluster.hosts.values() if h.is_up and h.raft.role is Role.LEADER]
        return leaders[a % len(leaders)] if leaders else None

    # -------------------------------------------------------- steps

    def deliver(self, a: int, b: int) -> None:
        if self.cluster.network:
            self.cluster.deliver(a % len(self.cluster.network))

    def deliver_in_order(self, a: int, b: int) -> None:
        for _ in range(min(b % 16, len(self.cluster.network))):
            self.cluster.deliver()

    def duplicate(self, a: int, b: int) -> None:
        if self.cluster.network:
            self.cluster.deliver(a % len(self.cluster.network), keep=True)

    def drop(self, a: int, b: int) -> None:
        if self.cluster.network:
            victim = self.cluster.network[a % len(self.cluster.network)]
            self.cluster.drop(lambda packet: packet is not victim)

    def persist(self, a: int, b: int) -> None:
        host = self.host(a)
        for _ in range(min(1 + b % 2, len(host.rounds))):
            self.cluster.persist(host.node_id)

    def pass_time(self, a: int, b: int) -> None:
        self.cluster.now += (b % 16) * 0.02
        host = self.host(a)
        if host.is_up and host.raft.deadline() <= self.cluster.now:
            self.cluster.call(host.node_id, lambda raft: raft.tick(self.cluster.now))

    def propose(self, a: int, b: int) -> None:
        leader = self.leader(a)
        if leader is not None:
            self.attempt(leader, lambda: self.cluster.propose(leader.node_id, b"p" * (b % 5)))

    def attempt(self, host: Host, action: Callable[[], object]) -> None:
        try:
            action()
        except RaftLogError as error:
            if not error.definite:
                raise

    def read(self, a: int, b: int) -> None:
        host = self.host(a)
        if host.is_up:
            self.context += 1
            self.asked[self.context] = max(h.applied for h in self.cluster.hosts.values())
            self.cluster.read(host.node_id, self.context)

    def collect_reads(self) -> None:
        for host in self.cluster.hosts.values():
            for outcome in host.reads:
                wanted = self.asked.pop(outcome.context)
                if outcome.index is not None:
                    self.answered += 1
                    assert outcome.index >= wanted, f"stale read on {host.node_id}"
            host.reads.clear()

    def crash(self, a: int, b: int) -> None:
        host = self.host(a)
        if host.is_up:
            self.cluster.crash(host.node_id)

    def restart(self, a: int, b: int) -> None:
        host = self.host(a)
        if not host.is_up:
            self.cluster.restart(host.node_id)

    def cut(self, a: int, b: int) -> None:
        names = list(self.cluster.hosts)
        side = {name for number, name in enumerate(names) if a >> number & 1}
        self.cluster.partition(side, set(names) - side)

    def heal(self, a: int, b: int) -> None:
        self.cluster.heal()

    def transfer(self, a: int, b: int) -> None:
        leader = self.leader(a)
        if leader is not None:
            target = None if b % 3 == 0 else self.host(b).node_id
            call = self.cluster.call
            self.attempt(
                leader,
                lambda: call(leader.node_id, lambda r: r.transfer(target, self.cluster.now)),
            )

    def prepare_transfer(self, a: int, b: int) -> None:
        leader = self.leader(a)
        if leader is not None:
            target = None if b % 3 == 0 else self.host(b).node_id
            call, now = self.cluster.call, self.cluster.now
            wish = Wish(target=target, mock=b % 4 > 0, seconds=b % 5)
            self.attempt(
                leader, lambda: call(leader.node_id, lambda r: r.prepare_transfer(wish, now))
            )

    def cancel_transfer(self, a: int, b: int) -> None:
        leader = self.leader(a)
        if leader is not None:
            self.cluster.call(leader.node_id, lambda r: r.cancel_transfer())

    def lose_peer(self, a: int, b: int) -> None:
        host, peer = self.host(a), self.host(b).node_id
        if host.is_up and host.node_id != peer:
            self.cluster.call(host.node_id, lambda raft: raft.peer_lost(peer, self.cluster.now))

    def stall(self, a: int, b: int) -> None:
        host = self.host(a)
        if host.is_up:
            self.cluster.call(host.node_id, lambda raft: raft.stalled(self.cluster.now))

    def purge(self, a: int, b: int) -> None:
        host = self.host(a)
        low, high = host.disk.boundary.index, min(host.raft.commit_index, host.disk.last_index)
        if host.is_up and not host.rounds and low < high:
            boundary = host.disk.purge(Index(low + 1 + b % (high - low)))
            self.cluster.call(host.node_id, lambda raft: raft.compacted(boundary))

    def rot(self, a: int, b: int) -> None:
        """Damage one record of one node while all others hold all they ever acked."""
        hosts = self.cluster.hosts.values()
        host = self.host(a)
        low, high = host.disk.boundary.index, host.disk.last_index
        if low == high or any(h.disk.is_damaged or h.raft.is_damaged for h in hosts):
            return
        self.crash(a, b)
        host.disk.rot(Index(low + 1 + b % (high - low)))
        self.cluster.restart(host.node_id)

    def change_membership(self, a: int, b: int) -> None:
        leader = self.leader(a)
        if leader is None:
            return
        current = leader.raft.membership
        try:
            if b % 4 == 0:
                changes = [self._change(current, a + i, b + i) for i in range(1 + b % 3)]
                after = enter_joint(current, changes)
            else:
                after = simple(current, self._change(current, a, b))
        except MembershipRejected:
            return
        propose = self.cluster.propose
        self.attempt(leader, lambda: propose(leader.node_id, after.encode(), EntryKind.MEMBERSHIP))

    def _change(self, current: object, a: int, b: int) -> MemberChange:
        name = NodeId(NAMES[b % len(NAMES)])
        kind = list(MemberChangeKind)[a % len(MemberChangeKind)]
        return MemberChange(kind=kind, node_id=name, member=member(name))

    # -------------------------------------------------------- the end

    def finish(self) -> None:
        """Heal everything and check that the cluster works again (liveness)."""
        cluster = self.cluster
        cluster.heal()
        cluster.drop()
        cluster.persist_at_once = True
        for host in cluster.hosts.values():
            if not host.is_up:
                cluster.restart(host.node_id)
            cluster.persist_all(host.node_id)
        for host in cluster.hosts.values():
            for peer in cluster.hosts:
                if peer != host.node_id:
                    cluster.call(
                        host.node_id,
                        lambda raft, peer=peer: raft.peer_connected(peer, cluster.now),
                    )
        if not cluster.run(30, until=self._is_whole):
            # Two voters of which one is damaged can never elect: refusing to is what is right.
            assert any(h.raft.is_damaged for h in cluster.hosts.values()), self.describe()
            return
        leader = cluster.leader()
        assert leader is not None
        assert leader.leader is not None
        entry = cluster.propose(leader.leader)
        assert cluster.run(10, until=lambda: self._all_reach(entry.index)), self.describe()
        self.collect_reads()

    def _is_whole(self) -> bool:
        leader = self.cluster.leader()
        return (
            leader is not None
            and leader.has_committed_in_term
            and not leader.membership.is_joint
            and leader.leader in leader.membership.voters - leader.membership.witnesses
            and leader.transferee is None
        )

    def _all_reach(self, index: Index) -> bool:
        leader = self.cluster.leader()
        assert leader is not None
        members = leader.membership.node_ids
        hosts = self.cluster.hosts
        return all(hosts[m].raft.commit_index >= index for m in members) and not any(
            hosts[m].raft.is_damaged for m in members
        )

    def describe(self) -> str:
        """Return one line for each node, for failures."""
        rows = []
        for host in self.cluster.hosts.values():
            raft = host.raft
            membership = raft.membership
            rows.append(
                f"{host.node_id}: {raft.role.value} term {raft.term} leader {raft.leader} "
                f"last {raft.last_position} commit {raft.commit_index} "
                f"damaged {raft.is_damaged} voters {sorted(membership.voters)} "
                f"outgoing {sorted(membership.outgoing)} learners {sorted(membership.learners)}"
            )
        return "\n".join(rows)
