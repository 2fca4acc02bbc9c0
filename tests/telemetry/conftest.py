"""A node that answers what a test tells it to."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.core.ready import Standing
from raftlog.interfaces import Alarms, ClusterStatus, LogInfo, MemberStatus
from raftlog.types import Index, NodeId, Role, Term
from tests.node.harness import Notebook

MEMBER = MemberStatus(
    node_id=NodeId("n1"), address="a:1", role="leader", kind="voter", has_machine=True, region="",
    instance_id="i1", match_index=100, applied_index=100, lag_transactions=0, last_contact_ms=None,
    reachable=True, healthy=True,
)  # fmt: skip
PEER = dataclasses.replace(
    MEMBER, node_id=NodeId("n2"), role="follower", match_index=90, lag_transactions=7,
    last_contact_ms=12.5, applied_index=None,
)  # fmt: skip
AWAY = dataclasses.replace(
    PEER, node_id=NodeId("n3"), match_index=None, lag_transactions=None, last_contact_ms=None,
    reachable=False,
)  # fmt: skip


class FakeNode:
    """The part of `NodePort` that telemetry asks, with every answer settable."""

    def __init__(self):
        self.board = Alarms(Notebook())
        self.standing = Standing(role=Role.LEADER, term=Term(3), leader=NodeId("n1"))
        self.cluster_status = ClusterStatus(
            cluster_id="c1", served_by=NodeId("n1"), leader=NodeId("n1"), leader_address="a:1",
            term=3, commit_index=100, commit_sequence=77, applied_index=100, first_sequence=1,
            quorum=2, has_quorum=True, fault_tolerance=1, feature_level=1, machine="kv 1",
            members=(MEMBER, PEER, AWAY), alarms=(),
        )  # fmt: skip
        self.log_info = LogInfo(
            first_sequence=1, last_sequence=77, first_index=Index(1), commit_index=Index(100),
            applied_index=Index(100), last_index=Index(101), snapshot_index=Index(0),
            log_bytes=1000, disk_bytes=4096, writes_open=True,
        )  # fmt: skip

    @property
    def alarms(self):
        """Return the board."""
        return self.board

    def status(self):
        """Return the status."""
        return self.cluster_status

    def info(self):
        """Return the log's extent."""
        return self.log_info

    def change(self, **fields):
        """Change fields of the status."""
        self.cluster_status = dataclasses.replace(self.cluster_status, **fields)

    def follow(self, leader):
        """Become a follower of `leader`, or of nobody."""
        self.standing = Standing(role=Role.FOLLOWER, term=Term(3), leader=leader)
        self.log_info = dataclasses.replace(self.log_info, writes_open=False)


@pytest.fixture
def node():
    """Return a node that leads, is ready, and has two peers, one of them away."""
    return FakeNode()
