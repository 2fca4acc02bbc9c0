"""Whole nodes: replication, failover, sessions, snapshots, bad days (real core, real LMDB)."""

from __future__ import annotations

import asyncio
import errno
import shutil
import threading
import time

import pytest

from raftlog import groups
from raftlog.errors import (
    Compacted,
    InvalidGroup,
    MachineHalted,
    MachineMismatch,
    NotLeader,
    ProposalDropped,
    RaftLogError,
    Rejected,
    SessionExpired,
    StorageError,
    TooLarge,
    Unavailable,
)
from raftlog.interfaces import Alarm, StateMachine
from raftlog.node import NodeSettings, consequences
from raftlog.node.node import Node
from raftlog.storage.lmdb import installation
from raftlog.types import Consistency
from tests.node.harness import FAST, Cluster, pass_time


@pytest.fixture
async def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    await cluster.stop()


async def same_logs(cluster: Cluster, wanted: list[bytes]) -> None:
    """Wait until every running member knows exactly `wanted` committed."""
    for node in list(cluster.nodes.values()):
        for _ in range(500):
            found = await cluster.contents(node)
            if found == wanted:
                break
            await pass_time(0.01)
        assert found == wanted


async def test_what_is_appended_is_on_every_member(cluster):
    """A receipt names a dense sequence, and all members end with the same log."""
    await cluster.start()
    first = await cluster.append(b"a", b"b")
    second = await cluster.append(b"c")
    assert (first.first_sequence, first.count) == (1, 2)
    assert second.first_sequence == 3
    await same_logs(cluster, [b"a", b"b", b"c"])
    leader = next(iter(cluster.nodes.values())).standing.leader
    applied = {
        name: one.counts.get("proposals_applied_total", 0)
        for name, one in cluster.observers.items()
    }
    before = applied[leader]
    await cluster.append(b"d", b"e", b"f")
    await same_logs(cluster, [b"a", b"b", b"c", b"d", b"e", b"f"])
    assert cluster.observers[leader].counts["proposals_applied_total"] == before + 1
    assert before >= 2
    assert sum(applied.values()) == before, "a follower proposed nothing"


async def test_failover_keeps_what_was_acknowledged(cluster):
    """The leader dies; another one serves the same log and goes on with the next sequence."""
    await cluster.start()
    receipts = [await cluster.append(b"%d" % i) for i in range(20)]
    old = cluster.leader()
    await cluster.kill(old.identity.node_id)
    receipt = await cluster.append(b"after")
    assert receipt.first_sequence == receipts[-1].first_sequence + 1
    assert receipt.term > receipts[-1].term
    await cluster.start(old.identity.node_id)
    await same_logs(cluster, [b"%d" % i for i in range(20)] + [b"after"])


async def test_all_members_restart(cluster):
    """Everything acknowledged is there after all of them were killed at once."""
    await cluster.start()
    for i in range(10):
        await cluster.append(b"%d" % i)
    for node_id in list(cluster.nodes):
        await cluster.kill(node_id)
    await cluster.start()
    receipt = await cluster.append(b"more")
    assert receipt.first_sequence == 11
    await same_logs(cluster, [b"%d" % i for i in range(10)] + [b"more"])


async def open_session(cluster: Cluster) -> int:
    return await (await cluster.wait_leader()).open_session(5.0)


async def test_a_retry_on_the_next_leader_gets_the_first_answer(cluster):
    """Exactly once across a failover: same number, same bytes, same receipt, one entry."""
    await cluster.start()
    session = await open_session(cluster)
    framing = {"session": session, "number": 1, "lowest_unanswered": 1}
    first = await cluster.append(b"once", **framing)
    await cluster.kill(cluster.leader().identity.node_id)
    again = await cluster.append(b"once", **framing)
    assert again == first
    with pytest.raises(ProposalDropped):
        await cluster.append(b"gap", session=session, number=3, lowest_unanswered=2)
    await same_logs(cluster, [b"once"])


