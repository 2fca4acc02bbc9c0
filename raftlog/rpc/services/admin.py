"""The Admin service: status, leadership."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math

from raftlog.errors import InvalidInput
from raftlog.interfaces import NodePort
from raftlog.mysql.gtid import wire_server_id
from raftlog.rpc.methods import Context, Handlers, Methods, seconds_left
from raftlog.rpc.settings import ServerSettings
from raftlog.types import NodeId
from raftlog.wire.cluster import status_to_pb
from raftlog.wire.pb import admin_pb2 as pb
from raftlog.wire.pb import types_pb2

SERVICE = "raftlog.v1.Admin"


class AdminService:
    """Converts, calls the node, converts back."""

    def __init__(self, node: NodePort, settings: ServerSettings) -> None:
        self._node = node
        self._settings = settings
        self._version = importlib.metadata.version("raftlog")

    def handlers(self, methods: Methods) -> Handlers:
        """Return the handlers by method name."""
        return {
            "Status": methods.unary(types_pb2.Empty, self.status),
            "Leader": methods.unary(types_pb2.Empty, self.leader),
            "Transfer": methods.unary(pb.TransferRequest, self.transfer),
            "StepDown": methods.unary(types_pb2.Empty, self.step_down),
            "Settings": methods.unary(types_pb2.Empty, self.settings),
        }

    async def status(self, _: types_pb2.Empty, __: Context) -> pb.StatusReply:
        """Return what this node knows of the cluster; needs no quorum."""
        status = self._node.status()
        return status_to_pb(dataclasses.replace(status, version=self._version))

    async def settings(self, _: types_pb2.Empty, __: Context) -> pb.SettingsReply:
        """Return the settings this node runs with."""
        return pb.SettingsReply(
            served_by=self._node.identity.node_id,
            settings=[
                pb.Setting(
                    key=each.key,
                    value_json=each.value_json,
                    source=each.source,
                    meaning=each.meaning,
                )
                for each in self._settings.shown
            ],
        )

    async def leader(self, _: types_pb2.Empty, __: Context) -> pb.LeaderReply:
        """Return who leads, as far as this node knows, and where the members are."""
        hint = self._node.leader_hint()
        leader = None
        if hint is not None:
            leader = types_pb2.LeaderHint(
                node_id=hint.node_id, address=hint.address, term=hint.term
            )
        return pb.LeaderReply(
            leader=leader,
            served_by=self._node.identity.node_id,
            ready=self._node.info().writes_open,
            gtid_server_id=wire_server_id(self._node.identity.cluster_id),
            members=[
                pb.MemberAddress(node_id=member.node_id, address=member.address)
                for member in self._node.membership.members
            ],
            limits=pb.Limits(
                transaction_bytes_max=self._settings.transaction_bytes_max,
                group_bytes_max=self._settings.group_bytes_max,
            ),
        )

    async def transfer(self, request: pb.TransferRequest, context: Context) -> pb.TransferReply:
        """Hand leadership over."""
        if not (math.isfinite(request.timeout_seconds) and request.timeout_seconds >= 0):
            raise InvalidInput(f"a timeout of {request.timeout_seconds} s makes no sense")
        left = seconds_left(context, self._settings.unary_timeout_seconds)
        timeout = min(request.timeout_seconds or left, left)
        target = NodeId(request.to) if request.to else None
        before = self._node.standing.leader
        after = await self._node.transfer_leadership(target, timeout)
        reply = pb.TransferReply(to=after)
        setattr(reply, "from", before or "")
        return reply

    async def step_down(self, _: types_pb2.Empty, __: Context) -> types_pb2.Empty:
        """Stop leading without choosing a successor."""
        await self._node.step_down()
        return types_pb2.Empty()
