"""What a client learns of addresses that it cannot reach: why, and whether the leader is there.

A leader that this client cannot reach while others follow it looks well to everybody else. So who
searches in vain for long tells the other members of it, with the probes that it sends them anyway
(decision 41).
"""

from __future__ import annotations

import asyncio
import dataclasses

import grpc

from raftlog.client.routing import Answer
from raftlog.client.whose import Label
from raftlog.wire.diagnosis import Finding
from raftlog.wire.status import UNREACHED_KEY

UNREACHED_SECONDS = 2.0
"""A leader that died is not named for longer, where elections take what they take by default."""
MISSES_MIN = 4
GAP_SECONDS = 5.0
"""Who was not looked for so long is looked for anew."""
NO_ANSWER = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


@dataclasses.dataclass(frozen=True, slots=True)
class Diagnosis:
    """A look at an address that could not be reached."""

    task: asyncio.Task[Finding | None]
    begun_at: float

    @property
    def finding(self) -> Finding | None:
        """Return what was found, if anything was by now."""
        if not self.task.done() or self.task.cancelled() or self.task.exception() is not None:
            return None
        return self.task.result()


@dataclasses.dataclass(frozen=True, slots=True)
class _Named:
    """Who leads by the word of another member."""

    node_id: str
    address: str
    term: int


class UnreachedLeader:
    """Whether probes of the leader that others name stay without an answer."""

    def __init__(self) -> None:
        self._named: _Named | None = None
        self._misses = 0
        self._since = self._last = 0.0

    def answered(self, answer: Answer) -> None:
        """Take what a member said; the one that leads has been reached by it."""
        named = self._named
        if answer.leader_id in {"", answer.served_by} or not answer.leader_address:
            if named is not None and answer.served_by == named.node_id:
                self._misses = 0
            return
        now = _Named(answer.leader_id, answer.leader_address, answer.term)
        if named is None or now.term > named.term or (now.term == named.term and now != named):
            self._named, self._misses = now, 0

    def missed(self, address: str, code: grpc.StatusCode, now: float) -> None:
        """Take that a probe had no answer."""
        if self._named is None or address != self._named.address or code not in NO_ANSWER:
            return
        if not self._misses or now - self._last > GAP_SECONDS:
            self._since, self._misses = now, 0
        self._misses += 1
        self._last = now

    def label(self, now: float) -> Label | None:
        """Return what a probe says of it, if it has lasted: the term of that leader."""
        named = self._named
        if named is None or self._misses < MISSES_MIN or now - self._last > GAP_SECONDS:
            return None
        if self._last - self._since < UNREACHED_SECONDS:
            return None
        return ((UNREACHED_KEY, str(named.term)),)
