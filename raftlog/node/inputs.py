"""The way into the core: every input is handed in with the time, and followed by a turn.

Rule: nobody else calls an input of the core, and nobody else asks the drive loop for a turn. What
comes of an input (messages, writes, a new standing) leaves by `drive`; a part that gave an input
and forgot the turn would wait for the next timer, so here the two cannot be parted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from raftlog.core.changes import Trial
from raftlog.core.entries import Boundary, Entry, EntryKind
from raftlog.core.membership import Membership
from raftlog.core.messages import Message
from raftlog.core.raft import Raft
from raftlog.core.trial import Cancelled, Wish
from raftlog.interfaces import Clock
from raftlog.node.ports import CoreView
from raftlog.types import Index, NodeId


class Turn(Protocol):
    """Who has the core's turn (`node/drive.py`)."""

    def poke(self) -> None:
        """Have a turn, now or within this pass of the loop."""
        ...

    def fail(self, error: BaseException) -> None:
        """Stop the node: a rule is broken."""
        ...


class Inputs:
    """What may be asked of the core. Refusals are raised as the core's own docstrings say."""

    def __init__(self, raft: Raft, clock: Clock, turn: Turn) -> None:
        self._raft = raft
        self._clock = clock
        self._turn = turn
        self.core: CoreView = raft
        """The core, for reading."""

    # ------------------------------------------------------------ from peers

    def step(self, source: NodeId, message: Message, then: Callable[[], None]) -> None:
        """Take one message from a peer; `then` is called before the turn.

        A rule that it breaks stops the node.
        """
        try:
            self._raft.step(source, message, self._clock.monotonic())
            then()
        except Exception as error:  # noqa: BLE001, a broken invariant stops the node
            self._turn.fail(error)
            return
        self._turn.poke()

    def peer_connected(self, peer: NodeId) -> None:
        """Both streams to `peer` are up."""
        self._raft.peer_connected(peer, self._clock.monotonic())
        self._turn.poke()

    def peer_lost(self, peer: NodeId) -> None:
        """Both streams from `peer` ended, and it had not announced it."""
        self._raft.peer_lost(peer, self._clock.monotonic())
        self._turn.poke()

    def snapshot_finished(self, peer: NodeId, *, delivered: bool) -> None:
        """The snapshot stream to `peer` ended."""
        self._raft.snapshot_finished(peer, delivered, self._clock.monotonic())
        self._turn.poke()

    def forget(self, peer: NodeId) -> None:
        """Two processes answered as `peer`."""
        self._raft.forget(peer)
        self._turn.poke()

    # ------------------------------------------------------------ from clients and operators

    def propose(
        self, kind: EntryKind, payload: bytes, count: int, appended: Callable[[Entry], None]
    ) -> None:
        """Append an entry; `appended` is told of it before the turn that may already apply it."""
        clock = self._clock
        appended(
            self._raft.propose(kind, payload, count, clock.monotonic(), clock.wall_microseconds())
        )
        self._turn.poke()

    def read_index(self, context: int) -> None:
        """Ask for an index that is safe to read at (§6.4)."""
        self._raft.read_index(context, self._clock.monotonic())
        self._turn.poke()

    def transfer(self, target: NodeId | None) -> NodeId:
        """Begin to hand leadership over at once; return to whom."""
        chosen = self._raft.transfer(target, self._clock.monotonic())
        self._turn.poke()
        return chosen

    def prepare_transfer(self, wish: Wish) -> Trial:
        """Begin a transfer that is tried and prepared first."""
        tried = self._raft.prepare_transfer(wish, self._clock.monotonic())
        self._turn.poke()
        return tried

    def cancel_transfer(self) -> Cancelled:
        """Give up the transfer under way."""
        cancelled = self._raft.cancel_transfer()
        self._turn.poke()
        return cancelled

    def step_down(self) -> None:
        """Stop leading without choosing a successor."""
        self._raft.step_down(self._clock.monotonic())
        self._turn.poke()

    # ------------------------------------------------------------ from this node

    def compacted(self, boundary: Boundary) -> None:
        """The storage has purged up to `boundary`."""
        self._raft.compacted(boundary)
        self._turn.poke()

    def tell_fitness(self, *, lacks_room: bool, is_unfit: bool) -> None:
        """Say whether this member's disk takes no entries, and whether it should not lead.

        Its next answers to a leader and to a trial tell it.
        """
        self._raft.tell_fitness(lacks_room=lacks_room, is_unfit=is_unfit)

    def tell_applied(self, applied_index: Index) -> None:
        """Say how far the machine is; its next answer to a leader tells it."""
        self._raft.tell_applied(applied_index)

    def enrol(
        self, *, may_campaign: bool, founding: Membership | None, is_outside: bool = False
    ) -> None:
        """Say whether this member may stand for election, what it would found, and if it is one.

        No turn follows: neither is news to the core before its next deadline.
        """
        self._raft.founding = founding
        self._raft.may_campaign = may_campaign and not is_outside
        self._raft.is_outside = is_outside
