"""A status is put together of what each member says of itself."""

from __future__ import annotations

import pytest

from raftlog.client.client import Client
from raftlog.client.cluster import Cluster, _answers, _status
from raftlog.client.connections import Connections
from raftlog.errors import Unauthorized, Unavailable
from raftlog.wire.pb import admin_pb2 as pb


def reply(served_by: str, *alarms: str, healthy: bool = True) -> pb.StatusReply:
    """Return the answer of one member, who takes the others for healthy."""
    made = pb.StatusReply(
        cluster_id="c", served_by=served_by, leader="n1", alarms=alarms, applied_index=7
    )
    for name in ("n1", "n2", "n3"):
        is_healthy = healthy or name != served_by
        made.members.add(node_id=name, address=name, role="follower", healthy=is_healthy)
    return made


def test_each_member_tells_its_own_alarms_and_health() -> None:
    """A follower's alarm shows in the leader's status; a member asked twice tells it once."""
    leader = reply("n1", "n1 clock_ahead: why")
    ill = reply("n3", "n3 disk_full: why", healthy=False)
    found = _status(leader, [ill, leader, reply("n2"), ill])
    assert found.alarms == ("n1 clock_ahead: why", "n3 disk_full: why")
    assert [member.healthy for member in found.members] == [True, True, False]
    assert found.served_by == "n1"
    assert [member.applied_index for member in found.members] == [7, 7, 7]


def test_one_member_asked_alone_speaks_for_itself() -> None:
    """With one answer there is nothing to put together."""
    ill = reply("n3", "n3 disk_full: why", healthy=False)
    assert _status(ill, [ill]).alarms == ("n3 disk_full: why",)


def test_a_refusal_counts_where_nobody_answers() -> None:
    """One member may ask for roles before the others do: what those say is an answer."""
    refusal = Unauthorized("Admin/Status needs the role reader")
    assert _answers([reply("n1")], refusal) == [reply("n1")]
    assert _answers([], None) == []
    with pytest.raises(Unauthorized, match="reader"):
        _answers([], refusal)


async def test_a_status_that_nobody_answers_is_asked_for_with_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who led before is known at once, and a refused connection fails at once: neither waits."""
    asked = 0

    async def nobody(_self: Cluster) -> list[pb.StatusReply]:
        nonlocal asked
        asked += 1
        return []

    async def known(_self: Connections, _deadline: float) -> None:
        return None

    monkeypatch.setattr(Cluster, "_ask_all", nobody)
    monkeypatch.setattr(Connections, "anyone", known)
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(Unavailable):
            await client.cluster.status(timeout=0.3)
    assert 2 <= asked <= 8
