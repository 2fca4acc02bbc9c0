"""Every member is asked for its own alarms, and who does not answer is named."""

from __future__ import annotations

from raftlog.client.alarms import RaisedAlarm
from raftlog.client.client import Client
from raftlog.wire.pb import admin_pb2 as pb
from tests.client.fake_cluster import FakeCluster

FULL = pb.RaisedAlarm(
    alarm="disk_full", severity="warning", since=5, why="1 MiB left", meaning="m.", advice="a."
)


async def test_all_members_are_asked_and_the_silent_ones_named(
    client: Client, cluster: FakeCluster
) -> None:
    """Nothing is known of a member that is down, and that is said, not passed over."""
    cluster.alarms["n2"] = [FULL]
    await cluster.nodes["n3"].stop()
    found = await client.cluster.alarms()
    assert found.silent == ("n3",)
    [raised] = found.alarms
    assert raised == RaisedAlarm(
        member="n2", alarm="disk_full", about="", severity="warning", since=5, why="1 MiB left",
        meaning="m.", advice="a.",
    )  # fmt: skip


async def test_one_member_is_asked_alone(client: Client, cluster: FakeCluster) -> None:
    """Its own alarms come, and nobody else's."""
    cluster.alarms |= {"n1": [FULL], "n2": [FULL]}
    found = await client.cluster.alarms(member="n2")
    assert [each.member for each in found.alarms] == ["n2"]
    assert found.silent == ()


async def test_a_node_that_was_removed_tells_its_alarm_where_an_endpoint_names_it(
    client: Client, cluster: FakeCluster
) -> None:
    """It is no member any more, and says so itself; once it is stopped nobody misses it."""
    cluster.alarms["n3"] = [FULL]
    cluster.removed = {"n3"}
    found = await client.cluster.alarms()
    assert ([each.member for each in found.alarms], found.silent) == (["n3"], ())
    await cluster.nodes["n3"].stop()
    found = await client.cluster.alarms()
    assert (found.alarms, found.silent) == ((), ())
