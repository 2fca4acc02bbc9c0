"""The Admin service: status, leadership."""

from __future__ import annotations

import dataclasses
import importlib.metadata

from raftlog.interfaces import NodePort
from raftlog.mysql.gtid import wire_server_id
from raftlog.rpc import unreached
from raftlog.rpc.methods import Context, Handlers, Methods
from raftlog.rpc.services.members import MemberMethods
from raftlog.rpc.services.promotion import Promotion
from raftlog.rpc.services.snapshots import Snapshots
from raftlog.rpc.settings import ServerSettings
from raftlog.wire.cluster import log_end_to_pb, status_to_pb
from raftlog.wire.pb import admin_pb2 as pb
from raftlog.wire.pb import types_pb2

SERVICE = "raftlog.v1.Admin"


class AdminService:
    """Converts, calls the node, converts back."""

    def __init__(self, node: NodePort, settings: ServerSettings) -> None:
        self._node = node
        self._settings = settings
        self._members = MemberMethods(node, settings.unary_timeout_seconds)
        self._promotion = Promotion(node, settings.unary_timeout_seconds)
        self._snapshots = Snapshots(node, settings.unary_timeout_seconds)
        self._version = importlib.metadata.version("raftlog")

    def handlers(self, methods: Methods) -> Handlers:
        """Return the handlers by method name."""
        return {
            "Status": methods.unary(types_pb2.Empty, self.status),
            "Leader": methods.unary(types_pb2.Empty, self.leader),
            "StepDown": methods.unary(types_pb2.Empty, self.step_down),
            "Settings": methods.unary(types_pb2.Empty, self.settings),
            "ChangeMembers": methods.unary(pb.ChangeMembersRequest, self._members.change_members),
            "Origin": methods.unary(types_pb2.Empty, self._members.origin),
            "UpgradeCluster": methods.unary(
                pb.UpgradeClusterRequest, self._members.upgrade_cluster
            ),
            **self._promotion.handlers(methods),
            **self._snapshots.handlers(methods),
            "Alarms": methods.unary(types_pb2.Empty, self.alarms),
            "Diagnostics": methods.unary(types_pb2.Empty, self.diagnostics),
            "LogEnd": methods.unary(types_pb2.Empty, self.log_end),
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

    async def alarms(self, _: types_pb2.Empty, __: Context) -> pb.AlarmsReply:
        """Return what this node has raised."""
        return pb.AlarmsReply(
            served_by=self._node.identity.node_id,
            alarms=[
                pb.RaisedAlarm(
                    alarm=each.alarm.value,
                    about=each.about,
                    severity=each.alarm.severity.value,
                    since=each.since,
                    why=each.why,
                    meaning=each.alarm.meaning,
                    advice=each.alarm.advice,
                )
                for each in self._node.alarms.raised
            ],
        )

    async def diagnostics(self, _: types_pb2.Empty, __: Context) -> pb.DiagnosticsReply:
        """Return what helps to look into a fault of this node."""
        diagnose = self._settings.diagnose
        return pb.DiagnosticsReply(
            served_by=self._node.identity.node_id,
            files=[
                pb.DiagnosticsFile(name=each.name, text=each.text, cut=each.is_cut)
                for each in (await diagnose() if diagnose is not None else ())
            ],
        )

    async def log_end(self, _: types_pb2.Empty, __: Context) -> pb.LogEndReply:
        """Return where this node's own log ends; needs no quorum."""
        return log_end_to_pb(self._node.log_end())

    async def leader(self, _: types_pb2.Empty, context: Context) -> pb.LeaderReply:
        """Return who leads, as far as this node knows, and where the members are."""
        unreached.tell(self._node, context)
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
            cluster_id=self._node.identity.cluster_id,
            members=[
                pb.MemberAddress(node_id=member.node_id, address=member.address)
                for member in self._node.membership.members
                if not self._node.is_outside
            ],
            limits=pb.Limits(
                transaction_bytes_max=self._settings.transaction_bytes_max,
                group_bytes_max=self._settings.group_bytes_max,
            ),
        )

    async def step_down(self, _: types_pb2.Empty, __: Context) -> types_pb2.Empty:
        """Stop leading without choosing a successor."""
        await self._node.step_down()
        return types_pb2.Empty()
