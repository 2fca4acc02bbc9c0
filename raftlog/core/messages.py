"""What nodes say to one another: one frozen dataclass per RPC and per response.

A message does not name its sender or receiver; the transport knows both from the handshake, and
hands them to `Raft.step` and `Ready`. Every message carries its sender's term, so the common term
rule (§3.3) is applied once, before dispatch. Snapshot bytes travel on a stream of their own; what
reaches the core is `InstallSnapshot`, once all chunks are staged and verified.
"""

from __future__ import annotations

import dataclasses
import enum

from raftlog.core.entries import Boundary, Entry
from raftlog.types import Index, NodeId, Position, Term


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PreVoteRequest:
    """Would you vote for me in `term`? Changes nothing on either side (§9.6)."""

    term: Term
    last: Position


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PreVoteResponse:
    """The asked term if granted, else the responder's own, so newer terms are taught (S8)."""

    term: Term
    granted: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VoteRequest:
    """RequestVote (§3.4).

    `transfer`: a TimeoutNow asked for this campaign, so leader stickiness does not apply to it.
    """

    term: Term
    last: Position
    transfer: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VoteResponse:
    """Leaves only once the vote is durable."""

    term: Term
    granted: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AppendRequest:
    """AppendEntries (§3.5), on the bulk channel.

    `previous_checksum` makes log matching a comparison.
    """

    term: Term
    previous: Position
    previous_checksum: int
    entries: tuple[Entry, ...]
    commit_index: Index


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AppendResponse:
    """The answer to one AppendRequest, sent once what it acks is durable.

    On success `match_index` is previous.index + len(entries) of that request, never the follower's
    own last index (S16). On rejection it is the request's previous.index, and `hint` is the
    follower's best guess at the last position the two logs may share (§3.5, the conflict-term
    optimisation).
    """

    term: Term
    success: bool
    match_index: Index
    hint: Position | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatRequest:
    """Keeps leadership, on the control channel.

    `commit_index` is capped by what the follower has matched. `context` is the newest read round
    the leader wants confirmed, unique to its round (S26). `last_index` lets a damaged member know
    how far it must be repaired. `lease_seconds`: for how long the leader asks the voter to withhold
    its vote (0 = none). `floor`: what all members with a machine are known to hold; told to those
    without one, which purge nothing above it (0 = not known, `core.floor`).
    """

    term: Term
    commit_index: Index
    context: int
    last_index: Index
    lease_seconds: float = 0.0
    floor: Index = Index(0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatResponse:
    """Echoes the round it confirms.

    `applied_index`: how far the member's machine is; None from one that does not tell.
    `lacks_room`: its disk takes no entries. `is_damaged`: it waits for its log to be repaired.
    """

    term: Term
    context: int
    applied_index: Index | None = None
    lacks_room: bool = False
    is_damaged: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutNow:
    """Campaign at once: the leader hands over (§3.10).

    `stopped_seconds`: for how long the leader has refused proposals when it says so.
    `by_priority`: it does so by itself, for the receiver should lead rather than it.
    """

    term: Term
    stopped_seconds: float = 0.0
    by_priority: bool = False


class TrialVerdict(enum.IntEnum):
    """What a member answers in a trial; the numbers travel."""

    UNKNOWN = 0
    """The answer of a newer version, in a word that this one does not know."""
    GRANTED = 1
    NEWER_TERM = 2
    NOT_FOLLOWING = 3
    DAMAGED = 4
    MAY_NOT_CAMPAIGN = 5
    NO_ROOM = 6
    LOG_AHEAD = 7
    APPLIES_LATE = 8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrialRequest:
    """Leader to target: would you win, if you campaigned now? A mock election (`core.trial`).

    `term` is the leader's, in all four messages of a trial; it is compared, never taken over.
    `last` is the end of the leader's log, which the target will hold when it really campaigns.
    """

    term: Term
    context: int
    last: Position


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrialVoteRequest:
    """Target to voter: would you vote for me, if the leader handed over to me?"""

    term: Term
    context: int
    last: Position


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrialVoteResponse:
    """Voter to target: yes, or why not. It promises nothing."""

    term: Term
    context: int
    verdict: TrialVerdict


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrialReport:
    """Target to leader: what `voter` answered, the target itself among them."""

    term: Term
    context: int
    voter: NodeId
    verdict: TrialVerdict


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReadIndexRequest:
    """A follower asks the leader for an index that is safe to read at (§6.4)."""

    term: Term
    context: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReadIndexResponse:
    """`index` is None when the responder cannot confirm that it leads."""

    term: Term
    context: int
    index: Index | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InstallSnapshot:
    """A whole snapshot from the leader of `term`, staged and verified on local disk (§5).

    `snapshot_id` names the staged file for the storage; the core only passes it on.
    """

    term: Term
    boundary: Boundary
    snapshot_id: str


Message = (
    PreVoteRequest
    | PreVoteResponse
    | VoteRequest
    | VoteResponse
    | AppendRequest
    | AppendResponse
    | HeartbeatRequest
    | HeartbeatResponse
    | TimeoutNow
    | TrialRequest
    | TrialVoteRequest
    | TrialVoteResponse
    | TrialReport
    | ReadIndexRequest
    | ReadIndexResponse
    | InstallSnapshot
)

TRIAL_MESSAGES = (TrialRequest, TrialVoteRequest, TrialVoteResponse, TrialReport)
"""A mock election's (`core.trial`)."""

BULK_MESSAGES: tuple[type, ...] = (AppendRequest, AppendResponse)
"""These go on the bulk channel; everything else is small and must overtake it."""
