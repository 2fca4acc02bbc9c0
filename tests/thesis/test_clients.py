"""Chapter 6, and what figure 3.1 says of applying: where the rule lives in the node's shell."""

from __future__ import annotations

import asyncio

import pytest

from raftlog import groups
from raftlog.errors import NotLeader, SessionExpired, SessionMismatch
from raftlog.interfaces import Table
from raftlog.machines.kv import layout
from raftlog.node.sessions import APPEND, SessionTable
from tests.machines.kv.words import command, put
from tests.node.harness import Cluster
from tests.node.test_reads import Rig as ReadRig
from tests.node.test_sessions import SESSION, Rig, Tables, group, receipt

from .rule import GATE, broken_by

READS, WRITES, APPLIER = "node/reads.py", "node/writes.py", "node/application.py"


@pytest.fixture
async def cluster(tmp_path):
    """Three whole nodes over real files."""
    made = Cluster(tmp_path)
    await made.start()
    yield made
    await made.stop()


# ---------------------------------------------------------------- figure 3.1, applying


@broken_by(
    (
        APPLIER,
        "    for offset, command in enumerate(group.payloads()):",
        "    for offset, command in enumerate(reversed(group.payloads())):",
    )
)
async def test_committed_commands_are_applied_in_the_order_of_the_log(cluster) -> None:
    """§3.1 figure 3.1, all servers: apply log[lastApplied] once commitIndex is above
    lastApplied."""
    commands = [command(put(b"k", b"%d" % number)) for number in range(5)]
    await cluster.append(*commands, tags=groups.COMMAND_TAG)
    key = layout.KEY + b"k"

    def held() -> list[bytes | None]:
        return [cluster.storages[node_id].get(Table.STATE, key) for node_id in cluster.ids]

    await cluster.until(lambda: None not in held())
    assert [layout.unpack(stored).value for stored in held()] == [b"4"] * 3


# ---------------------------------------------------------------- §6.2


@broken_by(
    (
        WRITES,
        "        hint = hint_of(core)\n        if core.role",
        "        hint = None\n        if core.role",
    )
)
async def test_a_follower_names_the_leader(cluster) -> None:
    """§6.2: a server that does not lead rejects a request, and returns the leader's address."""
    leader = await cluster.wait_leader()
    follower = next(node for node in cluster.nodes.values() if node is not leader)
    with pytest.raises(NotLeader) as refused:
        await cluster.append(b"x", node=follower)
    assert refused.value.definite
    assert refused.value.leader.node_id == leader.identity.node_id


# ---------------------------------------------------------------- §6.3


@broken_by(
    (GATE, "        if group.number == appended.last_number + 1:", "        if group.number:")
)
async def test_a_command_sent_twice_is_executed_once(cluster) -> None:
    """§6.3: for a serial number already executed, respond "without re-executing the request".

    Here a number belongs to a group of commands, and a window of them may be under way
    (docs/divergence.md).
    """
    session = await (await cluster.wait_leader()).open_session(5.0)
    framing = {"session": session, "number": 1, "lowest_unanswered": 1}
    first = await cluster.append(b"once", **framing)
    assert await cluster.append(b"once", **framing) == first
    assert await cluster.contents(cluster.leader()) == [b"once"]


@broken_by((GATE, "            _reply_key(group.session, group.number): reply.encoded,\n", ""))
def test_sessions_are_part_of_the_replicated_state() -> None:
    """§6.3: each state machine keeps sessions, so that any later leader knows each response."""
    rig = Rig()
    written: dict[bytes, bytes] = {}
    for key, value in (*rig.table.open(SESSION).items(), *rig.apply(1).items()):
        written[key] = value
    rig.table = SessionTable()
    rig.table.load(Tables(written))
    assert rig.new_gate().admit(group(1)).receipt == receipt(1)


@broken_by(
    (
        GATE,
        "            if number < group.lowest_unanswered:",
        "            if number < 0:",
    )
)
def test_responses_that_the_client_has_are_dropped() -> None:
    """§6.3: a client tells its lowest number without a response; what is below is discarded."""
    rig = Rig()
    rig.apply(1)
    rig.apply(2, lowest=2)
    assert set(rig.table.sessions[SESSION].replies) == {2}
    with pytest.raises(SessionMismatch) as refused:
        rig.new_gate().admit(group(1))
    assert not refused.value.definite


@broken_by(
    (
        GATE,
        "        if known is None or group.session in self._ended:\n",
        "        if known is None:\n            return APPEND\n        if self._ended:\n",
    )
)
def test_a_request_of_an_expired_session_is_an_error() -> None:
    """§6.3: without a record of its session a request is not executed, but answered with an
    error."""
    rig = Rig()
    assert rig.gate.admit(group(1)) is APPEND
    rig.table.expire([SESSION])
    with pytest.raises(SessionExpired):
        rig.new_gate().admit(group(1))


@broken_by(
    (
        GATE,
        "            is_idle = not known.pending and now - known.last_used >= expiry_seconds",
        "            is_idle = not known.pending and bool(self._table.expire([session]))",
    )
)
def test_sessions_expire_by_what_all_servers_agree_on() -> None:
    """§6.3: servers agree on when sessions end, by the leader's time, through the log.

    The leader finds out which are idle; only the entry that says so ends them (docs/divergence.md).
    """
    rig = Rig()
    rig.gate.admit(group(1))
    rig.now = 9.0
    assert rig.gate.idle_sessions(10.0) == []
    rig.now = 10.0
    assert rig.gate.idle_sessions(10.0) == [SESSION]
    assert SESSION in rig.table.sessions
    rig.table.expire([SESSION])
    assert SESSION not in rig.table.sessions


# ---------------------------------------------------------------- §6.4


@broken_by((READS, "if index <= applied]", "if index <= applied + 1]"))
async def test_a_read_waits_until_its_index_is_applied() -> None:
    """§6.4, steps 4 and 5: wait for the machine to reach the read index; only then query it."""
    rig = ReadRig()
    (task,) = await rig.ask(1)
    rig.applied = 4
    rig.answer(5)
    rig.queue.applied()
    await asyncio.wait([task], timeout=0)
    assert not task.done()
    rig.applied = 5
    rig.queue.applied()
    assert await asyncio.wait_for(task, 5) == 5