async def test_concurrent_retries_join_one_entry(cluster):
    """The same group submitted many times at once is appended once; everyone hears one answer."""
    await cluster.start()
    session = await open_session(cluster)
    framing = {"session": session, "number": 1, "lowest_unanswered": 1}
    receipts = await asyncio.gather(*(cluster.append(b"x", **framing) for _ in range(5)))
    assert len(set(receipts)) == 1
    await same_logs(cluster, [b"x"])


async def test_an_unknown_session_is_told_so(cluster):
    """A session no entry opened is refused as expired."""
    await cluster.start()
    with pytest.raises(SessionExpired):
        await cluster.append(b"x", session=12345, number=1, lowest_unanswered=1)


async def test_idle_sessions_expire_by_an_entry(tmp_path):
    """Silence under a leader ends a session on every member, and only through the log."""
    cluster = Cluster(tmp_path, settings=NodeSettings(core=FAST, session_expiry_seconds=0.05))
    await cluster.start()
    try:
        session = await open_session(cluster)
        leader = cluster.leader()
        leader._parts.writes.expire_sessions()  # the leader begins to count its own time
        await pass_time(0.1)
        leader._parts.writes.expire_sessions()
        await cluster.until(
            lambda: all(
                session not in node._parts.applier.sessions.sessions
                for node in cluster.nodes.values()
            )
        )
        with pytest.raises(SessionExpired):
            await cluster.append(b"x", session=session, number=1, lowest_unanswered=1)
    finally:
        await cluster.stop()


async def test_two_members_down(cluster):
    """What entered the log is indefinite, what came later definite; reads say what they can."""
    await cluster.start()
    await cluster.append(b"before")
    leader = cluster.leader()
    for node_id in [n for n in cluster.nodes if n != leader.identity.node_id]:
        await cluster.kill(node_id)
    with pytest.raises(RaftLogError) as entered:
        await cluster.append(b"entered", node=leader)
    assert not entered.value.definite
    await cluster.until(lambda: not leader.is_ready)
    with pytest.raises(NotLeader) as refused:
        await cluster.append(b"late", node=leader)
    assert refused.value.definite
    with pytest.raises(RaftLogError):
        await leader.wait_readable(Consistency.LINEARIZABLE, 0.5)
    with pytest.raises(Unavailable):
        await leader.wait_readable(Consistency.FOLLOWER, 0.3)
    assert await leader.wait_readable(Consistency.STALE, 0.5) >= 1
    status = leader.status()
    assert not status.has_quorum
    assert await cluster.contents(leader) == [b"before"]
    await cluster.start(next(n for n in cluster.ids if n not in cluster.nodes))
    await cluster.append(b"resumed")


async def test_bad_groups_never_become_entries(tmp_path):
    """Empty, lying and oversized groups are refused before append; the log stays as it was."""
    cluster = Cluster(tmp_path, settings=NodeSettings(core=FAST, transaction_bytes_max=1000))
    await cluster.start()
    try:
        leader = await cluster.wait_leader()
        last = leader.info().last_index
        good = groups.pack([b"abc", b"d"])
        answers = []
        for bad in (b"", good[:-1], good + b"x", b"\x09" + good[1:], groups.pack([b"x" * 1001])):
            leader.submit(bad, answers.append)
        assert [type(answer) for answer in answers] == [InvalidGroup] * 4 + [TooLarge]
        assert all(answer.definite for answer in answers)
        assert leader.info().last_index == last or leader.info().last_index == last + 1
        await cluster.append(b"good")
        await same_logs(cluster, [b"good"])
    finally:
        await cluster.stop()


