"""A state machine of one's own: commands through the log, queries beside it."""

from __future__ import annotations

import asyncio
from typing import cast

from raftlog.client.changes import change
from raftlog.client.connections import Peer
from raftlog.client.context import (
    Context,
    Payload,
    check_number,
    check_payload,
    check_size,
    goes_anywhere,
    parse_consistency,
)
from raftlog.client.values import Applied, MachineUpgrade
from raftlog.groups import COMMAND_TAG, Tag
from raftlog.types import Consistency
from raftlog.wire.pb import machine_pb2

VERSION_MAX = 2**31 - 1


async def submit_command(
    context: Context, command: bytes, deadline: float, tag: Tag = COMMAND_TAG
) -> Applied:
    """Append one command, exactly once, and return its place and the machine's answer.

    `tag` names the machine it is meant for, so that no other one is made to apply it.

    A command that did not fit beside others in what one entry may do had no effect, and is sent
    again in a later group; it may then come after calls that were made at the same time.

    Raises:
        Rejected: the machine refused it; it had no effect.
        TooLarge: it is over the limit of one transaction; nothing was sent.
    """
    check_size(command, context.limits)
    if context.has_unbegun:
        await context.begin_feeds()
    writer = context.writer
    if writer.is_full:
        await writer.wait_room(deadline)
    try:
        return cast("Applied", await writer.submit(command, tag, deadline))
    except asyncio.CancelledError:
        writer.abandoned()
        raise


class Machine:
    """The state machine the cluster runs, whatever it is."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def execute(self, command: Payload, *, timeout: float | None = None) -> bytes:
        """Replicate and apply a command, exactly once, and return the machine's answer.

        Raises:
            Rejected: the machine refused it; it had no effect.
        """
        return (await self.submit(command, timeout=timeout)).result

    async def submit(self, command: Payload, *, timeout: float | None = None) -> Applied:
        """Do what `execute` does, and return the command's place in the log as well."""
        deadline = self._context.deadline(timeout)
        return await submit_command(
            self._context, check_payload(command, self._context.limits), deadline
        )

    async def query(
        self,
        request: Payload,
        *,
        consistency: Consistency | str | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """Ask the machine; linearizable unless `consistency` asks for less.

        With `member` that member answers, by default after asking the leader for a read index.
        """
        wire = parse_consistency(consistency, member)
        message = machine_pb2.QueryRequest(
            request=check_payload(request, self._context.limits), consistency=wire
        )

        async def call(peer: Peer, seconds: float) -> machine_pb2.QueryReply:
            reply = await peer.machine.Query(message, timeout=seconds)
            return cast("machine_pb2.QueryReply", reply)

        deadline = self._context.deadline(timeout)
        connections = self._context.connections
        if member is not None:
            return (await connections.ask_member(member, call, deadline)).answer
        if goes_anywhere(wire):
            return (await connections.ask_anyone(call, deadline)).answer
        return (await connections.ask_leader(call, deadline)).answer

    async def upgrade(
        self, version: int | None = None, *, dry_run: bool = False, timeout: float | None = None
    ) -> MachineUpgrade:
        """Raise the machine's version in force, once every member with a machine has its code.

        None: to the newest version that the leader's code has. Every command behind the entry that
        raises it is applied as that version, on every member. With `dry_run` all is checked, and
        nothing is written. To ask again is safe: what is in force already changes nothing.

        Raises:
            SafetyRefused: a member lacks the code or cannot be asked (the message names all of
                them), or the version is below the one in force.
            Indeterminate: the answer did not come in time; ask again.
        """
        deadline = self._context.deadline(timeout)
        wanted = 0 if version is None else check_number("version", version, low=1, high=VERSION_MAX)
        request = machine_pb2.UpgradeRequest(version=wanted, dry_run=dry_run)

        async def call(peer: Peer, seconds: float) -> machine_pb2.UpgradeReply:
            reply = await peer.machine.Upgrade(request, timeout=seconds)
            return cast("machine_pb2.UpgradeReply", reply)

        reply = await change(self._context, call, deadline)
        return MachineUpgrade(
            machine=reply.machine,
            before=reply.before,
            version=reply.version,
            raised=reply.raised,
            index=reply.index,
            members={each.node_id: tuple(each.versions) for each in reply.members},
        )
