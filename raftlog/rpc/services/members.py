"""The Admin service's verbs that change the membership: converts, calls the node, converts back."""

from __future__ import annotations

from raftlog.errors import InvalidInput, Unavailable
from raftlog.interfaces import ORDERS_MAX, MemberOrder, MembershipView, MemberVerb, NodePort
from raftlog.rpc.methods import Context, timeout_of
from raftlog.types import NODE_ID_BYTES_MAX, NodeId
from raftlog.wire.pb import admin_pb2 as pb
from raftlog.wire.pb import types_pb2


class MemberMethods:
    """Who the members are, and what a directory of a new one is made from."""

    def __init__(self, node: NodePort, timeout_seconds: float) -> None:
        self._node = node
        self._timeout_seconds = timeout_seconds

    async def change_members(
        self, request: pb.ChangeMembersRequest, context: Context
    ) -> pb.ChangeMembersReply:
        """Change the membership, and wait until it is done."""
        timeout = timeout_of(request.timeout_seconds, context, self._timeout_seconds)
        if len(request.orders) > ORDERS_MAX:
            raise InvalidInput(f"{len(request.orders)} orders at once: 1 to {ORDERS_MAX}")
        outcome = await self._node.change_members(
            [_order(order) for order in request.orders],
            version=request.version,
            dry_run=request.dry_run,
            force=request.force,
            timeout_seconds=timeout,
        )
        return pb.ChangeMembersReply(
            before=_view(outcome.before),
            after=_view(outcome.after),
            version=outcome.version,
            changed=outcome.changed,
            allowed=outcome.allowed,
            why=outcome.why,
        )

    async def upgrade_cluster(
        self, request: pb.UpgradeClusterRequest, context: Context
    ) -> pb.UpgradeClusterReply:
        """Raise the cluster's feature level."""
        timeout = timeout_of(request.timeout_seconds, context, self._timeout_seconds)
        done = await self._node.upgrade_cluster(
            request.level or None, dry_run=request.dry_run, timeout_seconds=timeout
        )
        return pb.UpgradeClusterReply(
            before=done.before,
            level=done.level,
            raised=done.raised,
            index=done.index,
            members=[
                pb.MemberLevel(node_id=peer, feature_level_max=reads)
                for peer, reads in done.members.items()
            ],
        )

    async def origin(self, _: types_pb2.Empty, __: Context) -> pb.OriginReply:
        """Return what the directory of a node that joins is made from."""
        origin = self._node.origin
        if origin is None:
            raise Unavailable(
                f"{self._node.identity.node_id} does not know how its cluster began: ask another"
            )
        return pb.OriginReply(
            cluster_id=self._node.identity.cluster_id,
            served_by=self._node.identity.node_id,
            membership=origin.membership.encode(),
            # Where a cluster began behind index 0, nobody ever needs what lies below.
            checksum=origin.checksum if origin.index == 0 else 0,
            feature_level=origin.feature_level,
            feature_level_in_force=self._node.feature_level,
            machine_name=origin.machine_name,
            machine_version=origin.machine_version,
            predecessors=self._node.identity.predecessors,
        )


def _order(order: pb.MemberOrder) -> MemberOrder:
    try:
        verb = MemberVerb(order.verb)
    except ValueError:
        raise InvalidInput(
            f"{order.verb[:40]!r} is no order: one of {', '.join(MemberVerb)}"
        ) from None
    return MemberOrder(
        verb=verb,
        node_id=NodeId(order.node_id[: NODE_ID_BYTES_MAX + 1]),
        address=order.address if order.HasField("address") else None,
        region=order.region if order.HasField("region") else None,
        has_machine=order.has_machine if order.HasField("has_machine") else None,
        promote=order.promote,
        instance_id=order.instance_id[:64],
        priority=order.priority if order.HasField("priority") else None,
        is_banned=order.banned if order.HasField("banned") else None,
    )


def _view(view: MembershipView) -> pb.MembershipView:
    return pb.MembershipView(
        voters=view.voters,
        learners=view.learners,
        quorum=view.quorum,
        fault_tolerance=view.fault_tolerance,
    )