async def test_bootstrap_needs_every_initial_member_once(cluster):
    """Two fresh members of three do not elect anyone; with the third they do, at once."""
    await cluster.start("n1", "n2")
    await pass_time(4 * FAST.election_timeout_seconds)
    assert all(node.standing.leader is None for node in cluster.nodes.values())
    assert all(
        "n3" in str(node.alarms.why(Alarm.BOOTSTRAP_WAITS)) for node in cluster.nodes.values()
    )
    await cluster.start("n3")
    await cluster.append(b"x")


async def test_two_emptied_directories_do_not_form_a_cluster(cluster):
    """The nightmare: two of three directories emptied. They wait; the third's data is not lost."""
    await cluster.start()
    await cluster.append(b"precious")
    await cluster.until(lambda: all(m.instance_id for m in cluster.leader().membership.members))
    await same_logs(cluster, [b"precious"])
    await asyncio.gather(*(node._settle() for node in cluster.nodes.values()))
    for node_id in list(cluster.nodes):
        await cluster.kill(node_id)
    for node_id in ("n1", "n2"):
        shutil.rmtree(cluster.path / node_id)
    await cluster.start()
    await pass_time(6 * FAST.election_timeout_seconds)
    assert cluster.leader() is None
    assert await cluster.contents(cluster.nodes["n3"]) == [b"precious"]
    assert await cluster.contents(cluster.nodes["n1"]) == []


async def test_an_emptied_member_is_refused(cluster):
    """A member whose directory was emptied gets neither votes nor entries, and others go on."""
    await cluster.start()
    await cluster.append(b"x")
    await cluster.until(lambda: all(m.instance_id for m in cluster.leader().membership.members))
    victim = next(n for n in cluster.ids if n != cluster.leader().identity.node_id)
    await cluster.kill(victim)
    shutil.rmtree(cluster.path / victim)
    await cluster.start(victim)
    leader = cluster.leader()
    refusal = leader.check_peer(victim, cluster.storages[victim].identity.instance_id, 0)
    assert refusal is not None
    assert "emptied or replaced" in refusal.message
    await cluster.append(b"y")
    assert await cluster.contents(cluster.nodes[victim]) == []


async def test_many_groups_share_few_syncs(cluster):
    """Speed, by counting: groups submitted together cost each member a handful of commits."""
    await cluster.start()
    leader = await cluster.wait_leader()
    await pass_time(0.1)
    before = {n: o.counts.get("disk_commit_seconds", 0) for n, o in cluster.observers.items()}
    sent = cluster.hub.sent
    await asyncio.gather(*(cluster.append(b"%d" % i, node=leader) for i in range(200)))
    commits = {n: o.counts["disk_commit_seconds"] - before[n] for n, o in cluster.observers.items()}
    assert all(count <= 10 for count in commits.values()), commits
    assert cluster.hub.sent - sent <= 80


async def test_a_loop_that_stands_still_elects_nobody(cluster):
    """A standstill longer than the election timeout restarts timers instead of firing them."""
    await cluster.start()
    await cluster.append(b"x")
    term = cluster.leader().standing.term
    for _ in range(3):
        time.sleep(0.5)  # the whole event loop stands still, as under a long garbage collection
        await pass_time(0.1)
    assert cluster.leader().standing.term == term
    assert cluster.observers["n1"].named("loop_stalled")


async def test_a_slow_disk_elects_nobody(cluster, monkeypatch):
    """Commits of 50 ms on every member delay answers, not heartbeats."""
    await cluster.start()
    await cluster.append(b"x")
    term = cluster.leader().standing.term
    for storage in cluster.storages.values():
        real = storage.commit

        def slow(round_, real=real):
            threading.Event().wait(0.05)  # the disk takes this long
            real(round_)

        monkeypatch.setattr(storage, "commit", slow)
    until = time.monotonic() + 2.0
    while time.monotonic() < until:
        await asyncio.gather(*(cluster.append(b"y") for _ in range(20)))
    assert cluster.leader().standing.term == term


