"""The Machine service: bytes in, bytes out."""

from __future__ import annotations

from raftlog import groups
from raftlog.errors import (
    Indeterminate,
    InvalidInput,
    MachineHalted,
    Rejected,
    SafetyRefused,
)
from raftlog.types import Consistency
from raftlog.wire.pb import machine_pb2 as pb
from raftlog.wire.pb import types_pb2
from tests.rpc.doubles import Serving, failure


async def test_execute(serving: Serving) -> None:
    """The result comes back with the sequence that made it, also an empty command's."""
    serving.node.result = b"done"
    for sequence, command in enumerate([b"do", b""], 1):
        reply = await serving.machine.Execute(pb.ExecuteRequest(command=command))
        assert (reply.result, reply.sequence, reply.index) == (b"done", sequence, sequence)
        [stored] = groups.parse(serving.node.entries[-1].payload).transactions()
        assert (stored.payload, stored.kind) == (command, groups.TransactionKind.COMMAND)


async def test_a_command_refused_or_unanswered(serving: Serving) -> None:
    """A rejection is definite, a machine that stands still is not."""
    serving.node.rejected = "too few"
    error = await failure(serving.machine.Execute(pb.ExecuteRequest(command=b"x")))
    assert isinstance(error, Rejected)
    assert error.definite
    serving.node.rejected = None
    serving.node.refusal = MachineHalted("it raised")
    error = await failure(serving.machine.Execute(pb.ExecuteRequest(command=b"x")))
    assert isinstance(error, MachineHalted)
    assert not error.definite
    serving.node.silent = True
    call = serving.machine.Execute(pb.ExecuteRequest(command=b"x"), timeout=0.2)
    assert isinstance(await failure(call), Indeterminate)


async def test_query(serving: Serving) -> None:
    """A request reaches the machine as it is, at the consistency asked for."""
    serving.node.answer = b"42"
    request = pb.QueryRequest(request=b"?", consistency=types_pb2.STALE)
    reply = await serving.machine.Query(request)
    assert (reply.answer, reply.served_by) == (b"42", "n1")
    assert serving.node.queried == [(b"?", Consistency.STALE)]
    bad = pb.QueryRequest(consistency=99)
    assert isinstance(await failure(serving.machine.Query(bad)), InvalidInput)


async def test_an_answer_over_the_message_limit_is_a_clean_error(serving: Serving) -> None:
    """An answer that gRPC could not carry says so, and the channel goes on."""
    serving.node.answer = b"x" * (18 << 20)
    error = await failure(serving.machine.Query(pb.QueryRequest()))
    assert error.code == "too_large"
    assert not error.definite
    serving.node.answer = b"small"
    assert (await serving.machine.Query(pb.QueryRequest())).answer == b"small"


async def test_upgrade(serving: Serving) -> None:
    """What was asked reaches the node, and all that it says comes back; 0 asks for the newest."""
    reply = await serving.machine.Upgrade(pb.UpgradeRequest(version=3))
    assert reply == pb.UpgradeReply(
        machine="kv",
        before=1,
        version=3,
        raised=True,
        index=7,
        members=[pb.MachineMember(node_id="n1", versions=[1, 2])],
    )
    newest = await serving.machine.Upgrade(pb.UpgradeRequest(dry_run=True))
    assert (newest.version, newest.raised, newest.index) == (2, False, 0)
    error = await failure(serving.machine.Upgrade(pb.UpgradeRequest(version=9)))
    assert isinstance(error, SafetyRefused)
    assert error.definite
