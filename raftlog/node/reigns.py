"""Reigns: who led when, why it changed, how long the switch took and how long writes stood still.

Each member keeps the newest ones in memory. Of others' it knows when they began, of its own the
steps as well; whoever asks all members puts the whole together. No clock of another member is
compared: a gap is measured by the new leader alone, from when it last heard the one before, or by
the word of that one, who says for how long it had refused writes when it handed over.
"""

from __future__ import annotations

import collections
import dataclasses

from raftlog.core.changes import LONG_AGO, Cause, Rise
from raftlog.core.ready import Standing
from raftlog.interfaces import Reign
from raftlog.node.leadership import Steps
from raftlog.node.ports import CoreView, Ports
from raftlog.types import NodeId

REIGNS_MAX = 200
_HANDED_OVER = (Cause.TRANSFER, Cause.PRIORITY)


class Reigns:
    """The leaderships that one member knows of."""

    def __init__(self, ports: Ports, core: CoreView) -> None:
        self._node_id = ports.storage.identity.node_id
        self._clock = ports.clock
        self._core = core
        self._known: collections.deque[Reign] = collections.deque(maxlen=REIGNS_MAX)
        self._rise: Rise | None = None

    @property
    def known(self) -> tuple[Reign, ...]:
        """Return them, oldest first."""
        return tuple(self._known)

    def standing_changed(self, standing: Standing) -> None:
        """Note that a leader is known, or that this member stopped leading."""
        last = self._known[-1] if self._known else None
        if last is not None and last.ended_at is None:
            if (last.leader, last.term) == (standing.leader, standing.term):
                return
            if last.leader == self._node_id:
                fall = self._core.changes.fall
                self._end(last, fall.value if fall is not None else "")
        leader = standing.leader
        if leader is None or (last and (last.leader, last.term) == (leader, standing.term)):
            return
        if last is not None and self._known[-1].ended_at is None:
            self._end(self._known[-1], "")
        previous = None if last is None else last.leader
        self._known.append(self._begun(leader, int(standing.term), previous))

    def opened(self, steps: Steps) -> None:
        """Note that this member takes writes from now on."""
        rise, now = self._rise, self._clock.monotonic()
        for at, reign in enumerate(self._known):
            if (reign.leader, reign.term) == (self._node_id, steps.term):
                self._known[at] = dataclasses.replace(
                    reign,
                    noop_seconds=steps.noop_seconds,
                    on_promote_seconds=steps.on_promote_seconds,
                    gap_seconds=None if rise is None else _gap(rise, now),
                )

    def _begun(self, leader: NodeId, term: int, previous: NodeId | None) -> Reign:
        why, election = "", None
        if leader == self._node_id:
            self._rise = rise = self._core.changes.rise
            if rise is not None:
                why = _why(rise, previous)
                election = self._clock.monotonic() - rise.since
        return Reign(
            term=term,
            leader=leader,
            told_by=self._node_id,
            previous=previous,
            why=why,
            began_at=self._clock.wall_microseconds() / 1e6,
            election_seconds=election,
        )

    def _end(self, reign: Reign, why: str) -> None:
        ended_at = self._clock.wall_microseconds() / 1e6
        self._known[-1] = dataclasses.replace(reign, ended_at=ended_at, ended_why=why)


def _why(rise: Rise, previous: NodeId | None) -> str:
    if rise.heard_at == LONG_AGO:
        return f"{rise.cause.value}; no leader was heard before"
    if previous is None:
        return rise.cause.value
    words = dict.fromkeys(_HANDED_OVER, "from ") | {Cause.ELECTION_TIMEOUT: "without a word of "}
    return f"{rise.cause.value} {words.get(rise.cause, '')}{previous}"


def _gap(rise: Rise, now: float) -> float | None:
    if rise.cause in _HANDED_OVER:
        return now - rise.since + rise.stopped_seconds
    return None if rise.heard_at == LONG_AGO else now - rise.heard_at
