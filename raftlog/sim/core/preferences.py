"""Preferences in engine 1: leaders that hand over by themselves, through the node's own part.

What `node/preference.py` decides is looked at by somebody who keeps books of his own: whom it
chooses, for how long that one was seen fit, and how often the same one was chosen before. Its beat
is the chore of the operators' desk, so it beats more slowly than in a node.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from raftlog.node.preference import DOUBLINGS_MAX, FORGET_TIMEOUTS
from raftlog.sim.checker import require
from raftlog.sim.core.operators import attempt
from raftlog.types import NodeId, Role

if TYPE_CHECKING:
    from raftlog.sim.core.process import Process

SHOULD_LEAD = "who is handed leadership by priority should lead"
LONG_FIT = "who is handed leadership by priority was fit for long"
SELDOM = "leadership is handed to the same member ever less often"
USUAL_TIMEOUTS, OF_BANNED_TIMEOUTS = 10, 1
LAG_ENTRIES = 1000


@dataclasses.dataclass(slots=True)
class _Books:
    """What was seen of the others in one leadership, and of hand-overs in one life."""

    incarnation: int
    term: int = 0
    fit_since: dict[NodeId, float] = dataclasses.field(default_factory=dict)
    chosen_at: dict[NodeId, list[float]] = dataclasses.field(default_factory=dict)


class Preferences:
    """Lets leaders look whom they prefer, and checks what they do."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._books: dict[Process, _Books] = {}

    def look(self, leader: Process) -> None:
        """Let a leader look once."""
        core, preference = leader.raft, leader.desk.preference
        books = self._books.get(leader)
        if books is None or books.incarnation != leader.incarnation:
            books = self._books[leader] = _Books(leader.incarnation)
        if preference is None or core.role is not Role.LEADER:
            return
        if books.term != core.term:
            books.term, books.fit_since = core.term, {}
        self._note(leader, books)
        before = core.changes.tried
        attempt(preference.beaten)
        tried = core.changes.tried
        if tried is not None and tried is not before:
            leader.world.count("preferred")
            self._check(leader, books, tried.target)

    def _note(self, leader: Process, books: _Books) -> None:
        now, core = leader.local(), leader.raft
        fit = {
            peer
            for peer in core.membership.voters - {leader.node_id}
            if (progress := core.progress_of(peer)) is not None
            and now - progress.last_contact <= self._timeout
            and progress.match_index + LAG_ENTRIES >= core.last_index
        }
        books.fit_since = {peer: books.fit_since.get(peer, now) for peer in fit}

    def _check(self, leader: Process, books: _Books, target: NodeId) -> None:
        """Check a hand-over that this leader began by itself.

        Raises:
            CheckFailed: that member should not lead, was not fit for long, or was chosen lately.
        """
        membership, now = leader.raft.membership, leader.local()
        mine, its = membership.member(leader.node_id), membership.member(target)
        is_banned = mine is not None and mine.is_banned
        require(
            its is not None
            and target in membership.voters
            and its.has_machine
            and not its.is_banned
            and (is_banned or mine is None or its.priority > mine.priority),
            SHOULD_LEAD,
            f"{mine} hands over to {its}",
        )
        usual = self._timeout * (OF_BANNED_TIMEOUTS if is_banned else USUAL_TIMEOUTS)
        fit = now - books.fit_since.get(target, now)
        require(fit >= usual, LONG_FIT, f"{target} was seen fit for {fit:.3f} s, not {usual:.3f}")
        earlier = books.chosen_at.setdefault(target, [])
        while earlier and now - earlier[-1] > FORGET_TIMEOUTS * self._timeout:
            earlier.clear()
        if earlier:
            gap, asked = now - earlier[-1], usual * 2 ** min(len(earlier), DOUBLINGS_MAX)
            require(gap >= asked, SELDOM, f"{target} again after {gap:.3f} s, not {asked:.3f}")
        earlier.append(now)
