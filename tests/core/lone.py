"""One core alone: the test plays its peers and its disk.

`Lone` keeps what the core sent in `sent`, in order; messages that wait for the disk appear there
only after `persist`. Invariants are checked after every input.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import TypeVar

from raftlog.checksum import chain
from raftlog.core import invariants
from raftlog.core.entries import Entry, HardState
from raftlog.core.membership import Membership
from raftlog.core.messages import (
    AppendRequest,
    AppendResponse,
    HeartbeatRequest,
    Message,
    PreVoteResponse,
    VoteResponse,
)
from raftlog.core.raft import Raft
from raftlog.core.ready import Persist, ReadOutcome, SnapshotNeeded
from raftlog.core.settings import CoreSettings
from raftlog.types import Index, NodeId, Position, Role, Term

from .cluster import Disk, bootstrap, make_entries, voters

A, B, C, D, E = (NodeId(name) for name in "abcde")
M = TypeVar("M")


class Lone:
    """A core named "a" of a, b and c, with a log of these terms."""

    def __init__(
        self,
        terms: Iterable[int] = (),
        *,
        membership: Membership | None = None,
        term: int | None = None,
        vote: NodeId | None = None,
        commit: int = 0,
        settings: CoreSettings | None = None,
        damaged: bool = False,
    ) -> None:
        self.disk = Disk(bootstrap(membership or voters("a", "b", "c")))
        self.origin = self.disk.boundary
        self.disk.log = make_entries(self.origin, terms)
        last = self.disk.log[-1].term if self.disk.log else 0
        self.disk.hard_state = HardState(
            term=Term(last if term is None else term), vote=vote, commit=Index(commit)
        )
        self.disk.is_damaged = damaged
        self.settings = settings or CoreSettings()
        self.now = 10.0
        self.sent: list[tuple[NodeId, Message]] = []
        self.rounds: list[Persist] = []
        self.reads: list[ReadOutcome] = []
        self.snapshots: list[SnapshotNeeded] = []
        self.start()

    def start(self) -> None:
        """(Re)start the core over the disk."""
        self.rounds.clear()
        self.sent.clear()
        self.raft = Raft(
            node_id=A,
            settings=self.settings,
            log=self.disk,
            hard_state=self.disk.hard_state,
            seal=chain,
            random=random.Random(3),
            now=self.now,
            damaged=self.disk.is_damaged,
        )
        self.take()

    @property
    def state(self):
        return self.raft.observe()

    @property
    def leadership(self):
        leadership = self.state.leadership
        assert leadership is not None
        return leadership

    def call(self, action: Callable[[Raft], object], *, take: bool = True) -> None:
        """Give one input, check, and take the Ready."""
        before = invariants.observe(self.state)
        action(self.raft)
        invariants.check(self.state)
        invariants.check_step(before, self.state)
        if take:
            self.take()

    def take(self) -> None:
        while self.raft.has_ready():
            ready = self.raft.take_ready(self.now)
            invariants.check(self.state)
            self.sent += ready.messages
            self.reads += ready.reads
            self.snapshots += ready.snapshots
            if ready.persist is not None:
                self.rounds.append(ready.persist)

    def step(self, source: NodeId, message: Message, *, take: bool = True) -> None:
        self.call(lambda raft: raft.step(source, message, self.now), take=take)

    def tick(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.call(lambda raft: raft.tick(self.now))

    def expire(self) -> None:
        """Let the time come at which the core wants to tick."""
        self.now = max(self.now, self.raft.deadline())
        self.tick()

    def persist(self, count: int = 1000) -> None:
        """Make up to `count` rounds durable, and send what waited for them."""
        while self.rounds and count:
            count -= 1
            done = self.rounds.pop(0)
            self.disk.write(done)
            self.call(lambda raft, done=done: raft.persisted(done.token, self.now), take=False)
            self.sent += done.messages
            self.take()

    def crash(self) -> None:
        self.start()

    def of(self, kind: type[M], target: NodeId | None = None) -> list[M]:
        """Return the messages of a type sent so far (to `target`), and forget all sent."""
        found = [m for t, m in self.sent if isinstance(m, kind) and target in {None, t}]
        self.sent.clear()
        return found

    # -------------------------------------------------------- scripts

    def pre_campaign(self) -> None:
        self.expire()
        assert self.raft.role is Role.PRE_CANDIDATE

    def campaign(self) -> None:
        """Win the pre-vote; the vote requests leave, the own vote is durable."""
        self.pre_campaign()
        self.step(B, PreVoteResponse(term=Term(self.raft.term + 1), granted=True))
        self.persist()
        assert self.raft.role is Role.CANDIDATE

    def lead(self) -> None:
        """Win an election by b's vote; the no-op is durable here."""
        self.campaign()
        self.step(B, VoteResponse(term=self.raft.term, granted=True))
        self.persist()
        assert self.raft.role is Role.LEADER
        self.sent.clear()

    def ack(self, peer: NodeId, index: int | None = None) -> None:
        """Let a peer ack up to `index` (None: everything)."""
        match = Index(self.raft.last_index if index is None else index)
        self.step(peer, AppendResponse(term=self.raft.term, success=True, match_index=match))

    def lead_settled(self) -> None:
        """Lead, with everything committed and pipelined to both peers."""
        self.lead()
        self.ack(B)
        self.ack(C)
        self.persist()
        self.sent.clear()

    def append(
        self,
        entries: Iterable[Entry],
        *,
        term: int,
        commit: int = 0,
        source: NodeId = B,
        previous: Entry | None = None,
    ) -> None:
        """Let a leader send entries that follow `previous` (None: the boundary)."""
        boundary = self.origin
        self.step(
            source,
            AppendRequest(
                term=Term(term),
                previous=previous.position if previous else boundary.position,
                previous_checksum=previous.checksum if previous else boundary.checksum,
                entries=tuple(entries),
                commit_index=Index(commit),
            ),
        )

    def heartbeat(self, *, term: int, commit: int = 0, source: NodeId = B, **fields) -> None:
        values = {"context": 0, "last_index": Index(0), **fields}
        self.step(source, HeartbeatRequest(term=Term(term), commit_index=Index(commit), **values))


def at(term: int, index: int) -> Position:
    """Return a position."""
    return Position(Term(term), Index(index))
