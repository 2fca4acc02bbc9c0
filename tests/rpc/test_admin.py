"""The Admin service."""

from __future__ import annotations

from raftlog.interfaces import Alarm, Alarms
from raftlog.rpc.settings import Diagnostic, ServerSettings, ShownSetting
from raftlog.wire.pb import admin_pb2 as pb
from raftlog.wire.pb import types_pb2
from tests.rpc.doubles import Cluster, FakeNode, Serving
from tests.rpc.recording import RecordingObserver

EMPTY = types_pb2.Empty()


async def test_status_carries_every_field(serving: Serving) -> None:
    """What the node knows reaches the caller; what it does not know stays unset."""
    reply = await serving.admin.Status(EMPTY)
    [member] = reply.members
    assert reply.version
    reply.ClearField("version")
    assert not member.HasField("applied_index")
    assert reply == pb.StatusReply(
        cluster_id="c",
        served_by="n1",
        term=4,
        commit_index=5,
        commit_sequence=6,
        applied_index=5,
        first_sequence=1,
        quorum=2,
        has_quorum=True,
        fault_tolerance=1,
        feature_level=1,
        machine="kv",
        alarms=["disk"],
        members=[
            pb.MemberStatus(
                node_id="n1",
                address="n1:7101",
                role="leader",
                kind="voter",
                has_machine=True,
                region="west",
                instance_id="i",
                match_index=5,
                lag_transactions=0,
                last_contact_ms=1.5,
                reachable=True,
                healthy=True,
            )
        ],
    )


async def test_a_log_s_end_carries_every_field(serving: Serving) -> None:
    """What the node says of its own log reaches the caller."""
    assert (await serving.admin.LogEnd(EMPTY)) == pb.LogEndReply(
        cluster_id="c",
        served_by="n1",
        kind="voter",
        voters=["n1", "n2"],
        outgoing=["n3"],
        last_term=4,
        last_index=7,
        last_sequence=8,
        last_timestamp=9,
        commit_index=5,
        commit_sequence=6,
        problems=["rot"],
    )


async def test_alarms_say_since_when_why_and_what_to_do(serving: Serving) -> None:
    """One reply is one member's; each alarm comes with its sentences."""
    assert (await serving.admin.Alarms(EMPTY)) == pb.AlarmsReply(served_by="n1")
    serving.node.alarms = Alarms(RecordingObserver(), lambda: 42)
    serving.node.alarms.raise_about("n3", Alarm.TWINS, "seen twice", 60.0)
    [raised] = (await serving.admin.Alarms(EMPTY)).alarms
    assert raised == pb.RaisedAlarm(
        alarm="twins",
        about="n3",
        severity="warning",
        since=42,
        why="seen twice",
        meaning=Alarm.TWINS.meaning,
        advice=Alarm.TWINS.advice,
    )


async def test_leader_known_and_unknown(serving: Serving) -> None:
    """Who leads and where the members are; ready only on a leader that takes writes."""
    reply = await serving.admin.Leader(EMPTY)
    assert (reply.leader.node_id, reply.leader.address, reply.leader.term) == ("n1", "n1:7101", 4)
    assert reply.ready
    assert [one.address for one in reply.members] == ["n1:7101", "n2:7101", "n3:7101"]
    serving.node.leader = "n2"
    assert not (await serving.admin.Leader(EMPTY)).ready
    serving.node.leader = None
    assert not (await serving.admin.Leader(EMPTY)).HasField("leader")


async def test_step_down(serving: Serving) -> None:
    """The leader is told to stop leading."""
    await serving.admin.StepDown(EMPTY)
    assert serving.node.stepped_down


async def test_settings_are_shown_as_they_are_given() -> None:
    """What the node was composed with, and nothing else."""
    shown = ShownSetting(key="raft.x", value_json="1.5", source="--set", meaning="how long")
    cluster = Cluster(server=ServerSettings(shown=(shown,)))
    serving = Serving(await cluster.start("n1", node=FakeNode()))
    reply = await serving.admin.Settings(EMPTY)
    await serving.close()
    await cluster.stop()
    assert reply.served_by == "n1"
    assert list(reply.settings) == [
        pb.Setting(key="raft.x", value_json="1.5", source="--set", meaning="how long")
    ]


async def test_diagnostics_are_what_the_node_collects(serving: Serving) -> None:
    """Each file with its text, and whether it was cut; a server that collects nothing has none."""

    async def collect() -> list[Diagnostic]:
        return [Diagnostic(name="a.txt", text="\u6f22"), Diagnostic(name="b", text="", is_cut=True)]

    assert not (await serving.admin.Diagnostics(EMPTY)).files
    cluster = Cluster(server=ServerSettings(diagnose=collect))
    told = Serving(await cluster.start("n1", node=FakeNode()))
    reply = await told.admin.Diagnostics(EMPTY)
    await told.close()
    await cluster.stop()
    assert reply == pb.DiagnosticsReply(
        served_by="n1",
        files=[
            pb.DiagnosticsFile(name="a.txt", text="\u6f22"),
            pb.DiagnosticsFile(name="b", cut=True),
        ],
    )
