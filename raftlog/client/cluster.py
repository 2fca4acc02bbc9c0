"""The cluster as operators see it: status, leader, transfer, step-down."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar, cast

import grpc

from raftlog.client.connections import Leader, Peer
from raftlog.client.context import Context, loop_time
from raftlog.client.routing import Backoff, Recourse, judge, timed_out
from raftlog.client.values import Diagnostics, NodeSetting, Transfer
from raftlog.errors import ConnectFailed, LeaderHint, RaftLogError, Unauthorized
from raftlog.status import ClusterStatus
from raftlog.wire import status as wire_status
from raftlog.wire.cluster import status_from_pb
from raftlog.wire.pb import admin_pb2, types_pb2

STATUS_SECONDS = 0.5
PATIENCE_SECONDS = 2.0
GRACE_SECONDS = 0.1
"""How long members are waited for, once the leader has answered, to say what only they know."""

T = TypeVar("T")


class Cluster:
    """The verbs of an operator."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def status(
        self, *, member: str | None = None, timeout: float | None = None
    ) -> ClusterStatus:
        """Return the cluster as the leader knows it, or without one any live node.

        With `member` that member is asked alone. A live node answers at once, so silence is taken
        for an answer after two seconds, whatever the timeout.
        """
        deadline = min(self._context.deadline(timeout), loop_time() + PATIENCE_SECONDS)
        if member is not None:
            reply = await self._context.connections.ask_member(member, _ask_status, deadline)
            return _status(reply, [reply])
        while True:
            replies = await self._ask_all()
            if replies:
                return _status(max(replies, key=_rank), replies)
            if loop_time() >= deadline:
                raise self._context.connections.no_answer()
            await self._context.connections.anyone(deadline)

    async def leader(self, *, timeout: float | None = None) -> LeaderHint:
        """Return who leads and takes writes.

        Raises:
            Unavailable: nobody does.
        """
        deadline = self._context.deadline(timeout)

        async def call(peer: Peer, seconds: float) -> admin_pb2.LeaderReply:
            reply = await peer.admin.Leader(types_pb2.Empty(), timeout=seconds)
            return cast("admin_pb2.LeaderReply", reply)

        connections = self._context.connections
        while True:
            reply = await connections.ask_leader(call, deadline)
            if reply.ready:
                return LeaderHint(reply.served_by, reply.leader.address, reply.leader.term)
            connections.forget((await connections.leader(deadline)).peer.address)

    async def transfer(self, to: str | None = None, *, timeout: float | None = None) -> Transfer:
        """Hand leadership to a member, by default to the most caught-up one.

        Raises:
            SafetyRefused: the member may not lead.
            Indeterminate: the answer did not come in time.
        """
        deadline = self._context.deadline(timeout)

        async def call(peer: Peer, seconds: float) -> admin_pb2.TransferReply:
            request = admin_pb2.TransferRequest(to=to or "", timeout_seconds=seconds)
            reply = await peer.admin.Transfer(request, timeout=seconds)
            return cast("admin_pb2.TransferReply", reply)

        reply = await change(self._context, call, deadline)
        # "from" is a keyword here, but not on the wire.
        return Transfer(source=getattr(reply, "from"), target=reply.to)

    async def step_down(self, *, timeout: float | None = None) -> None:
        """Make the leader stop leading, without choosing a successor."""

        async def call(peer: Peer, seconds: float) -> types_pb2.Empty:
            reply = await peer.admin.StepDown(types_pb2.Empty(), timeout=seconds)
            return cast("types_pb2.Empty", reply)

        await change(self._context, call, self._context.deadline(timeout))

    async def settings(
        self, *, member: str | None = None, timeout: float | None = None
    ) -> tuple[NodeSetting, ...]:
        """Return the settings of a node that runs, of any one unless `member` names it.

        Numbers are seconds and bytes. What is secret is left out.
        """

        async def call(peer: Peer, seconds: float) -> admin_pb2.SettingsReply:
            reply = await peer.admin.Settings(types_pb2.Empty(), timeout=seconds)
            return cast("admin_pb2.SettingsReply", reply)

        deadline = self._context.deadline(timeout)
        reply = await self._context.connections.ask(member, call, deadline)
        return tuple(
            NodeSetting(
                key=wire.key,
                value=json.loads(wire.value_json),
                source=wire.source,
                meaning=wire.meaning,
            )
            for wire in reply.settings
        )

    async def diagnostics(
        self, *, member: str | None = None, timeout: float | None = None
    ) -> Diagnostics:
        """Return what a node tells whoever looks into a fault, any one unless `member` names it.

        Its status, settings, metrics, recent events, the stacks of its tasks and threads, and its
        versions. No payload and no secret is in it.
        """

        async def call(peer: Peer, seconds: float) -> admin_pb2.DiagnosticsReply:
            reply = await peer.admin.Diagnostics(types_pb2.Empty(), timeout=seconds)
            return cast("admin_pb2.DiagnosticsReply", reply)

        deadline = self._context.deadline(timeout)
        reply = await self._context.connections.ask(member, call, deadline)
        return Diagnostics(
            served_by=reply.served_by,
            files={file.name: file.text for file in reply.files},
            cut=tuple(file.name for file in reply.files if file.cut),
        )

    async def _ask_all(self) -> list[admin_pb2.StatusReply]:
        """Ask every address at once, members that the first answer names included.

        Once the leader has answered, the others have a moment left to speak for themselves.

        Raises:
            Unauthorized: nobody answers this client, and somebody says that it may not ask.
        """
        connections = self._context.connections
        asked: set[str] = set()
        waiting: set[asyncio.Task[admin_pb2.StatusReply | Unauthorized | None]] = set()
        found: list[admin_pb2.StatusReply] = []
        refusal: Unauthorized | None = None
        until = loop_time() + STATUS_SECONDS
        try:
            while True:
                for address in set(connections.book.addresses()) - asked:
                    asked.add(address)
                    waiting.add(asyncio.create_task(_try_status(connections.peer(address))))
                if not waiting:
                    return _answers(found, refusal)
                done, waiting = await asyncio.wait(
                    waiting,
                    timeout=max(until - loop_time(), 0.0),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    return _answers(found, refusal)
                for reply in (task.result() for task in done):
                    if reply is None:
                        continue
                    if isinstance(reply, Unauthorized):
                        refusal = reply
                        continue
                    connections.book.learn({each.node_id: each.address for each in reply.members})
                    found.append(reply)
                    if reply.leader and reply.leader == reply.served_by and reply.has_quorum:
                        until = min(until, loop_time() + GRACE_SECONDS)
        finally:
            for task in waiting:
                task.cancel()


async def change(
    context: Context, call: Callable[[Peer, float], Awaitable[T]], deadline: float
) -> T:
    """Make a call to the leader that is repeated only after a definite refusal."""
    connections = context.connections
    backoff = Backoff(0.01, 2.0, 0.2, connections.dice)
    refusal: RaftLogError | None = None
    while True:
        leader: Leader = await connections.leader(deadline)
        try:
            await leader.peer.wait_connected(deadline)
            return await call(leader.peer, max(deadline - loop_time(), 0.001))
        except ConnectFailed as error:
            refusal = error
        except grpc.aio.AioRpcError as error:
            refusal = wire_status.from_rpc_error(error, sent=True)
        connections.take_hint(refusal)
        connections.forget(leader.peer.address)
        if not refusal.definite or judge(refusal) is Recourse.FINAL:
            raise refusal
        if loop_time() >= deadline:
            raise timed_out(refusal)
        await asyncio.sleep(backoff.pause())


async def _ask_status(peer: Peer, seconds: float) -> admin_pb2.StatusReply:
    reply = await peer.admin.Status(types_pb2.Empty(), timeout=seconds)
    return cast("admin_pb2.StatusReply", reply)


async def _try_status(peer: Peer) -> admin_pb2.StatusReply | Unauthorized | None:
    """Return a member's answer, its refusal of this client's certificate, or None."""
    try:
        return await _ask_status(peer, STATUS_SECONDS)
    except grpc.aio.AioRpcError as error:
        refusal = wire_status.from_rpc_error(error, sent=False)
        return refusal if isinstance(refusal, Unauthorized) else None


def _answers(
    found: list[admin_pb2.StatusReply], refusal: Unauthorized | None
) -> list[admin_pb2.StatusReply]:
    if refusal is not None and not found:
        raise refusal
    return found


def _rank(reply: admin_pb2.StatusReply) -> tuple[bool, int, bool, int]:
    leads = bool(reply.leader) and reply.leader == reply.served_by
    return reply.has_quorum, reply.term, leads, reply.commit_index


def _status(
    reply: admin_pb2.StatusReply, replies: Iterable[admin_pb2.StatusReply]
) -> ClusterStatus:
    """Return the status by `reply`; each member speaks for itself of its alarms and its health."""
    said = {each.served_by: each for each in replies}
    found = status_from_pb(reply, {name: each.applied_index for name, each in said.items()})
    ill = {
        name
        for name, each in said.items()
        if any(member.node_id == name and not member.healthy for member in each.members)
    }
    return dataclasses.replace(
        found,
        alarms=tuple(alarm for _, each in sorted(said.items()) for alarm in each.alarms),
        members=tuple(
            dataclasses.replace(member, healthy=member.healthy and member.node_id not in ill)
            for member in found.members
        ),
    )
