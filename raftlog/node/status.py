"""What one node knows of the cluster, put into words for operators."""

from __future__ import annotations

from typing import Protocol

from raftlog.core.entries import Boundary
from raftlog.errors import invariant
from raftlog.interfaces import (
    Alarm,
    Alarms,
    ClusterStatus,
    LogEnd,
    LogInfo,
    Measure,
    MemberStatus,
    Observer,
)
from raftlog.node.levels import FeatureLevels
from raftlog.node.ports import CoreView, Ports
from raftlog.node.waiting import Waiting
from raftlog.types import Index, NodeId, Role

_ROLE_WORDS = {
    Role.LEADER: "leader",
    Role.FOLLOWER: "follower",
    Role.CANDIDATE: "candidate",
    Role.PRE_CANDIDATE: "candidate",
}


_ENDS_EARLY = frozenset({Alarm.DAMAGED, Alarm.FAILED})
"""With these, what a member's log held once may be more than what it ends with."""


class Applying(Protocol):
    """How far this member has applied (`node/applier.py`)."""

    @property
    def applied(self) -> Boundary:
        """Return the boundary below which everything is applied."""
        ...

    @property
    def applied_index(self) -> Index:
        """Return the last index whose effects reads here can see."""
        ...


class Reporter:
    """Puts together what this node knows; nobody is asked."""

    def __init__(
        self,
        ports: Ports,
        core: CoreView,
        applier: Applying,
        levels: FeatureLevels,
        waiting: Waiting,
    ) -> None:
        self._storage = ports.storage
        self._identity = ports.storage.identity
        self._clock = ports.clock
        self._patience = ports.settings.core.election_timeout_seconds
        self._is_connected = ports.transport.is_connected
        self._core = core
        self._applier = applier
        self._levels = levels
        self._waiting = waiting

    def status(self, alarms: Alarms) -> ClusterStatus:
        """Return the status as this node sees it."""
        core, applier = self._core, self._applier
        membership = core.membership
        leader = None if core.is_outside else core.leader
        leader_member = membership.member(leader) if leader else None
        now = self._clock.monotonic()
        members = tuple(
            self._member(node_id, now, healthy_here=not alarms.unfit)
            for node_id in membership.node_ids
            if not core.is_outside
        )
        quorum = len(membership.voters) // 2 + 1
        reachable = sum(m.reachable and m.node_id in membership.voters for m in members)
        leading = core.role is Role.LEADER
        return ClusterStatus(
            cluster_id=self._identity.cluster_id,
            served_by=self._identity.node_id,
            leader=leader,
            leader_address=leader_member.address if leader_member else None,
            term=int(core.term),
            commit_index=int(core.commit_index),
            commit_sequence=self._commit_sequence(),
            applied_index=int(applier.applied_index),
            first_sequence=self._storage.boundary.next_sequence,
            quorum=quorum,
            has_quorum=core.quorum_active(now) if leading else leader is not None,
            fault_tolerance=max(0, reachable - quorum),
            feature_level=applier.applied.feature_level,
            machine=f"{applier.applied.machine_name} {applier.applied.machine_version}",
            members=self._waiting.told(members),
            alarms=tuple(one.text(self._identity.node_id) for one in alarms.raised),
            membership_version=int(min(core.membership_index, core.commit_index)),
            is_joint=membership.is_joint,
        )

    def log_end(self, alarms: Alarms) -> LogEnd:
        """Return where this node's log ends on its disk."""
        core, log, myself = self._core, self._core.log, self._identity.node_id
        membership = core.membership
        is_member = membership.member(myself) is not None and not core.is_outside
        # The core's log up to where the disk reaches: what a truncation under way replaces is gone.
        last = Index(min(self._storage.last_index, core.last_index))
        commit = Index(min(core.commit_index, last))
        term, sequence, timestamp = self._end_at(last)
        return LogEnd(
            cluster_id=self._identity.cluster_id,
            served_by=myself,
            kind=membership.kind(myself) if is_member else "removed",
            voters=tuple(sorted(membership.voters)),
            outgoing=tuple(sorted(membership.outgoing)),
            last_term=term,
            last_index=int(last),
            last_sequence=sequence,
            last_timestamp=timestamp,
            commit_index=int(max(commit, log.boundary.index)),
            commit_sequence=self._end_at(commit)[1],
            problems=tuple(one.why for one in alarms.raised if one.alarm in _ENDS_EARLY),
        )

    def _end_at(self, index: Index) -> tuple[int, int, int]:
        """Return the term, the last sequence and the timestamp of the log up to `index`."""
        log = self._core.log
        if index <= log.boundary.index:
            boundary = log.boundary
            return int(boundary.term), boundary.next_sequence - 1, boundary.timestamp
        entry = log.entry(index)
        return int(entry.term), entry.next_sequence - 1, entry.timestamp

    def info(self, *, snapshot_index: Index, writes_open: bool) -> LogInfo:
        """Return what this member holds of the log."""
        storage = self._storage
        return LogInfo(
            first_sequence=storage.boundary.next_sequence,
            last_sequence=self._commit_sequence(),
            first_index=Index(storage.boundary.index + 1),
            commit_index=self._core.commit_index,
            applied_index=self._applier.applied_index,
            last_index=storage.last_index,
            snapshot_index=snapshot_index,
            log_bytes=storage.log_bytes(),
            disk_bytes=storage.size_bytes(),
            writes_open=writes_open,
        )

    def measure(self, observer: Observer) -> None:
        """Set the gauges."""
        observer.gauge(Measure.TERM, float(self._core.term))
        observer.gauge(Measure.COMMIT_INDEX, float(self._core.commit_index))
        observer.gauge(Measure.APPLIED_INDEX, float(self._applier.applied_index))
        observer.gauge(Measure.APPLIED_SEQUENCE, float(self._applier.applied.next_sequence - 1))
        observer.gauge(Measure.IS_LEADER, float(self._core.role is Role.LEADER))
        observer.gauge(Measure.HAS_LEADER, float(self._core.leader is not None))
        observer.gauge(Measure.LOG_BYTES, float(self._storage.log_bytes()))

    def _commit_sequence(self) -> int:
        log, index = self._core.log, self._core.commit_index
        if index <= log.boundary.index:
            return log.boundary.next_sequence - 1
        if index == self._applier.applied_index:
            return self._applier.applied.next_sequence - 1
        # Not from the storage: it may still hold what a truncation under way replaces.
        return log.entry(index).next_sequence - 1

    def _member(self, node_id: NodeId, now: float, *, healthy_here: bool) -> MemberStatus:
        core = self._core
        member = core.membership.member(node_id)
        invariant(member is not None, "the membership lists an id that has no member")
        mine = node_id == self._identity.node_id
        reachable = mine or self._is_connected(node_id)
        role = "leader" if node_id == core.leader else "follower"
        match_index: int | None = None
        contact_ms: float | None = None
        lag: int | None = None
        if mine:
            role = _ROLE_WORDS[core.role]
            match_index = int(core.last_index)
            lag = max(0, core.next_sequence - self._applier.applied.next_sequence)
        elif core.role is Role.LEADER:
            progress = core.progress_of(node_id)
            if progress is not None:
                # A frozen process, or a network that swallows all, keeps its connections.
                silent = now - progress.last_contact
                reachable = reachable and silent <= self._patience
                contact_ms = round(silent * 1e3, 1)
                match_index = int(progress.match_index)
                # A new leader has yet to hear what a member holds: 0 says nothing of one away.
                if reachable or match_index:
                    lag = self._lag(progress.match_index)
        if not reachable:
            role = "unknown"
        return MemberStatus(
            node_id=node_id,
            address=member.address if member else "",
            role=role,
            kind=core.membership.kind(node_id),
            has_machine=member.has_machine if member else True,
            region=member.region if member else "",
            instance_id=member.instance_id if member else "",
            match_index=match_index,
            applied_index=int(self._applier.applied_index) if mine else None,
            lag_transactions=lag,
            last_contact_ms=contact_ms,
            reachable=reachable,
            healthy=reachable and (not mine or healthy_here),
            promoting=node_id in core.membership.promoting,
            feature_level_max=self._levels.readable(node_id),
            priority=core.membership.priority(node_id),
            banned=node_id in core.membership.banned,
        )

    def _lag(self, match_index: Index) -> int | None:
        """Return how many transactions a member's log is behind the leader's."""
        if match_index >= self._core.last_index:
            return 0
        if match_index < self._storage.boundary.index:
            return None
        if match_index == self._storage.boundary.index:
            matched = self._storage.boundary.next_sequence
        else:
            # Through the core's log: a follower may hold what this disk does not hold yet.
            matched = self._core.log.entry(match_index).next_sequence
        return self._core.next_sequence - matched
