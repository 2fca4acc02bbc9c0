"""Transfers, reigns and campaigning, as the calls of `cluster` do them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import cast

from raftlog.client.connections import Peer
from raftlog.client.context import Context, loop_time
from raftlog.client.values import Campaigning, Drained, Paused, Reign
from raftlog.errors import InvalidInput, RaftLogError
from raftlog.status import ClusterStatus
from raftlog.wire.pb import admin_pb2, types_pb2

GAP_SECONDS = 1.0
"""How long a new leader is waited for, to tell how long writes stood still."""
PAUSE_BETWEEN_SECONDS = 0.02
ANSWER_FRACTION = 0.9
"""What part of the time a server gets, so that its answer still comes in time."""
MEMBER_SECONDS = 2.0
"""How long each member is waited for where all are asked."""

Call = Callable[[Peer, float], Awaitable[admin_pb2.CampaigningReply]]


def pause_call(seconds: float) -> Call:
    """Return the call that pauses elections at a member; 0 resumes them."""

    async def call(peer: Peer, left: float) -> admin_pb2.CampaigningReply:
        request = admin_pb2.PauseElectionsRequest(seconds=seconds)
        reply = await peer.admin.PauseElections(request, timeout=left)
        return cast("admin_pb2.CampaigningReply", reply)

    return call


def campaign_call(*, may_campaign: bool) -> Call:
    """Return the call that forbids or allows a member to stand for election."""

    async def call(peer: Peer, left: float) -> admin_pb2.CampaigningReply:
        request = admin_pb2.SetCampaigningRequest(may_campaign=may_campaign)
        reply = await peer.admin.SetCampaigning(request, timeout=left)
        return cast("admin_pb2.CampaigningReply", reply)

    return call


def drain_call(*, drained: bool) -> Call:
    """Return the call that drains a member, or undoes it."""

    async def call(peer: Peer, left: float) -> admin_pb2.CampaigningReply:
        request = admin_pb2.DrainRequest(drained=drained, timeout_seconds=left * ANSWER_FRACTION)
        reply = await peer.admin.Drain(request, timeout=left)
        return cast("admin_pb2.CampaigningReply", reply)

    return call


async def tell(context: Context, member: str, call: Call, deadline: float) -> Campaigning:
    """Tell one member; a repetition changes nothing more."""
    address = context.connections.book.address_of(member)
    if address is not None:  # this changes something: whoever answers there says its name anew
        context.connections.peer(address).named_at = float("-inf")
    reply = await context.connections.ask_member(member, call, deadline)
    return Campaigning(
        member=reply.served_by,
        paused_seconds=reply.paused_seconds if reply.HasField("paused_seconds") else None,
        no_campaign=reply.no_campaign,
        drained=reply.drained,
        leads=reply.leads,
        why=reply.why,
    )


async def tell_all(context: Context, members: Iterable[str], call: Call, deadline: float) -> Paused:
    """Tell every member at once, and say who did not hear."""
    names = sorted(members)
    until = min(deadline, loop_time() + MEMBER_SECONDS)
    found = await asyncio.gather(
        *(tell(context, name, call, until) for name in names), return_exceptions=True
    )
    told: list[Campaigning] = []
    missed: dict[str, str] = {}
    for name, each in zip(names, found, strict=True):
        if isinstance(each, Campaigning):
            told.append(each)
        elif isinstance(each, RaftLogError) and not isinstance(each, InvalidInput):
            missed[name] = each.message
        else:
            raise each
    return Paused(told=tuple(told), missed=missed)


async def reigns_of(context: Context, member: str, deadline: float) -> tuple[Reign, ...]:
    """Return the leaderships that one member knows of."""

    async def call(peer: Peer, left: float) -> admin_pb2.ReignsReply:
        reply = await peer.admin.Reigns(types_pb2.Empty(), timeout=left)
        return cast("admin_pb2.ReignsReply", reply)

    reply = await context.connections.ask_member(member, call, deadline)
    return tuple(_reign(wire) for wire in reply.reigns)


async def reigns_of_all(
    context: Context, members: Iterable[str], deadline: float
) -> tuple[Reign, ...]:
    """Return what all members that answer know, put together."""
    until = min(deadline, loop_time() + MEMBER_SECONDS)
    found = await asyncio.gather(
        *(reigns_of(context, name, until) for name in sorted(members)), return_exceptions=True
    )
    failures = [each for each in found if isinstance(each, BaseException)]
    for failure in failures:
        if not isinstance(failure, RaftLogError) or len(failures) == len(found):
            raise failure
    return merged([each for each in found if not isinstance(each, BaseException)])


def merged(found: Iterable[tuple[Reign, ...]]) -> tuple[Reign, ...]:
    """Return one record for each leadership, by term: the leader's own word where it is known."""
    best: dict[tuple[int, str], Reign] = {}
    for reign in (reign for each in found for reign in each):
        key = (reign.term, reign.leader)
        known = best.get(key)
        if known is None or (known.told_by != known.leader and reign.told_by == reign.leader):
            best[key] = reign
    return tuple(best[key] for key in sorted(best))


def _reign(wire: admin_pb2.Reign) -> Reign:
    def known(name: str) -> float | None:
        return cast("float", getattr(wire, name)) if wire.HasField(name) else None

    return Reign(
        term=wire.term,
        leader=wire.leader,
        told_by=wire.told_by,
        previous=wire.previous or None,
        why=wire.why,
        began_at=wire.began_at,
        election_seconds=known("election_seconds"),
        noop_seconds=known("noop_seconds"),
        on_promote_seconds=known("on_promote_seconds"),
        gap_seconds=known("gap_seconds"),
        ended_at=known("ended_at"),
        ended_why=wire.ended_why,
    )


async def reign_that_began(
    context: Context, leader: str, term: int, deadline: float
) -> Reign | None:
    """Return the record of a leadership once its writes are open, or None if it takes too long."""
    until = min(deadline, loop_time() + GAP_SECONDS)
    while True:
        try:
            found = await reigns_of(context, leader, until)
        except RaftLogError:
            return None
        for reign in found:
            if (reign.leader, reign.term) == (leader, term) and reign.gap_seconds is not None:
                return reign
        if loop_time() >= until:
            return None
        await asyncio.sleep(PAUSE_BETWEEN_SECONDS)


def safe_to_stop(status: ClusterStatus, drained: Campaigning) -> Drained:
    """Return whether the others can do without a drained member."""
    member = drained.member
    others = sum(
        each.node_id != member and each.kind != "learner" and each.reachable and each.healthy
        for each in status.members
    )
    kind = next((each.kind for each in status.members if each.node_id == member), None)
    why = ""
    if drained.leads or status.leader == member:
        why = drained.why or f"{member} leads"
    elif status.leader is None or not status.has_quorum:
        why = "no leader with a quorum is known"
    elif kind != "learner" and others < status.quorum:
        why = f"{others} other voters are healthy, and {status.quorum} are needed"
    return Drained(
        member=member,
        safe=not why,
        why=why,
        leader=status.leader,
        others=others,
        quorum=status.quorum,
    )