async def test_a_full_disk_keeps_a_follower_alive_and_voting(cluster, monkeypatch):
    """A follower without room takes no entries but stays up, and catches up once it has room."""
    await cluster.start()
    await cluster.append(b"x")
    leader = cluster.leader()
    full = next(n for n in cluster.nodes.values() if n is not leader)
    monkeypatch.setattr(full._ports.storage, "refusal", lambda _wanted: "no room")
    for i in range(5):
        await cluster.append(b"%d" % i)
    assert len(await cluster.contents(full)) <= 1
    assert not full.failed.done()
    await cluster.until(lambda: "no room" in str(full.alarms.why(Alarm.DISK_FULL)))
    monkeypatch.undo()
    await same_logs(cluster, [b"x", *(b"%d" % i for i in range(5))])


async def test_a_failed_commit_stops_the_node(cluster, monkeypatch):
    """After an error from commit the member acknowledges nothing more; the others go on."""
    await cluster.start()
    await cluster.append(b"x")
    leader = cluster.leader()

    def broken(_round):
        raise StorageError("no space left on device")

    monkeypatch.setattr(leader._ports.storage, "commit", broken)
    answers = []
    leader.submit(groups.pack([b"lost?"]), answers.append)
    await asyncio.wait_for(asyncio.shield(leader.failed), 5)
    assert not answers or not isinstance(answers[0], RaftLogError) or not answers[0].definite
    cluster.nodes.pop(leader.identity.node_id)
    cluster.hub.transports[leader.identity.node_id].closed = True
    await cluster.append(b"y")
    await leader.stop(hand_over=False)


class Touchy(StateMachine):
    """Appends commands to its map; `bomb` raises where `explosive` says so."""

    name, version = "touchy", 1
    tables = {}
    explosive = False

    def apply(self, command, context):
        if command == b"reject":
            context.state.put(b"trace", b"must vanish")
            context.reject("as asked")
        if command == b"bomb" and self.explosive:
            raise ZeroDivisionError("boom")
        context.state.put(b"%020d" % context.sequence, command)
        return command.upper()

    def query(self, request, state):
        return b",".join(value for _, value in state.range())


COMMAND = {"tags": groups.COMMAND_TAG}


async def test_commands_are_applied_off_the_loop_with_results(tmp_path):
    """A machine of one's own gets each command once, in order; a rejection leaves no trace."""
    cluster = Cluster(tmp_path)
    cluster.make_machine = Touchy
    await cluster.start()
    try:
        receipt = await cluster.append(b"one", b"reject", b"two", **COMMAND)
        assert [r.value for r in receipt.results] == [b"ONE", b"", b"TWO"]
        assert receipt.results[1].rejected == "as asked"
        opaque = await cluster.append(b"opaque")
        assert opaque.results == ()
        for node in cluster.nodes.values():
            answer = await node.query(b"", Consistency.FOLLOWER, 5.0)
            assert answer == b"one,two"
        for node_id in list(cluster.nodes):
            await cluster.kill(node_id)
        await cluster.start()
        leader = await cluster.wait_leader()
        assert await leader.query(b"", Consistency.LINEARIZABLE, 5.0) == b"one,two"
    finally:
        await cluster.stop()


async def test_a_machine_that_raises_halts_only_its_member(tmp_path):
    """The member raises an alarm, keeps storing and voting, and nothing is skipped."""
    cluster = Cluster(tmp_path)
    cluster.make_machine = Touchy
    await cluster.start()
    try:
        leader = await cluster.wait_leader()
        victim = next(n for n in cluster.nodes.values() if n is not leader)
        victim._ports.machine.explosive = True
        await cluster.append(b"fine", **COMMAND)
        await cluster.append(b"bomb", **COMMAND)
        await cluster.until(lambda: "boom" in str(victim.alarms.why(Alarm.MACHINE_HALTED)))
        applied = victim.info().applied_index
        await cluster.append(b"next", **COMMAND)
        await cluster.until(lambda: victim.info().last_index == leader.info().last_index)
        assert victim.info().applied_index == applied
        with pytest.raises(MachineHalted):
            await victim.query(b"", Consistency.FOLLOWER, 1.0)
        assert await victim.query(b"", Consistency.STALE, 1.0) == b"fine"
        other = next(n for n in cluster.nodes.values() if n not in (leader, victim))
        await cluster.kill(leader.identity.node_id)
        await cluster.append(b"last", node=await cluster.wait_leader(), **COMMAND)
        assert cluster.leader() is other
    finally:
        await cluster.stop()


