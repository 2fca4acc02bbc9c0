"""The leader's view of one peer: how far it is, and how to send to it.

Three states, with one table of what may follow what (etcd's tracker). PROBE: where the two logs
part is unknown; one AppendRequest at a time. REPLICATE: they agree at `match_index`; AppendRequests
are pipelined within a window of bytes and of messages. SNAPSHOT: the log no longer reaches back to
what the peer needs; nothing is sent until the snapshot's stream has ended.
"""

from __future__ import annotations

import collections
import dataclasses
import enum

from raftlog.core.settings import CoreSettings
from raftlog.errors import invariant
from raftlog.types import Index

PATIENCE_MAX = 32
"""So many times the usual wait an answer may be given at most (`Progress.patience`)."""


class ProgressState(enum.Enum):
    """How the leader sends to a peer."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


PROGRESS_TRANSITIONS: dict[ProgressState, frozenset[ProgressState]] = {
    ProgressState.PROBE: frozenset(
        {ProgressState.PROBE, ProgressState.REPLICATE, ProgressState.SNAPSHOT}
    ),
    ProgressState.REPLICATE: frozenset({ProgressState.PROBE, ProgressState.SNAPSHOT}),
    ProgressState.SNAPSHOT: frozenset({ProgressState.PROBE}),
}


class Inflights:
    """A window of unacknowledged AppendRequests, bounded in messages and in bytes.

    Each is known by the last index it carries, which only grows; an ack frees all up to its match.
    Invariant: `bytes` is the sum of what is in the window (S23: a leak here stops replication).
    """

    __slots__ = ("_bytes_max", "_count_max", "_window", "bytes")

    def __init__(self, count_max: int, bytes_max: int) -> None:
        self._window: collections.deque[tuple[Index, int]] = collections.deque()
        self._count_max = count_max
        self._bytes_max = bytes_max
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._window)

    @property
    def is_full(self) -> bool:
        """Whether the next AppendRequest must wait for an ack."""
        return len(self._window) >= self._count_max or self.bytes >= self._bytes_max

    def add(self, last_index: Index, size: int) -> None:
        """Note one AppendRequest that ends at `last_index`."""
        self._window.append((last_index, size))
        self.bytes += size

    def free_to(self, match_index: Index) -> None:
        """Forget every AppendRequest that ends at or below `match_index`."""
        window = self._window
        while window and window[0][0] <= match_index:
            self.bytes -= window.popleft()[1]

    def clear(self) -> None:
        """Forget all of them."""
        self._window.clear()
        self.bytes = 0

    def total(self) -> int:
        """Return the sum of the window's sizes, counted anew (for `invariants`)."""
        return sum(size for _, size in self._window)


class Progress:
    """One peer's progress. Only its methods write its state.

    Invariant: match_index < next_index (S23). `match_index` is what the peer durably shares with
    this leader's log, as acked in this term since the peer last connected; it may be reset to 0,
    which commits nothing and undoes nothing. `commit_sent` is the commit index the peer was told.
    `read_round` is the newest heartbeat round it answered. `applied_index` is how far its machine
    was then, and `lacks_room` whether its disk took no entries, both by its own word, as is whether
    its log `is_damaged`; None: it has not said since it connected. `patience` is how many times the
    usual wait an answer is given before what is on its way is sent anew.
    """

    __slots__ = (
        "applied_index",
        "commit_sent",
        "inflights",
        "is_damaged",
        "is_paused",
        "lacks_room",
        "last_contact",
        "last_progress",
        "match_index",
        "next_index",
        "patience",
        "probed_at",
        "read_round",
        "state",
    )

    def __init__(self, next_index: Index, settings: CoreSettings, now: float) -> None:
        self.state = ProgressState.PROBE
        self.match_index = Index(0)
        self.next_index = next_index
        self.inflights = Inflights(settings.inflight_count_max, settings.inflight_bytes_max)
        self.is_paused = False
        self.last_contact = now
        self.last_progress = now
        self.probed_at = now
        self.commit_sent = Index(0)
        self.read_round = 0
        self.patience = 1
        self.applied_index: Index | None = None
        self.lacks_room = False
        self.is_damaged: bool | None = None

    def _become(self, state: ProgressState) -> None:
        invariant(
            state in PROGRESS_TRANSITIONS[self.state],
            f"progress cannot go from {self.state.value} to {state.value}",
        )
        self.state = state
        self.is_paused = False
        self.inflights.clear()

    def become_probe(self, next_index: Index) -> None:
        """Look for where the logs part, beginning before `next_index`."""
        self._become(ProgressState.PROBE)
        self.next_index = Index(max(next_index, self.match_index + 1))

    def become_replicate(self, now: float) -> None:
        """Pipeline from behind what matched."""
        self._become(ProgressState.REPLICATE)
        self.next_index = Index(self.match_index + 1)
        self.last_progress = now

    def become_snapshot(self) -> None:
        """Wait for a snapshot stream to end."""
        self._become(ProgressState.SNAPSHOT)

    def look_again(self) -> None:
        """Probe anew from where this peer was sent to last, or where it is known to agree.

        A probe whose answer is not in yet keeps its place: beginning at the match of a peer never
        heard in this term would mean beginning at the start of the log.
        """
        if self.state is ProgressState.REPLICATE:
            self.become_probe(Index(self.match_index + 1))
        elif self.state is ProgressState.PROBE:
            self.become_probe(self.next_index)

    def wait_longer(self) -> None:
        """Give the next answer twice the time: what is sent anew may only be slow.

        Over a link that takes longer for a message than the usual wait, each repetition delays
        all that comes behind it, and with it the answer that would end the repetitions. A peer
        whose disk is full drops what it is sent without an answer: it is not slow, and is soon
        asked again.
        """
        if not self.lacks_room:
            self.patience = min(2 * self.patience, PATIENCE_MAX)

    def forget_match(self) -> None:
        """Probe anew a peer that may have lost what it had acked (decision 8)."""
        self.look_again()
        self.match_index = Index(0)

    def acked(self, match_index: Index, now: float) -> bool:
        """Take a successful ack; return whether it tells more than was known."""
        self.inflights.free_to(match_index)
        if match_index <= self.match_index:
            return False
        self.match_index = match_index
        self.last_progress = now
        if self.next_index <= match_index:
            self.next_index = Index(match_index + 1)
        return True

    def sent(self, last_index: Index, size: int, now: float) -> None:
        """Note one AppendRequest that ends at `last_index`."""
        if self.state is ProgressState.PROBE:
            self.is_paused = True
            self.probed_at = now
            return
        if not self.inflights.bytes:
            self.last_progress = now
        self.next_index = Index(last_index + 1)
        self.inflights.add(last_index, size)

    def copy(self) -> PeerProgress:
        """Return what others may know of it."""
        return PeerProgress(
            state=self.state,
            match_index=self.match_index,
            next_index=self.next_index,
            last_contact=self.last_contact,
            inflight_bytes=self.inflights.bytes,
            lacks_room=self.lacks_room,
            is_damaged=self.is_damaged,
            applied_index=self.applied_index,
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PeerProgress:
    """A copy of a peer's progress for status and metrics."""

    state: ProgressState
    match_index: Index
    next_index: Index
    last_contact: float
    inflight_bytes: int
    lacks_room: bool
    is_damaged: bool | None
    applied_index: Index | None
