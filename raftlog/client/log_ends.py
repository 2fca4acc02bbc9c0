"""Where the log of each member ends, by its own word: what is left of a cluster that lost a quorum.

Nobody needs to lead for this. Every endpoint is asked, and every member that one of them names.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping
from typing import cast

import grpc

from raftlog.client.connections import Connections
from raftlog.client.context import Context, loop_time
from raftlog.errors import ConnectFailed, RaftLogError, Unauthorized, Unavailable, WrongCluster
from raftlog.status import LogEnd
from raftlog.wire import status as wire_status
from raftlog.wire.cluster import log_end_from_pb
from raftlog.wire.pb import admin_pb2, types_pb2

ANSWER_SECONDS = 2.0
"""A live member answers at once; so long a silence is an answer as well."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LogEnds:
    """Where the logs end of the members that answered, by the address of each.

    `unheard`: why nothing is known of the others, by their ids, or by an address where the id is
    not known.
    """

    ends: Mapping[str, LogEnd]
    unheard: Mapping[str, str]


Answer = tuple[LogEnd, dict[str, str]]


async def log_ends(context: Context, deadline: float) -> LogEnds:
    """Ask every member that is known, or becomes known meanwhile, where its log ends.

    Raises:
        Unavailable: nobody answers.
        Unauthorized: nobody answers this client, and somebody says that it may not ask.
        WrongCluster: the endpoints belong to different clusters.
    """
    connections = context.connections
    known: dict[str, str] = {}
    said: dict[str, Answer | RaftLogError] = {}
    while left := sorted({*connections.book.addresses(), *known} - said.keys()):
        answers = await asyncio.gather(*(_ask(connections, each, deadline) for each in left))
        for address, answer in zip(left, answers, strict=True):
            said[address] = answer
            if not isinstance(answer, RaftLogError):
                known |= {there: node_id for node_id, there in answer[1].items()}
    connections.whose.check()
    ends: dict[str, LogEnd] = {}
    for address, answer in said.items():
        if not isinstance(answer, RaftLogError) and answer[0] not in ends.values():
            ends[address] = answer[0]
    heard = {end.served_by for end in ends.values()}
    unheard = {
        known.get(address, address): answer.message
        for address, answer in said.items()
        if isinstance(answer, RaftLogError) and known.get(address) not in heard
    }
    if not ends:
        raise _silence(said.values(), unheard)
    return LogEnds(ends=ends, unheard=unheard)


def _silence(answers: Iterable[Answer | RaftLogError], unheard: Mapping[str, str]) -> RaftLogError:
    for answer in answers:
        if isinstance(answer, Unauthorized | WrongCluster):
            return answer
    told = "; ".join(unheard.values())
    return Unavailable(f"no member answers: {told}", definite=True)


async def _ask(connections: Connections, address: str, deadline: float) -> Answer | RaftLogError:
    """Return where that member's log ends and whom it knows as members, or why nothing is known."""
    seconds = max(min(ANSWER_SECONDS, deadline - loop_time()), 0.0)
    # As a probe does, for whoever answers there is to say whose node it is.
    peer = connections.peer(address)
    admin = peer.probe
    try:
        reply = await admin.LogEnd(types_pb2.Empty(), timeout=seconds)
        leader = cast(
            "admin_pb2.LeaderReply", await admin.Leader(types_pb2.Empty(), timeout=seconds)
        )
    except grpc.aio.AioRpcError as error:
        found = wire_status.from_rpc_error(error, sent=False)
        is_unreachable = isinstance(found, ConnectFailed)
        return ConnectFailed(f"cannot connect to {address}") if is_unreachable else found
    end = log_end_from_pb(reply)
    if not connections.astray.is_ours(peer, end.cluster_id, is_led=True):
        return WrongCluster(f"the node there is of the cluster {end.cluster_id}")
    return end, {each.node_id: each.address for each in leader.members}
