"""Changing who the members are: add, promote, demote, remove, update, replace.

Each call is the leader's to carry out, and may be repeated: what is so already is a success. So an
answer that was lost is asked for again by the calls themselves, until their time is over.
"""

from __future__ import annotations

import asyncio
from typing import cast

from raftlog.client.changes import change
from raftlog.client.connections import Peer
from raftlog.client.context import Context, loop_time
from raftlog.client.routing import Recourse, judge
from raftlog.client.values import MembershipChange, MembershipView, Origin
from raftlog.errors import Indeterminate, InvalidInput, RaftLogError, SafetyRefused
from raftlog.wire.pb import admin_pb2, types_pb2

PAUSE_SECONDS = 0.1
ATTEMPT_SECONDS = 10.0


class MemberVerbs:
    """The verbs that change the membership.

    All of them take the same precautions. `version`: only if the membership is at that version
    (`ClusterStatus.membership_version`), so that two operators cannot collide; 0: whichever it is.
    `dry_run`: check, and change nothing. `force`: do it although it may cost the quorum.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    async def add_member(
        self,
        node_id: str,
        address: str,
        *,
        promote: bool = True,
        witness: bool | None = None,
        region: str | None = None,
        priority: int | None = None,
        banned: bool | None = None,
        instance_id: str = "",
        version: int = 0,
        dry_run: bool = False,
        force: bool = False,
        timeout: float | None = None,
    ) -> MembershipChange:
        """Add a member as a learner, and with `promote` as a voter once it has caught up.

        It may run already or be started later (``raftlog serve --join``). A witness votes and
        stores the log, and never leads; None keeps what it is. `priority`, `banned`: as
        `update_member`. `instance_id`: its data directory, where that is known.

        Raises:
            MembershipRejected: it is a member by another data directory, or not as it says; or
                another member is reached at that address.
            Indeterminate: the answer did not come in time; ask again.
        """
        order = admin_pb2.MemberOrder(
            verb="add",
            node_id=node_id,
            address=address,
            region=region,
            priority=priority,
            banned=banned,
            has_machine=None if witness is None else not witness,
            promote=promote,
            instance_id=instance_id,
        )
        request = _request([order], version=version, dry_run=dry_run, force=force)
        return await _change(self._context, request, timeout)

    async def origin(self, *, member: str | None = None, timeout: float | None = None) -> Origin:
        """Return how the cluster began, by any one member unless `member` names it."""

        async def call(peer: Peer, seconds: float) -> admin_pb2.OriginReply:
            reply = await peer.admin.Origin(types_pb2.Empty(), timeout=seconds)
            return cast("admin_pb2.OriginReply", reply)

        deadline = self._context.deadline(timeout)
        reply = await self._context.connections.ask(member, call, deadline)
        return Origin(
            cluster_id=reply.cluster_id,
            membership=reply.membership,
            checksum=reply.checksum,
            feature_level=reply.feature_level,
            machine_name=reply.machine_name,
            machine_version=reply.machine_version,
            predecessors=tuple(reply.predecessors),
            feature_level_in_force=reply.feature_level_in_force,
        )

    async def remove_member(
        self,
        node_id: str,
        *,
        version: int = 0,
        dry_run: bool = False,
        force: bool = False,
        timeout: float | None = None,
    ) -> MembershipChange:
        """Remove a member for good; one that leads hands over first.

        Its data directory never becomes a member again: the machine comes back with an empty one.

        Raises:
            MembershipRejected: the voters that would remain could not decide anything.
            Indeterminate: the answer did not come in time; ask again.
        """
        request = _request(
            [_order("remove", node_id)], version=version, dry_run=dry_run, force=force
        )
        return await _change(self._context, request, timeout)

    async def promote_member(
        self,
        node_id: str,
        *,
        version: int = 0,
        dry_run: bool = False,
        force: bool = False,
        timeout: float | None = None,
    ) -> MembershipChange:
        """Make a learner a voter now.

        Raises:
            MembershipRejected: it lacks much of the log, cannot be reached, or is no member.
            Indeterminate: the answer did not come in time; ask again.
        """
        request = _request(
            [_order("promote", node_id)], version=version, dry_run=dry_run, force=force
        )
        return await _change(self._context, request, timeout)

    async def demote_member(
        self,
        node_id: str,
        *,
        version: int = 0,
        dry_run: bool = False,
        force: bool = False,
        timeout: float | None = None,
    ) -> MembershipChange:
        """Make a voter a learner; one that leads hands over first. Raises as `remove_member`."""
        request = _request(
            [_order("demote", node_id)], version=version, dry_run=dry_run, force=force
        )
        return await _change(self._context, request, timeout)

    async def update_member(
        self,
        node_id: str,
        *,
        address: str | None = None,
        region: str | None = None,
        priority: int | None = None,
        banned: bool | None = None,
        version: int = 0,
        dry_run: bool = False,
        force: bool = False,
        timeout: float | None = None,
    ) -> MembershipChange:
        """Record another address, region, priority or ban of a member. None keeps what is there.

        A leader hands over by itself to a member with a higher priority (1 to 1000, by default 100)
        that has been fit for a while. A banned member votes, and leads only where nobody else
        could; one that leads hands over first.

        Raises:
            MembershipRejected: it is no member, or runs and says another address of itself; another
                member is reached at the address; or nobody would be left who should lead.
            SafetyRefused: the cluster's feature level knows no priorities and bans.
            Indeterminate: the answer did not come in time; ask again.
        """
        if address is None and region is None and priority is None and banned is None:
            raise InvalidInput("nothing to update: give an address, a region, a priority or a ban")
        order = admin_pb2.MemberOrder(
            verb="update",
            node_id=node_id,
            address=address,
            region=region,
            priority=priority,
            banned=banned,
        )
        request = _request([order], version=version, dry_run=dry_run, force=force)
        return await _change(self._context, request, timeout)

    async def replace_member(
        self,
        old: str,
        new: str,
        *,
        version: int = 0,
        dry_run: bool = False,
        force: bool = False,
        timeout: float | None = None,
    ) -> MembershipChange:
        """Make the learner `new` a voter in the place of `old`, which is removed, in one change.

        Raises:
            MembershipRejected: `new` is no member yet, or lacks much of the log; or the quorum
                would be lost.
            Indeterminate: the answer did not come in time; ask again.
        """
        orders = [_order("promote", new), _order("remove", old)]
        request = _request(orders, version=version, dry_run=dry_run, force=force)
        return await _change(self._context, request, timeout)


def _order(verb: str, node_id: str) -> admin_pb2.MemberOrder:
    return admin_pb2.MemberOrder(verb=verb, node_id=node_id)


def _request(
    orders: list[admin_pb2.MemberOrder], *, version: int, dry_run: bool, force: bool
) -> admin_pb2.ChangeMembersRequest:
    return admin_pb2.ChangeMembersRequest(
        orders=orders, version=version, dry_run=dry_run, force=force
    )


async def _change(
    context: Context, request: admin_pb2.ChangeMembersRequest, timeout: float | None
) -> MembershipChange:
    """Ask the leader, and again after a lost answer: what was carried out is so already then."""
    deadline = context.deadline(timeout)

    async def call(peer: Peer, seconds: float) -> admin_pb2.ChangeMembersReply:
        request.timeout_seconds = seconds
        if any(each.HasField("priority") or each.HasField("banned") for each in request.orders):
            await _check_knows_priorities(peer, seconds)
        reply = await peer.admin.ChangeMembers(request, timeout=seconds)
        return cast("admin_pb2.ChangeMembersReply", reply)

    may_have_happened = False
    while True:
        attempt = min(deadline, loop_time() + ATTEMPT_SECONDS)
        try:
            reply = await change(context, call, attempt)
            break
        except RaftLogError as error:
            is_over = loop_time() + PAUSE_SECONDS >= deadline
            is_last_word = error.definite and judge(error) is Recourse.FINAL
            if error.definite and not may_have_happened:
                if is_over or is_last_word or loop_time() < attempt:
                    raise
            # What a later attempt is told says nothing of an earlier one whose answer was lost.
            elif is_over or is_last_word:
                raise Indeterminate(f"{error.message}; an attempt may have done it") from error
            may_have_happened = may_have_happened or not error.definite
            await asyncio.sleep(PAUSE_SECONDS)
    return MembershipChange(
        before=_view(reply.before),
        after=_view(reply.after),
        version=reply.version,
        changed=reply.changed,
        allowed=reply.allowed,
        why=reply.why,
    )


async def _check_knows_priorities(peer: Peer, seconds: float) -> None:
    """Refuse to ask a leader of a version that would overlook them, and say that it is so already.

    Raises:
        SafetyRefused: its status tells no member's priority.
    """
    status = await peer.admin.Status(types_pb2.Empty(), timeout=seconds)
    if not any(member.HasField("priority") for member in status.members):
        raise SafetyRefused(
            f"the leader {status.served_by} is of a version that knows no priorities and bans: "
            "start every member with this one, then `raftlog cluster upgrade`; nothing was changed"
        )


def _view(view: admin_pb2.MembershipView) -> MembershipView:
    return MembershipView(
        voters=tuple(view.voters),
        learners=tuple(view.learners),
        quorum=view.quorum,
        fault_tolerance=view.fault_tolerance,
    )
