"""`snapshot`, on the cluster that all share."""

from __future__ import annotations

import pytest

from raftlog.cli.snapshot import snapshot as snapshot_group

pytestmark = pytest.mark.integration


def test_a_snapshot_is_taken_and_listed(raftlog, cluster):
    """By default on a follower; the list has it, by member and as a table."""
    assert snapshot_group.name == "snapshot"
    told = ("--endpoints", cluster.endpoints, "--timeout", "20")
    assert raftlog(*told, "kv", "put", "snapshot", "taken").code == 0
    taken = raftlog(*told, "snapshot", "take", "-o", "json").json
    assert taken["member"] != cluster.wait_leader()
    assert taken["index"] > 0
    listed = raftlog(*told, "snapshot", "list", "-o", "json").json
    assert listed["silent"] == []
    assert taken["snapshot_id"] in {
        each["snapshot_id"] for each in listed["snapshots"] if each["member"] == taken["member"]
    }
    one = raftlog(*told, "--member", taken["member"], "snapshot", "list").text
    assert str(taken["index"]) in one