async def test_a_halted_member_never_leads_again(tmp_path):
    """A member whose machine halted stays out of elections, or writes would never open again."""
    cluster = Cluster(tmp_path)
    cluster.make_machine = Touchy
    await cluster.start()
    try:
        leader = await cluster.wait_leader()
        leader._ports.machine.explosive = True
        with pytest.raises(RaftLogError) as raised:
            await cluster.append(b"bomb", node=leader, **COMMAND)
        assert not raised.value.definite
        await cluster.until(lambda: cluster.leader() not in (None, leader))
        leader._parts.enrolment.update()
        assert not leader._parts.inputs._raft.may_campaign
        await cluster.append(b"next", **COMMAND)
    finally:
        await cluster.stop()


async def test_a_member_that_stops_never_campaigns_again(cluster):
    """News that arrives while a node stops must not let it take leadership back (ping-pong)."""
    await cluster.start()
    leader = await cluster.wait_leader()
    seen = []
    real = leader._ports.transport.announce_close

    async def announce() -> None:
        leader._parts.enrolment.update()
        seen.append(leader._parts.inputs._raft.may_campaign)
        await real()

    leader._ports.transport.announce_close = announce
    cluster.nodes.pop(leader.identity.node_id)
    await leader.stop(hand_over=True)
    assert isinstance(leader, Node)
    assert seen == [False]


class Eager(Touchy):
    """Writes as soon as it leads."""

    async def on_promote(self, context):
        await context.execute(b"hello")


async def test_a_machine_may_write_while_it_is_promoted(tmp_path):
    """What on_promote executes is in the log before any client's write is taken."""
    cluster = Cluster(tmp_path)
    cluster.make_machine = Eager
    await cluster.start()
    try:
        await cluster.append(b"client", **COMMAND)
        leader = cluster.leader()
        assert not cluster.observers[leader.identity.node_id].named("on_promote_failed")
        answer = await leader.query(b"", Consistency.LINEARIZABLE, 5.0)
        assert answer.endswith(b"hello,client")
    finally:
        await cluster.stop()


async def test_a_rejected_execute_raises(tmp_path):
    """What a machine does while leading goes through the log and raises like a client's call."""
    cluster = Cluster(tmp_path)
    cluster.make_machine = Touchy
    await cluster.start()
    try:
        leader = await cluster.wait_leader()
        assert await leader._consequences.execute(b"x") == b"X"
        with pytest.raises(Rejected):
            await leader._consequences.execute(b"reject")
    finally:
        await cluster.stop()


async def test_another_machine_is_refused(cluster):
    """The machine is pinned: a member started with another one says so and does not start."""
    await cluster.start()
    await cluster.append(b"x")
    await cluster.stop()
    cluster.make_machine = Touchy
    with pytest.raises(MachineMismatch, match="runs the machine 'kv'"):
        await cluster.start("n1")
    cluster.storages["n1"].close()


def small_snapshots() -> NodeSettings:
    """Return settings that snapshot and purge after a few kilobytes."""
    return NodeSettings(
        core=FAST,
        flush_seconds=0.02,
        snapshot_log_bytes=20_000,
        log_bytes_max=10_000,
    )


