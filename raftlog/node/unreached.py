"""What clients say of a leader that they cannot reach, while its members can (decision 41).

Nobody but a client can know that its own way to the leader is closed. It tells the member that it
asks who leads. That is believed for an alarm, and for nothing else: whoever may ask who leads may
say so, and must not be able to move leadership by it. It counts where this member follows that very
leader, in that term, and is connected with it; and only once it was said over a time in which a
leader that died would have been followed by another one.
"""

from __future__ import annotations

from collections.abc import Callable

from raftlog.core.ready import Standing
from raftlog.interfaces import Clock
from raftlog.types import NodeId

TOLD_SECONDS = 30.0
"""Said no more for so long, it is over."""
SPAN_SECONDS = 5.0
"""Over so long a time it was said, at least."""
TOLD_MIN = 5
CLIENTS_MAX = 64
"""Of so many hosts it is known that they said so."""


class UnreachedLeader:
    """Counts what was said of one leader in one term; bounded, whatever is said."""

    def __init__(
        self, clock: Clock, is_connected: Callable[[NodeId], bool], election_timeout_seconds: float
    ) -> None:
        self._monotonic = clock.monotonic
        self._is_connected = is_connected
        self._span_seconds = max(SPAN_SECONDS, 4 * election_timeout_seconds)
        self._about: Standing | None = None
        self._first = self._last = 0.0
        self._count = 0
        self._clients: dict[str, None] = {}

    def told(self, client: str, term: int, standing: Standing) -> None:
        """Take that a client on that host cannot reach the leader of that term."""
        leader = standing.leader
        if leader is None or int(standing.term) != term or not self._is_connected(leader):
            return
        now = self._monotonic()
        if self._about != standing or now - self._last > TOLD_SECONDS:
            self._about, self._first, self._count = standing, now, 0
            self._clients.clear()
        self._last = now
        self._count += 1
        if len(self._clients) < CLIENTS_MAX:
            self._clients[client] = None

    def alarm(self, standing: Standing) -> str | None:
        """Return what clients say of the leader that is followed now, or None."""
        span = self._last - self._first
        is_over = self._about != standing or self._monotonic() - self._last > TOLD_SECONDS
        if is_over or self._count < TOLD_MIN or span < self._span_seconds:
            return None
        hosts = "one host" if len(self._clients) == 1 else f"{len(self._clients)} hosts"
        if len(self._clients) == CLIENTS_MAX:
            hosts = f"{CLIENTS_MAX} hosts or more"
        return (
            f"clients on {hosts} have said for {span:.0f} s that they cannot reach the leader "
            f"{standing.leader}, and this member can"
        )
