"""A leader's keeper of the members, alone: the test draws the cluster up, and plays the others."""

from __future__ import annotations

import types

from raftlog.core.entries import EntryKind
from raftlog.core.membership import Member, Membership
from raftlog.errors import NotLeader, RaftLogError
from raftlog.interfaces import MemberOrder, MembershipOutcome, MemberVerb
from raftlog.node.members import Members, Plan
from raftlog.node.settings import NodeSettings
from raftlog.types import NodeId, Role
from tests.node.harness import Notebook
from tests.node.parts import HandClock, new_inputs, new_ports

ME, B, C, D, E = (NodeId(name) for name in "abcde")
LAST = 50_000
ELECTION_SECONDS = NodeSettings().core.election_timeout_seconds


def member(name: str, **fields) -> Member:
    """Return a member whose directory is known."""
    values = {"address": f"{name}:1", "instance_id": f"i-{name}", **fields}
    return Member(node_id=NodeId(name), **values)


def group(voters: str, learners: str = "", promoting: str = "", **changes) -> Membership:
    """Return a membership of these, one letter each; `changes`: fields of single members."""
    return Membership(
        members=tuple(member(name, **changes.get(name, {})) for name in sorted(voters + learners)),
        voters=frozenset(map(NodeId, voters)),
        learners=frozenset(map(NodeId, learners)),
        promoting=frozenset(map(NodeId, promoting)),
    )


def order(verb: str, node_id: str, **fields) -> MemberOrder:
    """Return an order; one to add has an address."""
    if verb == "add":
        fields.setdefault("address", f"{node_id}:1")
    return MemberOrder(verb=MemberVerb(verb), node_id=NodeId(node_id), **fields)


class Core:
    """A leader's view of a cluster that the test draws up."""

    def __init__(self, membership: Membership) -> None:
        self.role, self.term = Role.LEADER, 3
        self.membership = self.committed_membership = membership
        self.membership_index, self.commit_index, self.last_index = 10, 20, LAST
        self.progress: dict[str, types.SimpleNamespace] = {}

    def progress_of(self, peer: str):
        return self.progress.get(peer)


class Rig:
    """The members' keeper of leader "a"; every peer is there, and holds everything."""

    def __init__(self, membership: Membership, **settings) -> None:
        self.core = Core(membership)
        self.clock, self.notes = HandClock(), Notebook()
        self.away: set[str] = set()
        self.proposed: list[Membership] = []
        self.refusal: RaftLogError | None = None
        self.is_deposed, self.falls = False, ""
        """Whether another one leads, or when it will."""
        self.asked = 0
        """How often a quorum was asked whether this one leads."""
        for name in membership.node_ids:
            self.hear(name)
        self.members = Members(
            new_ports(
                clock=self.clock,
                observer=self.notes,
                settings=NodeSettings(**settings),
                storage=types.SimpleNamespace(identity=types.SimpleNamespace(node_id=ME)),
                transport=types.SimpleNamespace(is_connected=lambda peer: peer not in self.away),
            ),
            new_inputs(self.core),
            self,  # the way to write
            self,  # the hand-over
            self,  # the reads
            types.SimpleNamespace(require_level=lambda level, what: None),
        )
        self.handed: list[frozenset[NodeId]] = []

    def hear(self, name: str, *, lacks: int = 0, ago: float = 0.0) -> None:
        """Let a peer be heard of, so long ago, with a log that lacks so many entries."""
        self.core.progress[name] = types.SimpleNamespace(
            match_index=LAST - lacks, last_contact=self.clock.now - ago, is_damaged=False
        )

    def plan(self, *orders: MemberOrder, version: int = 0) -> Plan:
        plan = self.members.plan(orders, version=version)
        assert plan is not None
        return plan

    def take_effect(self, membership: Membership) -> None:
        """Let a membership be in force, and committed."""
        self.core.membership = self.core.committed_membership = membership
        self.members.changed()

    async def change(self, *orders: MemberOrder, **how) -> MembershipOutcome:
        asked = {"version": 0, "dry_run": False, "force": False, "timeout_seconds": 5.0, **how}
        return await self.members.change(orders, **asked)

    # What is asked of the other parts.

    def require_open(self) -> None:
        if self.is_deposed:
            raise NotLeader("another one leads")

    async def wait_read_index(self) -> None:
        self.asked += 1
        self.is_deposed = self.is_deposed or self.falls == "asked"

    async def prepare(self, target, seconds, *, mock, without):
        self.handed.append(without)
        self.is_deposed = self.falls == "handing over"
        return types.SimpleNamespace(target=C)

    def propose_plain(self, kind: EntryKind, payload: bytes) -> None:
        assert kind is EntryKind.MEMBERSHIP
        if self.refusal is not None:
            raise self.refusal
        self.proposed.append(Membership.decode(payload))

    async def append_own(self, kind: EntryKind, payload: bytes, seconds: float):
        self.propose_plain(kind, payload)
        self.core.membership = self.core.committed_membership = self.proposed[-1]
        self.core.membership_index = self.core.commit_index = 30
        return types.SimpleNamespace(index=30)