async def test_a_member_too_far_behind_gets_a_snapshot(tmp_path):
    """The log is purged behind snapshots; a member the log no longer reaches is installed."""
    cluster = Cluster(tmp_path, settings=small_snapshots())
    cluster.make_machine = Touchy
    await cluster.start()
    try:
        leader = await cluster.wait_leader()
        victim = next(n for n in cluster.nodes if n != leader.identity.node_id)
        await cluster.kill(victim)
        wanted = []
        while leader.info().first_sequence < 50:
            batch = [b"%06d" % (len(wanted) + i) + b"." * 200 for i in range(10)]
            wanted += batch
            await cluster.append(*batch, node=leader, **COMMAND)
            await pass_time(0.02)
            assert len(wanted) < 5000
        with pytest.raises(Compacted):
            await cluster.contents(leader)
        await cluster.start(victim)
        node = cluster.nodes[victim]
        await cluster.until(lambda: cluster.observers[victim].named("snapshot_installed"))
        await cluster.append(b"end", node=leader, **COMMAND)
        answer = await node.query(b"", Consistency.FOLLOWER, 5.0)
        assert answer == b",".join([*wanted, b"end"])
        await cluster.kill(victim)
        await cluster.start(victim)
        node = cluster.nodes[victim]
        await cluster.until(lambda: node.standing.leader)
        assert await node.query(b"", Consistency.FOLLOWER, 5.0) == answer
    finally:
        await cluster.stop()


async def test_a_member_without_room_for_a_snapshot_runs_on_until_there_is(tmp_path, monkeypatch):
    """It says so by an alarm, is not asked again and again, and gets it once there is room."""
    monkeypatch.setattr(consequences, "NO_ROOM_SECONDS", 0.3)
    cluster = Cluster(tmp_path, settings=small_snapshots())
    await cluster.start()
    try:
        leader = await cluster.wait_leader()
        victim = next(n for n in cluster.nodes if n != leader.identity.node_id)
        await cluster.kill(victim)
        while leader.info().first_sequence < 50:
            await cluster.append(*[b"." * 200] * 10, node=leader)
            await pass_time(0.02)
        load = installation._load
        tries = []

        def full(*_):
            tries.append(time.monotonic())
            raise OSError(errno.ENOSPC, "no space left")

        monkeypatch.setattr(installation, "_load", full)
        await cluster.start(victim)
        node = cluster.nodes[victim]
        await cluster.until(lambda: len(tries) == 2)
        assert tries[1] - tries[0] >= 0.3
        await cluster.until(lambda: Alarm.DISK_FULL in node.alarms)
        assert not node.failed.done()
        monkeypatch.setattr(installation, "_load", load)
        await cluster.until(lambda: cluster.observers[victim].named("snapshot_installed"))
        await cluster.append(b"end", node=leader)
        await cluster.until(lambda: node.info().last_sequence == leader.info().last_sequence)
        await cluster.until(lambda: Alarm.DISK_FULL not in node.alarms)
    finally:
        await cluster.stop()


async def test_a_transfer_moves_leadership_at_once(cluster):
    """Leadership goes to the chosen member without waiting for any timeout."""
    await cluster.start()
    await cluster.append(b"x")
    leader = cluster.leader()
    target = next(n for n in cluster.ids if n != leader.identity.node_id)
    began = time.monotonic()
    assert await leader.transfer_leadership(target, 2.0) == target
    assert time.monotonic() - began < 1.0
    await cluster.append(b"y")
    assert cluster.leader().identity.node_id == target


async def test_a_graceful_stop_hands_over(cluster):
    """SIGTERM's path: the leader is gone, another leads, and nobody waited for a timeout."""
    await cluster.start()
    await cluster.append(b"x")
    leader = cluster.leader()
    cluster.nodes.pop(leader.identity.node_id)
    await leader.stop(hand_over=True)
    successor = cluster.leader() or await cluster.wait_leader()
    assert successor is not leader
    await cluster.append(b"y")
