"""Why leadership changes, and how a transfer of it stands.

Records for people. No rule of the protocol rests on one, but for that of the transfer under way.
"""

from __future__ import annotations

import dataclasses
import enum

from raftlog.core.messages import TrialVerdict
from raftlog.types import Index, NodeId

LONG_AGO = float("-inf")


class Cause(enum.Enum):
    """Why this node stood for election, or stopped leading."""

    ELECTION_TIMEOUT = "election timeout"
    LOST_LEADER = "lost the connection to the leader"
    TRANSFER = "transfer"
    PRIORITY = "transfer by priority"
    STEPPED_DOWN = "stepped down"
    QUORUM_LOST = "no quorum heard"
    NEWER_TERM = "another term began"
    REMOVED = "left the voters"


@dataclasses.dataclass(frozen=True, slots=True)
class Rise:
    """Why this node stands for election, since when, and what it knows of the leader before.

    `heard_at`: when it last heard a leader, or led itself. `stopped_seconds`: for how long a leader
    that hands over had refused proposals when it said so.
    """

    cause: Cause
    since: float
    heard_at: float
    stopped_seconds: float = 0.0


@dataclasses.dataclass(slots=True)
class Transfer:
    """A leadership transfer under way (§3.10)."""

    target: NodeId
    deadline: float
    began: float
    is_told: bool = False
    """TimeoutNow left: from here on the target may take over, however this leader decides."""
    by_priority: bool = False
    """This leader began it by itself, for the target should lead rather than it."""


class TrialPhase(enum.Enum):
    """How far a prepared transfer has come."""

    ASKING = "asking"
    CATCHING_UP = "catching up"
    HANDING_OVER = "handing over"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclasses.dataclass(slots=True)
class Trial:
    """A transfer that is prepared while this leader goes on taking proposals (`core.trial`)."""

    target: NodeId
    context: int
    began: float
    deadline: float
    """When the phase it is in is given up."""
    until: float
    """When catching up is given up."""
    phase: TrialPhase = TrialPhase.ASKING
    verdicts: dict[NodeId, TrialVerdict] = dataclasses.field(default_factory=dict)
    tried_seconds: float | None = None
    """How long the trial took; None where there was none."""
    goal: Index = Index(0)
    """Where the log ended when the round of catching up under way began."""
    goal_since: float = 0.0
    why: str = ""
    """Why it failed."""
    is_refused: bool = False
    """It failed because a member said no, and not because one was not reached in time."""
    transfer: Transfer | None = None
    """The hand-over, once it has begun."""
    is_mock: bool = False
    """A trial comes first."""
    by_priority: bool = False
    """As `Transfer.by_priority`."""

    def fail(self, why: str, *, refused: bool = False) -> None:
        """End it before the hand-over began."""
        self.phase, self.why, self.is_refused = TrialPhase.FAILED, why, refused


@dataclasses.dataclass(slots=True)
class RoleChanges:
    """What became of this node's roles lately."""

    rise: Rise | None = None
    """Why it stands for election, or stood before it led; None once it follows somebody."""
    fall: Cause | None = None
    """Why it stopped leading last."""
    tried: Trial | None = None
    """The newest transfer that it began as leader, ended or not."""
    heard_at: float = LONG_AGO
