"""What one node knows of the cluster, put into words for operators."""

from __future__ import annotations

from collections.abc import Callable

from raftlog.core import Raft
from raftlog.interfaces import ClusterStatus, Identity, MemberStatus, Storage
from raftlog.node.applier import Applier
from raftlog.types import NodeId, Role

_ROLE_WORDS = {
    Role.LEADER: "leader",
    Role.FOLLOWER: "follower",
    Role.CANDIDATE: "candidate",
    Role.PRE_CANDIDATE: "candidate",
}


def cluster_status(
    *,
    raft: Raft,
    identity: Identity,
    storage: Storage,
    applier: Applier,
    machine: str,
    is_connected: Callable[[NodeId], bool],
    alarms: tuple[str, ...],
    now: float,
) -> ClusterStatus:
    """Return the status as this node sees it; nobody is asked."""
    membership = raft.membership
    leader = raft.leader
    leading = raft.role is Role.LEADER
    leader_member = membership.member(leader) if leader else None
    members = tuple(
        _member_status(raft, identity, applier, node_id, is_connected, now, healthy_here=not alarms)
        for node_id in membership.node_ids
    )
    voters = membership.voters
    quorum = len(voters) // 2 + 1
    reachable = sum(1 for member in members if member.node_id in voters and member.reachable)
    has_quorum = raft.quorum_active(now) if leading else leader is not None
    return ClusterStatus(
        cluster_id=identity.cluster_id,
        served_by=identity.node_id,
        leader=leader,
        leader_address=leader_member.address if leader_member else None,
        term=int(raft.term),
        commit_index=int(raft.commit_index),
        commit_sequence=_commit_sequence(raft, storage, applier),
        applied_index=int(applier.applied_index),
        first_sequence=storage.boundary.next_sequence,
        quorum=quorum,
        has_quorum=has_quorum,
        fault_tolerance=max(0, reachable - quorum),
        feature_level=applier.applied.feature_level,
        machine=machine,
        members=members,
        alarms=alarms,
    )


def _commit_sequence(raft: Raft, storage: Storage, applier: Applier) -> int:
    index = min(raft.commit_index, storage.last_index)
    if index <= applier.applied_index or index <= storage.boundary.index:
        return applier.applied.next_sequence - 1
    return storage.entry(index).next_sequence - 1


def _member_status(
    raft: Raft,
    identity: Identity,
    applier: Applier,
    node_id: NodeId,
    is_connected: Callable[[NodeId], bool],
    now: float,
    *,
    healthy_here: bool,
) -> MemberStatus:
    member = raft.membership.member(node_id)
    mine = node_id == identity.node_id
    role = "leader" if node_id == raft.leader else "follower"
    match_index: int | None = None
    contact_ms: float | None = None
    lag: int | None = None
    reachable = mine or is_connected(node_id)
    if mine:
        role = _ROLE_WORDS[raft.role]
        match_index = int(raft.last_index)
        lag = max(0, raft.next_sequence - applier.applied.next_sequence)
    elif raft.role is Role.LEADER:
        progress = raft.progress_of(node_id)
        if progress is not None:
            match_index = int(progress.match_index)
            lag = raft.sequence_distance(progress.match_index)
            if progress.last_contact is not None:
                contact_ms = round((now - progress.last_contact) * 1e3, 1)
    if not reachable:
        role = "unknown"
    return MemberStatus(
        node_id=node_id,
        address=member.address if member else "",
        role=role,
        kind=raft.membership.kind(node_id),
        has_machine=member.has_machine if member else True,
        region=member.region if member else "",
        instance_id=member.instance_id if member else "",
        match_index=match_index,
        applied_index=int(applier.applied_index) if mine else None,
        lag_transactions=lag,
        last_contact_ms=contact_ms,
        reachable=reachable,
        healthy=reachable and (not mine or healthy_here),
    )
