"""The words of a cluster's status: what a node knows, a service sends, and a client reads.

They are the fields of `StatusReply` and `MemberStatus` on the wire (``proto/raftlog/v1``), by the
same names, and of ``raftlog status -o json``.
"""

from __future__ import annotations

import dataclasses

from raftlog.types import NodeId


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatus:
    """One member in a `ClusterStatus`; None where the node that answered cannot know.

    Only the leader knows what the others hold. `kind`: voter, learner or witness. `role`: leader,
    follower or candidate; unknown where the member cannot be reached. `promoting`: a learner that
    becomes a voter once it has caught up. `feature_level_max`: the highest feature level that its
    raftlog can read, if it is connected to the node that answered. `priority`: how much it is
    preferred as leader, where the node that answered tells it; a `banned` member leads only where
    nobody else could. `waits_for`: what keeps it from being what it is to be, and what helps, by
    the leader's word; "" where nothing does, or the node that answered does not lead.
    """

    node_id: NodeId
    address: str
    role: str
    kind: str
    has_machine: bool
    region: str
    instance_id: str
    match_index: int | None
    applied_index: int | None
    lag_transactions: int | None
    last_contact_ms: float | None
    reachable: bool
    healthy: bool
    promoting: bool = False
    feature_level_max: int | None = None
    priority: int | None = None
    banned: bool = False
    waits_for: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerStatus:
    """A named consumer: a reader whose position is kept in the log.

    `position` is the last sequence committed under its name; `lag_transactions`, how many the
    member that answers knows committed behind it. `holds`: what it has not read is kept for it.
    `generation` changes when it is reset. `committed_at`: microseconds since 1970.
    """

    name: str
    position: int
    lag_transactions: int
    holds: bool
    generation: int
    committed_at: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """The cluster as `served_by` knows it; any one live node answers, without a quorum too.

    `version` is that of raftlog on the node that answered. `membership_version` names the
    membership in force; `is_joint`: a change of it is under way, and two majorities decide.
    """

    cluster_id: str
    served_by: NodeId
    leader: NodeId | None
    leader_address: str | None
    term: int
    commit_index: int
    commit_sequence: int
    applied_index: int
    first_sequence: int
    quorum: int
    has_quorum: bool
    fault_tolerance: int
    feature_level: int
    machine: str
    members: tuple[MemberStatus, ...]
    alarms: tuple[str, ...]
    version: str = ""
    membership_version: int = 0
    is_joint: bool = False
    consumers: tuple[ConsumerStatus, ...] = ()

    @property
    def feature_level_possible(self) -> int:
        """Return the level that all members can read; the one in force while some do not answer."""
        told = [member.feature_level_max or 0 for member in self.members]
        return max(self.feature_level, min(told, default=0))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LogEnd:
    """Where one member's log ends, who votes by that log, and why it may end too early.

    `kind`: voter, learner, witness or removed. `outgoing`: the voters of the other half of a joint
    membership. `commit_index`: what the member knows to be committed; what lies above may never
    have been acknowledged, or may have been.
    """

    cluster_id: str
    served_by: NodeId
    kind: str
    voters: tuple[NodeId, ...]
    outgoing: tuple[NodeId, ...]
    last_term: int
    last_index: int
    last_sequence: int
    last_timestamp: int
    commit_index: int
    commit_sequence: int
    problems: tuple[str, ...]
