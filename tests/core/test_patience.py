"""How long a leader waits before it sends anew what may only be slow (`Progress.patience`)."""

from __future__ import annotations

from raftlog.core.entries import EntryKind
from raftlog.core.messages import AppendRequest, AppendResponse, HeartbeatResponse
from raftlog.types import Index, Term

from .lone import B, C, Lone


def propose(node: Lone, size: int = 1) -> None:
    """Propose one entry."""
    node.call(lambda raft: raft.propose(EntryKind.TRANSACTIONS, b"p" * size, 1, node.now, 5))


class SlowLink:
    """To one follower, `BYTES_PER_SECOND` and in order; heartbeats have a channel of their own."""

    BYTES_PER_SECOND = 1_000_000

    def __init__(self, node: Lone) -> None:
        self.node = node
        self.bytes = 0
        self.match = 1
        self._queue: list[tuple[float, AppendRequest]] = []
        self._busy_until = node.now

    def step(self) -> None:
        """Let a hundredth of a second pass, and hand on and answer what came through."""
        node = self.node
        node.tick(0.01)
        for message in node.of(AppendRequest, B):
            size = sum(len(entry.payload) for entry in message.entries)
            self.bytes += size
            self._busy_until = max(self._busy_until, node.now) + size / self.BYTES_PER_SECOND
            self._queue.append((self._busy_until, message))
        node.sent.clear()
        for peer in (B, C):
            node.step(peer, HeartbeatResponse(term=Term(1), context=node.leadership.round))
        while self._queue and self._queue[0][0] <= node.now:
            _, message = self._queue.pop(0)
            last = Index(message.previous.index + len(message.entries))
            self.match = max(self.match, last)
            node.step(B, AppendResponse(term=Term(1), success=True, match_index=last))


def test_what_a_slow_link_carries_is_not_sent_again_and_again() -> None:
    """A message that takes longer than an election timeout delays others, but does not repeat them.

    Of 24 through 1 MB/s, 600 were sent before each repetition doubled the patience.
    """
    node = Lone()
    node.lead_settled()
    link = SlowLink(node)
    size = 1 << 20
    for _ in range(24):
        propose(node, size=size)
    while link.match < 25 and node.now < 200:
        link.step()
    assert link.match == 25
    assert link.bytes < 2 * 24 * size
    for _ in range(3000):
        link.step()
    before = link.bytes
    for _ in range(5):
        propose(node)
        link.step()
    assert link.bytes == before + 5
    assert node.leadership.progress[B].patience == 1


def test_a_disk_that_has_room_again_is_offered_entries_at_once() -> None:
    """A full one drops what it is sent and says nothing, which is no sign of a slow link."""
    node = Lone()
    node.lead_settled()
    propose(node)

    def beat(*, lacks_room: bool) -> None:
        node.tick(0.01)
        answer = HeartbeatResponse(
            term=Term(1), context=node.leadership.round, lacks_room=lacks_room
        )
        for peer in (B, C):
            node.step(peer, answer)

    for _ in range(2000):
        beat(lacks_room=True)
    for _ in range(30):
        node.sent.clear()
        beat(lacks_room=False)
        if node.of(AppendRequest, B):
            return
    raise AssertionError("nothing was offered within 0.3 s")


def test_streams_that_broke_end_the_patience() -> None:
    """What was queued in them is gone, so the next probe waits for nobody."""
    node = Lone()
    node.lead_settled()
    node.leadership.progress[B].patience = 32
    node.call(lambda raft: raft.peer_lost(B, node.now))
    assert node.leadership.progress[B].patience == 1


def test_reads_are_confirmed_by_new_streams_alone() -> None:
    """What a peer confirmed over its former streams confirms nothing once it has new ones."""
    node = Lone()
    node.lead_settled()
    node.leadership.progress[B].read_round = 7
    node.call(lambda raft: raft.peer_connected(B, node.now))
    assert node.leadership.progress[B].read_round == 0


def test_patience_is_with_a_link_and_ends_with_it() -> None:
    """A probe that is not answered waits twice as long each time; new streams begin anew."""
    node = Lone()
    node.lead_settled()

    def probes(steps: int) -> int:
        node.sent.clear()
        for _ in range(steps):
            node.tick(0.01)
            node.step(B, HeartbeatResponse(term=Term(1), context=node.leadership.round))
        return len(node.of(AppendRequest, B))

    node.call(lambda raft: raft.peer_connected(B, node.now))
    assert [probes(50) for _ in range(5)] == [1, 1, 1, 0, 0]
    node.call(lambda raft: raft.peer_connected(B, node.now))
    assert node.leadership.progress[B].patience == 1
    assert probes(50) == 1
