"""Preference: a leader hands over by itself to a member that should lead rather than it.

That is one with a higher priority, or any other if this leader is banned (decision 39). The others
were heard, held nearly all of the log and applied it for ten election timeouts on end, as this
leader saw it; a banned leader waits for one. The target is tried first (`core/trial.py`), so writes
go on where it would not win or declines.

Rule: leadership never flaps. Each attempt, whatever came of it, doubles the time for which the same
target must be seen fit before the next; after a long while it is forgotten. So a member that takes
over and fails again and again is handed leadership ever less often.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from raftlog.core.changes import Trial, TrialPhase
from raftlog.core.membership import Membership
from raftlog.core.transfer import APPLY_LAG_MAX
from raftlog.core.trial import Wish
from raftlog.errors import RaftLogError
from raftlog.interfaces import Event
from raftlog.node.beat import Beat
from raftlog.node.inputs import Inputs
from raftlog.node.ports import Ports
from raftlog.types import NodeId, Role, Term

STABLE_TIMEOUTS = 10
"""For so many election timeouts a preferred member must be fit, and this node lead."""
DOUBLINGS_MAX = 6
FORGET_TIMEOUTS = 1500
"""After so many election timeouts an attempt is forgotten."""
ATTEMPT_TIMEOUTS = 5
"""For so many election timeouts a target may be tried and catch up."""
_PENDING = (TrialPhase.ASKING, TrialPhase.CATCHING_UP)


@dataclasses.dataclass(frozen=True, slots=True)
class _Attempts:
    """How often leadership was handed, or nearly, to a member lately, and when last."""

    count: int
    last: float


class Preference:
    """Looks at every beat. Bound to the event loop."""

    def __init__(self, ports: Ports, inputs: Inputs, is_held: Callable[[], bool]) -> None:
        """`is_held`: whether leadership must stay, or is given away for another reason."""
        self._myself = ports.storage.identity.node_id
        self._clock = ports.clock
        self._observer = ports.observer
        self._timeout = ports.settings.core.election_timeout_seconds
        self._inputs = inputs
        self._core = inputs.core
        self._is_held = is_held
        self._beat: Beat | None = None
        self._known: Membership | None = None
        self._preferred: tuple[NodeId, ...] = ()
        """Who should lead rather than this node, by the membership in force."""
        self._fit_since: dict[NodeId, float] = {}
        self._attempts: dict[NodeId, _Attempts] = {}
        self._tried: Trial | None = None
        self._term = Term(0)
        """In which leadership the others were seen fit."""

    def start(self, beat: Beat) -> None:
        """Begin to look, at every beat."""
        self._beat = beat
        beat.join(self)

    def stop(self) -> None:
        """Look no more."""
        if self._beat is not None:
            self._beat.leave(self)

    def stood_still(self, now: float) -> None:  # noqa: ARG002 - as the beat calls it
        """Begin anew: what was not heard meanwhile says nothing of the others."""
        self._fit_since.clear()

    def beaten(self) -> None:
        """Hand over where it is due."""
        core = self._core
        if core.role is not Role.LEADER:
            return
        if core.term != self._term:
            self._term, self._tried = core.term, None
            self._fit_since.clear()
        if core.membership is not self._known:
            self._known = core.membership
            self._preferred = preferred(core.membership, self._myself)
            if not self._preferred:
                self._fit_since.clear()  # nobody is looked at from here on
        if self._preferred or self._tried is not None:
            self._look(self._clock.monotonic())

    def _look(self, now: float) -> None:
        self._note_failure()
        self._fit_since = {
            peer: self._fit_since.get(peer, now)
            for peer in self._preferred
            if self._is_fit(peer, now)
        }
        due = [
            peer for peer, since in self._fit_since.items() if now - since >= self._wait(peer, now)
        ]
        if not due or self._is_busy(now) or self._is_held():
            return
        membership = self._core.membership
        target = max(due, key=lambda peer: (membership.priority(peer), self._match(peer), peer))
        if not any(self._is_better(peer, target) for peer in self._fit_since):
            self._hand_over(target, now)

    def _is_better(self, peer: NodeId, target: NodeId) -> bool:
        """Whether a fit member is worth waiting for: leadership would go to it next."""
        priority = self._core.membership.priority
        return priority(peer) > priority(target) and peer not in self._attempts

    def _note_failure(self) -> None:
        """Tell of an attempt that came to nothing, once."""
        tried = self._tried
        if tried is not None and tried.phase in {TrialPhase.FAILED, TrialPhase.CANCELLED}:
            self._tried = None
            self._observer.event(Event.TRANSFER_REFUSED, error=tried.why)

    def _is_fit(self, peer: NodeId, now: float) -> bool:
        """Whether a member is heard, has room, and is close to the end of the log with both."""
        progress = self._core.progress_of(peer)
        if progress is None or now - progress.last_contact > self._timeout or progress.lacks_room:
            return False
        applied = progress.applied_index
        last, commit = self._core.last_index, self._core.commit_index
        return progress.match_index + APPLY_LAG_MAX >= last and (
            applied is None or applied + APPLY_LAG_MAX >= commit
        )

    def _wait(self, peer: NodeId, now: float) -> float:
        """Return for how long a member must have been fit."""
        earlier = self._attempts.get(peer)
        if earlier is not None and now - earlier.last > FORGET_TIMEOUTS * self._timeout:
            del self._attempts[peer]
            earlier = None
        is_banned = self._myself in self._core.membership.banned
        usual = self._timeout * (1 if is_banned else STABLE_TIMEOUTS)
        doublings = min(0 if earlier is None else earlier.count, DOUBLINGS_MAX)
        return usual * float(1 << doublings)

    def _is_busy(self, now: float) -> bool:
        """Whether another hand-over or a change of the membership is under way."""
        core = self._core
        tried = core.changes.tried
        return (
            core.transferee is not None
            or (tried is not None and tried.phase in _PENDING and now < tried.until)
            or core.membership.is_joint
            or core.membership_index > core.commit_index
        )

    def _match(self, peer: NodeId) -> int:
        progress = self._core.progress_of(peer)
        return 0 if progress is None else int(progress.match_index)

    def _hand_over(self, target: NodeId, now: float) -> None:
        membership, earlier = self._core.membership, self._attempts.get(target)
        self._attempts[target] = _Attempts(1 if earlier is None else earlier.count + 1, now)
        del self._fit_since[target]
        why = (
            f"{self._myself} is banned from leading"
            if self._myself in membership.banned
            else f"the priority of {target} is {membership.priority(target)}, that of "
            f"{self._myself} {membership.priority(self._myself)}"
        )
        self._observer.event(Event.HANDS_OVER_BY_PRIORITY, to=target, why=why)
        seconds = ATTEMPT_TIMEOUTS * self._timeout
        wish = Wish(target=target, mock=True, seconds=seconds, by_priority=True)
        try:
            self._tried = self._inputs.prepare_transfer(wish)
        except RaftLogError as error:
            self._observer.event(Event.TRANSFER_REFUSED, error=error.message)


def preferred(membership: Membership, myself: NodeId) -> tuple[NodeId, ...]:
    """Return who should lead rather than that member, sorted."""
    others = sorted(membership.electable - {myself})
    if myself in membership.banned:
        return tuple(others)
    own = membership.priority(myself)
    return tuple(peer for peer in others if membership.priority(peer) > own)
