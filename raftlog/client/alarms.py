"""What the members of a cluster need somebody to look at: each is asked for its own alarms."""

from __future__ import annotations

import asyncio
import dataclasses

import grpc

from raftlog.client.connections import Peer
from raftlog.client.context import Context
from raftlog.wire.pb import admin_pb2, types_pb2

ANSWER_SECONDS = 1.0
"""A live member answers at once; so long a silence is an answer as well."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RaisedAlarm:
    """An alarm that a member has raised, in sentences: why, what it means, what to do.

    `since` is microseconds since 1970 by that member's clock. `about` names what it is about where
    there may be several, as a peer. `severity` is info, warning or error.
    """

    member: str
    alarm: str
    about: str
    severity: str
    since: int
    why: str
    meaning: str
    advice: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AlarmReport:
    """The alarms of all that answered; nothing is known of members that are `silent`.

    A node that was removed is none of the members, and tells its alarms where an endpoint names it.
    """

    alarms: tuple[RaisedAlarm, ...]
    silent: tuple[str, ...]


async def report(context: Context, member: str | None, deadline: float) -> AlarmReport:
    """Ask every member, or the one that is named, for its alarms.

    Raises:
        Unavailable: nobody answers at all, or the member that is named does not.
        NotFound: the membership has no such member.
    """
    connections = context.connections
    if member is not None:
        reply = await connections.ask_member(member, _ask, deadline)
        return AlarmReport(alarms=_alarms(reply), silent=())
    known = await connections.ask_anyone(_ask_leader, deadline)
    addresses = {each.node_id: each.address for each in known.members}
    connections.book.learn(
        addresses,
        term=known.leader.term,
        leads=bool(known.leader.node_id) and known.leader.node_id == known.served_by,
    )
    # A node that was removed is in no membership; it is asked where an endpoint names it.
    named = set(addresses.values())
    others = [each for each in connections.book.addresses() if each not in named]
    replies = await asyncio.gather(
        *(_try(connections.peer(address)) for address in (*addresses.values(), *others))
    )
    said = {reply.served_by: reply for reply in replies if reply is not None}
    return AlarmReport(
        alarms=tuple(alarm for _, reply in sorted(said.items()) for alarm in _alarms(reply)),
        silent=tuple(sorted(name for name in addresses if name not in said)),
    )


async def _ask(peer: Peer, seconds: float) -> admin_pb2.AlarmsReply:
    reply: admin_pb2.AlarmsReply = await peer.admin.Alarms(types_pb2.Empty(), timeout=seconds)
    return reply


async def _ask_leader(peer: Peer, seconds: float) -> admin_pb2.LeaderReply:
    reply: admin_pb2.LeaderReply = await peer.admin.Leader(types_pb2.Empty(), timeout=seconds)
    return reply


async def _try(peer: Peer) -> admin_pb2.AlarmsReply | None:
    try:
        return await _ask(peer, ANSWER_SECONDS)
    except grpc.aio.AioRpcError:
        return None


def _alarms(reply: admin_pb2.AlarmsReply) -> tuple[RaisedAlarm, ...]:
    return tuple(
        RaisedAlarm(
            member=reply.served_by,
            alarm=wire.alarm,
            about=wire.about,
            severity=wire.severity,
            since=wire.since,
            why=wire.why,
            meaning=wire.meaning,
            advice=wire.advice,
        )
        for wire in reply.alarms
    )
