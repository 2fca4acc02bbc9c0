"""`status`: one look at the cluster."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.cli import status as module
from raftlog.cli.status import MEMBER_FIELDS, describe
from raftlog.status import ClusterStatus, MemberStatus

pytestmark = pytest.mark.integration
PROMISED = {
    "cluster_id", "served_by", "leader", "term", "commit_sequence", "quorum", "fault_tolerance",
    "feature_level", "feature_level_possible", "members",
}  # fmt: skip
PROMISED_OF_MEMBERS = {
    "id", "address", "role", "kind", "has_machine", "region", "match_index", "applied_index",
    "lag_transactions", "last_contact_ms", "reachable", "healthy", "feature_level_max",
    "priority", "banned", "waits_for",
}  # fmt: skip


def test_the_whole_cluster(ask, cluster):
    """A healthy cluster shows its leader, its quorum and every member."""
    result = ask("status", "-o", "json")
    assert result.code == 0
    found = result.json
    assert set(found) >= PROMISED
    assert (found["quorum"], found["fault_tolerance"]) == (2, 1)
    assert [member["id"] for member in found["members"]] == ["n1", "n2", "n3"]
    assert all(set(member) == PROMISED_OF_MEMBERS for member in found["members"])
    assert {member["kind"] for member in found["members"]} == {"voter"}
    leaders = [member["id"] for member in found["members"] if member["role"] == "leader"]
    assert leaders == [found["leader"]]
    text = ask("status").text
    assert all(node.address in text for node in cluster.nodes)


def test_one_member(ask):
    """With --member that member answers."""
    assert ask("--member", "n2", "status", "-o", "json").json["served_by"] == "n2"


def test_another_cluster_is_refused(ask):
    """With --cluster-id a command talks to that cluster only, and asks no other for anything."""
    found = ask("status", "-o", "json").json["cluster_id"]
    assert ask("--cluster-id", found, "status").code == 0
    assert ask("--cluster-id", found, "log", "append", "/dev/null").code == 0
    refused = ask("--cluster-id", "another", "--timeout", "30", "status")
    assert refused.code == 4
    assert f"is of {found}" in refused.err
    assert ask("--cluster-id", "another", "--timeout", "30", "member", "remove", "n2").code == 4
    assert ask("--cluster-id", "another", "--timeout", "30", "kv", "put", "k", "v").code == 4


@pytest.mark.parametrize(("alarms", "code"), [((), 0), (("n2 disk_full: why. Advice.",), 5)])
def test_alarms_decide_the_exit_code_only_if_asked(raftlog, monkeypatch, alarms, code):
    """`--check` is for scripts; without it alarms are shown, and the exit code is the quorum's."""
    found = ClusterStatus(
        cluster_id="c", served_by="n1", leader="n1", leader_address="a:1", term=3, commit_index=1,
        commit_sequence=0, applied_index=1, first_sequence=1, quorum=1, has_quorum=True,
        fault_tolerance=0, feature_level=1, machine="kv 1", members=(), alarms=alarms, version="0",
    )  # fmt: skip
    monkeypatch.setattr(module, "ask", lambda _options, _work: found)
    shown = raftlog("status")
    assert shown.code == 0
    assert all(alarm in shown.text for alarm in alarms)
    checked = raftlog("status", "--check", "-o", "json")
    assert checked.code == code
    assert checked.json["alarms"] == list(alarms)


@pytest.mark.parametrize(("healthy", "code"), [(True, 0), (False, 5)])
def test_a_member_that_is_away_fails_the_check(raftlog, monkeypatch, healthy, code):
    """A rolling restart waits for it: one that did not come back tells no alarm."""
    away = MemberStatus(
        node_id="n2", address="a:2", role="follower" if healthy else "unknown", kind="voter",
        has_machine=True, region="", instance_id="i", match_index=1, applied_index=1,
        lag_transactions=0, last_contact_ms=1.0, reachable=healthy, healthy=healthy,
    )  # fmt: skip
    found = ClusterStatus(
        cluster_id="c", served_by="n1", leader="n1", leader_address="a:1", term=3, commit_index=1,
        commit_sequence=0, applied_index=1, first_sequence=1, quorum=1, has_quorum=True,
        fault_tolerance=0, feature_level=1, machine="kv 1", members=(away,), alarms=(), version="0",
    )  # fmt: skip
    monkeypatch.setattr(module, "ask", lambda _options, _work: found)
    assert raftlog("status").code == 0
    assert raftlog("status", "--check").code == code
    waiting = dataclasses.replace(away, waits_for="n3, which is behind")
    found = dataclasses.replace(found, members=(waiting,))
    assert "n2 waits for n3, which is behind" in raftlog("status").text
    assert raftlog("status", "-o", "json").json["members"][0]["waits_for"] == waiting.waits_for


def test_a_status_without_a_leader():
    """What is not known is null, and nothing is left out."""
    found = describe(
        ClusterStatus(
            cluster_id="c", served_by="n1", leader=None, leader_address=None, term=3,
            commit_index=1, commit_sequence=0, applied_index=1, first_sequence=1, quorum=2,
            has_quorum=False, fault_tolerance=0, feature_level=1, machine="kv 1", members=(),
            alarms=("disk_full",), version="0",
        )
    )  # fmt: skip
    assert set(found) >= PROMISED
    assert found["leader"] is None
    assert set(MEMBER_FIELDS) | {"id"} == PROMISED_OF_MEMBERS
